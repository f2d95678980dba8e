"""`concord export` and `push`: a finished training as an ONNX file or a folder for others, and on the hub."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from concord.cli.outputs import check_effect, check_named, check_outputs, kept_by_run
from concord.errors import ConfigError
from concord.terminal import say

if TYPE_CHECKING:
    from concord.runs import Run


def export(
    context: typer.Context,
    run: Annotated[
        Path, typer.Argument(help="The output folder of a training, or its config.", show_default=False)
    ],
    *,
    out: Annotated[
        Path | None, typer.Option("--out", help="The ONNX file; model.onnx in the folder unless given.")
    ] = None,
    hub: Annotated[
        Path | None,
        typer.Option(
            "--hub", help="Write a folder with weights, config and model card here, and no ONNX file."
        ),
    ] = None,
    license_: Annotated[
        str | None, typer.Option("--license", help="Licence of the weights, for the model card.")
    ] = None,
    tolerance: Annotated[
        float, typer.Option("--tolerance", help="Largest difference of ONNX from torch that is let through.")
    ] = 1e-5,
) -> None:
    """Write a finished training as ONNX: probabilities of all tasks, and jointly decoded, in one graph.

    The file is compared with torch on 100 random inputs before it is kept.
    """
    if hub is not None and out is not None:
        raise ConfigError("--out is an ONNX file and --hub a folder: give one of them")
    if hub is None:
        check_effect(context, "without --hub: an ONNX file has no model card", "license_")
    else:
        check_effect(context, "with --hub, which writes no ONNX file", "tolerance")
        check_named("--hub", hub)
    from concord.cli.train import loaded

    found, asked = loaded(run, None, None)
    check_outputs({"--out": out}, [run, *asked.files()], kept_by_run(found.folder))
    if hub is None:
        _onnx(found, out or found.folder / "model.onnx", tolerance)
    else:
        _hub(found, hub, license_)


def _onnx(run: Run, out: Path, tolerance: float) -> None:
    from concord.deploy import export_onnx, feature_names, takes_pixels

    made = export_onnx(
        out,
        run.network,
        run.tasks,
        example=run.example_input,
        decoders=run.decoder.decoders,
        thresholds=None if run.thresholds is None else run.thresholds.values,
        normalization=run.normalization if takes_pixels(run) else None,
        features=feature_names(run),
        tolerance=tolerance,
    )
    say(f"{made.path}: {', '.join(made.inputs)} -> {', '.join(made.outputs)}")
    say(f"onnxruntime differs from torch by {made.difference:.1e} at most on {made.rows} random inputs")


def _hub(run: Run, folder: Path, license_: str | None) -> None:
    from concord.deploy import export_folder

    export_folder(run, folder, license=license_)
    say(f"{folder}: concord.from_pretrained({str(folder)!r}).predict(...) takes inputs as they come")


def push(
    model: Annotated[
        Path,
        typer.Argument(
            help="The output folder of a training, or its config; a folder of `concord export --hub`; or a "
            "saved estimator.",
            show_default=False,
        ),
    ],
    repository: Annotated[
        str, typer.Argument(help="OWNER/NAME on the Hugging Face hub.", show_default=False)
    ],
    *,
    private: Annotated[
        bool,
        typer.Option(
            "--private/--public",
            help="Who sees the repository: its owner alone, or everybody. A public one is refused without "
            "--public.",
        ),
    ] = True,
    license_: Annotated[
        str | None, typer.Option("--license", help="Licence of the weights, for a training's model card.")
    ] = None,
    message: Annotated[
        str | None, typer.Option("--message", help="Message of the commit.", show_default=False)
    ] = None,
    revision: Annotated[
        str | None, typer.Option("--revision", help="A branch of the repository.", show_default=False)
    ] = None,
) -> None:
    """Send a model to the Hugging Face hub, with its model card and preprocessing; private unless told.

    Of a training the folder for others is written to `hub` in its folder first, and stays there.
    """
    place = model
    if not model.is_dir():
        from concord.cli.train import loaded

        place = loaded(model, None, None)[0].folder
    from concord.deploy import push_to_hub

    url = push_to_hub(
        place, repository, private=private, license=license_, message=message, revision=revision
    )
    say(f"{url}: its model card says how to load it")
