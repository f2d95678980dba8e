# %% [markdown]
# # Faces under a licence: from the data sets' folders to a report without a face
#
# RAF-DB says which expression a face shows, DISFA which action units are active, and no picture has both.
# Their licences do not allow you to pass pictures on, so the report at the end holds none.
#
# The second cell draws a stand-in in the layout of both data sets. With the real ones, leave it out, and
# put their folders into `data`.

# %%
from pathlib import Path

import concord as cc

table = cc.tables.expressions()  # P(action unit | expression), from the literature

# %%
# Drawn for this page: leave this cell out.
import numpy as np
from PIL import Image, ImageDraw

CODES = {"surprise": 1, "fear": 2, "disgust": 3, "happiness": 4, "sadness": 5, "anger": 6, "neutral": 7}
UNITS = [1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26]  # those that DISFA annotates
rng = np.random.default_rng(0)


def units_of(expression):
    """Draw which action units are active on a face with this expression."""
    chances = table.table[table.source.classes.index(expression)]
    return {unit for unit in UNITS if rng.random() < chances[table.target.labels.index(f"AU{unit}")]}


def face(units):
    """Draw a face with these action units, 32 pixels a side."""
    image = Image.new("L", (32, 32), int(rng.integers(170, 230)))
    pen, (x, y) = ImageDraw.Draw(image), np.array([16, 0]) + rng.integers(-2, 3, 2)
    brow, mouth, lid = y + 10 + 2 * (4 in units), y + 24, 1 + 2 * (5 in units)
    for side in (-1, 1):
        ends = [(x + 3 * side, brow - 3 * (1 in units)), (x + 9 * side, brow - 3 * (2 in units))]
        corner = (x + (5 + 3 * (20 in units)) * side, mouth - 3 * (12 in units) + 3 * (15 in units))
        pen.line(ends, fill=30, width=2)
        pen.ellipse([x + 6 * side - 2, y + 14 - lid, x + 6 * side + 2, y + 14 + lid], fill=0)
        pen.line([(x, mouth), corner], fill=60, width=2)
        if 6 in units:
            pen.line([(x + 6 * side - 3, y + 18), (x + 6 * side + 3, y + 18)], fill=90)
    for unit, height in ((9, y + 17), (17, y + 29)):
        if unit in units:
            pen.line([(x - 2, height), (x + 2, height)], fill=60, width=2)
    if 25 in units:
        pen.ellipse([x - 3, mouth - 1, x + 3, mouth + 2 + 3 * (26 in units)], fill=0)
    noisy = np.asarray(image) + rng.normal(scale=12, size=(32, 32))
    return Image.fromarray(noisy.clip(0, 255).astype("uint8"))


def save(image, path):
    """Write a picture, and the folders that it lies in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, quality=95)


rafdb, lines = Path("data/rafdb/basic"), []
for k in range(800):
    name, expression = f"{'train' if k < 400 else 'test'}_{k:05}", str(rng.choice(list(CODES)))
    save(face(units_of(expression)), rafdb / "Image" / "aligned" / f"{name}_aligned.jpg")
    lines.append(f"{name}.jpg {CODES[expression]}\n")
(rafdb / "EmoLabel").mkdir()
(rafdb / "EmoLabel" / "list_patition_label.txt").write_text("".join(lines))

for person in range(1, 26):
    name = f"SN{person:03}"
    frames = [units_of(str(rng.choice(list(CODES)))) for _ in range(40)]
    for number, units in enumerate(frames, 1):
        save(face(units), Path("data/disfa/Images", name, f"{number}.jpg"))
    codes = Path("data/disfa/ActionUnit_Labels", name)
    codes.mkdir(parents=True)
    for unit in UNITS:  # a code is an intensity, 0 to 5; from 2 on a unit counts as active
        coded = "".join(f"{number},{3 * (unit in units)}\n" for number, units in enumerate(frames, 1))
        (codes / f"{name}_au{unit}.txt").write_text(coded)

sheet = Image.new("L", (7 * 96, 96))
for k, expression in enumerate(CODES):
    sheet.paste(face(units_of(expression)).resize((96, 96)), (96 * k, 0))
sheet

# %% [markdown]
# ## What is annotated where
#
# `concord data readers rafdb` says what a reader expects, and `concord data check rafdb data/rafdb`
# compares your copy with the published numbers. A *manifest* is a table of samples and annotations; it
# remembers which data sets it comes from. All frames of a person stay in one split.

# %% language="bash"
# set -e
# concord data index rafdb data/rafdb --out rafdb.parquet
# concord data index disfa data/disfa --out disfa.parquet
# concord data join rafdb.parquet disfa.parquet --out both.parquet
# concord data split both.parquet --train 0.6 --val 0.1 --test 0.3 --stratify expression --out faces.parquet

# %% [markdown]
# ## Features
#
# A network with random weights stands in for a pretrained one. With real faces it is `--trunk
# timm:resnet50 --size 224 --download`, and needs `pip install concord-mtl[timm]`.

# %% language="bash"
# concord embed faces.parquet --trunk builtin:resnet --random --size 32 --out embedded 2> /dev/null

# %% [markdown]
# ## The study
#
# 60 faces with an expression and 600 with action units: each task alone, both in one network, and both
# coupled by the table `expressions`, three times each. `extra: ignore` leaves out the action units of the
# table that DISFA does not annotate.

# %%
plan = """
title: Expressions and action units
problem:
  sources:
    faces:
      manifest: embedded/manifest.parquet
      inputs: {kind: features, file: embedded/features.npy}
  relations: [{source: expression, target: action_units, table: expressions, extra: ignore}]
regimes:
  - {name: few-expressions, rows: {expression: 60, action_units: 600}}
conditions: [single-task, uncoupled, posterior]
seeds: 3
budget: {steps: 150, rows_per_task: 32}
"""
_ = Path("plan.yaml").write_text(plan)
# %% language="bash"
# concord study plan.yaml --out runs/faces --no-images 2> /dev/null

# %% [markdown]
# The first table is about the expressions, the second about the action units: *worse* would name harm, and
# *undecided* says that three times are too few to tell.
#
# ## No face in the report
#
# `runs/faces/report.html` may be sent around. It would hold no picture without `--no-images` either,
# because the manifest knows that its rows come from data sets with terms of their own; the option makes
# sure. The report says what it holds:

# %%
import re

report = Path("runs/faces/report.html").read_text(encoding="utf-8")
print(re.search(r"This file holds [^.]+\.", report).group())
assert "data:image" not in report

display = cc.VerdictDisplay.from_study("runs/faces", task="expression", baseline="single-task")
_ = display.ax_.set_title("Expressions: difference to a network for expressions alone")
