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
from typing import Any

import numpy as np
import numpy.typing as npt

from concord.arrays import check_probability
from concord.errors import DenseOnlyError, MissingDataError, RangeError, ShapeError
from concord.files import write_csv
from concord.relations.checking import (
    array_of,
    base_rate_of,
    check_distributions,
    check_ends,
    is_sparse,
    prior_of,
    table_of,
)
from concord.relations.counting import counted
from concord.relations.evidence import EvidenceTable
from concord.relations.html import relation_html
from concord.relations.listed import listed_cells
from concord.relations.reading import Extra, read_cells
from concord.relations.telling import alike, spread
from concord.tasks import MulticlassTask, MultilabelTask, Task

Array = npt.NDArray[np.float64]


Table = Any
"""An `Array`, or a `csr_array` of SciPy, which has no types."""


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
        table = table_of(owner, "table", self.table, shape, *names)
        check_probability(owner, table.data if self.sparse else table)
        if isinstance(self.target, MulticlassTask):
            check_distributions(owner, self.source, table)
        object.__setattr__(self, "table", table)
        if self.strength is not None:
            strength = table_of(owner, "strength", self.strength, shape, *names)
            if not ((strength.data if is_sparse(strength) else strength) >= 0).all():
                raise RangeError(f"{owner}: strengths are counts >= 0")
            object.__setattr__(self, "strength", strength)
        if self.interval is not None:
            object.__setattr__(self, "interval", array_of(owner, "interval", self.interval, (2, *shape)))
        if self.prior is not None:
            object.__setattr__(self, "prior", prior_of(owner, self.prior, names[0]))
        if self.base_rate is not None:
            object.__setattr__(self, "base_rate", base_rate_of(owner, self.base_rate, self.target))

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
        complete: bool = False,
    ) -> Relation:
        """Read a table: a header with the target's names, then a row for each class.

        Rows and columns may come in any order; the first column holds the class name, whatever its
        header. A blank cell is unknown, and so is a class or label that the file does not list (unless it
        has to be `complete`). What is wrong in the file is named by file, line and column.

        Args:
            source: The task of the rows.
            target: The task of the columns.
            path: The file; UTF-8, with or without a byte order mark.
            transpose: The file has the target's names as rows and the classes as columns.
            normalize: Divide every row by its sum (to read a 0/1 membership table as class-to-class).
            extra: Whether rows and columns of names that the tasks do not have are an error or ignored.
            complete: Whether a file that lacks a class or label is an error; otherwise all of that class or
                label is unknown. A config asks for it unless it says `extra: ignore`.

        Raises:
            MissingDataError: No such file.
            TableFormatError: A cell that is no number, or a row of another length.
            UnknownNameError: A row or column that is no class or label (unless `extra="ignore"`), a file
                that is turned, or that lacks a class or label where it must be complete; another `extra`.
            DuplicateNameError: A row or column that occurs twice.
            RangeError: A cell outside [0, 1] (with `normalize`, below 0).
        """
        check_ends(source, target)
        how = {"transpose": transpose, "normalize": normalize, "complete": complete}
        cells = read_cells(source, target, path, extra=extra, **how)
        return cls(source, target, cells)

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
        return cls(source, target, listed_cells(source, target, prototypical, observational or {}))

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
                then the number of rows that a cell would need if each stood alone; intervals of few groups
                are wider still, as few tell little of how alike rows are. None: each row stands alone.
            pseudo_count: Weight of the prior, in observations, > 0.
            level: Probability mass of the intervals, in (0, 1).

        Raises:
            ShapeError: Another number of rows or groups, or a source or target that is no such task.
            AnnotationError: A row without a group.
            RangeError: A weight that is negative or not finite, a prior weight that is not > 0, a level
                outside (0, 1).
            NoAnnotationError: No sample carries both annotations.
        """
        check_ends(source, target)
        found = counted(
            source,
            target,
            classes,
            targets,
            weights=weights,
            groups=groups,
            pseudo_count=pseudo_count,
            level=level,
        )
        return cls(
            source,
            target,
            found.mean,
            strength=found.strength,
            interval=found.interval,
            prior=found.prior,
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
        return is_sparse(self.table)

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
        strength = strength.toarray() if is_sparse(strength) else strength
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
        cells = self.cells("to find classes that it cannot tell apart")
        kind = alike(cells, tolerance)
        groups: dict[int, list[str]] = {}
        for name, group in zip(self.source.classes, kind.tolist(), strict=True):
            groups.setdefault(group, []).append(name)
        return tuple(tuple(members) for members in groups.values() if len(members) > 1)

    def uninformative(self, tolerance: float = 0.0) -> tuple[str, ...]:
        """Labels that say nothing of the class: no two known cells differ by more than `tolerance`."""
        whole = self.known_rows if self.sparse and self.class_to_class else None
        spreads = spread(self.table, whole)
        return tuple(
            name
            for name, width in zip(self.target.outputs, spreads.tolist(), strict=True)
            if not width > tolerance
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
