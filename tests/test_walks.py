"""What a stranger does with a fresh clone: pages typed as they stand, from data to something to look at.

`pytest --no-cov -m "slow and docs" --durations=0 tests/test_walks.py` says how long each takes.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from notebooks import ROOT, environment, run
from test_docs import BLOCK

pytestmark = [pytest.mark.slow, pytest.mark.docs]


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """What is committed, and nothing else: a file that was not added is not there."""
    if not (ROOT / ".git").exists():
        pytest.skip("the tests do not lie in a checkout of git")
    folder = tmp_path_factory.mktemp("fresh") / "concord"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(folder)], check=True, capture_output=True)
    return folder


def type_page(page: Path, folder: Path, package: Path) -> str:
    """Every block of a page, by Python or a shell, in an empty folder; what was said."""
    said = []
    for mark, kind, text in BLOCK.findall(page.read_text(encoding="utf-8")):
        if mark.startswith("file: "):
            (folder / mark.removeprefix("file: ")).write_text(text, encoding="utf-8")
        if mark or kind not in ("python", "bash"):
            continue
        words = [sys.executable, "-c"] if kind == "python" else ["bash", "-e", "-o", "pipefail", "-c"]
        done = subprocess.run(
            [*words, text], cwd=folder, env=environment(package), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}{done.stderr}"
        said.append(done.stdout)
    return "\n".join(said)


def test_two_folders_of_images_to_a_report(clone, tmp_path):
    said = type_page(clone / "docs" / "howto" / "images.md", tmp_path, clone)
    assert "no row is annotated for both 'digit' and 'segments'" in said
    assert "Verdicts rest" in " ".join(said.split())
    report = (tmp_path / "runs" / "images" / "report.html").read_text(encoding="utf-8")
    assert "data:image" not in report
    assert pl.read_csv(tmp_path / "predictions.csv").height == 200


def test_a_data_frame_to_a_grid_search(clone, tmp_path):
    said = run(clone / "docs" / "notebooks" / "dataframe.py", tmp_path, clone)
    assert "disease->findings: " in said, "what the search found is held by the run itself"


def test_a_licensed_tree_to_a_study_without_an_image(clone, tmp_path):
    said = run(clone / "docs" / "notebooks" / "licensed.py", tmp_path, clone)
    assert "This file holds no sample of the data: no image and no annotation of one row." in said
    left = {path.name for path in (tmp_path / "runs" / "faces").iterdir()}
    assert {"report.html", "summary.json", "results.csv"} < left
    assert not [path for path in (tmp_path / "runs").rglob("*") if path.suffix in (".jpg", ".png")]
