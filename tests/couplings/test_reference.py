"""Every coupling equals plain loops, on random tables, gaps and logits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given

from concord.couplings.population import PopulationMatching
from coupling_reference import CASES, LABEL_CASES, population, population_sums
from strategies import Batch, batches


def check(coupling, reference, batch: Batch) -> None:
    expected = reference(batch)
    for dtype, relative in (("float64", 1e-6), ("float32", 1e-4)):
        value = coupling(batch.logits(dtype), batch.targets(), batch.relation)
        assert value.dtype == getattr(torch, dtype)
        assert value.shape == ()
        assert value.item() == pytest.approx(expected, rel=relative, abs=1e-6)


@pytest.mark.parametrize("name", [*CASES, *LABEL_CASES])
@given(batch=batches(class_to_class=False))
def test_class_to_label(name, batch):
    check(*(CASES | LABEL_CASES)[name], batch)


@pytest.mark.parametrize("name", CASES)
@given(batch=batches(class_to_class=True))
def test_class_to_class(name, batch):
    check(*CASES[name], batch)


@given(batch=batches(class_to_class=True))
def test_a_class_to_class_table_has_no_binary_form_and_is_taken_as_it_is(batch):
    coupling, _ = LABEL_CASES["matching class-mean binary"]
    _, reference = CASES["matching class-mean"]
    check(coupling, reference, batch)


@given(first=batches(class_to_class=False, extreme=False), seed=batches(class_to_class=False, extreme=False))
def test_running_sums_of_population_matching(first, seed):
    # Two batches of one relation: the second sees the first's sums, decayed.
    c, k = first.relation.table.shape
    second = Batch(
        first.relation,
        np.resize(seed.source_logits, (3, c)),
        np.resize(seed.target_logits, (3, k)),
        np.asarray([-1, 0, 1]),
        np.full((3, k), np.nan),
    )
    coupling = PopulationMatching(momentum=0.6)
    one = coupling(first.logits(), first.targets(), first.relation)
    coupling.eval()
    again = [coupling(second.logits(), second.targets(), first.relation).item() for _ in range(2)]
    (joint, mass), (old_joint, old_mass) = population_sums(second), population_sums(first)
    joint = (np.asarray(joint) + 0.6 * np.asarray(old_joint)).tolist()
    mass = (np.asarray(mass) + 0.6 * np.asarray(old_mass)).tolist()
    assert one.item() == pytest.approx(population(first), rel=1e-6, abs=1e-6)
    assert again == pytest.approx([population(second, (joint, mass))] * 2, rel=1e-6, abs=1e-6)
