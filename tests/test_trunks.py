from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

import concord as cc
from concord.errors import (
    ConfigError,
    MissingDataError,
    MissingExtraError,
    RangeError,
    ShapeError,
    UnknownNameError,
)
from concord.fitting.optimise import depths
from concord.networks.multitask import dry_features
from concord.networks.trunks import library
from concord.networks.trunks.bag import BagOfWords
from concord.networks.trunks.named import build_trunk
from concord.networks.trunks.torchvision import Headless

TASK = cc.MulticlassTask("kind", ["a", "b"])


def works(trunk: Any) -> int:
    """Build a network on the trunk, run a step through it; return the width of the features."""
    net = cc.MultiTaskNetwork(trunk.module, [TASK], trunk.example)
    net(trunk.example)["kind"].sum().backward()
    without = [name for name, p in net.trunk.named_parameters() if p.requires_grad and p.grad is None]
    assert without == [], "every parameter is in the graph, or data-parallel training would stop"
    return net.heads["task_kind"].in_features


def test_builtin_trunks():
    assert works(build_trunk("builtin:mlp", shape=(5,), options={"hidden": [7, 9]})) == 9
    assert works(build_trunk("builtin:mlp", shape=(5,), options={"hidden": []})) == 5
    assert works(build_trunk("builtin:resnet", shape=(1, 8, 8), options={"width": 8})) == 32
    bag = build_trunk("builtin:bag-of-words", options={"width": 6, "buckets": 50})
    assert works(bag) == 6
    assert bag.kind == "texts"


@pytest.mark.parametrize(
    ("name", "options", "error", "words"),
    [
        ("mlp", {}, UnknownNameError, "SOURCE:NAME"),
        ("buildin:mlp", {}, UnknownNameError, "did you mean 'builtin'"),
        ("builtin:rsnet", {}, UnknownNameError, "did you mean 'resnet'"),
        ("builtin:mlp", {"shape": (3, 8, 8)}, ShapeError, r"found \(3, 8, 8\)"),
        ("builtin:resnet", {"shape": (3,)}, ShapeError, "channels, height, width"),
        ("builtin:resnet", {"options": {"widht": 8}}, ConfigError, "did you mean 'width'"),
        ("builtin:mlp", {"shape": (3,), "pretrained": True}, ConfigError, "no pretrained weights"),
        ("builtin:bag-of-words", {"options": {"words": 0}}, RangeError, "words is a whole number >= 1"),
        ("builtin:bag-of-words", {"options": {"words": 1.5}}, RangeError, "number >= 1, found 1.5"),
        ("builtin:bag-of-words", {"options": {"words": True}}, RangeError, "words is a whole number >= 1"),
        ("builtin:bag-of-words", {"options": {"buckets": 1}}, RangeError, "buckets is a whole number >= 2"),
        ("builtin:bag-of-words", {"options": {"width": True}}, RangeError, "width is a whole number >= 1"),
        ("builtin:bag-of-words", {"options": {"pairs": "no"}}, RangeError, "true or false, found 'no'"),
        ("builtin:bag-of-words", {"options": {"dropout": float("nan")}}, RangeError, r"\[0, 1\), found nan"),
        ("builtin:resnet", {"options": {"stem_stride": 0}}, RangeError, "stem_stride is a whole number >= 1"),
        ("builtin:resnet", {"options": {"stages": True}}, RangeError, "stages is a whole number >= 1"),
        ("builtin:resnet", {"options": {"stages": 0}}, RangeError, "stages is a whole number >= 1"),
        ("builtin:resnet", {"options": {"width": 12}}, RangeError, "a multiple of 8, found 12"),
        ("builtin:mlp", {"shape": (3,), "options": {"hidden": [-8]}}, RangeError, r">= 1, found \(-8,\)"),
        ("builtin:mlp", {"shape": (3,), "options": {"hidden": "abc"}}, RangeError, "found 'abc'"),
        ("builtin:mlp", {"shape": (3,), "options": {"hidden": 8}}, RangeError, "lists widths of layers"),
        ("builtin:mlp", {"shape": (3,), "options": {"hidden": [2.5]}}, RangeError, "whole numbers"),
    ],
)
def test_mistakes_in_names_and_options(name: str, options: Any, error: Any, words: str):
    with pytest.raises(error, match=words):
        build_trunk(name, **options)


def test_a_bag_does_not_depend_on_order_padding_or_company():
    bag = BagOfWords(pairs=False, dropout=0.0)
    alone = bag(bag.tokenize(["to be or not"]))
    among = bag(bag.tokenize(["not or be to", "a much longer text than that one is", ""]))
    torch.testing.assert_close(alone[0], among[0])
    assert not torch.allclose(among[0], among[1])
    assert torch.isfinite(among).all()
    assert bag(bag.tokenize([])).shape == (0, 128)
    pairs = BagOfWords(words=2)
    assert pairs.tokenize(["one two three"]).shape == (1, 3)
    assert torch.equal(pairs.tokenize(["one TWO"]), pairs.tokenize(["One two three"]))


