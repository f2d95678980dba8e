"""`concord train`, `evaluate` and `predict`: from a config to a network, its metrics, its predictions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from concord.cli.outputs import check_effect, check_named, check_outputs, kept_by_run
from concord.cli.streams import JsonOption, named_files, writable, write_json
from concord.errors import ConfigError
from concord.terminal import console, plain, say, whole_table

if TYPE_CHECKING:
    import polars as pl

    from concord.config import Config
    from concord.runs import Run


Given = Annotated[Path, typer.Argument(help="A config (.yaml, .toml).", show_default=False)]
GivenOrFolder = Annotated[
    Path, typer.Argument(help="The config, or the output folder of its training.", show_default=False)
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="KEY.KEY=VALUE instead of the config's, as in training.steps=100; repeatable."
    ),
]
OutputOption = Annotated[
    Path | None, typer.Option("--out", help="Folder of the results; the config's unless given.")
]
SplitOption = Annotated[str, typer.Option("--split", help="train, val or test.")]


def train(
    config: Given,
    *,
    overrides: Overrides = None,
    out: OutputOption = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Remove a training that the folder holds, and begin anew.")
    ] = False,
    more_steps: Annotated[
        int | None,
        typer.Option("--more-steps", min=1, help="Train a finished training further.", show_default=False),
    ] = None,
    json_out: JsonOption = None,
) -> None:
    """Train what a config says. Interrupted, the same command goes on where it stopped."""
    asked = _config(config, overrides, out)
    check_outputs({"--json": json_out}, [config, *asked.files()], kept_by_run(Path(asked.output or "")))
    from concord.runs import finished
    from concord.runs import train as run_training

    told = _is_first() and asked.stages.kind != "auto"  # which refuses them
    for logger in asked.watching.loggers if told else ():
        say(f"concord: note: logger {logger.use!r} is Python code, and is run", error=True)
    before = finished(asked) and not overwrite and more_steps is None
    try:
        run = run_training(asked, overwrite=overwrite, more_steps=more_steps)
    except KeyboardInterrupt:
        same = "the same command without --overwrite" if overwrite else "the same command"
        say(f"concord: stopped; {same} goes on from the last checkpoint", error=True)
        raise typer.Exit(130) from None
    if _is_first():
        write_json(json_out, {"folder": str(run.folder), **run.facts})
        _tell(run, before)


def evaluate(
    config: GivenOrFolder,
    *,
    split: SplitOption = "test",
    overrides: Overrides = None,
    out: OutputOption = None,
    json_out: JsonOption = None,
) -> None:
    """Metrics by task on a split, of the heads and of the joint decoding: a table, and JSON in the folder."""
    run, asked = loaded(config, overrides, out)
    check_outputs({"--json": json_out}, [config, *asked.files()], kept_by_run(run.folder))

    from concord.runs import as_table, write_metrics
    from concord.runs import evaluate as run_evaluation

    found = run_evaluation(run, asked, split)
    path = write_metrics(found, run.folder)
    write_json(json_out, found)
    console().print(as_table(found))
    say(f"wrote {path}")


def predict(
    context: typer.Context,
    config: Annotated[
        Path,
        typer.Argument(
            help="The config, the output folder of its training, or a folder of export --hub.",
            show_default=False,
        ),
    ],
    data: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Images, folders of images, or patterns ('photos/*.jpg'); a manifest; or a feature file "
            "(.npy, .npz). - reads paths from standard input, one a line. The config's own rows of --split "
            "unless given.",
            show_default=False,
        ),
    ] = None,
    *,
    to: Annotated[
        Path,
        typer.Option(
            "--to",
            help="File to write (.csv, .parquet); - for standard output.",
            parser=writable,
            metavar="<path>",
        ),
    ] = Path("predictions.csv"),
    split: SplitOption = "test",
    source: Annotated[
        str | None, typer.Option("--source", help="Read DATA as this source of the config.")
    ] = None,
    features: Annotated[
        Path | None, typer.Option("--features", help="The feature file of a manifest's rows.")
    ] = None,
    on_error: Annotated[
        str | None, typer.Option("--on-error", help="Images that cannot be read: raise or skip.")
    ] = None,
    overrides: Overrides = None,
    out: OutputOption = None,
) -> None:
    """Predictions with both heads' probabilities, the jointly decoded result and their disagreement."""
    if data is None:
        check_effect(context, "without DATA", "source", "features", "on_error")
    else:
        check_effect(context, "with DATA: all of it is predicted", "split")
    if _exported(config):
        if features is not None or overrides or out is not None:
            raise ConfigError(f"{config} holds a model alone: leave out --features, --set and --out")
        frame = _predicted_by_a_model(config, data, to, source, on_error or "raise")
        _write(frame, to)
        return
    run, asked = loaded(config, overrides, out)
    # A folder's config names the data of its training.
    places = None if data is None else named_files(data)
    given = [config, *(places or []), features, *asked.files()]
    check_outputs({"--to": to}, given, kept_by_run(run.folder))
    from concord.runs import predict as run_prediction
    from concord.runs import predict_split

    if places is None:
        frame = predict_split(run, asked, split)
    else:
        frame = run_prediction(
            run,
            places,
            source=source,
            features=features,
            on_error=on_error,
            root=asked.data,
            accelerator=asked.training.accelerator,
            batch_size=asked.validation.batch_size,
        )
    _write(frame, to)


