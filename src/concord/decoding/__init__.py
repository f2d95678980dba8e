"""What relations add at prediction time, and how sure predictions are: joint decoding, temperatures."""

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

__all__ = [
    "KNOWN_MASS",
    "STRENGTHS",
    "Decoders",
    "JointDecoder",
    "best_strength",
    "decode_classes",
    "decode_targets",
    "implied",
    "implied_bounds",
    "row_loss",
    "temperature",
]