# -- transformers ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


def save_model(folder: Path, config: Any, name: str) -> Path:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    path = folder / name
    if not path.exists():
        transformers.AutoModel.from_config(config).save_pretrained(path)
    return path


def bert(folder: Path) -> Path:
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        vocab_size=12, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=8
    )
    path = save_model(folder, config, "bert")
    (path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "b", "c", "d"]))
    transformers.BertTokenizerFast(vocab_file=str(path / "vocab.txt")).save_pretrained(path)
    return path


def vision_configs() -> dict[str, Any]:
    transformers = pytest.importorskip("transformers")
    return {
        "vit": transformers.ViTConfig(
            hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=8, image_size=16,
            patch_size=8,
        ),
        "swin": transformers.SwinConfig(
            image_size=16, patch_size=2, embed_dim=4, depths=[1, 2], num_heads=[1, 2], window_size=2
        ),
        "resnet": transformers.ResNetConfig(embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1]),
    }  # fmt: skip


@pytest.mark.parametrize(("name", "width"), [("vit", 8), ("swin", 8), ("resnet", 8)])
def test_vision_models_of_transformers(name: str, width: int, folder: Path):
    path = save_model(folder, vision_configs()[name], name)
    (path / "preprocessor_config.json").write_text('{"image_mean": [0.5, 0.5, 0.5], "image_std": [1, 1, 1]}')
    trunk = build_trunk(f"hf:{path}", pretrained=True, shape=(3, 16, 16))
    assert works(trunk) == width
    assert dry_features(trunk.module, torch.zeros(0, 3, 16, 16)).shape == (0, width)
    assert trunk.normalization == ([0.5] * 3, [1] * 3)
    twin = build_trunk(f"hf:{path}", pretrained=True, shape=(3, 16, 16))
    x = torch.rand(2, 3, 16, 16)
    assert torch.equal(dry_features(trunk.module, x), dry_features(twin.module, x))
    # Built again from what was noted, without the folder.
    again = build_trunk("hf:/gone", resolved=trunk.resolved, shape=(3, 16, 16))
    again.module.load_state_dict(trunk.module.state_dict())
    assert torch.equal(dry_features(trunk.module, x), dry_features(again.module, x))
    assert again.normalization is None
    with pytest.raises(ShapeError, match="takes 3 channels, found 1"):
        build_trunk(f"hf:{path}", shape=(1, 16, 16))


def test_text_models_of_transformers(folder: Path):
    path = bert(folder)
    trunk = build_trunk(f"hf:{path}", pretrained=True, options={"tokens": 6})
    assert works(trunk) == 8
    assert trunk.kind == "texts"
    assert trunk.tokenize is not None
    tokens = trunk.tokenize(["a b c d a b c d a", "a b"])
    assert tokens["input_ids"].shape == (2, 6)
    both = dry_features(trunk.module, tokens)
    alone = dry_features(trunk.module, trunk.tokenize(["a b"]))
    torch.testing.assert_close(both[1], alone[0])  # padding changes nothing
    depth = depths(cc.MultiTaskNetwork(trunk.module, [TASK], trunk.example))
    first = depth["trunk.model.encoder.layer.0.attention.self.query.weight"]
    assert depth["trunk.model.embeddings.word_embeddings.weight"] < first
    assert depth["trunk.model.encoder.layer.1.attention.self.query.weight"] == first + 1
    none = trunk.tokenize([])  # the part of a process that has no row of a batch
    assert dry_features(trunk.module, none).shape == (0, 8)
    with pytest.raises(RangeError, match="tokens is a whole number >= 1, found True"):
        build_trunk(f"hf:{path}", options={"tokens": True})
    cls = build_trunk(f"hf:{path}", pretrained=True, options={"pool": "first"})
    assert not torch.allclose(dry_features(cls.module, tokens), both)
    with pytest.raises(UnknownNameError, match="pool"):
        build_trunk(f"hf:{path}", options={"pool": "max"})
    with pytest.raises(ConfigError, match="did you mean 'hidden_size'"):
        build_trunk(f"hf:{path}", options={"hidden_sise": 3})
    assert (
        build_trunk(f"hf:{path}", options={"num_hidden_layers": 1}).resolved["config"]["model_type"] == "bert"
    )


def test_a_word_when_offline(folder: Path):
    pytest.importorskip("transformers")
    with pytest.raises(MissingDataError, match="nothing is fetched unasked") as caught:
        build_trunk("hf:nobody/nothing-here", pretrained=True)
    assert "\n" not in str(caught.value)


