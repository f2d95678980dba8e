"""What all readers have in common, so that a new one is one file with one test."""

import inspect
import re
from pathlib import Path
from types import ModuleType

import pytest

from concord import data
from concord.data import registry
from concord.data.manifest import Manifest
from concord.errors import ConfigError, DataFormatError, MissingDataError

NAMES = registry.reader_names()
DATA_SETS = {
    "affectnet", "affwild2", "bp4d", "bp4d-plus", "celeba", "clothing-attributes", "cub200", "deepfashion",
    "disfa", "emotionet", "gft", "imagefolder", "raf-au", "rafdb", "shoes", "ut-zappos50k",
}  # fmt: skip


@pytest.fixture(params=NAMES)
def module(request: pytest.FixtureRequest) -> ModuleType:
    return registry.reader(request.param)


def test_all_data_sets_have_a_reader() -> None:
    assert DATA_SETS.issubset(NAMES)


def test_a_reader_says_what_it_reads(module: ModuleType) -> None:
    stem = module.__name__.rpartition(".")[2]
    assert stem.replace("_", "-") == module.NAME
    assert module.TITLE.strip()
    assert module.HOME.strip()
    doc = module.__doc__ or ""
    assert "Layout" in doc
    assert all(len(line) <= 110 for line in doc.splitlines())


def test_read_documents_each_option(module: ModuleType) -> None:
    signature = inspect.signature(module.read)
    root, *options = signature.parameters.values()
    assert root.name == "root"
    assert root.default is inspect.Parameter.empty
    for option in options:
        assert option.kind is inspect.Parameter.KEYWORD_ONLY, option.name
        assert option.default is not inspect.Parameter.empty, option.name
    doc = inspect.getdoc(module.read) or ""
    documented = re.findall(r"^    (\w+): ", doc, re.MULTILINE)
    assert [name for name in documented if name in signature.parameters] == list(signature.parameters)
    for section in ("Args:", "Returns:", "Raises:"):
        assert section in doc, section
    assert inspect.get_annotations(module.read, eval_str=True)["return"] is Manifest


def test_a_missing_root_is_named(module: ModuleType, tmp_path: Path) -> None:
    root = tmp_path / "nowhere"
    with pytest.raises(MissingDataError) as info:
        data.read(module.NAME, root)
    for word in (module.TITLE, str(root), module.HOME):
        assert word in str(info.value)
    root.touch()
    with pytest.raises(MissingDataError, match="found a file"):
        data.read(module.NAME, root)


def test_an_empty_root_is_named(module: ModuleType, tmp_path: Path) -> None:
    root = tmp_path / "mushroom"  # a pack is named by its folder
    root.mkdir()
    with pytest.raises((MissingDataError, DataFormatError)) as info:
        data.read(module.NAME, root)
    message = str(info.value)
    assert "expected" in message
    assert str(root) in message
    assert "\n" not in message


def test_an_unknown_option_is_named(module: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown option 'no_such_option'"):
        data.read(module.NAME, tmp_path, no_such_option=1)
