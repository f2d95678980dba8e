from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import concord as cc
from concord.errors import (
    CheckpointError,
    ConcordWarning,
    EmptyDataError,
    NoAnnotationError,
    NotFiniteError,
    RangeError,
    ShapeError,
    UnknownNameError,
)
from concord.fitting.checkpoints import Checkpoints
from concord.fitting.loop import fit
from concord.fitting.optimise import Average, depths, freeze, parameter_groups, rate_factor
from concord.fitting.recipe import Recipe, Selected, selected_network
from concord.fitting.rows import Balanced, Rows, StreamFeed
from concord.fitting.validation import Validation, scaled_log_loss
from concord.networks.batches import pieces
from concord.networks.multitask import TaskwiseNetwork
from concord.networks.predict import predict_logits
from concord.networks.trunks.perceptron import mlp
from concord.networks.trunks.resnet import SmallResNet
from training_problem import MARKS, SHAPE, WIDTH, equal, network, objective, relation, rows

CPU = torch.device("cpu")


def plain_loop(net: nn.Module, loss: cc.CoupledObjective, data: Rows, steps: int, seed: int) -> None:
    """What `fit` must compute, written without it."""
    groups = [data.annotated(task) for task in loss.tasks.values()]
    batches = Balanced(groups, 16, torch.Generator().manual_seed(seed))
    optimiser = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=0.01)
    torch.manual_seed(seed)
    net.train()
    for _ in range(steps):
        batch = data.take(next(batches))
        optimiser.zero_grad()
        loss(net(batch.inputs), batch.targets).loss.backward()
        optimiser.step()
    net.eval()


def walked(sizes: list[int], rows_per_group: int, seed: int) -> Iterator[torch.Tensor]:
    """What `Balanced` must give: batch by batch, each walk extended when it is too short for the next."""
    generator = torch.Generator().manual_seed(seed)
    queues = [torch.empty(0, dtype=torch.int64) for _ in sizes]
    while True:
        for i, size in enumerate(sizes):
            while len(queues[i]) < rows_per_group:
                queues[i] = torch.cat([queues[i], 100 * i + torch.randperm(size, generator=generator)])
        yield torch.cat([queue[:rows_per_group] for queue in queues])
        queues = [queue[rows_per_group:] for queue in queues]


@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=3),
    rows_per_group=st.integers(1, 12),
    before=st.integers(0, 12),
    seed=st.integers(0, 5),
)
def test_a_balanced_walk_is_that_of_single_batches_and_goes_on_anywhere(
    sizes: list[int], rows_per_group: int, before: int, seed: int
):
    groups = [100 * i + torch.arange(size) for i, size in enumerate(sizes)]
    first = Balanced(groups, rows_per_group, torch.Generator().manual_seed(seed))
    expected = walked(sizes, rows_per_group, seed)
    for _ in range(before):
        assert torch.equal(next(first), next(expected))
    second = Balanced(groups, rows_per_group, torch.Generator())
    second.load_state_dict(first.state_dict())
    for _ in range(8):
        batch = next(expected)
        assert torch.equal(next(first), batch)
        assert torch.equal(next(second), batch)


def distance(first: nn.Module, second: nn.Module) -> float:
    other = second.state_dict()
    return max(float((value - other[name]).abs().max()) for name, value in first.state_dict().items())


def test_the_loop_is_the_plain_loop():
    ours, plain = network(), network()
    before = torch.get_rng_state()
    fit(ours, objective(), rows(), steps=30, rows_per_task=16, seed=4)
    assert torch.equal(before, torch.get_rng_state())
    with torch.random.fork_rng([]):
        plain_loop(plain, objective(), rows(), 30, 4)
    for mine, other in zip(ours.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine, other, atol=1e-6, rtol=1e-5)
    assert not ours.training


