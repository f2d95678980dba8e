"""The most memory that a run takes."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import torch

STATUS, REFERENCES = Path("/proc/self/status"), Path("/proc/self/clear_refs")

#: KiB by which a peak that was just set back may lie above what is held: pages come and go between two looks.
SLACK = 8 << 10


class PeakMemory:
    """The most memory since it was made: of the process, or of an accelerator where one trains.

    Of the process, where the system lets its peak be set back (Linux; some sandboxes accept the order and do
    nothing, which is noticed); what it held before counts too, the data above all.

    Args:
        device: Where networks are trained.
    """

    def __init__(self, device: str) -> None:
        self.device = torch.device(device)
        self.known = self.device.type == "cuda"
        if self.known:
            torch.cuda.init()  # type: ignore[no-untyped-call] # a process that has not used it is refused below
            torch.cuda.reset_peak_memory_stats(self.device)
        elif self.device.type == "cpu" and sys.platform == "linux":
            try:
                REFERENCES.write_text("5", encoding="ascii")  # sets VmHWM back: proc(5)
            except OSError:
                return
            peak, now = _kibibytes("VmHWM"), _kibibytes("VmRSS")
            self.known = peak is not None and now is not None and peak - now <= SLACK

    def mebibytes(self) -> float | None:
        """The peak in MiB; None where the system does not say."""
        if not self.known:
            return None
        if self.device.type == "cuda":
            return round(torch.cuda.max_memory_allocated(self.device) / 2**20, 1)
        peak = _kibibytes("VmHWM")
        return None if peak is None else round(peak / 2**10, 1)


def _kibibytes(entry: str) -> int | None:
    """What the system says of this process's memory under a name; None where it says nothing."""
    try:
        # Bytes: the name of the process, which stands there too, need not be text in any encoding.
        found = re.search(rb"^%s:\s+(\d+) kB" % entry.encode(), STATUS.read_bytes(), flags=re.MULTILINE)
    except OSError:
        return None
    return None if found is None else int(found[1])
