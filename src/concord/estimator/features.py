"""X as the network takes it: features standardised, inputs of a trunk of the user's as they are."""

from __future__ import annotations

from datetime import date, time, timedelta
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.utils.validation import validate_data

from concord.arrays import Array, moments
from concord.errors import EmptyDataError, NotFiniteError, ShapeError
from concord.estimator.base import held_features
from concord.fitting import HeldFeatures


def inputs_of(model: Any, X: Any, y: Any = None, *, reset: bool) -> Array | HeldFeatures:
    """Inputs (n, ...) in float32 of what an estimator is given; of one with a base as they are.

    Args:
        model: The estimator; with `reset` it keeps number, names, mean and spread of the features.
        X: Features, or whatever its trunk takes.
        y: A one-dimensional y, to be checked along.
        reset: Whether the estimator is being fitted.

    Raises:
        NotFiniteError: NaN or infinite inputs of a trunk, or features too large to be standardised.
        ShapeError: Inputs of a trunk of another shape than before; dates, times or durations.
        EmptyDataError: No input of a trunk.
        ValueError: Features that are no (n, d) array of finite numbers.
    """
    if model.base is not None:
        if y is not None:
            validate_data(model, y=y, reset=reset)
        held = held_features(X)
        validate_data(model, held.values, skip_check_array=True, reset=reset)  # number and names alone
        if reset:
            model._mean, model._std = np.zeros(()), np.ones(())
        return held
    _refuse_times(X)
    if model.trunk is not None:
        return _trunk_inputs(model, X, reset=reset)
    if y is None:
        array = validate_data(model, X, accept_sparse="csr", dtype=np.float64, reset=reset)
    else:
        array, _ = validate_data(model, X, y, accept_sparse="csr", dtype=np.float64, reset=reset)
    array = array.toarray() if sparse.issparse(array) else array
    if reset:
        model._mean, deviation = moments(array)
        if not (np.isfinite(model._mean) & np.isfinite(deviation)).all():
            raise NotFiniteError("features are too large: their mean or spread is no finite number")
        model._std = np.where(deviation > 0, deviation, 1.0)
    with np.errstate(over="ignore"):
        standardised = np.asarray((array - model._mean) / model._std, dtype=np.float32)
    if not np.isfinite(standardised).all():
        raise NotFiniteError(
            "features are too large beside those of the training: no finite numbers in float32"
        )
    return standardised


TIMES = ("M", "m")
"""Kinds of NumPy's dates and durations."""


def _refuse_times(X: Any) -> None:
    """Raise where features are dates, times or durations.

    NumPy would read them as counts of a unit that the same dates have another one of in another table.
    """
    told = "make numbers of it, such as days since a day that you choose"
    if hasattr(X, "columns") and hasattr(X, "dtypes"):
        for place, (name, dtype) in enumerate(zip(X.columns, X.dtypes, strict=True)):
            if _of_time(dtype) or _holds_times(X, place, dtype):
                raise ShapeError(f"feature column {str(name)!r} holds dates, times or durations; {told}")
    elif getattr(getattr(X, "dtype", None), "kind", "") in TIMES:
        raise ShapeError(f"features are dates, times or durations ({X.dtype}); {told}")


def _of_time(dtype: Any) -> bool:
    """Whether a column's type, of pandas or polars, is one of dates, times or durations."""
    temporal = getattr(dtype, "is_temporal", None)
    period = str(dtype).startswith("period[")
    return bool(temporal()) if temporal is not None else period or getattr(dtype, "kind", "") in TIMES


def _holds_times(X: Any, place: int, dtype: Any) -> bool:
    """Whether a column of objects, in pandas, begins with a date, time or duration."""
    if getattr(dtype, "kind", "") != "O":
        return False
    known = X.iloc[:, place].dropna()
    return len(known) > 0 and isinstance(known.iloc[0], (date, time, timedelta))


def _trunk_inputs(model: Any, X: Any, *, reset: bool) -> Array:
    """Inputs as they are: a trunk of the user's knows its own scale."""
    if hasattr(X, "columns"):
        array = validate_data(model, X, dtype=np.float32, reset=reset)  # which keeps the columns' names
    else:
        array = np.asarray(X.toarray() if sparse.issparse(X) else X)
        if array.dtype.kind not in "biuf" or not array.ndim:
            raise ShapeError(f"inputs are an array (n, ...) of numbers, found {type(X).__name__}")
    if not array.size:
        raise EmptyDataError(f"inputs hold no number: they have shape {array.shape}")
    array = np.ascontiguousarray(array, dtype=np.float32)
    array = array if array.flags.writeable else array.copy()  # torch wants to be able to write
    if reset:
        model._mean, model._std = np.zeros(()), np.ones(())
        model.n_features_in_ = int(np.prod(array.shape[1:]))
    elif array.shape[1:] != tuple(model._example_shape):
        sizes = ", ".join(map(str, model._example_shape))
        raise ShapeError(f"inputs have shape (n, {sizes}), found {array.shape}")
    if not np.isfinite(array).all():
        raise NotFiniteError("inputs are finite numbers, found NaN or infinity")
    return array
