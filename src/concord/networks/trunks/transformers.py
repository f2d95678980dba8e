"""`hf:NAME_OR_FOLDER`: models of transformers, for images and texts, without their heads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from concord.arrays import whole_number
from concord.errors import (
    CheckpointError,
    ConfigError,
    MissingDataError,
    ShapeError,
    UnknownNameError,
)
from concord.networks.trunks.library import imported
from concord.networks.trunks.named import NamedTrunk, TrunkRequest, image_example

REMOTE_CODE = ("auto_map", "custom_pipelines", "custom_generate", "trust_remote_code", "use_kernels")
"""Keys by which a config of transformers asks for code from a folder or the hub."""

_TOKENS = ("input_ids", "attention_mask")
Pool = Literal["mean", "first"]
"""How the features of a sequence become one row: their mean, or the first one ([CLS])."""


class VisionTrunk(nn.Module):
    """Images to features: the mean over positions, or the first token.

    Args:
        model: A vision model of transformers.
        pool: See `Pool`; convolutional models always take the mean.
    """

    def __init__(self, model: nn.Module, pool: Pool = "mean") -> None:
        super().__init__()
        self.model, self.pool = model, pool

    def forward(self, x: Tensor) -> Tensor:
        """Features (n, width) of images (n, channels, height, width)."""
        # Attention cannot be computed of no row; networks with running statistics can, and must see no other.
        if x.shape[0] == 0 and not any(name.endswith("running_mean") for name, _ in self.named_buffers()):
            return self(x.new_zeros(1, *x.shape[1:]))[:0]
        last: Tensor = self.model(pixel_values=x).last_hidden_state
        if last.dim() == 4:
            return last.mean(dim=(-2, -1))
        return last[:, 0] if self.pool == "first" else last.mean(dim=1)


class TextTrunk(nn.Module):
    """Tokens to features: the mean over a text's own tokens, or the first one.

    Args:
        model: A text model of transformers.
        pool: See `Pool`.
    """

    def __init__(self, model: nn.Module, pool: Pool = "mean") -> None:
        super().__init__()
        self.model, self.pool = model, pool

    def forward(self, x: Mapping[str, Tensor]) -> Tensor:
        """Features (n, width) of `input_ids` and `attention_mask`, each (n, tokens)."""
        if x["input_ids"].shape[0] == 0:
            return self({name: values.new_ones(1, 1) for name, values in x.items()})[:0]
        last: Tensor = self.model(**x).last_hidden_state
        if self.pool == "first":
            return last[:, 0]
        mask = x["attention_mask"].unsqueeze(-1).to(last.dtype)
        return (last * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)


class Tokenizer:
    """Texts to tokens, padded to the longest text of a batch.

    Args:
        tokenizer: A tokenizer of transformers.
        tokens: Most tokens of a text; later ones are cut off.
    """

    def __init__(self, tokenizer: Any, tokens: int) -> None:
        self.tokenizer, self.tokens = tokenizer, tokens

    def __call__(self, texts: list[str]) -> dict[str, Tensor]:
        """`input_ids` and `attention_mask`, each (n, tokens) int64."""
        if not texts:  # which tokenizers do not take: the part of a process that has no row of a batch
            return {name: torch.zeros(0, 1, dtype=torch.int64) for name in _TOKENS}
        made = self.tokenizer(
            list(texts), padding=True, truncation=True, max_length=self.tokens, return_tensors="pt"
        )
        return {name: made[name] for name in _TOKENS}

    def save(self, folder: Path) -> None:
        """Write the tokenizer's files, without a pointer to code of its source."""
        self.tokenizer.init_kwargs.pop("auto_map", None)
        self.tokenizer.save_pretrained(folder)


def build(request: TrunkRequest) -> NamedTrunk:
    """Build a transformers model; see `concord.trunks.build_trunk`.

    Options: `pool` (`mean`, `first`), `tokens` (most tokens of a text), and any of the architecture's
    configuration.
    """
    transformers = imported("transformers", f"hf:{request.name}", "concord-mtl[transformers]")
    options = dict(request.options)
    pool = options.pop("pool", "mean")
    tokens = whole_number(f"trunk hf:{request.name}: tokens", options.pop("tokens", 128))
    if pool not in get_args(Pool):
        raise UnknownNameError.of("pool", pool, get_args(Pool))
    config = _config(transformers, request, options)
    model = _model(transformers, request, config)
    if _has_pooler(model):
        model.pooler = None  # its weights would be trained by nobody
    resolved = {"config": {key: value for key, value in config.to_dict().items() if key != "auto_map"}}
    if hasattr(config, "vocab_size"):
        tokenizer = _tokenizer(transformers, request)
        example = {name: torch.ones(1, 2, dtype=torch.int64) for name in _TOKENS}
        return NamedTrunk(
            TextTrunk(model, pool), "texts", example, Tokenizer(tokenizer, tokens), resolved=resolved
        )
    size = config.image_size if isinstance(getattr(config, "image_size", None), int) else 224
    if request.shape is not None and len(request.shape) == 3 and request.shape[0] != config.num_channels:
        raise ShapeError(
            f"trunk hf:{request.name} takes {config.num_channels} channels, found {request.shape[0]}"
        )
    return NamedTrunk(
        VisionTrunk(model, pool),
        "images",
        image_example(request, size),
        normalization=_normalization(request),
        resolved=resolved,
    )


