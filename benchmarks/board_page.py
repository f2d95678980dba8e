"""The page of the board, from finished packs: ranks, harm, and comparisons in which every pack counts once."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from concord import __version__
from concord.files import write_text
from concord.study import (
    METRIC_WORDS,
    block_ranks,
    mean_ranks,
    pack_means,
    paired,
    resampled_means,
    signed_rank,
)
from page import TESTED, UNTESTED, table

Array = npt.NDArray[np.float64]
Block = tuple[str, str, str]
"""Pack, regime, task."""

OURS = "auto"
SINGLE = ("single-task", "logistic", "extra-trees", "boosting")
BEST = "best single-task"
"""What a user would have fitted alone: by seed and task, the one of `SINGLE` that is best on validation rows."""
ROPE = 1.0
"""Half width of the region of practical equivalence, in points."""
GAP = "\N{EN DASH}"


# -- what was found ------------------------------------------------------------------------------------


def finished(out: Path) -> dict[str, dict[str, Any]]:
    """Summaries of the packs that are done, by pack."""
    return {
        path.parent.name: json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(out.glob("*/summary.json"))
    }


def blocks_of(summaries: Mapping[str, Mapping[str, Any]]) -> dict[Block, dict[str, float]]:
    """Mean of each condition in points by block, greater is better."""
    blocks: dict[Block, dict[str, float]] = {}
    for pack, summary in summaries.items():
        for row in summary["means"]:
            if row["metric"] == summary["metrics"][row["task"]]:
                block = blocks.setdefault((pack, row["regime"], row["task"]), {})
                block[row["condition"]] = 100 * float(row["mean"])
    return blocks


def cut_blocks_of(summaries: Mapping[str, Mapping[str, Any]]) -> dict[Block, dict[str, float]]:
    """The same at thresholds of their own, where the task's metric depends on any; elsewhere as it is."""
    blocks = {block: dict(values) for block, values in blocks_of(summaries).items()}
    for pack, summary in summaries.items():
        for row in summary.get("thresholds", []):
            blocks[pack, row["regime"], row["task"]][row["condition"]] = float(row["chosen"])
    return blocks


def with_best_single(
    blocks: Mapping[Block, Mapping[str, float]], out: Path, summaries: Mapping[str, Mapping[str, Any]]
) -> dict[Block, dict[str, float]]:
    """Blocks with one more condition: the best single-task model, chosen seed by seed on validation rows."""
    found = {block: dict(values) for block, values in blocks.items()}
    for pack, summary in summaries.items():
        test = _test_values(out / pack / "results.csv")
        for (name, regime, task), values in found.items():
            names = [each for each in SINGLE if each in values]
            if name == pack and names:
                metric = summary["metrics"][task]
                values[BEST] = _best_single(out / pack, test, (regime, task, metric), names, summary["seeds"])
    return found


def _best_single(
    folder: Path,
    test: Mapping[tuple[str, ...], float],
    block: tuple[str, str, str],
    names: Sequence[str],
    seeds: Sequence[int],
) -> float:
    regime, task, metric = block
    chosen = []
    for seed in seeds:
        held_out = {}
        for name in names:
            record = json.loads(
                (folder / "runs" / f"{regime}~{name}~{seed}.json").read_text(encoding="utf-8")
            )
            held_out[name] = record["validation"][task][metric]
        best = max(held_out, key=lambda name: held_out[name])
        chosen.append(100 * test[best, str(seed), regime, task, metric])
    return float(np.mean(chosen))


def _test_values(path: Path) -> dict[tuple[str, ...], float]:
    with path.open(newline="", encoding="utf-8") as file:
        return {
            (row["condition"], row["seed"], row["regime"], row["task"], row["metric"]): float(row["value"])
            for row in csv.DictReader(file)
        }


# -- ranks and harm ------------------------------------------------------------------------------------


