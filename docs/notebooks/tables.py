# %% [markdown]
# # Two CSV files of measurements, on the command line
#
# Laboratory A wrote down the species of its plants, laboratory B which traits they have. Both measured the
# same eight columns. No Python is needed beyond the first cell and the last, which draw: the first the three
# files. Leave it out, and put your own files in their place.

# %%
# Drawn for this page: leave this cell out.
import numpy as np
import polars as pl

SPECIES = ["fern", "moss", "rose", "palm", "pine", "cactus"]
TRAITS = ["bloom", "woody", "needle", "shade", "tall", "edible"]
TABLE = np.array(
    [
        [0.0, 0.0, 0.0, 0.9, 0.2, 0.1],
        [0.0, 0.0, 0.0, 0.9, 0.0, 0.0],
        [0.9, 0.7, 0.0, 0.1, 0.1, 0.3],
        [0.2, 0.9, 0.0, 0.0, 0.9, 0.8],
        [0.0, 1.0, 0.9, 0.2, 0.9, 0.1],
        [0.7, 0.0, 0.9, 0.0, 0.1, 0.2],
    ]
)
rng = np.random.default_rng(0)

species = rng.integers(6, size=1600)
traits = (rng.random((1600, 6)) < TABLE[species]).astype(int)
values = traits @ rng.normal(size=(6, 8)) + 0.3 * np.eye(6)[species] @ rng.normal(size=(6, 8))
values += rng.normal(size=(1600, 8))
measured = pl.DataFrame(values.round(2), schema=[f"m{k}" for k in range(8)])
measured[:600].with_columns(species=pl.Series(SPECIES)[species[:600]]).write_csv("a.csv")
measured[600:].with_columns(pl.DataFrame(traits[600:], schema=TRAITS)).write_csv("b.csv")
table = pl.DataFrame({"species": SPECIES}).with_columns(pl.DataFrame(TABLE, schema=TRAITS))
table.write_csv("table.csv")  # P(trait | species): you write this by hand

# %% language="bash"
# head -3 a.csv b.csv table.csv

# %% [markdown]
# ## Manifests
#
# A manifest is a table whose annotations have been checked. `--count-rows` says that a row is known by its
# number.

# %% language="bash"
# set -e
# concord data table a.csv --task species --count-rows --out a.parquet
# concord data table b.csv --labels 'traits=bloom,woody,needle,shade,tall,edible' --count-rows --out b.parquet
# concord data split a.parquet --stratify species --train 0.5 --val 0.1 --test 0.4 --out a-split.parquet
# concord data split b.parquet --stratify traits --train 0.6 --val 0.1 --test 0.3 --out b-split.parquet

# %% [markdown]
# ## The table
#
# Which species it cannot tell apart, and which traits say little:

# %% language="bash"
# concord relation show table.csv

# %% [markdown]
# ## The verdict
#
# 24 plants with a species, 500 with traits; three conditions, five times each.

# %% language="bash"
# cat > plan.yaml << END
# title: Species and traits
# problem:
#   sources:
#     a:
#       manifest: a-split.parquet
#       inputs: &measured {kind: columns, columns: [m0, m1, m2, m3, m4, m5, m6, m7]}
#     b: {manifest: b-split.parquet, inputs: *measured}
#   relations: [{source: species, target: traits, table: table.csv}]
# regimes:
#   - {name: few-species, rows: {species: 24, traits: 500}}
# conditions: [single-task, uncoupled, posterior]
# seeds: 5
# budget: {steps: 150}
# END
# concord study plan.yaml --out runs/plants 2> /dev/null

# %% [markdown]
# Coupling helps the species and costs the traits, and the verdict names both. The condition `auto` would
# choose for each task by itself; it trains more networks.
#
# ## Something to look at
#
# `runs/plants/report.html` opens in any browser: [a report of another study](../example.md). One of its
# figures:

# %%
import concord as cc

display = cc.VerdictDisplay.from_study("runs/plants", task="species", baseline="single-task")
_ = display.ax_.set_title("Species: difference to a network for species alone")
