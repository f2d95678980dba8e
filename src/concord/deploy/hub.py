"""A trained network as a folder that others can load and predict with: weights, a config, a model card.

The layout is the hub's: `model.safetensors`, `config.json`, `README.md`, and `tokenizer/` where texts come
in. What is needed to build the network again, and to prepare its inputs, lies in the config as plain data; a
trunk that has no name is given again. Nothing is pickled.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from concord._version import __version__
from concord.archive import FORMATS, pack, read_archive, save_archive, sha256, tensor_bytes, unpack
from concord.data import BOX
from concord.decoding import Decoders, JointDecoder, checked_thresholds
from concord.deploy.preprocessing import Preprocessing, preprocessing_of
from concord.errors import CheckpointError, ConcordError, ConfigError
from concord.files import read_json
from concord.hub import PLACE, README, Card, fenced, located, model_card
from concord.networks import MultiTaskNetwork, TaskwiseNetwork, seeded, tasks_of_part, usual_torch
from concord.relations import (
    Relation,
    check_between,
    relation_digest,
    relation_of,
    relation_record,
    task_of,
    task_record,
)
from concord.runs import (
    TOKENIZER,
    WEIGHTS_FILE,
    GivenRows,
    Outputs,
    Predictor,
    Preparation,
    frame_of,
    given_rows,
    outputs_of,
    tokenizer_files,
)
from concord.tasks import MulticlassTask, Task

if TYPE_CHECKING:
    import polars as pl

    from concord.networks import NamedTrunk


CONFIG = FORMATS["hub"].record
ENDED = (".saving.tmp", ".saved.tmp")
"""What a save that was ended leaves in its folder (`concord.archive`): the next one begins anew."""


@dataclass(frozen=True)
class TrunkRecord:
    """How a named trunk was asked for: what `concord.trunks.build_trunk` needs to build it again.

    Attributes:
        name: `SOURCE:NAME`.
        shape: Of one input without the row; None for texts, or the trunk's own.
        options: Of the architecture.
        resolved: What the build noted (`NamedTrunk.resolved`).
        tokenize: Its tokenizer; one that has `save` is written next to the weights.
        standardize: Whether a `concord.networks.Standardize` lies before it.
    """

    name: str
    shape: tuple[int, ...] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    resolved: Mapping[str, Any] = field(default_factory=dict)
    tokenize: Callable[[list[str]], Any] | None = None
    standardize: bool = False

    @classmethod
    def of(
        cls,
        trunk: NamedTrunk,
        name: str,
        shape: Sequence[int] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> TrunkRecord:
        """The record of a trunk that `build_trunk` gave for these arguments."""
        shape = None if shape is None else tuple(shape)
        return cls(name, shape, dict(options or {}), trunk.resolved, trunk.tokenize)


@dataclass(frozen=True)
class Pretrained:
    """What `from_pretrained` gives.

    Attributes:
        network: Input -> logits by task, in evaluation mode.
        tasks: The tasks.
        relations: The relations.
        decoders: Joint decoders with their fitted strengths.
        tokenize: Turns texts into inputs; None for other inputs.
        normalization: Mean and standard deviation by channel that images are brought to, if known.
        thresholds: By task, where predictions are cut: (K,) of labels, (C,) of classes; empty for .5.
        example: One input.
        config: The whole config.
        folder: Where it was read from.
        preprocessing: How inputs are made; None where the folder does not say, and then `predict` refuses.
    """

    network: nn.Module
    tasks: tuple[Task, ...]
    relations: tuple[Relation, ...]
    decoders: tuple[JointDecoder, ...]
    tokenize: Callable[[list[str]], Any] | None
    normalization: tuple[Sequence[float], Sequence[float]] | None
    thresholds: dict[str, npt.NDArray[np.float64]]
    example: Any
    config: dict[str, Any]
    folder: Path
    preprocessing: Preprocessing | None = None

    def predict(
        self, inputs: Any, *, source: str | None = None, batch_size: int = 64
    ) -> dict[str, npt.NDArray[Any]]:
        """Predictions: by task, classes (n,) as they were given to the task, or labels (n, K) of 0 and 1.

        Inputs are prepared as in training, probabilities are jointly decoded, and cut at the thresholds, as
        `concord predict` does; on the device that the network lies on.

        Args:
            inputs: Of a model of images: paths, folders, pictures of pillow, arrays (h, w, 3) of uint8, bytes
                of image files (one of these, or a list of one kind), an array (n, h, w, 3), or a table with
                the column `path` (and those of boxes or landmarks, where the training had such). Of arrays of
                pixels: an array (n, h, w) or (n, h, w, 3). Of texts: one, a list of them, or a table with the
                column `text`. Of features: an array (n, width), or the path of a .npy or .npz file of one; a
                table (pandas, polars, a dictionary of columns, a file) where the training had tables, whose
                columns are found by name.
            source: The source of the training whose inputs these are like; the first one of the kind that is
                given unless said. Needed where the form of the inputs leaves several kinds open.
            batch_size: Rows at a time, >= 1.

        Raises:
            ConfigError: Inputs that the model does not take, or that may be of several kinds.
            CheckpointError: A folder that does not say how inputs are made.
            ShapeError: Arrays of another shape or width; columns of several lengths.
            DataFormatError: An image that cannot be decoded, or a column of other values than text or
                numbers; names it.
            DuplicateNameError: A column that occurs twice.
            MissingDataError: No such file.
            EmptyDataError: Nothing to predict.
            UnknownNameError: No such source, or a column that is missing.
        """
        from concord.metrics import decisions

        predictor, outputs = self._predictor(), self._outputs(inputs, source, batch_size)[1]
        out = {}
        for task in self.tasks:
            decided = decisions(task, outputs.joint[task.name], predictor.cut(task))
            out[task.name] = task.as_given(decided) if isinstance(task, MulticlassTask) else decided
        return out

    def predict_proba(
        self, inputs: Any, *, source: str | None = None, batch_size: int = 64
    ) -> dict[str, npt.NDArray[np.float64]]:
        """Jointly decoded probabilities: by task, (n, C) or (n, K), in the order of the task's outputs.

        Args:
            inputs: As in `predict`.
            source: As in `predict`.
            batch_size: Rows at a time, >= 1.

        Raises:
            ConcordError: As `predict`.
        """
        return self._outputs(inputs, source, batch_size)[1].joint

    def probabilities(
        self, inputs: Any, *, source: str | None = None, batch_size: int = 64
    ) -> tuple[dict[str, npt.NDArray[np.float64]], dict[str, npt.NDArray[np.float64]]]:
        """Probabilities of the heads and jointly decoded ones, each by task as in `predict_proba`.

        Args:
            inputs: As in `predict`.
            source: As in `predict`.
            batch_size: Rows at a time, >= 1.

        Raises:
            ConcordError: As `predict`.
        """
        outputs = self._outputs(inputs, source, batch_size)[1]
        return outputs.heads, outputs.joint

    def predict_frame(
        self, inputs: Any, *, source: str | None = None, on_error: str = "raise", batch_size: int = 64
    ) -> pl.DataFrame:
        """The table of `concord predict`: one row per input, for each task both heads and the joint decoding.

        Args:
            inputs: As in `predict`.
            source: As in `predict`.
            on_error: `raise`, or `skip`: files of images that cannot be read have no row.
            batch_size: Rows at a time, >= 1.

        Returns:
            `path`, `row` or `text`, then by task `TASK.head` and `TASK.joint` (the class; or the labels,
            with semicolons between), `TASK.head.NAME` and `TASK.joint.NAME` (probabilities), and
            `SOURCE->TARGET.disagreement` in [0, 1].

        Raises:
            UnknownNameError: As `predict`; or neither `raise` nor `skip`.
            ConcordError: As `predict`.
        """
        rows, outputs = self._outputs(inputs, source, batch_size, on_error)
        return frame_of(self._predictor(), outputs, rows.source.manifest, rows.shown)

    def _outputs(
        self, inputs: Any, source: str | None, batch_size: int, on_error: str = "raise"
    ) -> tuple[GivenRows, Outputs]:
        rows = self._rows(inputs, source=source, on_error=on_error)
        return rows, self._predicted(rows, batch_size)

    def _rows(self, inputs: Any, *, source: str | None = None, on_error: str = "raise") -> GivenRows:
        """Inputs as rows that the network takes; see `predict`."""
        if self.preprocessing is None:
            raise CheckpointError(
                f"{self.folder} does not say how inputs are made: an earlier version wrote it, or "
                "save_pretrained without preprocessing=. Write it anew (concord export RUN --hub FOLDER), or "
                "give inputs that you prepared to model.network"
            )
        shape = tuple(self.example.shape[1:]) if isinstance(self.example, torch.Tensor) else None
        return given_rows(
            inputs, self.preprocessing.inputs, self._preparation(), shape, source=source, on_error=on_error
        )

    def _predicted(self, rows: GivenRows, batch_size: int = 64) -> Outputs:
        """What the network and the joint decoding give for rows, on the device that the network lies on."""
        device = next((p.device for p in self.network.parameters()), torch.device("cpu"))
        with usual_torch():
            return outputs_of(self._predictor(), rows.source, batch_size, device)

    def _predictor(self) -> Predictor:
        """The network with its joint decoding and thresholds."""
        decoder = Decoders([])
        decoder.decoders = list(self.decoders)
        return Predictor(self.network, self.tasks, decoder, self._preparation().collate, self.thresholds)

    def _preparation(self) -> Preparation:
        known, by = self.preprocessing, self.normalization
        made = Preparation(Path(), tokenize=self.tokenize)
        if known is not None:
            made = replace(made, vocabulary=known.vocabulary, columns=known.columns)
        return made if by is None else replace(made, normalization=by)


# -- saving ----------------------------------------------------------------------------------------


def save_pretrained(
    folder: str | Path,
    network: nn.Module,
    tasks: Sequence[Task],
    *,
    example: Any,
    trunk: TrunkRecord | None = None,
    relations: Sequence[Relation] = (),
    decoders: Sequence[JointDecoder] = (),
    thresholds: Mapping[str, Any] | None = None,
    normalization: tuple[Sequence[float], Sequence[float]] | None = None,
    preprocessing: Preprocessing | None = None,
    card: Card | None = None,
) -> Path:
    """Write a network, its config and its model card into a folder.

    Args:
        folder: Made where it does not exist; files of an earlier model in it are replaced, but no model card
            that somebody edited.
        network: Input -> logits by task.
        tasks: The tasks.
        example: One input (a tensor, or a mapping of tensors), of which the shape is kept.
        trunk: How the trunk of a `MultiTaskNetwork` without private parts, or of every one in a
            `TaskwiseNetwork`, was built by name; None for any other network, of which the trunk (or the
            whole) has to be given to `from_pretrained`.
        relations: Relations between the tasks; those of the decoders are added.
        decoders: Joint decoders.
        thresholds: By task, where predictions are cut: (K,) of labels, (C,) of classes, whose
            probabilities are compared in proportion to them.
        normalization: Mean and standard deviation by channel that its images are brought to.
        preprocessing: How inputs are made, so that `Pretrained.predict` takes them as they come.
        card: What the model card says.

    Returns:
        The folder.

    Raises:
        CheckpointError: The folder cannot be written.
        ConfigError: A named trunk of a network that is more than a trunk with heads; a preprocessing that
            makes other inputs than the network takes; a model card there that was edited; files there of
            the same names that are no model's.
        NotFittedError: A joint decoder without strengths.
        ShapeError: Thresholds of other tasks, or of another number of classes or labels; a relation of other
            classes or labels than a task has, or in another order.
        UnknownNameError: A relation of a task that is not there.
        DuplicateNameError: Two relations between the same tasks.
        RangeError: Thresholds outside [0, 1], or 0 of a class.
    """
    cuts = checked_thresholds(thresholds or {}, tasks)
    for decoder in decoders:
        decoder.check_fitted()
    relations = _distinct([*relations, *(decoder.relation for decoder in decoders)])
    check_between(relations, tasks, "the network")
    chosen = dict(network.chosen) if isinstance(network, TaskwiseNetwork) else {}
    parts = network.networks if isinstance(network, TaskwiseNetwork) else [network]
    if trunk is not None and not all(isinstance(n, MultiTaskNetwork) and not n.private for n in parts):
        raise ConfigError(
            "a named trunk rebuilds a MultiTaskNetwork without private parts; leave trunk=None for other "
            "networks and give the network to from_pretrained"
        )
    if preprocessing is not None:
        preprocessing.check(example, normalization, None if trunk is None else trunk.tokenize)
    card = card or Card()
    folder = Path(folder)
    tokenizer = {} if trunk is None else tokenizer_files(trunk.tokenize)
    _check_foreign(folder, (CONFIG, WEIGHTS_FILE, README, *tokenizer))
    _check_card(folder)
    content: dict[str, Any] = {
        "library": {"name": "concord", "version": __version__},
        "tasks": [task_record(task) for task in tasks],
        "inputs": _example_record(example),
        "trunk": None if trunk is None else _trunk_record(trunk),
        "chosen": chosen,
        "normalization": None
        if normalization is None
        else [list(map(float, part)) for part in normalization],
        "relations": [relation_record(relation) for relation in relations],
        "decoders": [
            {
                "relation": decoder.relation.name,
                "target_strength": decoder.target_strength,
                "class_strength": decoder.class_strength,
            }
            for decoder in decoders
        ],
    }
    if preprocessing is not None:
        content["preprocessing"] = preprocessing.record()
    if cuts:
        content["thresholds"] = {name: values.tolist() for name, values in cuts.items()}
    files = {WEIGHTS_FILE: tensor_bytes(network.state_dict()), **tokenizer}
    readme = model_card(
        card,
        tasks,
        usage=_usage(trunk, preprocessing),
        trunk=fenced(trunk.name) if trunk else "Given by the user; it has no name.",
        relations=relations,
        decoders=decoders,
        cuts=cuts,
    ).encode()
    content["card"] = sha256(readme)  # by which an edited one is known
    save_archive(folder, "hub", pack(content)[0], files, uncovered={README: readme})
    return folder


def _distinct(relations: Sequence[Relation]) -> list[Relation]:
    """Each relation once: a decoder may have one that is given, or a copy of it."""
    out: list[Relation] = []
    for relation in relations:
        if not any(_alike(relation, other) for other in out):
            out.append(relation)
    return out


def _alike(one: Relation, other: Relation) -> bool:
    if one is other:
        return True
    same_tasks = (one.source, one.target) == (other.source, other.target)
    return same_tasks and relation_digest(one) == relation_digest(other)


def _check_foreign(folder: Path, names: Sequence[str]) -> None:
    """Refuse to write over what is no model in the hub's manner: a training, a study, a project."""
    if (folder / FORMATS["run"].record).exists():
        raise ConfigError(
            f"{folder} is the folder of a training, whose files would be lost; give another folder"
        )
    if any((folder / name).exists() for name in ENDED):
        return
    try:
        config = read_json(folder / CONFIG)
    except (ConcordError, OSError):
        config = None
    library = config.get("library") if isinstance(config, dict) else None
    if isinstance(library, dict) and library.get("name") == "concord":
        return
    for name in names:
        if (folder / name).exists():
            raise ConfigError(
                f"{folder / name} is of no model of this library and is not written over; give another folder"
            )


