"""Peers against independent references: every rule is what its paper says."""

from __future__ import annotations

import importlib
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from study_plans import tiny

from concord.errors import MissingExtraError, RangeError, ShapeError, StudyError, UnknownNameError
from concord.metrics import probabilities
from concord.networks.predict import predict_logits
from concord.objective import CoupledObjective
from concord.relations.relation import Relation
from concord.study.conditions.base import joined
from concord.study.conditions.registry import condition, condition_names
from concord.study.peers import boosting, logistic
from concord.study.peers._losses import CombinedGradients, dual_cone_weights, factor
from concord.study.peers.distillation import mixed_targets
from concord.study.peers.dwa import DynamicLoss, weights_after
from concord.study.peers.interval_supervision import IntervalSupervision, bands
from concord.study.peers.mgda import MGDAObjective, least_norm_weights
from concord.study.peers.pcgrad import PCGradObjective, projected
from concord.study.peers.pseudo_labels import sure
from concord.study.peers.uncertainty import UncertaintyLoss
from concord.study.problems.cases.digits import problem
from concord.study.running.one_cell import setting_of
from concord.study.spec import Network, TrunkNetwork
from concord.tasks import MulticlassTask, MultilabelTask

DIGITS = problem()
DIGIT, SEGMENTS = DIGITS.tasks
TEST = torch.from_numpy(DIGITS.inputs[DIGITS.splits["test"][:60]])
PEERS = (
    "best-single-task", "boosting", "distillation", "dwa", "extra-trees", "fixed-weights",
    "interval-supervision", "logistic", "merging", "mgda", "pcgrad", "pseudo-labels", "table-lookup",
    "uncertainty", "upgrad",
)  # fmt: skip

matrices = st.tuples(st.integers(2, 5), st.integers(2, 12), st.integers(0, 10_000)).map(
    lambda t: torch.from_numpy(np.random.default_rng(t[2]).normal(size=t[:2]))
)


def setting(steps=6, digit=40, segments=120, seed=0):
    plan = tiny(
        budget={"steps": steps, "rows_per_task": 16, "log_every": 3},
        regimes=[{"name": "r", "rows": {"digit": digit, "segments": segments}}],
    )
    return setting_of(plan, DIGITS, plan.regimes[0], seed, plan.budget)


def check(name, network=None, *, tasks=DIGITS.tasks, relations=DIGITS.relations, **options):
    """Whether a condition can be trained, on perceptrons unless another network is given."""
    condition(name, **options).check(tasks, relations, network or Network())


