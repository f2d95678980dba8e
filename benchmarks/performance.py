"""How long the command line takes to answer, and what images cost: embedded and trained on from their files.

    python benchmarks/performance.py [--only start images] [--images 4000] [--steps 40] [--repeats 5]
                                     [--out FILE] [--page]

Start: seconds of the clock of new processes, beside a Python that does nothing; the median of the repeats. Images:
processor time on one thread, of files of 64 px, beside what cannot be saved: pillow decoding each file, and the
network on images that lie in memory. The shares are of one run on one machine, and hold on others. What --out
holds is not measured again. `auto` by rows: `benchmarks/many_rows.py`; large manifests: `benchmarks/data.py`.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from data import make_images
from held import Held
from page import PAGE, machine, page_option, table, write_section

BATCH = 64
TRUNK = {"name": "builtin:resnet", "options": {"width": 16, "stages": 2}}
SIZE = 64
STARTS = {
    "Python alone": ("-c", "pass"),
    "`concord --help`": ("-c", "import sys; sys.argv[1:] = ['--help']; from concord.cli import main; main()"),
    "`import concord`": ("-c", "import concord"),
    "`import concord`, torch and the estimator": ("-c", "import concord; concord.CoupledClassifier"),
}
"""What is started, by its name on the page."""
GOALS = {"`concord --help`": "<= 0.5"}


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, and write the sections where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=("start", "images"), default=["start", "images"])
    parser.add_argument("--images", type=int, default=4_000)
    parser.add_argument("--steps", type=int, default=40, help="steps of the longer training")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, help="where parts are kept, so that none is measured twice")
    page_option(parser, PAGE)
    options = parser.parse_args(arguments)
    held = Held(options.out)
    for name in options.only:
        sizes = {"images": [options.images, options.steps]} if name == "images" else {}
        key = {"part": name, "repeats": options.repeats, **sizes}
        measure = {"start": start, "images": images}[name]
        found = held.once(key, partial(measure, options))
        title = {"start": "How long a start takes", "images": "Images from their files"}[name]
        body = {"start": start_body, "images": images_body}[name](found, options)
        print(body, flush=True)
        if options.page:
            write_section(name, title, body, options.page)


def repeated(action: Callable[[], float], repeats: int) -> float:
    """The median of some measurements, after one that fills the caches."""
    action()
    return statistics.median(action() for _ in range(repeats))


# -- starts --------------------------------------------------------------------------------------------


def start(options: argparse.Namespace) -> dict[str, Any]:
    """Seconds of the clock of each start."""

    def seconds(command: tuple[str, ...]) -> float:
        before = time.perf_counter()
        subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - before

    where = machine()
    found = {name: repeated(partial(seconds, each), options.repeats) for name, each in STARTS.items()}
    return {"where": where, "seconds": found}


def start_body(found: dict[str, Any], options: argparse.Namespace) -> str:
    """The section in Markdown."""
    alone = found["seconds"]["Python alone"]
    lines = [
        [name, f"{value:.2f}", f"{value / alone:.1f}", GOALS.get(name, "")]
        for name, value in found["seconds"].items()
    ]
    return (
        f"`python benchmarks/performance.py --only start --repeats {options.repeats} --page`\n\n{found['where']}.\n\n"
        "Seconds of the clock of a new process, and as a multiple of Python alone.\n\n"
    ) + table(["what is started", "seconds", "multiple", "asked"], lines)


# -- images --------------------------------------------------------------------------------------------


def images(options: argparse.Namespace) -> dict[str, Any]:
    """Images a second: decoded, through the network, both, embedded, trained on in memory and from files."""
    import torch

    from concord.fitting import keep_freed_memory

    keep_freed_memory()  # as trainings do; what they are compared with gains by it, too
    torch.set_num_threads(1)
    where = machine(f"torch {torch.__version__}", "one thread")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_images(argparse.Namespace(folder=folder, images=options.images))
        files = sorted((folder / "images").iterdir())
        decode = repeated(partial(decoded, files), options.repeats) / len(files)
        forward, step = (
            repeated(partial(through, training, options.steps), options.repeats) / (options.steps * BATCH)
            for training in (False, True)
        )
        embed = repeated(partial(embedded, folder), options.repeats) / len(files)
        train = trained(folder, files, options) / BATCH
    seconds = {"decode": decode, "forward": forward, "embed": embed, "step": step, "train": train}
    return {"where": where, "seconds": seconds}


def decoded(files: list[Path]) -> float:
    """Seconds of pillow alone: open, decode, to RGB, to an array."""
    from PIL import Image

    before = time.process_time()
    for path in files:
        with Image.open(path) as image:
            np.asarray(image.convert("RGB"))
    return time.process_time() - before


def network() -> Any:
    """The trunk of all parts, and a head."""
    import torch

    from concord.networks import SmallResNet

    torch.manual_seed(0)
    trunk = SmallResNet(**TRUNK["options"])
    with torch.no_grad():
        width = trunk(torch.zeros(1, 3, SIZE, SIZE)).shape[1]
    return torch.nn.Sequential(trunk, torch.nn.Linear(width, 10))


def through(training: bool, steps: int) -> float:
    """Seconds of a plain loop on a batch in memory: forward alone, or a whole training step with AdamW."""
    import torch

    model = network().train(training)
    x, y = torch.randn(BATCH, 3, SIZE, SIZE), torch.arange(BATCH) % 10
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
    before = time.process_time()
    for _ in range(steps):
        if not training:
            with torch.no_grad():
                model[0](x)
            continue
        torch.nn.functional.cross_entropy(model(x), y).backward()
        optimiser.step()
        optimiser.zero_grad()
    return time.process_time() - before


def embedded(folder: Path) -> float:
    """Seconds of `embed` on all files."""
    from concord.config import InputPlan, TrunkPlan
    from concord.runs import embed

    with tempfile.TemporaryDirectory(dir=folder) as out:
        before = time.process_time()
        inputs = InputPlan(kind="images", size=SIZE)
        embed(folder / "images", out, TrunkPlan(**TRUNK), inputs, batch_size=BATCH, accelerator="cpu")
        return time.process_time() - before


def trained(folder: Path, files: list[Path], options: argparse.Namespace) -> float:
    """Seconds of a step of `train` on files, without what a training costs once: of two lengths, the difference."""
    import polars as pl

    from concord.data import Manifest, write_manifest
    from concord.runs import train
    from concord.tasks import MulticlassTask

    names = [path.name for path in files]
    kinds = [f"k{number % 10}" for number in range(len(files))]
    frame = pl.DataFrame({"path": names, "kind": kinds, "split": ["train"] * len(files)})
    task = MulticlassTask("kind", [f"k{number}" for number in range(10)])
    write_manifest(Manifest(frame, (task,), folder / "images", "images"), folder / "images.parquet")

    def seconds(steps: int) -> float:
        with tempfile.TemporaryDirectory(dir=folder) as out:
            config = {
                "sources": {
                    "all": {
                        "manifest": str(folder / "images.parquet"),
                        "inputs": {"kind": "images", "size": SIZE},
                    }
                },
                "trunk": TRUNK,
                "training": {"steps": steps, "batch_size": BATCH, "accelerator": "cpu"},
                "watching": {"progress": False},
                "output": out,
            }
            before = time.process_time()
            train(config)
            return time.process_time() - before

    short = max(1, options.steps // 4)
    seconds(short)
    long, brief = (
        statistics.median(seconds(steps) for _ in range(options.repeats)) for steps in (options.steps, short)
    )
    return (long - brief) / (options.steps - short)


def images_body(found: dict[str, Any], options: argparse.Namespace) -> str:
    """The section in Markdown."""
    took = found["seconds"]
    command = f"--only images --images {options.images} --steps {options.steps} --repeats {options.repeats}"
    lines = [
        ["pillow alone", f"{1 / took['decode']:,.0f}", "", ""],
        ["the network alone, forward", f"{1 / took['forward']:,.0f}", "", ""],
        ["the network alone, a training step", f"{1 / took['step']:,.0f}", "", ""],
        *(
            [what, f"{1 / took[whole]:,.0f}", f"{(took['decode'] + took[part]) / took[whole]:.2f}", f"{took['decode'] / took[whole]:.2f}"]
            for what, whole, part in (("`concord embed`", "embed", "forward"), ("`concord train`, streamed", "train", "step"))
        ),
    ]  # fmt: skip
    return (
        f"`python benchmarks/performance.py {command} --page`\n\n{found['where']}.\n\n"
        f"{options.images:,} JPEG files of {SIZE} px, batches of {BATCH}, processor time on one thread. *Share*: of the "
        "images a second that pillow and the network alone would give one after the other; 1 is that nothing is "
        "lost. The last column is the same against pillow alone.\n\n"
    ) + table(["what", "images a second", "share of both alone", "share of pillow alone"], lines)


if __name__ == "__main__":
    main()