def test_training_learns_and_tells():
    told: list[dict[str, float]] = []
    history = fit(network(), objective(), rows(), steps=120, log_every=50, on_log=told.append)
    assert history.records == told
    assert [record["step"] for record in told] == [50, 100, 120]
    assert told[-1]["loss"] < told[0]["loss"]
    parts = [value for name, value in told[0].items() if name not in {"step", "loss"}]
    assert sum(parts) == pytest.approx(told[0]["loss"], rel=1e-5)


@pytest.mark.parametrize("pieces_of_a_batch", [2, 3, 32])
def test_pieces_give_the_gradient_of_the_whole_batch(pieces_of_a_batch: int):
    whole, cut = network(dropout=0.0).double(), network(dropout=0.0).double()
    data = rows()
    data = Rows(data.inputs.double(), data.targets, {"marks": torch.rand(len(data), 4).double()})
    for net, recipe in ((whole, Recipe()), (cut, Recipe(accumulate=pieces_of_a_batch))):
        fit(net, objective(), data, steps=12, rows_per_task=16, recipe=recipe)
    for mine, other in zip(whole.parameters(), cut.parameters(), strict=True):
        torch.testing.assert_close(mine, other, atol=1e-9, rtol=1e-7)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_batch_without_rows_changes_nothing_but_by_decay(accumulate: int):
    # A process may have no row of a batch, and all pictures of one may be unreadable and left out.
    empty = rows().take(torch.arange(0))
    net = network(dropout=0.0)
    batch = SimpleNamespace(inputs=empty.inputs, targets=empty.targets)
    fit(net, objective(), [batch], steps=2, weight_decay=0.0, recipe=Recipe(accumulate=accumulate))
    for mine, other in zip(net.parameters(), network(dropout=0.0).parameters(), strict=True):
        assert torch.equal(mine, other)


def test_a_task_without_gradient_may_lie_in_pieces():
    loss = cc.CoupledObjective([SHAPE, MARKS], task_weights={"marks": 0.0})
    net = network(dropout=0.0)
    fit(net, loss, rows(), steps=3, rows_per_task=8, weight_decay=0.0, recipe=Recipe(accumulate=2))
    assert torch.equal(net.heads["task_marks"].weight, network().heads["task_marks"].weight)


@given(
    schedule=st.sampled_from(["constant", "cosine", "linear"]),
    steps=st.integers(1, 50),
    warmup=st.integers(0, 60),
)
def test_rates_rise_then_never_rise_again(schedule: str, steps: int, warmup: int):
    factors = [rate_factor(schedule, step, steps, warmup) for step in range(1, steps + 1)]
    assert all(0 < factor <= 1 for factor in factors)
    rising, falling = factors[:warmup], factors[warmup:]
    assert rising == sorted(rising)
    assert falling == sorted(falling, reverse=True)
    if falling:
        assert falling[0] == 1


def test_cosine_is_half_way_in_the_middle():
    assert rate_factor("cosine", 51, 100, 0) == pytest.approx(0.5)
    assert rate_factor("linear", 51, 100, 0) == pytest.approx(0.5)


def test_clipping_bounds_the_first_step_of_plain_descent():
    net = network(dropout=0.0)
    huge = Rows(rows().inputs * 1e3, rows().targets)
    fit(net, objective(), huge, steps=1, recipe=Recipe(clip=1e-12), weight_decay=0.0, learning_rate=1e-3)
    assert distance(net, network()) < 1e-6  # Adam's epsilon (1e-8) outweighs a gradient of norm 1e-12


def test_average_is_the_recursion():
    net = nn.Linear(2, 1)
    average, shadow = Average(net, 0.8), net.weight.detach().clone()
    for update in range(1, 40):
        with torch.no_grad():
            net.weight.add_(1.0)
        average.update()
        decay = min(0.8, (1 + update) / (10 + update))
        shadow = decay * shadow + (1 - decay) * net.weight.detach()
    latest = net.weight.detach().clone()
    with average.applied():
        torch.testing.assert_close(net.weight.detach(), shadow)
    assert torch.equal(net.weight, latest)


