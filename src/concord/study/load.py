"""The problem that a plan names."""

from __future__ import annotations

from concord.study.cases import case
from concord.study.plan import Plan, Sourced
from concord.study.problem import Problem

__all__ = ["problem_of"]


def problem_of(plan: Plan) -> Problem:
    """Load the data of a plan: a built-in case, the user's manifest and features, or sources.

    Raises:
        MissingDataError: A file that is not there.
        UnknownNameError: A case, task or table that there is not.
        StudyError: Data that no study can be run on.
    """
    if isinstance(plan.problem, str):
        return case(plan.problem).problem()
    if isinstance(plan.problem, Sourced):
        from concord.study.sourced import sourced_problem

        return sourced_problem(plan.problem)
    from concord.study.own_data import own_problem

    return own_problem(plan.problem, plan.folder)
