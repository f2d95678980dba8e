"""The axes that displays draw in, and the model that they are asked of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from concord.errors import UnknownNameError

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def axes_of(ax: Any) -> Axes:
    """The axes given, or those of a new figure of `matplotlib.pyplot`."""
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.subplots(layout="constrained")[1]


def one_named(kind: str, name: str | None, held: Sequence[Any]) -> Any:
    """The one of that name; the only one where no name is given.

    Raises:
        UnknownNameError: Another name, or none where there are several.
    """
    if name is None and len(held) == 1:
        return held[0]
    for each in held:
        if each.name == name:
            return each
    names = [each.name for each in held]
    if not names:
        raise UnknownNameError(f"the model has no {kind} to display")
    if name is None:
        raise UnknownNameError(f"the model has several {kind}s; name the one to display: {', '.join(names)}")
    raise UnknownNameError.of(f"{kind} to display", name, names)
