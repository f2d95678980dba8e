"""`concord relation`: look at a table of P(label | class), or estimate one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from concord.cli.data import GapOption, LabelOption, SeparatorOption, TaskOption, _mapping, _open
from concord.errors import StudyError, UnknownNameError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import Console
    from rich.table import Table

    from concord.data.manifest import Manifest
    from concord.relation import Relation
    from concord.tasks import Task

app = typer.Typer(help="Tables of P(label | class): show one, estimate one.", no_args_is_help=True)

SHADES = ("grey50", "white", "cyan", "bold green")


@app.command()
def show(
    table: Annotated[
        str, typer.Argument(help="A CSV file, or a built-in table: expressions, compound-expressions.")
    ],
    *,
    out: Annotated[Path | None, typer.Option("--out", help="Write the table to this CSV file.")] = None,
    classes: Annotated[
        bool, typer.Option("--classes", help="Columns are classes of another task: each row sums to 1.")
    ] = False,
    tolerance: Annotated[
        float, typer.Option("--tolerance", min=0, help="Cells that differ by no more count as equal.")
    ] = 0.0,
) -> None:
    """Print a table, the classes that it cannot tell apart, and the labels that tell nothing."""
    from rich.console import Console

    relation = _relation(table, classes)
    console = Console()
    _print(console, relation, tolerance)
    if out is not None:
        relation.to_csv(out)
        console.print(f"wrote {out}", soft_wrap=True)


@app.command()
def estimate(
    annotations: Annotated[
        Path, typer.Argument(help="A manifest, or a plain CSV file with --task and --labels.")
    ],
    *,
    out: Annotated[Path, typer.Option("--out", help="Write the table to this CSV file, as `show` reads it.")],
    cells: Annotated[
        Path | None,
        typer.Option("--cells", help="Write mean, interval and count of every cell to this CSV file."),
    ] = None,
    source: Annotated[
        str | None, typer.Option("--source", help="The class task, where there are several.")
    ] = None,
    target: Annotated[
        str | None, typer.Option("--target", help="The other task, where there are several.")
    ] = None,
    level: Annotated[
        float, typer.Option("--level", help="Mass of the intervals.", min=0.5, max=0.999)
    ] = 0.95,
    prior: Annotated[
        float, typer.Option("--prior", help="Weight of a label's overall rate, in samples.", min=1e-3)
    ] = 1.0,
    task: TaskOption = None,
    labels: LabelOption = None,
    gap: GapOption = None,
    separator: SeparatorOption = ",",
) -> None:
    """Estimate a table from samples that are annotated for both tasks."""
    from rich.console import Console

    from concord.relation import Relation

    columns = {"path_column": None, "text": None, "row": None, "split": None, "group": None}
    manifest = _open(annotations, _mapping(task, labels, gap, columns, separator))
    first, second = _tasks(manifest, source, target)
    targets = manifest.targets()
    relation = Relation.from_annotations(
        first,  # type: ignore[arg-type]
        second,
        targets[first.name],
        targets[second.name],
        level=level,
        pseudo_count=prior,
    )
    console = Console()
    _print(console, relation, 0.0)
    relation.to_csv(out)
    console.print(f"wrote {out}", soft_wrap=True)
    if cells is not None:
        _write_cells(relation, cells)
        console.print(f"wrote {cells}", soft_wrap=True)


def _print(console: Console, relation: Relation, tolerance: float) -> None:
    for block in _drawn(relation, console.width):
        console.print(block)
    for line in _findings(relation, tolerance):
        console.print(line)


def _relation(table: str, classes: bool) -> Relation:
    from concord.relation import Relation, _read_csv
    from concord.tables import BUILTIN
    from concord.tasks import MulticlassTask, MultilabelTask

    if table in BUILTIN:
        return BUILTIN[table]()
    path = Path(table)
    if not path.suffix and not path.exists():
        raise UnknownNameError.of("table", table, BUILTIN)
    rows, columns, _ = _read_csv(path)
    target = MulticlassTask("classes", columns) if classes else MultilabelTask("labels", columns)
    with path.open(encoding="utf-8-sig") as file:
        name = file.readline().split(",")[0].strip() or "class"
    return Relation.from_csv(MulticlassTask(name, rows), target, path)


def _drawn(relation: Relation, width: int) -> Iterator[Table]:
    """The table in blocks of as many columns as the terminal takes."""
    names = list(relation.target.outputs)
    room = width - max(len(name) for name in (relation.source.name, *relation.source.classes)) - 2
    blocks: list[list[int]] = [[]]
    for k in range(len(names)):
        if blocks[-1] and sum(max(5, len(names[j]) + 2) for j in (*blocks[-1], k)) > room:
            blocks.append([])
        blocks[-1].append(k)
    for number, block in enumerate(blocks):
        yield _block(
            relation, block, f"P({relation.target.name} | {relation.source.name})" if not number else None
        )


def _block(relation: Relation, block: Sequence[int], title: str | None) -> Table:
    import numpy as np
    from rich import box
    from rich.table import Table

    table = Table(
        title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False
    )
    table.add_column(relation.source.name, no_wrap=True)
    for k in block:
        table.add_column(relation.target.outputs[k], justify="right")
    for i, name in enumerate(relation.source.classes):
        cells = []
        for value in relation.table[i, list(block)]:
            if np.isnan(value):
                cells.append("[yellow]?[/yellow]")
            else:
                shade = SHADES[0 if value == 0 else 1 + min(2, int(value * 3))]
                cells.append(f"[{shade}]{_short(value)}[/{shade}]")
        table.add_row(name, *cells)
    return table


def _short(value: float) -> str:
    return "1" if value == 1 else "0" if value == 0 else f"{value:.2f}".lstrip("0")


def _findings(relation: Relation, tolerance: float) -> list[str]:
    groups, silent = relation.indistinguishable(tolerance), relation.uninformative(tolerance)
    unknown = int((~relation.known).sum())
    lines = [f"cannot tell apart: {', '.join(group)}" for group in groups] or ["tells all classes apart"]
    lines.append(
        f"say nothing of the class: {', '.join(silent)}" if silent else "every label tells something"
    )
    if unknown:
        lines.append(f"{unknown} of {relation.table.size} cells are unknown")
    return lines


def _tasks(manifest: Manifest, source: str | None, target: str | None) -> tuple[Task, Task]:
    from concord.tasks import MulticlassTask

    classes = [task for task in manifest.tasks if isinstance(task, MulticlassTask)]
    first = manifest.task(source) if source else _only(classes, "class task", "--source")
    if not isinstance(first, MulticlassTask):
        raise StudyError(f"--source is a class task, but {first.name!r} has labels")
    rest = [task for task in manifest.tasks if task is not first]
    return first, manifest.task(target) if target else _only(rest, "other task", "--target")


def _only(tasks: Sequence[Task], kind: str, option: str) -> Task:
    if len(tasks) != 1:
        names = ", ".join(task.name for task in tasks) or "none"
        raise StudyError(f"exactly one {kind} is needed, found {names}; say which with {option}")
    return tasks[0]


def _write_cells(relation: Relation, path: Path) -> None:
    import csv
    from math import isnan

    assert relation.interval is not None
    assert relation.strength is not None
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([relation.source.name, relation.target.name, "mean", "low", "high", "count"])
        for i, name in enumerate(relation.source.classes):
            for k, label in enumerate(relation.target.outputs):
                values = (relation.table[i, k], *relation.interval[:, i, k], relation.strength[i, k])
                writer.writerow([name, label, *("" if isnan(v) else f"{v:.6g}" for v in values)])
