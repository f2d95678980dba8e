"""`timm:NAME`, or `timm:FOLDER` of a model that timm saved.

The option `grad_checkpointing: true` is timm's own switch: activations are computed again in the backward
pass, which saves memory and takes a second forward pass. All other options are the architecture's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from concord.errors import ConfigError, MissingDataError, UnknownNameError
from concord.networks.trunks.library import first_line, imported
from concord.networks.trunks.named import NamedTrunk, TrunkRequest, image_example

LOADING = ("checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay")
"""Arguments of timm that load files."""

LOCAL = "local-dir:"
"""What timm wants before a folder."""


def build(request: TrunkRequest) -> NamedTrunk:
    """Build a timm model without its classifier; see `concord.trunks.build_trunk`."""
    timm = imported("timm", f"timm:{request.name}", "concord-mtl[timm]")
    name, options = _chosen(timm, request)
    checkpointing = options.pop("grad_checkpointing", False)
    if not isinstance(checkpointing, bool):
        raise ConfigError(f"trunk timm:{name}: grad_checkpointing is true or false, found {checkpointing!r}")
    try:
        module = timm.create_model(name, pretrained=request.pretrained, **options)
        if checkpointing:
            module.set_grad_checkpointing(True)
    except (
        TypeError,
        AssertionError,
    ) as error:  # an option or switch that it does not have
        raise ConfigError(f"trunk timm:{name}: {first_line(error)}") from error
    except (OSError, RuntimeError) as error:
        raise MissingDataError(f"trunk timm:{name} cannot be loaded: {first_line(error)}") from error
    known = module.pretrained_cfg
    resolved: dict[str, Any] = {"architecture": known.get("architecture") or name}
    noted = _noted(request)
    if name.startswith(LOCAL):
        noted = _arguments(Path(request.name), known, options)
    if noted:
        resolved["model_args"] = noted
    size = known.get("input_size", (3, 224, 224))[-1]
    mean, deviation = known.get("mean"), known.get("std")
    return NamedTrunk(
        module,
        "images",
        image_example(request, size),
        normalization=(mean, deviation) if mean and deviation else None,
        resolved=resolved,
    )


def _arguments(folder: Path, known: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """What timm made the model of a folder with besides our options: without the folder, nothing says it."""
    found: dict[str, Any] = {}
    if known.get("global_pool") is not None:
        found["global_pool"] = known["global_pool"]
    if known.get("fixed_input_size") and known.get("input_size"):
        found["img_size"] = list(known["input_size"][-2:])
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        found |= config.get("model_args") or {}
    except (OSError, ValueError, AttributeError, TypeError):  # timm read it, and took no arguments from it
        pass
    return {key: value for key, value in found.items() if key not in options and key not in LOADING}


def _noted(request: TrunkRequest) -> dict[str, Any]:
    """What `_arguments` gave when the model was built first; whatever else it says, no file is loaded."""
    noted = dict(request.resolved.get("model_args", {}))
    return {key: value for key, value in noted.items() if key not in LOADING}


def _chosen(timm: Any, request: TrunkRequest) -> tuple[str, dict[str, Any]]:
    """Name of the model as timm takes it, and the options to make it with."""
    for option in LOADING:
        if option in request.options:
            raise ConfigError(
                f"trunk timm:{request.name}: {option} loads files; give a folder and pretrained"
            )
    options: dict[str, Any] = {**request.options, "num_classes": 0}
    if request.shape is not None and len(request.shape) == 3:
        options["in_chans"] = request.shape[0]
    folder = Path(request.name)
    if "architecture" in request.resolved:
        architecture = str(request.resolved["architecture"])
        _check_known(timm, architecture)
        return architecture, _noted(request) | options
    if folder.is_dir():
        return f"{LOCAL}{folder}", options
    _check_known(timm, request.name)
    if request.pretrained and not request.download:
        options["pretrained_cfg_overlay"] = {"file": _cached(timm, request.name)}
    return request.name, options


def _check_known(timm: Any, name: str) -> None:
    if not timm.is_model(name.partition(".")[0]):
        raise UnknownNameError.of("timm model", name, timm.list_models())


def _cached(timm: Any, name: str) -> str:
    from huggingface_hub import try_to_load_from_cache

    config = timm.models.get_pretrained_cfg(name)
    repository = getattr(config, "hf_hub_id", None)
    if repository:
        for file in ("model.safetensors", "pytorch_model.bin"):
            found = try_to_load_from_cache(repository, file)
            if isinstance(found, str):
                return found
    raise MissingDataError(
        f"the weights of timm:{name} are not in the local cache, and nothing is fetched unasked: set "
        "download to true, or give a folder"
    )
