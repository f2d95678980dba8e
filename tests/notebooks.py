"""Notebooks of the documentation: Python in the percent format, taken apart and run as they stand."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "notebooks"
NOTEBOOKS = {path.stem: path for path in sorted(FOLDER.glob("*.py"))}

CELL = re.compile(r"^# %%(.*)\n", flags=re.MULTILINE)
KINDS = {"": "python", " [markdown]": "markdown", ' language="bash"': "bash"}

DRAWN = "# Drawn for this page: "
"""How the cell starts that is left out by who has data, or replaced."""

HELD = {
    "dataframe": """
assert 0.8 < check.trust < 1.2
assert scores["posterior"].mean() > scores["None"].mean() + 0.03
tried = {(each["coupling"], each["dropout"]) for each in search.cv_results_["params"]}
assert tried == {("posterior", 0.0), ("posterior", 0.3), ("marginal", 0.0), ("marginal", 0.3)}
found = search.cv_results_["mean_test_score"]
assert ((found > 0.4) & (found <= search.best_score_)).all() and search.best_score_ < 1
assert search.best_estimator_.coupling == search.best_params_["coupling"]
"""
}
"""What is so after the last cell, where no file holds it."""

LOOKED_AT = "\nimport matplotlib.pyplot\nassert matplotlib.pyplot.get_fignums(), 'it ends without a figure'\n"


def cells(path: Path) -> list[tuple[str, str]]:
    """(kind, text) of every cell: python, markdown or bash; text that is commented out in the file is not."""
    before, *parts = CELL.split(path.read_text(encoding="utf-8"))
    assert not before.strip(), "a cell starts with # %%"
    found = []
    for mark, text in zip(parts[::2], parts[1::2], strict=True):
        kind = KINDS[mark]
        lines = text.strip("\n").split("\n")
        if kind != "python":
            assert all(line.startswith("#") for line in lines), text
            lines = [line[1:].removeprefix(" ") for line in lines]
        found.append((kind, "\n".join(lines)))
    return found


def script(path: Path) -> str:
    """The notebook as one script: Python as it stands, bash by a shell that stops at the first error."""
    parts = ["import subprocess"]
    for kind, text in cells(path):
        if kind == "python":
            parts.append(text)
        elif kind == "bash":
            parts.append(f"subprocess.run(['bash', '-e', '-o', 'pipefail', '-c', {text!r}], check=True)")
    return "\n".join(parts) + LOOKED_AT + HELD.get(path.stem, "")


def environment(package: Path) -> dict[str, str]:
    """This environment, with the package of a checkout: for scripts and for the command `concord`."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    ours = {"PATH": path, "PYTHONPATH": str(package / "src"), "MPLBACKEND": "Agg"}
    return {"OMP_NUM_THREADS": "1", **os.environ, **ours}  # networks so small are slower on more threads


def run(path: Path, folder: Path, package: Path = ROOT) -> str:
    """Run a notebook in a folder; what it said."""
    done = subprocess.run(
        [sys.executable, "-c", script(path)],
        cwd=folder,
        env=environment(package),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
