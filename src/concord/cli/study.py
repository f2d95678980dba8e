"""`concord study`: run a plan, compare, report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from concord.cli.outputs import check_named, check_outputs, kept_by_study
from concord.cli.streams import JsonOption, write_json
from concord.errors import StudyError
from concord.terminal import console, say

if TYPE_CHECKING:
    from rich.console import Console

    from concord.study import Plan


LINES = 10
"""How often a study without a terminal says how far it is."""


def study(
    plan: Annotated[
        str,
        typer.Argument(
            help="A built-in study (digits, faces, identities) or a plan (.yaml, .json).", show_default=False
        ),
    ],
    *,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder of the study; runs/NAME unless given.")
    ] = None,
    seeds: Annotated[
        int | None, typer.Option("--seeds", min=1, help="Seeds 0 .. N-1 instead of the plan's.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer seeds and steps, to see it work.")] = False,
    processes: Annotated[
        int | None, typer.Option("--processes", min=1, help="Runs at a time; all cores unless given.")
    ] = None,
    engine: Annotated[
        str, typer.Option("--engine", help="processes of this machine, or ray for a Ray cluster.")
    ] = "processes",
    device: Annotated[
        list[str] | None,
        typer.Option(
            "--device",
            help="Where networks are trained: cpu, cuda (each one that is seen) or cuda:N. Given several "
            "times, processes take them in turn.",
        ),
    ] = None,
    no_images: Annotated[
        bool,
        typer.Option("--no-images", help="No test samples in report and gallery.json (samples: none)."),
    ] = False,
    array_index: Annotated[
        int | None,
        typer.Option(
            "--array-index", min=0, help="Number of this array job, 0 .. SIZE-1 (sbatch --array=0-7)."
        ),
    ] = None,
    array_size: Annotated[
        int | None, typer.Option("--array-size", min=1, help="Number of array jobs that share the runs.")
    ] = None,
    json_out: JsonOption = None,
) -> None:
    """Compare ways of training on the same rows, and say what helped, what hurt, and how sure that is.

    Interrupted, the same command goes on where it stopped; finished runs are never repeated. Given on several
    machines with a common folder, it shares the runs among them; who finishes last writes the report.
    """
    chosen = _plan(plan, seeds, quick)
    if no_images:
        chosen = chosen.with_samples("none")
    folder = out if out is not None else Path("runs") / _name(plan, quick)
    check_named("--out", folder)
    _check_folder(folder)
    check_outputs({"--json": json_out}, [Path(plan), *chosen.files()], kept_by_study(folder))
    shown = console()
    for what in chosen.code():
        say(f"concord: note: {what} is Python code next to the plan, and is run", error=True)
    left = _run(shown, chosen, folder, processes, engine, _array(array_index, array_size), device or ["cpu"])
    if left:
        shown.print(
            f"{left} runs are not done yet: other jobs are at them, or have yet to start; who finishes last "
            "writes the report. What a job left that was killed elsewhere is free again after two minutes"
        )
        return
    _conclude(shown, chosen, folder, json_out)


def _plan(given: str, seeds: int | None, quick: bool) -> Plan:
    from concord.study import as_plan, case, case_names, read_plan

    if Path(given).suffix in (".yaml", ".yml", ".json"):
        plan, quick = read_plan(given, quick), False
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


def _check_folder(folder: Path) -> None:
    # A training's folder has a config.json too, which is no plan.
    if (folder / "checkpoints").is_dir() or (folder / "run.json").is_file():
        raise StudyError(f"{folder} holds a training; choose another --out")


def _name(given: str, quick: bool) -> str:
    name = Path(given).stem
    return f"{name}-quick" if quick else name


def _array(index: int | None, size: int | None) -> tuple[int, int]:
    if (index is None) != (size is None):
        raise StudyError("--array-index and --array-size go together")
    return (0, 1) if index is None or size is None else (index, size)


def _run(
    shown: Console,
    plan: Plan,
    folder: Path,
    processes: int | None,
    engine: str,
    array: tuple[int, int],
    devices: list[str],
) -> int:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from concord.study import default_processes, run

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    done: list[Any] = []
    progress = Progress(*columns, console=shown)
    bar = progress.add_task("training", total=None)

    def start(total: int, before: int) -> None:
        # Not before: a plan that is refused leaves no empty bar behind.
        if before:
            shown.print(f"{before} of {total} runs were done already")
        progress.update(bar, total=total, completed=before)
        if shown.is_terminal:
            progress.start()

    def advance(cell: Any) -> None:
        done.append(cell)
        progress.update(bar, advance=1, description=f"{cell.regime} {cell.condition}")
        now, total = int(progress.tasks[0].completed), int(progress.tasks[0].total or 1)
        if not shown.is_terminal and now * LINES // total > (now - 1) * LINES // total:
            say(f"{now:,} of {total:,} runs", error=True)

    try:
        return run(
            plan,
            folder,
            processes=processes or (default_processes(devices) if engine == "processes" else None),
            engine=engine,
            devices=devices,
            array=array,
            on_start=start,
            on_done=advance,
        )
    except KeyboardInterrupt:
        if progress.live.is_started:
            progress.stop()
        shown.print(f"stopped after {len(done)} runs; the same command goes on from there")
        raise typer.Exit(130) from None
    finally:
        if progress.live.is_started:
            progress.stop()


def _conclude(shown: Console, plan: Plan, folder: Path, json_out: Path | None) -> None:
    from concord.study import finishing

    with finishing(folder):
        _finish(shown, plan, folder, json_out)


def _finish(shown: Console, plan: Plan, folder: Path, json_out: Path | None) -> None:
    from concord.study import compare, result_tables, write_report

    with shown.status("comparing"):
        summary = compare(plan, folder)
    page = write_report(folder)
    write_json(json_out, summary)
    for table in result_tables(summary):
        shown.print(table)
    shown.print(summary["sentence"])
    say(f"report: {page}")