def test_pickled_weights_are_not_loaded(folder: Path):
    path = save_model(folder, vision_configs()["resnet"], "pickled")
    weights = path / "model.safetensors"
    if weights.exists():
        weights.rename(path / "pytorch_model.bin")
    with pytest.raises(MissingDataError):
        build_trunk(f"hf:{path}", pretrained=True)


@pytest.mark.parametrize(
    ("name", "extra"), [("timm", "timm"), ("torchvision", "timm"), ("transformers", "transformers")]
)
def test_a_missing_extra_says_what_to_install(name: str, extra: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, name, None)
    source = "hf" if name == "transformers" else name
    words = rf"needs {name}, which is not installed: pip install concord-mtl\[{extra}\]"
    with pytest.raises(MissingExtraError, match=words):
        build_trunk(f"{source}:resnet18")


@pytest.mark.parametrize("error", [RuntimeError, ImportError, ModuleNotFoundError])
def test_a_library_that_does_not_fit_is_not_called_missing(error: Any, monkeypatch: pytest.MonkeyPatch):
    def imported(name: str) -> None:
        raise error("operator torchvision::nms does not exist\nmore")

    monkeypatch.setattr(library, "import_module", imported)
    words = r"timm.* is installed, but does not import beside .*nms does not exist\).* torch and torchvision"
    with pytest.raises(MissingExtraError, match=words):
        build_trunk("timm:resnet18")


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"name": "package:efficientnet-lite9"}, UnknownNameError, "did you mean 'efficientnet-lite0'"),
        ({"options": {"width": 2}}, ConfigError, "has no options, found width"),
        ({"shape": (1, 8, 8)}, ConfigError, "takes 3 channels, found 1"),
        ({}, MissingExtraError, "efficientnet_lite_pytorch, which is not installed: pip install"),
    ],
)
def test_mistakes_in_networks_of_packages(
    options: Any, error: Any, words: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    with pytest.raises(error, match=words):
        build_trunk(**{"name": "package:efficientnet-lite0", **options})


# -- timm and torchvision: the calls, on a stand-in; the models themselves: test_real_trunks.py ----------


class Classifier(nn.Module):
    def __init__(self, channels: int = 3, outputs: int = 0) -> None:
        super().__init__()
        self.body = nn.Conv2d(channels, 6, 3)
        self.classifier = (
            nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 10)) if outputs else nn.Identity()
        )
        self.pretrained_cfg = {
            "input_size": (3, 8, 8),
            "mean": (0.5,) * 3,
            "std": (0.2,) * 3,
            "architecture": "tiny",
        }

    def forward(self, x: torch.Tensor) -> Any:
        return self.classifier(self.body(x).mean(dim=(-2, -1)))


@pytest.fixture
def fake_timm(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    calls: list[Any] = []

    def create_model(name: str, pretrained: bool = False, **options: Any) -> nn.Module:
        calls.append((name, pretrained, options))
        if "wrong" in options:
            raise TypeError("unexpected keyword argument 'wrong'")
        if name.endswith("broken"):
            raise RuntimeError("no weights\nmore")
        return Classifier(options.get("in_chans", 3))

    module: Any = ModuleType("timm")
    module.create_model = create_model
    module.is_model = lambda name: name in ("tiny", "broken")
    module.list_models = lambda: ["tiny", "broken"]
    module.models = SimpleNamespace(get_pretrained_cfg=lambda name: SimpleNamespace(hf_hub_id="timm/tiny"))
    monkeypatch.setitem(sys.modules, "timm", module)
    return calls


def test_timm_is_called_for_features(fake_timm: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    trunk = build_trunk("timm:tiny", shape=(1, 8, 8), options={"drop_rate": 0.1})
    assert works(trunk) == 6
    assert fake_timm == [("tiny", False, {"drop_rate": 0.1, "num_classes": 0, "in_chans": 1})]
    assert trunk.normalization == ((0.5,) * 3, (0.2,) * 3)
    with pytest.raises(UnknownNameError, match="did you mean 'tiny'"):
        build_trunk("timm:tinny")
    with pytest.raises(ConfigError, match="'wrong'"):
        build_trunk("timm:tiny", options={"wrong": 1})
    with pytest.raises(ConfigError, match="grad_checkpointing is true or false, found 'no'"):
        build_trunk("timm:tiny", options={"grad_checkpointing": "no"})
    with pytest.raises(MissingDataError, match="no weights"):
        build_trunk("timm:broken")
    build_trunk(f"timm:{tmp_path}", pretrained=True)
    assert fake_timm[-1][0] == f"local-dir:{tmp_path}"
    build_trunk("timm:/gone", resolved=trunk.resolved)
    assert fake_timm[-1][0] == "tiny"
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: None)
    with pytest.raises(MissingDataError, match="nothing is fetched unasked"):
        build_trunk("timm:tiny", pretrained=True)
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: "/cache/file")
    build_trunk("timm:tiny", pretrained=True)
    assert fake_timm[-1][2]["pretrained_cfg_overlay"] == {"file": "/cache/file"}
    build_trunk("timm:tiny", pretrained=True, download=True)
    assert "pretrained_cfg_overlay" not in fake_timm[-1][2]


