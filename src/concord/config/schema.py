"""What a config may say. Every field carries its meaning, unit and default: the one place for them.

`concord init` writes these descriptions into a starting config, `concord schema` into a JSON schema.
Nothing here imports torch, so that a mistake in a config is told at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from concord.config.numbers import (
    NUMBER,
    WHOLE,
    Count,
    Fraction,
    Number,
    Portion,
    Positive,
    Probability,
    Seed,
    Weight,
    Whole,
)
from concord.couplings import check_options, coupling_names
from concord.errors import ConcordError, UnknownNameError


def _coupling_name(value: str) -> str:
    if value not in coupling_names():
        raise ValueError(str(UnknownNameError.of("coupling", value, coupling_names())))
    return value


def _threshold_metric(value: Any) -> Any:
    from concord.decoding import checked_metric  # only where one is given: it loads NumPy

    try:
        return None if value is None else checked_metric(value)
    except ConcordError as error:
        raise ValueError(str(error)) from None


ThresholdMetric = Annotated[
    Any,
    AfterValidator(_threshold_metric),
    Field(
        json_schema_extra={
            "anyOf": [
                {"enum": ["f1", "balanced_accuracy", None]},
                {
                    "type": "object",
                    "properties": {"precision": {"exclusiveMinimum": 0, "exclusiveMaximum": 1}},
                    "required": ["precision"],
                    "additionalProperties": False,
                },
            ]
        }
    ),
]
CouplingName = Annotated[
    str, AfterValidator(_coupling_name), Field(json_schema_extra={"enum": list(coupling_names())})
]
Split = Literal["train", "val", "test"]
Kind = Literal["images", "arrays", "features", "columns", "texts"]

FIELDS_OF_KIND: dict[str, frozenset[str]] = {
    "images": frozenset({"size", "invert", "region", "margin", "fit", "on_error"}),
    "arrays": frozenset({"size", "invert", "file", "key", "white"}),
    "features": frozenset({"file", "key"}),
    "columns": frozenset({"columns"}),
    "texts": frozenset(),
}
"""What may be said of inputs, by their kind."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class TaskPlan(_Strict):
    """A task; classes and labels are read from the manifests unless given."""

    classes: list[str] | None = Field(
        default=None, description="Class names in order; read from the sources unless given"
    )
    labels: list[str] | None = Field(
        default=None, description="Label names in order; read from the sources unless given"
    )
    weight: Weight = Field(default=1.0, description="Factor of the supervised loss, >= 0")
    metric: str | None = Field(
        default=None, description="What selects weights: accuracy or mean_f1 unless given"
    )

    @model_validator(mode="after")
    def _one_kind(self) -> TaskPlan:
        if self.classes is not None and self.labels is not None:
            raise ValueError("a task has classes or labels, not both")
        return self


class InputPlan(_Strict):
    """Where the inputs of a source come from."""

    kind: Kind = Field(
        description="images (files), arrays (pixels in a file), features (rows of a file), columns (of the "
        "manifest) or texts (the manifest's column text)"
    )
    size: Count = Field(default=64, description="images, arrays: height and width, in pixels")
    invert: bool = Field(default=False, description="images, arrays: exchange black and white")
    region: Literal["whole", "box", "landmarks"] = Field(
        default="whole", description="images: the part that is used; box and landmarks are manifest columns"
    )
    margin: Weight = Field(
        default=0.0, description="images: widening of a box, as a share of its longer side"
    )
    fit: Literal["pad", "crop", "stretch"] = Field(
        default="pad", description="images: how a region becomes square"
    )
    on_error: Literal["raise", "skip"] = Field(
        default="raise", description="images: what becomes of a file that cannot be read"
    )
    file: str | None = Field(
        default=None,
        description="arrays, features: .npy, .npz, .parquet or .csv file; the manifest's column row counts "
        "its rows",
    )
    key: str = Field(
        default="x", description="arrays, features: name of the array in a .npz file that holds several"
    )
    white: Positive = Field(default=255.0, description="arrays: value of a fully lit pixel")
    columns: list[str] | None = Field(
        default=None, description="columns: the manifest's feature columns, numbers or text"
    )

    @model_validator(mode="after")
    def _fitting(self) -> InputPlan:
        own = FIELDS_OF_KIND[self.kind]
        for name in sorted(self.model_fields_set - {"kind"} - own):
            if getattr(self, name) != type(self).model_fields[name].default:
                has = ", ".join(sorted(own)) or "no further fields"
                raise ValueError(f"inputs of kind {self.kind} have no {name}, they have {has}")
        if "file" in own and self.file is None:
            raise ValueError(f"inputs of kind {self.kind} need a file")
        if self.kind == "columns" and not self.columns:
            raise ValueError("inputs of kind columns need columns, at least one")
        return self


