# %% [markdown]
# # Two folders of images, two CSV files, one verdict
#
# Some pictures come with the kind of shape on them, others with a list of marks; no picture has both. Does
# it help to train one network on both? This notebook asks in Python; [the page](../howto/images.md) asks
# the same on the command line.
#
# The first cell names the kinds, the marks and their table; put yours there. The second draws the pictures:
# leave it out, and put your own folders and CSV files next to the notebook.

# %%
import numpy as np

KINDS = ["disc", "ring", "triangle", "square", "frame", "hexagon"]
MARKS = ["round", "hollow", "corners", "right_angles", "sharp"]
TABLE = np.array(  # P(mark | kind): what you do not know stays `nan`
    [
        [1.0, 0.0, 0.0, 0.0, 0.0],
        [1.0, 1.0, 0.0, 0.0, 0.0],
        [0.0, 0.0, 1.0, 0.0, 1.0],
        [0.0, 0.0, 1.0, 1.0, 0.0],
        [0.0, 1.0, 1.0, 1.0, 0.0],
        [0.0, 0.0, 1.0, 0.0, 0.0],
    ]
)

# %%
# Drawn for this page: leave this cell out.
import csv
from pathlib import Path

from PIL import Image, ImageDraw

SHAPES = {  # corners, whether it is hollow
    "disc": (0, False),
    "ring": (0, True),
    "triangle": (3, False),
    "square": (4, False),
    "frame": (4, True),
    "hexagon": (6, False),
}
rng = np.random.default_rng(0)


def picture(shape):
    """Draw a shape somewhere, turned and noisy, 32 pixels a side."""
    corners, hollow = SHAPES[shape]
    image = Image.new("L", (32, 32), int(rng.integers(0, 60)))
    pen, ink = ImageDraw.Draw(image), int(rng.integers(150, 256))
    (x, y), radius = rng.uniform(12, 20, 2), rng.uniform(7, 11)
    for size, colour in ((radius, ink), (radius / 2, image.getpixel((0, 0))))[: 1 + hollow]:
        if corners:
            pen.regular_polygon((x, y, size), corners, rotation=int(rng.integers(-10, 11)), fill=colour)
        else:
            pen.ellipse([x - size, y - size, x + size, y + size], fill=colour)
    noisy = np.asarray(image) + rng.normal(scale=15, size=(32, 32))
    return Image.fromarray(noisy.clip(0, 255).astype("uint8"))


kinds, marks = [], []
for k in range(1000):
    shape = KINDS[rng.integers(len(KINDS))]
    path = Path("with_kind" if k < 400 else "with_marks", f"{k:04}.png")
    path.parent.mkdir(exist_ok=True)
    picture(shape).save(path)
    if k < 400:
        kinds.append([path, shape])
    else:
        marks.append([path, *TABLE[KINDS.index(shape)].astype(int)])
for name, header, rows in (("kinds.csv", ["path", "kind"], kinds), ("marks.csv", ["path", *MARKS], marks)):
    with open(name, "w", newline="") as file:
        csv.writer(file).writerows([header, *rows])

sheet = Image.new("L", (6 * 96, 96))
for k, shape in enumerate(KINDS):
    sheet.paste(picture(shape).resize((96, 96)), (96 * k, 0))
sheet

# %% [markdown]
# ## One manifest
#
# Each CSV file becomes a checked table, the two are put below one another, and rows go to training,
# validation and test.

# %%
from concord.data import from_csv, inspect, resplit, stack, write_manifest

first = from_csv("kinds.csv", classes={"kind": KINDS}, path_column="path", root=".")
second = from_csv("marks.csv", labels={"marks": MARKS}, path_column="path", root=".")
manifest = resplit(
    stack([first, second]), {"train": 0.6, "val": 0.1, "test": 0.3}, stratify=["kind", "marks"]
)
write_manifest(manifest, "shapes.parquet")
inspect(manifest).tasks

# %% [markdown]
# ## How the tasks are related
#
# P(mark | kind), one row per kind, is the table of the first cell.

# %%
import concord as cc

kind, mark = manifest.tasks
relation = cc.Relation(kind, mark, TABLE)
relation.to_csv("table.csv")
_ = cc.RelationDisplay.from_relation(relation).ax_.set_title("What each kind looks like")
# %% [markdown]
# ## Features
#
# A network with random weights stands in for a pretrained one. With real pictures it is
# `TrunkPlan(name="timm:resnet50", pretrained=True, download=True)` and `size=224`, and needs
# `pip install concord-mtl[timm]`.

# %%
from concord.config import InputPlan, TrunkPlan
from concord.runs import embed

embed(
    "shapes.parquet",
    "embedded",
    TrunkPlan(name="builtin:resnet"),
    InputPlan(kind="images", size=32),
    accelerator="cpu",
)

# %% [markdown]
# ## The verdict
#
# 24 pictures with a kind and 300 with marks: each task alone, both in one network, and coupled by the
# table, five times each.

# %%
from textwrap import fill

from concord.study import as_plan, compare, run, write_report

plan = as_plan(
    {
        "title": "Kinds and marks of shapes",
        "problem": {
            "manifest": "embedded/manifest.parquet",
            "features": "embedded/features.npy",
            "relations": [{"source": "kind", "target": "marks", "table": "table.csv"}],
        },
        "regimes": [{"name": "few-kinds", "rows": {"kind": 24, "marks": 300}}],
        "conditions": ["single-task", "uncoupled", "posterior"],
        "seeds": 5,
        "budget": {"steps": 150, "rows_per_task": 32},
    }
)
run(plan, "runs/shapes")
summary = compare(plan, "runs/shapes")
write_report("runs/shapes")
print(fill(summary["sentence"], 90))

# %% [markdown]
# `runs/shapes/report.html` has learning curves and confusions, too. Drawn here is the difference to a
# network for kinds alone, with its interval:

# %%
display = cc.VerdictDisplay.from_study("runs/shapes", task="kind", baseline="single-task")
_ = display.ax_.set_title("Kinds: difference to a network for kinds alone")
