"""Write sections of docs/method.md, and its figure, from the finished studies of the method's board.

python benchmarks/method_page.py runs/method [--page docs/method.md] [--sections method method-images]
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from scipy import stats

import method_rivals
import problems
from concord.errors import ConcordError
from concord.study import Cell, control, holm, paired
from page import DOCS, TESTED, UNTESTED, write_section
from page import table as markdown
from problems import SCARCE

REAL = ("mnist10k_shape", "goemotions")
KEY = ["pack", "regime", "seed", "role", "metric"]
REGIMES = ["few-class", "few-label", "balanced", "partial", "full"]
MAIN = "auto-standard"
UNSEEN_UNTIL = "2026-12-01"
"""The day on which somebody looked at what the seeds of `method_fresh.py` draw."""
PAGE = DOCS / "method.md"
NOT_RUN = ["Not run.", ""]
SECTIONS = {
    "method": f"`{MAIN}` on features",
    "method-fresh": "On draws that nobody had looked at",
    "method-rivals": "Against the best single-task model",
    "method-controls": "Tasks that are not related",
    "method-images": "Images, with a small residual net",
}
"""Sections of the page, by the name of what measures them, and their headings."""


def load(out: Path) -> pl.DataFrame:
    """All results of a kind of run, a row a number; of `auto`, with what it said. Empty where nothing is done."""
    frames = [_study(folder) for folder in sorted(out.glob("*.*")) if (folder / "summary.json").exists()]
    return pl.concat(frames, how="diagonal_relaxed") if frames else pl.DataFrame()


def _study(folder: Path) -> pl.DataFrame:
    pack, _, regime = folder.name.partition(".")
    plan = json.loads((folder / "config.json").read_text())
    first, _ = plan["regimes"][0]["rows"]
    parts = pl.col("condition").str.split(".")
    frame = pl.read_csv(folder / "results.csv").select(
        pl.lit(pack).alias("pack"),
        "regime",
        "seed",
        "metric",
        "value",
        pl.when(pl.col("task") == first).then(pl.lit("class")).otherwise(pl.lit("label")).alias("role"),
        parts.list.get(0).alias("condition"),
        parts.list.get(1, null_on_oob=True).fill_null("none").alias("table"),
    )
    said = [
        {
            **key,
            **_account(json.loads((folder / "runs" / f"{_run(regime, key).id}.json").read_text()), pack, key),
        }
        for key in frame.filter(pl.col("condition").str.starts_with("auto-"))
        .select("condition", "table", "seed")
        .unique(maintain_order=True)
        .iter_rows(named=True)
    ]
    return frame.join(pl.DataFrame(said), on=["condition", "table", "seed"], how="left") if said else frame


def _run(regime: str, key: dict[str, Any]) -> Cell:
    return Cell(regime, f"{key['condition']}.{key['table']}", key["seed"])


def _account(record: dict[str, Any], pack: str, key: dict[str, Any]) -> dict[str, Any]:
    """What `auto` said of its table, and how right that was."""
    account = record["account"]
    found = account["relations"][0]
    out = {
        "cost": account["cost"],
        "verdict": found["verdict"],
        "trust": found["trust"],
        "estimate_error": None,
    }
    try:
        given, counts = problem(pack).relations[0], observed(pack)
    except (
        ConcordError,
        OSError,
    ):  # a page is written where its packs are not, too: without what only they tell
        return out
    estimate = np.array(found["estimate"], dtype=float)
    out["estimate_error"] = float(np.nanmean(np.abs(estimate - counts)))
    if given.class_to_class or key["table"] not in ("right", "partly-wrong"):
        return out
    shown = control(given, "partly-wrong", key["seed"]) if key["table"] == "partly-wrong" else given
    with np.errstate(invalid="ignore"):
        wrong = np.abs(shown.table - given.table) > 0.5
    names = given.source.outputs, given.target.outputs
    hits = [wrong[names[0].index(c), names[1].index(k)] for c, k in found["contradicted"]]
    return {**out, "wrong_cells": int(wrong.sum()), "named": len(hits), "named_wrong": int(sum(hits))}


@cache
def problem(pack: str) -> problems.Problem:
    """A pack, loaded once."""
    found: problems.Problem = getattr(problems, pack)()
    return found


@cache
def observed(pack: str) -> np.ndarray:
    """The relation by counts over all training rows of a pack."""
    return problems.observed(problem(pack))


def ran(out: Path) -> str:
    """Which code made the studies of `out`, when, where and with what."""
    code = json.loads((out / "about.json").read_text())["code"]
    made = [json.loads(path.read_text()) for path in sorted(out.glob("*.*/environment.json"))]
    days = sorted({each["started"][:10] for each in made})
    versions, machine = made[-1]["versions"], made[-1]["machine"]
    return (
        f"code {', '.join(code)}, {' to '.join(dict.fromkeys((days[0], days[-1])))}, {machine['cores']} cores, "
        f"Python {versions['python']}, torch {versions['torch']}"
    )


def seeds_of(frame: pl.DataFrame) -> str:
    """How many seeds each study has, in words."""
    counts = frame.group_by("pack", "regime").agg(pl.col("seed").n_unique())["seed"]
    return " to ".join(map(str, dict.fromkeys((counts.min(), counts.max()))))


def steps_of(out: Path) -> str:
    """Steps of a final network."""
    plans = (json.loads(path.read_text()) for path in sorted(out.glob("*.*/config.json")))
    return " or ".join(sorted({str(plan["budget"]["steps"]) for plan in plans}))


def said_of(out: Path) -> str:
    """The command and circumstances of a kind of run."""
    return f"Written from `python benchmarks/method.py run --kind {out.name}` ({ran(out)})"


def differences(frame: pl.DataFrame, condition: str, table: str, baseline: str) -> pl.DataFrame:
    """Paired differences in points of the two main metrics and of average precision; a baseline has no table."""
    left = frame.filter((pl.col("condition") == condition) & (pl.col("table") == table))
    right = frame.filter((pl.col("condition") == baseline) & (pl.col("table") == "none"))
    right = right.select(*KEY, pl.col("value").alias("base"))
    main = ((pl.col("role") == "class") & (pl.col("metric") == "balanced_accuracy")) | (
        (pl.col("role") == "label") & pl.col("metric").is_in(["mean_f1", "map", "balanced_accuracy"])
    )
    joined = left.join(right, on=KEY, validate="1:1").filter(main)
    return joined.with_columns((100 * (pl.col("value") - pl.col("base"))).alias("difference"))


def gain_of_table(frame: pl.DataFrame, condition: str) -> pl.DataFrame:
    """Paired differences in points of a condition with the right table to the same without any."""
    without = frame.filter((pl.col("condition") == condition) & (pl.col("table") == "none"))
    others = frame.filter((pl.col("condition") == condition) & (pl.col("table") == "right"))
    return differences(
        pl.concat([others, without.with_columns(pl.lit("without").alias("condition"))]),
        condition,
        "right",
        "without",
    )


CELL = ("pack", "regime", "role", "metric")


class Harm(NamedTuple):
    """How often a condition is below another, over cells (pack, regime, task, metric).

    Attributes:
        cells: How many there are.
        tested: How many have seeds enough for a test.
        worse: Of these, significantly below zero: one-sided paired t-test, Holm over the tested cells.
        below: Of these, with an uncorrected 95 % interval below zero.
        worst: The lowest mean of all cells, in points.
        where: Which cell that is.
        shows: What the mean loss of the cell of median noise has to be measured as to be significant, in
            points: a true loss of that size is seen about half the time.
        low: Cells that are significantly below zero or whose interval is, with their means, the lowest first.
    """

    cells: int
    tested: int
    worse: int
    below: int
    worst: float
    where: str
    shows: float = float("nan")
    low: tuple[tuple[str, float], ...] = ()

    def said(self) -> str:
        """Significantly worse cells, in words."""
        return f"{self.worse} of {self.tested}" if self.tested else UNTESTED


def harm(found: pl.DataFrame) -> Harm:
    """How often differences are below zero."""
    cells = [
        ("/".join(map(str, key)), part["difference"].to_numpy())
        for key, part in found.group_by(CELL, maintain_order=True)
    ]
    means = {where: float(d.mean()) for where, d in cells}
    tested = {where: d for where, d in cells if len(d) >= TESTED}
    p = np.array([float(paired(-d).p_worse) for d in tested.values()])
    bad = holm(p) < 0.05 if len(p) else []
    shown = [where for where, worse in zip(tested, bad, strict=True) if worse]
    dips = [where for where, d in tested.items() if paired(d).high < 0]
    worst = min(means, key=lambda where: means[where])
    low = sorted({*shown, *dips}, key=lambda where: means[where])
    return Harm(
        len(cells),
        len(tested),
        len(shown),
        len(dips),
        means[worst],
        worst,
        _shown_loss(list(tested.values())),
        tuple((where, means[where]) for where in low),
    )


def _shown_loss(cells: Sequence[np.ndarray]) -> float:
    """What a cell has to lose on average to pass the first step of Holm's correction, at the median of their noise."""
    if not cells:
        return float("nan")
    return float(
        np.median(
            [d.std(ddof=1) / np.sqrt(len(d)) * stats.t.isf(0.05 / len(cells), len(d) - 1) for d in cells]
        )
    )