class SplitPlan(_Strict):
    """Splits of a source that its data set does not say, or not for this purpose."""

    rename: dict[Split, Split] = Field(
        default_factory=dict,
        description="Splits that count as another one: val: test where the test split is not public",
    )
    shares: dict[Split, Number] = Field(
        default_factory=dict,
        description="Splits that are drawn anew, whole groups together, by share: train: 0.9, val: 0.1",
    )
    keep: list[Split] = Field(default_factory=list, description="Splits whose rows stay where they are")
    stratify: list[str] = Field(
        default_factory=list, description="Tasks whose classes and labels each split gets its share of"
    )

    @model_validator(mode="before")
    @classmethod
    def _under_shares(cls, values: Any) -> Any:
        named = [name for name in get_args(Split) if isinstance(values, Mapping) and name in values]
        if named:
            shares = ", ".join(f"{name}: {values[name]}" for name in named)
            raise ValueError(f"shares of splits stand below the key shares; write shares: {{{shares}}}")
        return values


class SourcePlan(_Strict):
    """One origin of samples."""

    manifest: str | None = Field(
        default=None, description="Path of a manifest (.parquet, .csv), relative to data"
    )
    reader: str | None = Field(
        default=None,
        description="Instead of a manifest: name of a reader (`concord data readers` lists them)",
    )
    root: str | None = Field(
        default=None, description="Folder of the data set, or what the manifest's paths are relative to"
    )
    options: dict[str, Any] = Field(default_factory=dict, description="Options of the reader")
    inputs: InputPlan = Field(description="Where the inputs come from")
    tasks: list[str] | None = Field(
        default=None, description="Tasks whose annotations are used; all of them unless given"
    )
    splits: SplitPlan | None = Field(
        default=None,
        description="Splits that are drawn or renamed, before rows and tasks are chosen; those of the data "
        "unless given: {shares: {train: 0.8, val: 0.1, test: 0.1}}, with keep: [test] and stratify: [TASK] "
        "beside it; {rename: {val: test}}",
    )
    where: str | None = Field(
        default=None, description="Condition in SQL that all rows meet, such as half = 0"
    )
    train_where: str | None = Field(
        default=None, description="Condition in SQL that training rows meet besides"
    )
    share: Positive | None = Field(
        default=None,
        description="Share of the batches, relative to the other sources'; give all or none",
    )

    @model_validator(mode="after")
    def _one_origin(self) -> SourcePlan:
        if (self.manifest is None) == (self.reader is None):
            raise ValueError("a source has a manifest or a reader, one of the two")
        if self.reader is not None and self.root is None:
            raise ValueError("a reader needs a root, the folder of the data set")
        if self.reader is None and self.options:
            raise ValueError("options are a reader's, and there is none")
        return self


class RelationPlan(_Strict):
    """What is known of how two tasks are related."""

    source: str = Field(description="Class task of the rows")
    target: str = Field(description="Label task, or second class task, of the columns")
    table: str = Field(
        description="Path of a CSV file relative to data, a built-in table (expressions, "
        "compound-expressions), READER:FOLDER for the table of a data set (pack, cub200), or estimate: from "
        "the training rows that are annotated for both"
    )
    transpose: bool = Field(default=False, description="CSV: rows and columns are exchanged")
    normalize: bool = Field(default=False, description="CSV: divide every row by its sum (class to class)")
    extra: Literal["error", "ignore"] = Field(
        default="error",
        description="Rows and columns that the tasks do not have, or that the table lacks: ignore leaves out "
        "the former, and takes the latter for unknown",
    )


