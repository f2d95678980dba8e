"""Fitted estimators of scikit-learn as weights, or as skops keeps them: nothing is pickled."""

from __future__ import annotations

import inspect
import io
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from concord.errors import CheckpointError, MissingExtraError
from concord.files import check_unpacked

TRUSTED = frozenset(
    {
        "functools.partial",  # of functions that are themselves in this list, as boosting on frames holds one
        "numpy.dtype",
        "sklearn.calibration._CalibratedClassifier",
        "sklearn.calibration._SigmoidCalibration",
        "sklearn.calibration._TemperatureScaling",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.feature_selection._univariate_selection.chi2",
        "sklearn.feature_selection._univariate_selection.f_classif",
        "sklearn.gaussian_process._gpc._BinaryGaussianProcessClassifierLaplace",
        "sklearn.gaussian_process.kernels.ConstantKernel",
        "sklearn.gaussian_process.kernels.Matern",
        "sklearn.gaussian_process.kernels.Product",
        "sklearn.gaussian_process.kernels.RBF",
        "sklearn.gaussian_process.kernels.Sum",
        "sklearn.gaussian_process.kernels.WhiteKernel",
        "sklearn.metrics._dist_metrics.EuclideanDistance64",
        "sklearn.metrics._dist_metrics.ManhattanDistance64",
        "sklearn.neighbors._ball_tree.BallTree",
        "sklearn.neighbors._kd_tree.KDTree",
        "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
        "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
        "sklearn.tree._tree.Tree",
        "sklearn.utils._bunch.Bunch",
        "sklearn.utils.validation.check_array",
    }
)
"""Types that are loaded beside those that skops knows: estimators of scikit-learn, arrays, plain data."""


def keep_estimators(estimators: Sequence[Any]) -> tuple[list[Any] | None, bytes | None]:
    """Estimators as plain data and tensors where all are linear; as the content of a skops file otherwise.

    Linear are logistic regressions, alone or behind standard scalers in a pipeline.

    Raises:
        MissingExtraError: skops is needed and not installed.
        CheckpointError: An estimator that skops cannot keep, or that holds types which are not loaded.
    """
    try:
        return [_record(each) for each in estimators], None
    except _NotLinearError:
        skops = _skops()
    try:
        data = bytes(skops.dumps(list(estimators), compression=zipfile.ZIP_DEFLATED))
    except Exception as error:
        name = ", ".join(dict.fromkeys(type(each).__name__ for each in estimators if each is not None))
        raise CheckpointError(
            f"{name} cannot be saved without pickle: {' '.join(str(error).split())}"
        ) from error
    _check_types(skops, data, "the estimator")
    return None, data


