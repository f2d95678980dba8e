"""`concord relation`: look at a table of P(label | class), estimate one, check one against data."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from concord.cli.data import (
    GapOption,
    GroupOption,
    LabelOption,
    NoGapOption,
    SeparatorOption,
    TaskOption,
    open_manifest,
    parse_mapping,
)
from concord.cli.outputs import check_effect, check_outputs
from concord.cli.streams import JsonOption, readable, table_name, writable, write_json
from concord.cli.tables import number_or_none, print_relation, relation_json, write_cells, write_table
from concord.errors import ConfigError, UnknownNameError
from concord.terminal import console, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt

    from concord.auto import FirstStage
    from concord.data import Manifest
    from concord.estimation import RelationCheck
    from concord.relations import Relation
    from concord.tasks import MulticlassTask, Task

app = typer.Typer(
    help="Tables of P(label | class): show one, estimate one, check one against data.", no_args_is_help=True
)

TableArgument = Annotated[
    str,
    typer.Argument(
        help="A CSV file (- for standard input), or a built-in table: expressions, compound-expressions.",
        parser=table_name,
        show_default=False,
    ),
]
AnnotationsArgument = Annotated[
    Path,
    typer.Argument(
        help="A manifest, or a plain CSV file with --task and --labels; - for standard input.",
        parser=readable,
        show_default=False,
    ),
]
SourceOption = Annotated[
    str | None, typer.Option("--source", help="The class task, where there are several.")
]
TargetOption = Annotated[
    str | None, typer.Option("--target", help="The other task, where there are several.")
]
LevelOption = Annotated[float, typer.Option("--level", help="Mass of the intervals.", min=0.5, max=0.999)]
PredictionsOption = Annotated[
    Path | None,
    typer.Option(
        "--predictions",
        help="What heads trained without coupling, and not on these rows, say: .csv or .parquet with columns "
        "TASK.NAME, or .npz with an array a task; - for standard input.",
        parser=readable,
        metavar="<path>",
        show_default=False,
    ),
]
FeaturesOption = Annotated[
    Path | None,
    typer.Option(
        "--features",
        help="Features of the rows (.npz with x or one array alone, or .npy), to make such predictions by "
        "cross-fitting.",
        show_default=False,
    ),
]
SeedOption = Annotated[int, typer.Option("--seed", help="Of the cross-fitting.", min=0)]
EffortOption = Annotated[
    str, typer.Option("--effort", help="Of the cross-fitting: fast, standard, thorough.")
]
ProcessesOption = Annotated[
    int,
    typer.Option("--processes", min=1, help="Networks of the cross-fitting that are trained at a time."),
]
FigureOption = Annotated[
    Path | None,
    typer.Option("--figure", help="Draw the heat map to this .svg, .png or .pdf file.", show_default=False),
]

TableOut = Annotated[
    Path | None,
    typer.Option(
        "--out",
        help="Write the table to this CSV file; - for standard output.",
        parser=writable,
        metavar="<path>",
        show_default=False,
    ),
]
CellsOption = Annotated[
    Path | None,
    typer.Option(
        "--cells",
        help="Write mean, interval and count of every cell to this CSV file; - for standard output.",
        parser=writable,
        metavar="<path>",
        show_default=False,
    ),
]


@app.command()
def show(
    context: typer.Context,
    table: TableArgument,
    *,
    out: TableOut = None,
    classes: Annotated[
        bool, typer.Option("--classes", help="Columns are classes of another task: each row sums to 1.")
    ] = False,
    tolerance: Annotated[
        float, typer.Option("--tolerance", min=0, help="Cells that differ by no more count as equal.")
    ] = 0.0,
    json_out: JsonOption = None,
) -> None:
    """Print a table, the classes that it cannot tell apart, and the labels that tell nothing."""
    check_outputs({"--out": out, "--json": json_out}, [Path(table)])
    if _built_in(table):
        check_effect(context, "on a built-in table", "classes")
    relation = _relation(table, classes)
    if out is not None:
        write_table(relation, out)
    write_json(json_out, relation_json(relation, tolerance))
    print_relation(console(), relation, tolerance)


@app.command()
def estimate(
    context: typer.Context,
    annotations: AnnotationsArgument,
    *,
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            help="Write the table to this CSV file, as `show` reads it; - for standard output.",
            parser=writable,
            metavar="<path>",
        ),
    ],
    cells: CellsOption = None,
    figure: FigureOption = None,
    predictions: PredictionsOption = None,
    features: FeaturesOption = None,
    source: SourceOption = None,
    target: TargetOption = None,
    level: LevelOption = 0.95,
    prior: Annotated[
        float | None,
        typer.Option(
            "--prior",
            help="Weight of a label's overall rate, in samples; 1, or 2 with predictions.",
            min=1e-3,
            show_default=False,
        ),
    ] = None,
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
    """Estimate a table: from samples annotated for both tasks, or from any with predictions or features."""
    from concord.data import group_codes
    from concord.estimation import estimate_relation
    from concord.study import Panel, check_figure, draw_panels
    from concord.tasks import Encoded

    if figure is not None:
        check_figure(figure)
    check_outputs(
        {"--out": out, "--cells": cells, "--figure": figure, "--json": json_out},
        [annotations, predictions, features],
    )
    if features is None:
        check_effect(context, "without --features", "seed", "effort", "processes")
    manifest = read_annotations(annotations, task, labels, (gap, no_gap), group, separator)
    first, second = two_tasks(manifest, source, target)
    targets = manifest.targets()
    predicted: dict[str, npt.NDArray[np.float64]] = {}
    if predictions is not None or features is not None:
        cross_fitting = (seed, effort, processes)
        predicted = task_predictions(manifest, (first, second), predictions, features, *cross_fitting)
    relation = estimate_relation(
        first,
        second,
        Encoded(targets[first.name]),
        Encoded(targets[second.name]),
        class_proba=predicted.get(first.name),
        target_proba=predicted.get(second.name),
        groups=group_codes(manifest),
        level=level,
        pseudo_count=prior,
    )
    write_table(relation, out)
    if cells is not None:
        write_cells(relation, cells)
        say(f"wrote {cells}")
    if figure is not None:
        assert relation.interval is not None
        low, high = relation.interval
        kind = "conditional " if predicted else ""
        width = Panel(f"width of the {kind}{level:.0%} interval", high - low)
        panels = [Panel("estimated", relation.table), width]
        draw_panels(figure, panels, first.outputs, second.outputs)
        say(f"drew {figure}")
    held = {"level": level, "conditional": bool(predicted)}
    write_json(json_out, relation_json(relation, 0.0) | held)
    print_relation(console(), relation, 0.0)
    if predicted:
        say(
            "the intervals of its cells are conditional: they hold no error of the heads that predicted; "
            "`concord relation audit` measures it"
        )


@app.command()
def check(
    context: typer.Context,
    table: TableArgument,
    annotations: AnnotationsArgument,
    *,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="Write given, estimate, interval and count of every cell to this CSV file; - for standard "
            "output.",
            parser=writable,
            metavar="<path>",
        ),
    ] = None,
    figure: FigureOption = None,
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
    """Weigh a table against data: how far to trust it, and which of its cells the data contradict.

    Needs, besides the annotations, predictions of heads that were trained without coupling, out of sample; or
    features to make them from. A cell is contradicted where it is more than .5 away from rows whose class is
    told without its own label; the estimate of --out takes that label along, and is another number.
    """
    from concord.data import group_codes, read_predictions
    from concord.estimation import calibrated, check_observations, estimate_by_em, observed
    from concord.study import check_figure
    from concord.tasks import Encoded

    if figure is not None:
        check_figure(figure)
    check_outputs(
        {"--out": out, "--figure": figure, "--json": json_out},
        [Path(table), annotations, predictions, features],
    )
    if features is None:
        check_effect(context, "without --features", "seed", "effort", "processes")
    manifest = read_annotations(annotations, task, labels, (gap, no_gap), group, separator)
    first, second = two_tasks(manifest, source, target)
    given, unlike = _given(table, first, second)
    _one_of(predictions, features)
    if features is not None:
        stage = _first_stage(manifest, (first, second), features, seed, effort, processes)
        found, rows = stage.check(given), stage.observations(first, second)
    elif predictions is not None:
        targets, predicted = manifest.targets(), read_predictions(predictions, manifest, (first, second))
        rows = calibrated(
            observed(
                first,
                second,
                Encoded(targets[first.name]),
                Encoded(targets[second.name]),
                predicted[first.name],
                predicted[second.name],
                groups=group_codes(manifest),
            )
        )
        found = check_observations(rows, given)
    else:
        raise ConfigError(
            "a table is checked by what heads trained without coupling say of the rows: give their "
            "out-of-sample probabilities with --predictions, or features with --features"
        )
    own = estimate_by_em(rows, level=level)
    wrong = _wrong(found)
    if out is not None:
        _write_check(out, given, own, wrong)
        say(f"wrote {out}")
    if figure is not None:
        _draw_check(figure, given, own, wrong)
        say(f"drew {figure}")
    write_json(
        json_out,
        {
            "verdict": found.verdict,
            "trust": number_or_none(found.trust),
            "sentence": found.sentences()[0],
            "left_out": [name for names in unlike for name in names.left_out],
            "lacking": [name for names in unlike for name in names.lacking],
            "contradictions": [asdict(cell) for cell in found.told_contradictions],
            "given": relation_json(given, 0.0),
            "estimate": relation_json(own, 0.0) | {"level": level, "conditional": True},
        },
    )
    for line in [line for names in unlike for line in names.told()] + _account(found, given, own):
        say(line)


def read_annotations(
    annotations: Path,
    task: list[str] | None,
    labels: list[str] | None,
    gaps: tuple[list[str] | None, list[str] | None],
    group: str | None,
    separator: str,
) -> Manifest:
    """The manifest of the annotations."""
    columns = {"path_column": None, "text": None, "row": None, "split": None, "group": group}
    return open_manifest(annotations, parse_mapping(task, labels, gaps[0], columns, separator, gaps[1]))


def _first_stage(
    manifest: Manifest, tasks: tuple[Task, Task], features: Path, seed: int, effort: str, processes: int
) -> FirstStage:
    """Cross-fitted networks on these features."""
    from concord.data import group_codes, read_features

    x = read_features(features, manifest)
    from concord.estimator import CoupledClassifier

    model = CoupledClassifier(tasks, effort=effort, random_state=seed, n_jobs=processes)
    return model.cross_fit(x, manifest.targets(), groups=group_codes(manifest))


def task_predictions(
    manifest: Manifest,
    tasks: tuple[MulticlassTask, Task],
    predictions: Path | None,
    features: Path | None,
    seed: int,
    effort: str,
    processes: int,
) -> dict[str, npt.NDArray[np.float64]]:
    """Out-of-sample predictions of both tasks, from a file or by cross-fitting on features."""
    from concord.data import read_predictions

    _one_of(predictions, features)
    if predictions is not None:
        return read_predictions(predictions, manifest, tasks)
    if features is not None:
        return _first_stage(manifest, tasks, features, seed, effort, processes).predictions()
    raise ConfigError(
        "out-of-sample predictions of heads trained without coupling are needed: give them with "
        "--predictions, or features with --features"
    )


def _one_of(predictions: Path | None, features: Path | None) -> None:
    if predictions is not None and features is not None:
        raise ConfigError("give --predictions or --features, not both")


@dataclass(frozen=True)
class _Unlike:
    """Names of one side of a table that its task does not have, and the other way round."""

    task: Task
    left_out: list[str]
    lacking: list[str]

    @classmethod
    def of(cls, task: Task, own: Task) -> _Unlike:
        left_out = [name for name in own.outputs if name not in task.outputs]
        return cls(task, left_out, [name for name in task.outputs if name not in own.outputs])

    def told(self) -> list[str]:
        """A line for each name that is left out, and one of those that the table lacks."""
        lines = []
        for name in self.left_out:
            near = UnknownNameError.near(name, self.lacking)
            line = f"the table's {name!r} is not in the annotations and is left out"
            lines.append(f"{line}; {near}" if near else line)
        if self.lacking:
            shown = ", ".join(self.lacking[:MOST_SENTENCES]) + ", ..." * (len(self.lacking) > MOST_SENTENCES)
            lines.append(
                f"the table lacks {shown} of task {self.task.name!r}: all of it is unknown, and not checked"
            )
        return lines


def _given(table: str, source: MulticlassTask, target: Task) -> tuple[Relation, list[_Unlike]]:
    """The table for these tasks, and the names that are not on both sides."""
    from concord.relations import aligned
    from concord.tasks import MulticlassTask

    read = _relation(table, isinstance(target, MulticlassTask))
    unlike = [_Unlike.of(source, read.source), _Unlike.of(target, read.target)]
    given = aligned(read, source, target, table, extra="ignore")
    if not given.known.any():
        raise ConfigError(
            f"{table} is blank: it knows no cell of the classes and labels that are annotated; fill in those "
            "that are known"
        )
    return given, unlike


MOST_SENTENCES = 20
NOTABLE = 0.2


def _account(found: RelationCheck, given: Relation, own: Relation) -> list[str]:
    """What `check` prints."""
    scale = "1: the table agrees with the data as well as the data's own estimate does; 0: not at all"
    if found.trust > 1:
        scale += "; above 1: better than that estimate, which few rows make unsure"
    lines = [found.sentences()[0], f"trust {found.trust:.2f} ({scale})"]
    told = found.told_contradictions
    lines += [f"contradicted: {cell}" for cell in told[:MOST_SENTENCES]]
    if len(told) > MOST_SENTENCES:
        lines.append(f"... and {len(told) - MOST_SENTENCES} more cells are contradicted")
    if found.verdict in ("unrelated", "undecided"):
        lines.append("single cells are not judged where no relation is shown")
    elif not told:
        lines.append("no cell is contradicted")
    if found.verdict in ("kept", "partly wrong"):
        lines += _outside(found, given, own)
    return lines


def _outside(found: RelationCheck, given: Relation, own: Relation) -> list[str]:
    """Further cells of the table that lie notably outside their conditional interval, the largest first."""
    import numpy as np

    from concord.estimation import FREE_STRENGTH

    assert own.interval is not None
    assert own.strength is not None
    low, high = own.interval
    apart = np.where(given.known, np.abs(own.table - np.nan_to_num(given.table)), 0.0)
    with np.errstate(invalid="ignore"):
        out = (apart > NOTABLE) & ((given.table < low) | (given.table > high)) & ~_wrong(found)
    order = sorted(np.argwhere(out).tolist(), key=lambda at: -apart[tuple(at)])
    names, labels = given.source.outputs, given.target.outputs
    lines = []
    for i, k in order[:MOST_SENTENCES]:
        mean, count = own.table[i, k], own.strength[i, k]
        error = np.sqrt(mean * (1 - mean) / (count + FREE_STRENGTH + 1))
        lines.append(
            f"outside its conditional interval: the table says {names[i]} shows {labels[k]} with probability "
            f"{given.table[i, k]:.2f}; the estimate is {mean:.2f} +- {error:.2f}"
        )
    return lines


def _wrong(found: RelationCheck) -> npt.NDArray[np.bool_]:
    import numpy as np

    source, target = found.relation.source, found.relation.target
    wrong = np.zeros((source.width, target.width), dtype=bool)
    for cell in found.told_contradictions:
        wrong[source.outputs.index(cell.source), target.outputs.index(cell.target)] = True
    return wrong


def _write_check(path: Path, given: Relation, own: Relation, wrong: npt.NDArray[np.bool_]) -> None:
    from math import isnan

    from concord.files import write_csv

    assert own.interval is not None
    assert own.strength is not None
    head = ["given", "estimate", "low", "high", "count", "contradicted"]
    rows = [[given.source.name, given.target.name, *head]]
    for i, name in enumerate(given.source.outputs):
        for k, label in enumerate(given.target.outputs):
            numbers = (given.table[i, k], own.table[i, k], *own.interval[:, i, k], own.strength[i, k])
            cells = ["" if isnan(v) else f"{v:.6g}" for v in numbers]
            rows.append([name, label, *cells, "yes" if wrong[i, k] else "no"])
    write_csv(path, rows)


def _draw_check(path: Path, given: Relation, own: Relation, wrong: npt.NDArray[np.bool_]) -> None:
    from concord.study import Panel, draw_panels

    panels = [
        Panel("given", given.table, framed=wrong),
        Panel("estimated", own.table, framed=wrong),
        Panel("estimated minus given", own.table - given.table, signed=True, framed=wrong),
    ]
    draw_panels(path, panels, given.source.outputs, given.target.outputs)


def _built_in(table: str) -> bool:
    from concord.relations import BUILTIN

    return table in BUILTIN


def _relation(table: str, classes: bool) -> Relation:
    from concord.relations import BUILTIN, Relation, read_table
    from concord.tasks import MulticlassTask, MultilabelTask

    if _built_in(table):
        return BUILTIN[table]()
    path = Path(table)
    if not path.suffix and not path.exists():
        raise UnknownNameError.of("table", table, BUILTIN)
    file = read_table(path)
    target = MulticlassTask("classes", file.columns) if classes else MultilabelTask("labels", file.columns)
    return Relation.from_csv(MulticlassTask(file.name or "class", file.rows), target, path)


def two_tasks(manifest: Manifest, source: str | None, target: str | None) -> tuple[MulticlassTask, Task]:
    """The class task and the other one, as the options choose them."""
    from concord.tasks import MulticlassTask

    classes = [task for task in manifest.tasks if isinstance(task, MulticlassTask)]
    first = manifest.task(source) if source else _only(classes, "class task", "--source", "--task")
    if not isinstance(first, MulticlassTask):
        raise ConfigError(f"--source is a class task, but {first.name!r} has labels")
    rest = [task for task in manifest.tasks if task is not first]
    return first, manifest.task(target) if target else _only(rest, "other task", "--target", "--labels")


def _only(tasks: Sequence[Task], kind: str, choosing: str, naming: str) -> Task:
    """The only task; with several the option `choosing` is needed, with none the option `naming`."""
    if not tasks:
        raise ConfigError(f"exactly one {kind} is needed, found none; name its columns with {naming}")
    if len(tasks) > 1:
        names = ", ".join(task.name for task in tasks)
        raise ConfigError(f"exactly one {kind} is needed, found {names}; say which with {choosing}")
    return tasks[0]
