from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import expit, log_softmax
from torch import nn

import concord as cc
from asserts import raises
from concord.errors import NoAnnotationError, RangeError, UnknownNameError
from concord.fitting.rows import Rows
from concord.fitting.validation import Validation, collect, scaled_log_loss
from concord.metrics import main_metric

PET = cc.MulticlassTask("pet", ["cat", "dog", "fish"])
TRAIT = cc.MultilabelTask("trait", ["purrs", "barks"])
TASKS = {"pet": PET, "trait": TRAIT}


class Fake(nn.Module):
    """Logits straight from the inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen, self.drop = nn.Identity().eval(), nn.Dropout(0.5)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"pet": self.drop(x[:, :3]), "trait": x[:, 3:]}


def rows(n: int = 50) -> Rows:
    rng = np.random.default_rng(0)
    y, a = rng.integers(-1, 3, n), rng.integers(0, 2, (n, 2)).astype(float)
    a[rng.random((n, 2)) < 0.3] = np.nan
    return Rows.of(rng.normal(size=(n, 5)).astype(np.float32), {"pet": y, "trait": a}, [PET, TRAIT])


def test_rows_are_collected_whole_in_evaluation_mode() -> None:
    network, given = Fake().train(), rows()
    network.frozen.eval()
    for source in (given, [given.take(torch.arange(0, 20)), given.take(torch.arange(20, 50))]):
        targets, logits = collect(network, network, source, device=torch.device("cpu"), batch_size=16)
        assert torch.equal(torch.cat([logits["pet"], logits["trait"]], dim=1), given.inputs)
        assert torch.equal(targets["pet"], given.targets["pet"])
        assert torch.equal(targets["trait"].isnan(), given.targets["trait"].isnan())
    assert network.drop.training
    assert not network.frozen.training


def test_each_rank_collects_its_rows_and_all_get_all() -> None:
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        given, network = rows(), Fake()
        targets, logits = collect(
            network, network, given, device=torch.device("cpu"), batch_size=16, rank=1, world=2
        )
    finally:
        torch.distributed.destroy_process_group()
    mine = given.take(torch.arange(1, 50, 2))  # the only process there is plays the second of two
    assert torch.equal(torch.cat([logits["pet"], logits["trait"]], dim=1), mine.inputs)
    assert torch.equal(targets["pet"], mine.targets["pet"])


def test_the_loss_at_its_best_temperature_ignores_scale() -> None:
    rng = np.random.default_rng(1)
    z = rng.normal(size=(400, 3))
    y = z.argmax(axis=1)
    y[:120] = rng.integers(0, 3, 120)
    y[-5:] = -1
    base = scaled_log_loss(PET, y, z)
    assert scaled_log_loss(PET, y, 1.7 * z) == pytest.approx(base, rel=1e-4)
    assert base < -log_softmax(z[:-5], axis=1)[np.arange(395), y[:-5]].mean()
    a = (rng.random((400, 2)) < expit(2 * z[:, :2])).astype(float)
    a[rng.random(a.shape) < 0.3] = np.nan
    assert scaled_log_loss(TRAIT, a, z[:, :2]) == pytest.approx(
        scaled_log_loss(TRAIT, a, 3 * z[:, :2]), rel=1e-4
    )
    with raises(NoAnnotationError, "'pet'"):
        scaled_log_loss(PET, [-1], z[:1])


def test_scores_by_metric_and_by_loss() -> None:
    given = rows()
    z = given.inputs[:, :3]
    final, metrics = Validation(given).score(PET, given.targets["pet"], z)
    assert final == metrics[main_metric(PET)]
    loss, _ = Validation(given, select="log-loss").score(PET, given.targets["pet"], z)
    assert loss == -metrics["log-loss"]
    low, _ = Validation(given, metrics={"pet": "ece"}).score(PET, given.targets["pet"], z)
    assert low == -metrics["ece"]
    nothing, empty = Validation(given).score(PET, torch.full((50,), -1), z)
    assert nothing is None
    assert empty == {}


def test_bad_settings_are_named() -> None:
    with raises(RangeError, ">= 1"):
        Validation(rows(), every=0)
    with raises(UnknownNameError, "selection"):
        Validation(rows(), select="best")  # type: ignore[arg-type]
    Validation(rows(), metrics={"pet": "accuracy"}).check(TASKS)
    with raises(UnknownNameError, "task of a metric"):
        Validation(rows(), metrics={"pat": "accuracy"}).check(TASKS)
    with raises(UnknownNameError, "metric of task 'pet'"):
        Validation(rows(), metrics={"pet": "acuracy"}).check(TASKS)
