"""Scripts that measure keep what they measured, and write their page of it."""

from __future__ import annotations

import ast
import importlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Any]]:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield importlib.import_module
    for name, module in list(sys.modules.items()):
        if (getattr(module, "__file__", None) or "").startswith(str(BENCHMARKS)):
            sys.modules.pop(name)


def audited(pack: str, regime: str, seed: int, steps: int) -> list[dict[str, Any]]:
    row = {"pack": pack, "regime": regime, "seed": seed, "error": 0.125, "coverage": 0.9, "width": 0.4}
    kinds = [("estimate", 0), *((kind, n) for n in (50, 100, 200) for kind in ("audit", "audit alone"))]
    return [{**row, "kind": kind, "rows": n} for kind, n in kinds]


def compared(name: str, seed: int, test: bool, table: str) -> dict[str, Any]:
    def scores(more: float) -> dict[str, float]:
        return {"balanced_accuracy": 50 + more, "mean_f1": 40 + more, "map": 30 + more}

    models = {"single-task": scores(0), "shared": scores(-1.5), "auto": scores(seed - 340.0)}
    return {**models, "verdict": "unrelated", "chosen": ["single-task", "shared"]}


STEP = [["net, batch 8", "posterior", "1.00", "1.05", "1.0 to 1.1", "<= 1.10", "1.01"]]
LOOP = ["net, batch 8, 6 steps", "10", "11", "0.9", "0.8 to 1.0", ">= 0.97"]
COST = {"where": "here", "steps": STEP, "loop": LOOP}
FIT = {"steps": "800", "class": 50.0, "labels": 60.0, "mebibytes": 100.0}
STARTS = {"where": "here", "seconds": {"Python alone": 0.1, "`concord --help`": 0.4}}


def grown(_: str, classes: int, each: int) -> dict[str, Any]:
    return {"cells": classes * each, "steps": {"build": [classes / 1e4, classes / 10]}}


CASES: dict[str, tuple[str, Callable[..., Any], str, list[str]]] = {
    "audit": (
        "one", audited, "--packs a --seeds 2",
        ["| a | 50 | 0.125 | 0.90 | 0.40 | 0.40 |", "--packs a --regimes few-class few-label --seeds 2"],
    ),
    "safety": (
        "one", compared, "--worlds w --seeds 340:342",
        ["| w | shared | -1.5 (0.0) |", "| w | auto | +0.5 (0.5) | +0.5 (0.5) | +0.5 (0.5) | unrelated 2 |"],
    ),
    "guard_level": (
        "taken", lambda *_: {"each": 0.25, "joint": 0.05}, "--draws 4",
        ["| better | 1000 | 40 | 6 | 0.9 | 0.250 | 0.050 |", "Share of 4 draws"],
    ),
    "relation_scale": (
        "_elsewhere", grown, "--only dense", ["## Dense", "| build | 0.125 s, 125 MiB |", "| 1.00 | 1.00 |"],
    ),
    "step_cost": (
        "measured", lambda *_: COST, "--only mlp",
        ["mlp: here.", "| net, batch 8 | posterior | 1.00 | 1.05 |"],
    ),
    "many_rows": (
        "apart", lambda form, rows, *_: {**FIT, "seconds": rows / 100}, "--rows 100 1000",
        ["| 1,000 + 1,000 | auto | 800 | 50.0 | 60.0 | 10.0 | 100 |", "auto seconds 1.00, mebibytes 0.00"],
    ),
    "data": (
        "measured", lambda *_: {"open_manifest": {"open_s": 1.5}}, "--only manifest",
        ["| open_manifest | open_s | 1.500 | <= 10 |"],
    ),
    "side_by_side": (
        "pair", lambda *_: [10.0, 6.0], "--pairs 2 --rows 60", ["| 10.0 | 6.0 | 0.60 | 0.60 to 0.60 |"],
    ),
    "libmtl_throughput": (
        "pair", lambda _, number: [3.0 if number < 0 else 6.0, 3.0], "--pairs 2 --only mlp",
        ["| 8,533 | 17,067 | 2.00 | 2.00 to 2.00 | >= 1.5 |"],
    ),
    "streamed_memory": (
        "apart", lambda images, way, *_: 200 + images / 100 * ("held" in way), "--images 1000 10000",
        ["| auto, streamed | 200 | 200 | 1.00 | <= 1.1 |", "| single-task, held | 210 | 300 | 1.43 |  |"],
    ),
    "performance": (
        "start", lambda _: STARTS, "--only start", ["| `concord --help` | 0.40 | 4.0 | <= 0.5 |"],
    ),
}  # fmt: skip
"""By script: the function that measures, one that takes no time, options, and what the page says."""