class TrunkPlan(_Strict):
    """The network between the inputs and the heads."""

    name: str = Field(
        default="builtin:mlp",
        description="builtin:mlp, builtin:resnet, builtin:bag-of-words, timm:NAME, torchvision:NAME, "
        "hf:NAME_OR_FOLDER or package:efficientnet-lite0",
    )
    options: dict[str, Any] = Field(
        default_factory=dict, description="Options of the architecture, such as hidden: [512, 512]"
    )
    pretrained: bool = Field(default=False, description="Whether weights that were trained before are loaded")
    download: bool = Field(
        default=False, description="Whether they may be fetched when nothing local has them"
    )
    freeze: list[str] = Field(
        default_factory=list, description="Modules that are not trained: trunk for all of it, or trunk.LAYER"
    )
    layer_decay: Portion = Field(
        default=1.0,
        description="Factor of the learning rate from a layer to the one before it, in (0, 1]",
    )
    standardize: bool = Field(
        default=True,
        description="Whether feature rows are brought to mean 0 and deviation 1 of the training rows",
    )


class CouplingPlan(_Strict):
    """A loss that ties two tasks through their relation, or a recipe of such losses."""

    name: CouplingName = Field(
        description="A recipe, or a loss with options of its own: " + ", ".join(coupling_names())
    )
    weight: Weight = Field(
        default=1.0, description="Factor of the loss, or of all losses of the recipe, >= 0"
    )
    relation: str | None = Field(
        default=None, description="SOURCE->TARGET; every relation that it is defined for unless given"
    )
    options: dict[str, Any] = Field(
        default_factory=dict,
        description="Options of the loss, such as exponent: 0.5; a recipe has settings of its own",
    )

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        by_name = {"type": "string", "enum": list(coupling_names())}
        return {"anyOf": [handler.resolve_ref_schema(handler(core_schema)), by_name]}

    @model_validator(mode="after")
    def _recipes_without_options(self) -> CouplingPlan:
        check_options(self.name, self.options)
        return self


Effort = Literal["fast", "standard", "thorough", "holdout", "probe"]
"""How much `auto` may spend, as `concord.auto` has it."""