def batch(seed=0, n=24):
    one = setting(seed=seed)
    rows = one.rows.take(torch.arange(n) * (len(one.rows) // n))
    network = one.build(one.tasks).eval()
    return one, network, rows


def by_hand(network, tasks, rows):
    """Gradient of every task's loss by parameter's name, with a graph of its own."""
    out = []
    for task in tasks:
        network.zero_grad()
        CoupledObjective([task])(network(rows.inputs), rows.targets).loss.backward()
        out.append({k: None if p.grad is None else p.grad.clone() for k, p in network.named_parameters()})
    network.zero_grad()
    return out


def least(objective, start, bounds=None, constraints=()):
    found = minimize(objective, start, bounds=bounds, constraints=constraints, method="SLSQP",
                     options={"ftol": 1e-14, "maxiter": 500})  # fmt: skip
    return found.x


def test_the_peers_are_found_by_file():
    assert set(PEERS) <= set(condition_names())
    assert "-losses" not in condition_names()


# -- gradients -----------------------------------------------------------------------------------------


class Sum(CombinedGradients):
    def direction(self, gradients):
        return gradients.sum(dim=0)


def test_the_sum_of_gradients_is_the_uncoupled_network_and_heads_get_their_own():
    one, network, rows = batch()
    plain = CoupledObjective(one.tasks)(network(rows.inputs), rows.targets)
    plain.loss.backward()
    expected = {k: p.grad.clone() for k, p in network.named_parameters()}
    network.zero_grad()
    found = Sum(one.tasks, network)(network(rows.inputs), rows.targets)
    found.loss.backward()
    assert found.loss.item() == pytest.approx(plain.loss.item(), rel=1e-6)
    assert {k: v.item() for k, v in found.parts.items()} == pytest.approx(
        {k: v.item() for k, v in plain.parts.items()}
    )
    for name, parameter in network.named_parameters():
        assert torch.allclose(parameter.grad, expected[name], atol=1e-6), name


@pytest.mark.parametrize("kind", ["pcgrad", "mgda"])
def test_shared_layers_follow_the_rule_and_heads_their_own_task(kind):
    one, network, rows = batch()
    each = by_hand(network, one.tasks, rows)
    objective = (
        PCGradObjective(one.tasks, network, 0) if kind == "pcgrad" else MGDAObjective(one.tasks, network)
    )
    objective(network(rows.inputs), rows.targets).loss.backward()
    trunk = [k for k in each[0] if k.startswith("trunk")]
    matrix = torch.stack([torch.cat([grads[k].flatten() for k in trunk]) for grads in each])
    wanted = objective.direction(matrix)
    got = dict(network.named_parameters())
    assert torch.allclose(torch.cat([got[k].grad.flatten() for k in trunk]), wanted, atol=1e-6)
    for k in set(got) - set(trunk):
        own = next(grads[k] for grads in each if grads[k] is not None)
        assert torch.allclose(got[k].grad, own, atol=1e-6)


@given(st.integers(0, 10_000), st.integers(2, 12))
def test_pcgrad_leaves_no_conflict_between_two_tasks(seed, width):
    g = torch.from_numpy(np.random.default_rng(seed).normal(size=(2, width)))
    out = projected(g, torch.Generator().manual_seed(seed))
    assert torch.dot(out[0], g[1]) >= -1e-9
    assert torch.dot(out[1], g[0]) >= -1e-9
    if torch.dot(g[0], g[1]) >= 0:
        assert torch.equal(out, g)
    else:
        assert torch.dot(out[0], g[1]).abs() < 1e-9


@given(matrices, st.integers(0, 1000))
def test_pcgrad_is_algorithm_1(g, seed):
    """Plain loops over the same random orders."""
    generator = torch.Generator().manual_seed(seed)
    rows, expected = g.numpy(), []
    for i in range(len(rows)):
        v = rows[i].copy()
        for j in torch.randperm(len(rows), generator=generator).tolist():
            if j != i and v @ rows[j] < 0:
                v = v - (v @ rows[j]) / (rows[j] @ rows[j]) * rows[j]
        expected.append(v)
    assert np.allclose(projected(g, torch.Generator().manual_seed(seed)).numpy(), expected)


def test_pcgrad_survives_a_gradient_of_nought():
    g = torch.tensor([[0.0, 0.0], [1.0, -1.0], [-1.0, 0.5]])
    assert torch.isfinite(projected(g, torch.Generator())).all()


@given(matrices)
def test_mgda_is_the_point_of_least_norm(g):
    gram = (g @ g.T).numpy()
    weights = least_norm_weights(gram)
    assert weights.min() >= 0
    assert weights.sum() == pytest.approx(1)
    n = len(gram)
    reference = least(
        lambda w: w @ gram @ w, np.full(n, 1 / n), [(0, 1)] * n, {"type": "eq", "fun": lambda w: w.sum() - 1}
    )
    assert weights @ gram @ weights <= reference @ gram @ reference + 1e-7
    # Common descent: no gradient is opposed by the shortest vector (Sener and Koltun, section 3).
    assert (gram @ weights).min() >= weights @ gram @ weights - 1e-8


def test_mgda_of_two_tasks_in_closed_form():
    g = torch.tensor([[1.0, 0.0], [0.0, 2.0]], dtype=torch.float64)
    assert least_norm_weights(g @ g.T) == pytest.approx([0.8, 0.2])
    assert least_norm_weights(torch.tensor([[1.0, 2.0], [2.0, 4.0]])) == pytest.approx([1, 0])
    assert least_norm_weights(np.zeros((2, 2))).sum() == pytest.approx(1)


def test_factor_of_a_gramian():
    g = np.random.default_rng(0).normal(size=(4, 2))
    b = factor(g @ g.T)
    assert np.allclose(b.T @ b, g @ g.T)


@given(matrices)
def test_projections_on_the_dual_cone_oppose_no_task(g):
    gram = (g @ g.T).numpy()
    n = len(gram)
    scale = np.trace(gram)
    for u in np.eye(n):
        v = dual_cone_weights(u, gram)
        assert (v >= u - 1e-9).all()
        assert (gram @ v).min() >= -1e-7 * scale
        reference = least(lambda w: w @ gram @ w / scale, u + 0.1, [(low, None) for low in u])
        assert v @ gram @ v <= reference @ gram @ reference + 1e-6 * scale


def test_upgrad_goes_through_torchjd():
    one = setting()
    found = condition("upgrad").train(one)(TEST)
    assert torch.isfinite(found["digit"]).all()
    # TorchJD's own example, solved there by a package under the GPL.
    jacobian = torch.tensor([[-4.0, 1, 1], [6, 1, 1]])
    assert condition("upgrad").aggregator(jacobian).numpy() == pytest.approx(
        [0.2929, 1.9004, 1.9004], abs=2e-3
    )


def test_upgrad_without_torchjd_says_which_extra_brings_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchjd", None)
    with pytest.raises(MissingExtraError, match=r"pip install concord-mtl\[torchjd\]"):
        condition("upgrad")


# -- weights of losses ---------------------------------------------------------------------------------


def test_uncertainty_is_least_at_the_stationary_point():
    losses = torch.tensor([0.3, 2.0])
    v = torch.nn.Parameter(torch.zeros(2))
    objective = UncertaintyLoss([DIGIT, SEGMENTS], v)
    optimiser = torch.optim.Adam([v], lr=0.05)
    for _ in range(600):
        optimiser.zero_grad()
        objective.combined(losses).backward()
        optimiser.step()
    assert v.detach().numpy() == pytest.approx(np.log(2 * losses.numpy()), abs=1e-4)
    # There every weighted loss is a half: large losses are divided by large variances.
    assert (losses * torch.exp(-v)).detach().numpy() == pytest.approx([0.5, 0.5], abs=1e-4)


def test_uncertainty_learns_its_variances_beside_the_network():
    one = setting(steps=20)
    condition("uncertainty").train(one)
    weights = one.account["weights"]
    assert set(weights) == {"digit", "segments"}
    # Digits' log-loss is 2.3 > 1/2 at first, so its weight falls; at 1 nothing would have been learnt.
    assert 0.5 < weights["digit"] < 1


def test_dwa_weights_by_the_formula():
    last, before = np.array([0.5, 0.9, 1.1]), np.array([1.0, 1.0, 1.0])
    expected = 3 * np.exp(last / 2) / np.exp(last / 2).sum()
    assert weights_after(last, before) == pytest.approx(expected)
    assert weights_after(last, before).sum() == pytest.approx(3)
    assert np.argsort(weights_after(last, before)).tolist() == [0, 1, 2]  # the slowest gets most
    assert weights_after(last, before, 1e6) == pytest.approx([1, 1, 1], abs=1e-5)


def test_dwa_changes_weights_from_the_third_epoch_on():
    objective = DynamicLoss([DIGIT, SEGMENTS], epoch=2, temperature=2.0)
    course = [(4.0, 1.0), (2.0, 1.0), (1.0, 1.0), (2.0, 0.5), (1.0, 1.0), (1.0, 1.0), (1.0, 1.0)]
    totals = [objective.combined(torch.tensor(losses)).item() for losses in course]
    assert totals[:4] == pytest.approx([5, 3, 2, 2.5])
    third = weights_after([1.5, 0.75], [3.0, 1.0])
    assert totals[4:6] == pytest.approx([third.sum()] * 2)
    fourth = weights_after([1.0, 1.0], [1.5, 0.75])
    assert objective.weights == pytest.approx(fourth)
    assert totals[6] == pytest.approx(2)


def test_dwa_counts_an_epoch_by_the_richest_task():
    one = setting(steps=30)  # 120 rows of labels, 16 a step: 8 steps
    condition("dwa").train(one)
    assert sum(one.account["weights"].values()) == pytest.approx(2)
    assert one.account["weights"]["digit"] != 1
    short = setting(steps=15)
    condition("dwa").train(short)
    assert short.account["weights"] == {"digit": 1, "segments": 1}


def test_fixed_weights_scale_the_losses():
    equal, uncoupled = (condition(n, **o).train(setting())(TEST)["digit"]
                        for n, o in (("fixed-weights", {"weights": "equal"}), ("uncoupled", {})))  # fmt: skip
    assert torch.equal(equal, uncoupled)
    none = condition("fixed-weights", weights={"digit": 0.0}).train(setting())(TEST)["digit"]
    assert not torch.allclose(none, uncoupled, atol=1e-3)
    with pytest.raises(UnknownNameError, match="weighting"):
        condition("fixed-weights", weights="row")
    with pytest.raises(UnknownNameError, match="weighting of condition 'uncoupled' '3'"):
        condition("fixed-weights", weights=3)
    for wrong in (-1, "much", None, float("nan")):
        with pytest.raises(RangeError, match="weight of task 'digit' is finite and >= 0, found"):
            condition("fixed-weights", weights={"digit": wrong})
    with pytest.raises(UnknownNameError, match="'digits'; did you mean 'digit'"):
        check("fixed-weights", weights={"digits": 1.0})
    check("fixed-weights", weights={"digit": 0.5})


# -- targets of a first stage --------------------------------------------------------------------------


def test_sure_predictions_become_targets_and_others_gaps():
    pet, trait = MulticlassTask("pet", ["cat", "dog"]), MultilabelTask("trait", ["a", "b", "c"])
    found = sure(pet, torch.tensor([[5.0, 0.0], [0.2, 0.0], [0.0, 9.0]]), 0.95)
    assert found[[0, 2]].tolist() == [[1, 0], [0, 1]]
    assert found[1].isnan().all()
    found = sure(trait, torch.tensor([[4.0, 0.1, -4.0]]), 0.95)
    assert found[0, [0, 2]].tolist() == [1, 0]
    assert found[0, 1].isnan()


def test_pseudo_labels_lie_on_unannotated_rows_alone():
    one = setting(steps=40, digit=60)
    one = replace(one, budget=one.budget.model_copy(update={"learning_rate": 0.03}))
    condition("pseudo-labels", threshold=0.6).train(one)
    shares = one.account["pseudo_labelled"]
    assert 0 < shares["digit"] <= 120 / 180
    assert 0 < shares["segments"] <= 60 / 180
    assert {p["metric"] for p in one.curves} >= {"loss:digit/soft", "loss:segments/soft"}
    never = setting(steps=40)
    found = condition("pseudo-labels", threshold=1.0).train(never)(TEST)
    assert never.account["pseudo_labelled"]["digit"] == 0
    plain = condition("uncoupled").train(setting(steps=40))(TEST)
    assert torch.allclose(found["digit"], plain["digit"], atol=1e-5)
    with pytest.raises(RangeError, match="threshold"):
        condition("pseudo-labels", threshold=0.5)


def test_mixed_targets_give_the_sum_of_both_losses():
    pet, trait = MulticlassTask("pet", ["cat", "dog", "cow"]), MultilabelTask("trait", ["a", "b"])
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 3, generator=generator), torch.randn(2, 3, generator=generator)
    y = torch.tensor([1, -1])
    target = mixed_targets(pet, y, teacher, 0.6)
    loss = -(target * student.log_softmax(1)).sum(1)
    distilled = -(teacher.softmax(1) * student.log_softmax(1)).sum(1)
    assert loss[0].item() == pytest.approx(
        0.6 * -student.log_softmax(1)[0, 1].item() + 0.4 * distilled[0].item(), rel=1e-5
    )
    assert loss[1].item() == pytest.approx(distilled[1].item(), rel=1e-6)
    a = torch.tensor([[1.0, torch.nan]])
    target = mixed_targets(trait, a, torch.tensor([[0.0, 2.0]]), 0.6)
    assert target[0].tolist() == pytest.approx([0.6 + 0.4 * 0.5, torch.tensor(2.0).sigmoid().item()])


def test_a_student_of_annotations_alone_learns_nothing_of_its_teacher_there():
    one = setting(steps=20)
    condition("distillation").train(one)
    assert {p["metric"] for p in one.curves} >= {"loss:digit/soft"}
    assert [p["value"] for p in one.curves if (p["task"], p["metric"]) == ("digit", "loss")] == [0] * 7
    y = one.rows.targets["digit"]
    target = mixed_targets(DIGIT, y, torch.zeros(len(y), 10), 1.0)
    assert (target[y >= 0].argmax(1) == y[y >= 0]).all()
    assert target[y >= 0].amax(1).min() == 1
    with pytest.raises(RangeError, match="share"):
        condition("distillation", share=1.5)


# -- through the table ---------------------------------------------------------------------------------


def test_bands_of_the_table():
    low, high = bands(torch.tensor([1.0, 0.75, 0.67, 0.26, 0.2, 0.0]))
    assert low.tolist() == [0.75, 0.75, 0.5, 0.5, 0, 0]
    assert (high - low).tolist() == [0.25] * 6


@given(st.integers(0, 10_000))
def test_interval_supervision_equals_plain_loops(seed):
    rng = np.random.default_rng(seed)
    pet, trait = MulticlassTask("pet", ["cat", "dog", "cow"]), MultilabelTask("trait", list("abcd"))
    table = rng.uniform(size=(3, 4))
    table[0, 1] = np.nan
    z, y = rng.normal(size=(5, 4)) * 3, rng.integers(-1, 3, 5)
    found = IntervalSupervision()(
        {"pet": torch.zeros(5, 3, dtype=torch.float64), "trait": torch.from_numpy(z)},
        {"pet": torch.from_numpy(y), "trait": torch.full((5, 4), torch.nan)},
        Relation(pet, trait, table),
    )
    rows = []
    for i, c in enumerate(y):
        terms = []
        for k in range(4):
            if c < 0 or np.isnan(table[c, k]):
                continue
            low = 0.75 if table[c, k] >= 0.75 else 0.5 if table[c, k] >= 0.25 else 0.0
            p = 1 / (1 + np.exp(-z[i, k]))
            terms.append(0.0 if low <= p <= low + 0.25 else abs(p - low - 0.125))
        if terms:
            rows.append(np.mean(terms))
    assert found.item() == pytest.approx(np.mean(rows) if rows else 0.0)


def test_interval_supervision_is_for_labels():
    pet = MulticlassTask("pet", ["cat", "dog"])
    kind = MulticlassTask("kind", ["a", "b"])
    assert not IntervalSupervision().supports(Relation(pet, kind, np.eye(2)))
    with pytest.raises(RangeError, match="weight"):
        condition("interval-supervision", weight=-1)
    with pytest.raises(ShapeError, match="'interval-supervision' has no relation to work on"):
        check("interval-supervision", tasks=(pet, kind), relations=(Relation(pet, kind, np.eye(2)),))


def test_table_lookup_is_the_table_alone():
    """Classes by Bayes' rule from the label network's probabilities, by plain loops."""
    one = setting(steps=40)
    found = condition("table-lookup").train(one)(TEST)
    alone = setting(steps=40)
    network = alone.train(alone.build([SEGMENTS]), CoupledObjective([SEGMENTS]))
    q = probabilities(SEGMENTS, predict_logits(network, TEST)["segments"].numpy())
    table = np.clip(one.relations[0].table, 0.03, 0.97)
    rate = np.clip(one.relations[0].table.mean(axis=0), 0.03, 0.97)
    expected = np.zeros((len(q), 10))
    for i in range(len(q)):
        for c in range(10):
            for k in range(7):
                expected[i, c] += np.log(
                    q[i, k] * table[c, k] / rate[k] + (1 - q[i, k]) * (1 - table[c, k]) / (1 - rate[k])
                )
    p = np.exp(expected) / np.exp(expected).sum(axis=1, keepdims=True)
    assert np.allclose(probabilities(DIGIT, found["digit"].numpy()), p, atol=1e-5)
    # No class annotation is looked at.
    blind = replace(setting(steps=40))
    blind = replace(blind, rows=replace(blind.rows, targets={**blind.rows.targets,
                    "digit": torch.roll(blind.rows.targets["digit"], 1)}))  # fmt: skip
    assert torch.equal(condition("table-lookup").train(blind)(TEST)["digit"], found["digit"])


def test_table_lookup_needs_something_to_look_up():
    with pytest.raises(StudyError, match="there is none"):
        check("table-lookup", relations=())
    fine, coarse = MulticlassTask("fine", list("ab")), MulticlassTask("coarse", list("xy"))
    labels = MultilabelTask("labels", ["l"])
    chain = (Relation(coarse, fine, np.eye(2)), Relation(fine, labels, [[0.1], [0.9]]))
    with pytest.raises(StudyError, match="coarse->fine could be read off"):
        check("table-lookup", tasks=(fine, coarse, labels), relations=chain)
    check("table-lookup")


def test_lookups_through_two_relations_add_up(monkeypatch):
    """Twice the same evidence is its square, renormalised."""
    one = setting()
    twin = MultilabelTask("twin", SEGMENTS.labels)
    relation = one.relations[0]
    other = Relation(DIGIT, twin, relation.table)
    logits = {name: torch.linspace(-2, 2, 7).repeat(3, 1) for name in ("segments", "twin")}
    module = importlib.import_module("concord.study.peers.table_lookup")
    monkeypatch.setattr(module, "joined", lambda networks: lambda inputs: dict(logits))
    single = condition("table-lookup").train(one)(TEST[:3])["digit"]
    fake = SimpleNamespace(
        tasks=(DIGIT, SEGMENTS, twin), relations=(relation, other),
        train=lambda *a: None, build=lambda *a: None,
    )  # fmt: skip
    double = condition("table-lookup").train(fake)(TEST[:3])["digit"]
    assert torch.allclose(double, (2 * single).log_softmax(1), atol=1e-4)
    assert joined([]) is not None


@pytest.mark.parametrize(("name", "options"), [("dwa", {"temperature": 0}), ("pcgrad", {"order": 1})])
def test_options_of_peers_are_checked(name, options):
    with pytest.raises((RangeError, StudyError), match=r"temperature|order"):
        condition(name, **options)


# -- estimators of scikit-learn ------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["logistic", "extra-trees", "boosting"])
def test_estimators_are_those_of_scikit_learn_on_annotated_rows_alone(name):
    one = setting(digit=60, segments=80)
    spoilt = replace(one, rows=with_blank_inputs(one))
    options = {"trees": 5} if name == "extra-trees" else {"iterations": 10} if name == "boosting" else {}
    known, moved = (condition(name, **options).train(s)(TEST) for s in (one, spoilt))
    assert torch.equal(known["digit"], moved["digit"])  # rows without a digit are not looked at
    assert not torch.equal(known["segments"], moved["segments"])
    p = probabilities(DIGIT, known["digit"].numpy())
    assert np.allclose(p.sum(axis=1), 1)
    assert (p.argmax(axis=1) == DIGITS.targets["digit"][DIGITS.splits["test"][:60]]).mean() > (
        0.2 if name == "boosting" else 0.5
    )


def with_blank_inputs(one):
    rows = one.rows.take(torch.arange(len(one.rows)))
    inputs = rows.inputs.clone()
    inputs[rows.targets["digit"] < 0] = 0
    return replace(rows, inputs=inputs)


def regression(penalty):
    return make_pipeline(StandardScaler(), LogisticRegression(C=penalty, max_iter=300, random_state=0))


def trees(penalty):
    return HistGradientBoostingClassifier(
        max_iter=10, early_stopping=False, l2_regularization=penalty, random_state=0
    )


@pytest.mark.parametrize(
    ("name", "options", "penalties", "make"),
    [
        ("logistic", {}, logistic.PENALTIES, regression),
        ("boosting", {"iterations": 10}, boosting.PENALTIES, trees),
    ],
)
def test_the_penalty_is_chosen_on_validation_rows(name, options, penalties, make):
    one = setting(digit=60, segments=20)
    rows = one.rows.annotated(DIGIT)
    X, y = flat(one.rows.inputs[rows]), one.rows.targets["digit"][rows].numpy()
    fitted = [make(c).fit(X, y) for c in penalties]
    best = max(fitted, key=lambda model: balanced_accuracy(one, model))
    expected = np.full((len(TEST), 10), 1e-7)  # of a digit that no row shows
    expected[:, best.classes_] = best.predict_proba(flat(TEST)).clip(1e-7)
    expected /= expected.sum(axis=1, keepdims=True)
    found = condition(name, **options).train(one)(TEST)["digit"].numpy()
    np.testing.assert_allclose(found, np.log(expected), atol=1e-5)


def flat(inputs):
    return inputs.reshape(len(inputs), -1).numpy().astype(np.float64)


def balanced_accuracy(one, model):
    y = one.validation.targets["digit"].numpy()
    hit = model.predict(flat(one.validation.inputs)) == y
    return np.mean([hit[y == c].mean() for c in np.unique(y[y >= 0])])


@pytest.mark.parametrize("name", ["logistic", "extra-trees"])
def test_estimators_see_what_networks_see_of_votes_and_weights(name):
    one = setting(digit=60, segments=10)
    known = one.rows.annotated(DIGIT)
    shares = torch.full((len(one.rows), 10), torch.nan)
    shares[known] = torch.eye(10)[one.rows.targets["digit"][known]]
    voted = replace(one, rows=replace(one.rows, shares={"digit": shares}))
    nothing = torch.ones(len(one.rows))
    nothing[known[:20]] = 0.0
    weighed = replace(one, rows=replace(one.rows, weights={"digit": nothing}))
    y = one.rows.targets["digit"].clone()
    y[known[:20]] = -1
    without = replace(one, rows=replace(one.rows, targets={**one.rows.targets, "digit": y}))
    if name == "logistic":  # trees draw among copies of rows in another order
        first, second = (condition(name).train(each)(TEST) for each in (one, voted))
        np.testing.assert_allclose(first["digit"], second["digit"], atol=1e-3)
        np.testing.assert_allclose(first["segments"], second["segments"])
    first, second = (condition(name).train(each)(TEST) for each in (weighed, without))
    np.testing.assert_allclose(first["digit"], second["digit"], atol=1e-3)


def test_the_best_single_task_model_is_chosen_by_task_on_validation_rows():
    one = setting(steps=2, digit=200, segments=80)  # networks that have learnt nothing
    kinds = ("single-task", "extra-trees")
    single = {kind: condition(kind).train(replace(one, curves=[], account={})) for kind in kinds}
    found = condition("best-single-task", kinds=kinds).train(one)(TEST)
    chosen = {each["task"]: next(iter(each["weights"])) for each in one.account["choices"]}
    assert chosen["digit"] != "single-task"
    for task in (DIGIT, SEGMENTS):
        scores = {
            kind: one.score(task, predict(one.validation.inputs)[task.name].numpy())
            for kind, predict in single.items()
        }
        assert scores[chosen[task.name]] == max(scores.values())
        assert torch.equal(found[task.name], single[chosen[task.name]](TEST)[task.name])
    wrong = {"logistic": StudyError, (): StudyError, ("trees",): UnknownNameError, ("uncoupled",): StudyError}
    for kinds, error in wrong.items():
        with pytest.raises(error, match=r"list of conditions|trees|does not train each task by itself"):
            condition("best-single-task", kinds=kinds)


@pytest.mark.parametrize("name", ["posterior", "matching", "two-stage", "table-lookup", "marginal"])
def test_what_works_through_a_relation_needs_one(name):
    check(name)
    with pytest.raises((ShapeError, StudyError), match=r"no relation to work on|there is none"):
        check(name, relations=())


def test_heads_on_frozen_features_need_a_trunk():
    for network in (Network(kind="resnet"), TrunkNetwork(trunk="builtin:mlp")):
        check("auto", network, effort="probe")
    with pytest.raises(StudyError, match=r"'probe' decides on frozen features of a trunk.*choose another"):
        check("auto", Network(), effort="probe")
    with pytest.raises(UnknownNameError, match="artefact of condition 'auto' with effort probe 'bagged'"):
        condition("auto", effort="probe", artefact="bagged")


def test_layers_of_its_own_for_each_task_alone_are_of_perceptrons():
    check("uncoupled", Network(), capacity="private")
    for network in (Network(kind="resnet"), TrunkNetwork(trunk="builtin:mlp")):
        with pytest.raises(UnknownNameError, match="capacity of a residual net or a trunk by name 'private'"):
            check("uncoupled", network, capacity="private")


@pytest.mark.parametrize("name", ["mgda", "pcgrad", "upgrad"])
def test_gradients_are_weighed_of_layers_that_are_trained_and_shared(name):
    trunk = TrunkNetwork(trunk="builtin:mlp", options={"hidden": [8, 8]}, freeze=("trunk.0",))
    check(name, trunk)
    one = replace(setting(), network=trunk)
    assert torch.isfinite(condition(name).train(one)(TEST)["digit"]).all()
    for tasks, freeze in ((DIGITS.tasks, ("trunk",)), (DIGITS.tasks[:1], ())):
        network = trunk.model_copy(update={"freeze": freeze})
        with pytest.raises(StudyError, match=r"and there are none: give another task, or freeze less"):
            check(name, network, tasks=tasks)


def test_gradients_of_nothing_shared_are_refused_in_words():
    one, network, rows = batch()
    network.trunk.requires_grad_(False)
    with pytest.raises(StudyError, match="and there are none"):
        Sum(one.tasks, network)(network(rows.inputs), rows.targets)


@pytest.mark.parametrize("name", sorted({*condition_names()} - {"merging"}))
def test_what_can_be_trained_is_not_refused(name):
    for network in (Network(), Network(kind="resnet"), TrunkNetwork(trunk="builtin:mlp")):
        check(name, network)


@pytest.mark.parametrize(
    ("name", "options", "error"),
    [
        ("extra-trees", {"trees": 0}, RangeError),
        ("extra-trees", {"trees": 2.5}, RangeError),
        ("extra-trees", {"trees": True}, RangeError),
        ("extra-trees", {"class_weight": "balance"}, UnknownNameError),
        ("boosting", {"iterations": 0}, RangeError),
        ("logistic", {"class_weight": 3}, UnknownNameError),
    ],
)
def test_options_of_estimators_are_checked_before_any_row_is_seen(name, options, error):
    [option] = options
    with pytest.raises(error, match=option) as caught:
        condition(name, **options)
    assert name in str(caught.value)
    condition(name)
    if option == "class_weight":
        condition(name, class_weight="balanced")


def test_estimators_compete_in_auto_where_they_are_named():
    one = setting(steps=4, digit=200, segments=200)
    options = {"effort": "fast", "table": "none"}
    plain = condition("auto", **options).train(one)(TEST)
    assert not any("single-task model is" in said for said in one.account["sentences"])
    named = replace(one, account={}, curves=[])
    found = condition("auto", rivals=["logistic"], **options).train(named)(TEST)
    assert any("single-task model is logistic" in said for said in named.account["sentences"])
    y = DIGITS.targets["digit"][DIGITS.splits["test"][:60]]
    right, before = ((z["digit"].argmax(dim=1).numpy() == y).mean() for z in (found, plain))
    assert right > before + 0.3
    again = replace(one, account={}, curves=[])
    assert torch.equal(condition("auto", **options).train(again)(TEST)["digit"], plain["digit"])


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"rivals": "logistic"}, StudyError, "is a list"),
        ({"rivals": ["single-task"]}, StudyError, "fits no estimator"),
        ({"rivals": ["trees"]}, UnknownNameError, "trees"),
        ({"rivals": ["logistic"], "effort": "probe"}, StudyError, "nothing else is tried"),
    ],
)
def test_rivals_of_auto_are_checked(options, error, said):
    with pytest.raises(error, match=said):
        condition("auto", **options)