@pytest.mark.parametrize("name", CASES)
def test_what_is_measured_is_kept_and_its_page_is_written(
    name: str, script: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    function, stub, options, said = CASES[name]
    module, calls = script(name), []

    def counted(*arguments: Any) -> Any:
        calls.append(arguments)
        return stub(*arguments)

    monkeypatch.setattr(module, function, counted)
    out, page = tmp_path / "out.jsonl", tmp_path / "docs" / "page.md"
    words = [*options.split(), "--out", str(out)]
    module.main(words)
    assert calls
    assert not page.exists()
    made = len(calls)
    module.main([*words, "--page", str(page)])
    assert len(calls) == made, "it measures nothing twice"
    text = page.read_text()
    for each in said:
        assert each in text


def test_only_what_was_measured_elsewhere_is_shown_where_it_is_asked_for(
    script: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    module = script("many_rows")
    monkeypatch.setattr(module, "apart", lambda form, rows, *_: {**FIT, "seconds": 1.0})
    out = ["--out", str(tmp_path / "out.jsonl")]
    module.main(["--rows", "100", "--forms", "auto", *out])
    capsys.readouterr()
    module.main(["--rows", "100", "200", "--measured", *out])
    text = capsys.readouterr().out
    assert "| 100 + 100 | auto |" in text
    assert "200 + 200" not in text
    assert "| logistic |" not in text


def test_findings_tell_what_was_asked_and_whether_it_is_met(
    script: Callable[[str], Any], tmp_path: Path
) -> None:
    held = script("held").Held

    def lines(name: str, *measured: tuple[dict[str, Any], Any]) -> list[list[str]]:
        for key, value in measured:
            held(tmp_path / f"{name}.jsonl").once(key, lambda value=value: value)
        found = script("findings").facts_of(name, tmp_path, tmp_path)["lines"]
        return [[each[0].partition(",")[0], *each[2:]] for each in found]

    slow = [*LOOP[:3], "0.95", *LOOP[4:]]
    assert lines("step-cost", ({"case": "mlp"}, {**COST, "loop": slow})) == [
        ["a training step", "<= 1.10: met"], ["rows a second of `fit`", ">= 0.97: **missed**"],
    ]  # fmt: skip
    pair = {"rows": 600, "jobs": 2}
    assert lines("side-by-side", ({"pair": 0, **pair}, [10.0, 5.0]), ({"pair": 1, **pair}, [10.0, 9.0])) == [
        ["`auto` on 600 + 600 rows", "<= 0.6: **missed**"]
    ]
    speed = [
        ({"case": "mlp", "pair": number}, [theirs, 2.0]) for number, theirs in ((-1, 9.0), (0, 2.8), (1, 3.0))
    ]
    assert lines("libmtl-throughput", *speed) == [["rows a second of MLP 512-512", ">= 1.5: **missed**"]]
    assert lines("start", ({"part": "start"}, STARTS)) == [["start of `concord --help`", "<= 0.5: met"]]
    sizes = [({"series": "dense", "size": n}, grown("", n, 40)) for n in (100, 900)]
    assert lines("relation-scale", *sizes) == [["a dense relation of 36", ""]]
    way = {"way": "auto, streamed", "steps": 9}
    grew = [({**way, "images": n}, mebibytes) for n, mebibytes in ((100, 200.0), (900, 230.0))]
    assert lines("streamed-memory", *grew) == [
        ["memory of a training from files (auto", "<= 1.1: **missed**"]
    ]
    value = {"open_manifest": {"open_s": 1.5, "feature_rows_per_s": 99_999}}
    assert [row[1] for row in lines("data", ({"part": "manifest"}, value))] == [
        "<= 10: met",
        ">= 100,000: **missed**",
    ]


def test_times_of_two_machines_are_not_compared(
    script: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    module, held = script("many_rows"), script("held")
    fits = {100: ("Slow chip", 10.0), 1000: ("Slow chip", 100.0), 10_000: ("Fast chip", 1.0)}
    out = tmp_path / "many-rows.jsonl"
    for rows, (chip, seconds) in fits.items():
        monkeypatch.setattr(held, "_machine", lambda chip=chip: chip)
        monkeypatch.setattr(module, "apart", lambda *_, seconds=seconds: {**FIT, "seconds": seconds})
        module.main(["--rows", str(rows), "--forms", "auto", "--out", str(out)])
    capsys.readouterr()
    module.main(["--rows", *map(str, fits), "--forms", "auto", "--out", str(out)])
    text = capsys.readouterr().out
    assert "Measured on several machines, which are not compared: Slow chip (2); Fast chip (1)" in text
    assert "auto on Slow chip seconds 1.00, mebibytes 0.00." in text
    lines = script("findings").facts_of("many-rows", tmp_path, tmp_path)["lines"]
    assert [row[1] for row in lines if row[0].startswith("slope")] == ["1.00"]
    assert lines[2][:2] == ["`auto` on 10,000 + 10,000 rows", "1 s of one core (Fast chip), 100 MiB"]


def test_findings_of_worlds_keep_ordinary_packs_apart(script: Callable[[str], Any], tmp_path: Path) -> None:
    safety, held = script("safety"), script("held").Held(tmp_path / "safety.jsonl")
    for world in ("digits/few-class", "digits_nuisance/few-label", "faces-60"):
        held.once({"world": world, "seed": 341}, lambda: compared("", 341, True, "given"))
    found = script("findings").facts_of("safety", tmp_path, tmp_path)
    assert found["ordinary"] == [["digits/few-class", "auto", "+1.0", "+1.0", "+1.0"]], "of one seed no error"
    assert [row[0] for row in found["odd"]] == ["digits_nuisance/few-label", "faces-60"]
    assert found["seeds"] == [1]
    assert [world for world in safety.WORLDS if not safety.odd(world)] == [
        "digits/few-class", "mnist10k_shape/few-class", "mnist10k_shape/few-label", "goemotions/few-label",
    ]  # fmt: skip


def test_findings_of_a_simulated_guard_are_its_errors_and_its_power(
    script: Callable[[str], Any], tmp_path: Path
) -> None:
    held, settings = script("held").Held(tmp_path / "guard-level.jsonl"), {"draws": 500, "alpha": 0.05}
    assert script("findings").facts_of("guard-level", tmp_path, tmp_path) == {}
    held.once({"what": "machine"}, lambda: "Chip")
    for kind, rows, groups, joint in (
        ("as good", 50, None, 0.06), ("as good", 200, 10, 0.01), ("worse", 50, None, 0.0),
        ("better", 2000, None, 0.9), ("better", 200, 10, 0.2), ("better", 200, 10, 0.3),
    ):  # fmt: skip
        world = {"world": [kind, rows, groups, round(100 * joint), 0.5]}
        held.once({**world, **settings}, lambda joint=joint: {"each": 2 * joint, "joint": joint})
    assert script("findings").facts_of("guard-level", tmp_path, tmp_path) == {
        **settings, "joint": [0.01, 0.06], "each": [0.02, 0.12],
        "less": 0.15, "power": [["2,000 rows", 0.9, 0.9], ["200 rows in 10 groups", 0.2, 0.3]],
    }  # fmt: skip


def test_findings_of_studies_keep_controls_apart(script: Callable[[str], Any], tmp_path: Path) -> None:
    rows = [
        {"condition": "auto", "baseline": "single-task", "regime": regime, "verdict": verdict}
        for regime, verdict in (("few", "superior"), ("few", "undecided"), ("few-shuffled", "inferior"))
    ]
    for name, seeds in (("a", 3), ("b", 2)):
        (tmp_path / name).mkdir()
        told = {"seeds": list(range(seeds)), "verdicts": rows}
        (tmp_path / name / "summary.json").write_text(json.dumps(told))
    found = script("findings").facts_of("study-a", tmp_path, tmp_path)
    assert found == {"auto": {"a": [1, 0, 2]}, "controls": {"a": [0, 1, 1]}, "untested": ["b"]}


def test_findings_on_another_library_are_differences_to_it(
    script: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import concord.study

    class Told:
        def metric(self, task: str) -> str:
            return "accuracy"

        def values(self, *_: str) -> dict[int, float]:
            return {0: 0.7, 1: 0.9}

    monkeypatch.setattr(concord.study.Outcome, "read", lambda _: Told())
    head, rest = "condition,seed,regime,task,metric,value,plan", "few,t,accuracy"
    (tmp_path / "libmtl.csv").write_text(f"{head}\nlibmtl-EW,0,{rest},0.6,x\nlibmtl-EW,1,{rest},0.6,x\n")
    assert script("findings").facts_of("libmtl", tmp_path, tmp_path) == {"against": {"libmtl-EW": [1, 20.0]}}


@pytest.mark.parametrize("path", sorted(BENCHMARKS.glob("*.py")), ids=lambda path: path.stem)
def test_what_a_script_imports_of_the_package_is_there(path: Path) -> None:
    """Imports inside functions, too: those of a part that hours lead to."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "concord":
            door = importlib.import_module(node.module)
            assert [each.name for each in node.names if not hasattr(door, each.name)] == []


@pytest.mark.slow
def test_images_are_embedded_and_trained_on_from_their_files(
    script: Callable[[str], Any], tmp_path: Path
) -> None:
    module = script("performance")
    page = tmp_path / "page.md"
    module.main(["--images", "64", "--steps", "4", "--repeats", "1", "--page", str(page)])
    text = page.read_text()
    lines = [line for line in text.splitlines() if line.startswith("| `concord")]
    assert [line.split(" | ")[0] for line in lines] == [
        "| `concord --help`", "| `concord embed`", "| `concord train`, streamed",
    ]  # fmt: skip


def test_drawn_faces_are_files_and_a_manifest_of_them(script: Callable[[str], Any], tmp_path: Path) -> None:
    """Pictures as they are drawn, each annotated for one of the tasks; what is there is not drawn again."""
    import numpy as np
    from PIL import Image

    from concord.data import read_manifest
    from concord.study import case, databases

    faces, rows = script("faces_networks"), {"train": 3, "val": 1, "test": 2}
    faces.draw(tmp_path, rows)
    manifest = read_manifest(tmp_path / "faces.parquet")
    data = databases(6, 6, case("faces").SEED, size=faces.SIZE)
    for name, wanted in data.targets.items():
        np.testing.assert_array_equal(manifest.targets()[name], wanted)
    assert manifest.frame["split"].to_list() == 2 * (3 * ["train"] + ["val"] + 2 * ["test"])
    for path, wanted in zip(manifest.frame["path"], data.images, strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / path)), wanted)
    (tmp_path / manifest.frame["path"][0]).unlink()
    faces.draw(tmp_path, rows)
    assert not (tmp_path / manifest.frame["path"][0]).exists()
