"""Sparse tables on a device: constant (C, K) matrices that batches are multiplied with.

`Cells` answers the few questions that couplings ask of a dense tensor (products with a batch, rows of given
classes, comparisons, sums), so that a coupling need not know which of the two it has. Gradients flow to the
batch; the table has none. Shapes depend on data here, so sparse relations cannot be vectorised over models.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

BLOCK = 4096
"""Classes whose part of a batch is multiplied at once, so that it stays in a processor's cache."""


Blocks = tuple[tuple[slice, Tensor], ...]


@dataclass(frozen=True, eq=False)
class Structure:
    """Where the stored cells of a table are; shared by all matrices that are made of it.

    Args:
        starts: (C + 1,) where the cells of each row begin.
        columns: (nnz,) column of each cell.
        shape: (C, K).
        order: (nnz,) for the transpose of another structure: position of each cell in that one.
    """

    starts: Tensor
    columns: Tensor
    shape: tuple[int, int]
    order: Tensor | None = None

    @cached_property
    def rows(self) -> Tensor:
        """(nnz,) row of each cell."""
        count = self.starts.diff()
        return torch.repeat_interleave(torch.arange(self.shape[0], device=count.device), count)

    @cached_property
    def transposed(self) -> Structure:
        """The same with rows and columns exchanged."""
        order = torch.argsort(self.columns, stable=True)
        count = torch.bincount(self.columns, minlength=self.shape[1])
        starts = torch.cat([count.new_zeros(1), count.cumsum(0)])
        return Structure(starts, self.rows[order], self.shape[::-1], order)

    @cached_property
    def blocks(self) -> tuple[tuple[slice, slice, Structure], ...]:
        """Rows, their cells, and the transpose of these rows: for `BLOCK` rows at a time."""
        out = []
        for first in range(0, self.shape[0], BLOCK):
            rows = slice(first, min(first + BLOCK, self.shape[0]))
            starts = self.starts[rows.start : rows.stop + 1]
            cells = slice(int(starts[0]), int(starts[-1]))
            part = Structure(starts - starts[0], self.columns[cells], (len(starts) - 1, self.shape[1]))
            out.append((rows, cells, part.transposed))
        return tuple(out)

    def turned(self, values: Tensor) -> tuple[tuple[slice, Tensor], ...]:
        """The transpose as sparse tensors, block by block, with the rows that each stands for."""
        return tuple((rows, block.matrix(values[cells])) for rows, cells, block in self.blocks)

    def matrix(self, values: Tensor) -> Tensor:
        """A sparse tensor with these values of the cells."""
        if self.order is not None:
            values = values[self.order]
        with warnings.catch_warnings():  # "beta state": said once, of no use to whoever reads it
            warnings.simplefilter("ignore")
            return torch.sparse_csr_tensor(self.starts, self.columns, values, self.shape)

    def sampled(self, left: Tensor, right: Tensor) -> Tensor:
        """The cells of left.T @ right: (n, C) and (n, K) to (nnz,), without the (C, K) whole."""
        return _sampled(left, right, self)


