"""What a study compares, on which rows, how often: a plan, checked before anything is trained."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    model_validator,
)

from concord.config import (
    NUMBER,
    WHOLE,
    Number,
    Seed,
    SourcePlan,
    TaskPlan,
    Weight,
    Whole,
    as_config,
    data_folder,
    named_files,
    plain_data,
    read_config,
    training_length,
)
from concord.config import RelationPlan as SourcedRelation
from concord.errors import MissingDataError, StudyError, UnknownNameError
from concord.study.functions import names_function
from concord.study.spec import (
    FEWEST_STEPS,
    AnyNetwork,
    Budget,
    Count,
    Name,
    Network,
    Regime,
    StudyRecipe,
    TrunkNetwork,
    _Strict,
    case_names,
)

BASELINES = ("single-task", "uncoupled")
"""Conditions that the others are compared with, where the plan has them."""


class ConditionPlan(_Strict):
    """A way to train, by name, with options of its own.

    Attributes:
        name: Its name in results.
        use: The condition that is used; the name itself unless given.
        options: What the condition takes: weights, capacity, forms.
    """

    name: Name
    use: str = ""
    options: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _use_defaults_to_name(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = {"name": value}
        if isinstance(value, dict) and "name" in value and not value.get("use"):
            value = {**value, "use": value["name"]}
        return value


class RelationPlan(_Strict):
    """A relation of the plan's data: a CSV file, or a built-in table.

    Attributes:
        source: Class task of the rows.
        target: Task of the columns.
        table: Path of a CSV file, relative to the plan, or the name of a built-in table.
        normalize: Divide rows by their sum (class to class).
    """

    source: str
    target: str
    table: str
    normalize: bool = False


class Data(_Strict):
    """The user's own data: a manifest whose column `split` says train, val and test, and features.

    Attributes:
        manifest: Path of a manifest (.parquet, .csv), relative to the plan.
        features: Path of a .npy or .npz file; the manifest's column `row` is its row.
        array: Name of the array in an .npz file.
        relations: Relations between the manifest's tasks.
    """

    manifest: str
    features: str
    array: str = "x"
    relations: list[RelationPlan] = Field(default_factory=list)


class Sourced(_Strict):
    """Data as `concord train` opens them: any number of sources, by readers or manifests.

    In a plan, `config` may name a config of `concord train`, relative to the plan; what stands next to it
    comes in the place of the config's; `size` is the side of all images in pixels, in place of the sources'
    own. The variable CONCORD_DATA, where it is set, comes in the place of `data`.

    Attributes:
        data: Folder that all paths are relative to; itself relative to the plan.
        sources: Where samples come from.
        tasks: What is learnt; all tasks of the sources unless given.
        relations: How tasks are related.
        rows: At most so many rows of a split, of each source; drawn once, the same for all runs.
        outputs: `all`, or `present`: classes and labels that some split has no row of are left out.
        stream: Whether images stay in their files and are read when a network needs them, so that memory
            does not grow with their number; results are the same, bit by bit. Not with `on_error: skip`.
        workers: Processes that read ahead where images are streamed; 0 reads in the one that trains.
    """

    data: str
    sources: dict[str, SourcePlan]
    tasks: dict[str, TaskPlan] = Field(default_factory=dict)
    relations: list[SourcedRelation] = Field(default_factory=list)
    rows: dict[Literal["train", "val", "test"], Count] = Field(default_factory=dict)
    outputs: Literal["all", "present"] = "all"
    stream: bool = False
    workers: Annotated[int, Field(ge=0, lt=2**10), WHOLE] = 0


def _kind_of(problem: Any) -> str:
    if isinstance(problem, dict):
        return "Sourced" if "sources" in problem else "Data"
    return type(problem).__name__ if isinstance(problem, Data | Sourced) else "str"


MOST_SEEDS = 10_000


def with_steps(regime: Any, rows_per_task: Any) -> Any:
    """A regime as plain data, with its steps where its rows ask for more than the usual ones."""
    if not isinstance(regime, dict) or regime.get("steps") is not None:
        return regime
    rows = regime.get("rows")
    counts = list(rows.values()) if isinstance(rows, dict) else []
    if any(isinstance(n, str) for n in counts):
        raise ValueError(
            f"regime {regime.get('name')}: steps are counted from numbers of rows; where rows are "
            "shares or all, give budget.steps"
        )
    if not counts or not all(type(n) is int and n > 0 for n in (*counts, rows_per_task)):
        return regime  # which is refused for that
    length = training_length(dict(regime["rows"]), rows_per_task, FEWEST_STEPS)
    return regime if length.steps == FEWEST_STEPS else {**regime, "steps": length.steps}


def _listed(value: Any) -> Any:
    if not isinstance(value, int) or isinstance(value, bool):
        return value
    if not 1 <= value <= MOST_SEEDS:
        raise ValueError(f"1 to {MOST_SEEDS:,} seeds are possible, found {value if value < 1 else 'more'}")
    return list(range(value))


GROWING = ("regimes", "conditions", "seeds")
"""Fields of a plan that may have more entries than when its folder was begun."""


Samples = Literal["none", "few", "all"]
"""Which test samples a report shows."""


def _check_distinct(kind: str, names: Sequence[Any]) -> None:
    # They go into names of files, which some file systems tell apart by more than capitals only.
    plain = [str(name).casefold() for name in names]
    for name in names:
        if plain.count(str(name).casefold()) > 1:
            raise ValueError(f"{kind} {name} occurs twice")


def _check_tuning(field: str, values: Sequence[float]) -> None:
    if not values:
        raise ValueError(f"tuning.{field} has no value to choose")
    for value in values:
        if value < 0 or (value == 0 and field == "learning_rate"):
            raise ValueError(f"tuning.{field} holds {value}, which is out of range")


class Plan(_Strict):
    """A study: everything that its results depend on.

    In place of `network`, `networks` may give several by name: every regime is then run on each of them, as
    a regime `REGIME.NETWORK` of its own.

    Attributes:
        title: Heading of the report.
        problem: Name of a built-in problem, the user's own manifest and features, sources as those of
            `concord train`, or `module:function`, as `mydata:pets`: a Python function without arguments
            that returns a `concord.study.Problem`. The module is looked for next to the plan first.
        regimes: How many annotated rows; names are distinct.
        conditions: What is compared; at least one of them is `single-task` or `uncoupled`.
        seeds: Each draws rows, initial weights and batches, the same for all conditions; in 0 .. 2^32-1. A
            number n means 0 .. n-1.
        network: The trunk: a small one by `kind`, or any by its name.
        budget: Steps and rows.
        recipe: How weights are changed beyond the budget; constant rates in single precision unless given.
        metrics: By task, the metric that it is judged by: `accuracy` and `mean_f1` unless given.
        margin: Non-inferiority margin in points (x100).
        level: Mass of the intervals, and 1 minus the level of the verdicts.
        resamples: Bootstrap samples of the test rows; 0 leaves their noise out, and 1 has no spread.
        samples: Which test samples the report shows, with their images and annotations: `none`, `few` (24) or
            `all` annotated ones. Unless given, none of a data set that has a reader of its own, as it has
            terms of its own, and few of other data. Results do not depend on it.
        tuning: Budget fields with the values that every condition may choose from, on validation rows.
        folder: What the paths of `problem` are relative to.
    """

    title: str
    problem: Annotated[
        Annotated[str, Tag("str")] | Annotated[Data, Tag("Data")] | Annotated[Sourced, Tag("Sourced")],
        Discriminator(_kind_of),
    ]
    regimes: list[Regime] = Field(min_length=1)
    conditions: list[ConditionPlan] = Field(min_length=1)
    seeds: Annotated[list[Seed], BeforeValidator(_listed)] = Field(default=[0, 1, 2, 3, 4], min_length=1)
    network: AnyNetwork = Network()
    budget: Budget = Budget()
    recipe: StudyRecipe | None = None
    metrics: dict[str, str] = Field(default_factory=dict)
    margin: Weight = 1.0
    level: Annotated[float, Field(gt=0.5, lt=1), NUMBER] = 0.95
    resamples: Whole = 1000
    samples: Samples | None = None
    tuning: dict[Literal["learning_rate", "weight_decay"], list[Number]] = Field(default_factory=dict)
    folder: str = ""

    @model_validator(mode="before")
    @classmethod
    def _each_regime_on_each_network(cls, values: Any) -> Any:
        if not isinstance(values, dict) or "networks" not in values:
            return values
        rest = {key: value for key, value in values.items() if key != "networks"}
        networks, regimes = values["networks"], values.get("regimes")
        if "network" in rest:
            raise ValueError("give network, or networks by name, not both")
        if not isinstance(networks, dict) or not networks:
            raise ValueError("networks is a mapping from names to networks")
        if not isinstance(regimes, list) or not all(isinstance(regime, dict) for regime in regimes):
            return rest  # which is refused for that
        own = [regime.get("name") for regime in regimes if "network" in regime]
        if own:
            raise ValueError(
                f"regime {own[0]} has a network of its own; give that, or networks by name, not both"
            )
        return rest | {
            "regimes": [
                {**regime, "name": f"{regime.get('name', '')}.{name}", "network": network}
                for regime in regimes
                for name, network in networks.items()
            ]
        }

    @model_validator(mode="before")
    @classmethod
    def _length_by_rows(cls, values: Any) -> Any:
        """Steps where the plan says none, by the rows of each regime: fixed here, once for all conditions."""
        if not isinstance(values, dict):
            return values
        budget, regimes = values.get("budget", {}), values.get("regimes")
        if not isinstance(budget, dict) or budget.get("steps") is not None or not isinstance(regimes, list):
            return values
        budget = {key: value for key, value in budget.items() if key != "steps"}
        rows_per_task = budget.get("rows_per_task", Budget().rows_per_task)
        regimes = [with_steps(regime, rows_per_task) for regime in regimes]
        return {**values, "budget": budget, "regimes": regimes}

    @model_validator(mode="after")
    def _check(self) -> Plan:
        named: dict[str, list[Any]] = {
            "regime": [regime.name for regime in self.regimes],
            "condition": [condition.name for condition in self.conditions],
            "seed": self.seeds,
        }
        for kind, names in named.items():
            _check_distinct(kind, names)
        tasks = set(self.regimes[0].rows)
        for regime in self.regimes:
            if set(regime.rows) != tasks:
                raise ValueError(f"regime {regime.name} has other tasks than the first")
        for condition in self.conditions:
            if condition.name in BASELINES and condition.use != condition.name:
                raise ValueError(f"condition {condition.name} must be what its name says")
        for field, values in self.tuning.items():
            _check_tuning(field, values)
        warmup, room = self.recipe.warmup if self.recipe else 0, self._room
        if warmup >= room:
            raise ValueError(
                f"recipe.warmup: the learning rate rises for {warmup} steps of {room}; it must be fewer than "
                "the steps"
            )
        if self.resamples == 1:
            raise ValueError("resamples: one sample of the test rows has no spread; give 0 or at least 2")
        if not self.baselines:
            raise ValueError(f"a baseline is needed to compare with: add {' or '.join(BASELINES)}")
        return self

    @property
    def baselines(self) -> list[str]:
        """Names of the conditions that the others are compared with."""
        present = [condition.name for condition in self.conditions]
        return [name for name in BASELINES if name in present]

    @property
    def _room(self) -> int:
        """Steps that the warm-up is shorter than; regimes with fewer than the budget's have a share of it."""
        return min(max(regime.steps or 0, self.budget.steps) for regime in self.regimes)

    def recipe_of(self, regime: Regime) -> StudyRecipe | None:
        """The recipe of a regime: with its share of the warm-up, where it has fewer steps than the budget."""
        if self.recipe is None or regime.steps is None or regime.steps >= self.budget.steps:
            return self.recipe
        warmup = self.recipe.warmup * regime.steps // self.budget.steps
        return self.recipe.model_copy(update={"warmup": warmup})

    @property
    def shown_samples(self) -> Samples:
        """Which test samples the report shows."""
        from concord.data import reads_data_set

        if self.samples is not None:
            return self.samples
        sources = self.problem.sources.values() if isinstance(self.problem, Sourced) else ()
        named = (source.reader for source in sources if source.reader is not None)
        return "none" if any(reads_data_set(name) for name in named) else "few"

    def with_samples(self, samples: Samples) -> Plan:
        """The same plan with other samples in its report."""
        return as_plan({**self.model_dump(), "samples": samples})

    def with_seeds(self, n: int) -> Plan:
        """The same plan with seeds 0 .. n-1."""
        return as_plan({**self.model_dump(), "seeds": list(range(n))})

    def quick(self) -> Plan:
        """The same plan with two seeds, a quarter of steps and warm-up, and few resamples, to see it work."""
        budget = {**self.budget.model_dump(), "steps": max(1, self.budget.steps // 4)}
        regimes = [
            {**regime.model_dump(), "steps": None if regime.steps is None else max(1, regime.steps // 4)}
            for regime in self.regimes
        ]
        changed = {"seeds": self.seeds[:2], "budget": budget, "regimes": regimes, "resamples": 200}
        if self.recipe is not None:
            warmup = self.recipe.warmup * max(1, self._room // 4) // self._room  # fewer than the steps again
            changed["recipe"] = {**self.recipe.model_dump(), "warmup": warmup}
        return as_plan({**self.model_dump(), **changed})

    def resolved(self) -> dict[str, Any]:
        """Plain data, without what results do not depend on: folders, how files are read, shown samples."""
        plain = self.model_dump(mode="json", exclude={"folder", "samples"}, exclude_none=True)
        if isinstance(self.problem, Sourced):
            for key in ("data", "stream", "workers"):
                del plain["problem"][key]
        return plain

    def files(self) -> list[Path]:
        """Files that its problem names: manifests, features, tables; what lies in folders is not listed."""
        problem = self.problem
        if isinstance(problem, str):
            return []
        if isinstance(problem, Sourced):
            return named_files(Path(problem.data), problem.sources.values(), problem.relations)
        tables = [relation.table for relation in problem.relations]
        return [Path(self.folder) / name for name in (problem.manifest, problem.features, *tables)]

    def code(self) -> list[str]:
        """What of the plan is code of its author's that is run: its problem, its trunks; in words."""
        from concord.networks import TRUNK_SOURCES

        found = [f"problem {self.problem!r}"] if isinstance(self.problem, str) and ":" in self.problem else []
        networks = (self.network, *(regime.network for regime in self.regimes))
        trunks = [network.trunk for network in networks if isinstance(network, TrunkNetwork)]
        found += [f"trunk {trunk!r}" for trunk in trunks if trunk.partition(":")[0] not in TRUNK_SOURCES]
        return list(dict.fromkeys(found))

    @property
    def digest(self) -> str:
        """Fingerprint of the plan."""
        return _digest(self.resolved())

    def digest_of(self, regime: str, condition: str) -> str:
        """Fingerprint of what the runs of a condition in a regime depend on; they carry it.

        Other regimes, conditions and seeds are not in it, so that a plan may grow, nor how runs are compared.
        """
        plain = self.resolved()
        for name in (*GROWING, "title", "margin", "level", "resamples"):
            del plain[name]
        mine = [
            next(r for r in self.regimes if r.name == regime),
            next(c for c in self.conditions if c.name == condition),
        ]
        return _digest(
            {"plan": plain, "of": [each.model_dump(mode="json", exclude_none=True) for each in mine]}
        )


def _digest(plain: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]


def as_plan(values: dict[str, Any], where: str = "the plan") -> Plan:
    """Check plain data and make a plan of it.

    Raises:
        StudyError: A field that is missing, unknown or out of range; names it in one line.
        UnknownNameError: An unknown condition or problem.
    """
    from concord.study.conditions import condition_names

    values = _with_sources(values, where)
    try:
        plan = Plan.model_validate(values)
    except ValidationError as error:
        # An unknown key explains most of what else is wrong, so it comes first.
        first = sorted(error.errors(), key=lambda each: each["type"] != "extra_forbidden")[0]
        parts = [part for part in first["loc"] if not _is_branch(part)]
        place = ".".join(str(part) for part in parts)
        if first["type"] == "extra_forbidden":
            known = _keys_at(parts[:-1], first["loc"])
            near = str(UnknownNameError.of("key", parts[-1], known)).partition("; ")[2]
            raise UnknownNameError(f"{where}: unknown key {place!r}; {near}") from None
        reason = first["msg"].removeprefix("Value error, ")
        raise StudyError(f"{where}{f', {place}' if place else ''}: {reason}") from None
    for condition in plan.conditions:
        _known(where, "condition", condition.use, condition_names)
    if isinstance(plan.problem, str) and ":" in plan.problem:
        # What it returns is for those who load it: a plan is checked without running anybody's code.
        if not names_function(plan.problem):
            raise StudyError(
                f"{where}, problem: a function is named as module:function, found {plan.problem!r}"
            )
    elif isinstance(plan.problem, str):
        _known(where, "problem", plan.problem, case_names)
    return plan


def _with_sources(values: dict[str, Any], where: str) -> dict[str, Any]:
    """The plan with the sources of the config that it names, and an absolute folder of data."""
    given = values.get("problem")
    if not isinstance(given, dict) or not {"config", "sources"} & given.keys():
        return values
    folder, own = Path(str(values.get("folder", ""))), dict(given)
    described: dict[str, Any] = {"data": data_folder(folder, own.pop("data", None), f"{where}, problem")}
    if "config" in own:
        config = read_config(folder / str(own.pop("config")), environment={})
        parts = config.model_dump(mode="json", include={"sources", "tasks", "relations"}, exclude_unset=True)
        described = (described if "data" in given else {"data": config.data}) | parts
    described["data"] = os.environ.get("CONCORD_DATA") or described["data"]
    described |= {key: own.pop(key) for key in ("sources", "tasks", "relations") if key in own}
    described = json.loads(json.dumps(described))
    if "size" in own:
        _resize(described, own.pop("size"))
    as_config(described, f"{where}, problem")
    return values | {"problem": described | own}


def _resize(described: dict[str, Any], size: Any) -> None:
    """Give all images of the sources one size."""
    sources = described.get("sources")
    for source in sources.values() if isinstance(sources, dict) else ():
        inputs = source.get("inputs") if isinstance(source, dict) else None
        if isinstance(inputs, dict) and inputs.get("kind") in ("images", "arrays"):
            inputs["size"] = size


_BRANCHES = ("Data", "Sourced", "str", "Network", "TrunkNetwork")


def _is_branch(part: int | str) -> bool:
    """Whether pydantic put a part into a place to say which side of a union it tried."""
    return part in _BRANCHES or str(part).startswith("function-before[")


def _keys_at(place: Sequence[int | str], branches: Sequence[int | str]) -> list[str]:
    """Fields of the part of a plan at a place; `branches` says which side of a union it is."""
    kinds: dict[str, type[BaseModel]] = {
        "regimes": Regime,
        "conditions": ConditionPlan,
        "network": TrunkNetwork if "TrunkNetwork" in branches else Network,
        "budget": Budget,
        "recipe": StudyRecipe,
        "problem": Sourced if "Sourced" in branches else Data,
        "relations": RelationPlan,
    }
    names = [part for part in place if isinstance(part, str)]
    return list(kinds[names[-1]].model_fields) if names else [*Plan.model_fields, "networks"]


def _known(where: str, kind: str, name: str, names: Callable[[], Sequence[str]]) -> None:
    if name not in names():
        raise UnknownNameError(f"{where}: {UnknownNameError.of(kind, name, names())}")


_FORMS = {".json": "JSON", ".toml": "TOML"}


def read_plan(path: str | Path, quick: bool = False) -> Plan:
    """Read a plan from a file in YAML, JSON or TOML.

    Args:
        path: The file. Its key `quick`, where there is one, says what is different in a quick look.
        quick: Whether to take the plan of that quick look; without the key, that of `Plan.quick`.

    Raises:
        MissingDataError: No such file.
        StudyError: In none of these forms, or not a plan; names file and field.
        UnknownNameError: An unknown condition or problem.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingDataError(f"no study plan at {path}")
    try:
        values = plain_data(path)
    except (ValueError, OSError) as error:  # UnicodeDecodeError is one
        reason = " ".join(str(error).split())
        raise StudyError(f"{path}: not readable as {_FORMS.get(path.suffix, 'YAML')} ({reason})") from error
    if not isinstance(values, dict):
        raise StudyError(f"{path}: a plan is a mapping of fields, found {type(values).__name__}")
    values = {"folder": str(path.parent), **values}
    brief = values.pop("quick", None)
    if brief is None:
        plan = as_plan(values, str(path))
        return plan.quick() if quick else plan
    if not isinstance(brief, dict):
        raise StudyError(f"{path}, quick: a mapping of fields of the plan, found {type(brief).__name__}")
    return as_plan({**values, **brief} if quick else values, str(path))
