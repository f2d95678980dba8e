"""README does what it says: every block runs, or says why not; every command exists."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
import typer
import yaml

from concord import cli
from concord.study.plan import read_plan

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = {name: (ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "CONTRIBUTING.md")}

BLOCK = re.compile(r"(?:^<!-- (.+?) -->\n)?^```(\w*)\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
"""(mark, language, text) of a block; a mark is `not run: WHY`, `file: NAME` or `printed by: COMMAND`."""

APP = typer.main.get_command(cli.app)


def blocks(language, page="README.md"):
    return [(mark, text) for mark, kind, text in BLOCK.findall(PAGES[page]) if kind == language]


def written(folder):
    for mark, _, text in BLOCK.findall(README):
        if mark.startswith("file: "):
            (folder / mark.removeprefix("file: ")).write_text(text, encoding="utf-8")


def commands(text):
    """Command lines of a block, without comments."""
    return [words for line in text.splitlines() if (words := shlex.split(line, comments=True))]


def leaf(words):
    """The command that `concord WORDS` runs, and its name; fails where there is none."""
    assert words[0] == "concord"
    name, command = ["concord"], APP
    for word in words[1:]:
        if not hasattr(command, "commands"):
            break
        assert word in command.commands, f"there is no `{' '.join([*name, word])}`"
        name, command = [*name, word], command.commands[word]
    return " ".join(name), command


def mentioned(page):
    """Every `concord ...` of a page, in blocks and between backticks."""
    inline = [shlex.split(text) for text in re.findall(r"(?<!`)`(concord [^`\n]+)`", PAGES[page])]
    typed = [words for _, text in blocks("bash", page) for words in commands(text) if words[0] == "concord"]
    return inline + typed


def test_every_block_has_a_language_and_a_known_mark():
    for page in PAGES.values():
        for mark, language, text in BLOCK.findall(page):
            assert language in ("bash", "python", "diff", "text", "csv", "yaml"), text
            assert not mark or re.match(r"(not run|file|printed by): \S", mark), mark
            assert mark or language not in ("text", "csv", "yaml"), "says where it comes from"


def test_the_first_screen_is_the_problem_and_two_commands():
    first = README[: README.index("\n## ")]
    assert re.findall(r"^make \w+", first, flags=re.MULTILINE) == ["make demo", "make test"]
    problem = first.split("\n\n")[1]
    assert len(re.findall(r"\.(?:\s|$)", problem)) == 2


@pytest.mark.docs
def test_the_python_blocks_run_one_after_the_other(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {}
    for mark, text in blocks("python"):
        assert not mark
        exec(compile(text, "README.md", "exec"), names)
    said = capsys.readouterr().out
    assert "the table fits the data" in said
    assert "digit: " in said
    predicted = names["model"].predict(names["pixels"][650:])["digit"]
    right = predicted.astype(str) == names["y"][650:].astype(str)
    assert np.mean(right) > 0.8
    assert {"digit", "segments"} < set(names["result"].parts)
    total = sum(part.item() for part in names["result"].parts.values())
    assert names["result"].loss.item() == pytest.approx(total, rel=1e-4)


@pytest.mark.docs
def test_the_command_blocks_run_or_say_why_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    written(tmp_path)
    ran = 0
    for mark, text in blocks("bash"):
        for words in commands(text):
            if mark.startswith("not run: "):
                continue
            assert words[0] == "concord", f"runs no {words[0]}"
            monkeypatch.setattr(sys, "argv", words)
            with pytest.raises(SystemExit) as stop:
                cli.main()
            assert stop.value.code == 0, words
            ran += 1
    assert ran
    assert {"faces.parquet", "expressions.csv", "faces.yaml"} <= {path.name for path in tmp_path.iterdir()}


@pytest.mark.parametrize("page", PAGES)
def test_commands_options_and_targets_exist(page):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for words in mentioned(page):
        if words[1].startswith("-"):
            continue
        name, command = leaf(words)
        known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
        for word in words:
            if word.startswith("--"):
                assert word in known, f"`{name}` has no {word}"
    for target in re.findall(r"\bmake ([a-z-]+)(?=`|$| {2})", PAGES[page], flags=re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), f"there is no `make {target}`"


def test_every_command_is_listed():
    listed = {leaf(words)[0] for words in mentioned("README.md") if not words[1].startswith("-")}
    exist = set()
    for name, command in APP.commands.items():
        for below in getattr(command, "commands", [""]):
            exist.add(f"concord {name} {below}".strip())
    assert exist <= listed, f"README.md lacks {exist - listed}"


def test_the_plan_is_one_that_the_study_takes(tmp_path):
    written(tmp_path)
    plan = read_plan(tmp_path / "plan.yaml")
    assert [regime.name for regime in plan.regimes] == ["few-class"]
    held = yaml.safe_load((tmp_path / "plan.yaml").read_text(encoding="utf-8"))
    assert plan.problem.manifest == held["problem"]["manifest"]


def test_links_lead_somewhere():
    for page in PAGES.values():
        for link in re.findall(r"\]\(([^)#]+)", page):
            there = link.startswith("https://") or (ROOT / link).exists()
            assert there, f"{link} does not exist"


def test_the_citation_names_the_paper_and_the_version():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited["cff-version"] == "1.2.0"
    assert cited["authors"] == [{"name": "The Concord contributors"}]
    assert str(cited["version"]) == cli.__version__
    (paper,) = cited["references"]
    assert [author["family-names"] for author in paper["authors"]] == ["Kollias", "Sharmanska", "Zafeiriou"]
    assert paper["title"].startswith("Distribution Matching for Multi-Task Learning")
