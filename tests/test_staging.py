import numpy as np
import pandas as pd
import pytest
import torch

import concord as cc
from asserts import raises
from concord.auto.posterior import posterior_targets
from concord.couplings.base import View
from concord.errors import RangeError, ShapeError

PET = cc.MulticlassTask("pet", ["cat", "dog", "fish"])
TRAIT = cc.MultilabelTask("trait", ["purrs", "barks", "swims"])
TABLE = [[0.9, 0.05, np.nan], [0.0, 0.8, 0.4], [0.1, 0.0, 1.0]]


def test_posterior_targets_are_the_couplings_evidence_on_the_first_stage() -> None:
    rng = np.random.default_rng(0)
    relation = cc.Relation(PET, TRAIT, TABLE)
    p = rng.dirichlet(np.ones(3), size=20)
    a = rng.integers(0, 2, (20, 3)).astype(float)
    a[rng.random((20, 3)) < 0.4] = np.nan
    a[0] = np.nan
    found = posterior_targets(p, a, relation, exponent=0.7)
    view = View(
        {"pet": torch.from_numpy(np.log(p)), "trait": torch.zeros(20, 3, dtype=torch.float64)},
        {"pet": torch.full((20,), -1), "trait": torch.from_numpy(a)},
        relation,
    )
    expected = (view.log_p + 0.7 * view.evidence()).softmax(dim=-1).numpy()
    annotated = ~np.isnan(a).all(axis=1)
    assert np.isnan(found[~annotated]).all()
    np.testing.assert_allclose(found[annotated], expected[annotated], rtol=1e-9)


def test_posterior_targets_of_an_exact_hierarchy_name_the_class() -> None:
    kind = cc.MulticlassTask("kind", ["a", "b"])
    species = cc.MulticlassTask("species", ["a1", "a2", "b1"])
    relation = cc.Relation(kind, species, [[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]])
    found = posterior_targets(np.full((3, 2), 0.5), ["a2", None, "b1"], relation)
    assert found[0, 0] > 0.9
    assert np.isnan(found[1]).all()
    assert found[2, 1] > 0.9


def test_wrong_shapes_are_named() -> None:
    relation = cc.Relation(PET, TRAIT, TABLE)
    with pytest.raises(ShapeError, match="'pet'"):
        posterior_targets(np.zeros((2, 2)), np.zeros((2, 3)), relation)


def test_what_is_no_probability_is_refused() -> None:
    relation = cc.Relation(PET, TRAIT, TABLE)
    labels = np.zeros((1, 3))
    with raises(RangeError, "'pet'", "sums to 1"):
        posterior_targets(np.full((1, 3), 0.5), labels, relation)
    with raises(RangeError, "exponent", "found 1.5"):
        posterior_targets(np.full((1, 3), 1 / 3), labels, relation, 1.5)


def test_named_columns_are_taken_by_name() -> None:
    relation = cc.Relation(PET, TRAIT, TABLE)
    rng = np.random.default_rng(0)
    p, labels = rng.dirichlet(np.ones(3), 9), rng.integers(0, 2, (9, 3))
    order = [2, 0, 1]
    mixed_p = pd.DataFrame(p[:, order], columns=[PET.classes[i] for i in order])
    mixed_a = pd.DataFrame(labels[:, order], columns=[TRAIT.labels[i] for i in order])
    np.testing.assert_array_equal(
        posterior_targets(mixed_p, mixed_a, relation), posterior_targets(p, labels, relation)
    )
