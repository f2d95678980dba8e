"""A bar on the standard error stream while an estimator trains its networks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

Progress = Callable[[], Callable[[dict[str, float]], None]]
"""Asked for each network that is trained; what it gives takes the network's records."""


@contextmanager
def training_bar(steps: int, *, shown: bool = True, console: Any = None) -> Iterator[Progress | None]:
    """A progress bar over the optimiser steps of all networks of a fit.

    Args:
        steps: How many there will be at most.
        shown: Whether there is one at all; otherwise None is given.
        console: Where to draw; the standard error stream unless given.
    """
    if not shown:
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    bar = Bar(
        TextColumn("training"),
        BarColumn(),
        TextColumn("{task.completed:,.0f} of at most {task.total:,.0f} steps"),
        TimeRemainingColumn(),
        console=console or Console(stderr=True),
        redirect_stdout=False,
        redirect_stderr=False,
    )
    number = bar.add_task("training", total=steps)

    def of_network() -> Callable[[dict[str, float]], None]:
        before = 0.0

        def log(record: dict[str, float]) -> None:
            nonlocal before
            bar.advance(number, record["step"] - before)
            before = record["step"]

        return log

    with bar:
        yield of_network
