from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from asserts import raises
from concord import errors
from concord.cli import app
from concord.cli.explain import read_page, section
from concord.errors import UnknownNameError

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize(
    "error",
    [e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, errors.ConcordError)],
)
def test_the_page_of_every_error_is_shown_at_its_heading(error):
    name, _, heading = error.page.partition("#")
    page = read_page(name)
    assert page == (DOCS / f"{name}.md").read_text(encoding="utf-8")
    if heading:
        part = section(page, heading)
        assert part.startswith("#")
        assert part in page
        assert len(part.splitlines()) > 1


def test_a_section_ends_where_the_next_of_its_level_begins():
    text = "# A\n\n## B\nb\n```bash\n# no heading\n```\n### C\nc\n## D\nd\n"
    assert section(text, "b") == "## B\nb\n```bash\n# no heading\n```\n### C\nc"
    assert section(text, "d") == "## D\nd"
    assert section(text, "a") == text.rstrip()


def test_a_page_is_printed():
    done = CliRunner().invoke(app, ["explain", "howto/refused#a-name-that-occurs-twice"])
    assert done.exit_code == 0, done.output
    assert "A name that occurs twice" in done.output


def test_what_there_is_not_is_named():
    with raises(UnknownNameError, "unknown page 'howto/refusd'", "did you mean 'howto/refused'"):
        read_page("howto/refusd")
    with raises(UnknownNameError, "unknown heading 'nosuch'"):
        section("# A\n", "nosuch")


def test_the_wheel_carries_the_pages_that_errors_name():
    project = (DOCS.parent / "pyproject.toml").read_text(encoding="utf-8")
    carried = re.findall(r'^"docs/([\w/.-]+)" = "concord/pages/\1"', project, flags=re.MULTILINE)
    pages = {
        e.page.partition("#")[0] for e in vars(errors).values() if isinstance(e, type) and hasattr(e, "page")
    }
    assert all(any(f"{page}.md" == c or page.startswith(f"{c}/") for c in carried) for page in pages)
