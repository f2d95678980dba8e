"""A finished training as a folder for others; and models sent to the hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from concord.archive import Kind, holds
from concord.deploy.hub import TrunkRecord, save_pretrained
from concord.deploy.preprocessing import PIXELS, Preprocessing
from concord.errors import CheckpointError, ConfigError
from concord.estimator import CoupledClassifier
from concord.hub import Card, pushed
from concord.runs import Run, load_run

HUB_FOLDER = "hub"
"""Where in a training's folder the folder for others is written, before it is sent."""


def takes_pixels(run: Run) -> bool:
    """Whether a run's network takes images."""
    return any(plan.kind in PIXELS for plan in run.inputs.values())


def feature_names(run: Run) -> list[str] | None:
    """What each feature is that a run's network takes, in order; None where its inputs have no columns.

    A column of numbers is called by its name, a text by the column and its value (`site=north`), part of a
    list by its place (`embedding[3]`).
    """
    columns = run.vocabulary or run.columns
    if columns is None or not columns:
        return None
    names: list[str] = []
    for name, known in columns.items():
        if known is None:
            names.append(name)
        elif isinstance(known, int):
            names += [f"{name}[{i}]" for i in range(known)]
        else:
            names += [f"{name}={value}" for value in known]
    return names


def export_folder(run: Run, folder: str | Path, *, license: str | None = None) -> Path:  # noqa: A002 - hub's word
    """Write a finished training as a folder that `from_pretrained` loads, with its preprocessing.

    Args:
        run: The training.
        folder: Made where it does not exist; files of an earlier model in it are replaced, but no model card
            that somebody edited.
        license: Of the weights, as the hub names licences.

    Returns:
        The folder.

    Raises:
        CheckpointError: It cannot be written.
        ConfigError: Its model card was edited.
    """
    plan = run.config.trunk
    metrics: dict[str, dict[str, float]] = {}
    for key, value in run.facts.get("validation", {}).items():  # val/TASK/METRIC
        task, metric = key.removeprefix("val/").rsplit("/", 1)
        metrics.setdefault(task, {})[metric] = value
    card = Card(
        name=run.folder.resolve().name,
        license=license,
        # Names of sources are the config's own; none is a data set of the hub, whatever it looks like.
        data={name.replace("/", " / "): "" for name in run.config.sources},
        metrics=metrics,
        evaluated_on="the validation rows of the training",
    )
    return save_pretrained(
        folder,
        run.network,
        run.tasks,
        example=run.example_input,
        trunk=TrunkRecord(plan.name, run.shape, plan.options, run.trunk, run.tokenize, run.standardize),
        relations=run.relations,
        decoders=run.decoder.decoders,
        thresholds=None if run.thresholds is None else run.thresholds.values,
        normalization=run.normalization if takes_pixels(run) else None,
        preprocessing=Preprocessing(run.inputs, run.vocabulary, run.columns),
        card=card,
    )


def push_to_hub(
    model: Run | CoupledClassifier | str | Path,
    repository: str,
    *,
    private: bool = True,
    license: str | None = None,  # noqa: A002 - hub's word
    message: str | None = None,
    revision: str | None = None,
    token: str | None = None,
) -> str:
    """Send a model to the Hugging Face hub, in one commit.

    Weights may hold what their data's terms do not let out, so that a repository is private unless
    `private=False` says otherwise.

    Args:
        model: A finished training, or its folder (the folder for others is then written to `hub` in it); a
            folder of `save_pretrained` or `concord export --hub`; a fitted `CoupledClassifier`, or the folder
            of its `save`.
        repository: `OWNER/NAME`; made where it does not exist. Files of an earlier model in it are replaced.
        private: Whether the repository is to be seen by its owner alone. One that exists keeps its
            visibility, and a public one is refused unless `private=False`.
        license: Of the weights, for the model card of a training or an estimator.
        message: Of the commit.
        revision: A branch, made where it does not exist; the main one unless given.
        token: Of the hub; that of `hf auth login` or of HF_TOKEN unless given.

    Returns:
        The address of the model.

    Raises:
        HubError: No token, no network, or a push that was refused. No file was sent, and the folder is whole.
        CheckpointError: No model in the folder, or a damaged one.
        ConfigError: A licence for a folder that has its model card already; or the card of a training's `hub`
            folder was edited, which is to be pushed itself.
        NotFittedError: An estimator that is not fitted.
        MissingExtraError: huggingface_hub (`concord-mtl[hub]`) is not installed.
    """
    options: dict[str, Any] = {
        "private": private, "message": message, "revision": revision, "token": token,
    }  # fmt: skip
    if isinstance(model, CoupledClassifier):
        return model.push_to_hub(repository, license=license, **options)
    if isinstance(model, Run):
        folder = export_folder(model, model.folder / HUB_FOLDER, license=license)
        return pushed(folder, "hub", repository, **options)
    folder = Path(model)
    if holds(folder, "run"):
        return push_to_hub(load_run(folder), repository, license=license, **options)
    kind = _kind(folder)
    if license is not None:
        raise ConfigError(f"{folder} has a model card: write the licence into its README.md")
    return pushed(folder, kind, repository, **options)


def _kind(folder: Path) -> Kind:
    kinds: tuple[Kind, ...] = ("hub", "estimator")
    for kind in kinds:
        if holds(folder, kind):
            return kind
    raise CheckpointError(
        f"{folder} holds neither a finished training nor a model or estimator that was saved; nothing to push"
    )
