"""`concord data`: manifests, what is annotated where."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import getdoc
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from concord.cli.outputs import check_below, check_effect, check_outputs, manifest_out
from concord.cli.streams import PARQUET, JsonOption, readable, writable, write_json
from concord.errors import ConcordError, ConfigError, DuplicateNameError
from concord.terminal import console, say, whole_table

if TYPE_CHECKING:
    from concord.data import Manifest

app = typer.Typer(
    help="Manifests: index, check, table, inspect, join, filter, split, export.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)

Many = Annotated[
    list[Path],
    typer.Argument(
        help="Manifests (.parquet, .csv); - for standard input.", parser=readable, show_default=False
    ),
]
One = Annotated[
    Path,
    typer.Argument(
        help="A manifest (.parquet, .csv); - for standard input.", parser=readable, show_default=False
    ),
]
Out = Annotated[
    Path,
    typer.Option(
        "--out",
        help="Manifest to write (.parquet, .csv); - for standard output.",
        parser=writable,
        metavar="<path>",
        show_default=False,
    ),
]
TaskOption = Annotated[
    list[str] | None,
    typer.Option(
        "--task", help="A class column, as TASK or TASK=COLUMN; may be repeated.", show_default=False
    ),
]
LabelOption = Annotated[
    list[str] | None,
    typer.Option(
        "--labels",
        help="Label columns, as [TASK=]PATTERN[,PATTERN]: 'action_units=AU*'; may be repeated.",
        show_default=False,
    ),
]
GapOption = Annotated[
    list[str] | None,
    typer.Option("--gap", help="A further spelling of a gap, such as -1.", show_default=False),
]
NoGapOption = Annotated[
    list[str] | None,
    typer.Option(
        "--no-gap", help="A usual spelling of a gap that is a name here, such as None.", show_default=False
    ),
]
PathOption = Annotated[str | None, typer.Option("--path", help="Column of the paths.")]
TextOption = Annotated[str | None, typer.Option("--text", help="Column of the texts.")]
RowOption = Annotated[str | None, typer.Option("--row", help="Column of the rows in a feature file.")]
SplitOption = Annotated[str | None, typer.Option("--split", help="Column of the splits.")]
GroupOption = Annotated[str | None, typer.Option("--group", help="Column of subjects or videos.")]
SeparatorOption = Annotated[
    str, typer.Option("--separator", help="Character between the cells; tab for a tabulator.")
]
SEPARATORS = {"tab": "\t", "\\t": "\t"}
"""Names of what cannot be typed."""


@app.command()
def inspect(
    manifests: Annotated[
        list[Path],
        typer.Argument(
            help="Manifests, or plain CSV files with --task or --labels; - for standard input.",
            parser=readable,
            show_default=False,
        ),
    ],
    *,
    root: Annotated[Path | None, typer.Option(help="Data root: say which files are missing.")] = None,
    files: Annotated[
        bool, typer.Option("--files", help="Look for missing files below the manifest's root.")
    ] = False,
    content: Annotated[
        bool, typer.Option("--hash", help="Read all files, find empty and equal ones.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Draw to this .png, .svg or .pdf file.")] = None,
    json_out: JsonOption = None,
    task: TaskOption = None,
    labels: LabelOption = None,
    gap: GapOption = None,
    no_gap: NoGapOption = None,
    path: PathOption = None,
    text: TextOption = None,
    row: RowOption = None,
    split: SplitOption = None,
    group: GroupOption = None,
    separator: SeparatorOption = ",",
) -> None:
    """What is annotated where: counts, overlap, imbalance, leaks, duplicates, missing files.

    A plain CSV file is read with its columns named:
    [bold]concord data inspect faces.csv --task expression --labels 'action_units=AU*' --gap -1[/bold]
    """
    from concord.data import inspect as look

    check_outputs({"--out": out, "--json": json_out}, manifests)
    columns = {"path_column": path, "text": text, "row": row, "split": split, "group": group}
    mapping = parse_mapping(task, labels, gap, columns, separator, no_gap)
    loaded = [open_manifest(file, mapping) for file in manifests]
    found = look(*loaded, root=root, files=files, content=content)
    if out is not None:
        found.draw(out)
        say(f"drew {out}")
    write_json(json_out, found.to_dict())
    console().print(found.render())


@app.command()
def index(
    name: Annotated[str, typer.Argument(help="Which data set; `concord data readers` lists them.")],
    root: Annotated[Path, typer.Argument(help="Its folder.")],
    out: Out,
    option: Annotated[
        list[str] | None, typer.Option("--option", help="KEY=VALUE of the reader; may be repeated.")
    ] = None,
) -> None:
    """Read a data set in its native layout and write its manifest."""
    from concord.data import is_written_manifest, read

    check_outputs(manifest_out(out), [root])
    check_below("--out", out, root, is_written_manifest)
    _write(read(name, root, **_options(option or [])), out)


@app.command()
def check(
    name: Annotated[str, typer.Argument(help="Which data set; `concord data readers` lists them.")],
    root: Annotated[Path, typer.Argument(help="Its folder.")],
    option: Annotated[
        list[str] | None, typer.Option("--option", help="KEY=VALUE of the reader; may be repeated.")
    ] = None,
    json_out: JsonOption = None,
) -> None:
    """Whether a copy of a data set is whole: its counts next to the published ones; exit code 1 if not."""
    from concord.data import check_copy

    check_outputs({"--json": json_out}, [root])
    check_below("--json", json_out, root, _is_report)
    found = check_copy(name, root, **_options(option or []))
    write_json(json_out, found.to_dicts())
    table = whole_table(framed=True)
    for head in ("counted", "found", "published", "", "source"):
        table.add_column(head, justify="right" if head in ("found", "published") else "left")
    for what, count, published, difference, source in found.iter_rows():
        number = "" if published is None else f"{published:,}"
        table.add_row(what, f"{count:,}", number, _verdict(difference), source)
    console().print(table)
    if (found["difference"].fill_null(0) != 0).any():
        raise typer.Exit(1)


def _is_report(path: Path) -> bool:
    """Whether a file is what `data check` wrote before."""
    from concord.files import read_json

    try:
        records = read_json(path)
    except (ConcordError, OSError):
        return False
    return isinstance(records, list) and all(
        isinstance(each, dict) and "published" in each for each in records
    )


def _verdict(difference: int | None) -> str:
    if difference is None:
        return ""
    if difference == 0:
        return "matches"
    return f"{abs(difference):,} {'more' if difference > 0 else 'fewer'}"


@app.command()
def readers(
    name: Annotated[
        str | None, typer.Argument(help="One of them: what it expects on disk, and its options.")
    ] = None,
    json_out: JsonOption = None,
) -> None:
    """Which data sets can be read, and where one gets them; or all about one of them."""
    from concord.data import reader, reader_names

    check_outputs({"--json": json_out}, [])
    names = reader_names() if name is None else [name]
    modules = {known: reader(known) for known in names}
    write_json(
        json_out,
        [
            {"name": known, "title": module.TITLE, "home": module.HOME, "reads": getdoc(module.read)}
            for known, module in modules.items()
        ],
    )
    if name is not None:
        module = modules[name]
        say(f"{getdoc(module)}\n\nFrom {module.HOME}\n\n{getdoc(module.read)}")
        return
    table = whole_table(framed=True)
    for head in ("name", "data set", "where one gets it"):
        table.add_column(head)
    for known, module in modules.items():
        table.add_row(known, module.TITLE, module.HOME)
    console().print(table)
    say("concord data readers NAME says what a reader expects, and its options.")


@app.command()
def table(
    file: Annotated[
        Path,
        typer.Argument(
            help="A CSV file with a header, in UTF-8; may be gzipped; - for standard input.",
            parser=readable,
            show_default=False,
        ),
    ],
    *,
    out: Out,
    task: TaskOption = None,
    labels: LabelOption = None,
    gap: GapOption = None,
    no_gap: NoGapOption = None,
    path: PathOption = None,
    text: TextOption = None,
    row: RowOption = None,
    split: SplitOption = None,
    group: GroupOption = None,
    separator: SeparatorOption = ",",
    root: Annotated[Path | None, typer.Option(help="What the paths are relative to.")] = None,
    count_rows: Annotated[
        bool,
        typer.Option("--count-rows", help="The rows are those of a feature file, in this order."),
    ] = False,
) -> None:
    """Make a manifest of a plain CSV file."""
    check_outputs(manifest_out(out), [file])
    columns = {"path_column": path, "text": text, "row": row, "split": split, "group": group, "root": root}
    mapping = parse_mapping(task, labels, gap, columns, separator, no_gap) | {"count_rows": count_rows}
    if not (mapping["classes"] or mapping["labels"]):
        raise ConfigError("name at least one column with --task or --labels")
    _write(open_manifest(file, mapping), out)


@app.command()
def join(
    context: typer.Context,
    manifests: Many,
    out: Out,
    on: Annotated[
        list[str] | None,
        typer.Option(help="Column that identifies a sample: merge annotations instead of stacking rows."),
    ] = None,
    conflict: Annotated[str, typer.Option(help="With --on: error, first or gap.")] = "error",
) -> None:
    """Make one manifest of several: rows stacked, or (--on) annotations of the same samples merged."""
    from concord.data import merge, read_manifest, stack

    check_outputs(manifest_out(out), manifests)
    if not on:
        check_effect(context, "without --on", "conflict")
    loaded = [read_manifest(file) for file in manifests]
    if conflict not in ("error", "first", "gap"):
        raise ConfigError(f"--conflict is error, first or gap, found {conflict!r}")
    _write(merge(loaded, on, conflict) if on else stack(loaded), out)  # type: ignore[arg-type]


@app.command("filter")
def filter_(
    manifest: One,
    out: Out,
    where: Annotated[str | None, typer.Option(help="Condition in SQL: \"split == 'train'\".")] = None,
    task: Annotated[
        list[str] | None, typer.Option("--task", help="Keep only this task; may be repeated.")
    ] = None,
) -> None:
    """Keep some of the rows (--where) and some of the tasks (--task)."""
    from concord.data import read_manifest

    check_outputs(manifest_out(out), [manifest])
    if not (where or task):
        raise ConfigError("nothing would be left out: give --where, --task or both")
    kept = read_manifest(manifest)
    if task:
        kept = kept.select(*task)
    _write(kept.filter(where) if where else kept, out)


@app.command()
def split(
    context: typer.Context,
    manifest: One,
    *,
    out: Out,
    train: Annotated[float, typer.Option(min=0, max=1, help="Share of the rows; 0 for none.")] = 0.8,
    val: Annotated[float, typer.Option(min=0, max=1)] = 0.1,
    test: Annotated[float, typer.Option(min=0, max=1)] = 0.1,
    groups: Annotated[bool, typer.Option(help="Keep the rows of a group (subject, video) together.")] = True,
    stratify: Annotated[
        list[str] | None, typer.Option(help="Task whose classes or labels get their share; may be repeated.")
    ] = None,
    keep: Annotated[
        list[str] | None, typer.Option(help="Split that stays as it is; may be repeated.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the draw.", min=0)] = 0,
    json_out: JsonOption = None,
) -> None:
    """Draw new splits: subject-exclusive, stratified, the same for the same seed."""
    from concord.data import as_table, read_manifest, resplit, split_shares

    check_outputs(manifest_out(out) | {"--json": json_out}, [manifest])
    kept = keep or []
    given = {"train": train, "val": val, "test": test}
    check_effect(context, "on a split that --keep leaves as it is", *(s for s in kept if given.get(s)))
    shares = {name: share for name, share in given.items() if share and name not in kept}
    if not kept and abs(train + val + test - 1) > 1e-6:
        raise ConfigError(
            f"the shares of train, val and test sum to 1, found {train:g} + {val:g} + {test:g}; give all"
        )
    done = resplit(
        read_manifest(manifest), shares, by_group=groups, stratify=stratify or [], keep=kept, seed=seed
    )
    _write(done, out)
    reached = split_shares(done, stratify or [])
    write_json(json_out, reached.to_dicts())
    console().print(as_table("shares reached", reached))


@app.command()
def export(
    manifest: One,
    *,
    to: Annotated[str, typer.Option("--to", help="coco, label-studio or cvat.", show_default=False)],
    out: Annotated[
        Path, typer.Option("--out", help="File to write: .json, or .xml for cvat.", show_default=False)
    ],
) -> None:
    """Write a manifest for an annotation tool; the readers of these names read it back."""
    from concord.data import read_manifest, write_annotations

    check_outputs({"--out": out}, [manifest])
    for file in write_annotations(read_manifest(manifest), out, to):  # type: ignore[arg-type]
        say(f"wrote {file}")


def open_manifest(file: Path, mapping: Mapping[str, Any]) -> Manifest:
    """The manifest of a file, columns read as the options say.

    Raises:
        ConfigError: Options for a plain CSV file without any that names its tasks: they would be read past;
            or a manifest with options that name its tasks.
    """
    from concord.data import from_csv, read_manifest

    if mapping["classes"] or mapping["labels"]:
        if _is_parquet(file):
            raise ConfigError(
                f"{file} is a manifest already and names its tasks itself; leave out --task and --labels, "
                "which are for plain CSV files (`concord relation` chooses with --source and --target)"
            )
        return from_csv(file, **mapping)
    given = [option for name, option in OF_PLAIN_FILES.items() if mapping.get(name)]
    if mapping["separator"] != ",":
        given.append("--separator")
    if given:
        raise ConfigError(
            f"{given[0]} says how a plain CSV file is read, and {file} is read as a manifest: name "
            "the columns of its tasks with --task and --labels, too, or leave it out"
        )
    return read_manifest(file)


def _is_parquet(file: Path) -> bool:
    """Whether a file begins as Parquet does, whatever it is called; False where there is none."""
    if not file.is_file():
        return False
    with file.open("rb") as begun:
        return begun.read(len(PARQUET)) == PARQUET


OF_PLAIN_FILES = {
    "gaps": "--gap", "not_gaps": "--no-gap", "path_column": "--path", "text": "--text", "row": "--row",
    "split": "--split", "group": "--group",
}  # fmt: skip
"""Options by what `parse_mapping` calls them; a manifest says all this itself."""


def _write(manifest: Manifest, out: Path) -> None:
    from concord.data import write_manifest

    write_manifest(manifest, out)
    say(f"wrote {out}: {manifest!r}")


def parse_mapping(
    tasks: list[str] | None,
    labels: list[str] | None,
    gaps: list[str] | None,
    columns: Mapping[str, Any],
    separator: str,
    not_gaps: list[str] | None = None,
) -> dict[str, Any]:
    """Options of the command line as arguments of `from_csv`.

    Raises:
        DuplicateNameError: Two columns for one class task.
    """
    named: dict[str, str] = {}
    for task, _, column in (entry.partition("=") for entry in tasks or []):
        if task in named:
            raise DuplicateNameError(f"--task names {task!r} twice; a class task is one column")
        named[task] = column
    patterns: dict[str, list[str]] = {}
    for entry in labels or []:
        task, equals, text = entry.partition("=")
        patterns.setdefault(task if equals else "labels", []).extend((text if equals else task).split(","))
    return {
        "classes": dict.fromkeys(named),
        "labels": patterns,
        "columns": {task: column for task, column in named.items() if column},
        "gaps": gaps or [],
        "not_gaps": not_gaps or [],
        "separator": SEPARATORS.get(separator, separator),
        **columns,
    }


def _options(entries: list[str]) -> dict[str, Any]:
    from concord.config import parsed_yaml

    out: dict[str, Any] = {}
    for entry in entries:
        key, equals, value = entry.partition("=")
        if not equals or not key:
            raise ConfigError(f"an option is KEY=VALUE, found {entry!r}")
        key = key.replace("-", "_")
        if key in out:
            raise DuplicateNameError(f"--option names {key!r} twice")
        try:
            out[key] = parsed_yaml(value)
        except ValueError as error:
            raise ConfigError(f"option {key!r}: cannot read the value {value!r}") from error
    return out
