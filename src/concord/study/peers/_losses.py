"""What the peers that weigh losses or gradients share: one supervised loss a task, combined by a rule."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import nnls
from torch import Tensor, nn

from concord.arrays import Array
from concord.errors import StudyError
from concord.objective import CoupledObjective, ObjectiveResult
from concord.relations import Relation
from concord.study.conditions import Condition
from concord.study.spec import AnyNetwork, TrunkNetwork
from concord.tasks import Task

NOTHING_SHARED = (
    "gradients are weighed of layers that are trained and that two tasks or more share, and there are none: "
    "give another task, or freeze less of the trunk"
)


class CombinedLosses(CoupledObjective):
    """The supervised losses of all tasks, combined otherwise than by their sum. Abstract.

    The parts of its result are the plain losses, so that learning curves can be compared. What a rule
    remembers from step to step is part of its state, so that a training that is taken up goes on alike.
    """

    takes_pieces = False

    def __init__(self, tasks: Sequence[Task]) -> None:
        super().__init__(tasks)
        # In a tuple: they are views of the same tasks, not parts with a state of their own.
        self._alone = tuple(CoupledObjective([task]) for task in tasks)

    def forward(
        self,
        logits: Mapping[str, Tensor],
        targets: Mapping[str, Tensor | Array],
        *,
        soft: Mapping[str, Tensor | Array] | None = None,
        sample_weight: Mapping[str, Tensor | Array] | None = None,
        shares: Mapping[str, Tensor | Array] | None = None,
    ) -> ObjectiveResult:
        """Loss of a batch; see `CoupledObjective`. Peers take neither soft targets nor sample weights."""
        assert not soft
        assert not sample_weight
        losses = [
            objective(
                logits, targets, shares={n: v for n, v in (shares or {}).items() if n in objective.tasks}
            ).loss
            for objective in self._alone
        ]
        parts = {name: loss.detach() for name, loss in zip(self.tasks, losses, strict=True)}
        return ObjectiveResult(self.combined(losses), parts)

    @abstractmethod
    def combined(self, losses: Sequence[Tensor]) -> Tensor:
        """A scalar to call `backward` on, from the tasks' losses, T scalars."""


class CombinedGradients(CombinedLosses):
    """The tasks' gradients of the shared parameters, combined by a rule. Abstract.

    Shared is what more than one task's loss depends on. A task's own parameters get that task's gradient.

    Args:
        tasks: The tasks.
        network: Whose parameters are trained.
    """

    def __init__(self, tasks: Sequence[Task], network: nn.Module) -> None:
        super().__init__(tasks)
        self._parameters_of = tuple(network.parameters())

    @abstractmethod
    def direction(self, gradients: Tensor) -> Tensor:
        """The gradient to follow, (P,), from the tasks' gradients of the shared parameters, (T, P)."""

    def combined(self, losses: Sequence[Tensor]) -> Tensor:
        """The sum of the losses, with the combined gradient in place of its own.

        Raises:
            StudyError: No layer that is trained is shared.
        """
        # Asked for now: a training freezes layers after its objective was made.
        parameters = [parameter for parameter in self._parameters_of if parameter.requires_grad]
        each = [
            torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True) for loss in losses
        ]
        users = [sum(grads[i] is not None for grads in each) for i in range(len(parameters))]
        shared = [i for i, n in enumerate(users) if n > 1]
        if not shared:
            raise StudyError(NOTHING_SHARED)
        matrix = torch.stack([torch.cat([_flat(grads[i], parameters[i]) for i in shared]) for grads in each])
        sizes = [parameters[i].numel() for i in shared]
        chosen = dict(zip(shared, torch.split(self.direction(matrix), sizes), strict=True))
        # A sum of products has the wanted gradient; its own value is taken off again.
        terms = [
            (parameters[i].flatten() * chosen.get(i, _own(each, i, parameters[i]))).sum()
            for i, n in enumerate(users)
            if n
        ]
        carrier = torch.stack(terms).sum()
        return torch.stack(list(losses)).sum().detach() + (carrier - carrier.detach())


class OfGradients(Condition):
    """A shared network whose tasks' gradients are combined by a rule. Abstract."""

    def check(self, tasks: Sequence[Task], relations: Sequence[Relation], network: AnyNetwork) -> None:
        """See `Condition.check`.

        Raises:
            StudyError: One task alone, or a trunk that is frozen as a whole.
        """
        del relations
        if len(tasks) < 2 or (isinstance(network, TrunkNetwork) and "trunk" in network.freeze):
            raise StudyError(NOTHING_SHARED)


def _flat(gradient: Tensor | None, parameter: Tensor) -> Tensor:
    if gradient is None:
        return torch.zeros(parameter.numel(), device=parameter.device)
    return gradient.detach().flatten()


def _own(each: Sequence[Sequence[Tensor | None]], i: int, parameter: Tensor) -> Tensor:
    return torch.stack([_flat(grads[i], parameter) for grads in each]).sum(dim=0)


def factor(gramian: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """B with B^T B = G, for a symmetric positive semidefinite G: (T, T)."""
    values, vectors = np.linalg.eigh(np.asarray(gramian, dtype=np.float64))
    return np.sqrt(np.maximum(values, 0))[:, None] * vectors.T


def dual_cone_weights(u: npt.ArrayLike, gramian: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Weights v >= u of least v^T G v: (T,).

    J^T v is then the projection of J^T u onto the cone of directions that no row of J opposes, where
    G = J J^T. Source: Quinton and Rey, "Jacobian Descent for Multi-Objective Optimization", 2024,
    Proposition 1. Solved as a non-negative least squares problem in v - u.
    """
    start, b = np.asarray(u, dtype=np.float64), factor(gramian)
    return start + nnls(b, -b @ start)[0]
