"""Every coupling once more: plain loops over plain numbers, written from the formulas.

Nothing here is vectorised, shared with the package or careful about speed. A batch goes in, a number
comes out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from concord import couplings
from strategies import Batch

CLIP = 1e-6
LEAST = 0.03


def log_softmax(z: Sequence[float]) -> list[float]:
    top = max(z)
    norm = top + math.log(sum(math.exp(v - top) for v in z))
    return [v - norm for v in z]


def softmax(z: Sequence[float]) -> list[float]:
    return [math.exp(v) for v in log_softmax(z)]


def log_sigmoid(z: float) -> float:
    return -math.log1p(math.exp(-z)) if z >= 0 else z - math.log1p(math.exp(z))


def sigmoid(z: float) -> float:
    return math.exp(log_sigmoid(z))


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def clip(value: float, low: float) -> float:
    return min(max(value, low), 1 - low)


def cross(weight: float, value: float) -> float:
    """weight * log(value), with 0 log 0 = 0."""
    return 0.0 if weight == 0 else weight * math.log(value)


@dataclass(frozen=True)
class Plain:
    """A batch as the formulas see it."""

    R: np.ndarray
    z: np.ndarray
    t: np.ndarray
    y: np.ndarray
    a: np.ndarray
    prior: list[float]
    rows: range
    classes: range
    labels: range
    class_to_class: bool

    @classmethod
    def of(cls, batch: Batch) -> Plain:
        table = batch.relation.table
        c, k = table.shape
        prior = [1 / c] * c if batch.relation.prior is None else batch.relation.prior.tolist()
        return cls(
            table,
            batch.source_logits,
            batch.target_logits,
            batch.y,
            batch.a,
            prior,
            range(len(batch.y)),
            range(c),
            range(k),
            batch.a.ndim == 1,
        )

    def known(self, c: int, k: int) -> bool:
        return not math.isnan(self.R[c, k])

    def annotated(self, x: int) -> list[int]:
        """Labels with an annotation; from class to class all or none."""
        if self.class_to_class:
            return list(self.labels) if self.a[x] != -1 else []
        return [k for k in self.labels if not math.isnan(self.a[x, k])]

    def active(self, x: int, k: int) -> bool:
        return bool(self.a[x] == k if self.class_to_class else self.a[x, k] == 1)

    def informed(self, x: int) -> bool:
        return any(self.known(c, k) for k in self.annotated(x) for c in self.classes)

    def log_label(self, x: int, k: int) -> float:
        return log_softmax(self.t[x])[k] if self.class_to_class else log_sigmoid(self.t[x, k])

    def rate(self, k: int) -> float:
        mass = sum(self.prior[c] for c in self.classes if self.known(c, k))
        if mass == 0:
            return 1 / len(self.labels) if self.class_to_class else 0.5
        return sum(self.prior[c] * self.R[c, k] for c in self.classes if self.known(c, k)) / mass

    def evidence(self, x: int, c: int) -> float:
        total = 0.0
        for k in self.annotated(x):
            if not self.known(c, k):
                continue
            if self.class_to_class:
                rate = max(self.rate(k), CLIP)
                total += math.log(max(self.R[c, k] / rate, LEAST)) if self.active(x, k) else 0.0
            else:
                cell, rate = clip(self.R[c, k], LEAST), clip(self.rate(k), LEAST)
                total += math.log(cell / rate if self.active(x, k) else (1 - cell) / (1 - rate))
        return total


def matching(batch: Batch, form: str, cells: str = "weighted") -> float:
    b = Plain.of(batch)
    rows = []
    for x in b.rows:
        p_class = softmax(b.z[x])
        terms = []
        for k in b.labels:
            known = [c for c in b.classes if b.known(c, k)]
            mass = sum(p_class[c] for c in known)
            if mass == 0:
                terms.append(0.0)
                continue
            cell = {c: float(b.R[c, k] > 0) if cells == "binary" else b.R[c, k] for c in known}
            q = clip(sum(p_class[c] * cell[c] for c in known) / mass, CLIP)
            not_q = clip(sum(p_class[c] * (1 - cell[c]) for c in known) / mass, CLIP)
            log_p = b.log_label(x, k)
            p = math.exp(log_p)
            if b.class_to_class:
                given = {
                    "paper": -p * math.log(q),
                    "class-mean": -q * log_p,
                    "both": (-p * math.log(q) - q * log_p) / 2,
                    "jensen-shannon": (cross(p, p / ((p + q) / 2)) + q * math.log(q / ((p + q) / 2))) / 2,
                }
                terms.append(mass * given["class-mean" if form == "bernoulli" else form])
                continue
            log_not_p = log_sigmoid(-b.t[x, k])
            not_p = math.exp(log_not_p)
            bernoulli = -p * math.log(q) - not_p * math.log(not_q)
            class_mean = -q * log_p - not_q * log_not_p
            m, not_m = (p + q) / 2, (not_p + not_q) / 2
            given = {
                "paper": -p * math.log(q),
                "bernoulli": bernoulli,
                "class-mean": class_mean,
                "both": (bernoulli + class_mean) / 2,
                "jensen-shannon": (
                    cross(p, p / m)
                    + cross(not_p, not_p / not_m)
                    + q * math.log(q / m)
                    + not_q * math.log(not_q / not_m)
                )
                / 2,
            }
            terms.append(mass * given[form])
        rows.append(sum(terms) if b.class_to_class or form == "paper" else mean(terms))
    return mean(rows)


def coannotation(batch: Batch, form: str, neutral: str, temperature: float = 1.0) -> float:
    b = Plain.of(batch)
    rows = []
    for x in b.rows:
        score: dict[int, float] = {}
        for c in b.classes:
            judged = [k for k in b.annotated(x) if b.known(c, k)]
            reach = sum(b.R[c, k] for k in judged)
            if reach > CLIP:
                score[c] = sum(b.R[c, k] for k in judged if b.active(x, k)) / reach
                continue
            empty = all(b.R[c, k] == 0 for k in b.labels if b.known(c, k))
            if neutral == "absent-share" and judged and empty and not b.class_to_class:
                score[c] = sum(not b.active(x, k) for k in judged) / len(judged)
        if not score:
            continue
        members = list(score)
        log_q = dict(
            zip(members, log_softmax([score[c] / temperature for c in members]), strict=True),
        )
        if neutral == "naive":
            log_p = dict(enumerate(log_softmax(b.z[x])))
        else:
            log_p = dict(zip(members, log_softmax([b.z[x, c] for c in members]), strict=True))
        if form == "paper":
            rows.append(-sum(math.exp(log_p[c]) * log_q[c] for c in members))
        else:
            rows.append(-sum(math.exp(log_q[c]) * log_p[c] for c in members))
    return mean(rows)


def hard(batch: Batch) -> float:
    b = Plain.of(batch)
    label_rows, class_rows = [], []
    for x in b.rows:
        given: dict[int, float] = {}
        if b.y[x] != -1:
            row = b.R[b.y[x]]
            gaps = [k for k in b.labels if k not in b.annotated(x) and row[k] > 0]
            if not b.class_to_class:
                given = {k: row[k] for k in gaps}
            elif np.count_nonzero(row > 0) == 1:
                given = dict.fromkeys(gaps, 1.0)
        if given:
            label_rows.append(mean([-w * b.log_label(x, k) for k, w in given.items()]))
        if b.y[x] == -1 and b.annotated(x):
            log_p = log_softmax(b.z[x])
            if b.class_to_class:
                leading = [c for c in b.classes if b.R[c, b.a[x]] > 0]
                if len(leading) == 1 and not np.isnan(b.R).any():
                    class_rows.append(-log_p[leading[0]])
                continue
            needed = {c: [k for k in b.labels if b.R[c, k] == 1] for c in b.classes}
            complete = {c: len(ks) for c, ks in needed.items() if ks and all(b.active(x, k) for k in ks)}
            largest = [c for c, size in complete.items() if size == max(complete.values())]
            if len(largest) == 1:
                class_rows.append(-log_p[largest[0]])
    return mean(label_rows) + mean(class_rows)


def posterior(batch: Batch, exponent: float) -> float:
    b = Plain.of(batch)
    rows = []
    for x in b.rows:
        if b.y[x] == -1 and b.informed(x):
            r = softmax([math.log(max(b.prior[c], CLIP)) + exponent * b.evidence(x, c) for c in b.classes])
            log_p = log_softmax(b.z[x])
            rows.append(-sum(r[c] * log_p[c] for c in b.classes))
    return mean(rows)


def marginal(batch: Batch, exponent: float) -> float:
    b = Plain.of(batch)
    rows = []
    for x in b.rows:
        if b.y[x] == -1 and b.informed(x):
            joint = [v + exponent * b.evidence(x, c) for c, v in enumerate(log_softmax(b.z[x]))]
            top = max(joint)
            rows.append(-top - math.log(sum(math.exp(v - top) for v in joint)))
    return mean(rows)


def class_to_labels(batch: Batch) -> float:
    b = Plain.of(batch)
    rows = []
    for x in b.rows:
        if b.y[x] == -1:
            continue
        row = b.R[b.y[x]]
        gaps = [k for k in b.labels if k not in b.annotated(x) and not math.isnan(row[k])]
        if not gaps:
            continue
        if b.class_to_class:
            rows.append(-sum(row[k] * b.log_label(x, k) for k in gaps))
        else:
            rows.append(
                mean(
                    [-row[k] * log_sigmoid(b.t[x, k]) - (1 - row[k]) * log_sigmoid(-b.t[x, k]) for k in gaps]
                )
            )
    return mean(rows)


def population_sums(batch: Batch) -> tuple[list[list[float]], list[float]]:
    """sum_x P[x,c] Q[x,k] and sum_x P[x,c]."""
    b = Plain.of(batch)
    joint = [[0.0 for _ in b.labels] for _ in b.classes]
    mass = [0.0 for _ in b.classes]
    for x in b.rows:
        P = softmax(b.z[x]) if b.y[x] == -1 else [float(c == b.y[x]) for c in b.classes]
        for k in b.labels:
            Q = float(b.active(x, k)) if k in b.annotated(x) else math.exp(b.log_label(x, k))
            for c in b.classes:
                joint[c][k] += P[c] * Q
        for c in b.classes:
            mass[c] += P[c]
    return joint, mass


def population(batch: Batch, sums: tuple[list[list[float]], list[float]] | None = None) -> float:
    b = Plain.of(batch)
    joint, mass = sums or population_sums(batch)
    total = 0.0
    for c in b.classes:
        cells = []
        for k in b.labels:
            if not b.known(c, k):
                continue
            r, m = b.R[c, k], clip(joint[c][k] / max(mass[c], CLIP), CLIP)
            kl = cross(r, r) - cross(r, m)
            cells.append(kl if b.class_to_class else kl + cross(1 - r, 1 - r) - cross(1 - r, 1 - m))
        total += mass[c] / sum(mass) * (sum(cells) if b.class_to_class else mean(cells))
    return total


FORMS = ("paper", "bernoulli", "class-mean", "both", "jensen-shannon")

CASES: dict[str, tuple[couplings.Coupling, Callable[[Batch], float]]] = {
    **{
        f"matching {form}": (couplings.DistributionMatching(form), partial(matching, form=form))
        for form in FORMS
    },
    **{
        f"coannotation {form} {neutral}": (
            couplings.SoftCoannotation(form, neutral=neutral),
            partial(coannotation, form=form, neutral=neutral),
        )
        for form in ("soft-target", "paper")
        for neutral in ("absent-share", "renormalise", "naive")
    },
    "coannotation sharp": (
        couplings.SoftCoannotation(temperature=0.2),
        partial(coannotation, form="soft-target", neutral="absent-share", temperature=0.2),
    ),
    "hard": (couplings.HardCoannotation(), hard),
    "posterior": (couplings.PosteriorCoannotation(), partial(posterior, exponent=1.0)),
    "posterior tempered": (couplings.PosteriorCoannotation(0.3), partial(posterior, exponent=0.3)),
    "marginal": (couplings.MarginalLikelihood(), partial(marginal, exponent=1.0)),
    "marginal tempered": (couplings.MarginalLikelihood(0.3), partial(marginal, exponent=0.3)),
    "class-to-labels": (couplings.ClassToLabels(), class_to_labels),
    "population": (couplings.PopulationMatching(), population),
}
"""Every coupling in every form that class-to-label and class-to-class relations share."""

LABEL_CASES: dict[str, tuple[couplings.Coupling, Callable[[Batch], float]]] = {
    f"matching {form} binary": (
        couplings.DistributionMatching(form, cells="binary"),
        partial(matching, form=form, cells="binary"),
    )
    for form in FORMS
}
"""Forms that only a class-to-label relation has."""
