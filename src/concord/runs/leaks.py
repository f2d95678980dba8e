"""Rows that are judged by and rows that were trained on, where they are the same samples or groups."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path

import polars as pl

from concord.config import Config
from concord.data import BOX, Manifest
from concord.errors import ConcordWarning
from concord.runs.sources import Sources

SHOWN = 3


def tell_leaks(config: Config, sources: Sources, splits: Iterable[str]) -> None:
    """Warn of training rows that are also in a split that judges, of the same source or another.

    A sample is the same where its file is, or the row of its feature file; texts may be alike by chance. A
    group is the same where its name is, within a source: in two sources it may be of different persons.

    Args:
        config: Of the training.
        sources: Its sources.
        splits: Those that judge.
    """
    training = _samples(config, sources.split(config, "train"))
    advice = "`concord data inspect` lists them, `concord data split` draws splits that keep groups together"
    for split in splits:
        held = _samples(config, sources.split(config, split))
        if training.is_empty() or held.is_empty():
            continue
        found = [
            told
            for what, keys in (("sample", ["sample"]), ("group", ["source", "group"]))
            if (told := _in_both(what, keys, training, held)) is not None
        ]
        if found:
            warnings.warn(
                f"split {split!r} is not new to the network: {' and '.join(found)} of it are among the "
                f"training rows, so that its metrics are too good; {advice}",
                ConcordWarning,
                stacklevel=4,
            )


def _in_both(what: str, keys: list[str], training: pl.DataFrame, held: pl.DataFrame) -> str | None:
    both = held.drop_nulls(keys).join(training.drop_nulls(keys), on=keys, how="semi").unique(keys)
    if both.is_empty():
        return None
    names = sorted(both[keys[-1]].unique())
    more = ", ..." if len(names) > SHOWN else ""
    listed = ", ".join(repr(name) for name in names[:SHOWN])
    return f"{both.height:,} {what}{'s' * (both.height > 1)} ({listed}{more})"


def _samples(config: Config, parts: Mapping[str, Manifest]) -> pl.DataFrame:
    """A row a sample: `source`, `sample`, `group`."""
    frames = [_of_source(config, name, manifest) for name, manifest in parts.items()]
    empty = pl.DataFrame(schema={"source": pl.String, "sample": pl.String, "group": pl.String})
    return pl.concat([empty, *frames])


def _of_source(config: Config, name: str, manifest: Manifest) -> pl.DataFrame:
    columns, inputs = manifest.frame.columns, config.sources[name].inputs
    parts = []
    if "path" in columns:
        root = "" if manifest.root is None else f"{Path(manifest.root).absolute().as_posix()}/"
        parts.append(pl.lit(root) + pl.col("path"))
    if "row" in columns:
        file = name if inputs.file is None else str((Path(config.data) / inputs.file).absolute())
        parts.append(pl.lit(f"{file}, row ") + pl.col("row").cast(pl.String))
    sample = pl.coalesce(parts) if parts else pl.lit(None, dtype=pl.String)
    for column in ("frame", *BOX):  # several faces of a picture are several samples
        if column in columns:
            sample = pl.format(
                "{}, {} {}", sample, pl.lit(column), pl.col(column).cast(pl.String).fill_null("")
            )
    return manifest.frame.select(source=pl.lit(name), sample=sample, group=pl.col("group").cast(pl.String))
