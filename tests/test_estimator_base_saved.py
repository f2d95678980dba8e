"""Models of `CoupledClassifier(base=...)` in folders: bit for bit, without pickle, refused where strange."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from asserts import raises
from concord.errors import CheckpointError, ConcordWarning, MissingExtraError
from concord.estimator.classifier import CoupledClassifier
from forging import forge
from test_estimator_base import TREES, model, same, world

LINEAR = {
    "plain": LogisticRegression(C=0.3, class_weight="balanced"),
    "pipeline": make_pipeline(StandardScaler(), LogisticRegression(max_iter=200)),
    "scaler without mean": make_pipeline(StandardScaler(with_mean=False), LogisticRegression(random_state=3)),
}


def roundtrip(fitted: CoupledClassifier, x: Any, folder: Path) -> CoupledClassifier:
    fitted.save(folder)
    again = CoupledClassifier.load(folder)
    assert same(fitted.predict_proba(x), again.predict_proba(x))
    assert again.report_ == fitted.report_
    return again


@pytest.mark.parametrize(
    ("base", "coupling"),
    [
        *((base, None) for base in LINEAR),
        ("plain", "two-stage"),
        ("pipeline", "two-stage"),
        ("pipeline", "auto"),
        # What the quick ones have shown by part: every base, and every coupling.
        *(
            pytest.param(base, coupling, marks=pytest.mark.slow)
            for base, coupling in (
                ("plain", "auto"),
                ("scaler without mean", "auto"),
                ("scaler without mean", "two-stage"),
            )
        ),
    ],
)
def test_linear_models_are_kept_as_weights(base: str, coupling: Any, tmp_path: Path) -> None:
    x, y, _ = world(300, 60)
    fitted = model(LINEAR[base], coupling=coupling, thresholds="f1" if coupling == "auto" else None).fit(x, y)
    again = roundtrip(fitted, x, tmp_path / "model")
    assert {file.name for file in (tmp_path / "model").iterdir()} == {
        "README.md",
        "model.json",
        "weights.safetensors",
    }
    assert repr(again.base) == repr(fitted.base)
    assert again.coupling == coupling
    assert same(again.fit(x, y).predict_proba(x), fitted.predict_proba(x))


def test_frames_bags_and_single_tasks_come_back(tmp_path: Path) -> None:
    x, y, truth = world(300, 60)
    frame = pd.DataFrame(x).add_prefix("f")
    bag = roundtrip(model(LINEAR["pipeline"], artefact="bagged").fit(frame, y), frame, tmp_path / "bag")
    assert bag.feature_names_in_.tolist() == frame.columns.tolist()
    names = np.array(["ash", "birch", "cedar"])[truth]
    single = CoupledClassifier(base=LINEAR["plain"], random_state=0).fit(x, names)
    single.save(tmp_path / "single")
    np.testing.assert_array_equal(CoupledClassifier.load(tmp_path / "single").predict(x), single.predict(x))


def test_a_label_that_is_always_absent_comes_back_without_an_estimator(tmp_path: Path) -> None:
    x, y, _ = world()
    y["marks"][60:, 0] = 0.0
    y["shape"][y["shape"] == 1] = -1
    with pytest.warns(ConcordWarning, match="no annotated row of square"):
        fitted = model(LINEAR["plain"], coupling=None).fit(x, y)
    roundtrip(fitted, x, tmp_path / "model")


# -- by skops --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("base", [TREES, ExtraTreesClassifier(4)])
def test_other_estimators_are_kept_by_skops(base: Any, tmp_path: Path) -> None:
    pytest.importorskip("skops")
    x, y, _ = world(200, 60)
    fitted = model(base).fit(x, y)
    again = roundtrip(fitted, x, tmp_path / "model")
    assert repr(again.base) == repr(base)
    content = (tmp_path / "model" / "estimators.skops").read_bytes()
    assert content.startswith(b"PK")


def test_boosting_on_frames_with_categories_is_kept(tmp_path: Path) -> None:
    pytest.importorskip("skops")
    x, y, _ = world(200, 60)
    frame = pd.DataFrame({"size": x[:, 0], "colour": pd.Categorical(np.where(x[:, 1] > 0, "red", "blue"))})
    base = HistGradientBoostingClassifier(max_iter=3)
    roundtrip(model(base, coupling=None).fit(frame, y), frame, tmp_path / "model")


class Own(ClassifierMixin, BaseEstimator):
    """An estimator that scikit-learn does not have."""

    def fit(self, X: Any, y: Any) -> Own:
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X: Any) -> Any:
        return np.full((len(X), len(self.classes_)), 1 / len(self.classes_))


def test_an_estimator_of_ones_own_is_not_saved(tmp_path: Path) -> None:
    pytest.importorskip("skops")
    x, y, _ = world(60, 30)
    fitted = model(Own(), coupling=None).fit(x, y)
    with raises(CheckpointError, "Own", "scikit-learn"):
        fitted.save(tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_a_file_with_other_types_is_refused_before_anything_is_built(tmp_path: Path) -> None:
    skops = pytest.importorskip("skops.io")
    x, y, _ = world(60, 30)
    model(ExtraTreesClassifier(2), coupling=None).fit(x, y).save(tmp_path / "model")
    file = tmp_path / "model" / "estimators.skops"
    file.write_bytes(skops.dumps([Own().fit(x, y["shape"])] * 4))
    with raises(CheckpointError, "estimators.skops", "bytes expected"):
        CoupledClassifier.load(tmp_path / "model")
    forge(tmp_path / "model", "estimator")
    with raises(CheckpointError, "Own"):
        CoupledClassifier.load(tmp_path / "model")
    for content in (b"PK\x03\x04 cut", b"", skops.dumps({"no": "list"})):
        file.write_bytes(content)
        forge(tmp_path / "model", "estimator")
        with raises(CheckpointError, "read"):
            CoupledClassifier.load(tmp_path / "model")


def test_without_skops_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y, _ = world(60, 30)
    fitted = model(ExtraTreesClassifier(2), coupling=None).fit(x, y)
    monkeypatch.setitem(sys.modules, "skops", None)
    with raises(MissingExtraError, "concord-mtl[skops]"):
        fitted.save(tmp_path / "model")
    assert not (tmp_path / "model").exists()


# -- weights of something else ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("where", "value", "said"),
    [
        (("class",), "DecisionTreeClassifier", "DecisionTreeClassifier"),
        (("fitted", "_private"), 3, "_private"),
        (("fitted", "predict_proba"), 3, "predict_proba"),
        (("fitted", "coef_"), {"tensor": {"$tensor": "0"}, "across": True}, "do not fit"),
        (("parameters", "nonsense"), 3, "nonsense"),
    ],
)
def test_records_of_something_else_are_refused(
    where: tuple[str, ...], value: Any, said: str, tmp_path: Path
) -> None:
    import json

    x, y, _ = world(60, 30)
    model(LogisticRegression(), coupling=None).fit(x, y).save(tmp_path / "model")
    record = json.loads((tmp_path / "model" / "model.json").read_text())
    place = record["base"]["estimators"][1]
    for key in where[:-1]:
        place = place[key]
    place[where[-1]] = value
    forge(tmp_path / "model", "estimator", base=record["base"])
    with raises(CheckpointError, said):
        CoupledClassifier.load(tmp_path / "model")


def test_estimators_of_another_task_are_refused(tmp_path: Path) -> None:
    x, y, _ = world(60, 30)
    model(LogisticRegression(), coupling=None).fit(x, y).save(tmp_path / "model")
    import json

    record = json.loads((tmp_path / "model" / "model.json").read_text())
    networks = record["networks"]
    networks[0]["outputs"]["marks"] = networks[0]["outputs"]["marks"][:1]
    forge(tmp_path / "model", "estimator", networks=networks)
    with raises(CheckpointError, "another task 'marks'"):
        CoupledClassifier.load(tmp_path / "model")
