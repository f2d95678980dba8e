"""Write sections of docs/results.md, and their figures, from finished studies: nothing on the page is typed by hand.

    concord study configs/studies/mushroom.yaml            # to runs/mushroom; and others
    python benchmarks/results.py runs/mushroom runs/goemotions [--page docs/results.md]
    python benchmarks/results.py runs                      # all finished studies of a folder

Each study gives its sentence, a figure of the differences to single-task networks with their intervals, and a
table of means and verdicts. Studies without an interval (one seed) are refused.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from concord.study import METRIC_WORDS, VERDICT_WORDS, Outcome
from page import TESTED, UNTESTED, plain, write_section
from page import table as markdown

PAGE = Path(__file__).parent.parent / "docs" / "results.md"
BASELINE, SHARED = "single-task", "uncoupled"
GAP = "\N{EN DASH}"
COLOURS = {"superior": "#1b7837", "inferior": "#b2182b", "non-inferior": "#4d4d4d", "undecided": "#999999"}


def main(arguments: Sequence[str] | None = None) -> None:
    """Write a section for each study; others of the page stay."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "studies", nargs="+", type=Path, help="folders of finished studies, or of several of them"
    )
    parser.add_argument("--page", type=Path, default=PAGE)
    options = parser.parse_args(arguments)
    for folder in studies_in(options.studies):
        title, body = section(folder, options.page.parent / "figures")
        write_section(f"study-{folder.resolve().name}", title, body, options.page)
    print(f"wrote {options.page}")


def studies_in(folders: Sequence[Path]) -> list[Path]:
    """The folders themselves, or the finished studies in them."""
    found = []
    for folder in folders:
        inside = sorted(path.parent for path in folder.glob("*/summary.json"))
        found += [folder] if (folder / "summary.json").exists() or not inside else inside
    return found


def section(folder: Path, figures: Path) -> tuple[str, str]:
    """Heading of a study, and what the page says of it; its figure is written.

    Raises:
        SystemExit: A study of one seed, or one that was not compared with single-task networks.
        ConcordError: A folder without a finished study.
    """
    outcome = Outcome.read(folder)
    summary = outcome.summary
    verdicts = [row for row in summary["verdicts"] if row["baseline"] == BASELINE]
    if len(summary["seeds"]) < 2 or not verdicts:
        raise SystemExit(f"{folder}: two seeds and the condition {BASELINE} are needed for a page")
    name = folder.resolve().name
    figures.mkdir(parents=True, exist_ok=True)
    draw(verdicts, figures / f"{name}.svg")
    lines = [
        f"{len(summary['seeds'])} seeds{_environment(folder)}. {summary['sentence']}",
        "",
        *harm(verdicts, len(summary["seeds"])),
        "",
        f"![Differences to {BASELINE} of {name}](figures/{name}.svg)",
        "",
        table(summary, verdicts),
    ]
    return summary["title"], "\n".join(lines)


def harm(verdicts: Sequence[Mapping[str, Any]], seeds: int) -> list[str]:
    """For each condition, how often it is worse and better than single-task networks."""
    out = []
    for condition in dict.fromkeys(row["condition"] for row in verdicts):
        own = [row for row in verdicts if row["condition"] == condition]
        said = [row["verdict"] for row in own]
        lowest = min(own, key=lambda row: row["difference"])
        counts = f"better in {said.count('superior')}, worse in {said.count('inferior')} of {len(own)}"
        counts = counts if seeds >= TESTED else f"{UNTESTED}: that takes {TESTED} seeds"
        out.append(
            f"- `{condition}`: {counts}; lowest {lowest['difference']:+.1f} ({lowest['regime']}, {lowest['task']})."
        )
    return out


def table(summary: Mapping[str, Any], verdicts: Sequence[Mapping[str, Any]]) -> str:
    """Means and differences, a row for each regime, task and condition."""
    found = {
        (row["baseline"], row["regime"], row["task"], row["condition"]): row
        for row in [*verdicts, *(row for row in summary["verdicts"] if row["baseline"] == SHARED)]
    }
    heads = [f"against `{BASELINE}`", "verdict", f"against `{SHARED}`", "verdict"]
    lines = []
    places = list(dict.fromkeys((row["regime"], row["task"]) for row in summary["means"]))
    regimes = list(dict.fromkeys(regime for regime, _ in places))
    tasks = list(dict.fromkeys(task for _, task in places))
    for row in sorted(
        summary["means"], key=lambda row: (regimes.index(row["regime"]), tasks.index(row["task"]))
    ):
        metric = summary["metrics"][row["task"]]
        if row["metric"] != metric:
            continue
        cells = [row["regime"], f"{row['task']}, {METRIC_WORDS.get(metric, metric)}", row["condition"]]
        cells.append(f"{100 * row['mean']:.1f}")
        for baseline in (BASELINE, SHARED):
            against = found.get((baseline, row["regime"], row["task"], row["condition"]))
            if against is None:
                cells += [GAP] * 2
            else:
                cells.append(
                    f"{against['difference']:+.1f} ({against['low']:+.1f} to {against['high']:+.1f})"
                )
                cells.append(VERDICT_WORDS[against["verdict"]])
        lines.append(cells)
    return markdown(["regime", "task, metric", "condition", "mean", *heads], lines)


def draw(verdicts: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Differences with their intervals, a panel for each regime and task."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    panels = list(dict.fromkeys((row["regime"], row["task"]) for row in verdicts))
    names = list(dict.fromkeys(row["condition"] for row in verdicts))
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(5 * columns, 0.8 + rows * (0.7 + 0.28 * len(names))), squeeze=False
    )
    for axis, (regime, task) in zip(axes.flat, panels, strict=False):
        for row in verdicts:
            if (row["regime"], row["task"]) == (regime, task):
                place, colour = names.index(row["condition"]), COLOURS[row["verdict"]]
                axis.plot([row["low"], row["high"]], [place, place], color=colour)
                axis.plot(row["difference"], place, "o", color=colour)
        axis.axvline(0, color="black", linewidth=0.8)
        axis.set_yticks(range(len(names)), names)
        axis.invert_yaxis()
        axis.set_title(f"{regime}: {task}", fontsize=9)
        axis.set_xlabel(f"points against {BASELINE}", fontsize=8)
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    figure.tight_layout()
    with mpl.rc_context({"svg.hashsalt": "results", "svg.fonttype": "none"}):
        figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def _environment(folder: Path) -> str:
    """By which command, when and how long the study ran; a session that was killed left no duration."""
    held = json.loads((folder / "environment.json").read_text(encoding="utf-8"))
    sessions = sorted(held.get("sessions", []), key=lambda session: str(session["started"]))
    if not sessions:
        return ""
    machine = held["machine"]
    several = f" in {len(sessions)} sessions" if len(sessions) > 1 else ""
    return (
        f", `{plain(sessions[0]['command'])}`, {str(sessions[0]['started'])[:10]}, {held['duration'] / 60:.1f} minutes"
        f"{several} on {machine['cores']} cores ({machine['processor']})"
    )


if __name__ == "__main__":
    main()