def simulated_worst(found: pl.DataFrame, draws: int = 2000) -> tuple[float, float]:
    """Median and 5 % quantile of the worst cell mean of a method whose true differences are all zero.

    Each cell keeps its own standard error as measured; cells are drawn independently. Cells whose interval lies above
    zero are left out: noise is largest where much is gained, and there nothing is near a loss.
    """
    errors = []
    for _, part in found.group_by(CELL, maintain_order=True):
        d = part["difference"].to_numpy()
        if len(d) >= 2 and not (len(d) >= TESTED and paired(d).low > 0):
            errors.append(d.std(ddof=1) / np.sqrt(len(d)))
    if not errors:
        return float("nan"), float("nan")
    worst = (np.random.default_rng(0).normal(size=(draws, len(errors))) * np.array(errors)).min(axis=1)
    return float(np.median(worst)), float(np.quantile(worst, 0.05))


def worst_said(seen: Harm, found: pl.DataFrame) -> list[str]:
    """The loss that would have been shown, the worst cell of differences, and what it would be by chance."""
    median, low = simulated_worst(found)
    by_chance = "every cell gains" if np.isnan(median) else f"{median:+.1f} / {low:+.1f}"
    chance = by_chance if seen.tested == seen.cells else UNTESTED
    shows = f"{seen.shows:.1f}" if seen.tested else UNTESTED
    return [shows, f"{seen.worst:+.1f} ({seen.where})", chance]


