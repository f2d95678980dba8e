"""What is annotated where: counts, overlap, imbalance, and what is wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from concord.data.contents import EMPTY, content_digests, missing_files
from concord.data.duplicates import near_copies
from concord.data.joining import stack
from concord.data.manifest import SPLITS, Manifest, task_columns
from concord.errors import ConfigError, MissingDataError
from concord.files import figure_file
from concord.tasks import MulticlassTask, Task
from concord.terminal import plain, whole_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text


NO_SPLIT = "no split"
FIGURES = (".png", ".svg", ".pdf")
MOST_BARS = 40
MOST_LINES = 60
SHOWN = 5


@dataclass(frozen=True, eq=False)
class Inspection:
    """What `inspect` found.

    Args:
        name: What was inspected.
        rows: Number of rows.
        splits: Columns `source`, then rows in train, val, test and without a split.
        tasks: A line a task: `task`, `kind`, `outputs`, annotated rows (`rows`), their `share` of all, rows a
            split, annotated values that are missing in part (`partial`: rows with some labels, not all) and
            `imbalance`: the most frequent class by the least (multiclass), or the median label's absent by
            present (multilabel); null where the rarer is never seen.
        values: A line a class or label: `task`, `value`, `annotated` rows, `present` rows, `rate` in [0, 1]
            and present rows a split.
        sources: A line a source and task: `source`, `task`, annotated rows.
        overlap: A line a pair of tasks: `first`, `second`, rows annotated for both (`rows`).
        leaks: A line a group with rows in several splits: `group`, `sources`, `splits`, `rows`. A name is one
            group in all sources.
        duplicates: A line a sample that occurs in several rows: `sample` (its path, row or text), `rows`,
            `splits`.
        missing: Paths that are not below the root; None where nobody looked.
        empty: Paths of files without content; None where nobody looked.
        same_content: A line a set of different paths with the same bytes: `paths`, `splits`; None where
            nobody looked.
        near_copies: What is said of rows without a group that are nearly copies of others, by the names of
            their files and, where these are there, by pictures; None where there is no sign of any.
    """

    name: str
    rows: int
    splits: pl.DataFrame
    tasks: pl.DataFrame
    values: pl.DataFrame
    sources: pl.DataFrame
    overlap: pl.DataFrame
    leaks: pl.DataFrame
    duplicates: pl.DataFrame
    missing: list[str] | None = None
    empty: list[str] | None = None
    same_content: pl.DataFrame | None = None
    near_copies: str | None = None

    def problems(self) -> list[str]:
        """What should be looked at, one line each; empty where nothing is."""
        out = []
        if self.leaks.height:
            names = self.leaks["group"].head(SHOWN).to_list()
            out.append(
                f"{self.leaks.height} groups have rows in several splits: {_some(names, self.leaks.height)}"
            )
            across = int((self.leaks["sources"].list.len() > 1).sum())
            if across:
                out[-1] += (
                    f"; {across} of them in several sources, where a name is one group: rename if they differ"
                )
        if self.duplicates.height:
            across = int((self.duplicates["splits"].list.len() > 1).sum())
            names = self.duplicates["sample"].head(SHOWN).to_list()
            out.append(
                f"{self.duplicates.height} samples occur in several rows, {across} of them in several "
                f"splits: {_some(names, self.duplicates.height)}"
            )
        if self.same_content is not None and self.same_content.height:
            across = int((self.same_content["splits"].list.len() > 1).sum())
            names = self.same_content["paths"].list.join(" = ").head(SHOWN).to_list()
            out.append(
                f"{self.same_content.height} files occur under several paths, {across} of them in several "
                f"splits: {_some(names, self.same_content.height)}"
            )
        if self.near_copies is not None:
            out.append(self.near_copies)
        if self.missing:
            out.append(
                f"{len(self.missing)} files are missing: {_some(self.missing[:SHOWN], len(self.missing))}"
            )
        if self.empty:
            out.append(
                f"{len(self.empty)} files are empty: {_some(self.empty[:SHOWN], len(self.empty))}; inputs "
                "with on_error: skip leave such images out"
            )
        unseen = self.values.filter(pl.col("present") == 0)
        if unseen.height:
            names = [
                f"{task}: {value}" for task, value in unseen.select("task", "value").head(SHOWN).iter_rows()
            ]
            out.append(f"{unseen.height} classes or labels are never seen: {_some(names, unseen.height)}")
        always = self._never_absent()
        if always:
            shown = _some(always[:SHOWN], len(always))
            out.append(f"never absent where annotated, as if gaps stood for 0 ({len(always)}): {shown}")
        for task, rows in self.tasks.select("task", "rows").iter_rows():
            if not rows:
                out.append(f"task {task!r} is annotated nowhere")
        for first, second, rows in self.overlap.iter_rows():
            if not rows:
                out.append(f"no row is annotated for both {first!r} and {second!r}")
        return out

    def _never_absent(self) -> list[str]:
        labels = self.tasks.filter(pl.col("kind") == "labels")["task"]
        found = self.values.filter(
            pl.col("task").is_in(labels.to_list())
            & (pl.col("annotated") > 0)
            & (pl.col("present") == pl.col("annotated"))
        )
        return [f"{task}: {value}" for task, value in found.select("task", "value").iter_rows()]

    def to_dict(self) -> dict[str, Any]:
        """All findings as plain data."""
        frames = {
            key: value.to_dicts() for key, value in vars(self).items() if isinstance(value, pl.DataFrame)
        }
        rest = {key: value for key, value in vars(self).items() if not isinstance(value, pl.DataFrame)}
        return {**rest, **frames, "problems": self.problems()}

    def render(self) -> Group:
        """Tables for a rich console."""
        from rich.console import Group

        parts = [
            as_table(f"{self.name or 'manifest'}: {self.rows:,} rows", self.splits),
            as_table("annotated rows a task", self.tasks.drop(*_COUNTS)),
            as_table("annotated rows a task and split", self.tasks.select("task", *_COUNTS)),
        ]
        if self.splits.height > 1:
            parts.append(as_table("annotated rows a source", self.sources))
        if self.overlap.height:
            parts.append(as_table("rows annotated for two tasks", self.overlap))
        for (task,), values in self.values.group_by("task", maintain_order=True):
            parts.append(as_table(f"{task}: rows a class or label", values.drop("task")))
        problems = self.problems() or ["nothing"]
        return Group(*parts, "to look at:", *(plain(f"- {problem}") for problem in problems))

    def draw(self, path: str | Path) -> None:
        """Draw the findings: rows by task and split, the overlap, and every task's classes or labels.

        Args:
            path: A .png, .svg or .pdf file.

        Raises:
            ConfigError: Another ending.
            OutputError: It cannot be written.
        """
        file = Path(path)
        if file.suffix.lower() not in FIGURES:
            raise ConfigError(f"a figure ends in {', '.join(FIGURES)}, found {file.name!r}")
        bars = [min(n, MOST_BARS) for n in self.tasks["outputs"]]
        heights = [max(2.0, 0.4 * len(bars) + 1.2), *(0.9 + 0.2 * n for n in bars)]
        with figure_file(file, 11, sum(heights)) as figure:
            grid = figure.add_gridspec(len(heights), 2, height_ratios=heights)
            figure.suptitle(f"{self.name or 'manifest'}: {self.rows:,} rows")
            left, right = figure.add_subplot(grid[0, 0]), figure.add_subplot(grid[0, 1])
            _draw_matrix(left, *self._split_matrix(), "annotated rows by split")
            _draw_matrix(right, *self._overlap_matrix(), "rows annotated for both tasks")
            for i, task in enumerate(self.tasks["task"], 1):
                values = self.values.filter(pl.col("task") == task)
                _draw_values(figure.add_subplot(grid[i, :]), task, values, self.rows)

    def _split_matrix(self) -> tuple[list[list[int]], list[str], list[str]]:
        cells = [list(row) for row in self.tasks.select(*SPLITS, NO_SPLIT).iter_rows()]
        return cells, self.tasks["task"].to_list(), [*SPLITS, NO_SPLIT]

    def _overlap_matrix(self) -> tuple[list[list[int]], list[str], list[str]]:
        names = self.tasks["task"].to_list()
        both = {frozenset((a, b)): n for a, b, n in self.overlap.iter_rows()}
        own = dict(self.tasks.select("task", "rows").iter_rows())
        cells = [[own[a] if a == b else both[frozenset((a, b))] for b in names] for a in names]
        return cells, names, names


def inspect(
    *manifests: Manifest, root: str | Path | None = None, files: bool = False, content: bool = False
) -> Inspection:
    """Look at what one manifest, or several as one, annotates where.

    Args:
        *manifests: At least one.
        root: Where the files are; the manifests' own by default.
        files: Look for missing files; on where `root` is given.
        content: Read all files, and look for empty ones and for equal ones under different paths.

    Raises:
        EmptyDataError: No manifest.
        MissingDataError: Files are to be looked at, but there is no root.
    """
    whole = manifests[0] if len(manifests) == 1 else stack(manifests)
    frame = _with_split_names(whole)
    folder = whole.root if root is None else Path(root)
    files = files or root is not None
    if (files or content) and folder is None:
        raise MissingDataError("where the files are is not known; give a root (--root FOLDER)")
    paths = frame["path"] if "path" in frame.columns else pl.Series("path", [], dtype=pl.String)
    digests = None
    if content and folder is not None:
        digests = content_digests(folder, paths.drop_nulls().unique(maintain_order=True))
    return Inspection(
        name=whole.name,
        rows=len(whole),
        splits=_count_splits(frame),
        tasks=pl.DataFrame([_about_task(frame, task) for task in whole.tasks], schema=_TASKS),
        values=pl.DataFrame([v for task in whole.tasks for v in _about_values(frame, task)], schema=_VALUES),
        sources=_about_sources(frame, whole.tasks),
        overlap=_overlap(frame, whole.tasks),
        leaks=_leaks(frame),
        duplicates=_duplicates(frame),
        missing=missing_files(folder, paths) if files and folder is not None else None,
        empty=None if digests is None else [path for path, each in digests.items() if each == EMPTY],
        same_content=None if digests is None else _same_content(frame, digests),
        near_copies=near_copies(whole, root=folder),
    )


# -- counting ----------------------------------------------------------------------------------------

_SPLITS_SEEN = pl.col("split").unique().sort().cast(pl.String).alias("splits")
_COUNTS: dict[str, Any] = {**dict.fromkeys(SPLITS, pl.Int64), NO_SPLIT: pl.Int64}
_TASKS: dict[str, Any] = {
    "task": pl.String,
    "kind": pl.String,
    "outputs": pl.Int64,
    "rows": pl.Int64,
    "share": pl.Float64,
    "partial": pl.Int64,
    "imbalance": pl.Float64,
    **_COUNTS,
}
_VALUES: dict[str, Any] = {
    "task": pl.String,
    "value": pl.String,
    "annotated": pl.Int64,
    "present": pl.Int64,
    "rate": pl.Float64,
    **_COUNTS,
}


def _with_split_names(manifest: Manifest) -> pl.DataFrame:
    names = pl.Enum([*SPLITS, NO_SPLIT])
    source = [] if "source" in manifest.frame.columns else [pl.lit(manifest.name).alias("source")]
    return manifest.frame.with_columns(
        pl.col("split").cast(pl.String).cast(names).fill_null(NO_SPLIT),
        *(source or [pl.col("source").cast(pl.String)]),
    )


def _some(names: Sequence[object], count: int) -> str:
    return ", ".join(str(name) for name in names) + (", ..." if count > len(names) else "")


def _by_split(frame: pl.DataFrame, condition: pl.Expr) -> dict[str, int]:
    """Rows that meet a condition: `n`, and by split."""
    names = (*SPLITS, NO_SPLIT)
    counts = frame.select(
        condition.sum().alias("n"), *((condition & (pl.col("split") == s)).sum().alias(s) for s in names)
    )
    return {name: int(value or 0) for name, value in counts.row(0, named=True).items()}


def _count_splits(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.group_by("source", maintain_order=True).agg(
        pl.len().cast(pl.Int64).alias("rows"),
        *((pl.col("split") == s).sum().cast(pl.Int64).alias(s) for s in (*SPLITS, NO_SPLIT)),
    )


def _some_annotation(task: Task) -> pl.Expr:
    return pl.any_horizontal(pl.col(task_columns(task)).is_not_null())


def _about_task(frame: pl.DataFrame, task: Task) -> dict[str, Any]:
    counts = _by_split(frame, _some_annotation(task))
    rows = counts.pop("n")
    whole = frame.select(pl.all_horizontal(pl.col(task_columns(task)).is_not_null()).sum()).item()
    return {
        "task": task.name,
        "kind": "classes" if isinstance(task, MulticlassTask) else "labels",
        "outputs": task.width,
        "rows": rows,
        "share": rows / frame.height,
        "partial": rows - int(whole),
        "imbalance": _imbalance(frame, task),
        **counts,
    }


def _imbalance(frame: pl.DataFrame, task: Task) -> float | None:
    if isinstance(task, MulticlassTask):
        seen = dict(frame[task.name].drop_nulls().value_counts().iter_rows())
        counts = [seen.get(name, 0) for name in task.classes]
        return max(counts) / min(counts) if min(counts) else None
    rates = frame.select(pl.col(task_columns(task)).cast(pl.Float64).mean()).row(0)
    ratios = sorted((1 - r) / r for r in rates if r)
    return ratios[len(ratios) // 2] if ratios else None


def _about_values(frame: pl.DataFrame, task: Task) -> list[dict[str, Any]]:
    if isinstance(task, MulticlassTask):
        return _about_classes(frame, task)
    out = []
    for label, column in zip(task.outputs, task_columns(task), strict=True):
        annotated = frame.height - frame[column].null_count()
        counts = _by_split(frame, (pl.col(column) == 1).fill_null(False))
        out.append(_value(task.name, label, annotated, counts))
    return out


def _about_classes(frame: pl.DataFrame, task: MulticlassTask) -> list[dict[str, Any]]:
    annotated = frame.height - frame[task.name].null_count()
    table = {
        (str(name), str(split)): int(n)
        for name, split, n in frame.group_by(task.name, "split").len().iter_rows()
        if name is not None
    }
    out = []
    for name in task.classes:
        counts = {split: table.get((name, split), 0) for split in (*SPLITS, NO_SPLIT)}
        out.append(_value(task.name, name, annotated, {"n": sum(counts.values()), **counts}))
    return out


def _value(task: str, value: str, annotated: int, counts: dict[str, int]) -> dict[str, Any]:
    present = counts.pop("n")
    rate = present / annotated if annotated else None
    return {"task": task, "value": value, "annotated": annotated, "present": present, "rate": rate, **counts}


def _about_sources(frame: pl.DataFrame, tasks: Sequence[Task]) -> pl.DataFrame:
    wide = frame.group_by("source", maintain_order=True).agg(
        _some_annotation(task).sum().cast(pl.Int64).alias(task.name) for task in tasks
    )
    return wide.unpivot(index="source", variable_name="task", value_name="rows")


def _overlap(frame: pl.DataFrame, tasks: Sequence[Task]) -> pl.DataFrame:
    pairs = list(combinations(tasks, 2))
    both = frame.select(
        (_some_annotation(a) & _some_annotation(b)).sum().alias(str(i)) for i, (a, b) in enumerate(pairs)
    )
    return pl.DataFrame(
        [(a.name, b.name, int(both.item(0, i))) for i, (a, b) in enumerate(pairs)],
        schema={"first": pl.String, "second": pl.String, "rows": pl.Int64},
        orient="row",
    )


def _leaks(frame: pl.DataFrame) -> pl.DataFrame:
    return (
        frame.lazy()
        .filter(pl.col("group").is_not_null() & (pl.col("split") != NO_SPLIT))
        .group_by("group", maintain_order=True)
        .agg(
            pl.col("source").unique(maintain_order=True).alias("sources"),
            _SPLITS_SEEN,
            pl.len().alias("rows"),
        )
        .filter(pl.col("splits").list.len() > 1)
        .collect()
    )


def _duplicates(frame: pl.DataFrame) -> pl.DataFrame:
    """Samples that occur twice: the same path (and frame, where there is one), else row, else text."""
    locators = [c for c in ("path", "row", "text") if c in frame.columns]
    sample = pl.coalesce(pl.col(c).cast(pl.String) for c in locators).alias("sample")
    keys = ["sample", *(["frame"] if "frame" in frame.columns else [])]
    if "path" not in locators:
        keys.append("source")
    twice = frame.with_columns(sample).filter(pl.struct(keys).is_duplicated())
    return twice.group_by(keys, maintain_order=True).agg(pl.len().alias("rows"), _SPLITS_SEEN)


def _same_content(frame: pl.DataFrame, digests: Mapping[str, str]) -> pl.DataFrame:
    filled = [(path, digest) for path, digest in digests.items() if digest != EMPTY]
    table = pl.DataFrame(filled, schema={"path": pl.String, "digest": pl.String}, orient="row")
    if "path" not in frame.columns:
        frame = frame.with_columns(pl.lit(None, dtype=pl.String).alias("path"))
    return (
        table.join(frame.select("path", "split"), on="path", how="left", maintain_order="left")
        .group_by("digest", maintain_order=True)
        .agg(
            pl.col("path").unique(maintain_order=True).alias("paths"),
            _SPLITS_SEEN,
        )
        .filter(pl.col("paths").list.len() > 1)
        .drop("digest")
    )


# -- showing -----------------------------------------------------------------------------------------


def as_table(title: str, frame: pl.DataFrame) -> Table:
    """A frame as a table for a rich console; long ones are cut, and say so; empty counts are left out."""
    empty = [name for name in ("partial", *_COUNTS) if name in frame.columns and not (frame[name] > 0).any()]
    frame = frame.drop(empty)
    table = whole_table(title, framed=True)
    for name, dtype in frame.schema.items():
        table.add_column(plain(name), justify="right" if dtype.is_numeric() else "left")
    for row in frame.head(MOST_LINES).iter_rows():
        table.add_row(*(_cell(value) for value in row))
    if frame.height > MOST_LINES:
        table.add_row(f"... {frame.height - MOST_LINES} more")
    return table


def _cell(value: object) -> str | Text:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else plain(value)


def _draw_matrix(
    axes: Axes, cells: Sequence[Sequence[int]], rows: Sequence[str], columns: Sequence[str], title: str
) -> None:
    import numpy as np

    axes.set_title(title)
    if not rows:
        return
    shade = np.log1p(np.asarray(cells, dtype=float).reshape(len(rows), len(columns)))
    axes.imshow(shade, cmap="Blues", aspect="auto", vmin=0, vmax=max(1.0, float(shade.max(initial=0)) * 2))
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks(range(len(rows)), rows)
    for i, line in enumerate(cells):
        for j, count in enumerate(line):
            axes.text(j, i, f"{count:,}", ha="center", va="center")


def _draw_values(axes: Axes, task: str, values: pl.DataFrame, rows: int) -> None:
    shown = values.sort("present", descending=True).head(MOST_BARS)
    more = f", the {MOST_BARS} most frequent of {values.height}" if values.height > MOST_BARS else ""
    axes.set_title(f"{task}: rows a class or label{more}")
    left = [0] * shown.height
    for split, colour in zip((*SPLITS, NO_SPLIT), ("#2b6ca3", "#e0963c", "#4f9d69", "#9a9a9a"), strict=True):
        counts = shown[split].to_list()
        if any(counts):
            axes.barh(range(shown.height), counts, left=left, color=colour, label=split)
        left = [a + b for a, b in zip(left, counts, strict=True)]
    axes.set_yticks(range(shown.height), [_short(name) for name in shown["value"]])
    axes.invert_yaxis()
    axes.set_xlabel(f"rows present (of {rows:,})")
    if any(left):
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1))


def _short(name: str) -> str:
    return (name if len(name) <= 30 else name[:29] + "…").replace("$", r"\$")
