"""`concord embed`: images or texts to a feature file and its manifest, by any trunk."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from concord.cli.outputs import check_effect, check_outputs
from concord.errors import UnknownNameError
from concord.terminal import say


def embed(
    context: typer.Context,
    data: Annotated[
        Path, typer.Argument(help="A manifest (.parquet, .csv) or a folder of images.", show_default=False)
    ],
    *,
    trunk: Annotated[
        str,
        typer.Option(
            "--trunk",
            help="timm:NAME, torchvision:NAME, hf:NAME_OR_FOLDER, package:efficientnet-lite0 or "
            "builtin:NAME.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder to write.")],
    pretrained: Annotated[
        bool, typer.Option("--pretrained/--random", help="Weights that were trained before, or random ones.")
    ] = True,
    download: Annotated[
        bool, typer.Option("--download", help="Fetch weights that nothing local has.")
    ] = False,
    texts: Annotated[
        bool, typer.Option("--texts", help="The manifest's column text, instead of images.")
    ] = False,
    size: Annotated[int, typer.Option("--size", min=1, help="Height and width of images, in pixels.")] = 224,
    fit: Annotated[
        str, typer.Option("--fit", help="How an image becomes square: pad, crop or stretch.")
    ] = "pad",
    on_error: Annotated[
        str, typer.Option("--on-error", help="Images that cannot be read: raise or skip.")
    ] = "raise",
    root: Annotated[
        Path | None, typer.Option("--root", help="What the manifest's paths are relative to.")
    ] = None,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Rows at a time.")] = 64,
) -> None:
    """Write features.npy, manifest.parquet and a record. Interrupted, the same command goes on."""
    from concord.config import InputPlan, TrunkPlan

    if texts:
        check_effect(context, "with --texts", "size", "fit", "on_error")
    if data.is_dir():
        check_effect(context, "with a folder of images", "root")
    if not pretrained:
        check_effect(context, "with --random", "download")
    given = {"fit": fit, "on_error": on_error}
    for name, value in given.items():
        known = get_args(InputPlan.model_fields[name].annotation)
        if value not in known:
            raise UnknownNameError.of(f"value of --{name.replace('_', '-')}", value, known)
    from concord.runs import EMBEDDING_FILES
    from concord.runs import embed as embed_rows

    check_outputs({f"--out: {name}": out / name for name in EMBEDDING_FILES}, [data])
    images: dict[str, Any] = {"kind": "images", "size": size} | given
    found = embed_rows(
        data,
        out,
        TrunkPlan(name=trunk, pretrained=pretrained, download=download),
        InputPlan.model_validate({"kind": "texts"} if texts else images),
        root=root,
        batch_size=batch_size,
        progress=_tell,
    )
    left = f", {found.skipped} left out" if found.skipped else ""
    say(f"wrote {out}: {found.rows:,} rows of {found.width:,} features{left}")


def _tell(done: int, rows: int) -> None:
    typer.echo(f"{done:,} of {rows:,}", err=True)
