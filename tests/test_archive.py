"""One integrity rule for every folder that is saved."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import concord as cc
from asserts import raises
from concord.archive import FORMATS, Kind, folders, read_archive, save_archive
from concord.archive.folders import STAGED
from concord.couplings import LOSSES as TODAY
from concord.deploy import Preprocessing, TrunkRecord, from_pretrained, save_pretrained, upgrade
from concord.deploy.earlier_names import LOSSES, renamed_log, renamed_parts
from concord.errors import CheckpointError
from concord.fitting import Checkpoints
from concord.networks import build_trunk
from forging import forge

KIND = cc.MulticlassTask("kind", ["ant", "bee", "cat"])
TRAITS = cc.MultilabelTask("traits", ["wings", "legs"])
TABLE = cc.Relation(KIND, TRAITS, [[0.1, 0.9], [0.95, 0.9], [0.02, 0.8]])


class Words:
    """A tokenizer that writes two files."""

    def save(self, folder: Path) -> None:
        folder.mkdir()
        (folder / "vocabulary.json").write_text('["a", "b"]')
        (folder / "merges.txt").write_text("a b")


def listed(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()] if folder.is_dir() else []


def save_hub(folder: Path, tokenize: Any = None) -> None:
    decoder = cc.JointDecoder(TABLE)
    decoder.target_strength, decoder.class_strength = 0.5, 0.25
    built = build_trunk("builtin:mlp", shape=(3,), options={"hidden": [4]})
    network = cc.MultiTaskNetwork(built.module, [KIND, TRAITS], built.example)
    trunk = TrunkRecord("builtin:mlp", (3,), {"hidden": [4]}, built.resolved, tokenize)
    save_pretrained(
        folder,
        network,
        [KIND, TRAITS],
        example=built.example,
        trunk=trunk,
        decoders=[decoder],
        preprocessing=Preprocessing.of("features"),
    )


def save_estimator(folder: Path) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(30, 3)), {"kind": rng.integers(0, 3, 30), "traits": rng.integers(0, 2, (30, 2))}
    model = cc.CoupledClassifier([KIND, TRAITS], [TABLE], "posterior", steps=2, hidden=(4,), random_state=0)
    model.fit(x, y).save(folder)


def save_checkpoint(folder: Path) -> None:
    kept = Checkpoints(folder.parent)
    kept.save(7, {"network": {"w": torch.arange(5.0)}, "log": ["begun"]}, {"kind": 0.5})
    (folder.parent / "step-00000007").rename(folder)


SAVED: dict[Kind, tuple[Callable[[Path], None], Callable[[Path], Any]]] = {
    "hub": (lambda folder: save_hub(folder, Words()), from_pretrained),
    "estimator": (save_estimator, cc.CoupledClassifier.load),
    "checkpoint": (save_checkpoint, lambda folder: Checkpoints(folder.parent).load(folder)),
}


@cache
def saved(kind: Kind) -> Path:
    folder = Path(mkdtemp()) / "saved"
    SAVED[kind][0](folder)
    return folder


@pytest.fixture(scope="module", autouse=True)
def nothing_left() -> Any:
    yield
    for kind in SAVED:
        shutil.rmtree(saved(kind).parent)


@pytest.mark.parametrize("kind", SAVED)
@given(data=st.data())
def test_no_bit_can_be_flipped(kind: Kind, data: st.DataObject) -> None:
    names = [FORMATS[kind].record, *read_archive(saved(kind), kind).files]
    name = data.draw(st.sampled_from(names))
    with TemporaryDirectory() as scratch:
        folder = Path(scratch) / "copy"
        shutil.copytree(saved(kind), folder)
        content = bytearray((folder / name).read_bytes())
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        (folder / name).write_bytes(content)
        with raises(CheckpointError, str(folder / name)):
            SAVED[kind][1](folder)


@pytest.mark.parametrize("kind", SAVED)
def test_no_file_can_be_missing_cut_or_grown(kind: Kind, tmp_path: Path) -> None:
    names = [FORMATS[kind].record, *read_archive(saved(kind), kind).files]
    for i, name in enumerate(names):
        for j, change in enumerate((lambda b: b[:-1], lambda b: b[: len(b) // 2], lambda b: b + b" ")):
            folder = tmp_path / f"{i}-{j}"
            shutil.copytree(saved(kind), folder)
            (folder / name).write_bytes(change((folder / name).read_bytes()))
            with raises(CheckpointError, str(folder / name)):
                SAVED[kind][1](folder)
        (folder / name).unlink()
        with raises(CheckpointError, str(folder), name):
            SAVED[kind][1](folder)


def test_what_is_added_to_a_folder_that_is_loaded_as_a_whole_is_refused(tmp_path: Path) -> None:
    save_hub(tmp_path, Words())
    (tmp_path / "LICENSE").write_text("nobody loads it")
    from_pretrained(tmp_path)
    (tmp_path / "tokenizer" / "added_tokens.json").write_text("{}")
    with raises(CheckpointError, "added_tokens.json was added after the folder was written"):
        from_pretrained(tmp_path)


def test_a_tokenizer_that_was_not_saved_is_not_loaded(tmp_path: Path) -> None:
    save_hub(tmp_path)
    (tmp_path / "tokenizer").mkdir()
    (tmp_path / "tokenizer" / "tokenizer_config.json").write_text('{"auto_map": {}}')
    assert from_pretrained(tmp_path).tokenize is None


def test_a_folder_takes_the_place_of_an_earlier_one(tmp_path: Path) -> None:
    save_hub(tmp_path, Words())
    (tmp_path / "notes.txt").write_text("kept")
    save_hub(tmp_path, Words())
    from_pretrained(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "README.md", "config.json", "model.safetensors", "notes.txt", "tokenizer",
    ]  # fmt: skip


@pytest.mark.parametrize("operation", ["replace", "fsync", "mkdir", "rmdir"])
def test_a_save_that_fails_anywhere_is_one_line_and_never_loads_in_part(
    operation: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = getattr(os, operation)
    for number in range(20):
        folder, calls = tmp_path / str(number), iter(range(100))

        def failing(*given: Any, calls: Any = calls, number: int = number, **options: Any) -> Any:
            if next(calls) == number:
                raise OSError(28, "No space left on device")
            return whole(*given, **options)

        with monkeypatch.context() as patch:
            patch.setattr(os, operation, failing)
            said = ""
            try:
                save_archive(folder, "run", {"a": 1}, {"x": b"x", "y/z": b"z"})
            except CheckpointError as error:
                said = str(error)
            assert said.endswith("no space left on device" if said else "")
            saved = any((folder / place / FORMATS["run"].record).is_file() for place in (".", folders.SAVED))
            with nullcontext() if saved else raises(CheckpointError):
                read_archive(folder, "run").verify()  # whole, or refused
            if next(calls) <= number:  # fewer operations than that
                assert number > 0
                return
            save_archive(folder, "run", {"a": 2}, {"x": b"x"})
            assert not (folder / STAGED).exists()
    pytest.fail("no save came through")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": 1}, "`concord upgrade"),
        ({"format": 99}, "has format 99, this version reads 2"),
        ({"format": "2"}, "is no record of a model"),
        ({"format": True}, "is no record of a model"),
        ({"kind": "run"}, "is of another kind of folder: 'run', not 'hub'"),
        ({"tasks": [{"name": "kind"}]}, "is no whole config"),
        ({"tasks": [{"name": "kind", "classes": ["a"]}]}, "is no whole config"),
        ({"trunk": ...}, "is no whole config"),
    ],
)
def test_a_record_with_other_content_is_refused_though_its_digest_fits(
    changes: dict[str, Any], words: str, tmp_path: Path
) -> None:
    save_hub(tmp_path)
    forge(tmp_path, "hub", **changes)
    with raises(CheckpointError, words):
        from_pretrained(tmp_path)


@pytest.mark.parametrize("name", ["/etc/passwd", "../other", "a/../../b", "a\0b", "a\\b"])
def test_a_record_names_no_files_outside_its_folder(name: str, tmp_path: Path) -> None:
    save_archive(tmp_path, "run", {}, {})
    path = tmp_path / "run.json"
    record = json.loads(path.read_text()) | {
        "files": {name: {"sha256": "a" * 64, "bytes": 1}},
        "digest": "0" * 64,
    }
    text = json.dumps(record)
    from concord.archive import sha256

    path.write_text(text.replace("0" * 64, sha256(text.encode())))
    with raises(CheckpointError, "lists files that lie outside its folder"):
        read_archive(tmp_path, "run")


@pytest.mark.parametrize(
    "table",
    [
        {"indices": [100]},
        {"indices": [2**30]},
        {"indices": [-(10**6)]},
        {"indices": [0.5]},
        {"indices": ["0"]},
        {"indices": [[0]]},
        {"indptr": [0, 9, 9, 9]},
        {"indptr": [0, 1, 0, 1]},
        {"indptr": [1, 1, 1, 1]},
        {"indptr": [0, 1]},
        {"data": [0.5, 0.5]},
        {"data": ["much"]},
        {"shape": [3, 4, 5]},
        {"shape": [3000000000, 4]},
        {"shape": [3, -4]},
        {"shape": "34"},
    ],
)
def test_a_sparse_table_with_indices_beyond_its_shape_is_refused(
    table: dict[str, Any], tmp_path: Path
) -> None:
    save_hub(tmp_path)
    sparse = {"shape": [3, 2], "data": [0.5], "indices": [0], "indptr": [0, 1, 1, 1]} | table
    (record,) = json.loads((tmp_path / "config.json").read_text())["relations"]
    forge(tmp_path, "hub", relations=[record | {"table": sparse}])
    with raises(CheckpointError, "is no whole config"):
        from_pretrained(tmp_path)


# -- earlier formats ---------------------------------------------------------------------------------

OLD = Path(__file__).parent / "golden" / "saved"
FOLDERS = {
    "estimator-auto/model": ("model.json", "weights.safetensors"),
    "hub/model": ("model.safetensors",),
    "run/run": ("run.json", "model.safetensors"),
    "unfinished/run": (
        "checkpoints/step-00000010/checkpoint.json",
        "checkpoints/step-00000010/network.safetensors",
    ),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_an_upgrade_in_place_keeps_the_old_folder(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(OLD / name, folder)
    before = {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert upgrade(folder) == folder
    aside = tmp_path / "model.before-upgrade"
    assert {p.relative_to(aside): p.read_bytes() for p in aside.rglob("*") if p.is_file()} == before
    assert {p.relative_to(folder) for p in folder.rglob("*") if p.is_file()} == set(before)
    with raises(CheckpointError, "nothing to upgrade"):
        upgrade(folder)
    with raises(CheckpointError, "model.before-upgrade exists already"):
        shutil.rmtree(folder)
        shutil.copytree(OLD / name, folder)
        upgrade(folder)
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("name", ["run/run", "unfinished/run"])
def test_an_upgraded_training_names_its_losses_as_today(name: str, tmp_path: Path) -> None:
    new = upgrade(OLD / name, tmp_path / "new")
    assert json.loads((OLD / name / "config.json").read_bytes())["couplings"][0]["name"] == "posterior"
    assert json.loads((new / "config.json").read_bytes())["couplings"][0]["name"] == "posterior-coannotation"
    if name == "run/run":
        assert [each.name for each in cc.load_run(new).config.couplings] == ["posterior-coannotation"]
    before, after = ((place / "log.jsonl").read_text() for place in (OLD / name, new))
    assert "posterior:shape->dots" in before
    assert after == before.replace("posterior:", "posterior-coannotation:")


def test_renaming_of_parts_leaves_tasks_and_cut_lines_alone() -> None:
    record = {"matching": 1.0, "val/posterior/ece": 0.5, "matching-2:a->b": 2.0, "population:c->d": 0.1}
    assert list(renamed_parts(record)) == [
        "matching", "val/posterior/ece", "distribution-matching-2:a->b", "population-matching:c->d",
    ]  # fmt: skip
    today = {"class-to-labels:a->b": 1.0, "hard-coannotation:a->b": 1.0, "marginal-likelihood:a->b": 1.0}
    assert renamed_parts(today) == today
    lines = json.dumps(record).encode() + b"\n" + b'{"step": 3, "marginal:a->'
    whole, cut = renamed_log(lines).splitlines()
    assert json.loads(whole) == renamed_parts(record)
    assert cut == b'{"step": 3, "marginal:a->'


def test_every_name_that_a_config_had_is_one_of_today() -> None:
    assert set(LOSSES.values()) <= set(TODAY)
    assert not set(LOSSES) & set(TODAY)  # else an upgrade could not tell them apart


@pytest.mark.parametrize(
    ("name", "file"), [(name, file) for name, files in FOLDERS.items() for file in files]
)
def test_an_upgrade_of_a_damaged_folder_is_refused_by_name(name: str, file: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(OLD / name, folder)
    content = (folder / file).read_bytes()
    for damaged in (
        content[:-9],
        content.replace(b"0.", b"1.", 1) if file.endswith(".json") else content[:-1] + b"?",
    ):
        (folder / file).write_bytes(damaged)
        with raises(CheckpointError, str(folder / file)):
            upgrade(folder)
    assert list(tmp_path.iterdir()) == [folder]


def test_an_upgrade_that_cannot_be_written_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with raises(CheckpointError, "no space left on device"):
            upgrade(OLD / "hub" / "model", tmp_path / "new")
    assert list(tmp_path.iterdir()) == []
    with raises(CheckpointError, "exists already"):
        upgrade(OLD / "hub" / "model", tmp_path)
    with raises(CheckpointError, "nothing to upgrade"):
        upgrade(tmp_path / "nothing")


def test_a_folder_is_upgraded_from_within(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in ("a", "b/c"):
        folder = tmp_path / place / "model"
        shutil.copytree(OLD / "run" / "run", folder)
        (folder / "below").mkdir()
        monkeypatch.chdir(folder / "below" if place == "a" else folder)
        assert upgrade(".." if place == "a" else ".") == folder
        assert {path.name for path in folder.parent.iterdir()} == {"model", "model.before-upgrade"}


def test_the_command_names_both_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from concord.cli.upgrade import upgrade as command

    folder = tmp_path / "model"
    shutil.copytree(OLD / "run" / "run", folder)
    command(folder, out=tmp_path / "new")
    command(folder)
    said = capsys.readouterr().out.splitlines()
    assert said == [
        f"wrote {tmp_path / 'new'}; {folder} is as it was",
        f"wrote {folder}; {folder}.before-upgrade is as it was",
    ]