def test_the_average_is_the_result():
    last, mean = network(), network()
    for net, recipe in ((last, Recipe()), (mean, Recipe(average=0.99))):
        fit(net, objective(), rows(), steps=20, recipe=recipe)
    assert not equal(last, mean)
    assert distance(mean, network()) < distance(last, network())


def test_frozen_parts_stay_and_rest():
    modes: set[bool] = set()

    class Watched(nn.Dropout):
        def forward(self, x):
            modes.add(self.training)
            return super().forward(x)

    net = network()
    net.trunk[2] = Watched(0.5)
    before = copy.deepcopy(net)
    fit(net, objective(), rows(), steps=5, recipe=Recipe(frozen=("trunk",)))
    assert equal(net.trunk, before.trunk)
    assert not equal(net.heads, before.heads)
    assert modes == {False}
    with pytest.raises(UnknownNameError, match="did you mean 'trunk'"):
        fit(network(), objective(), rows(), recipe=Recipe(frozen=("trunks",)))
    with pytest.raises(RangeError, match="nothing to train"):
        fit(network(), objective(), rows(), recipe=Recipe(frozen=("trunk", "heads")))


def test_depths_follow_the_layers():
    net = cc.MultiTaskNetwork(mlp(4, (5, 6, 7)), [SHAPE], torch.zeros(1, 4))
    depth = depths(net)
    assert [depth[f"trunk.{i}.weight"] for i in (0, 3, 6)] == [0, 1, 2]
    assert depth["heads.task_shape.weight"] == 3
    groups = parameter_groups(net, learning_rate=1.0, weight_decay=0.1, layer_decay=0.5, decay="matrices")
    assert sorted({group["lr"] for group in groups}) == [0.125, 0.25, 0.5, 1.0]
    assert {p.dim() for group in groups if group["weight_decay"] for p in group["params"]} == {2}
    assert sum(len(group["params"]) for group in groups) == len(list(net.parameters()))


def test_depths_open_lists_of_blocks():
    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.token = nn.Parameter(torch.zeros(1))
            self.embed = nn.Linear(4, 4)
            self.encoder = nn.Module()
            self.encoder.layers = nn.ModuleList(nn.Sequential(nn.Linear(4, 4), nn.ReLU()) for _ in range(3))
            self.norm = nn.LayerNorm(4)

        def forward(self, x):
            x = self.embed(x) + self.token
            for layer in self.encoder.layers:
                x = layer(x)
            return self.norm(x)

    depth = depths(cc.MultiTaskNetwork(Encoder(), [SHAPE], torch.zeros(1, 4)))
    assert depth["trunk.token"] == depth["trunk.embed.weight"] == 0
    assert [depth[f"trunk.encoder.layers.{i}.0.weight"] for i in range(3)] == [1, 2, 3]
    assert depth["trunk.norm.weight"] == 4
    resnet = depths(cc.MultiTaskNetwork(SmallResNet(3, 8, 2), [SHAPE], torch.zeros(1, 3, 8, 8)))
    assert resnet["trunk.blocks.0.body.0.weight"] == resnet["trunk.blocks.0.body.3.weight"]
    assert resnet["trunk.blocks.0.body.0.weight"] < resnet["trunk.blocks.1.body.0.weight"]


@pytest.mark.parametrize(
    "make",
    [
        lambda: Recipe(warmup=-1),
        lambda: Recipe(accumulate=0),
        lambda: Recipe(clip=0.0),
        lambda: Average(nn.Linear(1, 1), 1.0),
        lambda: parameter_groups(nn.Linear(1, 1), learning_rate=1, weight_decay=0, layer_decay=0),
        lambda: Recipe(clip=math.nan),
        lambda: Recipe(accumulate=True),
        lambda: Recipe(warmup=0.5),  # type: ignore[arg-type]
        lambda: Validation(rows(), every=0),
        lambda: Validation(rows(), every=2.5),  # type: ignore[arg-type]
        lambda: Checkpoints(Path("not-made"), every=2.5),  # type: ignore[arg-type]
        lambda: fit(network(), objective(), rows(), steps=0),
        lambda: fit(network(), objective(), rows(), steps=2.5),  # type: ignore[arg-type]
        lambda: fit(network(), objective(), rows(), steps=2, log_every=1.5),  # type: ignore[arg-type]
        lambda: fit(network(), objective(), rows(), rows_per_task=0),
    ],
)
def test_numbers_out_of_range_are_refused(make):
    with pytest.raises(RangeError):
        make()


