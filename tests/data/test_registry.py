"""Readers by name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import concord.data
from concord.data.registry import read, reader, reader_names
from concord.errors import ConfigError, MissingDataError, UnknownNameError


def test_names_are_listed_without_helpers() -> None:
    names = reader_names()
    assert "pack" in names
    assert names == tuple(sorted(names))
    assert not any(name.startswith(("-", "_")) for name in names)


@pytest.mark.parametrize("name", reader_names())
def test_every_reader_has_what_a_reader_needs(name: str) -> None:
    module = reader(name)
    assert name == module.NAME
    assert module.TITLE
    assert module.HOME
    assert module.__doc__
    assert callable(module.read)


@pytest.mark.parametrize("name", ["pack", "PACK", " Pack "])
def test_names_in_any_case(name: str) -> None:
    assert reader(name).NAME == "pack"


def test_hyphens_and_underscores_are_one() -> None:
    hyphened = [name for name in reader_names() if "-" in name]
    for name in hyphened:
        assert reader(name) is reader(name.replace("-", "_"))


def test_unknown_reader(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="unknown data set 'pakc'; did you mean 'pack'"):
        read("pakc", tmp_path)


@pytest.mark.parametrize("name", reader_names())
def test_a_missing_root_says_where_one_gets_the_data(tmp_path: Path, name: str) -> None:
    with pytest.raises(MissingDataError) as caught:
        read(name, tmp_path / "nowhere")
    message = str(caught.value)
    assert "found nothing" in message
    assert reader(name).TITLE in message
    assert reader(name).HOME in message
    (tmp_path / "file").write_text("")
    with pytest.raises(MissingDataError, match="found a file"):
        read(name, tmp_path / "file")


def test_unknown_option(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown option 'pcak'; did you mean 'pack'"):
        read("pack", tmp_path, pcak="clothing10")


def test_public_names() -> None:
    for name in dir(concord.data):
        assert getattr(concord.data, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'raed'"):
        concord.data.raed  # noqa: B018


def test_the_room_opens_without_heavy_imports() -> None:
    code = "import sys, concord.data; print([m for m in ('polars', 'torch', 'numpy') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
