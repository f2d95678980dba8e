"""What relations add at prediction time, and how sure predictions are: decoding, temperatures, thresholds."""

from concord.decoding.calibration import best_strength, row_loss, temperature
from concord.decoding.decoders import Decoders
from concord.decoding.joint import (
    KNOWN_MASS,
    STRENGTHS,
    JointDecoder,
    decode_classes,
    decode_targets,
    implied,
    implied_bounds,
)
from concord.decoding.thresholds import (
    HALF,
    ThresholdMetric,
    Thresholds,
    checked_metric,
    checked_thresholds,
    choose_thresholds,
    thresholds_of,
)

__all__ = [
    "HALF",
    "KNOWN_MASS",
    "STRENGTHS",
    "Decoders",
    "JointDecoder",
    "ThresholdMetric",
    "Thresholds",
    "best_strength",
    "checked_metric",
    "checked_thresholds",
    "choose_thresholds",
    "decode_classes",
    "decode_targets",
    "implied",
    "implied_bounds",
    "row_loss",
    "temperature",
    "thresholds_of",
]
