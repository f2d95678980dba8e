"""A folder from elsewhere runs nothing, fetches nothing and asks nothing, however it is signed."""

from __future__ import annotations

import io
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import concord as cc
from asserts import raises
from concord.deploy import Preprocessing, TrunkRecord, from_pretrained, save_pretrained
from concord.errors import CheckpointError, ConfigError, UnknownNameError
from concord.networks import build_trunk
from forging import forge

TASKS = [cc.MulticlassTask("kind", ["a", "b"])]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("texts")
    config = transformers.BertConfig(
        vocab_size=6, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8
    )
    source = folder / "bert"
    transformers.AutoModel.from_config(config).save_pretrained(source)
    (source / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "b"]))
    transformers.BertTokenizerFast(vocab_file=str(source / "vocab.txt")).save_pretrained(source)
    built = build_trunk(f"hf:{source}", options={"tokens": 6})
    network = cc.MultiTaskNetwork(built.module, TASKS, built.example)
    trunk = TrunkRecord.of(built, f"hf:{source}", options={"tokens": 6})
    save_pretrained(
        folder / "model",
        network,
        TASKS,
        example=built.example,
        trunk=trunk,
        preprocessing=Preprocessing.of("texts"),
    )
    return folder / "model"


def names_code(folder: Path) -> str:
    path = folder / "tokenizer" / "tokenizer_config.json"
    pointers = {"AutoTokenizer": ["evil.Evil", "evil.Evil"]}
    path.write_text(
        json.dumps(json.loads(path.read_text()) | {"auto_map": pointers, "tokenizer_class": "Evil"})
    )
    forge(folder, "hub")
    return "tokenizer_config.json names code of its own (auto_map)"


def brings_code(folder: Path) -> str:
    pwned = folder / "pwned"
    (folder / "tokenizer" / "evil.py").write_text(f"import os\nos.mkdir({str(pwned)!r})\n")
    record = json.loads((folder / "config.json").read_text())
    forge(folder, "hub", files=record["files"] | {"tokenizer/evil.py": {}})
    return "evil.py is code"


def half_a_config(folder: Path) -> str:
    (folder / "tokenizer" / "tokenizer_config.json").write_text("{")
    forge(folder, "hub")
    return "tokenizer_config.json cannot be read"


def model_of(change: dict[str, Any]) -> Callable[[Path], None]:
    def changed(folder: Path) -> None:
        trunk = json.loads((folder / "config.json").read_text())["trunk"]
        trunk["resolved"]["config"] |= change
        forge(folder, "hub", trunk=trunk)

    return changed


def model_with_code(folder: Path) -> str:
    model_of({"auto_map": {"AutoModel": "evil.Evil"}})(folder)
    return "names code of its own (auto_map)"


def model_with_code_below(folder: Path) -> str:
    model_of({"text_config": [{"trust_remote_code": True}]})(folder)
    return "names code of its own (trust_remote_code)"


def model_with_a_kernel(folder: Path) -> str:
    model_of({"attn_implementation": "somebody/kernel"})(folder)
    return "asks for a kernel of the hub"


@pytest.mark.parametrize(
    "spoil",
    [names_code, brings_code, half_a_config, model_with_code, model_with_code_below, model_with_a_kernel],
)
def test_a_folder_that_names_code_is_refused_by_name(
    spoil: Callable[[Path], str], saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(saved, folder)
    from_pretrained(folder)
    words = spoil(folder)
    asked = io.StringIO("y\n" * 9)
    monkeypatch.setattr(sys, "stdin", asked)
    with raises(CheckpointError, words):
        from_pretrained(folder)
    assert asked.tell() == 0
    assert not (folder / "pwned").exists()


def test_texts_are_predicted_by_the_tokenizer_of_the_folder(saved: Path) -> None:
    model = from_pretrained(saved)
    assert model.tokenize is not None
    texts = ["a b b", "b", "a"]
    logits = model.network(model.tokenize(texts))["kind"].detach().double().softmax(-1).numpy()
    np.testing.assert_allclose(model.predict_proba(texts)["kind"], logits, atol=1e-6)
    assert set(model.predict(texts)["kind"]) <= {"a", "b"}


def test_code_added_to_a_tokenizer_is_refused_by_the_digests(saved: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(saved, folder)
    (folder / "tokenizer" / "evil.py").write_text("")
    with raises(CheckpointError, "evil.py was added"):
        from_pretrained(folder)


def test_a_trunk_of_timm_loads_no_further_files() -> None:
    pytest.importorskip("timm")
    with raises(ConfigError, "checkpoint_path loads a file"):
        build_trunk("timm:resnet10t", options={"checkpoint_path": "evil.pth"})
    with raises(UnknownNameError, "hf-hub:somebody/model"):
        build_trunk("timm:resnet10t", resolved={"architecture": "hf-hub:somebody/model"})
