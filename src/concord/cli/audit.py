"""`concord relation audit`: a few rows annotated for both tasks correct an estimated table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from concord.cli.data import GapOption, GroupOption, LabelOption, NoGapOption, SeparatorOption, TaskOption
from concord.cli.outputs import check_effect, check_outputs
from concord.cli.relation import (
    AnnotationsArgument,
    CellsOption,
    EffortOption,
    FeaturesOption,
    LevelOption,
    PredictionsOption,
    ProcessesOption,
    SeedOption,
    SourceOption,
    TableOut,
    TargetOption,
    read_annotations,
    task_predictions,
    two_tasks,
)
from concord.cli.streams import JsonOption, writable, write_json
from concord.cli.tables import number_or_none, relation_json, write_cells, write_table
from concord.errors import ConfigError, NoAnnotationError
from concord.terminal import say

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


def audit(
    context: typer.Context,
    annotations: AnnotationsArgument,
    *,
    propose: Annotated[
        Path | None,
        typer.Option(
            "--propose",
            help="Write the rows to annotate for both tasks to this CSV file, and stop; - for standard "
            "output.",
            parser=writable,
            metavar="<path>",
            show_default=False,
        ),
    ] = None,
    rows: Annotated[int, typer.Option("--rows", help="How many rows to propose.", min=1)] = 100,
    audited: Annotated[
        Path | None,
        typer.Option(
            "--audited",
            help="The rows that were proposed and then annotated: the file that --propose wrote. Without it, "
            "every row annotated for both tasks counts as audited.",
            show_default=False,
        ),
    ] = None,
    out: TableOut = None,
    cells: CellsOption = None,
    predictions: PredictionsOption = None,
    features: FeaturesOption = None,
    source: SourceOption = None,
    target: TargetOption = None,
    level: LevelOption = 0.95,
    seed: SeedOption = 0,
    effort: EffortOption = "standard",
    processes: ProcessesOption = 1,
    task: TaskOption = None,
    labels: LabelOption = None,
    gap: GapOption = None,
    no_gap: NoGapOption = None,
    group: GroupOption = None,
    separator: SeparatorOption = ",",
    json_out: JsonOption = None,
) -> None:
    """Propose rows to annotate for both tasks, or correct the estimated table by such rows."""
    from concord.data import group_codes
    from concord.estimation import audit_relation, propose_audit
    from concord.files import write_csv
    from concord.tasks import Encoded

    check_outputs(
        {"--propose": propose, "--out": out, "--cells": cells, "--json": json_out},
        [annotations, predictions, features, audited],
    )
    if propose is None:
        check_effect(context, "without --propose", "rows")
    else:
        check_effect(context, "with --propose, which stops there", "out", "cells", "audited", "level")
    if features is None:
        check_effect(context, "without --features", "effort", "processes", *([] if propose else ["seed"]))
    if propose is None and out is None and cells is None and json_out is None:
        raise ConfigError(
            "say what to write: --propose FILE for rows to annotate, or --out FILE for the table"
        )
    manifest = read_annotations(annotations, task, labels, (gap, no_gap), group, separator)
    first, second = two_tasks(manifest, source, target)
    predicted = task_predictions(manifest, (first, second), predictions, features, seed, effort, processes)
    groups = group_codes(manifest)
    if propose is not None:
        which = propose_audit(predicted[first.name], rows, groups=groups, seed=seed)
        locators = [name for name in ("path", "row", "text") if name in manifest.frame.columns]
        chosen = manifest.frame[which].select(locators).with_columns(number=which)
        write_csv(propose, [chosen.columns, *map(list, chosen.iter_rows())])
        write_json(json_out, {"proposed": which.tolist()})
        say(f"wrote {len(which)} rows to {propose}; annotate them for {first.name} and {second.name}")
        return
    targets = manifest.targets()
    both = first.annotated(targets[first.name]) & second.annotated(targets[second.name])
    if audited is not None:
        both &= _listed(audited, len(both))
    if not both.any():
        raise NoAnnotationError(
            f"no audited row is annotated for both {first.name!r} and {second.name!r}; --propose says which "
            "rows to annotate"
        )
    found = audit_relation(
        first,
        second,
        Encoded(targets[first.name]),
        Encoded(targets[second.name]),
        class_proba=predicted[first.name],
        target_proba=predicted[second.name],
        audited=both,
        groups=groups,
        level=level,
    )
    if out is not None:
        write_table(found.relation, out)
    if cells is not None:
        write_cells(found.relation, cells)
        say(f"wrote {cells}")
    write_json(
        json_out,
        {
            **{name: number_or_none(v) for name, v in vars(found).items() if isinstance(v, int | float)},
            "assumptions_held": bool(found.assumptions_held),
            "sentences": found.sentences(),
            "corrected": relation_json(found.relation, 0.0) | {"level": found.level, "conditional": False},
            "estimate": relation_json(found.estimate, 0.0) | {"level": found.level, "conditional": True},
        },
    )
    for line in found.sentences():
        say(line)


def _listed(file: Path, n: int) -> npt.NDArray[np.bool_]:
    """Truth values of n rows: whether the row's number stands in a file of `--propose`."""
    import csv

    import numpy as np

    from concord.errors import DataFormatError, MissingDataError

    if not file.is_file():
        raise MissingDataError(f"no file of audited rows at {file}")
    out = np.zeros(n, dtype=bool)
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            numbers = [int(row["number"]) for row in csv.DictReader(stream)]
        if not all(0 <= number < n for number in numbers):
            raise ValueError("a number that no row has")
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise DataFormatError(
            f"{file} is no file of --propose for these {n} rows: it needs a column 'number' ({error})"
        ) from error
    out[numbers] = True
    return out
