"""Numbers worked out by hand, and the traps: the naive forms fall in, the defaults do not."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import concord as cc
from concord.couplings.base import View
from concord.couplings.matching import DistributionMatching
from concord.couplings.soft_coannotation import SoftCoannotation, indicator_scores

RELATION = cc.tables.expressions()
CLASSES, LABELS = RELATION.source.classes, RELATION.target.outputs
UNSEEN = ("AU7", "AU10", "AU23", "AU24")
"""Units that one well-known data set does not annotate."""


def view(active=(), hidden=(), classes=None, relation=RELATION) -> View:
    """One sample with units, some of them not annotated, and logits of the class head."""
    labels = torch.tensor([[float(name in {f"AU{u}" for u in active}) for name in relation.target.outputs]])
    labels[0, [relation.target.outputs.index(name) for name in hidden]] = float("nan")
    z = torch.zeros(1, relation.source.width, dtype=torch.float64) if classes is None else classes
    logits = {"expression": z, "action_units": torch.zeros(1, relation.target.width, dtype=torch.float64)}
    return View(logits, {"expression": torch.tensor([-1]), "action_units": labels}, relation)


def class_logits(**probability: float) -> torch.Tensor:
    """Logits of a class distribution with these probabilities."""
    p = torch.tensor([[probability.get(name, 0.0) for name in CLASSES]], dtype=torch.float64)
    return p.clamp(min=1e-300).log()


def scores(neutral="renormalise", **sample) -> dict[str, float]:
    values, scored = indicator_scores(view(**sample), neutral)
    return {name: v.item() for name, v, s in zip(CLASSES, values[0], scored[0], strict=True) if s}


# 1. The table ------------------------------------------------------------------------------------


def test_the_table_of_expressions():
    units = (1, 2, 4, 5, 6, 7, 9, 10, 11, 12, 15, 17, 20, 23, 24, 25, 26)
    assert tuple(f"AU{u}" for u in units) == LABELS
    assert RELATION.table.shape == (7, 17)
    assert not RELATION.table[CLASSES.index("neutral")].any()
    assert RELATION.neutral.tolist() == [name == "neutral" for name in CLASSES]
    assert RELATION.table[CLASSES.index("surprise"), LABELS.index("AU10")] == 0


# 2. What a class implies for a label -------------------------------------------------------------


@pytest.mark.parametrize(
    ("cells", "happy", "both"),
    [
        ("weighted", {"AU12": 1, "AU25": 1, "AU6": 0.51}, 0.785),
        ("binary", {"AU12": 1, "AU25": 1, "AU6": 1}, 1),
    ],
)
def test_implied_label_probabilities(cells, happy, both):
    prepared = DistributionMatching(cells=cells).prepared(RELATION)
    q, not_q, mass = view(classes=class_logits(happiness=1), relation=prepared).mixed()
    for name, expected in happy.items():
        assert q[0, LABELS.index(name)].item() == pytest.approx(expected, abs=2e-6)
        assert not_q[0, LABELS.index(name)].item() == pytest.approx(1 - expected, abs=2e-6)
    torch.testing.assert_close(mass, torch.ones_like(mass))
    q, _, _ = view(classes=class_logits(surprise=0.5, fear=0.5), relation=prepared).mixed()
    assert q[0, LABELS.index("AU2")].item() == pytest.approx(both, abs=2e-6)


# 3. Scores of soft co-annotation -----------------------------------------------------------------


def test_indicator_scores():
    assert scores(active=(12, 25))["happiness"] == pytest.approx(2 / 2.51, abs=1e-6)
    assert scores(active=(12, 25))["happiness"] == pytest.approx(0.7968, abs=5e-5)
    given = scores(active=(4, 15))
    assert given["sadness"] == pytest.approx(2 / 4.03, abs=1e-6)
    assert given["sadness"] == pytest.approx(0.4963, abs=5e-5)
    assert given["anger"] == pytest.approx(1 / 4.07, abs=1e-6)
    assert given["anger"] == pytest.approx(0.2457, abs=5e-5)


# 4. The paper's form is linear in p --------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_the_papers_coannotation_is_linear_in_p(seed):
    rng = np.random.default_rng(seed)
    active = rng.choice([1, 2, 4, 5, 6, 12, 15, 17, 25, 26], size=4, replace=False)
    z = torch.tensor(rng.normal(size=(1, 7)))
    sample = view(active, classes=z)
    p = torch.softmax(z[:, 1:], dim=1)[0]
    scored = torch.tensor([v for name, v in scores(active=active).items() if name != "neutral"])
    expected = -(p * scored).sum() + torch.logsumexp(scored, dim=0)
    loss = SoftCoannotation("paper", neutral="renormalise").loss(sample)
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=1e-9)


# 5. Neutral --------------------------------------------------------------------------------------


def coannotation_at(coupling: SoftCoannotation, **probability: float) -> float:
    return coupling.loss(view((12, 25), classes=class_logits(**probability))).item()


@pytest.mark.parametrize("form", ["paper", "soft-target"])
def test_only_the_naive_form_is_won_by_predicting_neutral(form):
    naive, default = SoftCoannotation("paper", neutral="naive"), SoftCoannotation(form)
    candidates = [{name: 1.0} for name in CLASSES] + [dict.fromkeys(CLASSES, 1 / 7)]
    assert coannotation_at(naive, neutral=1.0) == pytest.approx(0, abs=1e-9)
    assert min(candidates, key=lambda p: coannotation_at(naive, **p)) == {"neutral": 1.0}
    best = min(candidates, key=lambda p: coannotation_at(default, **p))
    assert best != {"neutral": 1.0}
    if form == "paper":  # linear: the largest score takes all
        assert best == {"happiness": 1.0}


def test_neutral_scores_by_absence():
    assert scores("absent-share", active=())["neutral"] == 1
    assert scores("absent-share", active=(12, 25))["neutral"] == pytest.approx(15 / 17)
    assert "neutral" not in scores("renormalise", active=(12, 25))
    # Among the units that are annotated only.
    assert scores("absent-share", active=(12, 25), hidden=UNSEEN)["neutral"] == pytest.approx(11 / 13)


def test_renormalised_forms_leave_neutral_alone():
    for form in ("paper", "soft-target"):
        z = torch.randn(1, 7, dtype=torch.float64, requires_grad=True)
        SoftCoannotation(form, neutral="renormalise").loss(view((12, 25), classes=z)).backward()
        assert z.grad[0, 0] == 0
        assert z.grad[0, 1:].abs().min() > 0


# 6. Who takes part -------------------------------------------------------------------------------


def test_matching_uses_all_samples_and_soft_coannotation_those_with_labels():
    relation, gap = RELATION, float("nan")
    logits = {
        "expression": torch.randn(3, 7, dtype=torch.float64, requires_grad=True),
        "action_units": torch.randn(3, 17, dtype=torch.float64, requires_grad=True),
    }
    targets = {
        "expression": torch.tensor([2, -1, -1]),
        "action_units": torch.tensor([[gap] * 17, [1.0, 0.0] * 8 + [gap], [gap] * 17]),
    }
    for coupling in (DistributionMatching(), DistributionMatching("paper")):
        each = [
            coupling(
                {k: z[i : i + 1] for k, z in logits.items()},
                {k: t[i : i + 1] for k, t in targets.items()},
                relation,
            )
            for i in range(3)
        ]
        torch.testing.assert_close(coupling(logits, targets, relation), torch.stack(each).mean())
    for coupling in (SoftCoannotation(), SoftCoannotation("paper")):
        alone = coupling(
            {k: z[1:2] for k, z in logits.items()}, {k: t[1:2] for k, t in targets.items()}, relation
        )
        loss = coupling(logits, targets, relation)
        torch.testing.assert_close(loss, alone)
        (dz,) = torch.autograd.grad(loss, logits["expression"])
        assert not dz[[0, 2]].any()
        assert dz[1].any()


# The traps ---------------------------------------------------------------------------------------


def label_gradient(form: str, z: torch.Tensor, q: float) -> torch.Tensor:
    """Gradient of matching for one label at logits `z` when the class head implies q, held."""
    task, label = cc.MulticlassTask("c", ["x", "y"]), cc.MultilabelTask("l", ["a"])
    relation = cc.Relation(task, label, [[q], [q]])
    z = z.clone().requires_grad_()
    n = len(z)
    loss = DistributionMatching(form, detach="source")(
        {"c": torch.zeros(n, 2, dtype=torch.float64), "l": z[:, None]},
        {"c": torch.full((n,), -1), "l": torch.full((n, 1), float("nan"))},
        relation,
    )
    return torch.autograd.grad(loss, z)[0]


LOGITS = torch.linspace(-6, 6, 49, dtype=torch.float64)


@pytest.mark.parametrize("q", [0.05, 0.3, 0.7, 0.95])
def test_trap_1_the_papers_matching_only_pushes_labels_down(q):
    assert (label_gradient("paper", LOGITS, q) > 0).all()
    default = label_gradient(DistributionMatching().form, LOGITS, q)
    low = torch.sigmoid(LOGITS) < q
    assert (default[low] < 0).all()
    assert (default[~low] >= 0).all()


def test_trap_1_an_empty_label_head_costs_the_papers_matching_nothing():
    z = {"expression": torch.zeros(4, 7), "action_units": torch.full((4, 17), -80.0)}
    t = {"expression": torch.full((4,), -1), "action_units": torch.full((4, 17), float("nan"))}
    assert DistributionMatching("paper")(z, t, RELATION).item() == pytest.approx(0, abs=1e-9)
    assert DistributionMatching()(z, t, RELATION).item() > 1


@pytest.mark.parametrize("q", [0.3, 0.7])
def test_trap_2_bernoulli_matching_rounds_and_the_default_does_not(q):
    rounding = label_gradient("bernoulli", LOGITS, q)
    assert (rounding < 0).all() if q > 0.5 else (rounding > 0).all()
    at_mean = torch.tensor([math.log(q / (1 - q))], dtype=torch.float64)
    for form in ("class-mean", "jensen-shannon"):
        assert label_gradient(form, at_mean, q).abs().item() < 1e-9
    assert label_gradient("bernoulli", at_mean, q).abs().item() > 0.1


def test_trap_2_the_papers_coannotation_collapses_and_the_default_rests_at_its_target():
    def gradient(form: str) -> torch.Tensor:
        sample = view((4, 15))
        values, scored = indicator_scores(sample)
        z = torch.where(scored, values, torch.full_like(values, -300.0)).requires_grad_()
        return torch.autograd.grad(SoftCoannotation(form).loss(view((4, 15), classes=z)), z)[0]

    assert gradient("soft-target").abs().max() < 1e-9
    assert gradient("paper").abs().max() > 1e-2
    # ... and what it collapses to is all mass on the best score, where the default does not rest.
    ends = [
        coannotation_at(SoftCoannotation("paper", neutral="renormalise"), **{n: 1.0}) for n in CLASSES[1:]
    ]
    assert CLASSES[1:][int(np.argmin(ends))] == "happiness"


def test_trap_4_no_active_unit_gives_a_flat_target_and_a_temperature_sharpens():
    values, scored = indicator_scores(view(), "renormalise")
    assert values[scored].unique().tolist() == [0.0]
    for name in CLASSES[1:]:
        row = RELATION.table[CLASSES.index(name)]
        own = [int(LABELS[k][2:]) for k in np.flatnonzero(row)]
        given = scores(active=own)
        exponents = {t: np.exp(np.asarray(list(given.values())) / t) for t in (1.0, 0.1)}
        q = {t: dict(zip(given, e / e.sum(), strict=True)) for t, e in exponents.items()}
        assert q[1.0][name] == pytest.approx(max(q[1.0].values()))
        assert q[1.0][name] <= math.e / (math.e + 5) + 1e-9
        assert q[0.1][name] > q[1.0][name] + 0.1
        sharp = SoftCoannotation(neutral="renormalise", temperature=0.1)
        expected = -sum(q[0.1][n] * math.log(1 / 6) for n in given)
        assert sharp.loss(view(own)).item() == pytest.approx(expected)
    # With neutral scored by absence, an empty face is neutral.
    values, _ = indicator_scores(view())
    assert CLASSES[int(values.argmax())] == "neutral"


def test_trap_5_units_that_are_not_annotated_are_left_out_of_both_sums():
    active, hidden = (4, 17), UNSEEN
    assert scores(active=active, hidden=hidden)["anger"] == pytest.approx(1.0)
    assert scores(active=active)["anger"] == pytest.approx(1.52 / 4.07)
    # disgust: 9 17 (4) remain of 9 10 17 (4 24)
    assert scores(active=active, hidden=hidden)["disgust"] == pytest.approx(1.31 / 2.31)
