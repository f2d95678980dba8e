"""The comparison of runs whose outcome is made up, so that every number is known."""

from __future__ import annotations

import csv
import json
import shutil

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import accuracy_score, f1_score
from study_plans import tiny

from concord import MulticlassTask, MultilabelTask, Relation
from concord.metrics import evaluate
from concord.study.judging.artifacts import agreement, gallery
from concord.study.judging.comparison import _verdicts, compare, summary
from concord.study.judging.comparison import compare as public_compare
from concord.study.judging.results import Results, collect
from concord.study.judging.wording import sentence
from concord.study.pages.listed import result_tables
from concord.study.pages.report import write_report
from concord.study.plan import as_plan
from concord.study.problems.cases.digits import problem
from concord.study.problems.problem import Problem
from concord.study.running.cells import Cell, all_cells, open_folder, save

DIGITS = problem()
TEST = DIGITS.splits["test"]
WRONG = {"single-task": (120, 40), "uncoupled": (80, 44), "paper-matching": (200, 43), "posterior": (20, 8)}
PLAN = tiny(
    conditions=list(WRONG),
    seeds=5,
    resamples=100,
    regimes=[
        {"name": "few-class", "rows": {"digit": 40, "segments": 120}},
        {"name": "balanced", "rows": {"digit": 80, "segments": 80}},
    ],
)


def made_up(wrong_class, wrong_label, seed):
    """Logits that are right but on so many rows, more or less, by seed."""
    rng = np.random.default_rng([seed, wrong_class])
    y = DIGITS.targets["digit"][TEST].copy()
    rows = rng.permutation(len(y))[: wrong_class + rng.integers(-3, 4)]
    y[rows] = (y[rows] + 1) % 10
    a = DIGITS.targets["segments"][TEST].copy()
    rows = rng.permutation(len(a))[: wrong_label + rng.integers(-2, 3)]
    a[rows] = 1 - a[rows]
    return {"digit": 3 * np.eye(10)[y], "segments": 6 * a - 3}


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    open_folder(folder, PLAN)
    for cell in all_cells(PLAN):
        logits = made_up(*WRONG[cell.condition], cell.seed)
        record = {
            "plan": PLAN.digest_of(cell.regime, cell.condition),
            "rows": {"digit": 40, "segments": 120},
            "validation": {},
            "curves": [{"task": "digit", "metric": "accuracy", "step": 6, "value": 0.5}],
            "relations": {},
            "seconds": 1.5,
        }
        save(folder, cell, record, {name: z.astype(np.float32) for name, z in logits.items()})
    compare(PLAN, folder)
    return folder


@pytest.fixture(scope="module")
def found(out):
    return json.loads((out / "summary.json").read_text())


def one(rows, **wanted):
    [row] = [row for row in rows if all(row[k] == v for k, v in wanted.items())]
    return row


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_results_hold_every_metric_of_every_run_on_the_test_rows(out):
    rows = rows_of(out / "results.csv")
    assert len(rows) == len(all_cells(PLAN)) * (4 + 4)
    cell = Cell("balanced", "posterior", 3)
    made = made_up(*WRONG["posterior"], 3)
    wanted = {"condition": "posterior", "seed": "3", "regime": "balanced"}
    y, a = DIGITS.targets["digit"][TEST], DIGITS.targets["segments"][TEST]
    row = one(rows, **wanted, task="digit", metric="accuracy")
    assert float(row["value"]) == accuracy_score(y, made["digit"].argmax(axis=1))
    row = one(rows, **wanted, task="segments", metric="mean_f1")
    assert float(row["value"]) == pytest.approx(f1_score(a, made["segments"] > 0, average="macro"))
    assert (row["n_class"], row["n_label"], row["n_digit"]) == ("40", "120", "40")
    assert collect(PLAN, DIGITS, out).seeds("balanced", "posterior", "digit")[3] == pytest.approx(
        float(one(rows, **wanted, task="digit", metric="accuracy")["value"])
    )
    assert cell.id == "balanced~posterior~3"


def test_a_verdict_follows_from_the_rows_of_results(out, found):
    rows = rows_of(out / "results.csv")

    def seeds(condition):
        return np.array(
            [
                float(one(rows, condition=condition, seed=str(s), regime="few-class", task="digit",
                          metric="accuracy")["value"])
                for s in range(5)
            ]
        )  # fmt: skip

    row = one(
        found["verdicts"], regime="few-class", task="digit", condition="posterior", baseline="uncoupled"
    )
    theirs = stats.ttest_rel(seeds("posterior"), seeds("uncoupled"))
    low, high = theirs.confidence_interval(0.95)
    # Noise of the test rows comes on top of that of the seeds.
    assert theirs.pvalue < row["p"] < 0.01
    assert row["low"] < 100 * low
    assert row["high"] > 100 * high
    assert row["p_holm"] >= row["p"]
    assert row["verdict"] == "superior"
    assert row["n_seeds"] == 5
    assert row["bootstrap_low"] < row["difference"] < row["bootstrap_high"]


