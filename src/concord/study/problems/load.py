"""The problem that a plan names."""

from __future__ import annotations

from concord.errors import StudyError
from concord.study.functions import called
from concord.study.plan import Plan, Sourced
from concord.study.problems.cases import case
from concord.study.problems.problem import Problem


def problem_of(plan: Plan) -> Problem:
    """Load the data of a plan: a built-in case, what a function returns, a manifest and features, or sources.

    Raises:
        MissingDataError: A file or module that is not there.
        UnknownNameError: An unknown case, function, task or table.
        StudyError: Data that no study can be run on.
    """
    if isinstance(plan.problem, str):
        if ":" in plan.problem:
            return _returned(plan.problem, plan.folder)
        return case(plan.problem).problem()
    if isinstance(plan.problem, Sourced):
        from concord.study.problems.sourced import sourced_problem

        return sourced_problem(plan.problem)
    from concord.study.problems.own_data import own_problem

    return own_problem(plan.problem, plan.folder)


def _returned(given: str, folder: str) -> Problem:
    """What the function of `module:function` returns."""
    found = called(given, folder)
    if not isinstance(found, Problem):
        raise StudyError(
            f"problem {given!r}: the function must return a concord.study.Problem, found "
            f"{type(found).__name__}"
        )
    return found
