"""Rows of which a draw makes sure, so that every class of its tasks has one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.sparse.csgraph import maximum_bipartite_matching

Classes = npt.NDArray[np.integer[Any]]


def covering(rows: Iterable[int], classes: Mapping[str, Classes], wanted: Mapping[str, int]) -> list[int]:
    """Rows that show as many classes of each task as it wants; first those that serve the most tasks.

    Args:
        rows: Rows that are annotated for all tasks, in random order.
        classes: By task, the class of each row of the problem: (n,).
        wanted: By task, how many different classes; none or less: the task wants nothing.
    """
    rows = list(rows)
    shown: dict[str, set[int]] = {name: set() for name in wanted}
    chosen = []
    for served in range(len(wanted), 0, -1):
        for row in rows:
            new = [
                name
                for name, number in wanted.items()
                if len(shown[name]) < number and classes[name][row] not in shown[name]
            ]
            if len(new) >= served:
                chosen.append(row)
                for name in new:
                    shown[name].add(int(classes[name][row]))
    return chosen


def apart(
    pools: Mapping[str, Sequence[int]], classes: Mapping[str, Classes], shared: Sequence[int]
) -> dict[str, list[int]]:
    """By task, a row for each class that the shared rows do not show, and no row for two tasks.

    Where tasks want the same rows, as many classes as can have one do.

    Args:
        pools: By task, rows that are annotated for it, in random order.
        classes: By task, the class of each row of the problem: (n,).
        shared: Rows that all tasks have already.
    """
    taken = set(shared)
    needs: list[list[int]] = []
    of_task: list[str] = []
    for name, pool in pools.items():
        by_class: dict[int, list[int]] = {}
        shown = {int(classes[name][row]) for row in shared}
        for row in pool:
            label = int(classes[name][row])
            if label not in shown and row not in taken:
                by_class.setdefault(label, []).append(row)
        needs += by_class.values()
        of_task += [name] * len(by_class)
    found: dict[str, list[int]] = {name: [] for name in pools}
    for need, row in sorted(_matched(needs).items()):
        found[of_task[need]].append(row)
    return found


def _matched(needs: Sequence[Sequence[int]]) -> dict[int, int]:
    """By need, one of the rows that would do; no row twice, and as many needs as possible have one."""
    rows = list(dict.fromkeys(row for need in needs for row in need))
    place = {row: number for number, row in enumerate(rows)}
    pairs = [(number, place[row]) for number, need in enumerate(needs) for row in need]
    if not pairs:
        return {}
    own, other = np.array(pairs).T
    graph = sparse.csr_array((np.ones(len(pairs)), (own, other)), shape=(len(needs), len(rows)))
    found = maximum_bipartite_matching(graph, perm_type="column")
    return {need: rows[column] for need, column in enumerate(found.tolist()) if column >= 0}
