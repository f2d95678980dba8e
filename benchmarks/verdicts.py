"""What the check says of right and wrong tables on pictures: drawn faces and identities, small residual nets.

    python benchmarks/verdicts.py [--cases faces identities] [--seeds 400:405] [--effort fast]

Each draw has rows annotated for one task alone, as the built-in studies have them. The cross-fitted networks of
`auto` are trained once, and weigh the right table, one with shuffled rows and one that is wrong in part. A line
for each case and regime counts the verdicts; `undecided` is no coupling, and neither is a mistake of the table.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator

import torch

from concord.auto import EFFORTS, first_stage
from concord.study import Plan, Problem, StudyLearner, as_plan, case, control, setting_of

CASES = ("faces", "identities")
REGIMES = ("few-class", "few-label")
TABLES = ("right", "shuffled", "partly-wrong")


def verdicts(plan: Plan, problem: Problem, regime: str, seed: int, effort: str) -> Iterator[tuple[str, str]]:
    """Tables and what is said of them, of one draw."""
    (relation,) = problem.relations
    rows = next(each for each in plan.regimes if each.name == regime)
    setting = setting_of(plan, problem, rows, seed, plan.budget)
    spent = EFFORTS[effort].for_steps(plan.budget.steps)
    first = first_stage(StudyLearner(setting), setting.rows, setting.tasks, effort=spent, seed=seed)
    for table in TABLES:
        yield table, first.check(relation if table == "right" else control(relation, table, seed)).verdict


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--seeds", default="400:405")
    parser.add_argument("--effort", choices=("fast", "standard", "thorough"), default="fast")
    given = parser.parse_args()
    torch.set_num_threads(1)
    print("| case | regime | table | verdicts |\n|---|---|---|---|")
    for name in given.cases:
        plan, problem = as_plan(case(name).PLAN), case(name).problem()
        for regime in REGIMES:
            found: dict[str, Counter[str]] = {table: Counter() for table in TABLES}
            for seed in range(*map(int, given.seeds.split(":"))):
                for table, verdict in verdicts(plan, problem, regime, seed, given.effort):
                    found[table][verdict] += 1
            for table, counts in found.items():
                told = ", ".join(f"{verdict} {count}" for verdict, count in counts.most_common())
                print(f"| {name} | {regime} | {table} | {told} |", flush=True)


if __name__ == "__main__":
    main()
