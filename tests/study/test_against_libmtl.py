"""The benchmark that runs LibMTL: what it is given, what its table says, and itself where it is installed."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from study_folders import edit, write_study
from study_plans import tiny

from concord.fitting.rows import RowFeed
from concord.study.pages.outcome import Outcome
from concord.study.problems.load import problem_of
from concord.study.running.one_cell import setting_of

PLAN = {
    "problem": "digits",
    "regimes": [{"name": "few-class", "rows": {"digit": 40, "segments": 120}}],
    "conditions": ["single-task", "uncoupled"],
    "seeds": [0, 1],
    "network": {"hidden": [16]},
    "budget": {"steps": 12, "rows_per_task": 16},
}


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    import against_libmtl

    yield against_libmtl
    for name in ("against_libmtl", "page"):
        sys.modules.pop(name, None)


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A finished study of the digits, with made-up results."""
    regimes = {"few-class": (40, 120)}
    out = write_study(tmp_path / "s", conditions=("single-task", "uncoupled"), regimes=regimes, seeds=2)
    edit(out / "config.json", lambda held: held.update(PLAN))
    return out


def setting(**budget: Any) -> Any:
    plan = tiny(**({"budget": {**tiny().budget.model_dump(), **budget}} if budget else {}))
    return setting_of(plan, problem_of(plan), plan.regimes[0], 1, plan.budget)


def test_its_trainer_is_given_the_rows_of_our_steps(benchmark: Any):
    given = setting()
    feed = RowFeed(given.rows, given.tasks, 16, seed=1, device=torch.device("cpu"))
    loaders = benchmark.batches(given)
    for _ in range(given.budget.steps):
        ours = feed.next()
        theirs = [next(loader) for loader in loaders.values()]
        assert torch.equal(torch.cat([inputs for inputs, _ in theirs]), ours.inputs)
        for i, (name, (_, targets)) in enumerate(zip(loaders, theirs, strict=True)):
            assert torch.equal(targets, ours.targets[name][16 * i : 16 * (i + 1)])
    assert {len(loader) for loader in loaders.values()} == {6}, "120 rows are 8 steps, which do not divide 12"


@pytest.mark.parametrize(
    ("steps", "rows", "each", "epoch"),
    [(600, 600, 64, 10), (12, 120, 16, 6), (7, 100, 16, 7), (7, 40, 16, 1)],
)
def test_epochs_are_whole_and_no_longer_than_a_walk(
    benchmark: Any, steps: int, rows: int, each: int, epoch: int
):
    assert benchmark.epoch_length(steps, rows, each) == epoch


def test_the_table_sets_its_runs_beside_the_studys(benchmark: Any, study: Path):
    outcome = Outcome.read(study)
    tasks = [("digit", "accuracy"), ("segments", "mean_f1")]
    base = {task: outcome.values("few-class", task, metric, "single-task") for task, metric in tasks}
    rows = [
        benchmark.Row("libmtl-UW", seed, "few-class", task, metric, base[task][seed] + 0.02 + 0.01 * seed)
        for task, metric in tasks
        for seed in (0, 1)
    ]
    other = benchmark.Row("libmtl-UW", 0, "few-class", "digit", "ece", 0.5)
    text = benchmark.regime_table(
        benchmark.values_of(outcome, [*rows, other], "few-class", tasks), tasks, 0.95
    )
    head, _, first, *_, last = text.splitlines()
    assert head == "| method | digit, accuracy | segments, mean F1 |"
    assert first.startswith("| `single-task` | ")
    # Differences of 2 and 3 points: 2.5, and 12.706, t's 0.975 quantile at 1 df, times the standard error .5.
    assert last.startswith("| LibMTL UW (`uncertainty`) | ")
    assert last.count("(+2.5; -3.9 to +8.9)") == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tuning": {"learning_rate": [1e-3]}}, "without `tuning`"),
        ({"problem": {"manifest": "m.csv", "features": "f.npz"}}, "a built-in problem"),
        ({"seeds": [0]}, "two seeds and the condition single-task"),
    ],
)
def test_a_study_that_cannot_stand_beside_it_is_refused(
    benchmark: Any, study: Path, change: dict[str, Any], message: str
):
    edit(study / "config.json", lambda held: held.update(change))
    with pytest.raises(SystemExit, match=message):
        benchmark.plan_of(Outcome.read(study), None)


def test_runs_are_kept_for_their_own_study(benchmark: Any, tmp_path: Path):
    out = tmp_path / "new" / "libmtl.csv"
    rows = [benchmark.Row("libmtl-EW", 1, "few-class", "digit", "accuracy", 1 / 3)]
    assert benchmark.read_rows(out, "abc") == []
    benchmark.write_rows(rows, out, "abc")
    assert benchmark.read_rows(out, "abc") == rows
    with pytest.raises(SystemExit, match="beside another study"):
        benchmark.read_rows(out, "abd")


def test_a_regime_that_there_is_not_is_named(benchmark: Any, study: Path):
    with pytest.raises(SystemExit, match="no regime 'few'; it has few-class"):
        benchmark.plan_of(Outcome.read(study), ["few"])


def test_without_libmtl_one_line_says_how_to_get_it(
    benchmark: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any
):
    monkeypatch.setitem(sys.modules, "LibMTL", None)
    with pytest.raises(SystemExit, match=r"pip install --no-deps LibMTL==1\.1\.5") as ended:
        benchmark.main([])
    assert "\n" not in str(ended.value)
    assert capsys.readouterr().out == ""


@pytest.mark.skipif(find_spec("LibMTL") is None, reason="LibMTL is no dependency and not installed")
def test_without_dropout_its_equal_weights_are_our_uncoupled_network(
    benchmark: Any, study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    library = benchmark.libmtl()
    plan = benchmark.plan_of(Outcome.read(study), None)
    assert benchmark.difference_without_dropout(library, plan, problem_of(plan), 12) < 1e-5
    page, out = tmp_path / "docs" / "libmtl.md", tmp_path / "libmtl.csv"
    benchmark.main(["--beside", str(study), "--out", str(out), "--page", str(page)])
    names = {line.split(",")[0] for line in out.read_text().splitlines()[1:]}
    assert names == {f"libmtl-{name}" for name in benchmark.WEIGHTINGS}
    assert page.read_text().count("| LibMTL ") == len(benchmark.WEIGHTINGS)
    before = out.read_bytes()
    monkeypatch.setattr(benchmark, "scores", None)  # what is done is not done again
    benchmark.main(["--beside", str(study), "--out", str(out)])
    assert out.read_bytes() == before
