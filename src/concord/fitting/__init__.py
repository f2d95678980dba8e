"""One training loop: fixed budget, mixed precision, several devices, resumable at any step."""

from concord.fitting.checkpoints import Checkpoints, random_state, set_random_state
from concord.fitting.code_logger import own_logger
from concord.fitting.devices import keep_freed_memory, launch, on_first
from concord.fitting.held import HeldFeatures
from concord.fitting.loop import fit
from concord.fitting.optimise import Average, Decay, Schedule, freeze, parameter_groups, rate_factor
from concord.fitting.predict import in_memory, row_logits
from concord.fitting.recipe import History, Recipe, selected_network
from concord.fitting.rows import (
    Balanced,
    Feed,
    RowFeed,
    Rows,
    Samples,
    StreamedRowFeed,
    StreamFeed,
)
from concord.fitting.trackers import MLflow, WandB
from concord.fitting.validation import Validation, collect, scaled_log_loss
from concord.fitting.watch import JsonLines, Logger, Progress, TensorBoard

__all__ = [
    "Average",
    "Balanced",
    "Checkpoints",
    "Decay",
    "Feed",
    "HeldFeatures",
    "History",
    "JsonLines",
    "Logger",
    "MLflow",
    "Progress",
    "Recipe",
    "RowFeed",
    "Rows",
    "Samples",
    "Schedule",
    "StreamFeed",
    "StreamedRowFeed",
    "TensorBoard",
    "Validation",
    "WandB",
    "collect",
    "fit",
    "freeze",
    "in_memory",
    "keep_freed_memory",
    "launch",
    "on_first",
    "own_logger",
    "parameter_groups",
    "random_state",
    "rate_factor",
    "row_logits",
    "scaled_log_loss",
    "selected_network",
    "set_random_state",
]