def ranks_by_pack(blocks: Mapping[Block, Mapping[str, float]]) -> tuple[list[str], Array]:
    """Conditions that ran everywhere, and their mean rank in each pack: (packs, k)."""
    names = [name for name in next(iter(blocks.values())) if all(name in b for b in blocks.values())]
    values = [[block[name] for name in names] for block in blocks.values()]
    return names, pack_means(block_ranks(values), [pack for pack, _, _ in blocks])


def table_of(
    summaries: Mapping[str, Mapping[str, Any]], blocks: Mapping[Block, Mapping[str, float]] | None = None
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """A row a condition, the best mean rank first, and what holds for all of them.

    Ranks are means over packs of the means over a pack's blocks (regime, task), of the conditions that ran on
    every pack; intervals are of packs drawn with replacement. Significant negative transfers are verdicts
    "worse than single task" after Holm's correction.
    """
    blocks = blocks_of(summaries) if blocks is None else blocks
    names, by_pack = ranks_by_pack(blocks)
    drawn = resampled_means(by_pack)
    rank = dict(zip(names, by_pack.mean(axis=0).tolist(), strict=True))
    spread = dict(zip(names, np.quantile(drawn, [0.025, 0.975], axis=0).T.tolist(), strict=True))
    first = dict(zip(names, (drawn <= drawn.min(axis=1, keepdims=True)).mean(axis=0).tolist(), strict=True))
    cut, cut_ranks = ranks_by_pack(cut_blocks_of(summaries))
    at_thresholds = dict(zip(cut, cut_ranks.mean(axis=0).tolist(), strict=True))
    tests = mean_ranks(-by_pack) if len(names) > 1 else None
    rows = []
    for name in dict.fromkeys(name for block in blocks.values() for name in block):
        own = [
            (row, len(summary["seeds"]) >= TESTED)
            for summary in summaries.values()
            for row in summary["verdicts"]
            if row["condition"] == name and row["baseline"] == "single-task"
        ]
        said = [row["verdict"] for row, tested in own if tested]
        rows.append(
            {
                "condition": name,
                "rank": rank.get(name),
                "interval": spread.get(name),
                "first": first.get(name),
                "cut": at_thresholds.get(name),
                "comparisons": len(said),
                "worse": said.count("inferior"),
                "better": said.count("superior"),
                "lowest": min((float(row["difference"]) for row, _ in own), default=None),
            }
        )
    rows.sort(key=lambda row: np.inf if row["rank"] is None else row["rank"])
    return rows, {
        "critical": tests.critical if tests else None,
        "p": tests.p if tests else None,
        "blocks": len(blocks),
        "packs": len(by_pack),
        "drawn": dict(zip(names, drawn.T, strict=True)),
    }


# -- one against another -------------------------------------------------------------------------------


def against(
    blocks: Mapping[Block, Mapping[str, float]], other: str, ours: str = OURS
) -> dict[str, Any] | None:
    """The mean difference of ours to another condition over packs, with interval and belief, in points.

    Student's t over the packs' means gives the interval, the Bayesian signed-rank test the belief. None where
    they share no block.
    """
    shared = {block: values for block, values in blocks.items() if ours in values and other in values}
    if not shared:
        return None
    differences = [values[ours] - values[other] for values in shared.values()]
    by_pack = pack_means(differences, [pack for pack, _, _ in shared])
    found, drawn = paired(by_pack), resampled_means(by_pack)
    return {
        "other": other,
        "packs": len(by_pack),
        "difference": float(found.mean),
        "low": float(found.low),
        "high": float(found.high),
        "resampled": np.quantile(drawn, [0.025, 0.975]).tolist(),
        "belief": signed_rank(by_pack, ROPE),
    }


def behind(blocks: Mapping[Block, Mapping[str, float]], ours: str = OURS) -> list[tuple[Block, str, float]]:
    """Blocks in which ours is not first: the block, who is, and by how many points; the furthest first.

    `BEST` does not count: it is one of the others.
    """
    out = []
    for block, values in blocks.items():
        if ours in values:
            best = max((name for name in values if name != BEST), key=lambda name: values[name])
            if values[best] > values[ours]:
                out.append((block, best, values[best] - values[ours]))
    return sorted(out, key=lambda each: -each[2])


# -- the page ------------------------------------------------------------------------------------------


def write_page(out: Path, page: Path, packs: Sequence[str]) -> None:
    """Write the board of the finished packs.

    Raises:
        SystemExit: No pack is finished.
    """
    summaries = finished(out)
    if not summaries:
        raise SystemExit(
            f"no finished pack under {out}; run `python benchmarks/board.py run --out {out}` first"
        )
    blocks = with_best_single(blocks_of(summaries), out, summaries)
    without = {b: {name: v for name, v in values.items() if name != BEST} for b, values in blocks.items()}
    rows, about = table_of(summaries, without)
    missing = [pack for pack in packs if pack not in summaries]
    lines = [
        *_head(out, summaries, about),
        *(f"{sentence}\n" for sentence in standing(rows, about)),
        *_ranks(rows),
        *_comparisons(blocks),
        *_not_first(without),
        "",
        "Metrics: " + "; ".join(_metrics(summaries)) + ".",
    ]
    if missing:
        lines += ["", f"Packs that have not run: {', '.join(missing)}."]
    lines += _left_out(out, summaries)
    page.parent.mkdir(parents=True, exist_ok=True)
    write_text(page, "\n".join(lines) + "\n")
    print(f"wrote {page}")


def _head(out: Path, summaries: Mapping[str, Mapping[str, Any]], about: Mapping[str, Any]) -> list[str]:
    seeds = sorted({len(summary["seeds"]) for summary in summaries.values()})
    tests = (
        ""
        if about["p"] is None
        else (
            f" Friedman's p with packs as blocks is {about['p']:.2g}, Nemenyi's critical difference {about['critical']:.2f}."
        )
    )
    return [
        "# The board",
        "",
        f"`python benchmarks/board.py page`, {datetime.now(UTC):%Y-%m-%d}, version {__version__}, of `python "
        f"benchmarks/board.py run`, regimes {', '.join(_regimes(summaries))}, `--steps` {_steps(out, summaries)}.",
        "",
        f"{len(summaries)} open packs ({', '.join(summaries)}), {about['blocks']} blocks of pack, regime and task, "
        f"{' or '.join(map(str, seeds))} seeds each. Blocks of one pack are not independent, so that a pack counts once: a "
        "rank is a mean over packs of the mean over a pack's blocks, 1 the best, and its interval is that of packs drawn with "
        f"replacement.{tests} Worse and better: verdicts against single-task networks, after Holm's correction; a "
        "worse is a significant negative transfer.",
        "",
    ]


def standing(rows: Sequence[Mapping[str, Any]], about: Mapping[str, Any]) -> list[str]:
    """Where the package's own choice stands, in a sentence or two: first or not, and how sure that is."""
    ranked = [row for row in rows if row["rank"] is not None]
    names = [row["condition"] for row in ranked]
    if OURS not in names:
        return [f"`{OURS}` has no rank here: it did not run on every pack."]
    place = names.index(OURS) + 1
    mine = ranked[place - 1]
    transfers = (
        f"in {mine['worse']} of {mine['comparisons']} comparisons with single-task networks a negative transfer is significant"
        if mine["comparisons"]
        else f"negative transfer was {UNTESTED}: that takes {TESTED} seeds"
    )
    said = f"`{OURS}` is number {place} of {len(ranked)} by mean rank; {transfers}."
    if len(ranked) == 1:
        return [said]
    other = ranked[1 if place == 1 else 0]
    gap = about["drawn"][other["condition"]] - about["drawn"][OURS]
    low, high = np.quantile(gap, [0.025, 0.975])
    apart = "excludes 0" if low > 0 or high < 0 else "holds 0, so that the two are not told apart"
    mean = abs(other["rank"] - mine["rank"])
    text = f"by {mean:.2f} ranks; with packs drawn anew the interval of that difference, {low:+.2f} to {high:+.2f}, {apart}."
    if place > 1:
        return [said, f"It is not first: `{other['condition']}` is, {text}"]
    return [
        said,
        f"The next, `{other['condition']}`, is behind {text} It is first in {mine['first']:.0%} of the draws.",
    ]


def _ranks(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    head = ["condition", "mean rank", "interval", "mean rank at thresholds of their own", "negative transfers", "better",
            "comparisons", "lowest difference, points"]  # fmt: skip
    lines = []
    for row in rows:
        rank, cut = (GAP if row[key] is None else f"{row[key]:.2f}" for key in ("rank", "cut"))
        spread = GAP if row["interval"] is None else "{:.2f} to {:.2f}".format(*row["interval"])
        lowest = GAP if row["lowest"] is None else f"{row['lowest']:+.1f}"
        counts = [str(row[key]) if row["comparisons"] else GAP for key in ("worse", "better", "comparisons")]
        lines.append([row["condition"], rank, spread, cut, *counts, lowest])
    return [table(head, lines)]


def _comparisons(blocks: Mapping[Block, Mapping[str, float]]) -> list[str]:
    names = dict.fromkeys(name for values in blocks.values() for name in values if name != OURS)
    found = [
        each
        for name in sorted(names, key=lambda name: (name != BEST, name))
        if (each := against(blocks, name))
    ]
    if not found:
        return []
    head = [
        "against",
        "packs",
        "difference",
        "interval over packs",
        "packs drawn anew",
        "better",
        "equal",
        "worse",
    ]
    text = [
        "",
        f"## `{OURS}` against each, pack by pack",
        "",
        f"Mean difference of `{OURS}` in points over packs, with Student's interval over them and that of packs drawn with "
        f"replacement. Better, equal, worse: the Bayesian signed-rank test (Benavoli et al. 2017), with differences within "
        f"{ROPE:g} point taken for none. `{BEST}` is, seed by seed, the one of {', '.join(SINGLE)} that is best on validation rows.",
        "",
    ]
    lines = []
    for each in found:
        belief, drawn = each["belief"], each["resampled"]
        own = GAP if np.isnan(each["low"]) else f"{each['low']:+.1f} to {each['high']:+.1f}"
        cells = [each["other"], str(each["packs"]), f"{each['difference']:+.1f}", own,
                 f"{drawn[0]:+.1f} to {drawn[1]:+.1f}",
                 *(f"{p:.2f}" for p in (belief.better, belief.equal, belief.worse))]  # fmt: skip
        lines.append(cells)
    return [*text, table(head, lines)]


def _not_first(blocks: Mapping[Block, Mapping[str, float]]) -> list[str]:
    if not any(OURS in values for values in blocks.values()):
        return []
    found, mine = behind(blocks), sum(OURS in values for values in blocks.values())
    lines = [
        "",
        f"## Where `{OURS}` is not first",
        "",
        f"In {len(found)} of {mine} blocks another condition has the higher mean.",
    ]
    if found:
        rows = [[*block, name, f"{gap:.1f}"] for block, name, gap in found]
        lines += ["", table(["pack", "regime", "task", "first", "ahead, points"], rows)]
    return lines


def _regimes(summaries: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(row["regime"] for summary in summaries.values() for row in summary["means"]))


def _steps(out: Path, summaries: Mapping[str, Any]) -> str:
    plans = (json.loads((out / pack / "config.json").read_text(encoding="utf-8")) for pack in summaries)
    return " or ".join(map(str, sorted({plan["budget"]["steps"] for plan in plans})))


def _metrics(summaries: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return [
        f"{pack} " + ", ".join(f"{task} {METRIC_WORDS.get(m, m)}" for task, m in summary["metrics"].items())
        for pack, summary in summaries.items()
    ]


def _left_out(out: Path, summaries: Mapping[str, Any]) -> list[str]:
    lines = []
    for pack in summaries:
        path = out / f"{pack}-left-out.json"
        held = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        lines += [f"- {pack}, `{name}`: {reason}" for name, reason in held.items()]
    return ["", "Conditions that a pack does not allow:", "", *lines] if lines else []
