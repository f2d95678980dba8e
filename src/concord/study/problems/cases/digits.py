"""scikit-learn's handwritten digits: the digit, and the seven segments that a display would light for it.

The relation is exact: a class says every label. Nothing is downloaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from concord.study.problems.problem import Problem


SEGMENTS = ("abcdef", "bc", "abdeg", "abcdg", "bcfg", "acdfg", "acdefg", "abc", "abcdefg", "abcdfg")
"""Segments that are lit for 0 .. 9; a is the top, then clockwise, g the middle."""

PLAN: dict[str, Any] = {
    "title": "Digits and seven segments",
    "problem": "digits",
    "regimes": [
        {"name": "few-class", "rows": {"digit": 50, "segments": 600}},
        {"name": "few-label", "rows": {"digit": 600, "segments": 50}},
        {"name": "balanced", "rows": {"digit": 200, "segments": 200}},
    ],
    "conditions": [
        "single-task",
        "uncoupled",
        "paper-matching",
        "paper-coannotation",
        "paper",
        "matching",
        "posterior",
    ],
    "seeds": 5,
}

TEST, VALIDATION = 800, 250
SPLIT_SEED = 7


def problem() -> Problem:
    """1,797 images of 8 x 8 pixels in [0, 1]; 800 test rows and 250 validation rows, always the same."""
    import numpy as np
    from sklearn.datasets import load_digits

    from concord.relations import Relation
    from concord.study.problems.problem import Problem
    from concord.tasks import MulticlassTask, MultilabelTask

    x, y = load_digits(return_X_y=True)
    digit = MulticlassTask("digit", range(10))
    segments = MultilabelTask("segments", list("abcdefg"))
    table = np.array([[float(segment in lit) for segment in segments.labels] for lit in SEGMENTS])
    inputs = (x / 16).astype(np.float32)
    order = np.random.default_rng(SPLIT_SEED).permutation(len(y))
    return Problem(
        name="digits",
        tasks=(digit, segments),
        inputs=inputs,
        targets={"digit": digit.encode(y), "segments": segments.encode(table[y])},
        splits={
            "test": order[:TEST],
            "val": order[TEST : TEST + VALIDATION],
            "train": order[TEST + VALIDATION :],
        },
        relations=(Relation(digit, segments, table),),
        picture=lambda row: _png(inputs[row].reshape(8, 8)),
    )


def _png(pixels: Any) -> bytes:
    from io import BytesIO

    import numpy as np
    from PIL import Image

    image = Image.fromarray((255 * (1 - np.asarray(pixels))).round().astype(np.uint8))
    file = BytesIO()
    image.resize((64, 64), Image.Resampling.NEAREST).save(file, "PNG", optimize=True)
    return file.getvalue()
