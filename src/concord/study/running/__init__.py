"""Running a study: cells, claims on them, processes and machines."""

from concord.study.running.cells import KEPT, Cell, all_cells, finished, load, logits, write_json
from concord.study.running.claims import finishing
from concord.study.running.one_cell import setting_of
from concord.study.running.running import default_processes, run

__all__ = [
    "KEPT",
    "Cell",
    "all_cells",
    "default_processes",
    "finished",
    "finishing",
    "load",
    "logits",
    "run",
    "setting_of",
    "write_json",
]