def below_said(found: pl.DataFrame) -> list[str]:
    """How many cells of differences are below zero, significantly and by their intervals, and what is said of the worst."""
    seen = harm(found)
    below = f"{seen.below} of {seen.tested}" if seen.tested else UNTESTED
    return [seen.said(), below, *worst_said(seen, found)]


def mean_se(values: pl.DataFrame) -> str:
    """Mean over packs of each pack's mean, with the standard error over packs."""
    means = (
        values.group_by("pack", maintain_order=True).agg(pl.col("difference").mean())["difference"].to_numpy()
    )
    if not len(means):
        return "-"
    if len(means) == 1:
        return f"{means[0]:+.1f}"
    return f"{means.mean():+.1f} ({means.std(ddof=1) / np.sqrt(len(means)):.1f})"


def better_of_two(frame: pl.DataFrame, condition: str, table: str) -> pl.DataFrame:
    """Differences to the better reference, chosen for each task and regime on the mean over packs."""
    st, sh = (differences(frame, condition, table, b) for b in ("single-task", "balanced-shared"))
    parts = []
    for (regime, role, metric), part in sh.group_by(["regime", "role", "metric"], maintain_order=True):
        other = st.filter(
            (pl.col("regime") == regime) & (pl.col("role") == role) & (pl.col("metric") == metric)
        )
        parts.append(part if part["base"].mean() >= other["base"].mean() else other)
    return pl.concat(parts)


def _packs_of(frame: pl.DataFrame, regime: str, packs: list[str]) -> str:
    found = sorted(frame.filter(pl.col("regime") == regime)["pack"].unique())
    return "all" if found == packs else ", ".join(found)


def _select(found: pl.DataFrame, regime: str, role: str, metric: str) -> pl.DataFrame:
    return found.filter(
        (pl.col("regime") == regime) & (pl.col("role") == role) & (pl.col("metric") == metric)
    )


def of_task(found: pl.DataFrame, regime: str, role: str) -> pl.DataFrame:
    """Differences of one task by its main metric: classes and clinc150's second task by balanced accuracy, labels by F1."""
    return found.filter((pl.col("regime") == regime) & (pl.col("role") == role) & (pl.col("metric") != "map"))


def one_row_a_run(frame: pl.DataFrame, condition: str) -> pl.DataFrame:
    """What a condition said of its table: one row for each pack, regime, seed and table."""
    own = frame.filter((pl.col("condition") == condition) & (pl.col("role") == "class"))
    return own.unique(["pack", "regime", "seed", "table"], maintain_order=True)


def area(right: np.ndarray, wrong: np.ndarray) -> float:
    """Area under the curve of telling right tables (high) from wrong ones (low)."""
    return float(
        stats.mannwhitneyu(right, wrong).statistic / (len(right) * len(wrong))
        if len(right) and len(wrong)
        else np.nan
    )


def tables_section(frame: pl.DataFrame, main: str, tables: list[str]) -> list[str]:
    """Verdicts on tables, trust, wrong cells, error of the estimate."""
    runs = one_row_a_run(frame, main)
    said: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for row in runs.iter_rows(named=True):
        said[row["table"]][row["verdict"]] += 1
    verdicts = sorted({v for counts in said.values() for v in counts})
    text = [
        "### What it said of the tables",
        "",
        markdown(["table", *verdicts], [[t, *(str(said[t][v]) for v in verdicts)] for t in tables]),
        "",
    ]
    trust = {t: runs.filter(pl.col("table") == t)["trust"].drop_nulls().to_numpy() for t in tables}
    if "right" in tables and "shuffled" in tables:
        kept = sum(said["right"][v] for v in ("kept", "calibrated"))
        seen = sum(said["shuffled"][v] for v in ("dropped", "unrelated", "undecided"))
        text += [
            f"Right tables kept or calibrated: {kept} of {sum(said['right'].values())}. Shuffled tables recognised "
            f"(dropped, or no coupling at all): {seen} of {sum(said['shuffled'].values())}. Area under the curve of "
            f"trust, right against shuffled: {area(trust['right'], trust['shuffled']):.3f}"
            + (
                f"; right against partly wrong: {area(trust['right'], trust['partly-wrong']):.3f}."
                if "partly-wrong" in tables
                else "."
            ),
            "",
        ]
    apart = runs.filter(
        (pl.col("table") == tables[-1]) & (pl.col("regime") != "full") & (pl.col("regime") != "partial")
    )
    if "estimate_error" in runs.columns and len(apart["estimate_error"].drop_nulls()):
        rows = [
            [
                pack,
                *(_mean_error(apart, pack, regime) for regime in ("few-class", "few-label", "balanced")),
            ]
            for pack in sorted(apart["pack"].unique())
        ]
        text += [
            "Mean absolute error of the relation that the data give without a co-annotated row, against counts over "
            f"all training rows (mean over packs {apart['estimate_error'].mean():.3f}):",
            "",
            markdown(["pack", "few-class", "few-label", "balanced"], rows),
            "",
        ]
    return text