def _check_card(folder: Path) -> None:
    """Refuse to write over a model card that somebody edited: licences that were filled in would be lost."""
    try:
        archive = read_archive(folder, "hub")
        written = (archive.folder / README).read_bytes()
    except (CheckpointError, OSError):
        return  # no model there, or none with a card
    if archive.content.get("card") not in (None, sha256(written)):
        raise ConfigError(
            f"{folder / README} was edited, and is not written over: push {folder} as it is, give another "
            "folder, or move the edited card away"
        )


_GIVEN = {
    "images": 'photos = ["a.jpg", "b.jpg"]  # paths, folders, pictures of pillow, arrays (h, w, 3) of uint8',
    "arrays": "photos = ...  # arrays (n, h, w) or (n, h, w, 3)",
    "texts": 'texts = ["a text", "another one"]',
    "features": "rows = ...  # an array (n, width), or a table with the columns of the training",
    "columns": "rows = ...  # a table with the columns of the training",
}
_CUT_OUT = {
    "box": f"photos = ...  # a table with the columns path, {', '.join(BOX)}",
    "landmarks": "photos = ...  # a table with the columns path and landmarks",
}


def _usage(trunk: TrunkRecord | None, preprocessing: Preprocessing | None) -> str:
    """Lines of Python that load the model and predict."""
    load = f"concord.from_pretrained({PLACE}{'' if trunk else ', trunk=YOUR_TRUNK'})"
    if preprocessing is None:
        return f"import concord\n\nmodel = {load}\nlogits = model.network(inputs)  # by task"
    name, plan = next(iter(preprocessing.inputs.items()))
    given = _CUT_OUT.get(plan.region, _GIVEN[plan.kind])
    several = len({each.kind for each in preprocessing.inputs.values()}) > 1
    like = f", source={name!a}" if several else ""
    return f"import concord\n\n{given}\npredicted = {load}.predict({given.split()[0]}{like})  # by task"


