"""Claims on cells: sessions on one machine or many work on one plan, and none trains what another does.

See `concord.archive`: on one machine a claim goes with its process; of another machine it is taken over when
this session saw no sign of life for two minutes. Where it is taken over from somebody who is alive after all,
both train the same numbers, and files are written whole.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

from concord.archive import Claim, Claimant, own
from concord.study.running.cells import Cell

FINISHING = ".finishing"


class Claims:
    """The claims of one session; a context that releases what is left at its end.

    Args:
        out: The study's folder.
    """

    def __init__(self, out: Path) -> None:
        self.folder = out / "runs"
        self.held: dict[Cell, Claim] = {}
        self._claimant = Claimant()

    def __enter__(self) -> Claims:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for cell in list(self.held):
            self.release(cell)

    def take(self, cell: Cell) -> bool:
        """Claim a cell; False where another session holds it, or may: see `watched`."""
        claim = self._claimant.take(self._path(cell))
        if claim is None:
            return False
        self.held[cell] = claim
        return True

    def watched(self, cell: Cell) -> bool:
        """Whether it is not known yet if the session that claimed a cell is alive."""
        return self._claimant.watched(self._path(cell))

    def release(self, cell: Cell) -> None:
        """Give a claim up."""
        claim = self.held.pop(cell, None)
        if claim is not None:
            claim.release()

    def _path(self, cell: Cell) -> Path:
        return self.folder / f"{cell.id}.claim"


def finishing(out: Path) -> Claim:
    """The claim of whoever writes what a study has once; waits for another session that does.

    Raises:
        CheckpointError: It cannot be written.
    """
    return own(out, FINISHING, wait=True)
