"""Mixtures: shares, order, epochs, ranks, workers, resuming, targets with gaps."""

from __future__ import annotations

import json
from collections import Counter
from fractions import Fraction
from itertools import islice

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from concord import MulticlassTask, MultilabelTask
from concord.data.batches import Batch, SkippedInputWarning
from concord.data.features import FeatureRows
from concord.data.inputs import Failure, Inputs, Loaded, Texts
from concord.data.manifest import Manifest
from concord.data.mixture import Mixture
from concord.data.shares import apportion
from concord.data.source import Source
from concord.errors import (
    AnnotationError,
    CheckpointError,
    ConcordWarning,
    DuplicateNameError,
    EmptyDataError,
    NoAnnotationError,
    RangeError,
    ShapeError,
    UnknownNameError,
)
from concord.tasks import unite_tasks

PET = MulticlassTask("pet", ["cat", "dog", "cow"])
TRAIT = MultilabelTask("trait", ["purrs", "barks"])
TRAIT_3 = MultilabelTask("trait", ["barks", "moos", "purrs"])


def pets(n: int, name: str = "pets", offset: float = 0.0, **options) -> Source:
    """Class i % 4 (3 is a gap); the feature of row i is (offset + i, i)."""
    classes = [[*PET.classes, None][i % 4] for i in range(n)]
    manifest = Manifest(pl.DataFrame({"row": range(n), "pet": classes}), (PET,), name=name)
    features = np.stack([offset + np.arange(n), np.arange(n)], axis=1)
    return Source(manifest, FeatureRows(features), **options)


def traits(n: int, name: str = "traits", offset: float = 1000.0, **options) -> Source:
    """Labels (i % 2, i % 3 == 2 or a gap where i % 3 == 0)."""
    frame = {
        "row": range(n),
        "trait.purrs": [i % 2 for i in range(n)],
        "trait.barks": [None if i % 3 == 0 else int(i % 3 == 2) for i in range(n)],
    }
    features = np.stack([offset + np.arange(n), np.arange(n)], axis=1)
    return Source(Manifest(pl.DataFrame(frame), (TRAIT,), name=name), FeatureRows(features), **options)


def order(batches) -> list[list[tuple[int, int]]]:
    return [list(zip(b.source.tolist(), b.index.tolist(), strict=True)) for b in batches]


weights = st.lists(st.integers(1, 50), min_size=1, max_size=5)
sizes = st.lists(st.integers(1, 40), min_size=1, max_size=3)
shares = st.sampled_from(["size", "equal", "temperature"])


def mixed(sizes, **options) -> Mixture:
    return Mixture([pets(n, f"s{i}") for i, n in enumerate(sizes)], **options)


# -- shares ----------------------------------------------------------------------------------------


@given(weights, st.integers(0, 300))
def test_apportionment_is_webster_s_and_one_more_seat_takes_none_away(weights, seats):
    held, more = apportion(weights, seats), apportion(weights, seats + 1)
    assert sum(held) == seats
    assert sorted(b - a for a, b in zip(held, more, strict=True)) == [0] * (len(weights) - 1) + [1]
    # Webster's condition, stated on its own: some divisor rounds every quotient to the seats held.
    low = max(Fraction(2 * h - 1, 2 * w) for h, w in zip(held, weights, strict=True))
    high = min(Fraction(2 * h + 1, 2 * w) for h, w in zip(held, weights, strict=True))
    assert low <= high
    if seats % sum(weights) == 0:
        assert held == [w * seats // sum(weights) for w in weights]


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        ("size", (0.6, 0.3, 0.1)),
        ("equal", (1 / 3, 1 / 3, 1 / 3)),
        ({"s0": 0.5, "s1": 0.2, "s2": 0.3}, (0.5, 0.2, 0.3)),
        ({"s0": 1, "s1": 2, "s2": 5}, (1 / 8, 2 / 8, 5 / 8)),
    ],
)
def test_shares_over_1000_batches_are_as_asked(share, expected):
    mixture = mixed([600, 300, 100], batch_size=30, share=share, epoch=1000)
    counts = np.array([[len(rows) for rows in mixture.rows(0, step)] for step in range(1000)])
    assert (counts.sum(axis=1) == 30).all()
    np.testing.assert_allclose(counts.sum(axis=0), np.array(expected) * 30_000, atol=1)
    assert (np.abs(counts - np.array(expected) * 30) <= 1).all()
    assert list(mixture.shares.values()) == pytest.approx(expected)


