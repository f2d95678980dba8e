"""Data as it lies on people's disks: manifests, readers, mixtures, images.

Public names load on first use, so that the command line's `--help` costs neither polars nor torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from concord._lazy import lazy_door

if TYPE_CHECKING:
    from concord.data.annotation_files import write_annotations
    from concord.data.augment import Augment, step_generator
    from concord.data.batches import Batch
    from concord.data.coannotation import Method, annotate, evidence, filled_counts
    from concord.data.duplicates import near_copies, near_copies_in_memory
    from concord.data.feature_table import (
        Columns,
        columns_of,
        columns_record,
        joined_columns,
        mostly_numbers,
        tell_unknown,
    )
    from concord.data.features import FeatureRows
    from concord.data.files import is_written_manifest, read_manifest, write_frame, write_manifest
    from concord.data.frames import from_csv, from_frame
    from concord.data.groups import group_codes
    from concord.data.images import BOX, IMAGENET, Images, Normalization, normalize
    from concord.data.inputs import Inputs, Loaded, Texts, concatenate
    from concord.data.inspection import as_table, inspect
    from concord.data.joining import merge, stack
    from concord.data.loading import Collate
    from concord.data.manifest import LOCATORS, SPLITS, Manifest, soft_columns, task_columns
    from concord.data.mixture import Mixture
    from concord.data.paths import IMAGE_ENDINGS, DataRoot, counted_endings, is_clutter
    from concord.data.pictures import Pictures, as_pictures
    from concord.data.predictions import read_features, read_predictions
    from concord.data.published import check_copy
    from concord.data.readers import pack_relation
    from concord.data.registry import read, reader, reader_names, reads_data_set
    from concord.data.source import Source
    from concord.data.splitting import resplit, split_shares
    from concord.data.streamed import StreamedInputs, unreadable

__all__ = [
    "Augment",
    "Batch",
    "FeatureRows",
    "Images",
    "Manifest",
    "Mixture",
    "Source",
    "Texts",
    "annotate",
    "check_copy",
    "from_csv",
    "from_frame",
    "group_codes",
    "inspect",
    "is_clutter",
    "is_written_manifest",
    "merge",
    "near_copies",
    "read",
    "read_manifest",
    "reader_names",
    "resplit",
    "split_shares",
    "stack",
    "write_annotations",
    "write_frame",
    "write_manifest",
]

__getattr__, __dir__ = lazy_door(
    __name__,
    {
        "Augment": "concord.data.augment",
        "BOX": "concord.data.images",
        "Batch": "concord.data.batches",
        "Collate": "concord.data.loading",
        "Columns": "concord.data.feature_table",
        "columns_of": "concord.data.feature_table",
        "columns_record": "concord.data.feature_table",
        "joined_columns": "concord.data.feature_table",
        "mostly_numbers": "concord.data.feature_table",
        "tell_unknown": "concord.data.feature_table",
        "DataRoot": "concord.data.paths",
        "FeatureRows": "concord.data.features",
        "IMAGENET": "concord.data.images",
        "Images": "concord.data.images",
        "Inputs": "concord.data.inputs",
        "Loaded": "concord.data.inputs",
        "LOCATORS": "concord.data.manifest",
        "Manifest": "concord.data.manifest",
        "Mixture": "concord.data.mixture",
        "Normalization": "concord.data.images",
        "Pictures": "concord.data.pictures",
        "SPLITS": "concord.data.manifest",
        "Source": "concord.data.source",
        "StreamedInputs": "concord.data.streamed",
        "unreadable": "concord.data.streamed",
        "Texts": "concord.data.inputs",
        "Method": "concord.data.coannotation",
        "annotate": "concord.data.coannotation",
        "as_pictures": "concord.data.pictures",
        "as_table": "concord.data.inspection",
        "check_copy": "concord.data.published",
        "concatenate": "concord.data.inputs",
        "evidence": "concord.data.coannotation",
        "filled_counts": "concord.data.coannotation",
        "from_csv": "concord.data.frames",
        "from_frame": "concord.data.frames",
        "group_codes": "concord.data.groups",
        "inspect": "concord.data.inspection",
        "is_clutter": "concord.data.paths",
        "counted_endings": "concord.data.paths",
        "IMAGE_ENDINGS": "concord.data.paths",
        "is_written_manifest": "concord.data.files",
        "merge": "concord.data.joining",
        "near_copies": "concord.data.duplicates",
        "near_copies_in_memory": "concord.data.duplicates",
        "normalize": "concord.data.images",
        "pack_relation": "concord.data.readers",
        "read": "concord.data.registry",
        "read_features": "concord.data.predictions",
        "read_manifest": "concord.data.files",
        "read_predictions": "concord.data.predictions",
        "reader": "concord.data.registry",
        "reader_names": "concord.data.registry",
        "reads_data_set": "concord.data.registry",
        "resplit": "concord.data.splitting",
        "soft_columns": "concord.data.manifest",
        "split_shares": "concord.data.splitting",
        "stack": "concord.data.joining",
        "step_generator": "concord.data.augment",
        "task_columns": "concord.data.manifest",
        "write_frame": "concord.data.files",
        "write_annotations": "concord.data.annotation_files",
        "write_manifest": "concord.data.files",
    },
)