class Stages(_Strict):
    """Whether networks without coupling are trained first, which teach the final one."""

    kind: Literal["single", "two-stage", "auto"] = Field(
        default="single",
        description="single: one training, with couplings as losses; two-stage: networks without coupling "
        "are trained first, and the final one learns, on rows without a class, the posterior of the class "
        "given what is annotated there, through every relation; auto: networks without coupling judge the "
        "relations, and for each task the one is kept that unseen rows show to be best",
    )
    effort: Effort = Field(
        default="standard",
        description="auto: how much may be spent, at most 4.0 (fast), 7.9 (standard) or 26.5 (thorough) "
        "times the training of one network per task; holdout (experimental): at most 3.0, by networks that "
        "are trained without a part of the rows, which judge, and what is chosen goes on with all rows; "
        "probe (experimental): heads on frozen features of the trunk choose what is trained, at most 1.3 "
        "times the cost of that",
    )
    alpha: Annotated[float, Field(gt=0, lt=1), NUMBER] = Field(
        default=0.05,
        description="auto: error level of the guard, one-sided, over all candidates of a task, in (0, 1)",
    )
    folds: Annotated[int, Field(ge=2, lt=2**31), WHOLE] = Field(
        default=4,
        description="two-stage: networks of the first stage, each trained without one part of the rows, "
        "which it then predicts",
    )
    share: Portion = Field(default=0.45, description="two-stage: their steps, as a share of training.steps")
    weight: Weight = Field(default=1.0, description="two-stage: factor of the loss on what they teach, >= 0")

    @model_validator(mode="after")
    def _fitting(self) -> Stages:
        own = {"single": set(), "two-stage": {"folds", "share", "weight"}, "auto": {"effort", "alpha"}}
        for name, field in type(self).model_fields.items():
            if name != "kind" and name not in own[self.kind] and getattr(self, name) != field.default:
                having = next(kind for kind, names in own.items() if name in names)
                raise ValueError(f"stages of kind {self.kind} have no {name}; it is kind: {having} that has")
        return self

    @model_serializer(mode="wrap")
    def _of_auto_alone(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Folders are older than efforts and error levels, and are resumed all the same."""
        values = dict(dump(self))
        if self.kind != "auto":
            del values["effort"], values["alpha"]
        elif self.alpha == Stages.model_fields["alpha"].default:
            del values["alpha"]
        return values


class Mixing(_Strict):
    """How sources share the batches."""

    share: Literal["size", "equal", "temperature"] = Field(
        default="equal",
        description="Share of each source: by rows, equal, or rows to the power 1 / temperature; shares of "
        "the sources themselves come first",
    )
    temperature: Positive = Field(default=2.0, description="1 is by size, larger is closer to equal")
    workers: Whole = Field(default=0, description="Processes that load inputs; 0 loads in this one")


class Augmentation(_Strict):
    """Changes of training images."""

    flip: Probability = Field(default=0.0, description="Probability of mirroring left and right")
    shift: Whole = Field(default=0, description="Largest shift, in pixels")


class Training(_Strict):
    """How weights are changed."""

    steps: Count | None = Field(
        default=None,
        description="Optimiser steps; unless given, as many as 10 passes over the rows of the task with most "
        "of them take at batch_size / number of tasks rows a step, at least 600 and at most 20,000",
    )
    batch_size: Count = Field(default=128, description="Rows of a step, over all sources and devices")
    learning_rate: Positive = Field(default=2e-3, description="Of AdamW, after the warm-up")
    weight_decay: Weight = Field(default=0.01, description="Of AdamW")
    decay: Literal["all", "matrices"] = Field(default="all", description="What weight decay applies to")
    schedule: Literal["constant", "cosine", "linear"] = Field(
        default="constant", description="Course of the learning rate after the warm-up"
    )
    warmup: Whole = Field(
        default=0, description="Steps in which the learning rate rises linearly, fewer than there are"
    )
    precision: Literal["32-true", "bf16-mixed", "16-mixed", "64-true"] = Field(
        default="32-true", description="Of the arithmetic"
    )
    accumulate: Count = Field(
        default=1, description="Pieces that a batch is cut into, so that it fits into memory"
    )
    clip: Positive | None = Field(default=None, description="Largest norm of the gradient")
    average: Fraction | None = Field(
        default=None, description="Decay of an exponential moving average of the weights"
    )
    channels_last: bool = Field(default=False, description="Whether images lie in memory channels last")
    compile: str | None = Field(default=None, description="Backend of torch.compile, such as inductor")
    seed: Seed = Field(default=0, description="Of initial weights, order of rows and dropout")
    accelerator: Literal["auto", "cpu", "cuda", "mps"] = Field(default="auto", description="What it runs on")
    devices: Count | Literal["auto"] = Field(
        default=1, description="Devices on each machine; a launcher's number (torchrun, SLURM) comes first"
    )
    nodes: Count = Field(default=1, description="Machines; a launcher's number comes first")


class ValidationPlan(_Strict):
    """What is watched on the rows of split val."""

    every: Count = Field(default=100, description="Steps between two evaluations")
    batch_size: Count = Field(default=512, description="Rows at a time")
    select: Literal["final", "metric", "log-loss"] = Field(
        default="final",
        description="Which weights each task gets: the last ones, those of its best metric, or of its least "
        "temperature-scaled log-loss",
    )
    calibrate: bool = Field(
        default=True,
        description="Whether logits of each task end divided by the temperature that suits these rows",
    )
    thresholds: ThresholdMetric = Field(
        default=None,
        description="What thresholds of labels and classes are chosen for, on these rows (stages auto: on "
        "out-of-fold training rows): f1, balanced_accuracy or {precision: 0.9}; null cuts labels at .5",
    )


class CheckpointPlan(_Strict):
    """What survives when a training is killed."""

    every: Count = Field(default=500, description="Steps between two checkpoints")
    keep: Count = Field(default=2, description="How many of the newest are kept, besides the best")


class LoggerPlan(_Strict):
    """A logger of your own: Python code, which is run."""

    use: str = Field(
        pattern=r"^[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*$",
        description="module:Class, looked for in the working folder first; this code is run. It has the "
        "methods of concord.fitting.Logger",
    )
    options: dict[str, Any] = Field(default_factory=dict, description="Arguments of the class")


class Watching(_Strict):
    """What one watches."""

    every: Count = Field(default=50, description="Steps between two records")
    progress: bool = Field(default=True, description="Whether a bar is drawn on the terminal")
    tensorboard: bool = Field(default=False, description="Whether OUTPUT/tensorboard is written")
    mlflow: str | None = Field(
        default=None, description="Tracking URI of MLflow: http://SERVER or sqlite:///FILE.db"
    )
    wandb: str | None = Field(default=None, description="Project of Weights & Biases")
    loggers: list[LoggerPlan] = Field(default_factory=list, description="Loggers of your own")


class Config(_Strict):
    """A training, from data to output."""

    data: str = Field(
        default=".",
        description="Folder that all paths of sources and relations are relative to; itself relative to this "
        "file",
    )
    output: str | None = Field(
        default=None,
        min_length=1,
        description="Folder of the results, relative to where the command runs; runs/NAME unless given",
    )
    sources: dict[str, SourcePlan] = Field(
        min_length=1, description="Where samples come from, by a name of your choice"
    )
    tasks: dict[str, TaskPlan] = Field(
        default_factory=dict,
        description="What is learnt: these tasks alone; all tasks of the sources unless given",
    )
    relations: list[RelationPlan] = Field(
        default_factory=list, description="How tasks are related: tables of P(label | class)"
    )
    couplings: list[CouplingPlan] = Field(
        default_factory=list,
        description="Losses that tie tasks through their relation, or recipes of them by name",
    )
    stages: Stages = Field(
        default=Stages(),
        description="Whether networks without coupling are trained first, which teach the final one",
    )
    trunk: TrunkPlan = Field(default=TrunkPlan(), description="The network between inputs and heads")
    mixing: Mixing = Field(default=Mixing(), description="How sources share the batches")
    augmentation: Augmentation = Field(default=Augmentation(), description="Changes of training images")
    training: Training = Field(default=Training(), description="How weights are changed")
    validation: ValidationPlan = Field(
        default=ValidationPlan(), description="What is watched on the rows of split val"
    )
    checkpoints: CheckpointPlan = Field(
        default=CheckpointPlan(), description="What survives when a training is killed"
    )
    watching: Watching = Field(default=Watching(), description="What one watches")

    @model_validator(mode="after")
    def _consistent(self) -> Config:
        given = [name for name, source in self.sources.items() if source.share is not None]
        if given and len(given) < len(self.sources):
            lacking = next(name for name in self.sources if name not in given)
            raise ValueError(f"source {lacking} needs a share, as {given[0]} has one")
        names = [f"{relation.source}->{relation.target}" for relation in self.relations]
        for coupling in self.couplings:
            if coupling.relation is not None and coupling.relation not in names:
                known = ", ".join(names) or "none"
                raise ValueError(f"coupling {coupling.name}: no relation {coupling.relation}; known: {known}")
        if self.couplings and not names:
            raise ValueError(f"coupling {self.couplings[0].name} has no relation to work on; give relations")
        if self.stages.kind == "auto":
            self._check_automatic()
        if self.stages.kind == "two-stage" and not names:
            raise ValueError("stages: two-stage teaches through relations; give relations")
        if self.stages.kind == "two-stage" and self.couplings:
            raise ValueError(
                f"stages: two-stage is itself a coupling, through every relation; leave "
                f"{self.couplings[0].name} out, or train in a single stage"
            )
        return self

    def _check_automatic(self) -> None:
        """What `auto` decides itself is not said besides."""
        if self.couplings:
            raise ValueError(f"stages: auto chooses couplings itself; leave {self.couplings[0].name} out")
        weighted = [name for name, task in self.tasks.items() if task.weight != 1]
        if weighted:
            raise ValueError(f"stages: auto weighs tasks by their rows; leave tasks.{weighted[0]}.weight out")
        if self.mixing.share != "equal" or any(source.share for source in self.sources.values()):
            raise ValueError("stages: auto draws as many rows of each task in every step; leave shares out")
        if self.validation.select != "final":
            raise ValueError("stages: auto keeps final weights; leave validation.select out")

    def files(self) -> list[Path]:
        """Files that it names: manifests, inputs and tables; what lies in folders is not listed."""
        return named_files(Path(self.data), self.sources.values(), self.relations)

    def identity(self) -> dict[str, Any]:
        """What the result of a training depends on, as plain data: without places and machines."""
        values = self.model_dump(mode="json", exclude={"data", "output", "watching", "checkpoints"})
        for key in ("accelerator", "devices", "nodes"):
            del values["training"][key]
        del values["mixing"]["workers"]
        if self.stages.kind == "single":  # nothing to keep
            del values["stages"]
        if self.validation.thresholds is None:  # as in trainings of versions without it
            del values["validation"]["thresholds"]
        return values


def named_files(data: Path, sources: Iterable[SourcePlan], relations: Iterable[RelationPlan]) -> list[Path]:
    """Files that sources and relations name: manifests, inputs, tables; what lies in folders is not listed.

    Args:
        data: Folder that they are relative to.
        sources: The sources.
        relations: The relations.
    """
    named = [relation.table for relation in relations]
    for source in sources:
        named += [name for name in (source.manifest, source.inputs.file) if name is not None]
    return [data / name for name in named]
