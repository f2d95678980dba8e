"""Problems of a study: rows, tasks and relations, built in or read from files."""

from concord.study.problems.cases import case, case_names
from concord.study.problems.load import problem_of
from concord.study.problems.problem import Problem, check_problem, draw

__all__ = ["Problem", "case", "case_names", "check_problem", "draw", "problem_of"]