def test_unknown_names_are_refused():
    with pytest.raises(UnknownNameError, match="cosine"):
        Recipe(schedule="cosin")  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError, match="log-loss"):
        Validation(rows(), select="logloss")  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError, match="matrices"):
        fit(network(), objective(), rows(), recipe=Recipe(decay="matrix"))  # type: ignore[arg-type]
    for metrics in ({"shpe": "accuracy"}, {"shape": "acuracy"}):
        with pytest.raises(UnknownNameError, match="did you mean"):
            fit(network(), objective(), rows(), validation=Validation(rows(), metrics=metrics))


def test_rows_without_annotation_are_refused():
    data = rows()
    data.targets["marks"].fill_(math.nan)
    with pytest.raises(NoAnnotationError, match="'marks'"):
        fit(network(), objective(), data)
    with pytest.raises(EmptyDataError):
        fit(network(), objective(), data.take(torch.arange(0)))
    with pytest.raises(EmptyDataError):
        Rows.of(np.zeros((0, 3)), {}, [SHAPE])
    with pytest.raises(ShapeError, match="2 of task 'shape'"):
        Rows.of(np.zeros((3, 3)), {"shape": [0, 1]}, [SHAPE])


def test_a_loss_that_is_not_finite_stops():
    loss = objective()
    loss.validate = False
    data = rows()
    data.inputs[5] = math.inf
    with pytest.raises(NotFiniteError, match="at step"):
        fit(network(), loss, data, steps=20, log_every=20)
    assert loss.validate is False


def test_validation_selects_by_task():
    shape_late = rows(60, seed=1)
    history = fit(
        (net := network()),
        objective(),
        rows(),
        steps=60,
        validation=Validation(shape_late, every=15, select="metric", metrics={"marks": "map"}),
    )
    assert [record["step"] for record in history.validation] == [15, 30, 45, 60]
    for task, metric in (("shape", "accuracy"), ("marks", "map")):
        course = [record[f"val/{task}/{metric}"] for record in history.validation]
        chosen = history.selected[task]
        assert chosen.score == max(course)
        assert chosen.step == history.validation[int(np.argmax(course))]["step"]
    final = predict_logits(net, shape_late.inputs)
    chosen_logits = predict_logits(selected_network(net, history), shape_late.inputs)
    assert final.keys() == chosen_logits.keys()


def test_selected_network_serves_each_task_its_own():
    first, second = network(), network()
    with torch.no_grad():
        second.heads["task_marks"].bias.add_(1.0)
    history = SimpleNamespace(
        selected={
            "shape": Selected(1, 0.5, first.state_dict()),
            "marks": Selected(2, 0.5, second.state_dict()),
        }
    )
    both = selected_network(network(), history)  # type: ignore[arg-type]
    assert isinstance(both, TaskwiseNetwork)
    x = rows().inputs
    assert torch.equal(predict_logits(both, x)["marks"], predict_logits(second, x)["marks"])
    assert torch.equal(predict_logits(both, x)["shape"], predict_logits(first, x)["shape"])
    alone = SimpleNamespace(selected={"shape": Selected(2, 0.5, second.state_dict())})
    assert equal(selected_network(network(), alone), second)  # type: ignore[arg-type]
    unselected = network()
    assert selected_network(unselected, SimpleNamespace(selected={})) is unselected  # type: ignore[arg-type]