def cells_section(frame: pl.DataFrame, main: str) -> list[str]:
    """Which cells of partly wrong tables were named, and which of right ones."""
    runs = one_row_a_run(frame, main)
    if "named" not in runs.columns:
        return []
    runs = runs.filter(pl.col("named").is_not_null())
    packs = sorted(runs["pack"].unique())
    judged = [pack for pack in packs if pack != "goemotions"]
    rows = [
        [name, regime, *_named(runs.filter(pl.col("regime") == regime), among)]
        for name, among in [*((pack, [pack]) for pack in packs), ("all but goemotions", judged)]
        for regime in SCARCE
    ]
    for regime in SCARCE:
        shares = [_shares(runs.filter(pl.col("regime") == regime), [pack]) for pack in judged]
        if np.isfinite(shares).any(axis=0).all():
            means = (f"{mean:.2f}" for mean in np.nanmean(shares, axis=0))
            rows.append(["mean of these packs", regime, *means, "", ""])
    return [
        "Cells of partly wrong tables (a quarter of the rows moved to other classes, a tenth of the cells flipped) "
        "that differ from the right table by more than .5, how many of them were named, and how many cells of a "
        "right table were named wrongly (a run). goemotions' table says what may occur: there a frequency can "
        "contradict a cell that says never, and no other, so that hardly any of its cells can be named.",
        "",
        markdown(["pack", "regime", "precision", "recall", "wrong cells", "named of a right table"], rows),
        "",
    ]


def _shares(runs: pl.DataFrame, packs: list[str]) -> tuple[float, float]:
    """Precision and recall of the cells that were named."""
    partly = runs.filter(pl.col("pack").is_in(packs) & (pl.col("table") == "partly-wrong"))
    named, hits, wrong = (int(partly[c].sum()) for c in ("named", "named_wrong", "wrong_cells"))
    return (hits / named if named else np.nan, hits / wrong if wrong else np.nan)


def _named(runs: pl.DataFrame, packs: list[str]) -> list[str]:
    own = runs.filter(pl.col("pack").is_in(packs))
    wrong = int(own.filter(pl.col("table") == "partly-wrong")["wrong_cells"].sum())
    false = own.filter(pl.col("table") == "right")["named"].mean()
    shares = ("-" if np.isnan(share) else f"{share:.2f}" for share in _shares(runs, packs))
    return [*shares, str(wrong), "-" if false is None else f"{false:.1f}"]


def _mean_error(runs: pl.DataFrame, pack: str, regime: str) -> str:
    part = runs.filter((pl.col("pack") == pack) & (pl.col("regime") == regime))
    found = part["estimate_error"].mean()
    return "-" if found is None else f"{found:.3f}"


def costs(frame: pl.DataFrame, condition: str) -> pl.Series:
    """Training steps of `auto` with the pair of single-task models as 1, where a task is scarce, right table or none."""
    mine = frame.filter(pl.col("regime").is_in(SCARCE) & pl.col("table").is_in(["right", "none"]))
    return one_row_a_run(mine, condition)["cost"].drop_nulls()


def cost_section(frame: pl.DataFrame, others: list[tuple[str, pl.DataFrame]], main: str) -> list[str]:
    """Cost of the efforts, and what the others gain or lose against the main one on common cells."""
    rows = []
    for condition, found in [(main, frame), *others]:
        if not len(found):
            rows.append([condition, "not run", "-", "-", "-", "-", "-"])
            continue
        mine = found.filter(pl.col("regime").is_in(SCARCE) & pl.col("table").is_in(["right", "none"]))
        cost = costs(found, condition)
        row = [condition, ", ".join(sorted(mine["pack"].unique())), f"{cost.mean():.1f}", f"{cost.max():.1f}"]
        for role, metric in (("class", "balanced_accuracy"), ("label", "mean_f1"), ("label", "map")):
            if condition == main or not len(frame):
                row.append("-")
                continue
            left = mine.filter(pl.col("condition") == condition)
            right = frame.filter(pl.col("condition") == main)
            key = [*KEY, "table"]
            joined = left.join(right.select(*key, pl.col("value").alias("base")), on=key)
            gaps = joined.with_columns((100 * (pl.col("value") - pl.col("base"))).alias("difference"))
            scarce = (pl.col("role") == role) & (pl.col("regime") == f"few-{role}")
            row.append(mean_se(gaps.filter(scarce & (pl.col("metric") == metric))))
        rows.append(row)
    return [
        "### Cost",
        "",
        "Training steps of `auto` with the pair of single-task models as 1, by its own account; differences to "
        f"`{main}` in points of the scarce task, right table and none, mean over packs (standard "
        "error): `--kind fast`, `--kind thorough`.",
        "",
        markdown(["effort", "packs", "mean", "most", "class", "label F1", "label AP"], rows),
        "",
    ]