def test_the_bootstrap_is_paired_by_row(found):
    """Its spread is that of a difference on the same rows, not of two independent samples."""
    row = one(
        found["verdicts"], regime="few-class", task="digit", condition="posterior", baseline="uncoupled"
    )
    share = 60 / 800  # rows on which only one of the two is wrong, in each seed
    single_seed = 100 * np.sqrt(share * (1 - share) / 800)
    width = (row["bootstrap_high"] - row["bootstrap_low"]) / (2 * 1.96)
    assert 0.3 * single_seed < width < 1.2 * single_seed


def test_harm_is_called_harm_and_gain_gain(found):
    said = {
        (row["task"], row["condition"]): row["verdict"]
        for row in found["verdicts"]
        if row["baseline"] == "uncoupled" and row["regime"] == "few-class"
    }
    assert said["digit", "paper-matching"] == "inferior"
    assert said["segments", "paper-matching"] == "non-inferior"  # its interval excludes a loss of a point
    assert said["segments", "posterior"] == "superior"
    assert "posterior does best" in found["sentence"]
    assert "Harm against the uncoupled network: paper-matching (worst: -15." in found["sentence"]
    assert "5 paired seeds at the 5 % level" in found["sentence"]


def test_the_worst_task_and_negative_transfer(found):
    worst = one(found["worst_task"], regime="balanced", condition="paper-matching", baseline="single-task")
    assert worst["task"] == "digit"
    assert worst["difference"] == pytest.approx(-10, abs=1)
    assert worst["lowest"] <= worst["difference"]
    row = one(found["negative_transfer"], regime="balanced", condition="paper-matching")
    assert row["of"] == 10
    assert row["count"] >= 5
    assert row["rate"] == row["count"] / 10
    assert row["beyond_margin"] == pytest.approx(5, abs=1)
    assert one(found["negative_transfer"], regime="balanced", condition="posterior")["rate"] == 0


def test_delta_m_ranks_means_and_cost(found):
    gain = one(found["delta_m"], regime="few-class", condition="posterior")
    assert gain["low"] < gain["mean"] < gain["high"]
    assert gain["mean"] > 5
    ranks = found["ranks"]
    assert min(ranks["mean"], key=ranks["mean"].get) == "posterior"
    assert ranks["mean"]["posterior"] == 1
    assert ranks["blocks"] == 4
    best = ranks["groups"][0]
    assert best[0] == "posterior"
    spread = ranks["mean"][best[-1]] - ranks["mean"]["posterior"]
    assert spread <= ranks["critical_difference"]
    mean = one(found["means"], regime="few-class", condition="uncoupled", task="digit", metric="accuracy")
    assert mean["mean"] == pytest.approx(0.9, abs=0.01)
    assert mean["n"] == 5
    assert one(found["cost"], condition="uncoupled")["seconds"] == 1.5


def test_what_a_report_shows(out):
    relation = json.loads((out / "relation.json").read_text())[0]
    assert relation["table"] == DIGITS.relations[0].table.tolist()
    assert relation["given"]
    assert relation["estimated"] is None
    matrices = json.loads((out / "confusion.json").read_text())
    matrix = np.array(one(matrices, regime="balanced", condition="posterior")["matrix"])
    assert matrix.sum() == 5 * 800
    assert np.trace(matrix) == pytest.approx(5 * 780, abs=20)
    gallery = json.loads((out / "gallery.json").read_text())
    assert {item["agree"] for item in gallery} == {True, False}
    assert all(item["image"].startswith("data:image/png;base64,") for item in gallery)
    first = gallery[0]
    assert set(first["predictions"]) == set(WRONG)
    assert first["truth"]["digit"] == str(DIGITS.targets["digit"][first["row"]])
    assert len(rows_of(out / "curves.csv")) == len(all_cells(PLAN))


@pytest.mark.parametrize(("samples", "number"), [("none", 0), ("few", 24), ("all", 800)])
def test_a_plan_says_which_samples_are_kept_and_no_run_depends_on_it(out, samples, number):
    plan = PLAN.with_samples(samples)
    assert plan.digest == PLAN.digest
    assert plan.digest_of("balanced", "posterior") == PLAN.digest_of("balanced", "posterior")
    kept = gallery(collect(plan, DIGITS, out))
    assert len(kept) == number
    assert len({record["row"] for record in kept}) == number