def test_validation_without_annotation_of_a_task_says_nothing_of_it():
    blank = rows(20)
    blank.targets["marks"].fill_(math.nan)
    net = network()
    with pytest.warns(ConcordWarning, match="cannot judge 'marks'"):
        history = fit(net, objective(), rows(), steps=4, validation=Validation(blank, select="metric"))
    assert not any(name.startswith("val/marks") for name in history.validation[0])
    assert history.selected["marks"].step == 4
    assert math.isnan(history.selected["marks"].score)
    assert set(selected_network(net, history)(blank.inputs)) == {"shape", "marks"}


def test_labels_of_which_none_is_present_are_judged_by_log_loss_alone():
    absent = rows(20)
    absent.targets["marks"].fill_(0.0)
    validation = Validation(absent, every=2, select="log-loss")
    history = fit(network(), objective(), rows(), steps=4, validation=validation)
    found = {key for key in history.validation[0] if key.startswith("val/marks")}
    assert found == {
        "val/marks/log-loss",
        "val/marks/accuracy",
        "val/marks/ece",
    }  # none that needs a present label
    assert history.selected["marks"].score > -math.inf


def test_pieces_are_counted_once_in_running_statistics():
    def net() -> cc.MultiTaskNetwork:
        torch.manual_seed(0)
        trunk = torch.nn.Sequential(torch.nn.Linear(WIDTH, 8), torch.nn.BatchNorm1d(8))
        return cc.MultiTaskNetwork(trunk, [SHAPE, MARKS], torch.zeros(2, WIDTH))

    cut = net()
    fit(cut, objective(), rows(), steps=5, rows_per_task=8, recipe=Recipe(accumulate=2))
    assert int(cut.trunk[1].num_batches_tracked) == 10  # type: ignore[index]


@pytest.mark.parametrize("change", ["steps", "coupling", "weight", "table"])
def test_another_training_is_not_gone_on_with(change: str, tmp_path: Path):
    def loss(**changes: Any) -> cc.CoupledObjective:
        options = {"exponent": 1.0, "weights": None, "cell": 0.9} | changes
        table = np.full((3, 4), 0.2)
        table[0, 0] = options["cell"]
        coupling = cc.couplings.PosteriorCoannotation(exponent=options["exponent"])
        return cc.CoupledObjective(
            [SHAPE, MARKS], [cc.Relation(SHAPE, MARKS, table)], [coupling], task_weights=options["weights"]
        )

    def train(objective: cc.CoupledObjective, steps: int = 4) -> None:
        checkpoints = Checkpoints(tmp_path, every=2)
        fit(
            network(),
            objective,
            rows(),
            steps=steps,
            checkpoints=checkpoints,
            recipe=Recipe(schedule="cosine"),
        )

    train(loss())
    train(loss())
    options: dict[str, Any] = {
        "coupling": {"exponent": 0.5},
        "weight": {"weights": {"marks": 0.1}},
        "table": {"cell": 0.8},
    }.get(change, {})
    with pytest.raises(CheckpointError, match="is of another training"):
        train(loss(**options), steps=8 if change == "steps" else 4)


@pytest.mark.parametrize("change", [{"select": "log-loss"}, {"every": 3}, {"metrics": {"shape": "macro_f1"}}])
def test_a_training_that_is_judged_otherwise_is_not_gone_on_with(change: dict[str, Any], tmp_path: Path):
    def train(**changes: Any) -> None:
        validation = Validation(rows(20), **{"every": 2, "select": "metric"} | changes)
        checkpoints = Checkpoints(tmp_path, every=2)
        fit(network(), objective(), rows(), steps=4, validation=validation, checkpoints=checkpoints)

    train()
    train(metrics={"shape": "accuracy"})  # as it was, in words
    with pytest.raises(CheckpointError, match="is of another training: validation was"):
        train(**change)
    with pytest.raises(CheckpointError, match="is of another training: validation was"):
        fit(network(), objective(), rows(), steps=4, checkpoints=Checkpoints(tmp_path, every=2))


