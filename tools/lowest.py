"""The lowest versions of the core dependencies, as constraints: `python tools/lowest.py > lowest.txt`.

Torch is left to the machine: a build for it may exist in one version only.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

LEFT_OUT = ("torch",)


def lowest(requirements: list[str]) -> list[str]:
    """`NAME==VERSION` of every `NAME>=VERSION`.

    Args:
        requirements: As a project lists them.
    """
    found = (re.fullmatch(r"([\w.-]+)>=([\w.]+)", line.replace(" ", "")) for line in requirements)
    return [f"{match[1]}=={match[2]}" for match in found if match and match[1] not in LEFT_OUT]


if __name__ == "__main__":
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
    print("\n".join(lowest(project["project"]["dependencies"])))
