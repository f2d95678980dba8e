"""Thresholds of a training, chosen on rows that its network was not trained on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from concord.decoding import Thresholds, choose_thresholds
from concord.errors import ConfigError
from concord.runs.building import Built


def check_thresholds(built: Built) -> None:
    """Refuse thresholds without rows to choose them on.

    Raises:
        ConfigError: They are asked for, there is no row of split val, and no folds give out-of-fold rows.
    """
    plan = built.config
    if (
        plan.validation.thresholds is not None
        and plan.stages.kind == "auto"
        and plan.stages.effort == "probe"
    ):
        raise ConfigError(
            "validation.thresholds: with stages.effort: probe no row is predicted by a network that has not "
            "seen it; choose another effort, or thresholds later"
        )
    if plan.validation.thresholds is not None and plan.stages.kind != "auto" and not built.validation:
        raise ConfigError(
            "validation.thresholds: they are chosen on rows of split val, and there are none; "
            "`concord data split` draws some"
        )


def thresholds_for(
    built: Built,
    targets: Mapping[str, npt.NDArray[Any]],
    probabilities: Mapping[str, npt.NDArray[np.float64]],
    groups: Any = None,
) -> Thresholds | None:
    """The thresholds that the config asks for, if any, chosen on these rows; see `choose_thresholds`."""
    metric = built.config.validation.thresholds
    if metric is None:
        return None
    return choose_thresholds(metric, built.tasks, targets, probabilities, groups)
