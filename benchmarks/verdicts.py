"""What the check says of right and wrong tables: drawn pictures with small residual nets, packs with small networks.

    python benchmarks/verdicts.py [--cases faces identities] [--seeds 400:405] [--effort fast]
    python benchmarks/verdicts.py --packs digits goemotions --seeds 750:755

Each draw has rows annotated for one task alone, as the built-in studies have them. The cross-fitted networks of
`auto` (of packs: two folds of 300 steps) are trained once, and weigh the right table, one with shuffled rows, one
that is wrong in part, and none. A line for each case and regime counts the verdicts; `undecided` is no coupling, and
neither is a mistake of the table. The last lines count over all cases and regimes. A pack is a function of
`problems.py`; controls such as `mnist10k_shape_entangled` are drawn at the default sizes.
"""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import partial

import torch

from concord.auto import EFFORTS, Effort, FirstStage, first_stage
from concord.learners import TorchLearner
from concord.relations import Relation
from concord.study import Plan, Problem, StudyLearner, as_plan, case, control, setting_of
from efforts import drawn

CASES = ("faces", "identities")
REGIMES = ("few-class", "few-label")
TABLES = ("right", "shuffled", "partly-wrong", "none")
STEPS = 300
"""Of each network of a pack."""

Draw = Callable[[str, int], tuple[FirstStage, Relation]]
"""(regime, seed) -> networks of folds, and the right table."""


def picture_draw(
    plan: Plan, problem: Problem, effort: str, regime: str, seed: int
) -> tuple[FirstStage, Relation]:
    """Networks of folds of a built-in study of pictures, and its table."""
    (relation,) = problem.relations
    rows = next(each for each in plan.regimes if each.name == regime)
    setting = setting_of(plan, problem, rows, seed, plan.budget)
    spent = EFFORTS[effort].for_steps(plan.budget.steps)
    return first_stage(StudyLearner(setting), setting.rows, setting.tasks, effort=spent, seed=seed), relation


def pack_draw(pack: str, regime: str, seed: int) -> tuple[FirstStage, Relation]:
    """Networks of two folds on features of a pack, and its table."""
    problem, rows, _, _ = drawn(pack, regime, seed)
    learner = TorchLearner(
        trunk=None, hidden=(128, 128), dropout=0.2, steps=STEPS, rows_per_task=64, learning_rate=2e-3,
        weight_decay=0.01, device="cpu",
    )  # fmt: skip
    return first_stage(learner, rows, problem.tasks, effort=Effort(2, 1.0), seed=seed), problem.relations[0]


def verdicts(first: FirstStage, relation: Relation, seed: int) -> Iterator[tuple[str, str]]:
    """Tables and what is said of them, of one draw."""
    for table in TABLES:
        if table == "none":
            yield table, first.check((relation.source, relation.target)).verdict
        else:
            yield table, first.check(relation if table == "right" else control(relation, table, seed)).verdict


def draws_of(cases: Iterable[str], packs: Iterable[str], effort: str) -> Iterator[tuple[str, Draw]]:
    """What is drawn, by name: the packs where there are any, else the cases."""
    if packs := list(packs):
        yield from ((name, partial(pack_draw, name)) for name in packs)
        return
    for name in cases:
        yield name, partial(picture_draw, as_plan(case(name).PLAN), case(name).problem(), effort)


def line(name: str, regime: str, table: str, counts: Counter[str]) -> str:
    """A row of the printed table."""
    told = ", ".join(f"{verdict} {count}" for verdict, count in sorted(counts.items()))
    return f"| {name} | {regime} | {table} | {told} |"


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--packs", nargs="+", default=[])
    parser.add_argument("--seeds", default="400:405")
    parser.add_argument("--effort", choices=("fast", "standard", "thorough"), default="fast")
    given = parser.parse_args()
    torch.set_num_threads(1)
    print("| case | regime | table | verdicts |\n|---|---|---|---|")
    every: dict[str, Counter[str]] = defaultdict(Counter)
    for name, draw in draws_of(given.cases, given.packs, given.effort):
        for regime in REGIMES:
            found: dict[str, Counter[str]] = defaultdict(Counter)
            for seed in range(*map(int, given.seeds.split(":"))):
                for table, verdict in verdicts(*draw(regime, seed), seed):
                    found[table][verdict] += 1
                    every[table][verdict] += 1
            for table, counts in found.items():
                print(line(name, regime, table, counts), flush=True)
    for table, counts in every.items():
        print(line("all", "all", table, counts), flush=True)


if __name__ == "__main__":
    main()
