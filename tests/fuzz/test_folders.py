"""Damaged folders of models and studies: read right, or refused in one line."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from damage import attempt, damage_folder
from hypothesis import given, settings
from hypothesis import strategies as st
from study_folders import write_study

from concord.archive import read_archive
from concord.study import write_comparison, write_report
from forging import forge
from test_archive import SAVED

ANYTHING = st.none() | st.integers() | st.text(max_size=4) | st.lists(st.integers(), max_size=2)


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


PLANS = st.fixed_dictionaries(
    {"kind": st.sampled_from(["images", "arrays", "features", "columns", "texts", "code", 7, None])},
    optional={
        "size": st.integers(-1, 2**31),
        "key": st.text(max_size=4) | st.none(),
        "columns": st.lists(st.text(max_size=3), max_size=3),
        "region": st.sampled_from(["whole", "box", "../x"]),
    },
)
COLUMNS = st.dictionaries(
    st.text(max_size=3), st.none() | st.integers(-2, 2**40) | st.lists(st.text(), max_size=3)
)
PARTS = {
    "inputs": st.dictionaries(st.text(max_size=3), PLANS, max_size=2),
    "vocabulary": COLUMNS,
    "columns": COLUMNS,
}


def test_a_forged_preprocessing_predicts_or_is_refused(tmp_path_factory):
    save, load = SAVED["hub"]
    whole = tmp_path_factory.mktemp("whole") / "saved"
    save(whole)

    @given(st.fixed_dictionaries({name: values | ANYTHING for name, values in PARTS.items()}))
    def check(preprocessing):
        folder = tmp_path_factory.mktemp("forged") / "saved"
        shutil.copytree(whole, folder)
        forge(folder, "hub", preprocessing=preprocessing)
        for asked in (np.zeros((2, 3)), ["a", "b"], {"": [1.0, 2.0]}, np.zeros((4, 4, 3), np.uint8)):
            attempt(lambda rows=asked: load(folder).predict(rows))
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