def images_section(out: Path) -> list[str]:
    """The board on images, as a shorter table."""
    frame = load(out)
    if not len(frame):
        return NOT_RUN
    main = next(c for c in sorted(frame["condition"].unique()) if c.startswith("auto-"))
    seeds = sorted(frame["seed"].unique())
    rows = []
    for pack in sorted(frame["pack"].unique()):
        for regime in [
            r for r in REGIMES if r in set(frame.filter(pl.col("pack") == pack)["regime"].unique())
        ]:
            for table in [t for t in ("right", "shuffled", "none") if t in set(frame["table"].unique())]:
                runs = one_row_a_run(frame, main).filter(
                    (pl.col("pack") == pack) & (pl.col("regime") == regime) & (pl.col("table") == table)
                )
                said = runs["verdict"].value_counts(sort=True).iter_rows()
                row = [pack, regime, table, ", ".join(f"{verdict} {n}" for verdict, n in said)]
                for baseline in ("single-task", "balanced-shared"):
                    found = differences(frame, main, table, baseline).filter(pl.col("pack") == pack)
                    for role, metric in (("class", "balanced_accuracy"), ("label", "mean_f1")):
                        row.append(interval(_select(found, regime, role, metric)["difference"].to_numpy()))
                rows.append(row)
    return [
        f"{said_of(out)}: {len(seeds)} paired seeds "
        f"({seeds[0]} to {seeds[-1]}), residual net of width 16, {steps_of(out)} steps. {_of_clothes(frame)}`{main}`, differences in points with 95 % t-intervals.",
        "",
        markdown(
            ["pack", "regime", "table", "verdicts"]
            + [f"{m} vs {b}" for b in ("single-task", "shared") for m in ("class", "label F1")],
            rows,
        ),
        "",
    ]


def _of_clothes(frame: pl.DataFrame) -> str:
    if "clothing_to_fmnist" not in set(frame["pack"].unique()):
        return "Photos of garments and thumbnails with attributes, two data sets, have not run here but as a case study. "
    return (
        "`clothing_to_fmnist` has two sources: photos annotated with garments, grey thumbnails annotated with "
        "attributes, no overlap; classes are tested on photos, labels on thumbnails. "
    )


def controls_section(out: Path) -> list[str]:
    """Tasks that are not related: verdicts and harm."""
    frame = load(out)
    if not len(frame):
        return NOT_RUN
    frame = frame.with_columns(pl.col("pack").str.split("_").list.get(-1).alias("control"))
    main = next(c for c in sorted(frame["condition"].unique()) if c.startswith("auto-"))
    seeds = sorted(frame["seed"].unique())
    rows = []
    for kind in ("shuffled", "nuisance", "entangled"):
        part = frame.filter(pl.col("control") == kind)
        if not len(part):
            continue
        for table in ("none", "right"):
            runs = one_row_a_run(part, main).filter(pl.col("table") == table)
            said = dict(runs["verdict"].value_counts(sort=True).iter_rows())
            unrelated = said.pop("unrelated", 0)
            others = ", ".join(f"{verdict} {n}" for verdict, n in said.items())
            row = [kind, table, f"{unrelated} of {len(runs)}{f' ({others})' if others else ''}"]
            for baseline in ("single-task", "balanced-shared"):
                seen = harm(differences(part, main, table, baseline))
                row.append(f"{seen.said()}; worst {seen.worst:+.1f} ({seen.where})")
            rows.append(row)
    return [
        f"{said_of(out)}, seeds {seeds[0]} to {seeds[-1]}. `shuffled`: the labels of other rows. `nuisance`: labels that follow from sixteen added features, independent of all else. `entangled`: "
        "labels that live in the class's own features and are independent of the class only once these are known. "
        "Table `right` is the pack's own, which says nothing of these labels.",
        "",
        markdown(
            [
                "control",
                "table",
                "verdict 'unrelated'",
                "below single task (Holm)",
                "below balanced shared (Holm)",
            ],
            rows,
        ),
        "",
    ]


BEST = "best-single-task"
COMPETING = "auto-rivals"
BESIDE = {"rivals-wrong": COMPETING, "features": MAIN}
"""Kinds of run that are compared with the best single-task model of another, and the condition that is."""


def beside_rivals(out: Path) -> pl.DataFrame:
    """Runs with the best single-task model, and those of `auto` on the same packs, regimes and seeds."""
    frame, key = load(out / "rivals"), ["pack", "regime", "seed"]
    if not len(frame):
        return frame
    others = ((load(out / folder), condition) for folder, condition in BESIDE.items())
    found = [
        other.filter(pl.col("condition") == condition).join(frame.select(key).unique(), on=key, how="semi")
        for other, condition in others
        if len(other)
    ]
    return pl.concat([frame, *found], how="diagonal_relaxed")


def with_thresholds(out: Path) -> pl.DataFrame:
    """Means over the seeds of each study against the best single-task model, as predicted and cut at chosen thresholds.

    Differences in points of a pack, regime, role, condition and table. Of studies of the same seeds alone.
    """
    kept = ["pack", "regime", "seeds", "role"]
    frame = pl.concat([_thresholds(out / "rivals"), *(_thresholds(out / name) for name in BESIDE)])
    best = frame.filter(pl.col("condition") == BEST).select(*kept, best_half="half", best_chosen="chosen")
    return frame.join(best, on=kept).select(
        *kept,
        "condition",
        "table",
        half=pl.col("half") - pl.col("best_half"),
        chosen=pl.col("chosen") - pl.col("best_chosen"),
    )


