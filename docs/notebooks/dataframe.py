# %% [markdown]
# # A DataFrame, cross-validation and a grid search
#
# One table of measurements. Some rows have a diagnosis, others a list of findings, none has both.
# scikit-learn's tools judge and tune a model of both targets.
#
# The first cell names the targets and their table; put yours there. The second draws the measurements: in its
# place make two DataFrames of yours, `frame` to train on and `unseen` to judge the result.

# %%
import numpy as np
import pandas as pd

DISEASES = ["flu", "cold", "allergy", "asthma"]
FINDINGS = ["fever", "cough", "itch", "wheeze"]
TABLE = np.array(  # P(finding | disease): of 100 people with flu 90 have fever, ...
    [
        [0.9, 0.7, 0.0, 0.1],
        [0.3, 0.8, 0.0, 0.1],
        [0.0, 0.3, 0.9, 0.2],
        [0.0, 0.6, 0.2, 0.9],
    ]
)

# %%
# Drawn for this page: make `frame` and `unseen` of your own in place of this cell.
rng = np.random.default_rng(0)


def drawn(size):
    """Draw rows with a disease, its findings and eight measurements."""
    disease = rng.integers(4, size=size)
    findings = (rng.random((size, 4)) < TABLE[disease]).astype(float)
    values = np.hstack([1.2 * findings, 0.4 * np.eye(4)[disease]]) + rng.normal(scale=0.7, size=(size, 8))
    rows = pd.DataFrame(values, columns=[f"value_{k}" for k in range(8)])
    rows["disease"] = pd.Series(np.array(DISEASES)[disease], dtype=object)
    rows[[f"findings.{name}" for name in FINDINGS]] = findings
    return rows


frame, unseen = drawn(480), drawn(400)
frame.loc[80:, "disease"] = None
frame.loc[:79, [f"findings.{name}" for name in FINDINGS]] = np.nan
frame.sample(6, random_state=1).round(2)

# %% [markdown]
# A target column is called `TASK` for a class, and `TASK.LABEL` for a label. Gaps are what pandas calls
# missing.

# %%
import concord as cc

tasks = [cc.MulticlassTask("disease", DISEASES), cc.MultilabelTask("findings", FINDINGS)]
relation = cc.Relation(*tasks, TABLE)
X = frame.filter(like="value_")
y = frame[["disease", *(f"findings.{name}" for name in FINDINGS)]]

# %% [markdown]
# ## Is the table right?
#
# `cross_fit` trains networks without any coupling on folds. What they say of rows that they have not seen
# is compared with the table.

# %%
from textwrap import fill

plain = cc.CoupledClassifier(tasks, [relation], effort="fast", random_state=0)
seen = plain.cross_fit(X, y).predictions()
check = cc.check_relation(
    relation,
    y["disease"],
    y.filter(like="findings.").to_numpy(),
    class_proba=seen["disease"],
    target_proba=seen["findings"],
)
print(fill(" ".join(check.sentences()), 90))

# %% [markdown]
# A trust near 1 says that the table holds. *Calibrated*: before it is used, its numbers are brought to the
# scale of these data; few rows are enough for that.
#
# ## Does the coupling help? `cross_val_score`
#
# `TaskKFold` makes folds in which every task has annotated rows. A scorer judges one task.

# %%
from sklearn.model_selection import GridSearchCV, cross_val_score

folds = cc.TaskKFold(tasks, n_splits=3)
accuracy = cc.make_scorer("disease", "accuracy")
scores = {}
for coupling in (None, "posterior"):
    model = cc.CoupledClassifier(tasks, [relation], coupling=coupling, steps=60, random_state=0)
    scores[str(coupling)] = cross_val_score(model, X, y, cv=folds, scoring=accuracy)
pd.DataFrame(scores).describe().loc[["mean", "std"]].round(3)

# %% [markdown]
# ## Which settings? `GridSearchCV`

# %%
model = cc.CoupledClassifier(tasks, [relation], steps=60, random_state=0)
grid = {"coupling": ["posterior", "marginal"], "dropout": [0.0, 0.3]}
search = GridSearchCV(model, grid, cv=folds, scoring=accuracy).fit(X, y)
columns = ["param_coupling", "param_dropout", "mean_test_score", "rank_test_score"]
pd.DataFrame(search.cv_results_)[columns].round(3)

# %% [markdown]
# ## The model, drawn
#
# The table that it was trained with, and how far its probabilities can be trusted, on new rows.

# %%
import matplotlib.pyplot as plt

truth = {"disease": unseen["disease"], "findings": unseen.filter(like="findings.").to_numpy()}

figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
cc.RelationDisplay.from_estimator(search.best_estimator_, ax=axes[0])
for task in ("disease", "findings"):
    cc.CalibrationDisplay.from_estimator(search.best_estimator_, unseen[X.columns], truth, task, ax=axes[1])
