"""How tasks are related: tables P(label | class) and P(class | class), their evidence, files and records."""

from concord.relations.alignment import aligned, check_between
from concord.relations.checking import check_ends, row_weights
from concord.relations.counting import effective_counts, sure_counts
from concord.relations.evidence import EvidenceTable, least_probability
from concord.relations.literature import ACTION_UNITS, BUILTIN, EXPRESSIONS, expressions
from concord.relations.records import (
    array_bytes,
    digest,
    relation_digest,
    relation_of,
    relation_record,
    task_of,
    task_record,
)
from concord.relations.relation import Relation
from concord.relations.table_file import read_table

__all__ = [
    "ACTION_UNITS",
    "BUILTIN",
    "EXPRESSIONS",
    "EvidenceTable",
    "Relation",
    "aligned",
    "array_bytes",
    "check_between",
    "check_ends",
    "digest",
    "effective_counts",
    "expressions",
    "least_probability",
    "read_table",
    "relation_digest",
    "relation_of",
    "relation_record",
    "row_weights",
    "sure_counts",
    "task_of",
    "task_record",
]
