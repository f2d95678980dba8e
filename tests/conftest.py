"""What all tests share: how many examples hypothesis draws, and one thread a process.

A test draws few examples, the same ones every time, as every change must pass all tests within minutes
(`.ci/run`). `HYPOTHESIS_PROFILE=explore pytest ...` draws many more, new ones every time. A test that sets a
number of its own draws that many in both.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

# Tensors in tests are tiny: threads would only wait for each other, the more so beside other workers.
os.environ.setdefault("OMP_NUM_THREADS", "1")

slow_machine = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("ci", max_examples=25, derandomize=True, **slow_machine)
settings.register_profile("explore", max_examples=2000, **slow_machine)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))
