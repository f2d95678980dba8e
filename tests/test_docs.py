"""The documentation does what it says: every block runs, or says why not; links lead somewhere."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from concord import cli, errors
from test_readme import APP, commands, leaf

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = {
    str(path.relative_to(DOCS)): path.read_text(encoding="utf-8")
    for path in sorted(DOCS.rglob("*.md"))
    if "_build" not in path.parts
}

BLOCK = re.compile(r"(?:^<!-- ([^\n]+?) -->\n)?^```([\w{}-]*)\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
"""(mark, language, text) of a block; a mark is `not run: WHY`, `file: NAME` or `printed by: COMMAND`."""

SHOWN = ("diff", "mermaid", "{toctree}", "{eval-rst}")
"""What is looked at, not run."""

SHORT = {
    "study": ["--quick", "--processes", "1"],
    "train": [
        "--set",
        "training.steps=2",
        "--set",
        "training.warmup=0",
        "--set",
        "training.batch_size=8",
        "--set",
        "watching.progress=false",
    ],
}
"""What the short walk adds to a command, so that it takes seconds."""

RUN = [
    page
    for page, text in PAGES.items()
    if any(
        kind in ("python", "bash") and not mark.startswith("not run: ")
        for mark, kind, _ in BLOCK.findall(text)
    )
]


def run_command(words, monkeypatch):
    assert words[0] == "concord", f"runs no {words[0]}"
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 0, " ".join(words)


def walk(page, monkeypatch, more):
    """Run all blocks of a page from top to bottom, in the current folder; how many were run."""
    ran, names = 0, {}
    for mark, kind, text in BLOCK.findall(PAGES[page]):
        if mark.startswith("file: "):
            Path(mark.removeprefix("file: ")).write_text(text, encoding="utf-8")
        if mark or kind not in ("python", "bash"):
            continue
        if kind == "python":
            exec(compile(text, page, "exec"), names)
        else:
            for words in commands(text):
                run_command(words + more.get(words[1], []), monkeypatch)
        ran += 1
    return ran


@pytest.mark.parametrize("page", PAGES)
def test_blocks_have_a_language_and_a_known_mark(page):
    for mark, language, text in BLOCK.findall(PAGES[page]):
        assert language in ("bash", "python", "csv", "text", "yaml", *SHOWN), text
        assert not mark or re.match(r"(not run|file|printed by): \S", mark), mark
        assert mark or language not in ("csv", "text", "yaml"), "says where it comes from"


@pytest.mark.parametrize("page", PAGES)
def test_a_block_to_save_has_its_name_in_the_text(page):
    """Marks are comments: who reads the site does not see them."""
    prose = BLOCK.sub("", PAGES[page])
    marks = [mark for mark, _, _ in BLOCK.findall(PAGES[page]) if mark.startswith("file: ")]
    assert [mark for mark in marks if f"`{mark.removeprefix('file: ')}`" not in prose] == []


@pytest.mark.docs
@pytest.mark.parametrize("page", RUN)
def test_the_blocks_run_one_after_the_other(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert walk(page, monkeypatch, SHORT)


@pytest.mark.slow
def test_the_tutorial_as_typed(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    walk("tutorial.md", monkeypatch, {})
    said = capsys.readouterr().out
    assert "no row is annotated for both 'digit' and 'segments'" in said
    assert "the table fits the data" in said
    assert "Verdicts rest" in " ".join(said.split())
    assert Path("runs/first/report.html").is_file()
    assert pl.read_csv("predictions.csv").height == 1797


@pytest.mark.parametrize("page", PAGES)
def test_commands_and_options_exist(page):
    inline = re.findall(r"(?<!`)`(concord [^`\n]+)`", PAGES[page])
    commands_and_options_exist(
        [*inline, *(text for _, kind, text in BLOCK.findall(PAGES[page]) if kind == "bash")]
    )


def commands_and_options_exist(texts):
    for words in commands("\n".join(texts)):
        if words[0] != "concord" or words[1].startswith("-"):
            continue
        name, command = leaf(words)
        both = [option for each in command.params for option in (*each.opts, *each.secondary_opts)]
        known = {*both, "--help"}
        for word in words:
            assert not word.startswith("--") or word in known, f"`{name}` has no {word}"


@pytest.mark.parametrize("page", PAGES)
def test_links_and_files_named_exist(page):
    for link in re.findall(r"\]\(([^)#]+)", PAGES[page]):
        assert link.startswith("https://") or (DOCS / page).parent.joinpath(link).exists(), link
    for path in re.findall(r"\b((?:benchmarks|examples|tests)/[\w/]+\.py)", PAGES[page]):
        assert (ROOT / path).is_file(), path


def anchors(page):
    """What `#...` a heading of a page answers to, as MyST makes it: lower case, hyphens, no other signs."""
    text = BLOCK.sub("", PAGES[page])
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


ERRORS = [
    error
    for error in vars(errors).values()
    if isinstance(error, type) and issubclass(error, errors.ConcordError)
]


@pytest.mark.parametrize("error", ERRORS)
def test_every_error_names_a_page_and_heading_that_exist(error):
    page, _, heading = error.page.partition("#")
    assert f"{page}.md" in PAGES
    assert not heading or heading in anchors(f"{page}.md")


def test_no_kind_of_error_is_left_to_the_general_page():
    assert [error for error in ERRORS if "page" not in vars(error)] == []


@pytest.mark.parametrize("page", PAGES)
def test_headings_that_links_name_exist(page):
    for path, heading in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", PAGES[page]):
        there = DOCS / page if not path else (DOCS / page).parent / path
        assert heading in anchors(str(there.resolve().relative_to(DOCS))), heading


def test_every_figure_is_made_by_the_script(tmp_path):
    spec = importlib.util.spec_from_file_location("figures", ROOT / "benchmarks" / "figures.py")
    figures = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(figures)
    figures.main(tmp_path)
    # Pages that are written of measurements draw their own figures.
    written = "".join(
        (DOCS / name).read_text(encoding="utf-8") for name in ("evidence.md", "method.md", "results.md")
    )
    measured = set(re.findall(r"figures/([\w-]+\.svg)\)", written))
    drawn = {path.name for path in tmp_path.iterdir()} | measured
    assert drawn == {path.name for path in (DOCS / "figures").iterdir()}
    shown = {name for text in PAGES.values() for name in re.findall(r"figures/([\w-]+\.svg)\)", text)}
    assert shown == drawn


def test_the_reference_has_every_command_and_option():
    spec = importlib.util.spec_from_file_location(
        "command_reference", ROOT / "tools" / "command_reference.py"
    )
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    sections = dict(
        re.findall(r"^##+ `(concord [\w ]+)`\n(.*?)(?=^##|\Z)", tool.reference(), flags=re.M | re.S)
    )
    listed = [["concord", name] for name in APP.commands]
    listed += [
        ["concord", name, below]
        for name, group in APP.commands.items()
        for below in getattr(group, "commands", ())
    ]
    assert set(sections) == {" ".join(words) for words in listed}
    for words in listed:
        name, command = leaf(words)
        options = [each.opts[0] for each in command.params if each.opts[0].startswith("--")]
        assert [option for option in options if f"`{option}" not in sections[name]] == ["--help"] * (
            "--help" in options
        )


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path):
    for name in ("sphinx", "furo", "myst_nb", "jupytext", "latex2mathml"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed: make docs installs it")
    build = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", "docs", str(tmp_path)]
    done = subprocess.run(build, cwd=ROOT, env=os.environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "tutorial.html").is_file()
    report = (tmp_path / "example" / "report.html").read_text(encoding="utf-8")
    assert "few-label" in report
    assert 'href="example/report.html"' in (tmp_path / "example.html").read_text(encoding="utf-8")
    for notebook in (DOCS / "notebooks").glob("*.py"):
        page = (tmp_path / "notebooks" / f"{notebook.stem}.html").read_text(encoding="utf-8")
        assert "cell_output" in page, "it was run"
        assert "\x1b" not in page