def test_shares_of_classes_and_labels_over_1000_batches():
    mixture = Mixture([pets(997), traits(300)], batch_size=40, share={"pets": 3, "traits": 1}, epoch=1000)
    classes, labels = Counter(), []
    for batch in mixture:
        classes.update(batch.targets["pet"].tolist())
        labels.append(batch.targets["trait"])
    # Class i % 4 of 997 rows: 250, 249, 249, 249 gaps; 10,000 rows of traits carry no class.
    assert classes[0] / 30_000 == pytest.approx(250 / 997, abs=0.002)
    assert classes[1] / 30_000 == pytest.approx(249 / 997, abs=0.002)
    assert classes[-1] == 40_000 - sum(classes[i] for i in range(3))
    trait = torch.cat(labels)
    assert (~trait[:, 0].isnan()).sum() == 10_000
    assert trait[:, 0].nanmean().item() == pytest.approx(1 / 2, abs=0.005)
    assert trait[:, 1].nanmean().item() == pytest.approx(1 / 2, abs=0.005)
    assert (~trait[:, 1].isnan()).float().sum().item() / 10_000 == pytest.approx(2 / 3, abs=0.005)


@given(st.floats(0.1, 100), sizes)
def test_temperature_lies_between_size_and_equal(temperature, sizes):
    mixture = mixed(sizes, batch_size=4, share="temperature", temperature=temperature)
    powers = np.array([float(n) ** (1 / temperature) for n in sizes])
    expected = powers / powers.sum()
    # Shares below the resolution are kept above zero.
    assert list(mixture.shares.values()) == pytest.approx(expected, abs=1e-5)


# -- epochs and passes -----------------------------------------------------------------------------


@given(sizes, st.integers(1, 12), st.integers(0, 3))
def test_by_size_an_epoch_holds_every_row_once(sizes, batch_size, epoch):
    mixture = mixed(sizes, batch_size=batch_size)
    mixture.set_epoch(epoch)
    batches = order(mixture)
    assert len(batches) == len(mixture)
    rows = sorted(row for batch in batches for row in batch)
    assert rows == [(s, i) for s, n in enumerate(sizes) for i in range(n)]
    assert all(len(batch) == batch_size for batch in batches[:-1])


@given(sizes, shares, st.sampled_from(["longest", "shortest", "sum", 3]), st.sampled_from(["short", "carry"]))
def test_every_pass_of_a_source_is_a_permutation(sizes, share, epoch, last_batch):
    mixture = mixed(sizes, batch_size=7, share=share, epoch=epoch, last_batch=last_batch)
    stream: dict[int, list[int]] = {s: [] for s in range(len(sizes))}
    for _ in range(3):
        for batch in order(mixture):
            for source, index in batch:
                stream[source].append(index)
    for source, n in enumerate(sizes):
        rows = stream[source]
        for start in range(0, len(rows), n):
            part = rows[start : start + n]
            assert len(set(part)) == len(part)
        if epoch == "longest" and last_batch == "short":
            assert len(rows) >= 3 * n


@given(sizes, shares)
def test_longest_and_shortest_epochs_end_where_they_say(sizes, share):
    def seen(epoch):
        mixture = mixed(sizes, batch_size=5, share=share, epoch=epoch)
        count = Counter(source for batch in order(mixture) for source, _ in batch)
        return [count[s] for s in range(len(sizes))]

    longest, shortest = seen("longest"), seen("shortest")
    assert all(count >= n for count, n in zip(longest, sizes, strict=True))
    assert any(count == n for count, n in zip(longest, sizes, strict=True))
    assert all(count <= n for count, n in zip(shortest, sizes, strict=True))
    assert any(count == n for count, n in zip(shortest, sizes, strict=True))
    assert sum(seen("sum")) == sum(sizes)


