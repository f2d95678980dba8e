"""Studies: conditions x seeds x regimes on the same rows, compared so that the verdict can be believed.

`plan` says what is compared, `problems` on which data, `conditions` and `peers` how each condition trains,
`run` trains every cell of the plan once and keeps its test predictions, `compare` opens the test split and
judges, `pages` draw.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from concord._lazy import lazy_door

if TYPE_CHECKING:
    from concord.study.conditions import Setting, StudyLearner, condition, condition_names, control
    from concord.study.drawn_faces import databases, identities
    from concord.study.judging import (
        METRIC_WORDS,
        VERDICT_WORDS,
        Belief,
        block_ranks,
        compare,
        correlated_t,
        holm,
        mean_ranks,
        pack_means,
        paired,
        resampled_means,
        signed_rank,
    )
    from concord.study.pages import (
        POINTS,
        Outcome,
        Panel,
        check_figure,
        draw_panels,
        result_tables,
        write_comparison,
        write_report,
    )
    from concord.study.plan import Plan, as_plan, read_plan
    from concord.study.problems import Problem, case, case_names, check_problem, problem_of
    from concord.study.running import KEPT, Cell, default_processes, finishing, run, setting_of, write_json
    from concord.study.schema import plan_schema
    from concord.study.spec import Regime
    from concord.study.template import plan_template

__all__ = [
    "KEPT",
    "METRIC_WORDS",
    "POINTS",
    "VERDICT_WORDS",
    "Belief",
    "Cell",
    "Outcome",
    "Panel",
    "Plan",
    "Problem",
    "Regime",
    "Setting",
    "as_plan",
    "block_ranks",
    "case",
    "case_names",
    "check_figure",
    "check_problem",
    "compare",
    "condition",
    "condition_names",
    "control",
    "correlated_t",
    "databases",
    "default_processes",
    "draw_panels",
    "finishing",
    "holm",
    "identities",
    "mean_ranks",
    "pack_means",
    "paired",
    "plan_schema",
    "plan_template",
    "problem_of",
    "read_plan",
    "resampled_means",
    "result_tables",
    "run",
    "setting_of",
    "signed_rank",
    "write_comparison",
    "write_json",
    "write_report",
]

__getattr__, __dir__ = lazy_door(
    __name__,
    {
        "Belief": "concord.study.judging",
        "block_ranks": "concord.study.judging",
        "correlated_t": "concord.study.judging",
        "pack_means": "concord.study.judging",
        "resampled_means": "concord.study.judging",
        "signed_rank": "concord.study.judging",
        "Cell": "concord.study.running",
        "KEPT": "concord.study.running",
        "METRIC_WORDS": "concord.study.judging",
        "Outcome": "concord.study.pages",
        "POINTS": "concord.study.pages",
        "Panel": "concord.study.pages",
        "Plan": "concord.study.plan",
        "Problem": "concord.study.problems",
        "Regime": "concord.study.spec",
        "Setting": "concord.study.conditions",
        "StudyLearner": "concord.study.conditions",
        "VERDICT_WORDS": "concord.study.judging",
        "as_plan": "concord.study.plan",
        "case": "concord.study.problems",
        "case_names": "concord.study.problems",
        "check_figure": "concord.study.pages",
        "check_problem": "concord.study.problems",
        "compare": "concord.study.judging",
        "condition": "concord.study.conditions",
        "condition_names": "concord.study.conditions",
        "control": "concord.study.conditions",
        "default_processes": "concord.study.running",
        "draw_panels": "concord.study.pages",
        "finishing": "concord.study.running",
        "holm": "concord.study.judging",
        "databases": "concord.study.drawn_faces",
        "identities": "concord.study.drawn_faces",
        "mean_ranks": "concord.study.judging",
        "paired": "concord.study.judging",
        "plan_schema": "concord.study.schema",
        "plan_template": "concord.study.template",
        "problem_of": "concord.study.problems",
        "read_plan": "concord.study.plan",
        "result_tables": "concord.study.pages",
        "run": "concord.study.running",
        "setting_of": "concord.study.running",
        "write_comparison": "concord.study.pages",
        "write_json": "concord.study.running",
        "write_report": "concord.study.pages",
    },
)
