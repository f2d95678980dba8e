"""Displays: what is drawn is what the numbers say, on the axes that were given."""

from __future__ import annotations

import io
import json
import re
import xml.etree.ElementTree as ET

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure

import concord as cc
from concord.errors import (
    AnnotationError,
    DataFormatError,
    EmptyDataError,
    MissingDataError,
    NoAnnotationError,
    NotFiniteError,
    RangeError,
    ShapeError,
    UnknownNameError,
)
from concord.metrics import class_metrics, label_metrics

PET = cc.MulticlassTask("pet", ["cat", "dog", "fish"])
TRAIT = cc.MultilabelTask("trait", ["purrs", "swims"])
RELATION = cc.Relation(PET, TRAIT, [[0.9, 0.1], [np.nan, 0.4], [0.0, 1.0]])


@pytest.fixture(autouse=True)
def _no_window():
    import matplotlib.pyplot as plt

    before = mpl.get_backend()
    mpl.use("agg")
    yield
    plt.close("all")
    mpl.use(before)


@pytest.fixture
def axes():
    return Figure().subplots()


@pytest.fixture(scope="module")
def fitted():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 3))
    y = {
        "pet": [0, 1, 2] * 10 + [-1] * 30,
        "trait": np.where(np.arange(60)[:, None] < 30, np.nan, rng.integers(0, 2, (60, 2))),
    }
    model = cc.CoupledClassifier([PET, TRAIT], [RELATION], coupling="marginal", steps=3, random_state=0)
    return model.fit(X, y), X, y


def test_dollar_signs_in_names_make_no_formula(axes):
    pets = cc.MulticlassTask("$a^$", ["a $_$ b", "$10k-$20k"])
    relation = cc.Relation(pets, cc.MultilabelTask("$_$", ["$^$"]), [[0.5], [0.1]])
    figures = [axes.figure, Figure(), Figure()]
    cc.RelationDisplay.from_relation(relation, ax=axes)
    shown = cc.CalibrationDisplay.from_predictions(
        pets, [0, 1], [[0.9, 0.1], [0.2, 0.8]], ax=figures[1].subplots()
    )
    row = {"regime": "$^$", "task": "$a^$", "condition": "$_$", "baseline": "single-task"}
    row |= {"difference": 2.5, "low": 0.5, "high": 4.5, "verdict": "superior"}
    cc.VerdictDisplay.from_verdicts([row], ax=figures[2].subplots())
    for figure in figures:
        figure.savefig(io.BytesIO())  # a formula that is none would raise
    assert shown.ax_.get_legend().get_texts()[1].get_text().startswith("$a^$ (error")


def test_control_characters_in_names_leave_a_drawing_that_can_be_read(axes):
    pets = cc.MulticlassTask("pet\x1b", ["a\x1b[2J", "\u202eb"])
    relation = cc.Relation(pets, cc.MultilabelTask("t\x00", ["l\x07", "m"]), [[0.5, 0.1], [0.1, 0.2]])
    figures = [axes.figure, Figure(), Figure()]
    cc.RelationDisplay.from_relation(relation, ax=axes)
    cc.CalibrationDisplay.from_predictions(pets, [0, 1], [[0.9, 0.1], [0.2, 0.8]], ax=figures[1].subplots())
    row = {"regime": "few\x1b", "task": "pet", "condition": "c\x1b", "baseline": "single-task"}
    row |= {"difference": 2.5, "low": 0.5, "high": 4.5, "verdict": "superior"}
    cc.VerdictDisplay.from_verdicts([row], ax=figures[2].subplots())
    for figure in figures:
        drawn = io.BytesIO()
        figure.savefig(drawn, format="svg")
        ET.fromstring(drawn.getvalue())
    assert [text.get_text() for text in axes.get_yticklabels()] == ["a\\x1b[2J", "\\u202eb"]


def test_a_name_that_begins_with_an_underscore_is_in_the_legend(axes):
    cc.CalibrationDisplay.from_predictions(
        cc.MulticlassTask("_kind", ["a", "b"]), [0, 1], [[0.9, 0.1], [0.2, 0.8]], ax=axes
    )
    assert any("_kind" in text.get_text() for text in axes.get_legend().get_texts())