def test_judged_again_without_samples_nothing_of_the_data_is_left(out, tmp_path):
    folder = tmp_path / "again"
    shutil.copytree(out, folder)
    (folder / "environment.json").write_text("{}")
    assert "data:image/png" in write_report(folder).read_text(encoding="utf-8")
    compare(PLAN.with_samples("none"), folder)
    assert json.loads((folder / "gallery.json").read_text()) == []
    page = write_report(folder).read_text(encoding="utf-8")
    assert "data:image" not in page
    assert "This file holds no sample of the data" in page


def test_heads_agree_where_the_labels_are_those_of_the_class():
    table, relation = DIGITS.relations[0].table, DIGITS.relations[0]
    said = np.eye(10)
    assert agreement(relation, said, 2 * table - 1).all()
    assert not agreement(relation, said, 2 * table[(np.arange(10) + 1) % 10] - 1).any()


def test_heads_agree_on_a_target_class_only_where_it_is_the_likeliest_of_many():
    table = np.full((2, 200), 0.98 / 199)
    table[[0, 1], [3, 5]] = 0.02
    relation = Relation(MulticlassTask("a", range(2)), MulticlassTask("b", range(200)), table)
    found = agreement(relation, np.eye(2)[[0, 0, 1, 1]], np.eye(200)[[3, 5, 5, 7]])
    assert found.tolist() == [True, False, True, False]


def test_heads_agree_by_known_cells_alone():
    table = np.array([[0.8, 0.8, np.nan], [0.8, 0.8, 0.1]])
    relation = Relation(MulticlassTask("a", range(2)), MultilabelTask("b", range(3)), table)
    assert agreement(relation, np.array([[1.0, 0.0]]), np.array([[1.0, 1.0, -1.0]])).all()


def test_the_terminal_says_the_same(found):
    from rich.console import Console

    console = Console(width=90, record=True, markup=False, file=open("/dev/null", "w"))  # noqa: SIM115
    for table in result_tables(found):
        console.print(table)
    text = console.export_text()
    assert text.count("posterior") == 4
    assert "[" not in text, "colours are no text, also where a console knows no markup"
    row = one(
        found["verdicts"], regime="few-class", task="digit", condition="posterior", baseline="uncoupled"
    )
    half = (row["high"] - row["low"]) / 2
    assert f"{row['difference']:+.1f} ± {half:.1f}" in text
    console.file.close()


@pytest.mark.parametrize("width", [60, 40])
def test_a_narrow_terminal_cuts_no_number_and_no_name(found, width):
    from rich.console import Console

    console = Console(width=width, record=True, markup=False, file=open("/dev/null", "w"))  # noqa: SIM115
    for table in result_tables(found):
        console.print(table)
    console.file.close()
    text = console.export_text()
    assert "…" not in text
    words = text.split()
    for row in found["verdicts"]:
        assert f"{row['difference']:+.1f}" in words
        assert f"{(row['high'] - row['low']) / 2:.1f}" in words
    for row in found["means"]:
        if row["metric"] == found["metrics"][row["task"]]:
            assert f"{100 * row['mean']:.1f}" in words
            assert f"({100 * row['sd']:.1f})" in words


def test_test_rows_are_noise_to_a_metric_of_ranks_too():
    """Two conditions that are equally good, each with luck on the test rows that its seeds share."""
    judged = []
    for world in range(12):
        rng = np.random.default_rng(world)
        a = (rng.random((200, 3)) < 0.3).astype(np.float32)
        y = rng.integers(0, 2, 200)
        kind, marks = MulticlassTask("kind", ["p", "q"]), MultilabelTask("marks", ["a", "b", "c"])
        made = Problem(
            name="made",
            tasks=(kind, marks),
            inputs=np.zeros((200, 1), dtype=np.float32),
            targets={"kind": y, "marks": a},
            splits={"train": np.arange(2), "val": np.arange(2, 4), "test": np.arange(4, 200)},
        )
        plan = as_plan(
            {
                "title": "made",
                "problem": "digits",
                "regimes": [{"name": "r", "rows": {"kind": 1, "marks": 1}}],
                "conditions": ["single-task", "dwa"],
                "metrics": {"marks": "map"},
                "seeds": 5,
                "resamples": 100,
            }
        )
        results = Results(plan, made, {}, {}, {})
        for condition in ("single-task", "dwa"):
            luck = rng.normal(size=(196, 3))
            for seed in plan.seeds:
                z = 2 * a[4:] - 1 + luck + 0.1 * rng.normal(size=(196, 3))
                cell = Cell("r", condition, seed)
                results.records[cell] = {}
                results.logits[cell] = {"kind": np.zeros((196, 2)), "marks": z}
                results.values[cell] = {
                    task.name: evaluate(task, made.targets[task.name][4:], results.logits[cell][task.name])
                    for task in made.tasks
                }
        judged += [row for row in _verdicts(results) if row["task"] == "marks"]
    assert sum(row["verdict"] in ("superior", "inferior") for row in judged) <= 2  # seeds alone agree in most
    assert all(row["bootstrap_low"] < row["difference"] < row["bootstrap_high"] for row in judged)


