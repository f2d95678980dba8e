"""`concord study`: run a plan, compare, report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from concord.errors import StudyError

if TYPE_CHECKING:
    from rich.console import Console

    from concord.study.plan import Plan

__all__ = ["study"]


def study(
    plan: Annotated[
        str, typer.Argument(help="A built-in study (digits) or a plan (.yaml, .json).", show_default=False)
    ],
    *,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder of the study; runs/NAME unless given.")
    ] = None,
    seeds: Annotated[
        int | None, typer.Option("--seeds", min=1, help="Seeds 0 .. N-1 instead of the plan's.")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Two seeds and few steps, to see it work.")
    ] = False,
    processes: Annotated[
        int | None, typer.Option("--processes", min=1, help="Runs at a time; all cores unless given.")
    ] = None,
    part: Annotated[
        str, typer.Option("--part", help="I/N: train only this part of the runs, for array jobs.")
    ] = "1/1",
) -> None:
    """Compare ways of training on the same rows, and say what helped, what hurt, and how sure that is.

    Interrupted, the same command goes on where it stopped; finished runs are never repeated.
    """
    from rich.console import Console

    chosen = _plan(plan, seeds, quick)
    folder = out if out is not None else Path("runs") / _name(plan, quick)
    console = Console()
    left = _run(console, chosen, folder, processes, _part(part))
    if left:
        console.print(f"{left} runs of other parts are not done yet; the last part writes the report")
        return
    _conclude(console, chosen, folder)


def _plan(given: str, seeds: int | None, quick: bool) -> Plan:
    from concord.study.cases import case, case_names
    from concord.study.plan import as_plan, read_plan

    if Path(given).suffix in (".yaml", ".yml", ".json"):
        plan = read_plan(given)
    else:
        module = case(given)
        values = module.PLAN
        if values is None:
            ready = ", ".join(name for name in case_names() if case(name).PLAN is not None)
            raise StudyError(
                f"{given!r} is a problem without a study of its own; name it in a plan, or run {ready}"
            )
        if quick and getattr(module, "QUICK", None):
            values, quick = module.QUICK, False
        plan = as_plan(values, f"study {given!r}")
    if quick:
        plan = plan.quick()
    return plan if seeds is None else plan.with_seeds(seeds)


def _name(given: str, quick: bool) -> str:
    name = Path(given).stem
    return f"{name}-quick" if quick else name


def _part(given: str) -> tuple[int, int]:
    first, slash, second = given.partition("/")
    if not (slash and first.isdigit() and second.isdigit()):
        raise StudyError(f"--part is I/N, as in 3/8, found {given!r}")
    return int(first), int(second)


def _run(console: Console, plan: Plan, folder: Path, processes: int | None, part: tuple[int, int]) -> int:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from concord.study.run import default_processes, run

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    done: list[Any] = []
    progress = Progress(*columns, console=console)
    bar = progress.add_task("training", total=None)

    def start(total: int, before: int) -> None:
        # Not before: a plan that is refused leaves no empty bar behind.
        if before:
            console.print(f"{before} of {total} runs were done already")
        progress.update(bar, total=total, completed=before)
        progress.start()

    def advance(cell: Any) -> None:
        done.append(cell)
        progress.update(bar, advance=1, description=f"{cell.regime} {cell.condition}")

    try:
        return run(
            plan,
            folder,
            processes=processes or default_processes(),
            part=part,
            on_start=start,
            on_done=advance,
        )
    except KeyboardInterrupt:
        progress.stop()
        console.print(f"stopped after {len(done)} runs; the same command goes on from there")
        raise typer.Exit(130) from None
    finally:
        if progress.live.is_started:
            progress.stop()


def _conclude(console: Console, plan: Plan, folder: Path) -> None:
    from concord.study.compare import compare
    from concord.study.listed import tables
    from concord.study.report import write

    with console.status("comparing"):
        summary = compare(plan, folder)
    for table in tables(summary):
        console.print(table)
    console.print(summary["sentence"])
    page = write(folder)
    console.print(f"report: {page}", soft_wrap=True)
