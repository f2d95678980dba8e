"""The user's own data as a problem: a manifest, features, relation tables."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from concord.arrays import moments
from concord.data import FeatureRows, Manifest, group_codes, read_manifest
from concord.errors import StudyError
from concord.relations import BUILTIN, Relation, aligned
from concord.study.plan import Data, RelationPlan
from concord.study.problems.problem import SPLITS, Problem
from concord.tasks import MulticlassTask


def own_problem(data: Data, folder: str) -> Problem:
    """Read what a plan says of the user's data.

    Features are standardised by the training rows, and clipped at 6 standard deviations.

    Args:
        data: The plan's part about data.
        folder: What its paths are relative to.

    Raises:
        MissingDataError: A file that is not there.
        DataFormatError: Features that are no array of numbers.
        NotFiniteError: Features with NaN or infinity; names the first such row.
        ShapeError: Fewer features than the manifest's rows point to.
        UnknownNameError: A relation of an unknown task or table.
        StudyError: A manifest without rows of a split, or without a column `row`.
    """
    root = Path(folder)
    manifest = read_manifest(root / data.manifest)
    if "row" not in manifest.frame.columns:
        raise StudyError(f"{data.manifest}: a column 'row' is needed that says each sample's row of features")
    split = manifest.frame["split"].cast(str).to_numpy()
    splits = {name: np.flatnonzero(split == name) for name in SPLITS}
    for name, rows in splits.items():
        if len(rows) == 0:
            raise StudyError(f"{data.manifest}: no row of split {name!r}; `concord data split` draws one")
    held = FeatureRows(root / data.features, key=data.array)
    features = held.take(held.keys(manifest)(np.arange(len(manifest)))).astype(np.float32)
    return Problem(
        name=manifest.name or Path(data.manifest).stem,
        tasks=manifest.tasks,
        inputs=standardised(features, splits["train"]),
        targets=manifest.targets(),
        splits=splits,
        relations=tuple(_relation(manifest, relation, root) for relation in data.relations),
        groups=group_codes(manifest),
        origins=manifest.origins,
    )


def standardised(x: npt.NDArray[np.float32], train: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """Feature rows by mean and deviation of the training rows, clipped at 6; images as they are."""
    if x.ndim > 2:
        return x
    mean, deviation = moments(x[train])
    return np.clip((x - mean) / (deviation + 1e-6), -6, 6).astype(np.float32)


def _relation(manifest: Manifest, plan: RelationPlan, root: Path) -> Relation:
    source, target = manifest.task(plan.source), manifest.task(plan.target)
    if not isinstance(source, MulticlassTask):
        raise StudyError(f"relation {source.name}->{target.name}: its source must be a class task")
    if plan.table in BUILTIN:
        if plan.normalize:
            raise StudyError(
                f"relation {source.name}->{target.name}: normalize changes nothing of table {plan.table!r}; "
                "leave it out"
            )
        return aligned(BUILTIN[plan.table](), source, target, f"table {plan.table!r}")
    # As built-in tables: what a file lacks by mistake would be unknown without a word; empty cells say so.
    return Relation.from_csv(source, target, root / plan.table, normalize=plan.normalize, complete=True)
