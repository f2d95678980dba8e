"""Runs: what a config asks for, built, trained, evaluated, kept in a folder, and used again."""

from concord.runs.building import Built, build
from concord.runs.embedding import FILES as EMBEDDING_FILES
from concord.runs.embedding import Embedding, embed
from concord.runs.evaluation import as_table, evaluate, write_metrics
from concord.runs.folder import WRITTEN
from concord.runs.given import GivenRows, given_rows, joined_rows
from concord.runs.inputs import Preparation, Vocabulary, plan_for, trunk_kind
from concord.runs.outputs import Outputs, outputs_of
from concord.runs.prediction import frame_of, predict, predict_split, write_predictions
from concord.runs.predictor import Predictor
from concord.runs.relations import relation_of
from concord.runs.run import RUN_FILE, TOKENIZER, WEIGHTS_FILE, Run, load_run, tokenizer_files
from concord.runs.sources import (
    columns_across,
    mixture_of,
    open_sources,
    shape_across,
    sources_of,
    vocabulary_across,
)
from concord.runs.training import finished, train

__all__ = [
    "EMBEDDING_FILES",
    "RUN_FILE",
    "TOKENIZER",
    "WEIGHTS_FILE",
    "WRITTEN",
    "Built",
    "Embedding",
    "GivenRows",
    "Outputs",
    "Predictor",
    "Preparation",
    "Run",
    "Vocabulary",
    "as_table",
    "build",
    "columns_across",
    "embed",
    "evaluate",
    "finished",
    "frame_of",
    "given_rows",
    "joined_rows",
    "load_run",
    "mixture_of",
    "open_sources",
    "outputs_of",
    "plan_for",
    "predict",
    "predict_split",
    "relation_of",
    "shape_across",
    "sources_of",
    "tokenizer_files",
    "train",
    "trunk_kind",
    "vocabulary_across",
    "write_metrics",
    "write_predictions",
]
