"""Readers by name: one file each under `data/readers/`."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

from concord.data import readers
from concord.data.manifest import Manifest
from concord.data.options import reader_options
from concord.data.readers import ElsewhereError, tell
from concord.errors import MissingDataError, UnknownNameError


def reader_names() -> tuple[str, ...]:
    """Names of all data sets that can be read, sorted, with hyphens."""
    found = (module.name for module in iter_modules(readers.__path__))
    return tuple(sorted(name.replace("_", "-") for name in found if not name.startswith("_")))


FORMATS = ("coco", "cvat", "huggingface", "imagefolder", "label-studio", "pack")
"""Readers of a format that anyone's data may have; every other is of one data set, with terms of its own."""


def reads_data_set(name: str) -> bool:
    """Whether a reader is of one data set, with a licence of its own, and not of a format.

    Raises:
        UnknownNameError: No reader of this name; offers the nearest.
    """
    module = reader(name).__name__.rpartition(".")[2]
    return module.replace("_", "-") not in FORMATS


def reader(name: str) -> Any:
    """The module that reads a data set; hyphen or underscore, upper or lower case.

    Raises:
        UnknownNameError: No reader of this name; offers the nearest.
    """
    known = reader_names()
    wanted = name.strip().lower().replace("_", "-")
    if wanted not in known:
        raise UnknownNameError.of("data set", name, known)
    return import_module(f"{readers.__name__}.{wanted.replace('-', '_')}")


def read(name: str, root: str | Path, **options: Any) -> Manifest:
    """Read a data set in its native layout.

    Args:
        name: Which reader; `reader_names()` lists them.
        root: The folder of the data set.
        **options: Of the reader; its module says which.

    Raises:
        UnknownNameError: No reader of this name.
        ConfigError: An option that the reader does not have.
        MissingDataError: No such folder, or not the files of the data set in it.
        DataFormatError: A file in another format; names file and line.
    """
    module, folder = reader(name), Path(root)
    if not folder.is_dir():
        found = "a file" if folder.exists() else "nothing"
        raise MissingDataError(
            f"{module.TITLE}: expected its folder at {folder}, found {found}; get the data from {module.HOME}"
        )
    taken = reader_options(module.read, module.TITLE, options)
    try:
        manifest: Manifest = module.read(folder, **taken)
    except ElsewhereError as error:
        inner = error.folder
        if inner == folder or not inner.is_relative_to(folder):
            raise
        tell(f"{module.TITLE}: read from {inner}, one folder below the one named")
        manifest = module.read(inner, **taken)
    own = module.__name__.rpartition(".")[2].replace("_", "-")
    return replace(manifest, origins=(own,)) if reads_data_set(own) else manifest
