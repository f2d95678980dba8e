"""What is known of how two tasks are related: a table of P(target | class).

A relation leads from a multiclass task (its *source*) to a multilabel task, where a cell is
P(label = 1 | class), or to another multiclass task, where a row is the distribution P(class' | class).
NaN marks a cell that nobody knows. This room knows nothing of networks.

A table may be sparse (`scipy.sparse`): then the stored cells are the known ones, and whatever runs at that
scale costs time and memory in proportion to them. What needs every cell says so (`DenseOnlyError`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from concord.arrays import as_numbers, check_probability
from concord.errors import (
    DenseOnlyError,
    DuplicateNameError,
    MissingDataError,
    NoAnnotationError,
    RangeError,
    ShapeError,
    UnknownNameError,
)
from concord.files import write_csv
from concord.names import Names
from concord.relations.counting import effective_counts
from concord.relations.evidence import EvidenceTable
from concord.relations.html import relation_html
from concord.relations.table_file import TableFile, read_table
from concord.tasks import MISSING_CLASS, MulticlassTask, MultilabelTask, Task

Array = npt.NDArray[np.float64]


Table = Any
"""An `Array`, or a `csr_array` of SciPy, which has no types."""


ROW_SUM_TOLERANCE = 1e-6


Extra = Literal["error", "ignore"]


@dataclass(frozen=True, eq=False)
class Relation:
    """P(target | class of the source), as a table with unknown cells.

    Where `table`, `strength`, `prior` or `base_rate` is a table of pandas or polars, or a series of pandas,
    that names its rows or columns, these are taken by name, in any order: a number as the class or label that
    it spells; whole numbers as indices where no class or label is called by a number. An array is taken by
    position.

    Args:
        source: The multiclass task that the rows belong to (C classes).
        target: A multilabel task (K labels; cells are P(label = 1 | class), each in [0, 1]) or another
            multiclass task (K classes; a row is a distribution and sums to 1, or is unknown as a whole).
        table: Shape (C, K), in [0, 1]; NaN, None or masked where unknown. Or a sparse array of SciPy, kept
            as CSR: its stored cells (stored zeros among them) are the known ones. From class to class a row
            with stored cells is known as a whole: they sum to 1, so the others are 0.
        strength: Shape (C, K), >= 0: how many observations each cell is worth; None if nobody said. Sparse
            where the table is.
        interval: Shape (2, C, K): lower and upper bound of each cell, where the table was estimated.
        prior: Shape (C,): class probabilities in the population; None means uniform.
        base_rate: Shape (K,): probability of each label (or target class, a distribution) in the
            population; None means that it follows from prior and table.

    Raises:
        ShapeError: A shape that does not fit the tasks, or a source or target that is no such task.
        RangeError: A cell outside [0, 1], a row of a class-to-class table that does not sum to 1, a
            negative strength, a prior or base rate that is none.
        UnknownNameError: A named row or column that is no class or label.
        DuplicateNameError: A sparse table that stores a cell twice, a named row or column that occurs
            twice, or one task as source and target.

    Example:
        >>> from concord import MulticlassTask, MultilabelTask
        >>> pet = MulticlassTask("pet", ["cat", "dog"])
        >>> trait = MultilabelTask("trait", ["purrs", "barks", "has_tail"])
        >>> relation = Relation(pet, trait, [[0.9, 0.0, 1.0], [0.0, 0.95, 1.0]])
        >>> relation.uninformative()
        ('has_tail',)
    """

    source: MulticlassTask
    target: Task
    table: Table
    strength: Table | None = None
    interval: Array | None = None
    prior: Array | None = None
    base_rate: Array | None = None
    _name: str = field(init=False, repr=False, default="")

    def __post_init__(self) -> None:
        check_ends(self.source, self.target)
        object.__setattr__(self, "_name", f"{self.source.name}->{self.target.name}")
        owner, shape = f"relation {self.name}", (self.source.width, self.target.width)
        names = self.source.outputs, self.target.outputs
        table = _table(owner, "table", self.table, shape, *names)
        check_probability(owner, table.data if self.sparse else table)
        if isinstance(self.target, MulticlassTask):
            _check_rows(owner, self.source, table)
        object.__setattr__(self, "table", table)
        if self.strength is not None:
            strength = _table(owner, "strength", self.strength, shape, *names)
            if not ((strength.data if _is_sparse(strength) else strength) >= 0).all():
                raise RangeError(f"{owner}: strengths are counts >= 0")
            object.__setattr__(self, "strength", strength)
        if self.interval is not None:
            object.__setattr__(self, "interval", _array(owner, "interval", self.interval, (2, *shape)))
        if self.prior is not None:
            prior = _array(owner, "prior", self.prior, shape[:1], names[0])
            if not (prior >= 0).all() or abs(prior.sum() - 1) > ROW_SUM_TOLERANCE:
                raise RangeError(
                    f"{owner}: the prior is a distribution over {shape[0]} classes, it sums to "
                    f"{prior.sum():.6g}"
                )
            object.__setattr__(self, "prior", prior)
        if self.base_rate is not None:
            rate = _array(owner, "base_rate", self.base_rate, shape[1:], names[1])
            check_probability(f"{owner}, base_rate", rate)
            if np.isnan(rate).any():
                raise RangeError(
                    f"{owner}: the base_rate of {names[1][int(np.isnan(rate).argmax())]!r} is NaN; leave out "
                    "base_rate as a whole where it is not known"
                )
            if self.class_to_class and abs(rate.sum() - 1) > ROW_SUM_TOLERANCE:
                raise RangeError(
                    f"{owner}: the base_rate is a distribution over {shape[1]} classes, it sums to "
                    f"{rate.sum():.6g}"
                )
            object.__setattr__(self, "base_rate", rate)

    # -- making one ------------------------------------------------------------------------------

    @classmethod
    def from_csv(
        cls,
        source: MulticlassTask,
        target: Task,
        path: str | Path,
        *,
        transpose: bool = False,
        normalize: bool = False,
        extra: Extra = "error",
    ) -> Relation:
        """Read a table: a header with the target's names, then a row for each class.

        Rows and columns may come in any order; the first column holds the class name, whatever its
        header. A blank cell is unknown, and so is a class or label that the file does not list. What is
        wrong in the file is named by file, line and column.

        Args:
            source: The task of the rows.
            target: The task of the columns.
            path: The file; UTF-8, with or without a byte order mark.
            transpose: The file has the target's names as rows and the classes as columns.
            normalize: Divide every row by its sum (to read a 0/1 membership table as class-to-class).
            extra: Whether rows and columns of names that the tasks do not have are an error or ignored.

        Raises:
            MissingDataError: No such file.
            TableFormatError: A cell that is no number, or a row of another length.
            UnknownNameError: A row or column that is no class or label (unless `extra="ignore"`), a file
                that is turned, or another `extra`.
            DuplicateNameError: A row or column that occurs twice.
            RangeError: A cell outside [0, 1] (with `normalize`, below 0).
        """
        check_ends(source, target)
        if extra not in get_args(Extra):
            raise UnknownNameError.of("value of extra", extra, get_args(Extra))
        file = read_table(path)
        of_rows, of_columns = (target, source) if transpose else (source, target)
        if _turned(file, of_rows, of_columns):
            raise UnknownNameError(
                f"{path}: its rows are {_kind(of_columns)} names of {of_columns.name!r} and its columns "
                f"{_kind(of_rows)} names of {of_rows.name!r}; read it with transpose={not transpose}"
            )
        rows = _positions([file.place(i) for i in range(len(file.rows))], file.rows, of_rows, extra)
        columns = _positions([file.place(None)] * len(file.columns), file.columns, of_columns, extra)
        read = np.ix_(list(rows), list(columns))
        cells = file.cells[read]
        wrong = np.argwhere((cells < 0) | ((cells > 1) & (not normalize)))
        if len(wrong):
            i, j = list(rows)[wrong[0][0]], list(columns)[wrong[0][1]]
            percent = "; percentages divide by 100" if 1 < file.cells[i, j] <= 100 else ""
            raise RangeError(
                f"{file.place(i)}: {file.cells[i, j]:g} in column {file.columns[j]!r} is no probability; "
                f"these lie in [0, 1]{percent}"
            )
        table = np.full((of_rows.width, of_columns.width), np.nan)
        table[np.ix_(list(rows.values()), list(columns.values()))] = cells
        table = np.ascontiguousarray(table.T) if transpose else table
        if normalize:
            total = np.nansum(table, axis=1, keepdims=True)
            table = np.divide(np.nan_to_num(table), total, out=np.full_like(table, np.nan), where=total > 0)
        return cls(source, target, table)

    @classmethod
    def from_prototypes(
        cls,
        source: MulticlassTask,
        target: MultilabelTask,
        prototypical: Mapping[str, Iterable[str]],
        observational: Mapping[str, Mapping[str, float]] | None = None,
    ) -> Relation:
        """Build a table from lists: 1 for prototypical labels, a weight for observational ones, else 0.

        A class that neither mapping names is unknown; one with empty lists has a row of zeros.

        Args:
            source: The task of the rows.
            target: The task of the columns.
            prototypical: For each class its prototypical labels.
            observational: For each class its observational labels with their weight in [0, 1].

        Raises:
            UnknownNameError: A class or label that the tasks do not have.
            DuplicateNameError: A label that is both, or twice, in the lists of a class.
            ShapeError: A text in place of a list of labels.
        """
        check_ends(source, target)
        observational = observational or {}
        table = np.full((source.width, target.width), np.nan)
        rows, columns = Names(source.classes), Names(target.labels)
        for name in (*prototypical, *observational):
            table[_place(rows, "class", name)] = 0.0
        for name, weights in (
            *((n, dict.fromkeys(_once(n, labels), 1.0)) for n, labels in prototypical.items()),
            *observational.items(),
        ):
            for label, weight in weights.items():
                cell = _place(rows, "class", name), _place(columns, "label", label)
                if table[cell] != 0:
                    raise DuplicateNameError(f"class {name!r} lists label {label!r} twice")
                table[cell] = weight
        return cls(source, target, table)

    @classmethod
    def from_annotations(
        cls,
        source: MulticlassTask,
        target: Task,
        classes: Any,
        targets: Any,
        *,
        weights: Any = None,
        groups: Any = None,
        pseudo_count: float = 1.0,
        level: float = 0.95,
    ) -> Relation:
        """Estimate a relation from samples annotated for both tasks.

        Every cell is the mean of a Beta posterior (class to class: of a Dirichlet's margin) whose prior
        is worth `pseudo_count` observations at the label's overall rate, so that a class with few
        samples is drawn to what is usual. `strength` is the number of co-annotated samples of the cell;
        `prior` is the share of each class among all samples with a class, each class seen once more.

        Args:
            source: The task of the rows.
            target: The task of the columns.
            classes: Shape (n,): classes as names or indices, with gaps.
            targets: Shape (n, K) labels, or (n,) classes of the target, with gaps; see `encode` of the task.
            weights: Shape (n,), >= 0: how many samples a row counts for; None counts each once.
            groups: Shape (n,): videos, persons. Rows of one group count as far as they differ: `strength` is
                then the number of rows that a cell would need if each stood alone. None: each row does.
            pseudo_count: Weight of the prior, in observations, > 0.
            level: Probability mass of the intervals, in (0, 1).

        Raises:
            ShapeError: Another number of rows or groups, or a source or target that is no such task.
            RangeError: A weight that is negative or not finite, a prior weight that is not > 0, a level
                outside (0, 1).
            NoAnnotationError: No sample carries both annotations.
        """
        check_ends(source, target)
        if not 0 < pseudo_count < np.inf:
            raise RangeError(f"the weight of the prior is finite and > 0, found {pseudo_count}")
        if not 0 < level < 1:
            raise RangeError(f"the level of an interval lies in (0, 1), found {level}")
        y, a = source.encode(classes), target.encode(targets)
        if len(y) != len(a):
            raise ShapeError(f"{len(y)} rows of {source.name!r}, but {len(a)} of {target.name!r}")
        w = np.ones(len(y)) if weights is None else row_weights(weights, len(y))
        if groups is not None and np.shape(groups) != (len(y),):
            raise ShapeError(f"groups of {len(y)} rows have shape ({len(y)},), found {np.shape(groups)}")
        both = (y != MISSING_CLASS) & target.annotated(a) & (w > 0)
        if not both.any():
            raise NoAnnotationError(
                f"no sample is annotated for both {source.name!r} and {target.name!r}; "
                "a relation of disjoint annotations needs out-of-sample predictions of heads that were "
                "trained without coupling: give them to estimate_relation as class_proba and "
                "target_proba, or the features to "
                "`concord relation estimate --features`"
            )
        from scipy import sparse, stats

        n = int(both.sum())
        member = sparse.csr_array((w[both], (y[both], np.arange(n))), shape=(source.width, n))
        if isinstance(target, MulticlassTask):
            present = np.eye(target.width)[a[both]]
            seen = np.ones_like(present)
        else:
            seen = (~np.isnan(a[both])).astype(np.float64)
            present = np.nan_to_num(a[both].astype(np.float64))
        hits, counts = member @ present, member @ seen
        total = counts.sum(axis=0)
        base = np.divide(hits.sum(axis=0) + 0.5, total + 1.0)
        if isinstance(target, MulticlassTask):
            base = (hits.sum(axis=0) + 1.0) / (hits.sum() + target.width)
        if groups is not None:
            worth = effective_counts(
                y[both],
                present,
                seen,
                w[both],
                np.asarray(groups)[both],
                width=source.width,
                exclusive=isinstance(target, MulticlassTask),
            )
            hits = np.divide(hits, counts, out=np.zeros_like(hits), where=counts > 0) * worth
            counts = worth
        alpha = hits + pseudo_count * base
        beta = counts - hits + pseudo_count * (1 - base)
        unseen = np.broadcast_to(total == 0, counts.shape)
        mean = np.where(unseen, np.nan, alpha / (alpha + beta))
        tail = (1 - level) / 2
        interval = np.stack([stats.beta.ppf(tail, alpha, beta), stats.beta.ppf(1 - tail, alpha, beta)])
        classed = np.bincount(y[y != MISSING_CLASS], w[y != MISSING_CLASS], minlength=source.width)
        prior = (classed + 1.0) / (classed.sum() + source.width)
        return cls(
            source,
            target,
            mean,
            strength=counts,
            interval=np.where(unseen, np.nan, interval),
            prior=prior,
        )

    # -- what it says ----------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """`SOURCE->TARGET`."""
        return self._name

    @property
    def class_to_class(self) -> bool:
        """Whether the target is a multiclass task."""
        return isinstance(self.target, MulticlassTask)

    @property
    def sparse(self) -> bool:
        """Whether the table is sparse."""
        return _is_sparse(self.table)

    @property
    def known(self) -> Table:
        """Which cells are known: shape (C, K); of a sparse table its structure, a sparse array of True."""
        if self.sparse:
            return self.with_cells(np.ones(self.table.nnz, dtype=bool))
        return ~np.isnan(self.table)

    @property
    def known_rows(self) -> npt.NDArray[np.bool_]:
        """Classes of which some cell is known: shape (C,)."""
        if self.sparse:
            return np.diff(self.table.indptr) > 0
        return self.known.any(axis=1)

    @property
    def neutral(self) -> npt.NDArray[np.bool_]:
        """Which classes show no label at all (a known row of zeros): shape (C,)."""
        if self.sparse:
            return self.known_rows & (self.table.sum(axis=1) == 0)
        return self.known.any(axis=1) & (np.nan_to_num(self.table) == 0).all(axis=1)

    def cells(self, purpose: str) -> Array:
        """The table as a dense array, for what needs every cell.

        Args:
            purpose: What it is needed for; part of the message.

        Raises:
            DenseOnlyError: The table is sparse.
        """
        if self.sparse:
            c, k = self.table.shape
            raise DenseOnlyError(
                f"relation {self.name}: {purpose} needs all {c} x {k} cells, but the table is sparse; call "
                f"dense() on the relation to afford them ({8 * c * k / 2**30:.1f} GiB)"
            )
        return self.table

    def dense(self) -> Relation:
        """The same with a dense table, in which unknown cells are NaN."""
        if not self.sparse:
            return self
        rows = self.known_rows[:, None] & self.class_to_class
        table = np.where(np.broadcast_to(rows, self.table.shape), 0.0, np.nan)
        table[self.row_index, self.table.indices] = self.table.data
        strength: Any = self.strength
        strength = strength.toarray() if _is_sparse(strength) else strength
        return self.replace(table=table, strength=strength)

    def row(self, index: int) -> Array:
        """The cells of one class, by its index in 0 .. C-1, NaN where unknown: shape (K,)."""
        if not self.sparse:
            return self.table[index]
        start, stop = self.table.indptr[index : index + 2]
        row = np.full(self.target.width, 0.0 if self.class_to_class and stop > start else np.nan)
        row[self.table.indices[start:stop]] = self.table.data[start:stop]
        return row

    @cached_property
    def row_index(self) -> npt.NDArray[np.intp]:
        """Class of every stored cell of a sparse table, in the order of its data: shape (nnz,)."""
        return np.repeat(np.arange(self.source.width), np.diff(self.table.indptr))

    def with_cells(self, data: npt.NDArray[Any]) -> Any:
        """A sparse array of the structure of this sparse table with other data: (nnz,) to (C, K)."""
        return type(self.table)((data, self.table.indices, self.table.indptr), shape=self.table.shape)

    def known_mass(self, p: Array) -> Array:
        """Mass of class probabilities p whose cell is known: (n, C) to (n, K)."""
        if self.sparse and self.class_to_class:
            return np.repeat((p @ self.known_rows)[:, None], self.target.width, axis=1)
        return p @ self.known.astype(np.float64)

    def mixture(self, p: Array) -> Array:
        """Class probabilities p times cell, summed over classes with a known cell: (n, C) to (n, K)."""
        return p @ (self.table if self.sparse else np.nan_to_num(self.table))

    def class_prior(self) -> Array:
        """Class probabilities: the prior, or uniform. Shape (C,)."""
        if self.prior is not None:
            return self.prior
        return np.full(self.source.width, 1.0 / self.source.width)

    def rates(self) -> Array:
        """Base rate of every label: as given, or the prior's mean over known cells. Shape (K,).

        A label of which no cell is known gets .5 (class to class: 1/K).
        """
        if self.base_rate is not None:
            return self.base_rate
        empty = 1.0 / self.target.width if self.class_to_class else 0.5
        if self.sparse:
            whole = self.class_prior()[None]
            mass, hits = self.known_mass(whole)[0], self.mixture(whole)[0]
        else:
            prior = self.class_prior()[:, None] * self.known
            mass, hits = prior.sum(axis=0), (prior * np.nan_to_num(self.table)).sum(axis=0)
        return np.divide(
            hits,
            mass,
            out=np.full(self.target.width, empty),
            where=mass > 0,
        )

    def evidence(self) -> EvidenceTable:
        """Log-likelihood ratios of all cells against the base rates: what targets add to a class's logit."""
        return EvidenceTable.of(self.table, self.rates(), self.class_to_class)

    def indistinguishable(self, tolerance: float = 0.0) -> tuple[tuple[str, ...], ...]:
        """Groups of classes that no label tells apart.

        Two classes are told apart by a label whose cells are known for both and differ by more than
        `tolerance`. Groups are the connected components of "not told apart".

        Raises:
            DenseOnlyError: The table is sparse.
        """
        table = self.cells("to find classes that it cannot tell apart")
        distinct, first, kind = np.unique(
            np.where(self.known, table, -1.0) + 0.0, axis=0, return_index=True, return_inverse=True
        )
        component = np.arange(len(distinct))
        if tolerance > 0 or not self.known.all():  # else distinct rows are told apart
            rows = table[first]
            for i in range(len(rows) - 1):
                alike = ~(np.abs(rows[i + 1 :] - rows[i]) > tolerance).any(axis=1)
                touched = np.unique(component[i + 1 :][alike])
                component[np.isin(component, touched)] = component[i]
        groups: dict[int, list[str]] = {}
        for name, group in zip(self.source.classes, component[kind.reshape(-1)], strict=True):
            groups.setdefault(int(group), []).append(name)
        return tuple(tuple(members) for members in groups.values() if len(members) > 1)

    def uninformative(self, tolerance: float = 0.0) -> tuple[str, ...]:
        """Labels that say nothing of the class: no two known cells differ by more than `tolerance`."""
        if self.sparse:
            high, low = np.full(self.target.width, -np.inf), np.full(self.target.width, np.inf)
            if self.class_to_class:  # a row that is known holds 0 wherever it stores nothing
                stored = np.bincount(self.table.indices, minlength=self.target.width)
                high[stored < self.known_rows.sum()] = low[stored < self.known_rows.sum()] = 0.0
            np.maximum.at(high, self.table.indices, self.table.data)
            np.minimum.at(low, self.table.indices, self.table.data)
        else:
            high = np.where(self.known, self.table, -np.inf).max(axis=0)
            low = np.where(self.known, self.table, np.inf).min(axis=0)
        return tuple(
            name
            for name, spread in zip(self.target.outputs, high - low, strict=True)
            if not spread > tolerance
        )

    def _repr_html_(self) -> str:
        """The table in a notebook."""
        return relation_html(self)

    # -- the same, otherwise ---------------------------------------------------------------------

    def replace(self, **changes: Any) -> Relation:
        """A copy with some fields changed."""
        return replace(self, **changes)

    @cached_property
    def binary(self) -> Relation:
        """The table with 1 for every known cell above 0 (prototypical and observational alike).

        Raises:
            ShapeError: A class-to-class table.
        """
        if self.class_to_class:
            raise ShapeError(f"relation {self.name}: a class-to-class table has no binary form")
        if self.sparse:
            table = self.with_cells((self.table.data > 0).astype(np.float64))
        else:
            table = np.where(self.known, (self.table > 0).astype(np.float64), np.nan)
        return Relation(self.source, self.target, table, prior=self.prior)

    def permuted(self, order: Sequence[int]) -> Relation:
        """The rows in another order: class i gets the row of class order[i] (a control that is wrong).

        Raises:
            ShapeError: An order that is no permutation of the C rows.
        """
        index = np.asarray(order)
        if sorted(index.tolist()) != list(range(self.source.width)):
            raise ShapeError(f"relation {self.name}: an order of {self.source.width} rows is needed")
        return Relation(self.source, self.target, self.table[index], prior=self.prior)

    def shuffled(self, seed: int) -> Relation:
        """The rows in an order drawn by a seed, without a fixed point: the usual control of a wrong table."""
        rng, c = np.random.default_rng(seed), self.source.width
        cycle = rng.permutation(c)
        order = np.empty(c, dtype=np.int64)
        order[cycle] = np.roll(cycle, 1)
        return self.permuted(order.tolist())

    def to_csv(self, path: str | Path) -> None:
        """Write the table to a path, as `from_csv` reads it; unknown cells are blank.

        Raises:
            DenseOnlyError: The table is sparse; `scipy.sparse.save_npz` keeps `table`.
            MissingDataError: There is no such folder.
            OutputError: It cannot be written.
        """
        table = self.cells("a CSV file")
        if not Path(path).parent.is_dir():
            raise MissingDataError(f"cannot write {path}: there is no folder {Path(path).parent}")
        rows = [
            [name, *("" if np.isnan(v) else repr(float(v)) for v in row)]
            for name, row in zip(self.source.classes, table, strict=True)
        ]
        write_csv(path, [[self.source.name, *self.target.outputs], *rows])


def check_ends(source: object, target: object) -> None:
    """Check what a relation leads from and to.

    Raises:
        ShapeError: A source that is no multiclass task, or a target that is no task.
        DuplicateNameError: One task as both.
    """
    if not isinstance(source, MulticlassTask):
        swapped = isinstance(source, Task) and isinstance(target, MulticlassTask)
        raise ShapeError(
            f"the source of a relation is a multiclass task, found {_shown(source)}"
            + ("; source and target are swapped" if swapped else "")
        )
    if not isinstance(target, Task):
        raise ShapeError(
            f"the target of a relation is a multilabel or multiclass task, found {_shown(target)}"
        )
    if source == target:
        raise DuplicateNameError(
            f"a relation leads from one task to another, found {source.name!r} as source and target"
        )


def _shown(value: object) -> str:
    name = value.name if isinstance(value, Task) else value
    return type(value).__name__ + (f" {name!r}" if isinstance(name, str) else "")


def row_weights(weights: Any, n: int) -> Array:
    """Weights of n rows, checked: (n,).

    Raises:
        ShapeError: What is no number.
        RangeError: Another shape, or a weight that is negative or not finite, or none above 0.
    """
    w = as_numbers("weights", weights)
    if w.shape != (n,) or not ((w >= 0) & np.isfinite(w)).all() or not w.any():
        raise RangeError(f"weights have shape ({n},), are finite and >= 0, and not all 0")
    return w


def _is_sparse(values: Any) -> bool:
    return hasattr(values, "tocsr")  # SciPy's mark of a sparse array, without importing it


def _table(owner: str, what: str, values: Any, shape: tuple[int, ...], *names: Sequence[str]) -> Any:
    if _is_sparse(values):
        return _csr(owner, what, values, shape)
    return _array(owner, what, values, shape, *names)


def _csr(owner: str, what: str, values: Any, shape: tuple[int, ...]) -> Any:
    from scipy import sparse

    if values.shape != shape:
        raise ShapeError(f"{owner}: {what} has shape {shape}, found {values.shape}")
    _check_indices(owner, what, values)
    array = sparse.csr_array(values, dtype=np.float64, copy=True)
    _check_indices(owner, what, array)  # of kinds that keep none of their own
    array.sum_duplicates()
    if array.nnz != values.nnz:
        raise DuplicateNameError(f"{owner}: the sparse {what} stores a cell twice")
    unknown = np.isnan(array.data)
    if unknown.any():
        kept = np.repeat(np.arange(shape[0]), np.diff(array.indptr))[~unknown]
        where = (array.data[~unknown], (kept, array.indices[~unknown]))
        array = sparse.csr_array(where, shape=shape)
    for part in (array.data, array.indices, array.indptr):
        part.setflags(write=False)
    return array


def _check_indices(owner: str, what: str, values: Any) -> None:
    """Refuse indices beyond the shape: SciPy looks at none, and reads and writes outside its memory."""
    try:
        if values.format in ("csr", "csc", "bsr"):
            values.check_format(full_check=True)
        elif values.format == "coo":
            for index, size in zip((values.row, values.col), values.shape, strict=True):
                if len(index) != values.nnz or (len(index) and not 0 <= index.min() <= index.max() < size):
                    raise ValueError(f"an index lies outside 0 .. {size - 1}")
    except ValueError as error:
        raise ShapeError(f"{owner}: the sparse {what} is damaged: {error}") from error


def _array(owner: str, what: str, values: Any, shape: tuple[int, ...], *names: Sequence[str]) -> Array:
    array = np.array(as_numbers(f"{owner}: {what}", values, *names))
    if array.shape != shape:
        raise ShapeError(f"{owner}: {what} has shape {shape}, found {array.shape}")
    array.setflags(write=False)
    return array


def _check_rows(owner: str, source: MulticlassTask, table: Any) -> None:
    if _is_sparse(table):
        count, total = np.diff(table.indptr), table.sum(axis=1)
        whole = count > 0
    else:
        known = ~np.isnan(table)
        count, total, whole = known.sum(axis=1), table.sum(axis=1), known.all(axis=1)
    wrong = np.flatnonzero((count > 0) & ~(whole & (np.abs(total - 1) <= ROW_SUM_TOLERANCE)))
    if len(wrong) and not whole[wrong[0]]:
        raise RangeError(
            f"{owner}: the row of class {source.classes[wrong[0]]!r} is known in part; a class-to-class row "
            "is a distribution, known or unknown as a whole"
        )
    if len(wrong):
        raise RangeError(
            f"{owner}: the row of class {source.classes[wrong[0]]!r} must sum to 1, found "
            f"{total[wrong[0]]:.6g}"
        )


def _once(owner: str, labels: Iterable[str]) -> list[str]:
    if isinstance(labels, str):
        raise ShapeError(f"class {owner!r}: prototypical labels are a list of names, found {labels!r}")
    out = list(labels)
    seen: set[str] = set()
    for label in out:
        if label in seen:
            raise DuplicateNameError(f"class {owner!r} lists label {label!r} twice")
        seen.add(label)
    return out


def _place(names: Names, kind: str, name: object) -> int:
    place = names.find(name)
    if place is None:
        raise UnknownNameError.of(kind, name, names.place)
    return place


def _kind(task: Task) -> str:
    return "class" if isinstance(task, MulticlassTask) else "label"


def _turned(file: TableFile, of_rows: Task, of_columns: Task) -> bool:
    """Whether rows and columns are the other way round: a file that could be read in no other way."""
    rows, columns = set(file.rows), set(file.columns)
    other_way = rows & set(of_columns.outputs) and columns & set(of_rows.outputs)
    return bool(other_way) and not rows & set(of_rows.outputs)


def _positions(places: Sequence[str], names: Sequence[str], task: Task, extra: Extra) -> dict[int, int]:
    index, out = {name: i for i, name in enumerate(task.outputs)}, {}
    for i, name in enumerate(names):
        if name in index:
            out[i] = index[name]
        elif extra == "error":
            raise UnknownNameError(f"{places[i]}: {UnknownNameError.of(_kind(task), name, task.outputs)}")
    return out
