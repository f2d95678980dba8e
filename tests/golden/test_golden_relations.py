"""Evidence, decoding, couplings and checks of drawn relations are what they were when they were recorded."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from golden.computing import relation_values
from golden.drawing import RELATIONS, drawn
from golden.machine import VALUES, check_arrays, unpack

SEARCHED = 1e-7
"""Relative tolerance of a minimum that is searched for: a loss is flat there, and its place is not exact."""


@cache
def recorded() -> dict[str, np.ndarray]:
    with np.load(VALUES / "relations.npz") as held:
        return unpack(held)


@pytest.mark.parametrize("index", range(RELATIONS))
def test_a_drawn_relation_says_what_it_said(index: int) -> None:
    mine = {k[3:]: v for k, v in recorded().items() if k.startswith(f"{index:02}/")}
    found = relation_values(index)
    assert list(found) == list(mine)
    searched = {name for name in found if name.endswith("temperature")}
    for names, tolerance in ((searched, SEARCHED), (set(found) - searched, 1e-12)):
        check_arrays(
            {k: v for k, v in found.items() if k in names},
            {k: v for k, v in mine.items() if k in names},
            tolerance=tolerance,
        )


def test_the_drawn_relations_are_of_every_kind() -> None:
    every = [drawn(i).relation for i in range(RELATIONS)]
    assert len({(r.sparse, r.class_to_class) for r in every}) == 4
    assert any(r.neutral.any() for r in every)
    assert any(not r.known_rows.all() for r in every)
    verdicts = {str(v) for k, v in recorded().items() if k.endswith("/check/verdict")}
    assert len(verdicts) >= 4
