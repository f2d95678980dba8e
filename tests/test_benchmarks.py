"""The benchmark of a step runs, and its page keeps what other commands wrote."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import concord as cc
from concord.networks.trunks.perceptron import mlp
from concord.networks.trunks.resnet import SmallResNet


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(Path(__file__).parent.parent / "benchmarks"))
    import page
    import step_cost

    yield SimpleNamespace(page=page, step_cost=step_cost)
    for name in ("page", "step_cost"):
        sys.modules.pop(name, None)


def test_a_section_is_put_in_its_own_place(benchmark: Any, tmp_path: Path):
    page = tmp_path / "docs" / "benchmarks.md"
    write = benchmark.page.write_section
    write("a", "First", "1", page)
    write("b", "Second", "2", page)
    before = page.read_text()
    write("a", "First", "one\n\ntwo", page)
    after = page.read_text()
    assert after == before.replace("## First\n\n1\n", "## First\n\none\n\ntwo\n")
    assert after.index("## First") < after.index("## Second")
    write("a", "First", "1", page)
    assert page.read_text() == before


def test_every_coupling_and_both_loops_are_measured(benchmark: Any, capsys: Any):
    step_cost = benchmark.step_cost
    before = torch.get_num_threads()
    for name, case in (
        ("mlp", step_cost.Case("tiny rows", lambda: mlp(6, (5,)), (6,), 8, 1, goal=1.1)),
        ("resnet", step_cost.Case("tiny images", lambda: SmallResNet(3, 8, 1), (3, 4, 4), 8, 1)),
    ):
        step_cost.CASES[name] = case
    try:
        step_cost.main(["--threads", "1", "--pairs", "2", "--loop-pairs", "2", "--loop-steps", "6"])
    finally:
        torch.set_num_threads(before)
    out = capsys.readouterr().out
    measured = [line.split(" | ") for line in out.splitlines() if line.startswith("| tiny")]
    of_couplings = [line for line in measured if line[0] == "| tiny rows, batch 8" and len(line) == 7]
    assert [line[1] for line in of_couplings] == list(cc.couplings.LOSSES)
    assert all(float(line[6].rstrip(" |")) >= 1 for line in of_couplings), "a coupling needs memory, too"
    assert all(float(line[3]) > 0 for line in of_couplings)
    assert sum("steps" in line[0] for line in measured) == 2
    assert torch.cuda.is_available() or "for want of a GPU or of time: ResNet-50" in out
