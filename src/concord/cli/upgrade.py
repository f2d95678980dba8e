"""`concord upgrade`: folders of earlier formats, in the format of this version."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from concord.cli.outputs import check_named
from concord.terminal import say


def upgrade(
    folder: Annotated[
        Path,
        typer.Argument(
            help="A saved estimator, a model in the hub's manner, or the output folder of a training.",
            show_default=False,
        ),
    ],
    *,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="A new folder; unless given, FOLDER's own place, FOLDER.before-upgrade keeps the old.",
        ),
    ] = None,
) -> None:
    """Turn a folder that an earlier version saved into one that this version loads."""
    if out is not None:
        check_named("--out", out)
    from concord.deploy import upgrade as upgrade_folder

    made = upgrade_folder(folder, out)
    kept = folder if out is not None else made.with_name(f"{made.name}.before-upgrade")
    say(f"wrote {made}; {kept} is as it was")