def test_carried_rows_open_the_next_epoch():
    mixture = mixed([10], batch_size=4, last_batch="carry")
    batches = [order(mixture) for _ in range(5)]
    assert [len(epoch) for epoch in batches] == [2] * 5
    assert all(len(batch) == 4 for epoch in batches for batch in epoch)
    rows = [index for epoch in batches for batch in epoch for _, index in batch]
    assert all(sorted(rows[start : start + 10]) == list(range(10)) for start in range(0, 40, 10))


def test_a_scarce_source_goes_round_in_new_orders():
    mixture = mixed([60, 5], batch_size=10, share="equal")
    rows = [index for batch in order(mixture) for source, index in batch if source == 1]
    passes = [tuple(rows[start : start + 5]) for start in range(0, 55, 5)]
    assert all(sorted(p) == list(range(5)) for p in passes)
    assert len(set(passes)) > 6


def test_epochs_and_seeds_differ_and_unshuffled_is_the_manifest_s_order():
    mixture = mixed([50], batch_size=50)
    first, second = order(mixture), order(mixture)
    assert first != second
    assert first != order(mixed([50], batch_size=50, seed=1))
    plain = mixed([50], batch_size=20, shuffle=False)
    assert [index for batch in order(plain) for _, index in batch] == list(range(50))


def test_the_order_of_a_source_does_not_hang_on_the_others():
    alone = Mixture([pets(40)], batch_size=8)
    beside = Mixture([traits(40), pets(40)], batch_size=16)
    own = [index for batch in order(beside) for source, index in batch if source == 1]
    assert own == [index for batch in order(alone) for _, index in batch]


# -- ranks, workers, resuming ----------------------------------------------------------------------


@given(sizes, shares, st.integers(1, 4), st.integers(1, 13))
def test_ranks_share_the_global_batch_without_overlap(sizes, share, world, batch_size):
    options = {"batch_size": batch_size, "share": share}
    whole = order(mixed(sizes, **options))
    ranks = [order(mixed(sizes, rank=r, world_size=world, **options)) for r in range(world)]
    assert all(len(rank) == len(whole) for rank in ranks)
    for step, batch in enumerate(whole):
        parts = [rank[step] for rank in ranks]
        assert sorted(row for part in parts for row in part) == sorted(batch)
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
        # Every rank gets its share of every source, too.
        for source in range(len(sizes)):
            held = [sum(s == source for s, _ in part) for part in parts]
            assert max(held) - min(held) <= 1


def test_two_ranks_together_see_every_row_once():
    ranks = [Mixture([pets(101), traits(40)], batch_size=16, rank=r, world_size=2) for r in range(2)]
    rows = [row for rank in ranks for batch in order(rank) for row in batch]
    assert sorted(rows) == [(0, i) for i in range(101)] + [(1, i) for i in range(40)]


@given(sizes, shares, st.integers(0, 30), st.sampled_from(["short", "carry"]))
def test_a_resumed_mixture_goes_on_exactly_there(sizes, share, after, last_batch):
    options = {"batch_size": 6, "share": share, "last_batch": last_batch}

    def endless(mixture):
        while True:
            yield from mixture

    through = order(islice(endless(mixed(sizes, **options)), after + 12))
    stopped = mixed(sizes, **options)
    assert order(islice(endless(stopped), after)) == through[:after]
    state = json.loads(json.dumps(stopped.state_dict()))
    resumed = mixed(sizes, **options)
    resumed.load_state_dict(state)
    assert (resumed.epoch, resumed.step) == divmod(after, len(resumed))
    assert order(islice(endless(resumed), 12)) == through[after:]


def test_a_state_saved_after_the_last_batch_is_that_of_the_next_epoch():
    mixture = mixed([10], batch_size=5)
    states = [mixture.state_dict() for _ in mixture]
    assert [(state["epoch"], state["step"]) for state in states] == [(0, 1), (1, 0)]