def test_timm_makes_the_model_of_a_folder_again_without_the_folder(
    fake_timm: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """What the folder's arguments say is in no weights: another pooling gives other features."""
    given = {"global_pool": "max", "num_classes": 4, "drop_rate": 0.5, "checkpoint_path": "evil.pth"}
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "tiny", "model_args": given}))
    own = {"architecture": "tiny", "fixed_input_size": True, "input_size": (3, 16, 16)}
    monkeypatch.setattr(
        sys.modules["timm"], "create_model", wrapped(sys.modules["timm"].create_model, pretrained_cfg=own)
    )
    options = {"drop_rate": 0.1}
    trunk = build_trunk(f"timm:{tmp_path}", pretrained=True, options=options)
    expected = {"architecture": "tiny", "model_args": {"global_pool": "max", "img_size": [16, 16]}}
    assert json.loads(json.dumps(trunk.resolved)) == expected
    noted = {"architecture": "tiny", "model_args": expected["model_args"] | {"checkpoint_path": "evil.pth"}}
    again = build_trunk("timm:/gone", options=options, resolved=noted)
    assert fake_timm[-1] == (
        "tiny", False, {"global_pool": "max", "img_size": [16, 16], "drop_rate": 0.1, "num_classes": 0},
    )  # fmt: skip
    assert again.resolved == expected


def wrapped(make: Any, **attributes: Any) -> Any:
    """What makes a module, and sets attributes of it."""

    def made(*args: Any, **options: Any) -> nn.Module:
        module: nn.Module = make(*args, **options)
        for name, value in attributes.items():
            setattr(module, name, value)
        return module

    return made


@pytest.mark.parametrize(("name", "value"), [("transform_input", True), ("image_size", 518)])
def test_torchvision_makes_a_model_again_with_what_its_weights_brought(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, value: Any
):
    """Weights of GoogLeNet and Inception bring a scale of inputs, those of ViT a size; no tensor says it."""
    calls: list[Any] = []

    def get_model(of: str, weights: Any = None, **options: Any) -> nn.Module:
        calls.append(options)
        default = type(value)() if weights is None else value
        return wrapped(Classifier, **{name: options.get(name, default)})(outputs=10)

    weights = SimpleNamespace(DEFAULT=SimpleNamespace(url="https://x.invalid/tiny-1234.pth"))
    fake: Any = ModuleType("torchvision")
    fake.models = SimpleNamespace(
        list_models=lambda: ["tiny"], get_model=get_model, get_model_weights=lambda name: weights
    )
    monkeypatch.setitem(sys.modules, "torchvision", fake)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    assert build_trunk("torchvision:tiny", shape=(3, 8, 8)).resolved == {}
    trunk = build_trunk("torchvision:tiny", shape=(3, 8, 8), pretrained=True, download=True)
    assert trunk.resolved == {name: value}
    again = build_trunk("torchvision:tiny", shape=(3, 8, 8), resolved=trunk.resolved | {"weights": "evil"})
    assert (calls[-1], again.resolved) == ({name: value}, {name: value})


def test_torchvision_loses_its_last_layer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    def get_model(name: str, weights: Any = None, **options: Any) -> nn.Module:
        if "wrong" in options:
            raise TypeError("wrong")
        if name == "far":
            raise OSError("no network")
        return Classifier(outputs=10)

    weights = SimpleNamespace(DEFAULT=SimpleNamespace(url="https://x.invalid/tiny-1234.pth"))
    fake: Any = ModuleType("torchvision")
    fake.models = SimpleNamespace(
        list_models=lambda: ["tiny", "far"], get_model=get_model, get_model_weights=lambda name: weights
    )
    monkeypatch.setitem(sys.modules, "torchvision", fake)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    assert works(build_trunk("torchvision:tiny", shape=(3, 8, 8))) == 5
    with pytest.raises(UnknownNameError, match="did you mean 'tiny'"):
        build_trunk("torchvision:tinny")
    with pytest.raises(ConfigError, match="wrong"):
        build_trunk("torchvision:tiny", options={"wrong": 1})
    with pytest.raises(MissingDataError, match="nothing is fetched unasked"):
        build_trunk("torchvision:tiny", pretrained=True)
    with pytest.raises(MissingDataError, match="no network; copy them"):
        build_trunk("torchvision:far", pretrained=True, download=True)
    with pytest.raises(UnknownNameError, match="no linear layer"):
        Headless(nn.Conv2d(1, 1, 1))