def _example_record(example: Any) -> Any:
    if isinstance(example, Mapping):
        return {name: _example_record(value) for name, value in example.items()}
    return {"shape": list(example.shape[1:]), "dtype": str(example.dtype).removeprefix("torch.")}


def _trunk_record(trunk: TrunkRecord) -> dict[str, Any]:
    return {
        "name": trunk.name,
        "shape": None if trunk.shape is None else list(trunk.shape),
        "options": dict(trunk.options),
        "resolved": dict(trunk.resolved),
        "standardize": trunk.standardize,
    }


# -- loading ---------------------------------------------------------------------------------------


@usual_torch()
@seeded(None)  # a network draws weights before it is given its own
def from_pretrained(
    name_or_folder: str | Path,
    *,
    trunk: nn.Module | None = None,
    network: nn.Module | None = None,
    download: bool = False,
    revision: str | None = None,
) -> Pretrained:
    """Load what `save_pretrained` wrote, to predict with. Nothing in the folder is ever run.

    Args:
        name_or_folder: The folder; or `OWNER/NAME` of a model of the hub, in the local cache.
        trunk: The trunk, built as it was for training, where it has no name.
        network: The whole network, where it is more than a trunk with heads.
        download: Whether the hub is asked for what is not in its cache.
        revision: Of a model of the hub: branch, tag or commit.

    Raises:
        CheckpointError: The folder, the hub's model or a file is missing, damaged, or of another network.
        ConfigError: A network whose trunk has no name, and none was given.
        MissingExtraError: A name of the hub, and huggingface_hub is not installed.
    """
    folder = located(name_or_folder, download=download, revision=revision)
    if not (folder / CONFIG).exists() and (folder / FORMATS["estimator"].record).is_file():
        raise CheckpointError(
            f"{folder} holds a fitted estimator, which concord.CoupledClassifier.load(...) loads"
        )
    archive = read_archive(folder, "hub")
    archive.verify()
    config = unpack(archive.content, {})
    try:
        tasks = tuple(task_of(record) for record in config["tasks"])
        relations = tuple(relation_of(record, tasks) for record in config["relations"])
        decoders = tuple(_decoder(record, relations) for record in config["decoders"])
        example = _example(config["inputs"])
        cuts = checked_thresholds(config.get("thresholds", {}), tasks)
        named, chosen = config["trunk"], dict(config["chosen"])
        known = config.get("preprocessing")
        preprocessing = None if known is None else preprocessing_of(known)
    except (ConcordError, KeyError, TypeError, AttributeError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"{folder / CONFIG} is no whole config: {type(error).__name__} {error}"
        ) from error
    tokenize, normalization = None, config.get("normalization")
    weights = archive.tensors(WEIGHTS_FILE)
    own = trunk is not None or network is not None
    if own and named is not None and preprocessing is not None and preprocessing.takes("texts"):
        # The network is the user's own; what turns texts into its inputs is that of the training.
        tokenize = _named_trunk(named, archive.part(TOKENIZER)).tokenize
    if network is None:
        if trunk is None:
            if named is None:
                raise ConfigError(
                    f"the trunk of {folder} has no name: give trunk=MODULE, built as for training "
                    "(or network=MODULE, where it is more than a trunk with heads)"
                )
            built = _named_trunk(named, archive.part(TOKENIZER))
            trunk, tokenize, example = built.module, built.tokenize, built.example
            normalization = normalization or built.normalization
            if named["standardize"]:
                from concord.networks import Standardize

                blank = Standardize(torch.zeros(named["shape"]), torch.ones(named["shape"]))
                trunk = nn.Sequential(blank, trunk)
        network = _network(trunk, tasks, example, chosen, weights)
    if preprocessing is not None:
        try:
            preprocessing.check(example, normalization, tokenize)
        except ConfigError as error:
            raise CheckpointError(f"{folder / CONFIG} is no whole config: {error}") from error
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{folder / WEIGHTS_FILE} is of another network: {reason}") from error
    return Pretrained(
        network.eval(), tasks, relations, decoders, tokenize, normalization, cuts, example, config, folder,
        preprocessing,
    )  # fmt: skip


