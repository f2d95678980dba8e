"""How fast data is: opening a large manifest, starting an epoch, batches of features and of images.

    python benchmarks/data.py [--quick] [--tiny-files 400000] [--only manifest features images tiny]
                              [--out FILE] [--page]

Everything is made in a temporary folder and removed again. Each part runs in a process of its own, so that
peak memory is that part's. Ratios to plain pillow hold on other machines, too; times hold on this one.
Parts that --out holds are not measured again.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import page
from concord.data import read_manifest, write_manifest
from held import Held

EXPRESSIONS = ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger")
UNITS = tuple(f"AU{number}" for number in (1, 2, 4, 6, 7, 10, 12, 15, 23, 24, 25, 26))
SHARES = {"frames": 0.6, "units": 0.3, "photos": 0.1}
WIDTH = 64
SIZES = ("rows", "images", "tiny_files")
GOALS = {
    "open_s": "<= 10",
    "open_peak_gb": "<= 1",
    "epoch_start_s": "<= 1",
    "feature_rows_per_s": ">= 100,000",
    "share_of_bare_pillow": ">= 0.8",
    "reopen_s": "<= 2",
}


def main(arguments: list[str] | None = None) -> None:
    """Run the parts, print what was measured, and write it where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the sizes or less")
    parser.add_argument("--rows", type=int, help="rows of the manifest (5,000,000; quick: 500,000)")
    parser.add_argument("--images", type=int, help="64 px JPEGs (4,000; quick: 500)")
    parser.add_argument(
        "--tiny-files", type=int, help="files of an AffectNet-like tree (40,000; quick: 4,000)"
    )
    parser.add_argument("--only", nargs="+", choices=sorted(PARTS), default=list(PARTS))
    parser.add_argument("--folder", type=Path, help="where to make the data (a temporary folder)")
    parser.add_argument("--out", type=Path, help="where parts are kept, so that none is measured twice")
    page.page_option(parser, page.PAGE)
    parser.add_argument("--part", choices=sorted(STEPS), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    options.rows = options.rows or (500_000 if options.quick else 5_000_000)
    options.images = options.images or (500 if options.quick else 4_000)
    options.tiny_files = options.tiny_files or (4_000 if options.quick else 40_000)
    if options.part:
        print(json.dumps(STEPS[options.part](options)))
        return
    held, results = Held(options.out), {}
    where = held.once({"what": "machine"}, where_and_with_what)
    sizes = {name: getattr(options, name) for name in SIZES}
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for name in options.only:
            results |= held.once({"part": name, **sizes}, partial(measured, name, Path(folder), options))
    if options.page:
        write_page(results, where + held.several(), options)


def measured(part: str, folder: Path, options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """The steps of a part, one after the other: by step, what was measured."""
    found = {}
    for step in PARTS[part]:
        found[step] = child(step, folder, options)
        show(step, found[step])
    return found


def where_and_with_what() -> str:
    """The machine and the versions."""
    import polars as pl
    import torch
    from PIL import __version__ as pillow

    return page.machine(f"torch {torch.__version__}", f"polars {pl.__version__}", f"pillow {pillow}")


def child(step: str, folder: Path, options: argparse.Namespace) -> dict[str, float]:
    """Run one step in a process of its own."""
    command = [sys.executable, __file__, "--part", step, "--folder", str(folder)]
    for name in SIZES:
        command += [f"--{name.replace('_', '-')}", str(getattr(options, name))]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def show(step: str, values: dict[str, float]) -> None:
    """Print what a step measured, beside what was asked."""
    for name, value in values.items():
        goal = f"   asked: {GOALS[name]}" if name in GOALS else ""
        print(f"{step:>16}  {name:<28} {value:>14,.3f}{goal}", flush=True)


def write_page(results: dict[str, dict[str, float]], where: str, options: argparse.Namespace) -> None:
    """Write what was measured as a section of a page."""
    rows = [
        [step, name, f"{value:,.3f}", GOALS.get(name, "")]
        for step, values in results.items()
        for name, value in values.items()
    ]
    command = (
        f"python benchmarks/data.py --rows {options.rows} --images {options.images} "
        f"--tiny-files {options.tiny_files} --only {' '.join(options.only)} --page"
    )
    body = f"`{command}`\n\n{where}.\n\n" + page.table(["part", "what", "measured", "asked"], rows)
    page.write_section("data", "How fast data is", body, options.page)


def peak_gb() -> float:
    """Largest resident memory of this process so far, in gigabytes."""
    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale / 1e9


def timed(action: Callable[[], Any], clock: Callable[[], float] = time.perf_counter) -> tuple[float, Any]:
    """Seconds of an action by a clock, and what it gave."""
    start = clock()
    value = action()
    return clock() - start, value


# -- a large manifest --------------------------------------------------------------------------------


def make_manifest(options: argparse.Namespace) -> dict[str, float]:
    """Write one Parquet manifest of three sources, and the features that its rows point to."""
    import polars as pl

    from concord.data import Manifest
    from concord.tasks import MulticlassTask, MultilabelTask

    n, rng = options.rows, np.random.default_rng(0)
    source = np.repeat(list(SHARES), [round(n * share) for share in SHARES.values()])
    n = len(source)
    number = np.arange(n)
    frame = pl.DataFrame({"source": source, "number": number}).select(
        pl.format("{}/video{}/{}.jpg", "source", pl.col("number") // 1000, "number").alias("path"),
        pl.col("number").alias("row"),
        pl.format("subject{}", pl.col("number") // 1000).alias("group"),
        pl.Series("split", np.array(["train", "val"])[(rng.random(n) < 0.1).astype(int)]),
        pl.col("source"),
    )
    classes = pl.Series("expression", np.array(EXPRESSIONS)[rng.integers(0, len(EXPRESSIONS), n)])
    units = [pl.Series(f"action_units.{unit}", rng.integers(0, 2, n).astype(np.int8)) for unit in UNITS]
    frame = frame.with_columns(classes, *units).with_columns(
        pl.when(pl.col("source") != "units").then(pl.col("expression")),
        *(pl.when(pl.col("source") == "units").then(pl.col(series.name)) for series in units),
    )
    tasks = (MulticlassTask("expression", EXPRESSIONS), MultilabelTask("action_units", UNITS))
    write_manifest(Manifest(frame, tasks, name="faces"), options.folder / "faces.parquet")
    features = np.lib.format.open_memmap(options.folder / "x.npy", "w+", np.float32, (n, WIDTH))
    features[:: max(1, n // 1000)] = 1
    return {"size_gb": (options.folder / "faces.parquet").stat().st_size / 1e9}


def open_manifest(options: argparse.Namespace) -> dict[str, float]:
    """Open it, as a user does."""
    seconds, manifest = timed(lambda: read_manifest(options.folder / "faces.parquet"))
    return {"rows": len(manifest), "open_s": seconds, "open_peak_gb": peak_gb()}


def start_epoch(options: argparse.Namespace) -> dict[str, float]:
    """Build the mixture of its sources, start an epoch, and draw batches of features."""
    from concord.data import FeatureRows, Mixture, Source

    parts = read_manifest(options.folder / "faces.parquet").partition("source")
    features = FeatureRows(options.folder / "x.npy")
    seconds, mixture = timed(
        lambda: Mixture(
            [Source(part, features, name=name) for name, part in parts.items()],
            batch_size=512,
            share="equal",
        )
    )
    stream = iter(mixture)
    start, _ = timed(lambda: next(stream))
    peak = peak_gb()  # later, mapped pages of the features count, too
    count = min(1000, len(mixture) - 1)
    drawn, _ = timed(lambda: [next(stream) for _ in range(count)] and None)
    return {
        "build_s": seconds,
        "epoch_start_s": start,
        "mapped_rows_per_s": count * 512 / drawn,
        "epoch_start_peak_gb": peak,
    }


def feature_batches(options: argparse.Namespace) -> dict[str, float]:
    """Draw batches of 512 rows of features in memory, in one process."""
    import polars as pl
    import torch

    from concord.data import FeatureRows, Manifest, Mixture, Source
    from concord.tasks import MulticlassTask, MultilabelTask

    torch.set_num_threads(1)
    n, rng = min(options.rows, 500_000), np.random.default_rng(0)
    expression, units = MulticlassTask("expression", EXPRESSIONS), MultilabelTask("action_units", UNITS)
    sources = []
    for name, share in SHARES.items():
        rows = round(n * share)
        frame: dict[str, Any] = {"row": np.arange(rows)}
        if name == "units":
            frame |= {f"action_units.{unit}": rng.integers(0, 2, rows) for unit in UNITS}
        else:
            frame["expression"] = np.array(EXPRESSIONS)[rng.integers(0, len(EXPRESSIONS), rows)]
        tasks = (units,) if name == "units" else (expression,)
        manifest = Manifest(pl.DataFrame(frame), tasks, name=name)
        sources.append(Source(manifest, FeatureRows(rng.random((rows, WIDTH), dtype=np.float32))))
    mixture = Mixture(sources, batch_size=512, share="equal")
    rows = 0
    start = time.perf_counter()
    for batch in mixture:
        rows += len(batch)
    return {"feature_rows_per_s": rows / (time.perf_counter() - start)}


# -- images ------------------------------------------------------------------------------------------


def make_images(options: argparse.Namespace) -> dict[str, float]:
    """Write 64 px JPEGs with the detail of photos."""
    from PIL import Image

    folder, rng = options.folder / "images", np.random.default_rng(0)
    folder.mkdir()
    size = 0
    for number in range(options.images):
        coarse = Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)).resize((64, 64))
        noisy = np.asarray(coarse).astype(np.int16) + rng.integers(-8, 9, (64, 64, 1))
        file = folder / f"{number:06d}.jpg"
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(file, quality=88)
        size += file.stat().st_size
    return {"bytes_an_image": size / options.images}


def decode_images(options: argparse.Namespace) -> dict[str, float]:
    """Bare pillow (open, decode, to RGB, to an array) against batches of a mixture, by turns."""
    import polars as pl
    import torch
    from PIL import Image

    from concord.data import Images, Manifest, Mixture, Source

    torch.set_num_threads(1)
    root = options.folder / "images"
    names = sorted(os.listdir(root))
    manifest = Manifest(pl.DataFrame({"path": names}), (), root, "images")

    def bare() -> None:
        for name in names:
            with Image.open(root / name) as image:
                np.asarray(image.convert("RGB"))

    def mixed(normalize: Any, workers: int = 0) -> Callable[[], None]:
        source = Source(manifest, Images(size=64, normalize=normalize))
        mixture = Mixture([source], batch_size=128, workers=workers)

        def run() -> None:
            for _ in mixture:
                pass

        run()  # workers start and files are in the cache
        return run

    imagenet = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    cores = os.cpu_count() or 1
    ways = {"bare": bare, "uint8": mixed(None), "float": mixed(imagenet)}
    # Processor time: what others do on the machine counts less.
    rounds = [{name: timed(way, time.process_time)[0] for name, way in ways.items()} for _ in range(7)]
    best = {name: min(times[name] for times in rounds) for name in ways}
    with_workers = mixed(None, cores)
    wall = [(timed(ways["uint8"])[0], timed(with_workers)[0]) for _ in range(3)]
    rates = {f"{name}_images_per_s": len(names) / seconds for name, seconds in best.items()}
    return {
        **rates,
        "share_of_bare_pillow": best["bare"] / best["uint8"],
        "normalised_share": best["bare"] / best["float"],
        f"speedup_of_{cores}_workers": min(one for one, _ in wall) / min(many for _, many in wall),
    }


# -- many tiny files ---------------------------------------------------------------------------------


def make_tiny_files(options: argparse.Namespace) -> dict[str, float]:
    """Write a tree like AffectNet of 2021: an image and three annotations, four files, each sample."""
    import io

    root, rng = options.folder / "affectnet", np.random.default_rng(0)

    def encoded(value: Any) -> bytes:
        out = io.BytesIO()
        np.save(out, np.array(value))
        return out.getvalue()

    codes, levels = [encoded(str(c)) for c in range(8)], [encoded(str(v)) for v in (-0.5, 0.0, 0.25)]
    for split, count in (("train_set", options.tiny_files // 4 - 4), ("val_set", 4)):
        images, annotations = root / split / "images", root / split / "annotations"
        images.mkdir(parents=True)
        annotations.mkdir()
        for number in range(count):
            (images / f"{number}.jpg").touch()
            (annotations / f"{number}_exp.npy").write_bytes(codes[rng.integers(8)])
            (annotations / f"{number}_val.npy").write_bytes(levels[rng.integers(3)])
            (annotations / f"{number}_aro.npy").write_bytes(levels[rng.integers(3)])
    return {"files": options.tiny_files}


def index_tiny_files(options: argparse.Namespace) -> dict[str, float]:
    """Index them, once."""
    return read_tiny_files(options, "index_s")


def reopen_tiny_files(options: argparse.Namespace) -> dict[str, float]:
    """Open them again, in a new process."""
    return read_tiny_files(options, "reopen_s")


def read_tiny_files(options: argparse.Namespace, what: str) -> dict[str, float]:
    """Read the tree with its reader; what Python imports for that is counted apart."""
    from concord.data import read, reader

    imports, _ = timed(lambda: reader("affectnet"))
    cache = options.folder / "index.parquet"
    seconds, manifest = timed(lambda: read("affectnet", options.folder / "affectnet", cache=cache))
    return {"rows": len(manifest), "import_s": imports, what: seconds}


PARTS = {
    "manifest": ("make_manifest", "open_manifest", "start_epoch"),
    "features": ("feature_batches",),
    "images": ("make_images", "decode_images"),
    "tiny": ("make_tiny_files", "index_tiny_files", "reopen_tiny_files"),
}
STEPS: dict[str, Callable[[argparse.Namespace], dict[str, float]]] = {
    function.__name__: function
    for function in (
        make_manifest,
        open_manifest,
        start_epoch,
        feature_batches,
        make_images,
        decode_images,
        make_tiny_files,
        index_tiny_files,
        reopen_tiny_files,
    )
}

if __name__ == "__main__":
    main()
