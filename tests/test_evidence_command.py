"""`make evidence`: what is run, claimed, resumed and marked, with parts that take no time."""

from __future__ import annotations

import argparse
import json
import os
import pkgutil
import re
import select
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from concord.archive.owners import own
from concord.study import as_plan, compare, run
from warm import run_warm

ROOT = Path(__file__).parent.parent
BENCHMARKS = ROOT / "benchmarks"

SCRIPT = """
import argparse, os, signal, sys
from pathlib import Path
sys.path.insert(0, {benchmarks!r})
from held import Held
from page import write_section
parser = argparse.ArgumentParser()
parser.add_argument("name"), parser.add_argument("--out", type=Path), parser.add_argument("--page", type=Path)
given = parser.parse_args()
held, here = Held(given.out), Path({here!r})
def measure(number):
    with open(here / "measured", "a") as file:
        print(given.name, number, file=file)
    return number + (number == 2 and (here / "salt").exists())
values = [held.once({{"number": 1}}, lambda: measure(1))]
if (here / "kill").exists():
    os.kill(os.getpid(), signal.SIGKILL)
if (here / "fail").exists():
    sys.exit("the oven is cold")
values.append(held.once({{"number": 2}}, lambda: measure(2)))
if given.page:
    write_section(given.name, given.name.title(), f"measured: {{values}}", given.page)
"""


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.setenv("CONCORD_DATA", "nowhere")
    import again
    import evidence
    import evidence_page
    import evidence_parts
    import evidence_runs
    import held
    import kept
    import marks
    import origin
    import search_table

    modules = (
        again,
        evidence,
        evidence_page,
        evidence_parts,
        evidence_runs,
        held,
        kept,
        marks,
        origin,
        search_table,
    )
    yield SimpleNamespace(**{module.__name__: module for module in modules})
    for name, module in list(sys.modules.items()):
        if (getattr(module, "__file__", None) or "").startswith(str(BENCHMARKS)):
            sys.modules.pop(name)


