"""The reference of all commands, from the command line itself: `python tools/command_reference.py`.

`make docs` puts it below what stands in docs/reference/commands.md.
"""

from __future__ import annotations

import re
import subprocess
import sys


def reference() -> str:
    """Markdown with a section for each command: its usage, arguments, options, as in its `--help`."""
    command = [sys.executable, "-m", "typer", "concord.cli", "utils", "docs", "--name", "concord"]
    made = subprocess.run(command, capture_output=True, check=True, encoding="utf-8").stdout  # noqa: S603
    text = made[made.index("\n## ") + 1 :]
    # Lists of a group's commands are cut short by Typer, and each command has its section below.
    text = re.sub(r"\*\*Commands\*\*:\n\n(?:\* .*\n)+\n?", "", text)
    text = text.replace("* `--help`: Show this message and exit.\n", "")
    return re.sub(r"\*\*Options\*\*:\n\n(?!\*)", "", text).rstrip() + "\n"


if __name__ == "__main__":
    print(reference(), end="")
