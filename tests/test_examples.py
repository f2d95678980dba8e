"""Every example runs on data that it makes itself, and does what its first line says."""

from __future__ import annotations

import ast
import re
import runpy
from pathlib import Path

import pytest

pytestmark = pytest.mark.docs

FOLDER = Path(__file__).parents[1] / "examples"
SAID = {
    "estimator": r"topic->tags: the table fits the data(.|\n)*^topic: \w+(.|\n)*of the tags: \(2000, 4\)",
    "images_from_csv": r"batches of shapes, parts: 5 an epoch\n\d+ of 80 annotated shapes right",
    "loop_accelerate": r"accelerate: 0\.\d+ of the kinds right",
    "loop_lightning": r"lightning: 0\.\d+ of the kinds right",
    "loop_transformers": r"transformers: 0\.\d+ of the kinds right",
    "own_coupling": r"squared-matching:expression->action_units: 0\.\d+ -> 0\.\d+",
    "own_loop": r"uncoupled: 0\.\d+ of the kinds right\ncoupled: 0\.\d+",
    "own_reader": r"birds(.|\n)*no row is annotated for both 'bird' and 'marks'",
    "text": r"works well: good\nmoney back please: bad\ntoo loud, poor finish: bad",
    "three_tasks": r"coupling None: .*species right(.|\n)*coupling posterior: .*family right",
}


def run(name, capsys):
    runpy.run_path(str(FOLDER / f"{name}.py"), run_name="__main__")
    return capsys.readouterr().out


def numbers(said):
    return [float(number) for number in re.findall(r"\b\d+\.\d{3,4}\b", said)]


def test_every_example_is_listed_and_says_what_it_shows():
    assert {path.stem for path in FOLDER.glob("*.py")} == set(SAID)
    for path in FOLDER.glob("*.py"):
        assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


LOOPS = ("loop_accelerate", "loop_lightning", "loop_transformers")


@pytest.mark.parametrize(
    "name", sorted(set(SAID) - {"own_loop", "own_coupling", "images_from_csv"} - set(LOOPS))
)
def test_an_example_says_what_it_promises(name, capsys):
    assert re.search(SAID[name], run(name, capsys), flags=re.MULTILINE)


@pytest.mark.parametrize("name", LOOPS)
@pytest.mark.filterwarnings("ignore")  # of trainers, which are not ours
def test_loops_of_others_train_by_the_objective(name, capsys):
    pytest.importorskip("accelerate" if name == "loop_transformers" else name.removeprefix("loop_"))
    said = run(name, capsys)
    assert re.search(SAID[name], said)
    assert numbers(said)[-1] > 0.85


def test_coupled_does_better_in_the_own_loop(capsys):
    said = run("own_loop", capsys)
    assert re.search(SAID["own_loop"], said)
    uncoupled, coupled = numbers(said)
    assert 0.8 < uncoupled < coupled


def test_the_own_coupling_brings_the_heads_together(capsys):
    said = run("own_coupling", capsys)
    assert re.search(SAID["own_coupling"], said)
    before, after = numbers(said)
    assert after < before / 10


def test_the_images_are_learnt(capsys):
    said = run("images_from_csv", capsys)
    assert re.search(SAID["images_from_csv"], said)
    assert int(re.search(r"(\d+) of 80", said).group(1)) > 70
