"""Co-annotation as data: the same values as the couplings' formulas, with weight and provenance."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from concord import MulticlassTask, MultilabelTask, Relation
from concord.data import coannotation as module
from concord.data import read_manifest, write_manifest
from concord.data.coannotation import annotate, filled_counts
from concord.data.manifest import Manifest
from concord.errors import DuplicateNameError, RangeError, ShapeError, UnknownNameError

FACE = MulticlassTask("expression", ["neutral", "happiness", "sadness"])
UNITS = MultilabelTask("units", ["AU12", "AU25", "AU6", "AU4"])
TABLE = [[0, 0, 0, 0], [1, 1, 0.51, 0], [0, 0, 0.3, 1]]
RELATION = Relation(FACE, UNITS, TABLE)
KIND = MulticlassTask("kind", ["calm", "moved"])
NESTED = Relation(FACE, KIND, [[1, 0], [0, 1], [0.25, 0.75]])

labels = st.sampled_from([0, 1, None])
samples = st.lists(
    st.tuples(st.sampled_from([*FACE.classes, None]), st.tuples(labels, labels, labels, labels)),
    min_size=1,
    max_size=12,
)


def manifest(rows, **columns) -> Manifest:
    frame = {"row": list(range(len(rows))), "expression": [face for face, _ in rows]}
    frame |= {f"units.{name}": [units[k] for _, units in rows] for k, name in enumerate(UNITS.labels)}
    schema = {f"units.{name}": pl.Int8 for name in UNITS.labels} | {"expression": pl.Enum(FACE.classes)}
    return Manifest(pl.DataFrame({**frame, **columns}, schema_overrides=schema), (FACE, UNITS), name="m")


def nested(faces, groups) -> Manifest:
    frame = {"row": list(range(len(faces))), "expression": faces, "kind": groups}
    return Manifest(pl.DataFrame(frame), (FACE, KIND), name="n")


NOTHING = (None,) * 4


def column(done, name):
    return done.frame[name].to_list()


# -- references, in plain NumPy ----------------------------------------------------------------------


def soft_reference(a):
    """Softmax of I(c) over the classes that have a score; neutral by the share of absent labels."""
    known = [k for k, value in enumerate(a) if value is not None]
    scores = np.full(3, -np.inf)
    for c, row in enumerate(TABLE):
        reach = sum(row[k] for k in known)
        if reach > 0:
            scores[c] = sum(row[k] * a[k] for k in known) / reach
    if known:
        scores[0] = np.mean([a[k] == 0 for k in known])
    return np.exp(scores) / np.exp(scores).sum()


def posterior_reference(a, prior=(1 / 3, 1 / 3, 1 / 3), exponent=1.0):
    out = np.array(prior, dtype=float)
    for c, row in enumerate(TABLE):
        for k, value in enumerate(a):
            if value is not None:
                cell = min(max(row[k], 0.03), 0.97)
                out[c] *= (cell if value else 1 - cell) ** exponent
    return out / out.sum()


@given(samples)
def test_posterior_classes_are_bayes_rule(rows):
    prior = np.array([0.5, 0.2, 0.3])
    done = annotate(manifest(rows), RELATION.replace(prior=prior), exponent=0.7)
    for i, (face, units) in enumerate(rows):
        got = [done.frame[f"expression:{name}:probability"][i] for name in FACE.classes]
        if face is not None:
            assert got == [float(name == face) for name in FACE.classes]
            assert done.frame["expression"][i] == face
            assert done.frame["expression:provenance"][i] == "annotated"
            assert done.frame["expression:weight"][i] == 1
        elif units == NOTHING:
            assert got == [None] * 3
            assert done.frame["expression"][i] is None
        else:
            expected = posterior_reference(units, prior, 0.7)
            np.testing.assert_allclose(got, expected, atol=1e-6)
            assert done.frame["expression"][i] == FACE.classes[int(expected.argmax())]
            assert done.frame["expression:weight"][i] == pytest.approx(expected.max(), abs=1e-6)
            assert done.frame["expression:provenance"][i] == "posterior:expression->units"


@given(samples)
def test_soft_classes_are_the_softmax_of_scores(rows):
    done = annotate(manifest(rows), RELATION, "soft", fill="source")
    assert done.frame.select(f"units.{name}" for name in UNITS.labels).rows() == [u for _, u in rows]
    for i, (face, units) in enumerate(rows):
        if face is None and units != NOTHING:
            expected = soft_reference(units)
            got = [done.frame[f"expression:{name}:probability"][i] for name in FACE.classes]
            np.testing.assert_allclose(got, expected, atol=1e-6)
            first, second = sorted(expected)[:-3:-1]
            chosen = FACE.classes[int(expected.argmax())] if first - second > 1e-9 else None
            assert done.frame["expression"][i] == chosen


@given(samples, st.sampled_from(["soft", "posterior"]))
def test_labels_from_a_class_are_its_row(rows, method):
    done = annotate(manifest(rows), RELATION, method, fill="target")
    assert column(done, "expression") == [face for face, _ in rows]
    for i, (face, units) in enumerate(rows):
        for k, name in enumerate(UNITS.labels):
            got = [done.frame[f"units:{name}:{what}"][i] for what in ("probability", "weight", "provenance")]
            value = done.frame[f"units.{name}"][i]
            if units[k] is not None:
                assert (value, got) == (units[k], [units[k], 1, "annotated"])
            elif face is None:
                assert (value, got) == (None, [None] * 3)
            else:
                cell = TABLE[FACE.classes.index(face)][k]
                assert value == int(cell > 0.5)
                assert got[:2] == pytest.approx([cell, max(cell, 1 - cell)])
                assert got[2] == f"{method}:expression->units"


@given(samples)
def test_hard_co_annotation_goes_by_the_rule(rows):
    done = annotate(manifest(rows), RELATION, "hard")
    assert not any("probability" in name for name in done.frame.columns)
    prototypical = {"happiness": {0, 1}, "sadness": {3}}
    for i, (face, units) in enumerate(rows):
        complete = [name for name, needed in prototypical.items() if all(units[k] == 1 for k in needed)]
        # Happiness needs two labels and so goes before sadness, which needs one.
        by_rule = complete[0] if complete else None
        assert done.frame["expression"][i] == (by_rule if face is None else face)
        for k, name in enumerate(UNITS.labels):
            cell = TABLE[FACE.classes.index(face)][k] if face else 0
            given_ = units[k] is None and cell == 1
            assert done.frame[f"units.{name}"][i] == (1 if given_ else units[k])
            weight = cell if given_ else (None if units[k] is None else 1)
            assert done.frame[f"units:{name}:weight"][i] == pytest.approx(weight)


# -- more than one pass, parts, ties -------------------------------------------------------------------


def test_what_was_filled_in_is_no_evidence_and_is_not_overwritten():
    rows = [("happiness", NOTHING), (None, (0, None, 0, 1)), (None, NOTHING)]
    first = annotate(manifest(rows), RELATION, "hard")
    again = annotate(first, RELATION, "hard")
    assert again.frame.equals(first.frame)
    second = annotate(first, RELATION, "posterior")
    assert column(second, "expression:provenance") == ["annotated", "hard:expression->units", None]
    assert column(first, "units.AU6") == [None, 0, None]  # in half of the samples at most: nothing is sure
    assert column(second, "units:AU12:provenance") == ["hard:expression->units", "annotated", None]
    assert column(second, "units:AU6:provenance") == ["posterior:expression->units", "annotated", None]
    assert column(second, "units:AU6:weight") == pytest.approx([0.51, 1, None])
    # The gaps that the hard rule left: absent labels.
    assert column(second, "units.AU4") == [0, 1, None]
    assert column(second, "units:AU4:provenance") == ["posterior:expression->units", "annotated", None]
    # By what was annotated alone, not by AU12 and AU25 that the first pass gave.
    chained = Relation(MulticlassTask("smile", ["no", "yes"]), UNITS, [[0.1] * 4, [0.9] * 4])
    third = annotate(first, chained, "posterior", fill="source")
    assert column(third, "smile") == [None, "no", None]
    counts = filled_counts(third)
    assert counts["smile"] == {"posterior:smile->units": 1}
    assert counts["expression"] == {"annotated": 1, "hard:expression->units": 1}


def test_chunks_change_nothing(monkeypatch):
    rng = np.random.default_rng(0)
    rows = [
        (
            [*FACE.classes, None, None][rng.integers(5)],
            tuple([0, 1, None][rng.integers(3)] for _ in range(4)),
        )
        for _ in range(50)
    ]
    whole = {method: annotate(manifest(rows), RELATION, method) for method in ("hard", "soft", "posterior")}
    monkeypatch.setattr(module, "CHUNK", 7)
    for method, done in whole.items():
        assert annotate(manifest(rows), RELATION, method).frame.equals(done.frame)


def test_ties_unknown_cells_and_weak_values_stay_gaps():
    table = Relation(FACE, UNITS, [[0, 0, 0, 0], [1, 1, 0.5, np.nan], [1, 1, 0.3, np.nan]])
    rows = [(None, (1, None, None, None)), ("happiness", NOTHING), (None, (None, None, None, 1))]
    done = annotate(manifest(rows), table)
    # Happiness and sadness are equally likely by AU12; AU4 is unknown for both.
    assert done.frame["expression"][0] is None
    assert done.frame["expression:happiness:probability"][0] == pytest.approx(0.97 / 1.97)
    assert done.frame["units.AU6"][1] is None
    assert done.frame["units:AU6:probability"][1] == 0.5
    assert done.frame["units.AU4"][1] is None
    assert done.frame["units:AU4:probability"][1] is None
    strict = annotate(manifest([("sadness", NOTHING)]), RELATION, min_weight=0.8)
    assert [strict.frame[f"units.{name}"][0] for name in UNITS.labels] == [0, 0, None, 1]
    assert strict.frame["units:AU6:probability"][0] == pytest.approx(0.3)


def test_from_class_to_class_and_back():
    done = annotate(nested(["neutral", "sadness", None, None], [None, None, "calm", "moved"]), NESTED)
    assert column(done, "kind") == ["calm", "moved", "calm", "moved"]
    assert column(done, "kind:weight") == pytest.approx([1, 0.75, 1, 1])
    assert column(done, "kind:calm:probability") == pytest.approx([1, 0.25, 1, 0])
    # Bayes with a uniform prior: calm comes of neutral 1, sadness .25 (cells are clipped for happiness).
    assert column(done, "expression")[2:] == ["neutral", "happiness"]
    assert done.frame["expression:weight"][2] == pytest.approx(0.8, abs=0.03)
    hard = annotate(nested(["neutral", "sadness", None, None], [None, None, "calm", "moved"]), NESTED, "hard")
    assert column(hard, "kind") == ["calm", None, "calm", "moved"]
    assert column(hard, "expression")[2:] == [None, None]
    soft = annotate(nested([None], ["moved"]), NESTED, "soft", temperature=0.5)
    scores = np.exp(np.array([0, 1, 0.75]) / 0.5)
    got = [soft.frame[f"expression:{name}:probability"][0] for name in FACE.classes]
    np.testing.assert_allclose(got[1:], (scores / scores[1:].sum())[1:] * sum(got[1:]), atol=1e-6)
    assert soft.frame["expression"][0] == "happiness"


@pytest.mark.parametrize("name", ["out.parquet", "out.csv"])
def test_the_result_reads_as_a_manifest(tmp_path, name):
    rows = [("happiness", NOTHING), (None, (1, 1, 0, None)), (None, NOTHING)]
    done = annotate(manifest(rows), RELATION)
    write_manifest(done, tmp_path / name)
    back = read_manifest(tmp_path / name)
    assert back.tasks == done.tasks
    for own, read in zip(done.targets().values(), back.targets().values(), strict=True):
        np.testing.assert_array_equal(own, read)
    assert filled_counts(back) == filled_counts(done)
    again = annotate(back, RELATION)
    assert again.frame["units:AU6:weight"].to_list() == done.frame["units:AU6:weight"].to_list()


def test_a_task_that_the_manifest_lacks_is_added():
    frame = pl.DataFrame({"row": [0, 1], "expression": ["sadness", None]})
    done = annotate(Manifest(frame, (FACE,)), RELATION)
    assert done.tasks == (FACE, UNITS)
    assert column(done, "units.AU4") == [1, None]
    assert column(done, "expression") == ["sadness", None]


def test_mistakes_are_named():
    rows = [("happiness", NOTHING)]
    for options, error, match in [
        ({"method": "sofft"}, UnknownNameError, "'soft'"),
        ({"fill": "all"}, UnknownNameError, "fill"),
        ({"method": "soft", "neutral": "naive"}, UnknownNameError, "neutral"),
        ({"exponent": 1.5}, RangeError, "1.5"),
        ({"temperature": 0}, RangeError, "temperature"),
        ({"min_weight": -1}, RangeError, "-1"),
    ]:
        with pytest.raises(error, match=match):
            annotate(manifest(rows), RELATION, **options)
    with pytest.raises(ShapeError, match="task 'expression' of the relation"):
        annotate(manifest(rows), Relation(MulticlassTask("expression", ["a", "b"]), UNITS, np.zeros((2, 4))))
    taken = manifest(rows, **{"expression:weight": ["heavy"]})
    with pytest.raises(DuplicateNameError, match="'expression:weight'"):
        annotate(taken, RELATION)
    frame = pl.DataFrame({"row": [0], "expression": ["sadness"], "units.AU6": [1]})
    with pytest.raises(DuplicateNameError, match=r"'units\.AU6'"):
        annotate(Manifest(frame, (FACE,)), RELATION)