class TestRelation:
    def test_cells_names_and_gaps(self, axes):
        display = cc.RelationDisplay.from_relation(RELATION, ax=axes)
        assert display.ax_ is axes
        assert [t.get_text() for t in axes.get_yticklabels()] == ["cat", "dog", "fish"]
        assert [t.get_text() for t in axes.get_xticklabels()] == ["purrs", "swims"]
        assert [t.get_text() for t in axes.texts] == [".90", ".10", "?", ".40", "0", "1"]
        np.testing.assert_array_equal(axes.images[0].get_array().filled(np.nan), RELATION.table)

    def test_of_a_model(self, fitted, axes):
        model, _, _ = fitted
        assert cc.RelationDisplay.from_estimator(model, ax=axes).ax_.get_title() == "pet->trait"
        with pytest.raises(UnknownNameError, match="pet->trait"):
            cc.RelationDisplay.from_estimator(model, "trait->pet")

    def test_without_axes_it_makes_a_figure(self):
        display = cc.RelationDisplay.from_relation(RELATION)
        assert display.figure_ is display.ax_.figure
        again = display.plot()
        assert again.ax_ is not None

    def test_many_cells_show_no_numbers(self, axes):
        names = [f"c{i}" for i in range(40)]
        display = cc.RelationDisplay(np.zeros((40, 40)), names, names).plot(axes)
        assert not display.ax_.texts

    def test_names_that_do_not_fit(self):
        with pytest.raises(ShapeError, match=r"\(1, 2\)"):
            cc.RelationDisplay(np.zeros((2, 2)), ["a"], ["x", "y"])


class TestCalibration:
    def test_the_error_is_that_of_the_metrics(self, axes):
        rng = np.random.default_rng(1)
        p = rng.dirichlet(np.ones(3), 200)
        y = [PET.classes[i] if i >= 0 else None for i in rng.integers(-1, 3, 200)]
        display = cc.CalibrationDisplay.from_predictions(PET, y, p, ax=axes)
        assert display.error == pytest.approx(class_metrics(y, p, PET.classes)["ece"])
        assert display.counts.sum() == sum(value is not None for value in y)
        weighted = np.abs(display.hits - display.confidence) @ display.counts / display.counts.sum()
        assert weighted == pytest.approx(display.error)

    def test_of_labels_each_cell_counts(self, axes):
        rng = np.random.default_rng(2)
        q, a = rng.random((90, 2)), rng.integers(0, 2, (90, 2)).astype(float)
        a[rng.random((90, 2)) < 0.3] = np.nan
        display = cc.CalibrationDisplay.from_predictions(TRAIT, a, q, ax=axes)
        assert display.counts.sum() == (~np.isnan(a)).sum()
        assert display.error == pytest.approx(label_metrics(a, q, TRAIT.labels)["ece"])

    def test_of_a_model_by_task_on_shared_axes(self, fitted, axes):
        model, X, y = fitted
        for task in ("pet", "trait"):
            cc.CalibrationDisplay.from_estimator(model, X, y, task, ax=axes)
        legend = [text.get_text() for text in axes.get_legend().get_texts()]
        assert [text.split(" ")[0] for text in legend] == ["calibrated", "pet", "trait"]
        with pytest.raises(UnknownNameError, match="several tasks; name the one to display: pet, trait"):
            cc.CalibrationDisplay.from_estimator(model, X, y)
        with pytest.raises(ShapeError, match="no targets of task 'trait'"):
            cc.CalibrationDisplay.from_estimator(model, X, {"pet": y["pet"]}, "trait")

    def test_of_a_model_of_one_task(self, axes):
        X, y = np.random.default_rng(0).normal(size=(30, 2)), np.array(["b", "a", "c"] * 10)
        model = cc.CoupledClassifier(steps=2, random_state=0).fit(X, y)
        display = cc.CalibrationDisplay.from_estimator(model, X, y, ax=axes)
        index = np.searchsorted(["a", "b", "c"], y)
        wanted = class_metrics(index, model.predict_proba(X), ["0", "1", "2"])["ece"]
        assert display.error == pytest.approx(wanted)
        with pytest.raises(AnnotationError, match="'z'"):
            cc.CalibrationDisplay.from_estimator(model, X[:1], ["z"])

    @pytest.mark.parametrize("classes", [["a", "b", "c"], [3, 1, 2], [1.0, 2.0, 3.0]])
    @pytest.mark.parametrize("strange", [None, "z", np.nan, 7, ["a"]])
    def test_a_value_of_any_kind_that_is_no_class_is_named(self, classes, strange, axes):
        X, y = np.random.default_rng(0).normal(size=(30, 2)), np.array(classes * 10)
        model = cc.CoupledClassifier(steps=2, random_state=0).fit(X, y)
        display = cc.CalibrationDisplay.from_estimator(model, X, list(y), ax=axes)
        wanted = class_metrics(np.searchsorted(sorted(classes), y), model.predict_proba(X), ["0", "1", "2"])
        assert display.error == pytest.approx(wanted["ece"])
        odd = y.astype(object)
        odd[4] = strange
        with pytest.raises(AnnotationError, match=re.escape(f"y holds {strange!r}, which is none of")):
            cc.CalibrationDisplay.from_estimator(model, X, odd, ax=axes)
        with pytest.raises(ShapeError, match="one-dimensional"):
            cc.CalibrationDisplay.from_estimator(model, X, y[:, None], ax=axes)

    def test_dates_are_classes_in_any_unit(self, axes):
        X = np.random.default_rng(0).normal(size=(30, 2))
        y = np.array(["2020-01-01", "2021-01-01"] * 15, "M8[D]")
        model = cc.CoupledClassifier(steps=2, random_state=0).fit(X, y)
        display = cc.CalibrationDisplay.from_estimator(model, X, y.astype("M8[s]"), ax=axes)
        assert display.counts.sum() == 30

    def test_what_cannot_be_shown(self, axes):
        with pytest.raises(NoAnnotationError):
            cc.CalibrationDisplay.from_predictions(PET, [None], [[0.2, 0.3, 0.5]], ax=axes)
        with pytest.raises(ShapeError, match=r"\(2, 3\)"):
            cc.CalibrationDisplay.from_predictions(PET, ["cat", "dog"], [[0.2, 0.3, 0.5]], ax=axes)


