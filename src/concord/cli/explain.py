"""`concord explain`: the page of the documentation that an error names."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from concord.terminal import console

PACKAGE = Path(__file__).parents[1]
FOLDERS = (PACKAGE / "pages", PACKAGE.parents[1] / "docs")
"""Where the pages lie: in an installed package, or in a checkout."""


def explain(
    page: Annotated[
        str,
        typer.Argument(help="A page as an error names it: PAGE or PAGE#HEADING.", show_default=False),
    ],
) -> None:
    """Show what the documentation says of a mistake."""
    from rich.markdown import Markdown

    name, _, heading = page.partition("#")
    text = read_page(name)
    if heading:
        text = section(text, heading)
    console().print(Markdown(text))


def read_page(name: str) -> str:
    """The text of a page.

    Args:
        name: Path of the page below the folder of pages, without `.md`.

    Raises:
        UnknownNameError: No such page.
    """
    from concord.errors import UnknownNameError

    folder = next((folder for folder in FOLDERS if (folder / "faq.md").is_file()), FOLDERS[0])
    known = [path.relative_to(folder).with_suffix("").as_posix() for path in sorted(folder.rglob("*.md"))]
    if name not in known:
        raise UnknownNameError.of("page", name, known)
    return (folder / f"{name}.md").read_text(encoding="utf-8")


def section(text: str, heading: str) -> str:
    """A heading of a page with what stands below it, up to the next heading of the same or a higher level.

    Args:
        text: The page.
        heading: The heading as a link names it: lower case, blanks as hyphens.

    Raises:
        UnknownNameError: No such heading.
    """
    from concord.errors import UnknownNameError

    lines, found, code = text.splitlines(), {}, False
    for number, line in enumerate(lines):
        code ^= line.startswith("```")  # a comment of a shell is no heading
        if not code and (match := re.match(r"(#+) (.*)", line)) is not None:
            found[anchor(match[2])] = (number, len(match[1]))
    if heading not in found:
        raise UnknownNameError.of("heading", heading, found)
    start, level = found[heading]
    ends = (number for number, other in found.values() if number > start and other <= level)
    return "\n".join(lines[start : min(ends, default=len(lines))])


def anchor(heading: str) -> str:
    """The name by which links refer to a heading."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
