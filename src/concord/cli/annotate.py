"""`concord annotate`: write co-annotations."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from concord.cli.data import One, Out
from concord.cli.outputs import check_effect, check_outputs, manifest_out
from concord.cli.streams import JsonOption, readable, write_json
from concord.errors import UnknownNameError
from concord.terminal import console, plain, say, whole_table

if TYPE_CHECKING:
    from concord.data import Manifest
    from concord.relations import Relation
    from concord.tasks import Task


def annotate(
    context: typer.Context,
    manifest: One,
    *,
    relation: Annotated[
        Path,
        typer.Option(
            help="CSV table: rows are classes of the source; - for standard input.",
            parser=readable,
            metavar="<path>",
        ),
    ],
    source: Annotated[str, typer.Option(help="The class task of the table's rows.")],
    target: Annotated[str, typer.Option(help="The task of the table's columns.")],
    out: Out,
    method: Annotated[str, typer.Option(help="hard, soft or posterior.")] = "posterior",
    fill: Annotated[str, typer.Option(help="Gaps of the source, of the target, or both.")] = "both",
    prior: Annotated[
        str, typer.Option(help="posterior: class prior, uniform or data (annotated rows).")
    ] = "uniform",
    exponent: Annotated[float, typer.Option(help="posterior: tempering of the evidence, 0 to 1.")] = 1.0,
    temperature: Annotated[float, typer.Option(help="soft: of the softmax of the scores, > 0.")] = 1.0,
    neutral: Annotated[
        str, typer.Option(help="soft: a class with a row of zeros, absent-share or renormalise.")
    ] = "absent-share",
    min_weight: Annotated[float, typer.Option(help="Values of a smaller weight stay gaps.")] = 0.0,
    classes: Annotated[
        bool, typer.Option("--classes", help="The target is a class task that the manifest lacks.")
    ] = False,
    transpose: Annotated[
        bool, typer.Option("--transpose", help="The table's columns are the classes.")
    ] = False,
    normalize: Annotated[bool, typer.Option("--normalize", help="Divide the table's rows by their sum.")] = (
        False
    ),
    ignore_extra: Annotated[
        bool, typer.Option("--ignore-extra", help="Leave out names of the table that the tasks lack.")
    ] = False,
    json_out: JsonOption = None,
) -> None:
    """Fill a manifest's gaps from a related task, with weight and provenance of every value.

    Beside the manifest stands OUT.annotation.json with the relation, the options and the counts. A task
    that the manifest lacks is made from the names in the table.
    """
    from concord.data import Method, filled_counts, read_manifest, write_manifest
    from concord.data import annotate as fill_gaps
    from concord.relations import Relation

    if method not in get_args(Method):  # before its options, each of which would seem to be of another one
        raise UnknownNameError.of("method of co-annotation", method, get_args(Method))
    unused = [name for name, of in METHOD_OF.items() if of != method]
    check_effect(context, f"with --method {method}", *unused)
    beside = out.parent / f"{out.name}.annotation.json"
    outputs = {**manifest_out(out), "--out (its record)": beside, "--json": json_out}
    check_outputs(outputs, [manifest, relation])
    read = read_manifest(manifest)
    tasks = _tasks(read, relation, source, target, transpose=transpose, classes=classes)
    table = Relation.from_csv(
        *tasks,  # type: ignore[arg-type]
        relation,
        transpose=transpose,
        normalize=normalize,
        extra="ignore" if ignore_extra else "error",
    )
    table = _with_prior(read, table, prior)
    options = {
        "fill": fill,
        "exponent": exponent,
        "temperature": temperature,
        "neutral": neutral,
        "min_weight": min_weight,
    }
    done = fill_gaps(read, table, method, **options)  # type: ignore[arg-type]
    write_manifest(done, out)
    counts = filled_counts(done)
    record = {
        "manifest": str(manifest),
        "options": {"method": method, "prior": prior, **options},
        "relation": {"file": str(relation), **_described(table)},
        "values": counts,
    }
    _write_record(beside, record)
    write_json(json_out, record)
    shown = whole_table(framed=True)
    shown.add_column("column")
    for name in ("annotated", "filled in"):
        shown.add_column(name, justify="right")
    for column, origins in counts.items():
        annotated = origins.get("annotated", 0)
        shown.add_row(plain(column), f"{annotated:,}", f"{sum(origins.values()) - annotated:,}")
    console().print(shown)
    say(f"wrote {out}: {done!r}")


METHOD_OF = {"prior": "posterior", "exponent": "posterior", "temperature": "soft", "neutral": "soft"}
"""The method that an option belongs to."""


def _tasks(
    manifest: Manifest, table: Path, source: str, target: str, *, transpose: bool, classes: bool
) -> tuple[Task, Task]:
    """The two tasks: the manifest's, or made from the table's names."""
    from concord.tasks import MulticlassTask, MultilabelTask

    own = {task.name: task for task in manifest.tasks}
    if source in own and target in own:
        return own[source], own[target]
    from concord.relations import read_table

    file = read_table(table)
    rows, columns = (file.columns, file.rows) if transpose else (file.rows, file.columns)
    made = MulticlassTask(target, columns) if classes else MultilabelTask(target, columns)
    return own.get(source) or MulticlassTask(source, rows), own.get(target) or made


def _with_prior(manifest: Manifest, relation: Relation, prior: str) -> Relation:
    import numpy as np

    from concord.data import evidence
    from concord.errors import NoAnnotationError
    from concord.tasks import MISSING_CLASS

    if prior not in ("uniform", "data"):
        raise UnknownNameError.of("prior", prior, ("uniform", "data"))
    if prior == "uniform":
        return relation
    counts = np.zeros(relation.source.width, dtype=np.int64)
    if any(task.name == relation.source.name for task in manifest.tasks):
        targets = evidence(manifest, relation.source)
        np.add.at(counts, targets[targets != MISSING_CLASS], 1)
    if not counts.sum():
        raise NoAnnotationError(
            f"no row is annotated for {relation.source.name!r}, so the data give no prior; use "
            "--prior uniform"
        )
    return relation.replace(prior=counts / counts.sum())


def _described(relation: Relation) -> dict[str, Any]:
    import math

    return {
        "name": relation.name,
        "source": {relation.source.name: list(relation.source.outputs)},
        "target": {relation.target.name: list(relation.target.outputs)},
        "table": [[None if math.isnan(cell) else cell for cell in row] for row in relation.table.tolist()],
        "prior": relation.class_prior().tolist(),
    }


def _write_record(path: Path, record: dict[str, Any]) -> None:
    """Everything that a reader of the manifest needs to know what its values rest on."""
    import json

    from concord import __version__
    from concord.files import write_text

    write_text(path, json.dumps({"concord": __version__, **record}, indent=1) + "\n")
