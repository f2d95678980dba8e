"""How often the guard takes what is no better, and what it still finds: its error level and power, simulated.

    python benchmarks/guard_level.py [--draws 500] [--alpha .05] [--seed 0] [--out FILE] [--page]

Heads of five classes see the truth under noise, the part `rho` of which all candidates share, and half of it
whole groups where there are any; each is temperature-scaled on the rows that judge it, as in `auto`. Candidates
are as good as the start (the hardest case without harm), worse, or better by a share less noise. `each` is the
rule of 1.64 standard errors for each candidate, `joint` the test of `concord.auto.level`. Worlds that --out holds
are not drawn again.
"""

from __future__ import annotations

import argparse
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
from scipy.special import softmax

from concord.auto import critical_value, studentised
from concord.decoding import temperature
from held import Held
from page import HARM, machine, page_option, table, write_section

CLASSES = 5
SIZES = (
    (50, None, False), (200, None, False), (2000, None, False), (200, 10, False), (1000, 40, False),
    (200, 10, True), (1000, 40, True),
)  # fmt: skip
"""Annotated rows, their groups, and whether the sizes of these fall as 1 / k."""
CANDIDATES = ((1, 0.0), (3, 0.5), (6, 0.5), (6, 0.9))
"""How many, and the share of their noise that they have in common."""
NOISE = {"as good": 1.0, "worse": 1.1, "better": 0.85}
"""Spread of the candidates' noise; that of the start is 1."""


def gains(rng, n: int, groups: int | None, unequal: bool, candidates: int, rho: float, spread: float):
    """Gains in log-loss of each candidate on each row, and the rows' groups."""
    if unequal:
        size = 1 / np.arange(1, groups + 1)
        group = rng.choice(groups, n, p=size / size.sum())
    else:
        group = None if groups is None else rng.integers(0, groups, n)
    y = rng.integers(0, CLASSES, n)
    signal = 2.0 * np.eye(CLASSES)[y]

    def noise():
        own = rng.normal(size=(n, CLASSES))
        if group is None:
            return own
        return np.sqrt(0.5) * (own + rng.normal(size=(groups, CLASSES))[group])

    def judged(z):
        p = softmax(z * temperature(z, y, True), axis=1)
        return -np.log(p[np.arange(n), y])

    common, start = noise(), judged(signal + noise())
    heads = (np.sqrt(rho) * common + np.sqrt(1 - rho) * noise() for _ in range(candidates))
    return np.stack([start - judged(signal + spread * each) for each in heads], axis=1), group


def taken(rng, draws: int, alpha: float, *world) -> dict[str, float]:
    """Share of draws in which any candidate takes the place of the start, by rule."""
    found = {"each": 0, "joint": 0}
    for _ in range(draws):
        gain, group = gains(rng, *world)
        z = studentised(gain, group)
        found["each"] += bool((z > 1.64).any())
        found["joint"] += bool((z > critical_value(gain, group, alpha)).any())
    return {rule: count / draws for rule, count in found.items()}


def main(arguments: list[str] | None = None) -> None:
    """Print a table, and write it where that is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--draws", type=int, default=500)
    parser.add_argument("--alpha", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="where shares are kept, so that none is drawn twice")
    page_option(parser, HARM)
    given = parser.parse_args(arguments)
    held, lines = Held(given.out), []
    where = held.once({"what": "machine"}, machine)
    settings = {"draws": given.draws, "alpha": given.alpha, "seed": given.seed}
    for (kind, spread), (n, groups, unequal), (count, rho) in product(NOISE.items(), SIZES, CANDIDATES):
        named = ["unequal"] if unequal else []
        rng = np.random.default_rng([given.seed, n, groups or 0, count, round(10 * rho)])
        share = held.once(
            {"world": [kind, n, groups, count, rho, *named], **settings},
            partial(taken, rng, given.draws, given.alpha, n, groups, unequal, count, rho, spread),
        )
        lines.append(
            [
                kind,
                str(n),
                " ".join([str(groups or "-"), *named]),
                str(count),
                f"{rho:g}",
                *(f"{share[rule]:.3f}" for rule in ("each", "joint")),
            ]
        )
        print(" | ".join(lines[-1]), flush=True)
    where += held.several()
    body = (
        f"`python benchmarks/guard_level.py --draws {given.draws} --alpha {given.alpha:g} --seed {given.seed} --page`: {where}.\n\n"
        f"Share of {given.draws} draws in which a candidate takes the place of the start, which has the burden of "
        "proof on its side. Where candidates are as good or worse that is an error; where they are better it is what "
        "the guard is for. Sizes of `unequal` groups fall as 1 / k. `each`: 1.64 standard errors for each candidate by itself; `joint`: the guard's test.\n\n"
    ) + table(["candidates are", "rows", "groups", "candidates", "in common", "each", "joint"], lines)
    if given.page:
        write_section("guard-level", "How often the guard's test errs", body, given.page)


if __name__ == "__main__":
    main()
