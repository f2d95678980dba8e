"""Face recognition on drawn people: who it is, and what he or she wears (glasses, beard, hair, marks).

Glasses and beards come and go, so that the relation is one of probabilities. Nothing is downloaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from concord.study.problems.problem import Problem


PLAN: dict[str, Any] = {
    "title": "Identities and attributes on drawn faces",
    "problem": "identities",
    "regimes": [
        {"name": "few-class", "rows": {"identity": 72, "attributes": 1440}},
        {"name": "few-label", "rows": {"identity": 1440, "attributes": 72}},
        {"name": "few-class-shuffled", "rows": {"identity": 72, "attributes": 1440}, "table": "shuffled"},
    ],
    "conditions": [
        "single-task",
        "uncoupled",
        "paper",
        {"name": "auto", "options": {"effort": "fast"}},
        {"name": "auto-no-table", "use": "auto", "options": {"effort": "fast", "table": "none"}},
    ],
    "seeds": 5,
    "network": {"kind": "resnet", "width": 8, "stages": 4, "stem_stride": 2},
    "budget": {"steps": 300, "rows_per_task": 32, "log_every": 100},
}

QUICK: dict[str, Any] = {
    **PLAN,
    "regimes": [PLAN["regimes"][0], PLAN["regimes"][2]],
    "seeds": 1,
    "budget": {"steps": 20, "rows_per_task": 16, "log_every": 10},
    "resamples": 50,
}

PEOPLE = 24
PICTURES = {"train": 65, "val": 10, "test": 25}
"""Pictures of each person."""

SEED = 14
"""Of the draws, one in which every attribute is worn by three people or more."""


def problem() -> Problem:
    """2,400 pictures of 24 people, 48 x 48 pixels, always the same."""
    import numpy as np

    from concord.study.drawn_faces import FIELD, identities
    from concord.study.problems.problem import Problem

    data = identities(PEOPLE, sum(PICTURES.values()), SEED, style=FIELD)
    # Pictures come in rounds, one of each person.
    place = np.digitize(np.arange(len(data)) // PEOPLE, np.cumsum(list(PICTURES.values())))
    return Problem(
        name="identities",
        tasks=data.tasks,
        inputs=data.inputs(),
        targets=data.targets,
        splits={split: np.flatnonzero(place == k) for k, split in enumerate(PICTURES)},
        relations=(data.relation,),
        picture=data.png,
    )