def read_estimators(records: Sequence[Any] | None, data: bytes | None) -> list[Any]:
    """Estimators of what `keep_estimators` gave.

    Raises:
        MissingExtraError: skops is needed and not installed.
        CheckpointError: Records or a file of something else, or of types that are not loaded.
    """
    if records is not None:
        return [_estimator(each) for each in records]
    skops = _skops()
    _check_types(skops, data, "the file of estimators")
    try:
        found = skops.loads(data, trusted=sorted(TRUSTED))
    except Exception as error:
        raise CheckpointError(f"estimators cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(found, list):
        raise CheckpointError("estimators cannot be read: the file holds no list of them")
    return found


# -- by skops ------------------------------------------------------------------------------------------


def _skops() -> Any:
    try:
        import skops.io
    except ImportError as error:
        raise MissingExtraError(
            "estimators other than logistic regression are kept by skops, which is not installed: "
            "pip install concord-mtl[skops]"
        ) from error
    return skops.io


def _check_types(skops: Any, data: bytes | None, what: str) -> None:
    """Refuse types that are neither known to skops nor listed here, and what is far larger unpacked."""
    content = data or b""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as file:
            check_unpacked(what, len(content), sum(part.file_size for part in file.infolist()))
        found = set(skops.get_untrusted_types(data=content))
    except Exception as error:
        raise CheckpointError(f"{what} cannot be read: {' '.join(str(error).split())}") from error
    if strange := sorted(found - TRUSTED):
        raise CheckpointError(
            f"{what} holds {', '.join(strange[:4])}: only estimators of scikit-learn whose types are known "
            "to be safe are saved and loaded"
        )


# -- linear models as weights --------------------------------------------------------------------------


class _NotLinearError(Exception):
    """An estimator that is more than its weights."""


def _known() -> dict[str, Any]:
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    return {"LogisticRegression": LogisticRegression, "StandardScaler": StandardScaler}


def _record(estimator: Any) -> dict[str, Any] | None:
    """A linear estimator, fitted or not, as plain data and tensors."""
    from sklearn.pipeline import Pipeline

    if estimator is None:  # no base was given
        return None
    name = type(estimator).__name__
    if type(estimator) is Pipeline:
        if _settings(estimator, leave_out=("steps",)):
            raise _NotLinearError
        return {"class": name, "steps": [[step, _record(each)] for step, each in estimator.steps]}
    if _known().get(name) is not type(estimator):
        raise _NotLinearError
    settings = _settings(estimator)
    fitted = {key: value for key, value in vars(estimator).items() if key not in estimator.get_params()}
    if not all(key.endswith("_") and not key.startswith("_") for key in fitted):
        raise _NotLinearError
    return {
        "class": name,
        "parameters": settings,
        "fitted": {key: _value(value) for key, value in fitted.items()},
    }


def _settings(estimator: Any, leave_out: Sequence[str] = ()) -> dict[str, Any]:
    """Parameters that differ from their defaults, which another release may call otherwise."""
    usual = inspect.signature(type(estimator).__init__).parameters
    given = {
        key: value
        for key, value in estimator.get_params(deep=False).items()
        if key not in leave_out and not (value is usual[key].default or value == usual[key].default)
    }
    if not all(
        isinstance(value, (str, bool, int, float, np.integer, np.floating)) for value in given.values()
    ):
        raise _NotLinearError
    return given


def _value(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        if value.dtype.kind == "O":
            return {"names": [str(name) for name in value]}
        # The order of the numbers in memory decides how sums are rounded.
        across = value.ndim == 2 and value.flags.f_contiguous and not value.flags.c_contiguous
        return {"tensor": torch.from_numpy(np.array(value.T if across else value)), "across": across}
    if value is None or isinstance(value, (bool, int, float, np.integer, np.floating)):
        return value
    raise _NotLinearError


def _estimator(record: Mapping[str, Any] | None) -> Any:
    from sklearn.pipeline import Pipeline

    if record is None:
        return None
    if record["class"] == "Pipeline":
        return Pipeline([(name, _estimator(step)) for name, step in record["steps"]])
    made = _known().get(record["class"])
    if made is None:
        raise CheckpointError(f"estimators of class {record['class']!r} are not loaded")
    estimator = made(**record["parameters"])
    for name, value in record["fitted"].items():
        if not name.endswith("_") or name.startswith("_"):
            raise CheckpointError(f"{record['class']} has no {name!r} to be restored")
        setattr(estimator, name, _restored(value))
    return estimator


def _restored(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    if "names" in value:
        return np.asarray(value["names"], dtype=object)
    array: npt.NDArray[Any] = value["tensor"].numpy()
    return array.T if value["across"] else array


def check_linear(estimator: Any, classes: int) -> None:
    """Check that a restored linear estimator predicts so many classes.

    Raises:
        CheckpointError: It does not.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of names: the row has none
            found = estimator.predict_proba(np.zeros((1, estimator.n_features_in_)))
    except Exception as error:
        raise CheckpointError(
            f"the weights of an estimator do not fit: {' '.join(str(error).split())}"
        ) from error
    if found.shape != (1, classes):
        raise CheckpointError(f"an estimator predicts {found.shape[1]} classes, {classes} were expected")