def _decoder(record: Mapping[str, Any], relations: Sequence[Relation]) -> JointDecoder:
    decoder = JointDecoder({relation.name: relation for relation in relations}[record["relation"]])
    decoder.target_strength = float(record["target_strength"])
    decoder.class_strength = float(record["class_strength"])
    return decoder


def _example(record: Mapping[str, Any]) -> Any:
    if "dtype" in record and "shape" in record:
        return torch.zeros(1, *record["shape"], dtype=getattr(torch, record["dtype"]))
    return {name: _example(value) for name, value in record.items()}


def _named_trunk(record: Mapping[str, Any], tokenizer: Path | None) -> NamedTrunk:
    from concord.networks import build_trunk

    resolved = dict(record["resolved"])
    if tokenizer is not None:
        resolved["tokenizer"] = str(tokenizer)
    return build_trunk(record["name"], shape=record["shape"], options=record["options"], resolved=resolved)


def _network(
    trunk: nn.Module,
    tasks: Sequence[Task],
    example: Any,
    chosen: Mapping[str, int | list[int]],
    weights: Mapping[str, torch.Tensor],
) -> MultiTaskNetwork | TaskwiseNetwork:
    if not chosen:
        return MultiTaskNetwork(trunk, tasks, example)
    return TaskwiseNetwork.restored(
        chosen,
        lambda number: MultiTaskNetwork(copy.deepcopy(trunk), tasks_of_part(weights, number, tasks), example),
    )