def _has_pooler(model: nn.Module) -> bool:
    pooler = getattr(model, "pooler", None)
    return pooler is not None and any(True for _ in pooler.parameters())


def _config(transformers: Any, request: TrunkRequest, options: dict[str, Any]) -> Any:
    if "config" in request.resolved:
        known = dict(request.resolved["config"])
        _refuse_code(known, f"the saved config of trunk hf:{request.name}")
        return transformers.AutoConfig.for_model(known.pop("model_type"), **known)
    config = _load(request, transformers.AutoConfig.from_pretrained)
    _refuse_kernels(config.to_dict() | options, f"trunk hf:{request.name}")
    for option, value in options.items():
        if not hasattr(config, option):
            unknown = UnknownNameError.of("option", option, config.to_dict())
            raise ConfigError(f"trunk hf:{request.name}: {unknown}")
        setattr(config, option, value)
    return config


def _model(transformers: Any, request: TrunkRequest, config: Any) -> Any:
    if not request.pretrained:
        return transformers.AutoModel.from_config(config, trust_remote_code=False)
    # Safetensors only: a file of another kind would be unpickled.
    return _load(request, transformers.AutoModel.from_pretrained, config=config, use_safetensors=True)


def _tokenizer(transformers: Any, request: TrunkRequest) -> Any:
    if "tokenizer" in request.resolved:
        folder = Path(request.resolved["tokenizer"])
        _check_tokenizer(folder)
        return transformers.AutoTokenizer.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=False
        )
    return _load(request, transformers.AutoTokenizer.from_pretrained)


def _check_tokenizer(folder: Path) -> None:
    """Refuse a saved tokenizer that brings code, or names some, before transformers reads it."""
    for path in sorted(folder.rglob("*")):
        if path.suffix in (".py", ".pyc", ".so"):
            raise CheckpointError(f"{path} is code: a tokenizer's folder holds data, and none of it is run")
        if path.name.endswith("config.json"):
            try:
                _refuse_code(json.loads(path.read_bytes()), str(path))
            except (OSError, ValueError, RecursionError) as error:
                if isinstance(error, CheckpointError):
                    raise
                raise CheckpointError(f"{path} cannot be read: {error}") from error


def _refuse_code(values: Any, where: str) -> None:
    """Refuse a config that names code to be run or fetched."""
    if isinstance(values, dict):
        for key in REMOTE_CODE:
            if values.get(key):
                raise CheckpointError(f"{where} names code of its own ({key}), which is never run")
        _refuse_kernels(values, where)
    for below in values.values() if isinstance(values, dict) else values if isinstance(values, list) else ():
        _refuse_code(below, where)


def _refuse_kernels(values: Mapping[str, Any], where: str) -> None:
    """Refuse an attention that transformers would fetch, as compiled code, from the hub."""
    for key in ("attn_implementation", "_attn_implementation", "_attn_implementation_internal"):
        named = values.get(key)
        for name in named.values() if isinstance(named, dict) else [named]:
            if isinstance(name, str) and "/" in name:
                raise CheckpointError(
                    f"{where} asks for a kernel of the hub ({key}: {name}), which is never run"
                )


def _load(request: TrunkRequest, load: Any, **options: Any) -> Any:
    try:
        return load(request.name, local_files_only=not request.download, trust_remote_code=False, **options)
    except (OSError, ValueError) as error:
        where = (
            "it is neither a folder nor in the local cache, and could not be fetched"
            if request.download
            else "it is neither a complete folder nor in the local cache, and nothing is fetched unasked "
            "(set download to true)"
        )
        raise MissingDataError(
            f"trunk hf:{request.name} cannot be loaded: {where}: {str(error).strip().splitlines()[0]}"
        ) from error


def _normalization(request: TrunkRequest) -> tuple[list[float], list[float]] | None:
    file = Path(request.name) / "preprocessor_config.json"
    if request.resolved or not file.is_file():  # a saved model says it itself
        return None
    known = json.loads(file.read_text())
    mean, deviation = known.get("image_mean"), known.get("image_std")
    return (mean, deviation) if mean and deviation else None
