"""ONNX: the network, its probabilities and the joint decoding in one graph, checked before it is kept."""

from __future__ import annotations

import copy
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from concord._version import __version__
from concord.decoding import KNOWN_MASS, JointDecoder, checked_thresholds, implied_bounds
from concord.errors import ExportError, MissingExtraError, OutputError, RangeError, ShapeError
from concord.files import whole
from concord.relations import check_between
from concord.tasks import MulticlassTask, Task

ROWS = 100
"""Random inputs that the graph is compared on."""

Sampler = Callable[[int, torch.Generator], Any]


class JointDecoding(nn.Module):
    """`JointDecoder.decode` of one relation on tensors, so that it can be part of a graph.

    Args:
        decoder: With its fitted strengths. A sparse table becomes a dense one.

    Raises:
        NotFittedError: It has none.
    """

    known: Tensor
    table: Tensor
    rates: Tensor
    on: Tensor
    off: Tensor | None

    def __init__(self, decoder: JointDecoder) -> None:
        decoder.check_fitted()
        super().__init__()
        relation = decoder.relation.dense()
        self.source, self.target = relation.source.name, relation.target.name
        self.class_to_class = relation.class_to_class
        self.bounds = implied_bounds(relation)
        self.target_strength = float(decoder.target_strength)
        self.class_strength = float(decoder.class_strength)
        evidence = relation.evidence()
        buffers = {
            "known": relation.known,
            "table": np.nan_to_num(relation.table),
            "rates": relation.rates(),
            "on": np.exp(evidence.on),
            "off": None if evidence.off is None else np.exp(evidence.off),
        }
        for name, values in buffers.items():
            self.register_buffer(
                name, None if values is None else torch.as_tensor(values, dtype=torch.float32)
            )

    def targets(self, p: Tensor, q: Tensor) -> Tensor:
        """`decode_targets` with this relation and strength: (n, C) and (n, K) to (n, K)."""
        mass = p @ self.known
        some = mass > KNOWN_MASS
        suggestion = torch.where(some, (p @ self.table) / mass.clamp(min=KNOWN_MASS), self.rates)
        suggestion, rates = (each.clamp(*self.bounds) for each in (suggestion, self.rates))
        if self.class_to_class:
            moved = q.clamp(min=1e-12).log() + self.target_strength * mass * (suggestion.log() - rates.log())
            return moved.softmax(dim=-1)
        moved = _logit(q.clamp(1e-6, 1 - 1e-6))
        return (moved + self.target_strength * mass * (_logit(suggestion) - _logit(rates))).sigmoid()

    def classes(self, p: Tensor, q: Tensor) -> Tensor:
        """`decode_classes` with this relation and strength: (n, C) and (n, K) to (n, C)."""
        if self.off is None:
            score = (q @ self.on.T).clamp(min=1e-12).log()
        else:
            each = q.unsqueeze(1)
            score = (each * self.on + (1 - each) * self.off).log().sum(dim=-1)
        return (p.clamp(min=1e-12).log() + self.class_strength * score).softmax(dim=-1)

    def forward(
        self, heads: Mapping[str, Tensor], current: Mapping[str, Tensor], told: Mapping[str, Tensor]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Probabilities of both tasks, moved as `Decoders` does; and of those moved as targets alone.

        Args:
            heads: By task, probabilities of the heads.
            current: By task, the same, perhaps moved by other relations.
            told: By task, the same, perhaps moved by relations that lead to it.
        """
        current, told = dict(current), dict(told)
        if self.target_strength:
            p, q, own = told[self.source], current[self.target], told[self.target]
            current[self.target] = self.targets(p, q)
            told[self.target] = current[self.target] if own is q else self.targets(p, own)
        if self.class_strength:
            current[self.source] = self.classes(current[self.source], heads[self.target])
        return current, told


def _logit(p: Tensor) -> Tensor:
    return p.log() - (1 - p).log()


class Predictor(nn.Module):
    """Inputs to probabilities: of every head, and jointly decoded.

    Args:
        network: Input -> logits by task.
        tasks: The tasks.
        decoders: Joint decoders, applied in turn; without any there are no decoded outputs.
        keys: Of the network's input, where it is a mapping of tensors; else None.
        thresholds: By task, where predictions are cut; without any there are no outputs of predictions.
    """

    def __init__(
        self,
        network: nn.Module,
        tasks: Sequence[Task],
        decoders: Sequence[JointDecoder] = (),
        keys: Sequence[str] | None = None,
        thresholds: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.cuts = checked_thresholds(thresholds or {}, tasks)
        for number, name in enumerate(self.cuts):
            self.register_buffer(f"cut{number}", torch.as_tensor(self.cuts[name], dtype=torch.float32))
        self.multiclass = {task.name: isinstance(task, MulticlassTask) for task in tasks}
        self.decoding = nn.ModuleList(JointDecoding(decoder) for decoder in decoders)
        self.keys = None if keys is None else tuple(keys)

    @property
    def outputs(self) -> list[str]:
        """Names of the outputs, in order."""
        kinds = ("probabilities", "decoded") if self.decoding else ("probabilities",)
        values = [f"{name}_{kind}" for kind in kinds for name in self.multiclass]
        return [*values, *(f"{name}_predicted" for name in self.cuts)]

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Probabilities by task, (n, C) or (n, K), then decoded ones, then predictions; see `outputs`."""
        x = inputs[0] if self.keys is None else dict(zip(self.keys, inputs, strict=True))
        logits = self.network(x)
        heads = {
            name: logits[name].float().softmax(dim=-1) if multiclass else logits[name].float().sigmoid()
            for name, multiclass in self.multiclass.items()
        }
        out, current, told = list(heads.values()), heads, heads
        for decoding in self.decoding:
            current, told = decoding(heads, current, told)
        if self.decoding:
            out += [current[name] for name in heads]
        for number, name in enumerate(self.cuts):
            out.append(self._predicted(name, current[name], getattr(self, f"cut{number}")))
        return tuple(out)

    def _predicted(self, name: str, p: Tensor, cut: Tensor) -> Tensor:
        """`concord.metrics.decisions` on tensors: (n,) or (n, K), int64."""
        return (p / cut).argmax(dim=-1) if self.multiclass[name] else (p >= cut).to(torch.int64)


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        path: The file.
        inputs: Names of its inputs.
        outputs: Names of its outputs.
        difference: Largest difference of an output between onnxruntime and torch.
        rows: Random inputs that it was found on.
    """

    path: Path
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    difference: float
    rows: int


def export_onnx(
    path: str | Path,
    network: nn.Module,
    tasks: Sequence[Task],
    *,
    example: Any,
    decoders: Sequence[JointDecoder] = (),
    thresholds: Mapping[str, Any] | None = None,
    normalization: tuple[Sequence[float], Sequence[float]] | None = None,
    features: Sequence[str] | None = None,
    tolerance: float = 1e-5,
    seed: int = 0,
    sample: Sampler | None = None,
) -> Exported:
    """Write a network as an ONNX file with named inputs and outputs, for any number of rows from one on.

    Outputs are `TASK_probabilities`, with decoders `TASK_decoded`, with thresholds `TASK_predicted` of the
    decoded probabilities: the number of the class (n,), or 1 for each label that is present (n, K). Names of
    classes and labels are in the file's metadata. The file is compared with torch on random inputs first;
    where they differ, or anything else goes wrong, no file is left.

    Args:
        path: The file to write; replaced where it exists.
        network: Input -> logits by task. It is left as it is.
        tasks: The tasks.
        example: One input: a tensor, or a mapping of tensors. The second dimension of two-dimensional
            whole numbers (words, tokens) is dynamic, too.
        decoders: Joint decoders with fitted strengths.
        thresholds: By task, where predictions are cut: (K,) of labels, (C,) of classes, whose
            probabilities are compared in proportion to them; kept in the metadata.
        normalization: Mean and standard deviation by channel of the images; kept in the metadata.
        features: What each column of a two-dimensional input is, in order; kept in the metadata.
        tolerance: Largest difference allowed, > 0.
        seed: Of the random inputs.
        sample: Makes a number of random inputs; standard normal numbers, or words of the first embedding,
            unless given.

    Raises:
        ExportError: The network cannot be exported, the result differs from torch by more than the
            tolerance, or the file cannot be written.
        MissingExtraError: onnx, onnxscript or onnxruntime is not installed.
        NotFittedError: A joint decoder without strengths.
        RangeError: A tolerance that is not > 0, or thresholds outside [0, 1].
        ShapeError: Thresholds of other tasks, or of another number of classes or labels; a decoder whose
            relation is of other classes or labels than a task has, or in another order; features of another
            number than the input has.
        UnknownNameError: A decoder of a task that is not there.
        DuplicateNameError: Two decoders between the same tasks.
    """
    check_between([decoder.relation for decoder in decoders], tasks, "the network")
    if not tolerance > 0:
        raise RangeError(f"the tolerance of an export is > 0, found {tolerance}")
    if features is not None and tuple(getattr(example, "shape", ()))[1:] != (len(features),):
        found = tuple(getattr(example, "shape", ()))
        raise ShapeError(f"{len(features)} features are named, but the input has shape {found}")
    _need_onnx()
    target = Path(path)
    keys = tuple(example) if isinstance(example, Mapping) else None
    predictor = Predictor(copy.deepcopy(network).cpu().float(), tasks, decoders, keys, thresholds).eval()
    names = keys or (_input_name(example),)
    draw = sample or random_inputs(network, example)
    try:
        with whole(target) as part:
            model = _converted(predictor, draw(3, torch.Generator().manual_seed(seed)), names)
            _describe(model, tasks, decoders, normalization, predictor.cuts, features)
            part.write_bytes(_serialized(model, target))
            difference = _largest_difference(part, predictor, names, draw, seed)
            if not difference <= tolerance:
                raise ExportError(
                    f"onnxruntime differs from torch by {difference:.2g} on {ROWS} random inputs, more than "
                    f"{tolerance:.2g}; {target} was not written"
                )
    except OutputError as error:
        raise ExportError(str(error)) from error
    return Exported(target, tuple(names), tuple(predictor.outputs), difference, ROWS)


def random_inputs(network: nn.Module, example: Any) -> Sampler:
    """Makes random inputs like an example: normal numbers; words; masks of texts of several lengths.

    Features that the network standardises are drawn around the mean and deviation that it knows.
    """
    from concord.networks import Standardize

    embedding = next((part for part in network.modules() if isinstance(part, nn.Embedding)), None)
    words = 2 if embedding is None else embedding.num_embeddings
    standard = next((part for part in network.modules() if isinstance(part, Standardize)), None)

    def one(name: str, like: Tensor, rows: int, length: int, generator: torch.Generator) -> Tensor:
        if like.is_floating_point():
            drawn = torch.randn(rows, *like.shape[1:], generator=generator)
            if standard is None:
                return drawn
            scale = standard.scale.cpu()
            return standard.mean.cpu() + drawn / torch.where(scale > 0, scale, 1.0)
        if "mask" in name:
            lengths = torch.randint(1, length + 1, (rows, 1), generator=generator)
            return (torch.arange(length) < lengths).to(like.dtype)
        shape = (rows, length) if like.dim() == 2 else (rows, *like.shape[1:])
        return torch.randint(0, words, shape, generator=generator, dtype=like.dtype)

    def draw(rows: int, generator: torch.Generator) -> Any:
        length = int(torch.randint(3, 12, (), generator=generator))
        if isinstance(example, Mapping):
            return {name: one(name, like, rows, length, generator) for name, like in example.items()}
        return one("", example, rows, length, generator)

    return draw


def _input_name(example: Tensor) -> str:
    if not example.is_floating_point():
        return "tokens"
    return "images" if example.dim() == 4 else "features"


def _need_onnx() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            f"export to ONNX needs onnx, onnxscript and onnxruntime: pip install concord-mtl[onnx] ({error})"
        ) from None


def _tensors(inputs: Any) -> tuple[Tensor, ...]:
    return tuple(inputs.values()) if isinstance(inputs, Mapping) else (inputs,)


def _converted(predictor: Predictor, inputs: Any, names: Sequence[str]) -> Any:
    batch, words = torch.export.Dim("batch", min=1), torch.export.Dim("words", min=1)
    shapes = tuple(
        {0: batch} | ({1: words} if not x.is_floating_point() and x.dim() == 2 else {})
        for x in _tensors(inputs)
    )
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                predictor,
                _tensors(inputs),
                dynamo=True,
                input_names=list(names),
                output_names=predictor.outputs,
                dynamic_shapes=(shapes,),  # of the one argument *inputs
                verbose=False,
            )
    except Exception as error:  # whatever a network does that torch.export cannot follow
        first = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise ExportError(f"torch cannot export this network to ONNX: {first}") from error
    assert program is not None
    return program.model_proto


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporter says of its own insides; warnings of the network come through."""
    log = logging.getLogger("torch.onnx._internal.exporter._registration")
    before = log.level
    log.setLevel(logging.ERROR)  # it tells of every optional library that is not there
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)`", FutureWarning)
            # Inputs of one text share their axes; one name for each is what is asked for.
            warnings.filterwarnings("ignore", r"# The axis name: (batch|words) will not be used", UserWarning)
            yield
    finally:
        log.setLevel(before)


def _describe(
    model: Any,
    tasks: Sequence[Task],
    decoders: Sequence[JointDecoder],
    normalization: tuple[Sequence[float], Sequence[float]] | None,
    cuts: Mapping[str, npt.NDArray[np.float64]],
    features: Sequence[str] | None,
) -> None:
    import onnx

    facts: dict[str, Any] = {
        "library": f"concord {__version__}",
        "tasks": [
            {
                "name": task.name,
                "kind": "multiclass" if isinstance(task, MulticlassTask) else "multilabel",
                "outputs": list(task.outputs),
            }
            for task in tasks
        ],
        "decoding": [
            {
                "relation": decoder.relation.name,
                "target_strength": float(decoder.target_strength),
                "class_strength": float(decoder.class_strength),
            }
            for decoder in decoders
        ],
        "normalization": None if normalization is None else [list(map(float, n)) for n in normalization],
    }
    if features is not None:
        facts["features"] = list(features)
    if cuts:
        facts["thresholds"] = {name: values.tolist() for name, values in cuts.items()}
    onnx.helper.set_model_props(
        model, {name: value if isinstance(value, str) else json.dumps(value) for name, value in facts.items()}
    )


def _serialized(model: Any, target: Path) -> bytes:
    try:
        return bytes(model.SerializeToString())
    except ValueError as error:  # protobuf's bound of 2 GiB
        raise ExportError(f"{target} would be larger than the 2 GiB that an ONNX file may have") from error


def _largest_difference(
    path: Path, predictor: Predictor, names: Sequence[str], draw: Sampler, seed: int
) -> float:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    generator = torch.Generator().manual_seed(seed + 1)
    worst = 0.0
    for rows in (1, 7, ROWS - 8):  # several sizes: the batch is dynamic
        inputs = _tensors(draw(rows, generator))
        with torch.no_grad():
            expected = predictor(*inputs)
        found = session.run(predictor.outputs, {n: x.numpy() for n, x in zip(names, inputs, strict=True)})
        if not _decides_alike(predictor, found):
            return float("inf")
        for mine, other in zip(expected, found, strict=True):
            if other.dtype == np.int64:  # a probability next to its threshold may lie on either side
                continue
            if not (np.isfinite(other).all() and other.shape == mine.shape):
                return float("inf")
            worst = max(worst, float(np.abs(mine.numpy() - other).max()))
    return worst


def _decides_alike(predictor: Predictor, found: Sequence[npt.NDArray[Any]]) -> bool:
    """Whether the graph's predictions are those that follow from its own probabilities."""
    values = dict(zip(predictor.outputs, found, strict=True))
    kind = "decoded" if predictor.decoding else "probabilities"
    return all(
        np.array_equal(
            values[f"{name}_predicted"],
            predictor._predicted(
                name, torch.from_numpy(values[f"{name}_{kind}"]), getattr(predictor, f"cut{number}")
            ).numpy(),
        )
        for number, name in enumerate(predictor.cuts)
    )