def _exported(folder: Path) -> bool:
    """Whether it is a folder in the hub's manner, and no training's."""
    if not folder.is_dir():
        return False
    from concord.archive import holds

    return holds(folder, "hub") and not holds(folder, "run")


def _predicted_by_a_model(
    folder: Path, data: list[Path] | None, to: Path, source: str | None, on_error: str
) -> pl.DataFrame:
    """What a model predicts that was exported: as the training that it came from."""
    if data is None:
        raise ConfigError(f"{folder} holds a model and no data: name the files to predict behind it")
    places = named_files(data)
    check_outputs({"--to": to}, [folder, *places])
    from concord.deploy import from_pretrained

    model = from_pretrained(folder)
    return model.predict_frame(places[0] if len(places) == 1 else places, source=source, on_error=on_error)


def _write(frame: pl.DataFrame, to: Path) -> None:
    from concord.runs import write_predictions

    say(f"wrote {write_predictions(frame, to)}: {frame.height:,} rows, {frame.width} columns")


def loaded(config: Path, overrides: list[str] | None = None, out: Path | None = None) -> tuple[Run, Config]:
    """The finished training that a config, or its output folder, names; and where its data are.

    Raises:
        CheckpointError: No finished training, or one that was changed.
        ConfigError: A folder, and another one.
        ConcordError: A config that cannot be read.
    """
    if config.is_dir():
        from concord.runs import load_run

        if out is not None:
            raise ConfigError(f"{config} is the folder of a training already: leave out --out")
        run = load_run(config)
        return run, _overridden(run.config, overrides)
    asked = _config(config, overrides, out)
    from concord.runs import load_run

    assert asked.output is not None
    return load_run(asked.output), asked


def _config(path: Path, overrides: list[str] | None, out: Path | None) -> Config:
    from concord.config import read_config

    given = [*(overrides or [])]
    if out is not None:
        check_named("--out", out)
        given.append(f"output={out}")
    return read_config(path, given)


def _overridden(config: Config, overrides: list[str] | None) -> Config:
    from concord.config import overridden

    return overridden(config.model_dump(mode="json"), overrides or [], "the run's config")


def _is_first() -> bool:
    """Whether this process tells what several found: the one of rank 0."""
    import os

    # torchrun says the rank; SLURM says it under another name, and Fabric its children's in two parts.
    names = ("RANK",) if "RANK" in os.environ else ("SLURM_PROCID", "NODE_RANK", "LOCAL_RANK")
    return all(int(os.environ.get(name, "0")) == 0 for name in names)


def _tell(run: Run, finished: bool) -> None:
    shown = console()
    values = run.facts["validation"]
    if values:
        table = whole_table(framed=True)
        table.add_column("validation")
        table.add_column("value", justify="right")
        for name, value in values.items():
            table.add_row(plain(name.removeprefix("val/")), f"{value:.4f}")
        shown.print(table)
    elif run.relations and "auto" not in run.facts:
        shown.print("no rows of split val: nothing was watched, and joint decoding was not fitted")
    if "length" in run.facts:
        shown.print(f"trained for {run.facts['length']}", soft_wrap=True, markup=False, highlight=False)
    for sentence in run.facts.get("auto", {}).get("sentences", []):
        shown.print(sentence, soft_wrap=True, markup=False, highlight=False)
    for note in () if run.thresholds is None else run.thresholds.notes:
        shown.print(f"thresholds: {note}", soft_wrap=True, markup=False, highlight=False)
    for name, strength in run.decoder.strengths().items():
        shown.print(
            f"joint decoding {name}: classes move targets by {strength['target']:g}, "
            f"targets move classes by {strength['class']:g}",
            soft_wrap=True,
        )
    say(f"{run.folder} is finished already" if finished else f"wrote {run.folder}")
