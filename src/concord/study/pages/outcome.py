"""The files of a finished study, read back and checked: what a report is made of."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from io import StringIO
from pathlib import Path
from typing import Any

from concord.errors import DataFormatError, MissingDataError, StudyError
from concord.files import read_json, unguarded

POINTS = 100.0
"""Metrics are shown, and differences counted, in points."""

TOLERANCE = 0.01
"""Points by which a difference may miss the one that the rows of `results.csv` give."""

KEYS = ("condition", "regime", "task", "metric")
RESULT_COLUMNS = ("condition", "seed", "regime", "task", "metric", "value")
CURVE_COLUMNS = ("condition", "seed", "regime", "task", "metric", "step", "value")
FIELDS = {
    "verdicts": ("regime", "task", "metric", "condition", "baseline", "difference", "low", "high", "verdict"),
    "means": (*KEYS, "mean", "sd", "n"),
}

Row = Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Outcome:
    """A finished study.

    Attributes:
        folder: Where it lies.
        config: The resolved plan.
        environment: Versions, machine, sessions.
        summary: Verdicts, means, ranks, cost, and the sentence of them.
        results: Rows of `results.csv`; `line` is the line in that file.
        curves: Rows of `curves.csv`.
        relations: Tables as given and as estimated.
        gallery: Test samples with predictions.
        confusion: Confusion matrices over test rows and seeds.
    """

    folder: Path
    config: Row
    environment: Row
    summary: Row
    results: tuple[Row, ...]
    curves: tuple[Row, ...]
    relations: tuple[Row, ...]
    gallery: tuple[Row, ...]
    confusion: tuple[Row, ...]

    @classmethod
    def read(cls, folder: Path) -> Outcome:
        """Read the files of a study.

        Raises:
            MissingDataError: No folder, or a file of a finished study is not in it.
            DataFormatError: A file that is not in its format.
            StudyError: Verdicts that do not follow from `results.csv`.
        """
        if not folder.is_dir():
            raise MissingDataError(f"no study at {folder}: no such folder")
        outcome = cls(
            folder=folder,
            config=_mapping(folder / "config.json"),
            environment=_mapping(folder / "environment.json"),
            summary=_mapping(folder / "summary.json"),
            results=_rows(folder / "results.csv", RESULT_COLUMNS),
            curves=_rows(folder / "curves.csv", CURVE_COLUMNS),
            relations=_records(folder / "relation.json", ("name", "rows", "columns", "table")),
            gallery=_records(folder / "gallery.json", ("image", "truth", "predictions", "agree")),
            confusion=_records(
                folder / "confusion.json", ("regime", "condition", "task", "classes", "matrix")
            ),
        )
        outcome._check()
        return outcome

    def _check(self) -> None:
        where = self.folder / "summary.json"
        for key in ("title", "margin", "level", "sentence", *FIELDS):
            if key not in self.summary:
                raise DataFormatError(f"{where}: {key!r} is missing; judge again with `concord study`")
        for key, fields in FIELDS.items():
            _have(where, key, self.summary[key], fields)
        for row in self.verdicts:
            self._check_difference(row)

    def _check_difference(self, row: Row) -> None:
        found = self.paired(row["regime"], row["task"], row["metric"], row["condition"], row["baseline"])
        mean = sum(found) / len(found) if found else math.nan
        if not abs(mean - row["difference"]) <= TOLERANCE:
            raise StudyError(
                f"{self.folder}: results.csv gives {mean:+.2f} points for {row['condition']} against "
                f"{row['baseline']} ({row['regime']}, {row['task']}), summary.json says "
                f"{row['difference']:+.2f}; judge again with `concord study`"
            )

    def said(self, account: Row) -> list[list[str]]:
        """Sentences of an account of `summary.json`, by seed: it holds those of the first one alone.

        Where a folder came without the records of its runs, these are all there is.
        """
        name = f"{account['regime']}~{account['condition']}"
        records = [self.folder / "runs" / f"{name}~{seed}.json" for seed in self.seeds]
        found = [
            (_mapping(path).get("account") or {}).get("sentences", []) for path in records if path.is_file()
        ]
        return found or [account["sentences"]]

    @property
    def title(self) -> str:
        """Heading of the study."""
        return str(self.summary["title"])

    @property
    def verdicts(self) -> Sequence[Row]:
        """One verdict for each regime, task, condition and baseline."""
        return self.summary["verdicts"]

    @cached_property
    def regimes(self) -> list[str]:
        """Names of the regimes, in the plan's order."""
        return self._named("regimes", "regime")

    @cached_property
    def conditions(self) -> list[str]:
        """Names of the conditions, in the plan's order."""
        return self._named("conditions", "condition")

    @cached_property
    def tasks(self) -> list[str]:
        """Names of the tasks, in the order of the results."""
        return distinct(row["task"] for row in self.results)

    @cached_property
    def seeds(self) -> list[int]:
        """Seeds, in the order of the results."""
        return distinct(row["seed"] for row in self.results)

    @property
    def baselines(self) -> list[str]:
        """What conditions are compared with, in the order of the verdicts."""
        return distinct(row["baseline"] for row in self.verdicts)

    def _named(self, key: str, column: str) -> list[str]:
        planned = [entry["name"] for entry in self.config.get(key, []) if "name" in entry]
        seen = {row[column] for row in self.results}
        return [name for name in planned if name in seen] + [
            name for name in distinct(row[column] for row in self.results) if name not in planned
        ]

    def metric(self, task: str) -> str:
        """The metric that a task is judged by; the first in the results where that is not said."""
        said = self.summary.get("metrics") or {}
        first = next((row["metric"] for row in self.results if row["task"] == task), "")
        return str(said.get(task, first))

    @cached_property
    def sizes(self) -> dict[str, dict[str, int]]:
        """By regime and task, the number of annotated training rows: the mean where seeds differ."""
        return {
            regime: {task: round(sum(found) / len(found)) for task, found in counts.items()}
            for regime, counts in self._counts.items()
        }

    @cached_property
    def _counts(self) -> dict[str, dict[str, list[int]]]:
        """By regime and task, the numbers of annotated training rows of its seeds."""
        out: dict[str, dict[str, dict[int, int]]] = {}
        for row in self.results:
            for task in self.tasks:
                if f"n_{task}" in row:
                    of_task = out.setdefault(row["regime"], {}).setdefault(task, {})
                    of_task[row["seed"]] = row[f"n_{task}"]
        return {name: {task: list(of.values()) for task, of in tasks.items()} for name, tasks in out.items()}

    def said_sizes(self, regime: str) -> dict[str, int | str]:
        """By task the number of its rows, or from which to which it goes over the seeds."""
        counts = self._counts.get(regime, {})
        return {
            task: found[0] if len(set(found)) == 1 else f"{min(found)} to {max(found)}"
            for task, found in counts.items()
        }

    def described(self, regime: str) -> str:
        """Sizes of a regime in words."""
        return ", ".join(f"{n} {task}" for task, n in self.said_sizes(regime).items())

    def ordered(self, rows: Iterable[Row]) -> list[Row]:
        """Rows in the order of their conditions."""
        return sorted(rows, key=lambda row: self.conditions.index(row["condition"]))

    @cached_property
    def _values(self) -> dict[tuple[str, str, str, str], dict[int, float]]:
        out: dict[tuple[str, str, str, str], dict[int, float]] = {}
        for row in self.results:
            key = (row["regime"], row["task"], row["metric"], row["condition"])
            out.setdefault(key, {})[row["seed"]] = row["value"]
        return out

    def values(self, regime: str, task: str, metric: str, condition: str) -> dict[int, float]:
        """A test metric by seed."""
        return self._values.get((regime, task, metric, condition), {})

    def paired(self, regime: str, task: str, metric: str, condition: str, baseline: str) -> tuple[float, ...]:
        """Differences in points seed by seed, positive where the condition is better."""
        from concord.metrics import lower_is_better

        sign = -POINTS if lower_is_better(metric) else POINTS
        first, second = (self.values(regime, task, metric, name) for name in (condition, baseline))
        return tuple(sign * (first[seed] - second[seed]) for seed in first if seed in second)