def test_the_state_of_another_mixture_is_refused():
    mixture = mixed([10], batch_size=5)
    for other in (mixed([11], batch_size=5), mixed([10], batch_size=4), mixed([10], batch_size=5, seed=1)):
        with pytest.raises(CheckpointError, match="another mixture"):
            mixture.load_state_dict(other.state_dict())
    with pytest.raises(CheckpointError, match="epoch 0, step 2"):
        mixture.load_state_dict({**mixture.state_dict(), "step": 2})
    with pytest.raises(CheckpointError, match="step None"):
        mixture.load_state_dict({**mixture.state_dict(), "step": None})


def noisy(values: torch.Tensor) -> torch.Tensor:
    return values + torch.rand_like(values)


def double(values: torch.Tensor) -> torch.Tensor:
    return 2 * values


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_workers_change_nothing():
    def batches(workers: int) -> tuple[list[Batch], torch.Tensor]:
        torch.manual_seed(5)
        mixture = Mixture(
            [pets(57, transform=noisy), traits(20, transform=double)],
            batch_size=10,
            share="equal",
            workers=workers,
        )
        # An epoch, a part of one, then on from there with new workers.
        out = list(mixture)
        out += list(islice(mixture, 3))
        mixture.close()
        out += list(mixture)
        assert (mixture.epoch, mixture.step) == (2, 0)
        return out, torch.rand(3)

    alone, after_alone = batches(0)
    for workers in (1, 4):
        others, after = batches(workers)
        assert order(others) == order(alone)
        for mine, theirs in zip(others, alone, strict=True):
            assert torch.equal(mine.inputs, theirs.inputs)
            for name in ("pet", "trait"):
                torch.testing.assert_close(
                    mine.targets[name], theirs.targets[name], equal_nan=True, rtol=0, atol=0
                )
        assert torch.equal(after, after_alone)


class Fragile(Inputs):
    """Inputs that fail at some rows, or altogether."""

    def __init__(self, bad=(), error=None):
        self.bad, self.error = set(bad), error

    def keys(self, manifest):
        return lambda rows: rows

    def load(self, keys):
        if self.error:
            raise self.error
        good = [k for k in keys if k not in self.bad]
        failures = tuple(Failure(i, f"{k}.jpg", "torn") for i, k in enumerate(keys) if k in self.bad)
        return Loaded(torch.tensor(good, dtype=torch.float32).reshape(-1, 1), failures)


def test_an_error_in_a_worker_arrives_as_itself():
    manifest = Manifest(pl.DataFrame({"row": [0, 1]}), (), name="m")
    mixture = Mixture([Source(manifest, Fragile(error=ShapeError("seven")))], batch_size=2, workers=1)
    with pytest.raises(ShapeError, match=r"^seven$"):
        list(mixture)


def test_spawned_workers_give_the_same(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(40.0).reshape(20, 2))
    manifest = Manifest(pl.DataFrame({"row": range(20)}), (), name="m")
    source = Source(manifest, FeatureRows(tmp_path / "x.npy"), transform=double)
    here = list(Mixture([source], batch_size=8))
    there = list(Mixture([source], batch_size=8, workers=1, context="spawn"))
    assert all(torch.equal(a.inputs, b.inputs) for a, b in zip(here, there, strict=True))


# -- batches ---------------------------------------------------------------------------------------


def test_inputs_and_targets_belong_to_their_rows():
    mixture = Mixture([pets(30), traits(21)], batch_size=8)
    for batch in mixture:
        assert batch.inputs.dtype == torch.float32
        assert batch.targets["pet"].dtype == batch.source.dtype == batch.index.dtype == torch.int64
        assert batch.targets["trait"].dtype == torch.float32
        for row in range(len(batch)):
            source, i = int(batch.source[row]), int(batch.index[row])
            assert batch.inputs[row].tolist() == [1000 * source + i, i]
            trait = batch.targets["trait"][row]
            if source == 0:
                assert int(batch.targets["pet"][row]) == (i % 4 if i % 4 < 3 else -1)
                assert trait.isnan().all()
            else:
                assert int(batch.targets["pet"][row]) == -1
                assert trait[0] == i % 2
                assert trait[1].isnan() if i % 3 == 0 else trait[1] == float(i % 3 == 2)


