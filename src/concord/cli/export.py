"""`concord export`: a finished training as an ONNX file, or as a folder in the hub's manner."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from concord.cli.outputs import check_outputs
from concord.errors import ConfigError
from concord.terminal import say

if TYPE_CHECKING:
    from concord.runs import Run


PIXELS = ("images", "arrays")


def export(
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
    from concord.cli.train import loaded

    found, asked = loaded(run, None, None)
    from concord.runs import RUN_FILE, WEIGHTS_FILE

    own = [found.folder / name for name in (RUN_FILE, WEIGHTS_FILE)]
    check_outputs({"--out": out}, [run, *own, *asked.files()])
    if hub is None:
        _onnx(found, out or found.folder / "model.onnx", tolerance)
    else:
        _hub(found, hub, license_)


def _onnx(run: Run, out: Path, tolerance: float) -> None:
    from concord.deploy import export_onnx

    made = export_onnx(
        out,
        run.network,
        run.tasks,
        example=run.example_input,
        decoders=run.decoder.decoders,
        thresholds=None if run.thresholds is None else run.thresholds.values,
        normalization=run.normalization if _takes_pixels(run) else None,
        tolerance=tolerance,
    )
    say(f"{made.path}: {', '.join(made.inputs)} -> {', '.join(made.outputs)}")
    say(f"onnxruntime differs from torch by {made.difference:.1e} at most on {made.rows} random inputs")


def _hub(run: Run, folder: Path, license_: str | None) -> None:
    from concord.deploy import Card, TrunkRecord, save_pretrained

    plan = run.config.trunk
    metrics: dict[str, dict[str, float]] = {}
    for key, value in run.facts.get("validation", {}).items():  # val/TASK/METRIC
        task, metric = key.removeprefix("val/").rsplit("/", 1)
        metrics.setdefault(task, {})[metric] = value
    card = Card(
        name=run.folder.resolve().name,
        license=license_,
        data=dict.fromkeys(run.config.sources, ""),
        metrics=metrics,
        evaluated_on="the validation rows of the training",
    )
    save_pretrained(
        folder,
        run.network,
        run.tasks,
        example=run.example_input,
        trunk=TrunkRecord(plan.name, run.shape, plan.options, run.trunk, run.tokenize, run.standardize),
        relations=run.relations,
        decoders=run.decoder.decoders,
        thresholds=None if run.thresholds is None else run.thresholds.values,
        normalization=run.normalization if _takes_pixels(run) else None,
        card=card,
    )
    say(f"{folder}: load it with concord.hub.from_pretrained")


def _takes_pixels(run: Run) -> bool:
    return any(plan.kind in PIXELS for plan in run.inputs.values())
