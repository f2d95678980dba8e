"""In the gallery what nobody annotated is unknown, and no prediction of it is wrong."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from concord import MulticlassTask, MultilabelTask
from concord.study.judging.artifacts import _names, _shown, _unknown
from concord.study.pages.views.galleries import _card

KIND, MARKS = MulticlassTask("kind", ["a", "b"]), MultilabelTask("marks", ["p", "q", "r"])


def card(kind: int, marks: list[float], said: list[str]) -> Any:
    targets = {"kind": np.array([kind]), "marks": np.array([marks])}
    record = {
        "image": "data:image/png;base64,",
        "agree": True,
        "truth": {task.name: _names(task, targets[task.name][0]) for task in (KIND, MARKS)},
        **_unknown((KIND, MARKS), targets, 0),
        "predictions": {"way": {"kind": {"prediction": "a"}, "marks": {"prediction": said}}},
    }
    outcome: Any = SimpleNamespace(conditions=["way"])
    return _card(record, outcome)


@given(
    kind=st.integers(-1, 1),
    marks=st.lists(st.sampled_from([0.0, 1.0, np.nan]), min_size=3, max_size=3),
    said=st.lists(st.sampled_from(MARKS.labels), unique=True),
)
def test_no_prediction_of_a_gap_is_wrong(kind: int, marks: list[float], said: list[str]) -> None:
    found = card(kind, marks, said)
    heads = {head["task"]: head for head in found["lines"][0]["heads"]}
    known = {name: value for name, value in zip(MARKS.labels, marks, strict=True) if not np.isnan(value)}
    right = all((value == 1) == (name in said) for name, value in known.items())
    assert heads["marks"]["right"] == (right if known else None)
    assert heads["kind"]["right"] == (None if kind == -1 else kind == 0)
    states = {part["text"]: part["state"] for part in heads["marks"]["parts"] if part["text"] != "none"}
    for name in MARKS.labels:
        if name not in known:
            assert states.get(name, "") == ""  # neither said wrongly nor left out
        elif name in said or known[name] == 1:
            assert states[name] == (
                "" if known[name] == (name in said) else "extra" if name in said else "missing"
            )
    shown = found["truth"]["marks"]
    assert shown == "not annotated" if not known else ("not annotated" in shown) == (len(known) < 3)
    assert ("none" in shown) == (len(known) == 3 and not any(known.values()))
    if kind == -1 and not known:
        assert found["lines"][0]["who"] == "not annotated"


def test_a_manifest_of_a_data_set_with_terms_shows_no_sample_unless_asked_for() -> None:
    def shown(samples: str | None, *origins: str) -> str:
        plan, problem = (
            SimpleNamespace(samples=samples, shown_samples="few"),
            SimpleNamespace(origins=origins),
        )
        results: Any = SimpleNamespace(plan=plan, problem=problem)
        return _shown(results)

    assert (shown(None), shown(None, "affectnet"), shown("all", "affectnet")) == ("few", "none", "all")
