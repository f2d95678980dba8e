"""The command line as a whole: greeting, help, and mistakes: one line, and where to read more."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import warnings

import pytest

from concord import __version__, cli
from concord.errors import ConcordWarning
from concord.terminal import open_streams, say

HEAVY = "{'torch', 'sklearn', 'scipy', 'numpy', 'matplotlib', 'polars', 'pandas'}"


def concord(monkeypatch, capsys, *arguments):
    """Exit status, standard output and standard error of `concord ARGUMENTS`, in this process."""
    monkeypatch.setattr(sys, "argv", ["concord", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    printed = capsys.readouterr()
    return stop.value.code, printed.out, printed.err


@pytest.mark.filterwarnings("default")
def test_a_warning_of_the_package_is_one_line(monkeypatch, capsys):
    def warned(**_):
        warnings.warn("two images\nare not there", ConcordWarning, stacklevel=1)
        warnings.warn("of another", UserWarning, stacklevel=1)

    monkeypatch.setattr(cli, "app", warned)
    with pytest.warns(UserWarning, match="^of another$") as others:
        status, out, err = concord(monkeypatch, capsys)
    assert len(others) == 1
    assert (status, out, err) == (0, "", "concord: note: two images are not there\n")


@pytest.mark.parametrize("command", [[], ["train"], ["data"], ["relation", "check"]], ids=" ".join)
def test_h_is_help(monkeypatch, capsys, command):
    short, long = (concord(monkeypatch, capsys, *command, each) for each in ("-h", "--help"))
    assert short == long
    assert (long[0], long[2]) == (0, "")
    assert "Usage: concord" in long[1]


def test_alone_it_greets_with_four_commands_that_exist(monkeypatch, capsys):
    status, out, err = concord(monkeypatch, capsys)
    assert (status, err) == (0, "")
    commands = [line.split() for line in out.splitlines() if line.startswith("  concord ")]
    assert len(commands) == 4
    for command in commands:
        words = [word for word in command[1:3] if word.isalpha()]
        group = words if words[0] in ("data", "relation") else words[:1]
        status, out, _ = concord(monkeypatch, capsys, *group, "--help")
        assert status == 0
        assert "Usage: " + " ".join(["concord", *group]) in " ".join(out.split())


@pytest.mark.parametrize("arguments", [[], ["--help"], ["data", "--help"], ["nosuch"]])
def test_what_needs_no_numbers_imports_nothing_heavy(arguments):
    code = (
        "import sys\n"
        "from concord.cli import main\n"
        f"sys.argv = ['concord', *{arguments!r}]\n"
        "try:\n"
        "    main()\n"
        "except SystemExit:\n"
        "    pass\n"
        f"print('heavy:', sorted({HEAVY} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.endswith("heavy: []\n")


@pytest.mark.parametrize("through", [True, False])
def test_what_was_written_at_once_still_is(monkeypatch, through):
    """Standard error is in the log of a job while the job runs; standard output waits as before."""
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii", write_through=through)
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(sys, "__stderr__", stream)
    open_streams()
    say("7 of 15 runs, \u00e9", error=True)
    assert raw.getvalue() == (b"7 of 15 runs, ?\n" if through else b"")
    sys.stderr.flush()
    assert raw.getvalue() == b"7 of 15 runs, ?\n"


def test_the_version_is_the_packages(monkeypatch, capsys):
    assert concord(monkeypatch, capsys, "--version") == (0, f"{__version__}\n", "")


def test_a_group_without_a_command_shows_its_help(monkeypatch, capsys):
    status, out, err = concord(monkeypatch, capsys, "relation")
    assert status == 2
    assert "estimate" in out + err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nosuch"], "no such command 'nosuch'; see `concord --help`"),
        (["check"], "'check'; did you mean `concord relation check` or `concord data check`?; see `concord"),
        (["--bogus"], "no such option: --bogus"),
        (["relation", "bogus"], "see `concord relation --help`"),
        (["study"], "missing argument 'plan'; see `concord study --help`"),
        (["study", "digits", "--bogus"], "no such option: --bogus"),
        (["study", "digits", "--seeds", "few"], "invalid value for '--seeds'"),
        (["study", "digits", "--out", "{tmp}/file"], "file exists and holds no study; choose another --out"),
        (["study", "digits", "--out", "{tmp}/file/below"], "Not a directory; choose another path"),
        (["study", "nosuch"], "unknown study 'nosuch'; known: digits"),
        (["study", "{tmp}/broken.yaml"], "not readable as YAML"),
        (["relation", "show", "nosuch"], "unknown table 'nosuch'; known: expressions"),
        (["relation", "show", "{tmp}/none.csv"], "no relation table at"),
        (["relation", "show", "{tmp}/broken.csv"], "broken.csv, line 2: 2 columns expected, found 3"),
        (["relation", "show", "{tmp}/words.csv"], "words.csv, line 2: 'often' in column 'l' is no number"),
        (["relation", "show", "expressions", "--out", "{tmp}/file/x.csv"], "choose another path"),
        (["report", "{tmp}/nosuch"], "no such folder"),
        (["data", "inspect", "{tmp}/none.csv"], "found nothing"),
    ],
)
def test_a_mistake_is_one_line_and_status_two(monkeypatch, capsys, tmp_path, arguments, message):
    (tmp_path / "file").write_text("")
    (tmp_path / "broken.yaml").write_text("title: [x\n")
    (tmp_path / "broken.csv").write_text("c,l\nx,1,0\ny,0\n")
    (tmp_path / "words.csv").write_text("c,l\nx,often\ny,0\n")
    filled = [argument.replace("{tmp}", str(tmp_path)) for argument in arguments]
    status, _, err = concord(monkeypatch, capsys, *filled)
    assert status == 2
    assert message in err
    said, *more = err.splitlines()
    assert said.startswith("concord: ")
    # What Typer or the disk refuses needs no page: the line says it all.
    explained = not re.search(r"--help`|no such option|invalid value|choose another path", said)
    assert len(more) == explained
    assert all(re.fullmatch(r"more: concord explain [\w/-]+(#[\w-]+)?", line) for line in more)


def test_an_error_names_its_page_on_a_line_of_its_own(monkeypatch, capsys, tmp_path):
    (tmp_path / "words.csv").write_text("c,l\nx,often\ny,0\n")
    _, out, err = concord(monkeypatch, capsys, "relation", "show", tmp_path / "words.csv")
    assert out == ""
    assert err.endswith("\nmore: concord explain howto/my-table#a-table-that-cannot-be-read\n")


def test_a_fault_that_names_no_file_is_not_hidden(monkeypatch):
    def fail(**_):
        raise OSError("the machine is out of something")

    monkeypatch.setattr(cli, "app", fail)
    with pytest.raises(OSError, match="out of something"):
        cli.main()
