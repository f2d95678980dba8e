"""Which rows of manifests belong together."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import polars as pl

from concord.data.manifest import Manifest


def group_codes(manifests: Manifest | Iterable[Manifest]) -> npt.NDArray[np.int64] | None:
    """The group of each row of some manifests, one after the other, as a number.

    A name is the same group in all of them, since two sources often annotate the same videos or people. A row
    without a group stands alone.

    Args:
        manifests: One or several.

    Returns:
        (n,), equal for rows of one group; None where no row has one.
    """
    given = [manifests] if isinstance(manifests, Manifest) else list(manifests)
    names = pl.concat([manifest.frame["group"].cast(pl.String) for manifest in given])
    if names.null_count() == len(names):
        return None
    missing = names.is_null().to_numpy()
    codes = np.arange(len(names))
    codes[~missing] = len(names) + np.unique(names.drop_nulls().to_numpy(), return_inverse=True)[1]
    return codes