def _thresholds(out: Path) -> pl.DataFrame:
    rows = []
    for path in sorted(out.glob("*.*/summary.json")):
        pack, _, _ = path.parent.name.partition(".")
        summary = json.loads(path.read_text())
        first, _ = summary["metrics"]
        for each in summary["thresholds"]:
            condition, _, table = each["condition"].partition(".")
            rows.append(
                {
                    "pack": pack,
                    "regime": each["regime"],
                    "seeds": " ".join(map(str, summary["seeds"])),
                    "role": "class" if each["task"] == first else "label",
                    "condition": condition,
                    "table": table or "none",
                    "half": each["half"],
                    "chosen": each["chosen"],
                }
            )
    types = dict.fromkeys(("pack", "regime", "seeds", "role", "condition", "table"), pl.String)
    return pl.DataFrame(rows, schema={**types, "half": pl.Float64, "chosen": pl.Float64})


def tables_beside(frame: pl.DataFrame) -> list[tuple[str, str]]:
    """Conditions of `auto` and their tables, those with rivals first."""
    return [(each, table) for each in (COMPETING, MAIN) for table in _tables(frame, each)]


def rivals_section(out: Path) -> list[str]:
    """`auto` with and without rivals against the best single-task model that a user would have."""
    frame = beside_rivals(out)
    if not len(frame):
        return NOT_RUN
    regimes = [r for r in REGIMES if r in set(frame["regime"].unique())]
    packs, seeds = sorted(frame["pack"].unique()), sorted(frame["seed"].unique())
    metrics = (("class", "balanced_accuracy"), ("label", "mean_f1"), ("label", "map"))
    rows, harms = [], []
    for condition, table in tables_beside(frame):
        found = differences(frame, condition, table, BEST)
        for regime in [each for each in regimes if each in set(found["regime"].unique())]:
            means = (mean_se(_select(found, regime, *metric)) for metric in metrics)
            rows.append([condition, table, regime, *means])
        harms.append([condition, table, *below_said(found)])
    by_pack = []
    for pack, regime in [(pack, regime) for pack in packs for regime in regimes]:
        row = [pack, regime]
        for condition in (COMPETING, MAIN):
            found = differences(frame, condition, "right", BEST).filter(pl.col("pack") == pack)
            row += [
                interval(_select(found, regime, *metric)["difference"].to_numpy()) for metric in metrics[:2]
            ]
        if row[2:] != ["-"] * 4:
            by_pack.append(row)
    cuts = with_thresholds(out)
    cut = []
    for condition, table in tables_beside(frame):
        own = cuts.filter((pl.col("condition") == condition) & (pl.col("table") == table))
        for regime in [each for each in regimes if each in set(own["regime"].unique())]:
            part = own.filter(pl.col("regime") == regime)
            roles = [part.filter(pl.col("role") == role) for role in ("class", "label")]
            means = [
                mean_se(each.select("pack", difference=column))
                for each in roles
                for column in ("half", "chosen")
            ]
            lowest = part.sort("chosen").row(0, named=True)
            worst = f"{lowest['chosen']:+.1f} ({lowest['pack']}, {lowest['role']})"
            cut.append([condition, table, regime, *means, worst])
    boosted = ", ".join(pack for pack in method_rivals.BOOSTED if pack in packs)
    return [
        f"Written from `python benchmarks/method_rivals.py` ({ran(out / 'rivals')}): {', '.join(packs)}; seeds {seeds[0]} to {seeds[-1]} ({seeds_of(frame)} paired). `{BEST}` is, "
        f"for each task and seed, the best on validation rows of a single-task network, {', '.join(method_rivals.RIVALS)}"
        f"{f' and, on {boosted}, boosting' if boosted else ''}. `{COMPETING}` is `auto` with these estimators among its "
        f"single-task models and networks of folds that are trained in full; `{MAIN}` is `auto` as it is by default, on the same rows. "
        "Test rows, points, mean over packs (standard error over packs); columns of labels are without clinc150, whose second task has classes.",
        "",
        markdown(["condition", "table", "regime", "class", "label F1", "label AP"], rows),
        "",
        f"Below `{BEST}`, over cells of pack, regime, task and metric, as above (Holm over the cells of a row):",
        "",
        markdown(
            [
                "condition",
                "table",
                "significantly below 0",
                "interval below 0",
                "least loss shown",
                "worst cell",
                "worst cell by chance",
            ],
            harms,
        ),
        "",
        "What is chosen by log-loss may be cautious on rare classes and labels. The same differences where both sides cut at thresholds that are "
        "chosen on validation rows (labels for F1, classes for balanced accuracy), beside those as predicted; mean over packs (standard error over packs):",
        "",
        markdown(
            [
                "condition",
                "table",
                "regime",
                "class",
                "class, thresholds chosen",
                "label F1",
                "label F1, thresholds chosen",
                "worst pack, thresholds chosen",
            ],
            cut,
        ),
        "",
        f"Against `{BEST}`, pack by pack, with the right table; 95 % t-intervals over paired seeds.",
        "",
        markdown(
            ["pack", "regime", *(f"{c}: {m}" for c in (COMPETING, MAIN) for m in ("class", "label F1"))],
            by_pack,
        ),
        "",
    ]


