"""The most memory that a run takes."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import torch

STATUS, REFERENCES = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class PeakMemory:
    """The most memory since it was made: of the process, or of an accelerator where one trains.

    Of the process, where the system lets its peak be set back (Linux); what it held before counts too, the
    data above all.

    Args:
        device: Where networks are trained.
    """

    def __init__(self, device: str) -> None:
        self.device = torch.device(device)
        self.known = self.device.type == "cuda"
        if self.known:
            torch.cuda.reset_peak_memory_stats(self.device)
        elif self.device.type == "cpu" and sys.platform == "linux":
            try:
                REFERENCES.write_text("5", encoding="ascii")  # sets VmHWM back: proc(5)
                self.known = True
            except OSError:
                self.known = False

    def mebibytes(self) -> float | None:
        """The peak in MiB; None where the system does not say."""
        if not self.known:
            return None
        if self.device.type == "cuda":
            return round(torch.cuda.max_memory_allocated(self.device) / 2**20, 1)
        try:
            found = re.search(r"^VmHWM:\s+(\d+) kB", STATUS.read_text(encoding="ascii"), flags=re.MULTILINE)
        except OSError:
            return None
        return None if found is None else round(int(found[1]) / 2**10, 1)