def test_tasks_of_one_name_are_matched_by_class_and_label_name():
    pet = MulticlassTask("pet", ["cow", "cat"])
    trait = MultilabelTask("trait", ["barks", "moos"])
    frame = pl.DataFrame(
        {"row": [0, 1], "pet": ["cat", "cow"], "trait.barks": [1, None], "trait.moos": [0, 1]}
    )
    farm = Source(Manifest(frame, (pet, trait), name="farm"), FeatureRows(np.zeros((2, 2))))
    assert unite_tasks(source.manifest.tasks for source in [pets(4), traits(4), farm]) == (
        PET,
        MultilabelTask("trait", ["purrs", "barks", "moos"]),
    )
    (batch,) = Mixture([farm, pets(4), traits(4)], tasks=(PET, TRAIT_3), batch_size=10, shuffle=False)
    assert batch.targets["pet"].tolist() == [0, 2, 0, 1, 2, -1, -1, -1, -1, -1]
    expected = [[1, 0, np.nan], [np.nan, 1, np.nan]]
    np.testing.assert_array_equal(batch.targets["trait"][:2].numpy(), expected)
    assert batch.targets["trait"][6:, 1].isnan().all()
    with pytest.raises(UnknownNameError, match=r"source 'farm'.*'moos'"):
        Mixture([farm], tasks=(TRAIT,), batch_size=1)
    with pytest.raises(AnnotationError, match="rename"):
        Mixture([farm], tasks=(MultilabelTask("pet", ["cow"]),), batch_size=1)
    other = Manifest(pl.DataFrame({"row": [0], "pet.cow": [1]}), (MultilabelTask("pet", ["cow"]),), name="o")
    with pytest.raises(AnnotationError, match="rename"):
        Mixture([farm, Source(other, FeatureRows(np.zeros((1, 2))))], batch_size=1)


def test_texts_and_mappings_are_batched():
    manifest = Manifest(pl.DataFrame({"text": ["a", "bb", "ccc"]}), (), name="words")

    def tokens(texts):
        return {"length": torch.tensor([len(text) for text in texts]), "text": texts}

    plain = [Source(manifest, Texts(), name="one"), Source(manifest, Texts(), name="two")]
    (batch,) = Mixture(plain, batch_size=6, shuffle=False)
    assert batch.inputs == ["a", "bb", "ccc"] * 2
    made = [Source(manifest, Texts(), tokens, "one"), Source(manifest, Texts(), tokens, "two")]
    (batch,) = Mixture(made, batch_size=6, shuffle=False)
    assert batch.inputs["length"].tolist() == [1, 2, 3, 1, 2, 3]
    moved = batch.to("meta")
    assert moved.inputs["length"].is_meta
    assert moved.source.is_meta
    assert moved.inputs["text"] == ["a", "bb", "ccc"] * 2
    (joined,) = Mixture(
        plain, batch_size=6, collate=lambda parts, names: dict(zip(names, parts, strict=True))
    )
    assert set(joined.inputs) == {"one", "two"}


def test_sources_with_different_inputs_are_named():
    wide = Source(pets(4).manifest, FeatureRows(np.zeros((4, 3))), name="wide")
    with pytest.raises(ShapeError, match=r"'pets'.*'wide'.*transform"):
        list(Mixture([pets(4), wide], batch_size=4))
    texts = Source(Manifest(pl.DataFrame({"text": ["a"]}), (), name="t"), Texts())
    with pytest.raises(ShapeError, match="list"):
        list(Mixture([pets(4), texts], batch_size=4, share="equal"))
    odd = [Source(pets(4).manifest, FeatureRows(np.zeros((4, 2))), name=name) for name in ("odd", "even")]
    odd[0].transform = lambda values: values[:-1]
    with pytest.raises(ShapeError, match="'odd' must keep the number of rows: 4 in, 3 out"):
        list(Mixture(odd[:1], batch_size=4))
    odd[0].transform = odd[1].transform = tuple
    with pytest.raises(ShapeError, match="found tuple"):
        list(Mixture(odd, batch_size=8))


