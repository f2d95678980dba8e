"""One registry of couplings: a name stands for the same losses and settings wherever it is used."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import concord as cc
from asserts import raises
from concord.config import as_config
from concord.couplings import LOSSES, RECIPES, Coupling, coupling_names, make_couplings
from concord.errors import ConfigError, RangeError, UnknownNameError
from concord.estimator.couplings import checked_couplings
from concord.runs import build
from concord.study import condition, condition_names
from config_worlds import world

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "src" / "concord" / "couplings"


def settings(couplings):
    """What tells couplings apart: class, weight and options, as they print."""
    return [repr(coupling) for coupling in couplings]


def in_estimator(name):
    return checked_couplings(name)


@pytest.mark.parametrize("name", coupling_names())
def test_a_name_means_the_same_everywhere(name, tmp_path):
    wanted = settings(make_couplings(name))
    assert settings(in_estimator(name)) == wanted
    assert settings(condition(name).couplings()) == wanted
    built = build(as_config({**world(tmp_path), "couplings": [name]}))
    assert settings(built.objective.couplings) == wanted


def test_a_loss_has_the_name_of_its_class_and_a_file_of_its_own():
    files = {path.stem for path in FOLDER.glob("*.py")} - {"__init__", "base", "cells", "registry"}
    assert {home.partition(":")[0].rpartition(".")[2] for home in LOSSES.values()} == files
    for name, home in LOSSES.items():
        (made,) = make_couplings(name)
        kind = type(made)
        assert home == f"{kind.__module__}:{kind.__name__}"
        assert name == kind.name == re.sub(r"(?<=[a-z])([A-Z])", r"-\1", kind.__name__).lower()
        assert getattr(cc.couplings, kind.__name__) is kind
        assert kind.__name__ in cc.couplings.__all__


def test_every_class_of_couplings_is_in_the_registry():
    for name in LOSSES:
        make_couplings(name)
    mine = {
        kind.name for kind in Coupling.__subclasses__() if kind.__module__.startswith("concord.couplings.")
    }
    assert mine == set(LOSSES)


def test_recipes_are_made_of_losses_and_none_has_the_name_of_one():
    assert not set(RECIPES) & set(LOSSES)
    assert {each.loss for recipe in RECIPES.values() for each in recipe} <= set(LOSSES)
    assert set(coupling_names()) <= set(condition_names())


@pytest.mark.parametrize("name", RECIPES)
def test_a_weight_scales_every_loss_of_a_recipe(name):
    plain, twice = make_couplings(name), make_couplings(name, 2.0)
    assert [c.weight for c in twice] == [2 * c.weight for c in plain]
    assert [type(c) for c in twice] == [type(c) for c in plain]


def test_couplings_are_made_anew():
    (first,), (second,) = make_couplings("population"), make_couplings("population")
    assert first is not second


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (("posteriour",), UnknownNameError, ["did you mean 'posterior'"]),
        (("posterior", 1.0, {"exponent": 0.5}), ConfigError, ["recipe", "posterior-coannotation"]),
        (("class-to-labels", 1.0, {"exponent": 0.5}), UnknownNameError, ["option of class-to-labels"]),
        (("marginal", -1.0), RangeError, ["MarginalLikelihood", ">= 0"]),
        (("marginal-likelihood", 1.0, {"exponent": True}), RangeError, ["exponent is a number, found True"]),
        (("population-matching", 1.0, {"momentum": "a"}), RangeError, ["momentum is a number, found 'a'"]),
    ],
)
def test_what_cannot_be_made(arguments, error, words):
    with raises(error, *words):
        make_couplings(*arguments)


def test_names_are_known_without_torch():
    code = "import sys, concord.config as c, concord.couplings as k; k.coupling_names(); c.template()"
    code += "; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_subclass_that_names_itself_keeps_its_name():
    class HalfMatching(cc.couplings.DistributionMatching):
        pass

    class Other(cc.couplings.DistributionMatching):
        name = "mine"

    assert (HalfMatching.name, Other.name) == ("half-matching", "mine")


@pytest.mark.parametrize("path", sorted((ROOT / "configs").rglob("*.yaml")), ids=lambda path: path.stem)
def test_configs_name_couplings_of_the_registry(path):
    for plan in yaml.safe_load(path.read_text(encoding="utf-8")).get("couplings", ()):
        assert (plan if isinstance(plan, str) else plan["name"]) in coupling_names()


def test_every_name_stands_in_the_estimators_docstring_and_on_the_pages():
    estimator = cc.CoupledClassifier.__doc__
    assert [name for name in RECIPES if f'"{name}"' not in estimator] == []
    for page in ("explanations/couplings.md", "study.md"):
        text = (ROOT / "docs" / page).read_text(encoding="utf-8")
        assert [name for name in coupling_names() if f"`{name}`" not in text] == []
