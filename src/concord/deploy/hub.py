"""A trained network as a folder that others can load: weights, a config, a model card. No pickle.

The layout is the hub's: `model.safetensors`, `config.json`, `README.md`, and `tokenizer/` where texts come
in. What is needed to build the network again lies in the config; a trunk that has no name is given again.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from concord._version import __version__
from concord.archive import FORMATS, pack, read_archive, save_archive, tensor_bytes, unpack
from concord.decoding import JointDecoder, checked_thresholds
from concord.errors import CheckpointError, ConcordError, ConfigError, MissingExtraError
from concord.networks import MultiTaskNetwork, TaskwiseNetwork, tasks_of_part
from concord.relations import Relation, relation_of, relation_record, task_of, task_record
from concord.runs import TOKENIZER, WEIGHTS_FILE, tokenizer_files
from concord.tasks import MulticlassTask, Task

if TYPE_CHECKING:
    from concord.networks import NamedTrunk


CONFIG = FORMATS["hub"].record
README = "README.md"
SHOWN_CELLS = 400
"""Tables of up to so many cells are drawn in the model card."""


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
class Card:
    """What a reader of the model card should know, beyond tasks and relation.

    Attributes:
        name: Of the model.
        description: A sentence or more.
        license: Of the weights, as the hub names licences (`apache-2.0`); None is stated as such.
        data: Data sets that it was trained on, with the licence of each (empty text where unknown).
        metrics: By task, then by metric.
        evaluated_on: Rows that the metrics were taken on.
    """

    name: str = "model"
    description: str = ""
    license: str | None = None
    data: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    evaluated_on: str = ""


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
    card: Card | None = None,
) -> Path:
    """Write a network, its config and its model card into a folder.

    Args:
        folder: Made where it does not exist; files of an earlier model in it are replaced.
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
        card: What the model card says.

    Returns:
        The folder.

    Raises:
        CheckpointError: The folder cannot be written.
        ConfigError: A named trunk of a network that is more than a trunk with heads.
        NotFittedError: A joint decoder without strengths.
        ShapeError: Thresholds of other tasks, or of another number of classes or labels.
        RangeError: Thresholds outside [0, 1], or 0 of a class.
    """
    cuts = checked_thresholds(thresholds or {}, tasks)
    for decoder in decoders:
        decoder.check_fitted()
    chosen = dict(network.chosen) if isinstance(network, TaskwiseNetwork) else {}
    parts = network.networks if isinstance(network, TaskwiseNetwork) else [network]
    if trunk is not None and not all(isinstance(n, MultiTaskNetwork) and not n.private for n in parts):
        raise ConfigError(
            "a named trunk rebuilds a MultiTaskNetwork without private parts; leave trunk=None for other "
            "networks and give the network to from_pretrained"
        )
    card = card or Card()
    folder = Path(folder)
    relations = [*relations, *(d.relation for d in decoders if d.relation not in relations)]
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
    if cuts:
        content["thresholds"] = {name: values.tolist() for name, values in cuts.items()}
    files = {WEIGHTS_FILE: tensor_bytes(network.state_dict())}
    if trunk is not None:
        files |= tokenizer_files(trunk.tokenize)
    readme = _readme(card, tasks, relations, decoders, trunk, cuts).encode()
    save_archive(folder, "hub", pack(content)[0], files, uncovered={README: readme})
    return folder


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


# -- the model card --------------------------------------------------------------------------------


def _readme(
    card: Card,
    tasks: Sequence[Task],
    relations: Sequence[Relation],
    decoders: Sequence[JointDecoder],
    trunk: TrunkRecord | None,
    cuts: Mapping[str, npt.NDArray[np.float64]],
) -> str:
    import yaml

    header: dict[str, Any] = {"library_name": "concord"}
    if card.license is not None:
        header["license"] = card.license
    header["tags"] = ["multi-task", *sorted({_kind(task) for task in tasks})]
    if card.data:
        header["datasets"] = list(card.data)
    if card.metrics:
        header["metrics"] = sorted({name for found in card.metrics.values() for name in found})
    usage = (
        "```python\nfrom concord.deploy import from_pretrained\n\n"
        f"model = from_pretrained(FOLDER{'' if trunk else ', trunk=YOUR_TRUNK'})\n"
        "logits = model.network(inputs)  # by task\n```"
    )
    sections = [
        f"# {card.name}\n\n{card.description}".rstrip(),
        "## Tasks\n\n"
        + _table(
            ["task", "kind", "outputs"],
            [[t.name, _kind(t), ", ".join(t.outputs)] for t in tasks],
        ),
        f"## Trunk\n\n{f'`{trunk.name}`' if trunk else 'Given by the user; it has no name.'}",
        "## Relation\n\n" + ("\n\n".join(map(_relation_section, relations)) or "None."),
        "## Joint decoding\n\n" + _decoding_section(decoders),
        *(["## Thresholds\n\n" + _thresholds_section(tasks, cuts)] if cuts else []),
        "## Data\n\n"
        + (
            _table(["data set", "licence"], [[d, lic or "not stated"] for d, lic in card.data.items()])
            if card.data
            else "Not stated."
        ),
        "## Metrics\n\n" + _metrics_section(card),
        f"## Licence\n\n{card.license or 'Not stated: ask before you use it.'}",
        "## Use\n\n" + usage,
    ]
    front = yaml.safe_dump(header, sort_keys=False, allow_unicode=True)
    return f"---\n{front}---\n\n" + "\n\n".join(sections) + "\n"


def _kind(task: Task) -> str:
    return "multiclass" if isinstance(task, MulticlassTask) else "multilabel"


def _relation_section(relation: Relation) -> str:
    head = f"`{relation.name}`: P({relation.target.name} given {relation.source.name})"
    if relation.source.width * relation.target.width > SHOWN_CELLS:
        return f"{head}, {relation.source.width} x {relation.target.width} cells; see `{CONFIG}`."
    table = relation.dense().table
    rows = [
        [name, *("" if np.isnan(cell) else f"{cell:.3g}" for cell in table[i])]
        for i, name in enumerate(relation.source.outputs)
    ]
    return f"{head}; a blank cell is unknown.\n\n" + _table(["", *relation.target.outputs], rows)


def _decoding_section(decoders: Sequence[JointDecoder]) -> str:
    rows = [[d.relation.name, f"{d.target_strength:g}", f"{d.class_strength:g}"] for d in decoders]
    return _table(["relation", "strength on targets", "strength on classes"], rows) if rows else "None."


def _thresholds_section(tasks: Sequence[Task], cuts: Mapping[str, npt.NDArray[np.float64]]) -> str:
    rows = [
        [
            task.name,
            ", ".join(
                f"{name} {value:.3g}" for name, value in zip(task.outputs, cuts[task.name], strict=True)
            ),
        ]
        for task in tasks
        if task.name in cuts
    ]
    return (
        "A label is present from its threshold on; of classes the one whose probability is largest in "
        "proportion to its threshold is taken.\n\n" + _table(["task", "thresholds"], rows)
    )


def _metrics_section(card: Card) -> str:
    rows = [
        [task, metric, f"{value:.4f}"]
        for task, found in card.metrics.items()
        for metric, value in found.items()
    ]
    if not rows:
        return "Not stated."
    return (f"On {card.evaluated_on}.\n\n" if card.evaluated_on else "") + _table(
        ["task", "metric", "value"], rows
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [list(head), ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


# -- loading ---------------------------------------------------------------------------------------


def from_pretrained(
    name_or_folder: str | Path,
    *,
    trunk: nn.Module | None = None,
    network: nn.Module | None = None,
    download: bool = False,
    revision: str | None = None,
) -> Pretrained:
    """Load what `save_pretrained` wrote. Nothing in the folder is ever run.

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
    folder = Path(name_or_folder)
    if not folder.is_dir():
        folder = _from_hub(str(name_or_folder), download, revision)
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
    except (ConcordError, KeyError, TypeError, AttributeError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"{folder / CONFIG} is no whole config: {type(error).__name__} {error}"
        ) from error
    tokenize, normalization = None, config.get("normalization")
    weights = archive.tensors(WEIGHTS_FILE)
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
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{folder / WEIGHTS_FILE} is of another network: {reason}") from error
    return Pretrained(
        network.eval(), tasks, relations, decoders, tokenize, normalization, cuts, example, config
    )  # fmt: skip


def _from_hub(name: str, download: bool, revision: str | None) -> Path:
    if name.count("/") != 1 or name.startswith((".", "/")):
        raise CheckpointError(f"{name} is no folder")
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise MissingExtraError(
            f"{name} is no folder, and models of the hub need huggingface_hub: "
            "pip install concord-mtl[transformers]"
        ) from None
    try:
        found = snapshot_download(
            name,
            revision=revision,
            local_files_only=not download,
            allow_patterns=[CONFIG, WEIGHTS_FILE, README, f"{TOKENIZER}/*"],
        )
    except (OSError, ValueError) as error:
        where = "could not be fetched" if download else "not in the hub's cache (set download to fetch it)"
        raise CheckpointError(f"{name} is no folder, and {where}: {str(error).splitlines()[0]}") from error
    return Path(found)


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