class Keeping:
    """A logger with a state of its own."""

    def __init__(self, name: str) -> None:
        self.name, self.found = name, None

    def log(self, record: Any) -> None: ...

    def state_dict(self) -> dict[str, Any]:
        return {"name": self.name}

    def resume(self, step: int, state: Any) -> None:
        self.found = state.get("name")

    def close(self) -> None: ...


class Other(Keeping):
    """Another one."""


def test_loggers_have_their_own_state_again_whatever_others_there_are(tmp_path: Path):
    def train(*loggers: Keeping) -> list[Any]:
        checkpoints = Checkpoints(tmp_path, every=2)
        fit(network(), objective(), rows(), steps=2, checkpoints=checkpoints, loggers=loggers)
        return [logger.found for logger in loggers]

    assert train(Keeping("a"), Other("b"), Keeping("c")) == [None] * 3
    assert train(Other("-")) == ["b"]
    assert train(Other("-"), Keeping("-"), Keeping("-"), Keeping("-")) == ["b", "a", "c", None]


@settings(max_examples=20)
@given(scale=st.floats(0.5, 2), seed=st.integers(0, 99))
def test_scaled_log_loss_does_not_depend_on_confidence(scale: float, seed: int):
    rng = np.random.default_rng(seed)
    y = rng.integers(-1, 3, 50)
    z = rng.normal(size=(50, 3)) + np.eye(3)[y]
    assert scaled_log_loss(SHAPE, y, z) == pytest.approx(scaled_log_loss(SHAPE, y, scale * z), abs=1e-4)
    a = rng.integers(0, 2, (50, 4)).astype(float)
    za = rng.normal(size=(50, 4)) + a
    assert scaled_log_loss(MARKS, a, za) == pytest.approx(scaled_log_loss(MARKS, a, scale * za), abs=1e-4)


def test_scaled_log_loss_of_noise_is_that_of_a_guess():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(4000, 3))
    assert scaled_log_loss(SHAPE, rng.integers(0, 3, 4000), z) == pytest.approx(math.log(3), abs=0.01)
    with pytest.raises(NoAnnotationError):
        scaled_log_loss(SHAPE, [-1, -1], z[:2])


def test_batches_of_a_mixture_train_and_resume():
    import polars as pl

    from concord.data.features import FeatureRows
    from concord.data.manifest import Manifest
    from concord.data.mixture import Mixture
    from concord.data.source import Source

    data = rows(40)
    frame = pl.DataFrame(
        {
            "row": list(range(40)),
            "shape": [None if y < 0 else SHAPE.classes[y] for y in data.targets["shape"].tolist()],
        }
    )
    source = Source(Manifest(frame, (SHAPE,), name="toy"), FeatureRows(data.inputs))

    def feed() -> StreamFeed:
        return StreamFeed(Mixture([source], [SHAPE], batch_size=16), CPU)

    one = feed()
    walked = [one.next().inputs for _ in range(7)]
    two, three = feed(), feed()
    for _ in range(4):
        two.next()
    three.load_state_dict(two.state_dict())
    for expected in walked[4:]:
        assert torch.equal(three.next().inputs, expected)
    history = fit(
        network(),
        cc.CoupledObjective([SHAPE]),
        Mixture([source], [SHAPE], batch_size=16),
        steps=9,
        validation=Validation(Mixture([source], [SHAPE], batch_size=16, shuffle=False)),
    )
    assert history.records[-1]["step"] == 9
    assert history.validation[-1]["val/shape/accuracy"] > 0


def test_plain_iterables_are_walked_again():
    batches = [SimpleNamespace(inputs=torch.full((2, 1), float(i)), targets={}) for i in range(3)]
    feed = StreamFeed(batches, CPU)
    assert [float(feed.next().inputs[0]) for _ in range(5)] == [0, 1, 2, 0, 1]
    again = StreamFeed(batches, CPU)
    again.load_state_dict(feed.state_dict())
    assert float(again.next().inputs[0]) == 2
    with pytest.raises(EmptyDataError):
        StreamFeed([], CPU).next()