@dataclass(frozen=True, eq=False)
class Cells:
    """A constant matrix (C, K): stored values, 0 elsewhere, plus a constant of each row.

    Args:
        values: (nnz,).
        structure: Where they are.
        constant: (C,) added to every cell of a row; None for 0.
        flipped: Whether this is the transpose, (K, C).
    """

    values: Tensor
    structure: Structure
    constant: Tensor | None = None
    flipped: bool = False

    @cached_property
    def T(self) -> Cells:  # noqa: N802, as of a tensor
        """The transpose."""
        return replace(self, flipped=not self.flipped)

    @cached_property
    def matrices(self) -> tuple[Tensor, Blocks]:
        """The stored part and, by blocks, its transpose, as sparse tensors."""
        return self.structure.matrix(self.values), self.structure.turned(self.values)

    def __rmatmul__(self, batch: Tensor) -> Tensor:
        """Product of a batch and the matrix: (n, C) to (n, K), or (n, K) to (n, C) of the transpose."""
        stored, turned = self.untransposed.matrices
        if self.flipped:
            product = _product(batch, stored, turned, True)
            if self.constant is not None:
                product = product + batch.sum(dim=-1, keepdim=True) * self.constant
            return product
        product = _product(batch, stored, turned, False)
        if self.constant is not None:
            product = product + (batch @ self.constant).unsqueeze(-1)
        return product

    @property
    def untransposed(self) -> Cells:
        """The matrix itself, whose sparse tensors the transpose shares."""
        return self.T if self.flipped else self

    def __getitem__(self, index: Tensor) -> Tensor:
        """Rows of the given classes, dense: (n,) to (n, K)."""
        starts, count = self.structure.starts[index], self.structure.starts.diff()[index]
        row = torch.repeat_interleave(torch.arange(len(index), device=index.device), count)
        before = torch.cat([count.new_zeros(1), count.cumsum(0)[:-1]])
        cell = torch.arange(len(row), device=index.device) + (starts - before)[row]
        out = self.values.new_zeros(len(index), self.structure.shape[1])
        out[row, self.structure.columns[cell]] = self.values[cell]
        return out if self.constant is None else out + self.constant[index].unsqueeze(-1)

    def __gt__(self, number: float) -> Cells:
        return replace(self, values=self.values > number)

    def __ge__(self, number: float) -> Cells:
        return replace(self, values=self.values >= number)

    def to(self, dtype: torch.dtype) -> Cells:
        """The same in another dtype."""
        return replace(self, values=self.values.to(dtype))

    def sum(self, dim: int) -> Tensor:
        """Sum of every row: (C,)."""
        del dim
        rows = self.structure.rows
        total = self.values.new_zeros(self.structure.shape[0]).index_add(0, rows, self.values)
        return total if self.constant is None else total + self.structure.shape[1] * self.constant

    def amax(self, dim: int) -> Tensor:
        """Largest of every column of a matrix without negative cells: (K,)."""
        del dim
        lowest = self.values.new_zeros(()) if self.constant is None else self.constant.amax()
        out = lowest.expand(self.structure.shape[1]).clone()
        return out.scatter_reduce(0, self.structure.columns, self.values, "amax")


def _to_classes(batch: Tensor, stored: Tensor) -> Tensor:
    return (stored @ batch.T).T


def _to_labels(batch: Tensor, turned: Blocks) -> Tensor:
    (rows, matrix), *others = turned
    out = matrix @ batch[:, rows].T
    for rows, matrix in others:
        out += matrix @ batch[:, rows].T
    return out.T


class _Product(torch.autograd.Function):
    """A batch times a sparse matrix without gradient, or (flipped) times its transpose."""

    @staticmethod
    def forward(ctx: Any, batch: Tensor, stored: Tensor, turned: Blocks, flipped: bool) -> Tensor:
        ctx.stored, ctx.turned, ctx.flipped = stored, turned, flipped
        return _to_classes(batch, stored) if flipped else _to_labels(batch, turned)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        back = _to_labels(gradient, ctx.turned) if ctx.flipped else _to_classes(gradient, ctx.stored)
        return back, None, None, None


class _Sampled(torch.autograd.Function):
    """Cells of left.T @ right at the places of a structure."""

    @staticmethod
    def forward(ctx: Any, left: Tensor, right: Tensor, structure: Structure) -> Tensor:
        ctx.save_for_backward(left, right)
        ctx.structure = structure
        blank = structure.matrix(left.new_zeros(len(structure.columns)))
        return torch.sparse.sampled_addmm(blank, left.T.contiguous(), right, beta=0.0).values()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        left, right = ctx.saved_tensors
        stored, turned = ctx.structure.matrix(gradient), ctx.structure.turned(gradient)
        return _to_classes(right, stored), _to_labels(left, turned), None


def _product(batch: Tensor, stored: Tensor, turned: Blocks, flipped: bool) -> Tensor:
    return _Product.apply(batch, stored, turned, flipped)  # type: ignore[no-untyped-call]


def _sampled(left: Tensor, right: Tensor, structure: Structure) -> Tensor:
    return _Sampled.apply(left, right, structure)  # type: ignore[no-untyped-call]
