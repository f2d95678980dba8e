"""Whether a copy of a data set is whole: what was read, next to what its authors published."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from inspect import signature
from pathlib import Path
from typing import Any

import polars as pl

from concord.data.contents import missing_files
from concord.data.manifest import Manifest
from concord.data.registry import read, reader
from concord.tasks import MulticlassTask


@dataclass(frozen=True)
class Number:
    """A number that the authors of a data set published.

    Args:
        what: What is counted: "rows", "groups", "rows in SPLIT", or "classes of TASK" or "labels of TASK".
        count: How many.
        source: Where it is published.
        when: Options of the reader that the number belongs to, where they were given.
    """

    what: str
    count: int
    source: str
    when: Mapping[str, str] = field(default_factory=dict)


_RAF = "Li, Deng and Du, CVPR 2017; page of RAF-DB"
_CUB = "Wah et al., Caltech technical report CNS-TR-2011-001"
_FER = "Goodfellow et al., ICONIP 2013"
_BASIC, _COMPOUND = {"subset": "basic"}, {"subset": "compound"}

PUBLISHED: dict[str, tuple[Number, ...]] = {
    "bp4d": (Number("groups", 41, "Zhang et al., Image and Vision Computing 2014"),),
    "bp4d-plus": (Number("groups", 140, "Zhang et al., CVPR 2016"),),
    "celeba": (
        Number("rows", 202_599, "Liu et al., ICCV 2015; page of CelebA"),
        Number("classes of identity", 10_177, "page of CelebA"),
        Number("labels of attributes", 40, "page of CelebA"),
    ),
    "clothing-attributes": (Number("rows", 1_856, "Chen, Gallagher and Girod, ECCV 2012"),),
    "cub200": (
        Number("rows", 11_788, _CUB),
        Number("rows in train", 5_994, _CUB),
        Number("rows in test", 5_794, _CUB),
        Number("classes of species", 200, _CUB),
        Number("labels of attributes", 312, _CUB),
    ),
    "deepfashion": (Number("rows", 289_222, "page of DeepFashion, category and attribute prediction"),),
    "disfa": (Number("groups", 27, "Mavadati et al., IEEE Transactions on Affective Computing 2013"),),
    "fer2013": (
        Number("rows", 35_887, _FER),
        Number("rows in train", 28_709, _FER),
        Number("rows in val", 3_589, _FER),
        Number("rows in test", 3_589, _FER),
    ),
    "raf-au": (Number("rows", 4_601, "Yan et al., ACCV 2020"),),
    "rafdb": (
        Number("rows in train", 12_271, _RAF, _BASIC),
        Number("rows in test", 3_068, _RAF, _BASIC),
        Number("rows in train", 3_162, _RAF, _COMPOUND),
        Number("rows in test", 792, _RAF, _COMPOUND),
    ),
    "ut-zappos50k": (Number("rows", 50_025, "Yu and Grauman, CVPR 2014; page of UT-Zappos50K"),),
}
"""By reader; a data set that is not here, or a count, has no published number that was looked up."""

NO_NUMBER = "no published number"


def check_copy(name: str, root: str | Path, **options: Any) -> pl.DataFrame:
    """Count what a reader finds, images or not, and compare it with what was published.

    Args:
        name: Which reader.
        root: The folder of the data set.
        **options: Of the reader; `missing` and `gaps` are "keep" unless given.

    Returns:
        One row per count, with columns `what`, `found`, `published` (null where there is none), `difference`
        (found less published) and `source`.

    Raises:
        ConcordError: As `concord.data.read`.
    """
    module = reader(name)
    known = signature(module.read).parameters
    usual = {option: known[option].default for option in ("missing", "gaps") if option in known}
    keep = {option: "keep" for option, value in usual.items() if value in ("drop", "error")}
    manifest = read(name, root, **{**keep, **options})
    given = {key: str(options.get(key, parameter.default)) for key, parameter in known.items()}
    numbers = {
        number.what: number
        for number in PUBLISHED.get(module.NAME, ())
        if all(given.get(key) == value for key, value in number.when.items())
    }
    found = _counts(manifest)
    rows = []
    for what in dict.fromkeys((*found, *numbers)):
        number, count = numbers.get(what), found.get(what, 0)
        published = None if number is None else number.count
        rows.append(
            {
                "what": what,
                "found": count,
                "published": published,
                "difference": None if published is None else count - published,
                "source": NO_NUMBER if number is None else number.source,
            }
        )
    integers = dict.fromkeys(("found", "published", "difference"), pl.Int64)
    return pl.DataFrame(rows, schema={"what": pl.String, **integers, "source": pl.String})


def _counts(manifest: Manifest) -> dict[str, int]:
    frame = manifest.frame
    out = {"rows": len(frame)}
    splits = frame["split"].drop_nulls().cast(pl.String)
    out |= {f"rows in {split}": int((splits == split).sum()) for split in splits.unique(maintain_order=True)}
    if frame["group"].null_count() < len(frame):
        out["groups"] = frame["group"].n_unique() - int(frame["group"].null_count() > 0)
    for task in manifest.tasks:
        kind = "classes" if isinstance(task, MulticlassTask) else "labels"
        out[f"{kind} of {task.name}"] = task.width
    if manifest.root is not None and "path" in frame.columns:
        out["images that are not there"] = len(missing_files(manifest.root, frame["path"]))
    return out