def distinct(values: Iterable[Any]) -> list[Any]:
    """Each value once, in the order of first occurrence."""
    return list(dict.fromkeys(values))


def finite(value: Any) -> Any:
    """The value; None for NaN and infinity, which JSON does not have."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _missing(path: Path) -> MissingDataError:
    return MissingDataError(
        f"no {path.name} in {path.parent}: the study is not finished; run the same `concord study` again"
    )


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")  # as it is: a name may hold a carriage return
    except FileNotFoundError:
        raise _missing(path) from None
    except UnicodeDecodeError as error:
        raise DataFormatError(f"{path}: expected UTF-8, found other bytes at {error.start}") from error
    except OSError as error:
        raise DataFormatError(f"{path}: cannot be read ({error.strerror or error})") from error


def _json(path: Path) -> Any:
    try:
        return read_json(path)
    except FileNotFoundError:
        raise _missing(path) from None


def _mapping(path: Path) -> Row:
    values = _json(path)
    if not isinstance(values, dict):
        raise DataFormatError(f"{path}: expected an object, found {type(values).__name__}")
    return values


def _records(path: Path, fields: Sequence[str]) -> tuple[Row, ...]:
    values = _json(path)
    _have(path, "the file", values, fields)
    return tuple(values)


def _have(path: Path, what: str, records: Any, fields: Sequence[str]) -> None:
    if not isinstance(records, list):
        raise DataFormatError(f"{path}: expected a list in {what}, found {type(records).__name__}")
    for i, record in enumerate(records):
        missing = [name for name in fields if not isinstance(record, dict) or name not in record]
        if missing:
            raise DataFormatError(f"{path}: entry {i} of {what} has no {missing[0]!r}")


def _rows(path: Path, columns: Sequence[str]) -> tuple[Row, ...]:
    reader = csv.DictReader(StringIO(_text(path), newline=""))
    try:
        missing = [name for name in columns if name not in (reader.fieldnames or ())]
        if missing:
            raise DataFormatError(f"{path}, line 1: expected a column {missing[0]!r}")
        rows = tuple(_typed(path, reader.line_num, row) for row in reader)
    except csv.Error as error:
        raise DataFormatError(f"{path}, line {reader.line_num}: not CSV ({error})") from error
    if not rows and "step" not in columns:
        raise DataFormatError(f"{path}: expected results, found no row")
    return rows


def _typed(path: Path, line: int, row: dict[str, Any]) -> Row:
    typed: dict[str, Any] = {"line": line}
    try:
        for name, value in row.items():
            if name == "value":
                typed[name] = float(value)
            elif name in ("seed", "step") or name.startswith("n_"):
                typed[name] = int(float(value))
            else:
                typed[unguarded(name)] = unguarded(value)
    except (AttributeError, TypeError, ValueError) as error:
        raise DataFormatError(
            f"{path}, line {line}: expected a number in {name!r}, found {value!r}"
        ) from error
    return typed
