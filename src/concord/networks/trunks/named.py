"""Trunks by name: `builtin:resnet`, `timm:resnet50`, `hf:FOLDER`, `torchvision:vgg16`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Literal

import torch
from torch import nn

from concord.errors import ConcordError, ConfigError, ShapeError, UnknownNameError

Kind = Literal["features", "images", "texts"]
"""What a trunk takes: rows of numbers, images (n, 3, size, size), or texts."""

_ADAPTERS = {
    "builtin": "builtin",
    "timm": "timm",
    "torchvision": "torchvision",
    "hf": "transformers",
    "package": "package",
}

TRUNK_SOURCES = tuple(_ADAPTERS)
"""What may stand before the colon of a trunk's name."""


@dataclass(frozen=True)
class TrunkRequest:
    """What is asked for.

    Attributes:
        name: After the colon: an architecture, or a folder.
        shape: Of one input without the row: (width,), or (channels, size, size); None for texts.
        pretrained: Whether weights that were trained before are loaded.
        download: Whether they may be fetched, by the library that the trunk comes from, where neither its
            cache nor a folder has them.
        options: Of the architecture.
        resolved: What an earlier build noted, to be built again without its files.
    """

    name: str
    shape: tuple[int, ...] | None = None
    pretrained: bool = False
    download: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    resolved: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class NamedTrunk:
    """A trunk that was built by name.

    Attributes:
        module: Input to features (n, width).
        kind: What it takes.
        example: One input, for the dry forward.
        tokenize: Turns texts into what the module takes; None for other inputs.
        normalization: Mean and standard deviation by channel that its weights were trained with, if known.
        resolved: What rebuilds it without weights or files from elsewhere, as JSON holds it.
    """

    module: nn.Module
    kind: Kind
    example: Any
    tokenize: Callable[[list[str]], Any] | None = None
    normalization: tuple[Sequence[float], Sequence[float]] | None = None
    resolved: dict[str, Any] = field(default_factory=dict)


def build_trunk(
    name: str,
    *,
    shape: Sequence[int] | None = None,
    pretrained: bool = False,
    download: bool = False,
    options: Mapping[str, Any] | None = None,
    resolved: Mapping[str, Any] | None = None,
) -> NamedTrunk:
    """Build a trunk by name.

    Args:
        name: `SOURCE:NAME`; sources are `builtin` (mlp, resnet, bag-of-words), `timm`, `torchvision`,
            `hf` (a name of the hub or a folder, for images and texts) and `package` (efficientnet-lite0, with
            weights that a package brings).
        shape: Of one input without the row; see `TrunkRequest`.
        pretrained: Whether weights that were trained before are loaded: from a folder, or the cache of the
            library that the trunk comes from.
        download: Whether that library may fetch what is in neither.
        options: Of the architecture.
        resolved: What an earlier build noted (`NamedTrunk.resolved`).

    Raises:
        UnknownNameError: No such source or architecture.
        ConfigError: An option that the architecture does not have.
        MissingExtraError: The library is not installed, or does not import beside this torch; the message
            says which, and what to install.
        MissingDataError: Pretrained weights that are neither in a folder nor in a cache.
        ShapeError: An input of another shape than the architecture takes.
    """
    source, colon, rest = name.partition(":")
    if not colon:
        raise UnknownNameError(f"a trunk is named SOURCE:NAME, such as builtin:mlp, found {name!r}")
    if source not in _ADAPTERS:
        raise UnknownNameError.of("source of a trunk", source, _ADAPTERS)
    adapter = import_module(f"concord.networks.trunks.{_ADAPTERS[source]}")
    request = TrunkRequest(
        rest,
        None if shape is None else tuple(shape),
        pretrained=pretrained,
        download=download,
        options=dict(options or {}),
        resolved=dict(resolved or {}),
    )
    built: NamedTrunk = adapter.build(request)
    return built


def call_with_options(name: str, make: Callable[..., Any], options: Mapping[str, Any], *given: Any) -> Any:
    """Call `make` with options; one that it does not have is a `ConfigError` that offers the nearest.

    A value that `make` cannot use is one, too.
    """
    from inspect import Parameter, signature

    parameters = list(signature(make).parameters.values())[len(given) :]
    if not any(parameter.kind is Parameter.VAR_KEYWORD for parameter in parameters):
        known = [parameter.name for parameter in parameters]
        for option in options:
            if option not in known:
                raise ConfigError(f"trunk {name}: {UnknownNameError.of('option', option, known)}")
    try:
        return make(*given, **options)
    except ConcordError:
        raise
    except (TypeError, ValueError, LookupError, ArithmeticError, RuntimeError, MemoryError) as error:
        shown = f"{options!r:.200}"
        raise ConfigError(f"trunk {name}: cannot be built with options {shown} ({error!s:.200})") from error


def image_example(request: TrunkRequest, size: int) -> torch.Tensor:
    """One black image of the request's shape, or of `size` pixels.

    Raises:
        ShapeError: A shape that is no image's.
    """
    shape = (3, size, size) if request.shape is None else request.shape
    if len(shape) != 3:
        raise ShapeError(f"trunk {request.name!r} takes images (channels, height, width), found {shape}")
    return torch.zeros(1, *shape)