def fresh_section(out: Path) -> list[str]:
    """`auto` against single-task networks on other draws than those of the rest of the page."""
    frame = load(out)
    if not len(frame):
        return NOT_RUN
    packs, seeds = sorted(frame["pack"].unique()), sorted(frame["seed"].unique())
    tables = _tables(frame, MAIN)
    found = {table: differences(frame, MAIN, table, "single-task") for table in tables}
    scarce = [of_task(found[table], f"few-{role}", role) for role in ("class", "label") for table in tables]
    rows = [
        [pack, *(interval(part.filter(pl.col("pack") == pack)["difference"].to_numpy()) for part in scarce)]
        for pack in packs
    ]
    means = ["mean (standard error over packs)", *map(mean_se, scarce)]
    harms = [[table, *below_said(found[table])] for table in tables]
    return [
        f"`python benchmarks/method_fresh.py` ({ran(out)}): {', '.join(packs)}; seeds {seeds[0]} to {seeds[-1]} ({seeds_of(frame)} paired), at which "
        f"nobody had looked before {UNSEEN_UNTIL}: what was changed in the method until then was not chosen by them. `{MAIN}` against single-task networks on the scarce task, points, 95 % t-intervals "
        "(balanced accuracy of classes and of clinc150's second task, F1 of labels).",
        "",
        markdown(
            [
                "pack",
                *(f"scarce {task}, {table} table" for task in ("classes", "labels") for table in tables),
            ],
            [*rows, means],
        ),
        "",
        "Below single-task networks, over cells of pack, regime, task and metric, the rich tasks among them (as above):",
        "",
        markdown(
            [
                "table",
                "significantly below 0",
                "interval below 0",
                "least loss shown",
                "worst cell",
                "by chance",
            ],
            harms,
        ),
        "",
    ]


def interval(d: np.ndarray) -> str:
    """Mean and 95 % t-interval."""
    if len(d) < 2:
        return "-"
    found = paired(d)
    return f"{found.mean:+.1f} [{found.low:+.1f}, {found.high:+.1f}]"


def write(out: Path, page: Path, sections: Sequence[str] = ()) -> None:
    """Write sections of the page, all unless some are named; what has not run is said.

    Every number comes from the finished studies under `out`.

    Raises:
        SystemExit: None is finished.
    """
    if not any(True for _ in out.glob("*/*.*/summary.json")):
        raise SystemExit(f"no finished study under {out}; run `python benchmarks/method.py run` first")
    for name in sections or SECTIONS:
        title, lines = SECTIONS[name], _lines(name, out, page)
        write_section(name, title, "\n".join(lines), page)
    print(f"wrote {page}")


def _lines(name: str, out: Path, page: Path) -> list[str]:
    if name == "method-fresh":
        return fresh_section(out / "fresh")
    if name == "method-rivals":
        return rivals_section(out)
    if name == "method-controls":
        return controls_section(out / "controls")
    if name == "method-images":
        return images_section(out / "images")
    frame, efforts = load(out / "features"), ("fast", "thorough")
    costs = cost_section(frame, [(f"auto-{kind}", load(out / kind)) for kind in efforts], MAIN)
    if not len(frame):
        return [*NOT_RUN, *costs]
    figure(frame, MAIN, _tables(frame, MAIN), page.parent / "figures" / "method.svg")
    return [*features_section(out, frame, MAIN), *costs, "![Differences by pack](figures/method.svg)", ""]


def _tables(frame: pl.DataFrame, main: str) -> list[str]:
    shown = set(frame.filter(pl.col("condition") == main)["table"].unique())
    return [table for table in ("right", "shuffled", "partly-wrong", "none") if table in shown]


def features_section(out: Path, frame: pl.DataFrame, main: str) -> list[str]:
    """The board on features: against both references, harm, real labels, tables and cells."""
    packs = sorted(frame["pack"].unique())
    seeds = sorted(frame["seed"].unique())
    regimes = [r for r in REGIMES if r in set(frame["regime"].unique())]
    tables = _tables(frame, main)
    text = [
        f"Studies: {ran(out / 'features')}. {len(packs)} packs ({', '.join(packs)}); "
        + "; ".join(f"{regime} on {_packs_of(frame, regime, packs)}" for regime in regimes)
        + ". "
        f"Seeds {seeds[0]} to {seeds[-1]} ({seeds_of(frame)} paired), features and an MLP of 128 + 128 units; {steps_of(out / 'features')} steps "
        "of 64 rows a task for every final network, single-task models included. Differences in points (x 100), "
        "balanced accuracy for classes, mean F1 at threshold .5 and mean average precision for labels (for the "
        "second class task of clinc150, balanced accuracy). Labels of digits, clothing10, grocery81, mushroom "
        "and synthetic follow from their tables, which flatters every method that uses the table; "
        f"{' and '.join(REAL)} have real labels for every row.",
        "",
        f"### `{main}` against its two references",
        "",
        "Mean over packs, in brackets the standard error over packs (none where a regime ran on one pack). Columns of labels are "
        "without clinc150, whose second task has classes; among the cells below it counts.",
        "",
    ]
    rows = []
    for table in tables:
        for regime in regimes:
            row = [table, regime]
            for baseline in ("single-task", "balanced-shared"):
                found = differences(frame, main, table, baseline)
                row += [
                    mean_se(_select(found, regime, "class", "balanced_accuracy")),
                    mean_se(_select(found, regime, "label", "mean_f1")),
                    mean_se(_select(found, regime, "label", "map")),
                ]
            rows.append(row)
    head = ["table", "regime"] + [
        f"{m} vs {b}" for b in ("single-task", "shared") for m in ("class", "label F1", "label AP")
    ]
    text += [markdown(head, rows), "", *harm_section(frame, main, tables)]
    text += [
        "### Against the better of the two references",
        "",
        "The better one is chosen for each task and regime on the mean over packs, not for each cell.",
        "",
    ]
    rows = []
    for table in tables:
        found = better_of_two(frame, main, table)
        row = [table]
        for role, metric in (("class", "balanced_accuracy"), ("label", "mean_f1"), ("label", "map")):
            row.append(mean_se(found.filter((pl.col("role") == role) & (pl.col("metric") == metric))))
        row.append(mean_se(found))
        rows.append(row)
    text += [
        markdown(["table", "class", "label F1", "label AP", "all"], rows),
        "",
        "### Packs with real labels",
        "",
    ]
    rows = []
    for pack in REAL:
        for regime in regimes:
            for baseline in ("single-task", "balanced-shared"):
                found = differences(frame, main, "right", baseline).filter(pl.col("pack") == pack)
                row = [pack, regime, baseline]
                for role, metric in (("class", "balanced_accuracy"), ("label", "mean_f1"), ("label", "map")):
                    d = _select(found, regime, role, metric)["difference"].to_numpy()
                    row.append(interval(d))
                if len(found.filter(pl.col("regime") == regime)):
                    rows.append(row)
    text += [
        f"`{main}`, right table; 95 % t-intervals over paired seeds.",
        "",
        markdown(["pack", "regime", "against", "class", "label F1", "label AP"], rows),
        "",
        *tables_section(frame, main, tables),
        *cells_section(frame, main),
    ]
    return text


