"""Built-in problems and studies, one file each, found by name.

A case is a module with `problem()`, the data, and `PLAN`, the study that `concord study NAME` runs, as
plain values (None where the case is data alone). `QUICK`, where there is one, is the plan of `--quick`, for
networks that cost too much at two seeds and a quarter of the steps.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from concord.errors import UnknownNameError
from concord.study.spec import case_names

__all__ = ["case", "case_names"]


def case(name: str) -> ModuleType:
    """The module of a case.

    Raises:
        UnknownNameError: No such case.
    """
    if name not in case_names():
        raise UnknownNameError.of("study", name, case_names())
    return import_module(f"{__name__}.{name.replace('-', '_')}")
