"""A logger of the user's own, by `module:Class`: this is code that is run."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from importlib import import_module, invalidate_caches
from typing import Any

from concord.errors import ConfigError, UnknownNameError
from concord.fitting.watch import Logger

METHODS = ("log", "state_dict", "resume", "close")
"""What a logger must have; see `Logger`."""


def own_logger(use: str, options: Mapping[str, Any]) -> Logger:
    """Import a class and make a logger of it, with its options.

    Args:
        use: `module:Class`; the module is looked for in the working folder first, then on Python's path.
        options: Arguments of the class.

    Raises:
        ConfigError: No such module, options that the class does not take, or an object that is no `Logger`.
        UnknownNameError: No such class in the module.
    """
    module, _, name = use.partition(":")
    found = _imported(module)
    make = getattr(found, name, None)
    if not callable(make):
        known = [key for key, value in vars(found).items() if isinstance(value, type)]
        raise UnknownNameError.of(f"class of module {module!r}", name, known)
    try:
        made: Logger = make(**options)
    except TypeError as error:
        raise ConfigError(f"logger {use!r} does not take these options: {error}") from error
    lacking = [method for method in METHODS if not callable(getattr(made, method, None))]
    if lacking:
        raise ConfigError(f"logger {use!r} lacks {', '.join(lacking)}; a logger has {', '.join(METHODS)}")
    return made


def _imported(module: str) -> Any:
    here = os.getcwd()
    sys.path.insert(0, here)
    invalidate_caches()
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise  # the module is there; something that it imports is not
        raise ConfigError(
            f"no module {error.name!r} in the working folder, nor where Python looks for modules"
        ) from None
    finally:
        sys.path.remove(here)
