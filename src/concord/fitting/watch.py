"""What one watches during a training: progress on the terminal, JSON lines, TensorBoard."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from concord.errors import CheckpointError, MissingExtraError
from concord.files import parse_json, write_bytes
from concord.terminal import console as terminal_console


class Logger(Protocol):
    """Takes records of a training, on rank 0 only."""

    def log(self, record: Mapping[str, float]) -> None:
        """Take one record.

        Args:
            record: `step`, `loss`, the loss's parts, `lr` and `rate` (rows a second); or `step` and metrics
                of validation rows, `val/TASK/METRIC`.
        """

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs, as JSON holds it."""

    def resume(self, step: int, state: Mapping[str, Any]) -> None:
        """Go on after `step`; whatever was logged later is void."""

    def close(self) -> None:
        """Write what is left."""


class JsonLines:
    """One JSON object a line; what a killed run logged after its last checkpoint is cut when it resumes.

    Args:
        path: The file.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def log(self, record: Mapping[str, float]) -> None:
        """Append one line."""
        values = {k: (int(v) if k == "step" else v if math.isfinite(v) else None) for k, v in record.items()}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(values) + "\n")
        except OSError as error:
            raise CheckpointError(f"cannot write {self.path}: {error.strerror or error}") from error

    def state_dict(self) -> dict[str, Any]:
        """Nothing: the file says it."""
        return {}

    def resume(self, step: int, state: Mapping[str, Any]) -> None:
        """Cut lines of later steps; lines that are no records go to `FILE.odd`."""
        del state
        if not self.path.exists():
            return
        lines = self.path.read_bytes().splitlines(keepends=True)
        steps = [_step_of(line) for line in lines]
        odd = [line for line, found in zip(lines, steps, strict=True) if found is None and line.strip()]
        if odd:
            odd_file = self.path.with_name(f"{self.path.name}.odd")
            write_bytes(odd_file, b"".join([odd_file.read_bytes() if odd_file.exists() else b"", *odd]))
        kept = [line for line, found in zip(lines, steps, strict=True) if found is not None and found <= step]
        write_bytes(self.path, b"".join(kept))

    def close(self) -> None:
        """Nothing: every line is written at once."""


def _step_of(line: bytes) -> float | None:
    """The step of a whole line; None for anything that `log` did not write."""
    try:
        step = parse_json(line.decode())["step"]
    except (ValueError, TypeError, LookupError):
        return None
    whole = line.endswith(b"\n") and isinstance(step, int | float) and not isinstance(step, bool)
    return step if whole else None


def plain_name(name: str) -> str:
    """A name of a record without signs that trackers refuse: `LOSS/A_to_B` of `LOSS:A->B`."""
    return name.replace(":", "/").replace("->", "_to_")


class TensorBoard:
    """Scalars for TensorBoard.

    Args:
        folder: Where the event files go.

    Raises:
        MissingExtraError: tensorboard is not installed.
    """

    def __init__(self, folder: str | Path) -> None:
        try:
            from tensorboard.compat.proto.event_pb2 import Event  # noqa: F401
            from torch.utils.tensorboard.writer import SummaryWriter
        except ImportError:
            raise MissingExtraError(
                "logging to TensorBoard needs tensorboard: pip install concord-mtl[tensorboard]"
            ) from None
        self.folder = Path(folder)
        self._open = SummaryWriter
        self._writer: Any = None
        self._after: int | None = None

    def log(self, record: Mapping[str, float]) -> None:
        """Write the scalars of one record."""
        if self._writer is None:
            self._writer = self._open(str(self.folder), purge_step=self._after)
        for name, value in record.items():
            if name != "step":
                self._writer.add_scalar(plain_name(name), value, int(record["step"]))

    def state_dict(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def resume(self, step: int, state: Mapping[str, Any]) -> None:
        """Have TensorBoard hide what was logged after `step`."""
        del state
        self._after = step + 1

    def close(self) -> None:
        """Flush the events."""
        if self._writer is not None:
            self._writer.close()


class Progress:
    """A bar on the terminal with the loss, its parts and the rate; elsewhere a line for each tenth.

    Args:
        steps: Number of steps in all.
        console: Where to draw; the standard error stream unless given.
    """

    LINES = 10

    def __init__(self, steps: int, console: Any = None) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        self._bar = Bar(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[parts]}", markup=False),
            console=console or terminal_console(stderr=True),
        )
        self._task = self._bar.add_task("training", total=steps, parts="")
        self._steps, self._told = steps, 0
        if self._bar.console.is_terminal:
            self._bar.start()

    def log(self, record: Mapping[str, float]) -> None:
        """Move the bar and show the parts of the loss, or the metrics of validation rows."""
        if "loss" in record:
            shown = [
                f"{name} {value:.3f}" for name, value in record.items() if name not in ("step", "lr", "rate")
            ]
            shown += [f"{record['rate']:,.0f} rows/s"] if "rate" in record else []
            self._bar.update(self._task, completed=record["step"], parts="  ".join(shown))
            self._tell(int(record["step"]), "  ".join(shown))
        else:
            shown = [
                f"{name.removeprefix('val/')} {value:.3f}" for name, value in record.items() if name != "step"
            ]
            self._bar.console.print(f"step {record['step']:.0f}: " + "  ".join(shown), highlight=False)

    def _tell(self, step: int, parts: str) -> None:
        """A line where no bar can be drawn: in the log of a job, in a file."""
        reached = step * self.LINES // self._steps
        if not self._bar.console.is_terminal and reached > self._told:
            self._told = reached
            line = f"step {step:,} of {self._steps:,}: {parts}"
            self._bar.console.print(line, highlight=False, soft_wrap=True)

    def state_dict(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def resume(self, step: int, state: Mapping[str, Any]) -> None:
        """Begin at `step`."""
        del state
        self._told = step * self.LINES // self._steps
        self._bar.update(self._task, completed=step)

    def close(self) -> None:
        """Leave the bar as it stands."""
        if self._bar.live.is_started:
            self._bar.stop()
