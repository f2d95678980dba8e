"""Damaged folders of models and studies: read right, or refused in one line."""

from __future__ import annotations

import shutil

import pytest
from damage import attempt, damage_folder
from hypothesis import given, settings
from hypothesis import strategies as st
from study_folders import write_study

from concord.archive import read_archive
from concord.study import write_comparison, write_report
from test_archive import SAVED


def covered(folder, kind):
    """What a record says, and the bytes of the files that it covers."""
    archive = read_archive(folder, kind)
    return archive.content, {name: (folder / name).read_bytes() for name in archive.files}


@pytest.mark.parametrize("kind", SAVED)
def test_a_damaged_model_is_the_one_that_was_saved_or_refused(tmp_path_factory, kind):
    save, load = SAVED[kind]
    whole = tmp_path_factory.mktemp("whole") / "saved"
    save(whole)
    expected = covered(whole, kind)

    @settings(max_examples=max(12, settings().max_examples // 2))
    @given(st.data())
    def check(data):
        folder = tmp_path_factory.mktemp("damaged") / "saved"
        shutil.copytree(whole, folder)
        damage_folder(data, folder)
        if not attempt(lambda: load(folder)):
            assert covered(folder, kind) == expected
        shutil.rmtree(folder)

    check()


@pytest.mark.parametrize(
    "write", [write_report, lambda folder: write_comparison([folder], folder / "c.html")]
)
def test_a_damaged_study_is_reported_or_refused(tmp_path_factory, write):
    whole = write_study(tmp_path_factory.mktemp("study"))

    @settings(max_examples=max(12, settings().max_examples // 20))
    @given(st.data())
    def check(data):
        folder = tmp_path_factory.mktemp("damaged") / "s"
        shutil.copytree(whole, folder)
        damage_folder(data, folder)
        before = {path.name for path in folder.iterdir()}
        attempt(lambda: write(folder))
        assert before <= {path.name for path in folder.iterdir()}
        shutil.rmtree(folder)

    check()