def test_skipped_inputs_are_reported_and_their_rows_left_out():
    frame = pl.DataFrame({"row": range(6), "pet": ["cat", "dog", "cow"] * 2})
    manifest = Manifest(frame, (PET,), name="m")
    mixture = Mixture([Source(manifest, Fragile(bad=[1, 4]))], batch_size=3, shuffle=False)
    with pytest.warns(SkippedInputWarning) as said:
        first, second = list(mixture)
    assert issubclass(SkippedInputWarning, ConcordWarning)  # the command line tells those in one line
    assert [str(warning.message) for warning in said] == [
        f"source 'm': row {row} is skipped, {row}.jpg: torn" for row in (1, 4)
    ]
    assert first.index.tolist() == [0, 2]
    assert first.inputs.flatten().tolist() == [0.0, 2.0]
    assert first.targets["pet"].tolist() == [0, 2]
    assert [row.index for row in first.skipped + second.skipped] == [1, 4]
    assert sorted(mixture.skipped) == [("m", 1), ("m", 4)]
    again = list(mixture)  # said once, reported every time
    assert [len(batch) for batch in again] == [2, 2]
    assert len(again[0].skipped) == 1
    assert not mixture.unreadable


def test_a_mixture_knows_when_as_many_rows_as_there_are_cannot_be_read():
    manifest = Manifest(pl.DataFrame({"row": range(6), "pet": ["cat", "dog", "cow"] * 2}), (PET,), name="m")
    mixture = Mixture([Source(manifest, Fragile(bad=range(6)))], batch_size=2, shuffle=False)
    with pytest.warns(SkippedInputWarning):
        assert [mixture.unreadable for _ in mixture] == [False, False, True]
    mixture = Mixture([Source(manifest, Fragile(bad=range(5)))], batch_size=2, shuffle=False)
    with pytest.warns(SkippedInputWarning):
        assert not any(mixture.unreadable for _ in range(3) for _ in mixture)


def test_a_rank_may_get_no_row_of_the_last_batch():
    batches = list(Mixture([pets(5), traits(4)], batch_size=4, rank=3, world_size=4))
    assert [len(batch) for batch in batches] == [1, 1, 0]
    assert batches[-1].inputs.shape == (0, 2)
    assert batches[-1].targets["trait"].shape == (0, 2)


def test_mistakes_are_named():
    source = pets(5)
    with pytest.raises(EmptyDataError):
        Mixture([], batch_size=1)
    with pytest.raises(DuplicateNameError, match="'pets' twice"):
        Mixture([source, pets(3)], batch_size=1)
    with pytest.raises(NoAnnotationError, match="no source has task 'trait'; they have pet"):
        Mixture([source], tasks=(TRAIT,), batch_size=1)
    for options, error, match in [
        ({"batch_size": 0}, RangeError, "batch_size"),
        ({"batch_size": True}, RangeError, "batch_size"),
        ({"epoch": 0}, RangeError, "epoch"),
        ({"epoch": "longst"}, UnknownNameError, "'longest'"),
        ({"last_batch": "drop"}, UnknownNameError, "last_batch"),
        ({"share": "sizes"}, UnknownNameError, "'size'"),
        ({"share": "temperature", "temperature": 0}, RangeError, "temperature"),
        ({"share": {"pet": 1}}, UnknownNameError, "'pets'"),
        ({"share": {}}, UnknownNameError, "leave the source out"),
        ({"share": {"pets": 0}}, RangeError, "> 0"),
        ({"rank": 2, "world_size": 2}, RangeError, "rank 2"),
        ({"workers": -1}, RangeError, "workers"),
    ]:
        with pytest.raises(error, match=match):
            Mixture([source], **{"batch_size": 4, **options})
    for share in (1e-20, 1e-308):
        with pytest.raises(RangeError, match=r"2\^63 rows or more; .* a larger share to source 'pets'"):
            Mixture([source, pets(5, name="more")], batch_size=4, share={"pets": share, "more": 1})
    with pytest.raises(RangeError, match="from 0"):
        Mixture([source], batch_size=1).set_epoch(-1)
    with pytest.raises(UnknownNameError, match="name"):
        Source(Manifest(pl.DataFrame({"row": [0]}), ()), FeatureRows(np.zeros((1, 1))))
    assert repr(Mixture([source], batch_size=2)) == "Mixture(pets 1; 3 batches of 2)"
    assert "pets" in repr(source)
