"""Every coupling by name: losses, and recipes of losses with settings. One registry for all of Concord.

A name means the same in `CoupledClassifier`, in a config of `concord train`, in a study and on a page.
Nothing here imports torch: a config is checked by these names before anything heavy is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from inspect import signature
from numbers import Real
from typing import TYPE_CHECKING, Any

from concord.errors import ConfigError, RangeError, UnknownNameError

if TYPE_CHECKING:
    from concord.couplings.base import Coupling

LOSSES: dict[str, str] = {
    "posterior-coannotation": "concord.couplings.posterior:PosteriorCoannotation",
    "class-to-labels": "concord.couplings.class_to_labels:ClassToLabels",
    "distribution-matching": "concord.couplings.matching:DistributionMatching",
    "population-matching": "concord.couplings.population:PopulationMatching",
    "marginal-likelihood": "concord.couplings.marginal:MarginalLikelihood",
    "soft-coannotation": "concord.couplings.soft_coannotation:SoftCoannotation",
    "hard-coannotation": "concord.couplings.hard_coannotation:HardCoannotation",
}
"""Losses by name, which is the class's in kebab-case, with the module and class of each."""


@dataclass(frozen=True)
class Ingredient:
    """A loss of a recipe, with its settings.

    Attributes:
        loss: Its name in `LOSSES`.
        weight: Its factor, >= 0.
        options: What else its class is made with; defaults where not named.
    """

    loss: str
    weight: float = 1.0
    options: Mapping[str, Any] = field(default_factory=dict)


RECIPES: dict[str, tuple[Ingredient, ...]] = {
    "posterior": (Ingredient("posterior-coannotation"), Ingredient("class-to-labels")),
    "population": (Ingredient("population-matching"),),
    "marginal": (Ingredient("marginal-likelihood", 1 / 3, {"exponent": 0.5}),),
    "matching": (Ingredient("distribution-matching"),),
    "coannotation": (Ingredient("soft-coannotation", options={"temperature": 0.2}),),
    "paper-matching": (Ingredient("distribution-matching", options={"form": "paper"}),),
    "paper-coannotation": (Ingredient("soft-coannotation", options={"form": "paper"}),),
    "paper": (
        Ingredient("distribution-matching", options={"form": "paper"}),
        Ingredient("soft-coannotation", options={"form": "paper"}),
    ),
}
"""Recipes by name: what people ask for, as losses with their settings."""


def coupling_names() -> tuple[str, ...]:
    """Names of all couplings: recipes, then losses, which stand for themselves with default settings."""
    return (*RECIPES, *LOSSES)


def ingredients(name: str) -> tuple[Ingredient, ...]:
    """The losses that a name stands for, with their settings.

    Raises:
        UnknownNameError: Neither a recipe nor a loss.
    """
    if name in RECIPES:
        return RECIPES[name]
    if name in LOSSES:
        return (Ingredient(name),)
    raise UnknownNameError.of("coupling", name, coupling_names())


def make_couplings(
    name: str, weight: float = 1.0, options: Mapping[str, Any] | None = None
) -> list[Coupling]:
    """New couplings: a loss, or all losses of a recipe.

    Args:
        name: A name of `coupling_names()`.
        weight: Factor of every loss that it stands for, on top of a recipe's own, >= 0.
        options: What the loss is made with; a recipe has settings of its own and takes none.

    Raises:
        UnknownNameError: No such coupling, or an option that the loss does not have.
        ConfigError: Options of a recipe, or a loss that lacks an option.
        RangeError: A negative weight, or an option outside its range.

    Example:
        >>> import concord as cc
        >>> [coupling.name for coupling in cc.couplings.make_couplings("posterior")]
        ['posterior-coannotation', 'class-to-labels']
    """
    check_options(name, options or {})
    given: Any = weight
    if not isinstance(given, Real):
        raise RangeError(f"coupling {name}: a weight is a number, found {given!r}")
    return [
        _made(each.loss, weight * each.weight, {**each.options, **(options or {})})
        for each in ingredients(name)
    ]


def check_options(name: str, options: Mapping[str, Any]) -> None:
    """Refuse options of a recipe, without importing a loss.

    Raises:
        ConfigError: Options of a recipe.
    """
    if options and name in RECIPES:
        losses = " and ".join(each.loss for each in RECIPES[name])
        raise ConfigError(
            f"{name} is a recipe and takes no options, found {', '.join(options)}; name its losses "
            f"instead: {losses}"
        )


def _made(loss: str, weight: float, options: Mapping[str, Any]) -> Coupling:
    module, _, name = LOSSES[loss].partition(":")
    kind = getattr(import_module(module), name)
    parameters = signature(kind).parameters
    known = [option for option in parameters if option != "weight"]
    for option, value in options.items():
        if option not in known:
            raise UnknownNameError.of(f"option of {loss}", option, known or ["(none)"])
        counts = isinstance(value, Real) and not isinstance(value, bool)
        if isinstance(parameters[option].default, float) and not counts:
            raise RangeError(f"{loss}: {option} is a number, found {value!r}")
    try:
        made: Coupling = kind(weight=weight, **options)
    except TypeError as error:
        raise ConfigError(f"{loss}: {error}") from error
    return made
