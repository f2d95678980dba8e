"""How many rows of each source: weights, and their division among whole rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Literal, get_args

from concord.errors import RangeError, UnknownNameError

Share = Literal["size", "equal", "temperature"]

RESOLUTION = 2**20
"""Shares by temperature are irrational; they are rounded to whole multiples of one over this."""


def apportion(weights: Sequence[int], seats: int) -> list[int]:
    """Divide seats in proportion to weights by Webster's method; ties go to the first.

    One more seat never takes one away from anybody, so the differences between growing numbers of seats
    are a division, too.

    Args:
        weights: Whole numbers > 0.
        seats: >= 0.

    Example:
        >>> [apportion([3, 1], seats) for seats in range(5)]
        [[0, 0], [1, 0], [2, 0], [2, 1], [3, 1]]
    """
    total = sum(weights)
    held = [(2 * weight * seats + total) // (2 * total) for weight in weights]
    while sum(held) < seats:
        claims = [Fraction(2 * h + 1, w) for h, w in zip(held, weights, strict=True)]
        held[claims.index(min(claims))] += 1
    while sum(held) > seats:
        claims = [Fraction(2 * h - 1, w) for h, w in zip(held, weights, strict=True)]
        held[len(claims) - 1 - claims[::-1].index(max(claims))] -= 1
    return held


def first_reaching(reached: Callable[[int], bool]) -> int:
    """The smallest n >= 1 for which a condition holds that stays true once it is."""
    high = 1
    while not reached(high):
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return high


def source_weights(
    names: Sequence[str], sizes: Sequence[int], share: Share | Mapping[str, float], temperature: float
) -> tuple[int, ...]:
    """Whole numbers in proportion to the shares of sources; see `concord.data.mixture.Mixture`.

    Raises:
        UnknownNameError: An unknown rule, a share of an unknown source, or none of a known one.
        RangeError: A share or temperature that is not > 0.
    """
    if isinstance(share, Mapping):
        return _given(names, share)
    if share not in get_args(Share):
        raise UnknownNameError.of("share", share, get_args(Share))
    if not 0 < temperature < math.inf:
        raise RangeError(f"the temperature of a mixture is > 0, found {temperature}")
    if share == "equal":
        return (1,) * len(sizes)
    if share == "size":
        return tuple(sizes)
    largest = max(sizes)
    return tuple(max(1, round((size / largest) ** (1 / temperature) * RESOLUTION)) for size in sizes)


def _given(names: Sequence[str], share: Mapping[str, float]) -> tuple[int, ...]:
    for name in share:
        if name not in names:
            raise UnknownNameError.of("source", name, names)
    for name in names:
        if name not in share:
            raise UnknownNameError(f"no share is given for source {name!r}; leave the source out instead")
        if not 0 < share[name] < math.inf:
            raise RangeError(f"the share of a source is > 0, found {share[name]} for {name!r}")
    # As it is written: .3 means three tenths, not the nearest binary number.
    exact = [Fraction(str(float(share[name]))) for name in names]
    common = math.lcm(*(value.denominator for value in exact))
    return tuple(int(value * common) for value in exact)