def test_calibration_is_better_when_lower(out):
    plan = PLAN.model_copy(update={"metrics": {"digit": "ece", "segments": "map"}})
    results = collect(PLAN, DIGITS, out)
    judged = summary(type(results)(plan, DIGITS, results.records, results.values, results.logits))
    row = one(
        judged["verdicts"], regime="balanced", task="segments", condition="posterior", baseline="uncoupled"
    )
    assert row["metric"] == "map"
    assert row["bootstrap_low"] < row["difference"] < row["bootstrap_high"]
    row = one(
        judged["verdicts"], regime="balanced", task="digit", condition="posterior", baseline="uncoupled"
    )
    means = {
        condition: one(judged["means"], regime="balanced", condition=condition, task="digit", metric="ece")[
            "mean"
        ]
        for condition in ("posterior", "uncoupled")
    }
    assert row["difference"] == pytest.approx(100 * (means["uncoupled"] - means["posterior"]))


def test_calibration_of_every_task(out, found):
    rows = [row for row in rows_of(out / "results.csv") if row["metric"] == "ece"]
    assert len(found["calibration"]) == 2 * 4 * 2

    def seeds(condition):
        wanted = {"regime": "balanced", "condition": condition, "task": "segments"}
        return np.array([float(one(rows, **wanted, seed=str(s))["value"]) for s in range(5)])

    row = one(found["calibration"], regime="balanced", condition="posterior", task="segments")
    assert row["mean"] == pytest.approx(100 * seeds("posterior").mean())
    theirs = stats.ttest_rel(seeds("uncoupled"), seeds("posterior"))
    low, high = theirs.confidence_interval(0.95)
    against = row["against"]["uncoupled"]
    assert (against["low"], against["high"]) == (pytest.approx(100 * low), pytest.approx(100 * high))
    alone = one(found["calibration"], regime="balanced", condition="single-task", task="digit")
    assert alone["against"] == {}


def test_sentences_of_little():
    base = {"seeds": [0, 1, 2], "level": 0.95}
    assert "Nothing was compared" in sentence({**base, "verdicts": []})
    row = {
        "regime": "r", "task": "t", "metric": "accuracy", "condition": "c", "baseline": "single-task",
        "difference": 0.1, "low": -1.0, "high": 1.2, "verdict": "undecided",
    }  # fmt: skip
    text = sentence({**base, "verdicts": [row]})
    assert "No condition is shown to be better" in text
    assert "No condition is shown to do harm against single-task networks" in text
    assert sentence({**base, "seeds": [0], "verdicts": [row]}).startswith("Undecided, 1 seed: ")
    assert sentence({**base, "seeds": [0, 1], "verdicts": [row]}).startswith("Undecided, 2 seeds: ")


def test_harm_against_every_baseline_is_named():
    def lost(condition, baseline, difference):
        return {
            "regime": "r", "task": "t", "metric": "accuracy", "condition": condition, "verdict": "inferior",
            "baseline": baseline, "difference": difference, "low": -20.0, "high": -0.1,
        }  # fmt: skip

    rows = [lost("a", "single-task", -3.0), lost("b", "uncoupled", -2.0)]
    text = sentence({"seeds": [0, 1, 2], "level": 0.95, "verdicts": rows})
    assert "Harm against the uncoupled network: b (worst: -2.0" in text
    assert "Harm against single-task networks: a (worst: -3.0" in text
    text = sentence({"seeds": [0, 1, 2], "level": 0.95, "verdicts": rows[:1]})
    assert "Harm against single-task networks: a (worst: -3.0" in text


def test_who_wins_by_most_is_named_beside_who_wins_most_often():
    def won(condition, task, difference):
        return {
            "regime": "r", "task": task, "metric": "accuracy", "condition": condition, "verdict": "superior",
            "baseline": "uncoupled", "difference": difference, "low": 0.1, "high": 20.0,
        }  # fmt: skip

    rows = [won("often", "s", 0.2), won("often", "t", 0.3), won("much", "t", 9.0)]
    text = sentence({"seeds": [0, 1, 2], "level": 0.95, "verdicts": rows})
    assert text.startswith("often does best: it beats the uncoupled network in 2 of 2 comparisons")
    assert "its largest gain is +0.3 points" in text
    assert "The largest gain shown is that of much: +9.0 points of accuracy in t, r" in text
    alone = sentence({"seeds": [0, 1, 2], "level": 0.95, "verdicts": rows[:2]})
    assert "gain shown" not in alone


def test_compare_is_public():
    assert public_compare is compare