def harm_section(frame: pl.DataFrame, main: str, tables: list[str]) -> list[str]:
    """How often each condition is below either reference, by table."""
    rows = []
    conditions = [(main, t) for t in tables] + [
        (c, t)
        for c in sorted(set(frame["condition"].unique()) - {main, "single-task", "balanced-shared"})
        for t in ("right", "shuffled")
    ]
    for condition, table in [("balanced-shared", "none"), *conditions]:
        for baseline in ("single-task", "balanced-shared"):
            if condition == baseline:
                continue
            found = differences(frame, condition, table, baseline)
            if not len(found):
                continue
            seen = harm(found)
            rows.append([condition, table, baseline, seen.said(), *worst_said(seen, found)])
    return [
        "### Harm",
        "",
        f"A cell is a pack, regime, task and metric; one-sided paired t-test over seeds, of which it takes {TESTED}, Holm over",
        "the cells of a row that have them.",
        "Least loss shown: what the mean of a cell has to be measured as to be significant, at the median of their noise; a true",
        "loss of that size is seen about half the time. The last column is what the worst cell of a method without any effect would be, at the median and",
        "at 5 %, drawn with the standard errors of cells whose interval does not lie above zero. Seeds draw training rows; the",
        "test rows of a pack are the same for all seeds, and intervals do not hold their noise.",
        "",
        markdown(
            [
                "condition",
                "table",
                "against",
                "significantly below 0",
                "least loss shown",
                "worst cell",
                "worst cell by chance",
            ],
            rows,
        ),
        "",
    ]


def figure(frame: pl.DataFrame, main: str, tables: list[str], target: Path) -> None:
    """Differences to balanced shared by pack and regime: dots for seeds, bars for means."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "concord"
    import matplotlib.pyplot as plt

    panels = [
        ("class", "balanced_accuracy", "few-class", "scarce classes"),
        ("label", "mean_f1", "few-label", "scarce labels, F1"),
    ]
    shades = {"right": "#0b6e4f", "shuffled": "#c8553d", "partly-wrong": "#e0a458", "none": "#5b7db1"}
    fig, axes = plt.subplots(1, 2, figsize=(10, 4.5), sharey=False)
    for axis, (role, metric, regime, title) in zip(axes, panels, strict=True):
        packs = sorted(frame["pack"].unique())
        for j, table in enumerate(tables):
            found = _select(differences(frame, main, table, "balanced-shared"), regime, role, metric)
            for i, pack in enumerate(packs):
                d = found.filter(pl.col("pack") == pack)["difference"].to_numpy()
                if not len(d):
                    continue
                y = i + (j - 1.5) * 0.2
                axis.plot(d, np.full(len(d), y), ".", color=shades[table], alpha=0.35, markersize=5)
                axis.plot(
                    d.mean(), y, "o", color=shades[table], label=table if i == 0 else None, markersize=5
                )
        axis.axvline(0, color="#888", linewidth=1)
        axis.set_yticks(range(len(packs)), packs)
        axis.set_title(title)
        axis.set_xlabel("points against balanced shared")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].legend(frameon=False, title="table", loc="best")
    fig.tight_layout()
    target.parent.mkdir(parents=True, exist_ok=True)
    fig.savefig(target, metadata={"Date": None})
    plt.close(fig)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write sections."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, help="folder of the runs")
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--sections", nargs="+", choices=tuple(SECTIONS), default=())
    given = parser.parse_args(arguments)
    write(given.out, given.page, given.sections)


if __name__ == "__main__":
    main()