@pytest.fixture
def oven(command: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Two pages of one part each, a place for them, and what was measured; the code is as `code` says."""
    code = {"auto": "1", "data": "1"}
    monkeypatch.setattr(command.origin.Code, "rooms", lambda *_: dict(code))
    # Digests of every file of this checkout would take two seconds a test; the script names no rival.
    monkeypatch.setattr(command.origin.Code, "rivals", lambda *_: {})
    script = tmp_path / "bake.py"
    script.write_text(SCRIPT.format(benchmarks=str(BENCHMARKS), here=str(tmp_path)))

    def page(name: str, **more: Any) -> Any:
        step = f"python {script} {name} --out {{run}}/{name}.jsonl"
        part = command.evidence_parts.Part(name, (step,), (f"{step} ",), 1, **more)
        return command.evidence_parts.Page(
            name, "baked.md", f"{step} --page {{docs}}/baked.md", (part,), section=True
        )

    pages = [page("bread"), page("cake")]
    out, docs = tmp_path / "out", tmp_path / "docs"

    def main(*words: str, pages: Any = pages) -> int:
        return command.evidence.main([*words, "--out", str(out), "--docs", str(docs)], pages)

    def measured() -> list[str]:
        path = tmp_path / "measured"
        return path.read_text().splitlines() if path.exists() else []

    def state(name: str) -> str:
        found = next(each for each in pages if each.name == name)
        return command.evidence_runs.state(found, found.parts[0], command.evidence_runs.Place(out, docs))

    def change(way: str) -> None:
        """The code changes while a part runs, from here on."""

        def waits(_: Any, log: Path, *__: Any) -> Any:
            log.touch()
            code["auto"] = "2"
            return {"done": 0, "failed": 3, "out of time": None}[way]

        monkeypatch.setattr(command.evidence_runs, "execute", waits)

    return SimpleNamespace(
        page=page, pages=pages, out=out, docs=docs, main=main, measured=measured, state=state, here=tmp_path,
        code=code, change=change,
    )  # fmt: skip


def test_what_is_done_is_not_run_again_and_its_page_says_what_made_it(oven: Any, command: Any) -> None:
    assert oven.main("run") == 0
    assert oven.measured() == ["bread 1", "bread 2", "cake 1", "cake 2"]
    text = (oven.docs / "baked.md").read_text()
    assert text.count("measured: [1, 2]") == 2
    record = json.loads((oven.docs / "evidence.json").read_text())["bread"]
    mark = re.search(r"<!-- made: bread -->\n(.*)\n<!-- end of made: bread -->", text).group(1)
    for said in (record["code"][0], record["dates"][0], "`python benchmarks/evidence.py run bread`",
                 f"{record['machines'][0]['cores']} cores", "one thread"):  # fmt: skip
        assert said in mark
    assert "Not run again yet" not in mark
    assert text.index("## Bread") < text.index("made: bread") < text.index("measured")
    assert oven.main("run", "bread") == 0
    assert len(oven.measured()) == 4
    assert (oven.docs / "baked.md").read_text() == text
    assert oven.state("cake") == "done"


@pytest.mark.parametrize("how", ["kill", "fail"])
def test_a_part_that_ended_halfway_goes_on_and_the_others_do_not_wait(
    oven: Any, capsys: Any, how: str
) -> None:
    (oven.here / how).touch()
    assert oven.main("run") == 1
    assert oven.measured() == ["bread 1", "cake 1"]
    assert oven.state("bread").startswith("partial: failed with status")
    said = capsys.readouterr().out
    assert how == "kill" or "the oven is cold" in said
    assert "failed: bread, cake" in said
    assert not (oven.docs / "baked.md").exists()
    (oven.here / how).unlink()
    assert oven.main("run", "bread") == 0
    assert oven.measured() == ["bread 1", "cake 1", "bread 2"], "what was measured is kept"
    assert [oven.state(name)[:7] for name in ("bread", "cake")] == ["done", "partial"]
    assert len(list(oven.out.rglob("*.claim"))) == 0


def test_a_part_that_another_process_runs_is_left_to_it(oven: Any, command: Any, capsys: Any) -> None:
    place = command.evidence_runs.Place(oven.out, oven.docs)
    folder = place.folder(oven.pages[0].parts[0])
    oven.out.mkdir(parents=True)
    with own(oven.out, f"{folder.name}.claim"):
        assert oven.main("run") == 0
    assert "bread: another process runs it" in capsys.readouterr().out
    assert oven.measured() == ["cake 1", "cake 2"]


def test_what_cannot_run_says_why_and_the_rest_goes_on(oven: Any, capsys: Any) -> None:
    needs = ("pack:flour", "package:no_such_oven")
    pages = [oven.page("bread", needs=needs), oven.page("cake")]
    assert oven.main("run", pages=pages) == 0
    said = capsys.readouterr().out
    assert (
        "bread: cannot run: no pack flour under nowhere (CONCORD_DATA); no_such_oven is not installed" in said
    )
    assert oven.measured() == ["cake 1", "cake 2"]
    assert oven.main("list", pages=pages) == 0
    assert "cannot run: no pack flour" in capsys.readouterr().out


def test_other_code_begins_anew_and_the_page_is_marked_until_then(oven: Any, command: Any) -> None:
    assert oven.main("run", "bread") == 0
    other = oven.page("bread")
    part = command.evidence_parts.Part("bread", (f"{other.parts[0].steps[0]} ",), (), 1)
    pages = [command.evidence_parts.Page("bread", "baked.md", other.write, (part,), section=True)]
    place = command.evidence_runs.Place(oven.out, oven.docs)
    assert command.evidence_runs.state(pages[0], part, place) == "stale: done by other code"
    assert oven.main("marks", pages=pages) == 0
    text = (oven.docs / "baked.md").read_text()
    assert "**Not run again yet.** Made by version" in text
    assert "Since then the settings of `bread` have changed." in text
    assert oven.main("run", pages=pages) == 0
    assert oven.measured() == ["bread 1", "bread 2"] * 2, "numbers of two versions are not mixed"
    assert "Not run again yet" not in (oven.docs / "baked.md").read_text()


def test_pages_tell_what_ran_elsewhere(oven: Any, capsys: Any) -> None:
    assert oven.main("run") == 0
    shutil.rmtree(oven.out)
    shutil.rmtree(oven.docs / "records")
    assert oven.main("run") == 0
    assert len(oven.measured()) == 4, "whoever has the pages need not run them again"
    assert "bread: done: its page is of today's code, and its runs are elsewhere" in capsys.readouterr().out
    path = oven.docs / "evidence.json"
    records = json.loads(path.read_text())
    records["bread"]["rooms"]["auto"] = "another"
    records["cake"]["missing"] = ["candles"]
    path.write_text(json.dumps(records))
    today = records["bread"]["dates"][0]
    assert oven.state("bread") == f"stale: its page is of other code, {today}"
    assert oven.state("cake").startswith("done"), (
        "of a part that the page lacks nothing follows for the others"
    )
    records["cake"]["partly"] = ["cake"]
    path.write_text(json.dumps(records))
    assert oven.state("cake") == "not run"


def test_a_page_takes_no_older_ones_place_that_shows_more(oven: Any, command: Any, capsys: Any) -> None:
    parts = command.evidence_parts
    bread = oven.pages[0]
    halves = [
        parts.Part(name, (f"python {oven.here}/bake.py {name} --out {{run}}/bread.jsonl",), (), 1)
        for name in ("crust", "crumb")
    ]
    pages = [parts.Page("bread", "baked.md", bread.write, tuple(halves), section=True)]

    def missing() -> list[str]:
        return list(json.loads((oven.docs / "evidence.json").read_text())["bread"]["missing"])

    assert oven.main("run", pages=pages) == 0
    assert len(oven.measured()) == 4, "the page measures nothing again: it is of what the parts have left"
    oven.code["auto"] = "2"
    assert oven.main("run", "crust", pages=pages) == 0
    assert "page bread stays the older one until crumb ran" in capsys.readouterr().out
    assert missing() == []
    assert "**Not run again yet.**" in (oven.docs / "baked.md").read_text()
    assert oven.main("pages", pages=pages) == 0
    assert missing() == ["crumb"]
    assert "Not run: crumb." in (oven.docs / "baked.md").read_text()
    assert oven.main("run", "crumb", pages=pages) == 0
    assert missing() == []
    assert "Not run" not in (oven.docs / "baked.md").read_text()


def test_a_part_is_stale_by_its_own_commands_alone(oven: Any, command: Any) -> None:
    parts = command.evidence_parts

    def page(crumb: str) -> Any:
        step = f"python {oven.here}/bake.py x --out {{run}}"
        steps = {"crust": step + "/a.jsonl", "crumb": step + crumb}
        made = tuple(parts.Part(name, (each,), (), 1) for name, each in steps.items())
        return parts.Page("bread", "baked.md", "python -c pass", made, section=True)

    place = command.evidence_runs.Place(oven.out, oven.docs)
    before, after = page("/b.jsonl"), page("/c.jsonl")
    folders = [[place.folder(part) for part in each.parts] for each in (before, after)]
    assert folders[0][0] == folders[1][0]
    assert folders[0][1] != folders[1][1]
    record = {"rooms": before.version(), "missing": []}
    assert command.marks.changed(record, after.version()) == ["part crumb"]
    assert command.marks.changed({**record, "missing": ["crumb"]}, after.version()) == []


@pytest.mark.parametrize("way", ["done", "failed", "out of time"])
def test_code_that_changes_while_a_part_runs_makes_no_evidence(
    oven: Any, command: Any, capsys: Any, way: str
) -> None:
    folder = command.evidence_runs.Place(oven.out, oven.docs).folder(oven.pages[0].parts[0])
    oven.change(way)
    assert oven.main("run", "bread") == 1
    assert "the code changed while it ran" in capsys.readouterr().out
    oven.code["auto"] = "1"
    assert oven.state("bread") == "not run", "its runs by the code before are put aside"
    assert not folder.exists()
    assert [path.is_dir() for path in oven.out.glob(f"{folder.name}.mixed-*")] == [True]
    assert not (oven.docs / "baked.md").exists()


def test_a_part_is_done_once_its_results_are_there_and_still_its_own(
    oven: Any, command: Any, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = oven.here / "leaves.py"
    script.write_text("import sys\nsys.exit(75)\n")
    part = command.evidence_parts.Part("bread", (f"python {script} {{run}}",), (), 1, outputs=("loaf", "bun"))
    pages = [command.evidence_parts.Page("bread", "baked.md", "python none", (part,), section=True)]
    assert oven.main("run", pages=pages) == 0, "work at other jobs is no failure"
    assert "bread: the rest is at other jobs" in capsys.readouterr().out
    script.write_text("import sys\nopen(sys.argv[1] + '/loaf', 'w')\n")
    assert oven.main("run", pages=pages) == 0
    assert "bread: not there yet: bun, of 1" in capsys.readouterr().out
    script.write_text("import sys\nopen(sys.argv[1] + '/bun', 'w')\n")
    monkeypatch.setattr(
        command.evidence_runs.Claim, "check", lambda _: (_ for _ in ()).throw(RuntimeError("taken"))
    )
    with pytest.raises(RuntimeError, match="taken"):
        oven.main("run", pages=pages)
    place = command.evidence_runs.Place(oven.out, oven.docs)
    assert not place.record(part)["done"]
    monkeypatch.undo()


def test_minutes_of_a_session_that_is_killed_are_kept(
    oven: Any, command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = oven.pages[0].parts[0]
    place = command.evidence_runs.Place(oven.out, oven.docs)
    oven.out.mkdir()
    with own(oven.out, "x.claim") as claim:
        running = command.evidence_runs.Running(part, place, claim)
        running.started -= 600
        assert running.goes_on()
        oven.code["auto"] = "2"
        assert not running.goes_on()
    session = json.loads(running.path.read_text())["sessions"][-1]
    assert session["minutes"] >= 10
    assert session["end"] == ""


def test_what_waits_is_looked_at(oven: Any, command: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command.evidence_runs, "LOOK", 0.01)
    waits = [sys.executable, "-c", "import threading; threading.Event().wait()"]
    assert command.evidence_runs.execute(waits, oven.here / "log", None, lambda: False) is None


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a system does not tell a child")
def test_what_runs_ends_with_a_command_that_is_killed(
    oven: Any, command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fifo, begun = oven.here / "fifo", []
    os.mkfifo(fifo)
    popen = subprocess.Popen
    monkeypatch.setattr(
        subprocess, "Popen", lambda words, **more: (begun.append(words), popen(words, **more))[1]
    )
    waits = (
        f"import os, threading; file = open({str(fifo)!r}, 'w'); print(os.getpid(), file=file, flush=True); "
        "threading.Event().wait()"
    )
    command.evidence_runs.execute([sys.executable, "-c", "pass"], oven.here / "log")
    words = [waits if each == "pass" else each for each in begun[0]]
    process = popen([sys.executable, "-c", f"import subprocess; subprocess.run({words!r})"])
    with fifo.open() as file:
        child = int(file.readline())
        process.kill()
        gone, _, _ = select.select([file], [], [], 20)
        if not gone:
            os.kill(child, signal.SIGKILL)
        assert gone, "the part is gone, too"
        assert file.read() == ""
    process.wait()


def test_a_page_whose_findings_fail_stays_the_older_one(
    oven: Any, command: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    assert oven.main("run", "bread") == 0
    before = {name: (oven.docs / name).read_text() for name in ("baked.md", "evidence.json")}

    def fails(name: str, *_: Any) -> dict[str, Any]:
        return {"bread": lambda: 1 / 0, "cake": dict}[name]()

    monkeypatch.setattr(command.evidence.findings, "facts_of", fails)
    assert oven.main("run") == 1
    assert "page bread failed: its findings: ZeroDivisionError" in capsys.readouterr().out
    records = json.loads((oven.docs / "evidence.json").read_text())
    assert records["bread"] == json.loads(before["evidence.json"])["bread"]
    assert "<!-- made: cake -->" in (oven.docs / "baked.md").read_text(), "the others are written"


def test_a_page_that_fails_takes_no_mark_from_those_before(
    oven: Any, command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert oven.main("run", "bread") == 0
    facts_of = command.evidence.findings.facts_of

    def stopped(name: str, *more: Any) -> Any:
        if name == "cake":
            raise KeyboardInterrupt
        return facts_of(name, *more)

    monkeypatch.setattr(command.evidence.findings, "facts_of", stopped)
    (oven.docs / "baked.md").unlink()
    with pytest.raises(KeyboardInterrupt):
        oven.main("run")
    assert "<!-- made: bread -->" in (oven.docs / "baked.md").read_text()


# -- runs by hand --------------------------------------------------------------------------------------


def by_hand(folder: Path, codes: list[str], **about: Any) -> None:
    study = folder / "features" / "digits.few-class"
    study.mkdir(parents=True)
    (study / "summary.json").write_text("{}")
    (study / "environment.json").write_text(json.dumps(about))
    (folder / "features" / "about.json").write_text(json.dumps({"code": codes}))


def test_runs_by_hand_are_adopted_with_what_they_tell(
    oven: Any, command: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    folder, parts = oven.here / "by-hand", command.evidence_parts
    sessions = [{"started": "2026-01-02T03:04:05", "duration": 60.0}, {"started": "2026-01-03T00:00:00"}]
    by_hand(folder, ["abc"], versions={"concord": "0.1", "python": "3.11"}, sessions=sessions, threads=1)
    script = oven.here / "write.py"
    script.write_text("import sys\nopen(sys.argv[2], 'w').write('# Page\\n' + sys.argv[1])\n")
    oven.docs.mkdir()
    studies = ("features/digits.few-class/summary.json", "features/digits.full/summary.json")
    made = (
        parts.Part("a", ("python a",), (), 1, outputs=studies),
        parts.Part("b", ("python b",), (), 1, outputs=("features/x.full/summary.json",)),
    )
    pages = [parts.Page("board", "board.md", f"python {script} {{run}} {{docs}}/board.md", made)]
    seen: list[Any] = []
    code = command.origin.Code
    monkeypatch.setattr(command.evidence.findings, "facts_of", lambda *_: {})
    monkeypatch.setattr(command.origin, "Code", lambda commit=None: (seen.append(commit), code())[1])
    assert oven.main("adopt", "board", str(folder), pages=pages) == 0
    assert "abc" in seen, "digests are of the files of that commit"
    record = json.loads((oven.docs / "evidence.json").read_text())["board"]
    assert (record["version"], record["code"], record["minutes"]) == ("0.1", ["abc"], 1.0)
    assert record["dates"] == ["2026-01-02", "2026-01-03"]
    assert (record["partly"], record["missing"]) == (["a"], ["b"])
    text = (oven.docs / "board.md").read_text()
    assert str(folder) in text, "the page is written of the folder itself"
    assert "on an unknown processor, Python 3.11, torch unknown, one thread. In part: a. Not run: b." in text
    oven.code["auto"] = "2"
    assert oven.main("marks", pages=pages) == 0
    assert "Since then the code of `auto` has changed." in (oven.docs / "board.md").read_text()
    assert sorted(path.name for path in folder.iterdir()) == ["features"], "nothing is written into it"
    for name, said in (("empty", "no finished study"), ("dirty", "name them by --code")):
        if name == "dirty":
            by_hand(oven.here / name, ["abc-dirty"])
        with pytest.raises(SystemExit, match=said):
            oven.main("adopt", "board", str(oven.here / name), pages=pages)


def test_digests_are_of_a_commits_own_files(command: Any, tmp_path: Path) -> None:
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@x", "-C", str(tmp_path)]
    room = tmp_path / "src" / "concord" / "auto"
    room.mkdir(parents=True)
    (room / "a.py").write_text("x = 1\n")
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run([*git, *words], check=True)
    first = command.origin.commit(tmp_path)
    code = command.origin.Code
    assert code(first, tmp_path).rooms() == code(root=tmp_path).rooms()
    (tmp_path / "notes.txt").write_text("of no account")
    assert command.origin.commit(tmp_path) == first
    copy = command.origin.exported(first, tmp_path / "copy", tmp_path)
    assert (copy / "src" / "concord" / "auto" / "a.py").read_text() == "x = 1\n"
    shutil.rmtree(copy)
    (room / "a.py").write_text("x = 20\n")
    assert command.origin.commit(tmp_path) == f"{first}-dirty"
    assert code(first, tmp_path).rooms() != code(root=tmp_path).rooms()
    with pytest.raises(LookupError, match="no commit"):
        code("0123456", tmp_path)
    same = command.evidence.same
    assert same([{"a": "1", "b": "1"}, {"a": "1", "b": "2", "c": "3"}]) == {"a": "1", "b": "", "c": ""}


def test_runs_of_several_parts_are_one_folder_that_writes_to_none_of_them(
    command: Any, tmp_path: Path
) -> None:
    for part, code in (("a", "1"), ("b", "2")):
        study = tmp_path / part / "features" / f"{part}.few"
        study.mkdir(parents=True)
        (study / "summary.json").write_text(part)
        (tmp_path / part / "features" / "about.json").write_text(json.dumps({"code": [code]}))
        (tmp_path / part / "all.jsonl").write_text(f"{part}\n")
    parts = [tmp_path / "a", tmp_path / "b"]
    for _ in range(2):
        whole = command.evidence.gathered(parts, tmp_path / "whole")
    assert json.loads((whole / "features" / "about.json").read_text()) == {"code": ["1", "2"]}
    assert (whole / "all.jsonl").read_text().split() == ["a", "b"]
    assert [path.read_text() for path in sorted(whole.glob("*/*.*/summary.json"))] == ["a", "b"]
    assert (parts[0] / "all.jsonl").read_text() == "a\n"
    assert json.loads((parts[0] / "features" / "about.json").read_text()) == {"code": ["1"]}


def test_quick_pages_lie_beside_the_runs_and_say_what_they_are(oven: Any, command: Any) -> None:
    assert command.evidence.main(["run", "bread", "--quick", "--out", str(oven.out)], oven.pages) == 0
    assert not oven.docs.exists()
    for name in ("baked.md", "evidence.md"):
        assert "**Quick: proves that it runs, not evidence.**" in (oven.out / "pages" / name).read_text()
    assert oven.state("bread") == "stale: done by other code", "a quick run counts for nothing"


def test_commands_name_places_in_the_checkout_from_its_root(command: Any, tmp_path: Path) -> None:
    words = command.evidence_runs.words_of
    study = words("concord study digits --out {run}/a --processes {processes}", ROOT / "runs" / "x", ROOT, 2)
    assert study[0] == sys.executable
    assert study[-5:] == ["digits", "--out", "runs/x/a", "--processes", "2"]
    script = words("python method.py page --page {docs}/method.md", tmp_path, tmp_path, 1)
    assert script[1:] == [str(BENCHMARKS / "method.py"), "page", "--page", f"{tmp_path}/method.md"]


def test_no_part_begins_after_its_time_and_one_that_runs_is_stopped(
    oven: Any, command: Any, capsys: Any
) -> None:
    assert oven.main("run", "--budget", "0") == 0
    assert oven.measured() == []
    assert "bread: left for the next time" in capsys.readouterr().out
    log = oven.here / "log"
    waits = [sys.executable, "-c", "import threading; print('begun', flush=True); threading.Event().wait()"]
    assert command.evidence_runs.execute(waits, log, 0.2) is None
    assert log.read_text().startswith("$ ")


def test_what_runs_ends_with_the_command_and_goes_on_next_time(oven: Any, command: Any) -> None:
    fifo, number = oven.here / "fifo", oven.here / "number"
    os.mkfifo(fifo)
    waits = oven.here / "waits.py"
    waits.write_text(f"import threading\nfile = open({str(fifo)!r}, 'w')\nthreading.Event().wait()\n")
    driver = (
        f"import os, sys\nopen({str(number)!r}, 'w').write(str(os.getpid()))\n"
        f"sys.path.insert(0, {str(BENCHMARKS)!r})\n"
        "import evidence\nfrom evidence_parts import Page, Part\n"
        f"part = Part('bread', ('python {waits} {{run}}',), (), 1)\n"
        "evidence.program([Page('bread', 'baked.md', 'python none', (part,))])\n"
    )
    words = ["run", "--out", str(oven.out), "--docs", str(oven.docs)]
    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(run_warm, driver, words, oven.here, {})
        with fifo.open() as file:  # opened once the part has it open, too
            os.kill(int(number.read_text()), signal.SIGTERM)
            assert file.read() == "", "the part is gone, too"
        done = running.result()
    assert done.returncode == 1
    assert b"stopped; the same command goes on" in done.stderr
    (record,) = oven.out.glob("bread-*.part.json")
    assert json.loads(record.read_text())["sessions"][-1]["end"] == "stopped"
    assert not list(oven.out.rglob("*.claim"))


def test_an_unknown_part_is_refused(oven: Any, capsys: Any) -> None:
    with pytest.raises(SystemExit) as stop:
        oven.main("run", "pie")
    assert stop.value.code == 2
    assert "no part 'pie'" in capsys.readouterr().err


# -- marks ---------------------------------------------------------------------------------------------


def test_words_about_code_are_no_code(command: Any) -> None:
    code_of = command.origin.code_of
    first = code_of('"""Words."""\n\nx = 1\n')
    assert code_of('"""Other\n\nwords."""\n# why\nx = 1  # what\n"""Of x."""\n') == first
    assert code_of('"""Words."""\n\nx = "Words."\n') != first
    assert code_of('"""Words."""\n\nx = 2\n') != first
    held = 'x = """\n# a line of the text\n{}"""  # why\n'
    assert code_of(held.format("")) != code_of(held.format("\n")), "text that the code holds stays whole"
    assert "# a line of the text" in code_of(held)
    assert "why" not in code_of(held)
    assert "# b" in code_of("x = f'{1} # b'\n")


def test_the_whole_package_counts_but_what_moves_no_number(command: Any, tmp_path: Path) -> None:
    package = (
        *("__init__", "losses/a", "metrics", "study/plan", "study/pages/a", "cli/a"),
        *(f"study/peers/{name}" for name in ("_shared", "far_away", "other")),
    )
    files = {f"src/concord/{name}.py": "x = 1" for name in package} | {
        "src/concord/relations/t.csv": "1",
        "benchmarks/bake.py": "from page import table\ndef one():\n    import oven",
        "benchmarks/page.py": "x = 1",
        "benchmarks/oven.py": "x = 1",
        "configs/studies/a.yaml": "config: ../b.yaml\nconditions: [far-away]",
        "configs/b.yaml": "rows: 1",
        "examples/tables/a.csv": "1",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    steps = ("python bake.py --out {run}", "concord study configs/studies/a.yaml --out {run}")
    part = command.evidence_parts.Part("a", steps, (), 1, files=("examples/tables/a.csv",))

    def version() -> dict[str, str]:
        return dict(part.version(code=command.origin.Code(root=tmp_path)))

    before = version()
    assert set(before) == {"losses", "metrics", "study/plan", "study/peers/far_away", "relations", "part a"}
    own = ("benchmarks/bake.py", "benchmarks/oven.py", "configs/studies/a.yaml", "configs/b.yaml")
    none = (
        "benchmarks/page.py",
        *(f"src/concord/{name}.py" for name in ("cli/a", "study/pages/a", "study/peers/other", "__init__")),
    )
    told = (
        {key: ["part a"] for key in (*own, "examples/tables/a.csv")}
        | {key: [] for key in none}
        | {
            "src/concord/losses/a.py": ["losses"],
            "src/concord/metrics.py": ["metrics"],
            "src/concord/study/peers/far_away.py": ["study/peers/far_away"],
            "src/concord/study/peers/_shared.py": ["study/peers/far_away"],
            "src/concord/relations/t.csv": ["relations"],
        }
    )
    for name, wanted in told.items():
        path = tmp_path / name
        path.write_text(files[name] + "\ny = 12" if name.endswith(".py") else files[name] + " # longer")
        now = version()
        assert [key for key in now if now[key] != before[key]] == wanted, name
        before = now


@pytest.fixture
def names_alone(command: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Digests of every file of this checkout would take two seconds; which files they are of takes none."""
    monkeypatch.setattr(command.origin.Code, "digest", lambda *_: "")


def test_every_part_rests_on_what_it_is_run_by(command: Any, names_alone: None) -> None:
    code = command.origin.Code()
    parts = {part.name: part for page in command.evidence_parts.PAGES for part in page.parts}
    reached = {
        "safety": {"benchmarks/problems.py"}, "side-by-side": {"benchmarks/many_rows.py"},
        "board-mushroom": {"benchmarks/board.py", "configs/mushroom.yaml", "configs/studies/mushroom.yaml"},
        "study-mushroom": {"configs/studies/mushroom.yaml"}, "libmtl": {"benchmarks/libmtl.yaml"},
        "written-tables": {"examples/tables/mushroom.csv", "benchmarks/board.py"},
        "images": {"benchmarks/data.py"},
    }  # fmt: skip
    for name, wanted in reached.items():
        assert wanted <= set(parts[name].reached(code)), name
    rooms = set(code.rooms())
    assert {
        "networks",
        "losses",
        "metrics",
        "tasks",
        "estimator",
        "study/plan",
        "study/problems",
        "study/running",
    } <= rooms
    assert set(command.origin.LESS) <= set(code.rooms(())), "rooms that there are"
    assert "cli" in parts["start"].version(code=code)
    targets = command.evidence_parts.TARGETS
    assert all(f"examples/tables/{pack}.csv" in code for pack in targets)


ALONE = "conditions: [single-task, best-single-task]"


def test_a_part_rests_on_the_rivals_that_it_can_load_and_no_others(
    command: Any, names_alone: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from concord.study import peers, problems

    code = command.origin.Code()
    read = code.read
    parts = {part.name: part for page in command.evidence_parts.PAGES for part in page.parts}

    def rivals(part: str) -> set[str]:
        rooms = parts[part].version(code=code)
        return {room.rpartition("/")[2] for room in rooms if room.startswith("study/peers")}

    every = {module.name for module in pkgutil.iter_modules(peers.__path__) if module.name[0] != "_"}
    assert rivals("board-digits") == every, "it asks for every condition"
    assert rivals("study-mushroom") == {"boosting", "extra_trees", "logistic"}
    assert rivals("libmtl") >= {"dwa", "mgda", "pcgrad", "uncertainty"}
    assert rivals("study-faces") == rivals("method-digits") == set()
    assert rivals("method-rivals-digits") == {"best_single_task", "boosting", "extra_trees", "logistic"}
    # The best single-task model names what it is chosen from, whether a plan does or not.
    monkeypatch.setattr(code, "read", lambda name: ALONE if name == "plan.yaml" else read(name))
    assert set(code.rivals(["plan.yaml"])) == {
        f"study/peers/{name}" for name in rivals("method-rivals-digits")
    }
    # A part's files do not hold the plans that the package has: a rival of theirs would count nowhere.
    cases = Path(problems.__path__[0]) / "cases"
    held = [path.relative_to(code.root).as_posix() for path in cases.glob("*.py")]
    assert len(held) > 2
    assert not code.rivals(held)


def test_a_mark_names_the_rooms_that_have_changed(command: Any) -> None:
    made = {"version": "0.1.0", "code": ["abc"], "dates": ["2026-01-01", "2026-01-03"]}
    record = {**made, "rooms": {"auto": "1", "data": "2"}}
    words = command.marks.words
    fresh = words(record, {"auto": "1", "data": "2"}, "make it")
    assert fresh == "*Made by version 0.1.0 (code abc), 2026-01-01 to 2026-01-03. `make it` makes it again.*"
    stale = words(record, {"auto": "3", "data": "2", "learners": "1"}, "make it")
    assert "Since then the code of `auto` and `learners` has changed." in stale
    many = words(record, dict.fromkeys("abcdefgh", "9"), "make it")
    assert "the code of `a`, `b`, `c`, `d`, `e`, `f` and 2 more has changed" in many
    assert "Not run: a, b." in words({**record, "missing": ["a", "b"]}, {"auto": "1"}, "x")
    assert words(None, {}, "make it").startswith("> **Of unknown code.**")


def test_a_mark_names_the_machine_and_its_threads(command: Any) -> None:
    machine = {"processor": "Chip", "cores": 2, "memory": 8, "python": "3.12", "torch": "2.10"}
    place = command.marks.place
    assert place(machine) == "Chip, 2 cores, 8 GiB, Python 3.12, torch 2.10"
    assert place({**machine, "memory": None, "threads": 1}).endswith("torch 2.10, one thread")
    assert place({**machine, "threads": 1, "processes": 2}).endswith("2 processes of one thread each")


def test_a_mark_is_put_once_and_takes_the_place_of_the_last(command: Any) -> None:
    marked = command.marks.marked
    page = "# Title\n\ntext\n\n<!-- section: a -->\n## A\n\nbody\n<!-- end: a -->\n"
    once = marked(marked(page, "a", "first"), "page", "of the page")
    assert marked(once, "page", "of the page") == once
    again = marked(once, "a", "second")
    assert "first" not in again
    assert again.index("# Title") < again.index("of the page") < again.index("text") < again.index("## A")
    assert again.index("## A") < again.index("second") < again.index("body")


def test_a_line_that_was_cut_off_is_measured_again(command: Any, tmp_path: Path) -> None:
    path = tmp_path / "held.jsonl"
    held = command.held.Held(path)
    assert held.once({"a": 1}, lambda: [1, 2]) == [1, 2]
    held.once({"a": 2}, lambda: 5)
    path.write_text(path.read_text()[:-8])
    again = command.held.Held(path)
    assert {"a": 1} in again
    assert {"a": 2} not in again
    again.once({"a": 2}, lambda: 7)
    assert command.held.Held(path).all() == [({"a": 1}, [1, 2]), ({"a": 2}, 7)]


def test_a_part_is_done_on_every_checkout_that_keeps_what_it_measured(
    oven: Any, command: Any, capsys: Any
) -> None:
    assert oven.main("run") == 0
    text, kept = (oven.docs / "baked.md").read_text(), oven.docs / "records" / "bread.tar.xz"
    before = kept.read_bytes()
    for folder in (oven.out, oven.docs / "records" / "cake.tar.xz", oven.docs / "baked.md"):
        shutil.rmtree(
            folder
        ) if folder.is_dir() else folder.unlink()  # another machine, which was sent one file
    (oven.docs / "evidence.json").unlink()
    assert oven.main("run", "bread") == 0
    assert oven.measured() == ["bread 1", "bread 2", "cake 1", "cake 2"], "bread is not baked again"
    assert (oven.docs / "baked.md").read_text().split("<!-- section: bread -->")[1] in text
    assert kept.read_bytes() == before
    oven.code["auto"] = "2"
    capsys.readouterr()
    assert oven.main("list") == 0
    assert "bread" in capsys.readouterr().out
    assert oven.state("bread").startswith("stale"), "other code made it"


def test_a_part_holds_where_cells_made_again_by_other_code_are_the_same(
    oven: Any, command: Any, capsys: Any
) -> None:
    assert oven.main("run") == 0
    page = (oven.docs / "baked.md").read_text()
    oven.code["auto"] = "2"
    assert oven.state("bread").startswith("stale")
    assert oven.main("again", "bread", "--cells", "1", "--draw", "5") == 0
    assert len(oven.measured()) == 5, "one of its two cells"
    assert "1 of 2 cells are equal to the bit (draw 5)" in capsys.readouterr().out
    assert oven.state("bread") == "done"
    assert oven.state("cake").startswith("stale")
    made, now = (
        re.findall(r"<!-- made: bread -->\n(.*)", text)[0]
        for text in (page, (oven.docs / "baked.md").read_text())
    )
    told = now.removeprefix(made.split(" `")[0]).partition(" `")[0]
    assert re.fullmatch(
        r" 1 of 2 cells, drawn at random, were made again by code \S+, \S+, and are equal to the bit\.", told
    )
    assert "Not run again yet" not in now
    record = json.loads((oven.docs / "evidence.json").read_text())["bread"]
    assert (record["again"]["cells"], record["again"]["of"]) == (1, 2)
    shutil.rmtree(oven.out)  # elsewhere it holds, too, by the one file that is kept
    assert oven.main("run", "bread") == 0
    assert len(oven.measured()) == 5
    oven.code["auto"] = "3"
    assert oven.state("bread").startswith("stale")
    assert oven.main("again", "bread") == 0
    assert len(oven.measured()) == 7, "both: three unless it has fewer"
    assert oven.state("bread") == "done"


def test_a_part_that_comes_out_otherwise_must_run(oven: Any, command: Any, capsys: Any) -> None:
    assert oven.main("run") == 0
    oven.code["auto"] = "2"
    (oven.here / "salt").touch()
    before = (oven.docs / "evidence.json").read_bytes()
    assert oven.main("again", "bread") == 1
    said = capsys.readouterr().out
    assert "bread: 1 of 2 cells differ; bread.jsonl" in said
    assert "value was 2, is 3; it must run" in said
    assert oven.state("bread").startswith("stale")
    assert (oven.docs / "evidence.json").read_bytes() == before
    (oven.here / "salt").unlink()
    for code in ("2", "3"):  # another draw, by this code or a later one, could miss what has changed
        oven.code["auto"] = code
        assert oven.main("again", "bread") == 0
        assert "cells of it came out otherwise by code" in capsys.readouterr().out
        assert oven.state("bread").startswith("stale")
    assert oven.main("run", "bread") == 0
    oven.code["auto"] = "4"
    assert oven.main("again", "bread") == 0
    assert "are equal to the bit" in capsys.readouterr().out


def test_a_part_whose_cells_cannot_be_made_is_told(oven: Any, command: Any, capsys: Any) -> None:
    assert oven.main("run") == 0
    oven.code["auto"] = "2"
    (oven.here / "fail").touch()
    assert oven.main("again", "bread") == 1
    assert "the oven is cold" in capsys.readouterr().out


def test_what_cannot_be_made_again_says_why(oven: Any, command: Any, capsys: Any, monkeypatch: Any) -> None:
    timed = [oven.page("bread", timed=True)]
    assert oven.main("run", pages=timed) == 0
    measured = oven.measured()
    assert oven.main("again", pages=timed) == 0
    assert "bread: it measures time, which no run repeats" in capsys.readouterr().out
    assert oven.main("again", "cake") == 0
    assert "cake: nothing of it is kept" in capsys.readouterr().out
    other = [oven.page("bread", files=("configs/mushroom.yaml",))]
    assert oven.main("again", pages=other) == 0
    assert "its commands, scripts or plans have changed" in capsys.readouterr().out
    monkeypatch.setattr(command.origin, "kernels", lambda: None)
    assert oven.main("again", "bread") == 0
    assert "no AVX2" in capsys.readouterr().out
    assert oven.measured() == measured
    assert oven.main("again", "bread", "--native") == 0
    assert len(oven.measured()) == len(measured) + 2


def test_cells_are_drawn_by_a_seed_and_one_of_each_condition_first(command: Any) -> None:
    again = command.again
    names = [
        f"study/{regime}~{condition}~{seed}" for regime in "ab" for condition in "wxyz" for seed in range(5)
    ]
    drawn = again.drawn(names, 1)
    assert {name.split("~")[1] for name in drawn} == set("wxyz")
    assert len(drawn) == 4
    assert again.drawn(names[::-1], 1) == drawn
    assert {tuple(again.drawn(names, draw)) for draw in range(20)} > {tuple(drawn)}
    assert len(again.drawn(names, 1, 11)) == 11
    assert {name.split("~")[1] for name in again.drawn(names, 1, 2)} == set("wxyz"), "never fewer than these"
    tables = [f"study/a~{name}~{seed}" for name in ("auto.right", "auto.none", "single") for seed in range(5)]
    for draw in range(5):
        few = {name.split("~")[1].partition(".")[0] for name in again.drawn(tables, draw, 1)}
        assert few == {"auto", "single"}
        assert len(again.drawn(tables, draw, 1)) == 2
        assert len(again.drawn(tables, draw)) == 3
    lines = [f'a.jsonl {{"number": {k}}}' for k in range(7)]
    assert len(set(again.drawn(lines, 3))) == 3
    assert again.drawn([], 3) == []


def test_a_value_that_is_not_the_same_is_named(command: Any) -> None:
    first = command.again.first_difference
    assert first({"a": 1.0, "b": float("nan")}, {"a": 1.0, "b": float("nan")}) == ""
    assert first({"a": 1.0, "b": 2.0, "c": 3}, {"a": 1.0, "b": 2.0000000000000004, "c": 4}) == (
        "b was 2.0, is 2.0000000000000004, and 1 more of 3"
    )
    assert first({"a": 1}, {}) == "a was 1, is None"
    assert first({}, {"a": 1.0}) == "a was None, is 1.0"


def test_runs_of_a_study_are_made_again_and_compared_with_their_test_metrics(
    command: Any, tmp_path: Path
) -> None:
    plan = as_plan(
        {
            "title": "tiny",
            "problem": "digits",
            "regimes": [{"name": "few", "rows": {"digit": 20, "segments": 30}}],
            "conditions": ["single-task", "uncoupled"],
            "seeds": [3, 4],
            "network": {"hidden": [4], "dropout": 0.0},
            "budget": {"steps": 3, "rows_per_task": 8},
            "resamples": 0,
        }
    )
    study = tmp_path / "part" / "tiny"
    run(plan, study)
    compare(plan, study)
    for path in study.rglob("*.npz"):
        path.unlink()  # what is kept are texts
    names = command.again.names_in(tmp_path / "part")
    assert names == [f"tiny/few~{name}~{seed}" for name in ("single-task", "uncoupled") for seed in (3, 4)]

    def difference(name: str) -> str:
        again, part = command.again, tmp_path / "part"
        return again.first_difference(again.kept_values(part, name), again.made_values(part, name))

    assert [difference(name) for name in names[:2]] == ["", ""]
    results = study / "results.csv"
    lines = results.read_text().splitlines()
    place = next(k for k, line in enumerate(lines) if line.startswith("single-task,4,few,segments,map"))
    value = lines[place].split(",")[5]
    lines[place] = lines[place].replace(value, "0.25")
    results.write_text("\n".join(lines))
    assert difference(names[1]) == f"test/segments/map was '0.25', is '{value}'"
    results.unlink()  # of an unfinished study
    assert difference(names[1]) == ""


@pytest.mark.parametrize("moved", [False, True])
def test_on_another_processor_a_cell_is_compared_with_the_older_codes(
    command: Any, tmp_path: Path, monkeypatch: Any, moved: bool
) -> None:
    again, part = command.again, tmp_path / "runs"
    (part / "s" / "runs").mkdir(parents=True)
    for cell in ("r~a~0", "r~b~0"):
        (part / "s" / "runs" / f"{cell}.json").write_text('{"score": 0.5}')
    asked = []

    def made(_: Path, runs: Any, __: Path, environment: Any) -> Any:
        asked.append((list(runs), environment.get("PYTHONPATH")))
        older = "PYTHONPATH" in environment
        here = {"s/r~a~0": 0.5, "s/r~b~0": 0.75 if older and moved else 0.625}
        return {name: {"score": here[name]} for name in runs}

    monkeypatch.setattr(again, "_made", made)
    monkeypatch.setattr(command.origin, "exported", lambda code, into: into / code)
    place = command.evidence_runs.Place(tmp_path, tmp_path / "docs")
    step = command.evidence_parts.Part("p", (), (), 1)
    names = ["s/r~a~0", "s/r~b~0"]
    found, here = again._made_again(step, {"sessions": [{"code": "abc"}]}, part, names, place, True)
    assert here == 1
    assert found == {"s/r~a~0": "", "s/r~b~0": "score was 0.75, is 0.625" if moved else ""}
    assert asked == [(names, None), (["s/r~b~0"], str(tmp_path / "code" / "abc" / "src"))]
    asked.clear()
    found, _ = again._made_again(step, {"sessions": [{"code": "abc-dirty"}]}, part, names, place, True)
    assert found["s/r~b~0"] == "score was 0.5, is 0.625", "nobody has the code that made it"
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("flags", "wanted"), [("fpu avx2 avx512f", "avx2"), ("fpu avx2", ""), ("fpu sse2", None), ("", None)]
)
def test_processors_with_more_compute_as_those_with_avx2(
    command: Any, monkeypatch: Any, flags: str, wanted: Any
) -> None:
    monkeypatch.setattr(command.origin, "_cpuinfo", {"flags": flags}.get)
    found = command.origin.kernels()
    assert (None if found is None else found.get("ATEN_CPU_CAPABILITY", "")) == wanted


def test_an_unfinished_part_goes_on_where_it_is_kept(oven: Any, command: Any) -> None:
    (oven.here / "fail").touch()
    assert oven.main("run", "bread") == 1
    assert oven.main("keep") == 0
    assert [path.name for path in (oven.docs / "records").iterdir()] == ["bread.tar.xz"], "of cake is nothing"
    (oven.here / "fail").unlink()
    shutil.rmtree(oven.out)
    assert oven.main("run", "bread") == 0
    assert oven.measured() == ["bread 1", "bread 2"]
    record = json.loads((oven.docs / "evidence.json").read_text())["bread"]
    assert len(command.kept.record_in(oven.docs / "records" / "bread.tar.xz")["sessions"]) == 2
    assert record["missing"] == []


def test_a_restore_that_was_interrupted_is_made_again(oven: Any, command: Any) -> None:
    assert oven.main("run", "bread") == 0
    record = next(oven.out.glob("bread-*.part.json"))
    record.unlink()
    next(oven.out.glob("bread-*/bread.jsonl")).unlink()
    assert oven.main("run", "bread") == 0
    assert record.exists()
    assert oven.measured() == ["bread 1", "bread 2"]


def test_what_another_process_runs_is_not_restored(oven: Any, command: Any) -> None:
    assert oven.main("run", "bread") == 0
    record = next(oven.out.glob("bread-*.part.json"))
    record.unlink()
    with own(oven.out, record.name.removesuffix(".part.json") + ".claim"):
        assert oven.main("list") == 0
    assert not record.exists()


def test_what_is_kept_are_texts_and_the_same_ones_give_the_same_file(command: Any, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    for name in (
        "study/results.csv",
        "study/runs/a.json",
        "study/runs/b.training/step/checkpoint.json",
        "study/w.safetensors",
        "study/runs/a.npz",
    ):
        (runs / name).parent.mkdir(parents=True, exist_ok=True)
        (runs / name).write_text(name)
    record = {"done": True, "sessions": [{"rooms": {"auto": "1"}}]}
    for target in ("one", "two"):
        command.kept.keep(record, runs, tmp_path / target)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    command.kept.restore(tmp_path / "one", tmp_path / "again", tmp_path / "again.part.json")
    found = {
        path.relative_to(tmp_path / "again").as_posix(): path.read_text()
        for path in (tmp_path / "again").rglob("*.*")
        if path.is_file()
    }
    assert found == {name: name for name in ("study/results.csv", "study/runs/a.json")}
    assert (
        json.loads((tmp_path / "again.part.json").read_text())
        == record
        == command.kept.record_in(tmp_path / "one")
    )


# -- the table of parts, and what the pages say --------------------------------------------------------


def test_parts_fit_two_hours_and_name_what_there_is(command: Any) -> None:
    pages = command.evidence_parts.PAGES
    parts = [part for page in pages for part in page.parts]
    names = [part.name for part in parts]
    assert len(set(names)) == len(names)
    assert all(0 < part.minutes <= 120 for part in parts)
    commands = [c for part in parts for c in (*part.steps, *part.quick)] + [p.write for p in pages]
    for words in map(str.split, commands):
        assert words[0] in ("python", "concord")
        assert words[0] == "concord" or (BENCHMARKS / words[1]).is_file(), words[1]
        assert "{run}" in " ".join(words)
    quick = {page.file for page in pages for part in page.parts if part.quick}
    assert quick == {page.file for page in pages}, "each file is written in small, too"
    drawn = {page.name for page in pages if not any(part.quick for part in page.parts)}
    drawn.remove("method-images")  # residual nets take minutes
    assert all(name.startswith("study-") for name in drawn), "of case studies one stands for all"


def test_the_name_of_a_file_is_all_its_parts(command: Any) -> None:
    pages = command.evidence_parts.PAGES
    chosen = command.evidence._chosen(["results"], pages, argparse.ArgumentParser())
    assert {part.name for _, part in chosen} == {part.name for part in pages_parts(pages, "results.md")}
    assert len(chosen) > 5
    one = command.evidence._chosen(["written-tables", "study-faces"], pages, argparse.ArgumentParser())
    assert {part.name for _, part in one} == {"written-tables", "study-faces"}


def pages_parts(pages: Any, file: str) -> list[Any]:
    return [part for page in pages if page.file == file for part in page.parts]


def test_every_measured_page_of_the_documentation_is_marked(command: Any) -> None:
    for page in command.evidence_parts.PAGES:
        path = ROOT / "docs" / page.file
        text = path.read_text() if path.exists() else ""
        if f"<!-- section: {page.name} -->" in text or (text and not page.section):
            assert f"<!-- made: {page.name} -->" in text, page.name
            assert page.name in json.loads((ROOT / "docs" / "evidence.json").read_text()), page.name


@pytest.mark.slow  # it goes with every change of the code; `make evidence ARGUMENTS=marks` mends it
def test_no_page_of_older_code_passes_for_one_of_todays(command: Any) -> None:
    records = command.marks.read_records(ROOT / "docs")
    code = command.origin.Code()
    for page in command.evidence_parts.PAGES:
        record = records.get(page.name)
        if record is None or not command.marks.changed(record, page.version(code=code)):
            continue
        mark = (ROOT / "docs" / page.file).read_text().split(f"<!-- made: {page.name} -->")[1]
        assert mark.startswith("\n> **Not run again yet.**"), page.name


def test_a_folder_without_git_is_of_unknown_code(command: Any, tmp_path: Path) -> None:
    assert command.origin.commit(tmp_path) == "unknown"


def test_without_runs_the_page_names_what_makes_each_section(command: Any, tmp_path: Path) -> None:
    pages = {page.name: page for page in command.evidence_parts.PAGES}
    command.evidence_page.write(tmp_path, {}, pages, {name: {} for name in pages}, "RUN")
    text = (tmp_path / "evidence.md").read_text()
    heads = re.findall(r"^## (.*)$", text, flags=re.MULTILINE)
    assert heads[:3] == ["Does it help?", "Does it harm?", "Against what you would use instead"]
    assert heads[3:] == ["What it costs", "Where it does not help"]
    assert all(f"`RUN {name}`" in text for name in pages)
    assert not re.search(r"[+-]\d", text), "no number of which no record tells"


def test_findings_are_told_from_the_records(command: Any, tmp_path: Path) -> None:
    pages = {page.name: page for page in command.evidence_parts.PAGES}
    now = {name: {"auto": "1"} for name in pages}
    version = now["method"]
    made = {"version": "0", "code": ["abc"], "dates": ["2026-01-01"], "rooms": version, "missing": []}
    one, two = [10.0, 5.0, 15.0], [2.0, -1.0, 5.0]
    harm = {
        "table": "shuffled", "against": "single-task", "cells": 4, "tested": 4, "worse": 1, "below": 2,
        "worst": -3.0, "where": "b/few", "chance": [-1.0, -2.0], "shows": 2.5, "low": [["b/few", -3.0]],
    }  # fmt: skip
    untested = {
        **harm,
        "against": "balanced-shared",
        "tested": 0,
        "worse": 0,
        "below": 0,
        "chance": [None, None],
    }
    gains = [
        {
            "pack": name,
            "task": "class",
            "single-task": alone,
            "balanced-shared": two,
            "none": [more, None, None],
        }
        for name, alone, more in (("a", one, 1.0), ("b", two, 2.0))
    ]
    wrong = [
        {"where": "shuffled/a", "points": [1.0, 0.0, 2.0]},
        {"where": "shuffled/b", "points": [-3.0, -4.0, -2.0]},
    ]
    method = {
        "seeds": 5, "real": ["b"], "cost": [6.5, 8.0], "harm": [harm, untested], "gains": gains,
        "wrong": wrong,
    }  # fmt: skip
    against = [{"other": "x", "packs": 3, "points": [2.0, 1.0, 3.0]}]
    board = {
        "standing": ["`auto` is number 1."], "blocks": 9, "behind": [["a", "few", "t", "x", 1.5]],
        "against": against, "metrics": ["accuracy"], "seeds": [1],
    }  # fmt: skip
    safety = {"odd": [["faces", "auto", "-1.0"]], "ordinary": [["digits", "auto", "+1.0"]], "seeds": [8]}
    level = {
        "alpha": 0.05, "draws": 500, "joint": [0.01, 0.064], "each": [0.04, 0.25],
        "less": 0.15, "power": [["200 rows in 10 groups", 0.25, 0.5], ["2,000 rows", 1.0, 1.0]],
    }  # fmt: skip
    results = {"auto": {"s": [1, 0, 4], "t": [0, 2, 3]}, "controls": {"s": [0, 1, 4]}, "untested": ["u"]}
    steps = {"lines": [["a step", "1.2 x", "<= 1.1: **missed**"]]}
    chip = {"processor": "Chip", "cores": 2, "python": "3.12", "torch": "2.10"}
    records = {
        "method": {**made, "machines": [chip], "facts": method},
        "board": {**made, "rooms": {}, "facts": board},
        "safety": {**made, "quick": True, "machines": [chip], "facts": safety},
        "guard-level": {**made, "facts": level},
        "study-faces": {**made, "partly": ["x"], "facts": results},
        "study-mushroom": {**made, "facts": {"auto": {"v": [1, 0, 3]}, "controls": {}, "untested": []}},
        "side-by-side": {**made, "facts": steps},
        "libmtl": {**made, "facts": {"against": {"libmtl-EW": [4, 1.5]}}},
    }
    command.evidence_page.write(tmp_path, records, pages, now, "RUN")
    text = (tmp_path / "evidence.md").read_text()
    assert "over single-task networks | over one shared network | over `auto` without the table |" in text
    both = ("+6.0; above in 1, below in 0 of 2", "+2.0; above in 0, below in 0 of 2", "+1.5; not tested")
    assert f"| classes | 2 | {' | '.join(both)} |" in text
    assert "| classes, packs with real labels | 1 | +2.0; above in 0, below in 0 of 1 |" in text
    assert (
        "| shuffled | single-task networks | 4 | 1 of 4 | 2 of 4 | 2.5 | -3.0 (b/few) | -1.0 / -2.0 |" in text
    )
    row = "| 4 | not tested | not tested | not tested | -3.0 (b/few) | not tested |"
    assert f"| shuffled | one shared network {row}" in text
    assert "average precision of labels" in text
    odd, ordinary = text.index("| faces | auto"), text.index("| digits | auto")
    assert text.index("tasks are not related") < odd < text.index("On packs of related tasks") < ordinary
    assert "in brackets the standard error" in text
    assert "at a level of 5 % (500 draws a world)" in text
    assert "take its place in 1.0 % to 6.4 % of draws" in text
    assert "without a level over all, in 4.0 % to 25.0 %" in text
    assert "are found in: 200 rows in 10 groups: 25.0 % to 50.0 %; 2,000 rows: 100.0 %." in text
    assert "1 seed a pack; metrics: accuracy, as [the board](board.md)" in text
    assert "the mean over 8 seeds, in brackets" in text
    assert "| `x` | 3 | +2.0 | +1.0 to +3.0 |" in text
    assert "| libmtl-EW | 4 | +1.5 |" in text
    assert "in 1 of 9 blocks" in text
    assert "b (class, +2.0), of 2 packs and tasks that were tested" in text
    assert "worse than single-task networks in 2 of 10 comparisons, in 1 of 3 studies (t 2)" in text
    assert (
        "shuffled table: `auto` is shown to be worse than single-task networks in 1 of 4 comparisons" in text
    )
    assert "fewer than 3 seeds, not tested: u" in text
    assert (
        "as much as 6.5 pairs of single-task models do on average where a task is scarce, 8 at most" in text
    )
    assert "<= 1.1: **missed**" in text
    named = ("method", "board", "safety", "study faces")
    line = {name: next(x for x in text.splitlines() if x.startswith(f"- [{name}]")) for name in named}
    assert (
        "by today's code (2026-01-01, code abc, on Chip, 2 cores, Python 3.12, torch 2.10)" in line["method"]
    )
    assert "on Chip, 2 cores" in line["safety"]
    assert "1 of its parts in part" in line["study faces"]
    records["board"]["partly"] = ["y"]
    command.evidence_page.write(tmp_path, records, pages, now, "RUN")
    text = (tmp_path / "evidence.md").read_text()
    assert re.search(r"- \[board\].*\*\*not run again yet\*\*.*1 of its parts in part", text)
    assert "**not run again yet**" in line["board"]
    for name in ("helps", "harms"):
        assert "<svg" in (tmp_path / "figures" / f"evidence-{name}.svg").read_text()


def test_a_long_table_can_be_searched_without_any_other_file(command: Any, tmp_path: Path) -> None:
    frame = pl.DataFrame({"pack": ["</script><b>", "other"], "points": [1.23456, None]})
    command.search_table.write(frame, tmp_path / "tables" / "all", "All & more", "A row is a row.")
    assert pl.read_parquet(tmp_path / "tables" / "all.parquet").equals(frame)
    page = (tmp_path / "tables" / "all.html").read_text()
    assert page.count("</script>") == 2, "a name ends no script"
    assert not re.search(r"(src|href)=", page)
    rows = json.loads(re.search(r'<script id="rows"[^>]*>(.*?)</script>', page, flags=re.DOTALL).group(1))
    assert rows == {"columns": ["pack", "points"], "rows": [["</script><b>", 1.235], ["other", None]]}


def test_the_claims_of_the_readme_lead_to_what_measured_them() -> None:
    text = (ROOT / "README.md").read_text()
    claims = text.split("## What it does, and what it does not")[1].split("\n## ")[0]
    page = (ROOT / "docs" / "evidence.md").read_text()
    heads = {
        re.sub(r"[^\w -]", "", head).lower().replace(" ", "-")
        for head in re.findall(r"^## (.*)$", page, re.M)
    }
    led = set(re.findall(r"\(docs/evidence\.md#([\w-]+)\)", claims))
    assert led <= heads
    assert {"does-it-help", "does-it-harm", "what-it-costs", "where-it-does-not-help"} <= led


def test_pages_say_whether_they_are_of_todays_code(command: Any, tmp_path: Path) -> None:
    """After a change that moves numbers: `python benchmarks/evidence.py marks`."""
    docs = ROOT / "docs"
    shutil.copytree(docs, tmp_path / "docs", ignore=shutil.ignore_patterns("records", "figures", "notebooks"))
    assert command.evidence.write_marks(tmp_path / "docs", command.evidence_parts.PAGES)
    files = {page.file for page in command.evidence_parts.PAGES} | {"evidence.md", "paper.md"}
    other = [
        name for name in sorted(files) if (tmp_path / "docs" / name).read_text() != (docs / name).read_text()
    ]
    assert other == []