def verdict(condition, value, said, **more):
    row = {"regime": "few", "task": "pet", "condition": condition, "baseline": "single-task"}
    return row | {"difference": value, "low": value - 1, "high": value + 1, "verdict": said} | more


ROWS = [
    verdict("auto", 2.0, "superior"),
    verdict("paper", -9.0, "inferior"),
    verdict("matching", 0.5, "undecided", low=None, high=None),
    verdict("auto", 1.0, "non-inferior", regime="many"),
    verdict("auto", 3.0, "superior", baseline="uncoupled"),
]


class TestVerdict:
    def test_rows_of_one_regime_task_and_baseline(self, axes):
        display = cc.VerdictDisplay.from_verdicts(ROWS, ax=axes)
        assert [row["condition"] for row in display.rows] == ["auto", "paper", "matching"]
        assert [t.get_text() for t in axes.get_yticklabels()] == ["auto", "paper", "matching"]
        marks = [line for line in axes.lines if line.get_marker() not in ("None", None)]
        assert [float(line.get_xdata()[0]) for line in marks] == [2.0, -9.0, 0.5]
        assert len({line.get_marker() for line in marks}) == 3, "verdicts differ without colour"
        assert [t.get_text() for t in axes.get_legend().get_texts()] == [
            "better",
            "worse (harm)",
            "undecided",
        ]

    def test_another_regime_or_baseline(self, axes):
        assert cc.VerdictDisplay.from_verdicts(ROWS, regime="many", ax=axes).rows == (ROWS[3],)
        assert cc.VerdictDisplay.from_verdicts(ROWS, baseline="uncoupled", ax=axes).rows == (ROWS[4],)
        with pytest.raises(UnknownNameError, match="few"):
            cc.VerdictDisplay.from_verdicts(ROWS, regime="fwe")

    def test_of_a_folder(self, tmp_path, axes):
        with pytest.raises(MissingDataError, match=r"summary\.json"):
            cc.VerdictDisplay.from_study(tmp_path)
        (tmp_path / "summary.json").write_text(json.dumps({"verdicts": ROWS}))
        assert len(cc.VerdictDisplay.from_study(tmp_path, task="pet", ax=axes).rows) == 3
        (tmp_path / "summary.json").write_text("[]")
        with pytest.raises(DataFormatError, match="no verdicts"):
            cc.VerdictDisplay.from_study(tmp_path)

    def test_nothing_and_half_of_it(self):
        with pytest.raises(EmptyDataError):
            cc.VerdictDisplay.from_verdicts([])
        with pytest.raises(DataFormatError, match="'low'"):
            cc.VerdictDisplay.from_verdicts([{k: v for k, v in ROWS[0].items() if k != "low"}])


@pytest.mark.parametrize(
    ("p", "error"),
    [
        ([[0.9, 0.1], [np.nan, np.nan], [0.4, 0.6]], NotFiniteError),
        ([[9.0, -3.0], [2.0, 5.0], [4.0, 0.6]], RangeError),
        ([[0.9, 0.1]], ShapeError),
    ],
)
def test_what_is_no_probability_is_not_drawn(p, error):
    with pytest.raises(error):
        cc.CalibrationDisplay.from_predictions(cc.MulticlassTask("pet", ["cat", "dog"]), [0, 1, 0], p)


def test_a_word_that_is_no_verdict_is_refused():
    with pytest.raises(DataFormatError, match="'splendid' is no verdict"):
        cc.VerdictDisplay.from_verdicts([verdict("auto", 1.0, "splendid")])
