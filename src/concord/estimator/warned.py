"""Warnings that point at the caller's line."""

from __future__ import annotations

import inspect
import warnings
from pathlib import Path

HERE = Path(__file__).parent


def warn_caller(message: str, category: type[Warning]) -> None:
    """Warn at the line outside this folder that called the estimator."""
    level, frame = 1, inspect.currentframe()
    while frame is not None and Path(frame.f_code.co_filename).parent == HERE:
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)