def test_soft_targets_of_a_teacher_teach():
    teacher = network()
    fit(teacher, cc.CoupledObjective([SHAPE, MARKS]), rows(), steps=150)
    silent = cc.CoupledObjective([SHAPE, MARKS], task_weights={"shape": 0.0, "marks": 0.0})

    @torch.no_grad()
    def soft(batch):
        out = teacher(batch.inputs)
        return {"shape": out["shape"].softmax(-1), "marks": out["marks"].sigmoid()}

    student = network()
    fit(student, silent, rows(), steps=150, soft=soft)
    x = rows(100, seed=9).inputs
    taught, told = predict_logits(student, x), predict_logits(teacher, x)
    assert (taught["shape"].argmax(1) == told["shape"].argmax(1)).float().mean() > 0.85


def test_images_train_in_bf16_channels_last_augmented():
    from concord.data.augment import Augment

    images = torch.randint(0, 255, (24, 3, 16, 16), dtype=torch.uint8)
    seen = []

    class Trunk(SmallResNet):
        def forward(self, x):
            seen.append((x.dtype, x.is_contiguous(memory_format=torch.channels_last)))
            return super().forward(x)

    trunk = Trunk(3, 8, 2)
    net = cc.MultiTaskNetwork(trunk, [SHAPE], torch.zeros(1, 3, 16, 16))
    batches = [
        SimpleNamespace(inputs=images[i::2], targets={"shape": torch.arange(12) % 3}) for i in range(2)
    ]
    seen.clear()
    history = fit(
        net,
        cc.CoupledObjective([SHAPE]),
        batches,
        steps=3,
        recipe=Recipe(precision="bf16-mixed", channels_last=True),
        augment=Augment(shift=1),
    )
    assert seen == [(torch.bfloat16, True)] * 3
    assert all(p.dtype == torch.float32 for p in net.parameters())
    assert np.isfinite(history.records[-1]["loss"])


def test_compiled_networks_learn_the_same():
    compiled, plain = network(dropout=0.0), network(dropout=0.0)
    fit(compiled, objective(), rows(), steps=5, recipe=Recipe(compile="eager"))
    fit(plain, objective(), rows(), steps=5)
    for mine, other in zip(compiled.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine, other)


def test_prediction_keeps_every_mode_and_takes_mappings():
    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1))
            self.frozen = nn.Dropout(0.9).eval()

        def forward(self, x):
            return {"t": self.frozen(x["a"] * self.scale)}

    pair = Pair().train()
    pair.frozen.eval()
    out = predict_logits(pair, {"a": torch.arange(10.0).unsqueeze(1)}, batch_size=3)
    assert torch.equal(out["t"], torch.arange(10.0).unsqueeze(1))
    assert pair.training
    assert not pair.frozen.training
    assert [len(part) for part in pieces(["x"] * 5, 2)] == [2, 2, 1]


def test_loggers_get_rate_and_learning_rate(tmp_path):
    from concord.fitting.watch import JsonLines

    path = tmp_path / "deep" / "log.jsonl"
    history = fit(
        network(),
        objective(),
        rows(),
        steps=6,
        log_every=2,
        loggers=[JsonLines(path)],
        recipe=Recipe(schedule="linear"),
        validation=Validation(rows(20), every=3),
    )
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    trained = [line for line in lines if "loss" in line]
    assert [line["step"] for line in trained] == [2, 4, 6]
    assert all(line["rate"] > 0 for line in trained)
    assert trained[-1]["lr"] == pytest.approx(2e-3 / 6)
    assert [line["loss"] for line in trained] == [record["loss"] for record in history.records]
    assert [line["step"] for line in lines if "val/shape/accuracy" in line] == [3, 6]


def test_freeze_names_every_known_module():
    assert freeze(network(), ["trunk.0"])[0].weight.requires_grad is False
    assert relation().name == "shape->marks"
    assert network().trunk[0].in_features == WIDTH
