"""Predictions of a finished training: both heads, the jointly decoded result, and how far they disagree."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from concord.config import Config
from concord.data import IMAGE_ENDINGS, FeatureRows, Manifest, read_manifest, write_frame
from concord.decoding import HALF
from concord.errors import ConfigError, EmptyDataError, MissingDataError
from concord.metrics import decisions
from concord.runs.evaluation import split_sources
from concord.runs.inputs import check_on_error, plan_for
from concord.runs.outputs import Outputs, device_of, outputs_of, taken_by
from concord.runs.places import ARRAYS, MANIFESTS, images_in, is_image
from concord.runs.predictor import Predictor
from concord.runs.run import Run
from concord.tasks import MulticlassTask, Task


def predict(
    run: Run,
    data: str | Path | Sequence[str | Path],
    *,
    source: str | None = None,
    features: str | Path | None = None,
    on_error: str | None = None,
    root: str | Path | None = None,
    accelerator: str | None = None,
    batch_size: int | None = None,
) -> pl.DataFrame:
    """Predict everything that `data` names.

    Args:
        run: The run.
        data: A folder of images, an image, or several of these; a manifest (.parquet, .csv); or a feature
            file (.npy, .npz).
        source: Whose inputs of the config say how these are read; the first source that fits. Needed where
            sources of several kinds fit.
        features: The feature file that a manifest's column `row` counts the rows of, where it is another than
            the config's.
        on_error: `raise` or `skip`, for images; as the source has it unless given.
        root: What the config's feature files are relative to; as in the config unless given.
        accelerator: `auto`, `cpu`, `cuda` or `mps`; as in the config unless given.
        batch_size: Rows at a time, >= 1; as in the config's `validation` unless given.

    Returns:
        One row per sample, columns `path` (a manifest's own; of one folder alone, relative to it; else as it
        was given), `row` or `text`, then by task `TASK.head` and `TASK.joint` (the class; or the labels from
        .5 on, with semicolons between; the joint ones from the run's thresholds on, where it has any),
        `TASK.head.NAME` and `TASK.joint.NAME`
        (probabilities of the head and of the joint decoding), and `SOURCE->TARGET.disagreement` in [0, 1].

    Raises:
        MissingDataError: No such file or folder.
        EmptyDataError: A folder without an image, no data at all, or nothing that can be loaded.
        ConfigError: Data that the network does not take, several of which one is no image, a feature file
            that goes with no manifest, or an accelerator that is not there.
        RangeError: No rows at a time.
        ShapeError: Feature rows of another width than the network was trained on.
        UnknownNameError: No such source, or neither `raise` nor `skip`.
    """
    if on_error is not None:
        check_on_error(on_error)
    places = [Path(data)] if isinstance(data, str | Path) else [Path(one) for one in data]
    manifest, wanted, shown = _found(places)
    plan = plan_for(run.inputs, _kinds(run, wanted, manifest, features is not None), source)
    if features is not None and (wanted != "manifest" or plan.kind not in ("features", "arrays")):
        raise ConfigError(
            f"{features} would not be read: a feature file goes with a manifest whose column row counts its "
            "rows"
        )
    if on_error is not None and plan.kind == "images":
        plan = plan.model_copy(update={"on_error": on_error})
    if plan.kind in ("features", "arrays"):
        given = features if features is not None else places[0] if wanted == "file" else None
        if given is not None:
            plan = plan.model_copy(update={"file": str(Path(given).resolve())})
    if wanted == "file":
        count = len(FeatureRows(places[0], key=plan.key))
        manifest = replace(manifest, frame=pl.DataFrame({"row": range(count)}))
    preparation = run.preparation(None if root is None else Path(root))
    rows = taken_by(run, plan, manifest, preparation, manifest.name or "data")
    config = run.config
    device = device_of(config.training.accelerator if accelerator is None else accelerator)
    size = config.validation.batch_size if batch_size is None else batch_size
    return frame_of(run.predictor, outputs_of(run.predictor, rows, size, device), manifest, shown)


def predict_split(run: Run, config: Config, split: str = "test") -> pl.DataFrame:
    """Predictions of a split of a config's sources, with a column `source`; see `predict`.

    Raises:
        UnknownNameError: Another split.
        EmptyDataError: No rows of it.
        ConfigError: An accelerator that is not there, or inputs that are made otherwise than in training.
    """
    parts, size = [], config.validation.batch_size
    device = device_of(config.training.accelerator)
    for name, source in split_sources(run, config, split).items():
        frame = frame_of(run.predictor, outputs_of(run.predictor, source, size, device), source.manifest)
        parts.append(frame.insert_column(0, pl.Series("source", [name] * frame.height)))
    return pl.concat(parts, how="diagonal")


def write_predictions(frame: pl.DataFrame, path: str | Path) -> Path:
    """Write predictions to a .csv or .parquet file, whole or not at all.

    Raises:
        ConfigError: Another kind of file.
        OutputError: It cannot be written.
    """
    path = Path(path)
    if path.suffix not in (".csv", ".parquet"):
        raise ConfigError(f"predictions are written to .csv or .parquet, found {str(path)!r}")
    write_frame(frame, path)
    return path


# -- what is given -----------------------------------------------------------------------------------


def _found(places: Sequence[Path]) -> tuple[Manifest, str, Sequence[str] | None]:
    """The samples of places; whether `images`, a `file` of features or a `manifest`; and paths to show."""
    if not places:
        raise EmptyDataError("nothing to predict: give a manifest, images or a feature file")
    for data in places:
        if not data.exists():
            raise MissingDataError(
                f"expected a manifest, images or a feature file, found nothing at {data}; a folder, images "
                "and patterns such as photos/*.jpg may be given"
            )
    if all(data.is_dir() or is_image(data) for data in places):
        manifest, shown = images_in(places)
        return manifest, "images", shown
    if len(places) > 1:
        other = next(d for d in places if not d.is_dir() and not is_image(d))
        raise ConfigError(
            f"several images or folders of images can be given, and {other} is neither; images end in "
            f"{', '.join(IMAGE_ENDINGS)}"
        )
    data = places[0]
    if data.suffix in ARRAYS:
        return Manifest(pl.DataFrame({"row": [0]}), (), data.parent, data.stem), "file", None
    if data.suffix.lower() not in MANIFESTS:
        raise ConfigError(
            f"{data} is no manifest (.csv, .parquet), image or feature file (.npy, .npz) by its ending; "
            f"images end in {', '.join(IMAGE_ENDINGS)}: convert it, or rename it if it is one of these"
        )
    # Annotations play no part: a manifest of other tasks is as good as one without any.
    return read_manifest(data, tasks=()), "manifest", None


def _kinds(run: Run, wanted: str, manifest: Manifest, filed: bool) -> Collection[str]:
    """What the samples may be: of a manifest, kinds whose columns it has; where filed, those of files."""
    if wanted != "manifest":
        return {"images": ("images",), "file": ("features", "arrays")}[wanted]
    plans, there = list(run.inputs.values()), set(manifest.frame.columns)
    needed = {"images": {"path"}, "arrays": {"row"}, "features": {"row"}, "texts": {"text"}}
    if filed:
        plans = [plan for plan in plans if plan.file is not None] or plans
    found = {plan.kind for plan in plans if needed.get(plan.kind, set(run.vocabulary)) <= there}
    return found or {plans[0].kind}  # which then says what it lacks


# -- what comes out ----------------------------------------------------------------------------------


def frame_of(
    predictor: Predictor, outputs: Outputs, manifest: Manifest, shown: Sequence[str] | None = None
) -> pl.DataFrame:
    """Predictions as a table; see `predict`.

    Args:
        predictor: What predicted.
        outputs: What it gave.
        manifest: The rows.
        shown: Their paths as they are to be shown; those of the manifest unless given.
    """
    known = [name for name in ("path", "row", "text", "group") if name in manifest.frame.columns]
    front = manifest.frame.select(
        name for name in known if manifest.frame[name].null_count() < len(manifest)
    )[outputs.index]
    if shown is not None:
        front = front.with_columns(path=pl.Series(shown)[outputs.index])
    columns: list[pl.Series] = []
    for task in predictor.tasks:
        columns += _of_task(task, outputs, predictor.cut(task))
    columns += [pl.Series(f"{name}.disagreement", values) for name, values in outputs.disagreement.items()]
    return front.with_columns(columns)


def _of_task(task: Task, outputs: Outputs, cut: Any) -> Iterator[pl.Series]:
    both: Mapping[str, Any] = {"head": outputs.heads[task.name], "joint": outputs.joint[task.name]}
    cuts = {"head": HALF, "joint": cut}
    for kind, p in both.items():
        yield pl.Series(f"{task.name}.{kind}", _named(task, decisions(task, p, cuts[kind])))
    for kind, p in both.items():
        for k, output in enumerate(task.outputs):
            yield pl.Series(f"{task.name}.{kind}.{output}", p[:, k])


def _named(task: Task, decided: Any) -> list[str]:
    if isinstance(task, MulticlassTask):
        return [task.classes[c] for c in decided]
    names = np.asarray(task.outputs, dtype=object)
    return [";".join(names[row]) for row in decided == 1]
