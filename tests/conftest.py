"""What all tests share: how many examples hypothesis draws, and one thread a process.

`HYPOTHESIS_PROFILE=explore pytest ...` draws many more examples, new ones every time.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

HERE = Path(__file__).parent

# Tensors in tests are tiny: threads would only wait for each other, the more so beside other workers.
os.environ.setdefault("OMP_NUM_THREADS", "1")

slow_machine = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("ci", max_examples=40, derandomize=True, **slow_machine)
settings.register_profile("explore", max_examples=2000, **slow_machine)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

TRAINING = (
    "cli/test_export_command",
    "cli/test_outputs",
    "cli/test_relation_check",
    "cli/test_study_command",
    "cli/test_train",
    "data/readers/test_licensed_studies",
    "golden/test_golden_runs",
    "golden/test_golden_saved",
    "golden/test_golden_worlds",
    "study/",
    "training/",
    "test_against_libmtl",
    "test_benchmarks",
    "test_board",
    "test_checkpoint",
    "test_demo",
    "test_estimator",
    "test_export",
    "test_faces",
    "test_fit",
    "test_hub",
    "test_method_board",
    "test_ranks",
    "test_selection",
    "test_trunks",
)
"""Files below `tests/` that train networks: what `make check` leaves out."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of files that train."""
    for item in items:
        if item.path.is_relative_to(HERE) and item.path.relative_to(HERE).as_posix().startswith(TRAINING):
            item.add_marker("training")
