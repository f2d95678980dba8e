"""A trunk with one head per task."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from concord.errors import ConcordError, ShapeError, UnknownNameError
from concord.networks.batches import length, owned
from concord.networks.torch_state import seeded
from concord.networks.trunks import mlp
from concord.tasks import Task, task_names

Capacity = Literal["shared", "half-shared", "shared+private", "private"]
"""How tasks share a network: everything but the heads, the first layers, everything plus a private sum,
or nothing."""


def dry_features(module: nn.Module, example: Any) -> Tensor:
    """Features that `module` gives for `example`, in evaluation mode and without gradient: (n, width).

    Raises:
        ShapeError: Features that are not of shape (n, width), or an example that the module does not take.
    """
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        with torch.no_grad():
            features = module(example)
    except (RuntimeError, ValueError) as error:
        if isinstance(error, ConcordError | torch.OutOfMemoryError):
            raise
        given = f"of shape {tuple(example.shape)}" if isinstance(example, Tensor) else "as these"
        reason = " ".join(str(error).split())
        raise ShapeError(f"the trunk does not take inputs {given}: {reason}") from error
    finally:
        for part, mode in modes:  # each its own: a trunk may hold parts that are frozen in evaluation mode
            part.training = mode
    if not isinstance(features, Tensor) or features.dim() != 2 or len(features) != length(example):
        found = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
        raise ShapeError(
            f"a trunk gives features of shape (n, width), found {found} for {length(example)} rows"
        )
    return features


class MultiTaskNetwork(nn.Module):
    """Any trunk, with a linear head for each task: input -> logits by task.

    Args:
        trunk: Any module that turns the input into features of shape (n, width).
        tasks: The tasks.
        example: A batch of at least one input (a tensor, or a mapping of tensors), to find the width of the
            features by a dry forward.
        private: For each task a further module between trunk and head, or parallel to the trunk.
        parallel: Whether `private` modules see the input and are added to the trunk's features, rather
            than being applied to them.

    Raises:
        ShapeError: A trunk whose features are not of shape (n, width), or of another width than its
            private neighbour.
        UnknownNameError: A private module for an unknown task.
    """

    def __init__(
        self,
        trunk: nn.Module,
        tasks: Sequence[Task],
        example: Any,
        *,
        private: Mapping[str, nn.Module] | None = None,
        parallel: bool = False,
    ) -> None:
        super().__init__()
        names = task_names(tasks)
        for name in private or {}:
            if name not in names:
                raise UnknownNameError.of("task of a private module", name, names)
        self.tasks = tuple(tasks)
        self.trunk = trunk
        self.private = nn.ModuleDict({_key(name): module for name, module in (private or {}).items()})
        self.parallel = parallel
        shared = dry_features(trunk, example)
        heads = {}
        for task in tasks:
            features = shared
            if _key(task.name) in self.private:
                features = dry_features(self.private[_key(task.name)], example if parallel else shared)
                if parallel and features.shape != shared.shape:
                    raise ShapeError(
                        f"task {task.name!r}: private features have width {features.shape[1]}, the trunk's "
                        f"{shared.shape[1]}; a sum needs the same"
                    )
            heads[_key(task.name)] = nn.Linear(features.shape[1], task.width)
        self.heads = nn.ModuleDict(heads)

    def head(self, task: str) -> nn.Linear:
        """The head of a task."""
        head = self.heads[_key(task)]
        assert isinstance(head, nn.Linear)
        return head

    def features(self, x: Any) -> dict[str, Tensor]:
        """Features of inputs x that each task's head sees, by task: (n, width)."""
        shared = self.trunk(x)
        out = {}
        for task in self.tasks:
            key = _key(task.name)
            if key not in self.private:
                out[task.name] = shared
            elif self.parallel:
                out[task.name] = shared + self.private[key](x)
            else:
                out[task.name] = self.private[key](shared)
        return out

    def forward(self, x: Any) -> dict[str, Tensor]:
        """Logits by task: (n, C) or (n, K)."""
        return {name: self.heads[_key(name)](features) for name, features in self.features(x).items()}


Chosen = int | list[int]
"""Number of the network of a task, or of several."""


class TaskwiseNetwork(nn.Module):
    """Several networks in one, each asked for some of the tasks: what each task chose for itself.

    Args:
        networks: By task, the network that gives its logits, or several of which it takes the mean; the same
            object may serve several tasks.

    Attributes:
        chosen: By task, the number of its network, or a list of numbers.
    """

    def __init__(self, networks: Mapping[str, nn.Module | Sequence[nn.Module]]) -> None:
        super().__init__()
        of = {task: [each] if isinstance(each, nn.Module) else list(each) for task, each in networks.items()}
        distinct = list({id(network): network for each in of.values() for network in each}.values())
        self.networks = nn.ModuleList(distinct)
        numbers = {id(network): number for number, network in enumerate(distinct)}
        self.chosen: dict[str, Chosen] = {
            task: numbers[id(each[0])] if len(each) == 1 else [numbers[id(network)] for network in each]
            for task, each in of.items()
        }

    @classmethod
    def restored(cls, chosen: Mapping[str, Chosen], build: Callable[[int], nn.Module]) -> TaskwiseNetwork:
        """The same network anew, from its numbers and a function that builds the one of a number."""
        wanted = {task: [each] if isinstance(each, int) else each for task, each in chosen.items()}
        made = [build(number) for number in range(max(n for each in wanted.values() for n in each) + 1)]
        return cls({task: [made[number] for number in each] for task, each in wanted.items()})

    def members(self, task: str) -> list[nn.Module]:
        """The networks of a task."""
        each = self.chosen[task]
        return [self.networks[number] for number in ([each] if isinstance(each, int) else each)]

    def forward(self, x: Any) -> dict[str, Tensor]:
        """Logits by task: (n, C) or (n, K)."""
        logits = [network(owned(x)) for network in self.networks]
        return {
            task: logits[each][task]
            if isinstance(each, int)
            else torch.stack([logits[number][task] for number in each]).mean(dim=0)
            for task, each in self.chosen.items()
        }


def tasks_of_part(weights: Mapping[str, Tensor], number: int, tasks: Sequence[Task]) -> list[Task]:
    """Tasks of one network of a `TaskwiseNetwork`, by the heads that its weights hold."""
    return [task for task in tasks if f"networks.{number}.heads.{_key(task.name)}.weight" in weights]


def mlp_network(
    inputs: int,
    tasks: Sequence[Task],
    *,
    hidden: Sequence[int] = (128, 128),
    dropout: float = 0.2,
    capacity: Capacity = "shared",
    generator: torch.Generator | None = None,
) -> MultiTaskNetwork:
    """A multilayer perceptron for several tasks.

    Args:
        inputs: Width of the input rows.
        tasks: The tasks.
        hidden: Widths of the hidden layers.
        dropout: Probability of dropping a unit.
        capacity: ``"shared"`` one trunk; ``"half-shared"`` the last hidden layer is each task's own;
            ``"shared+private"`` each task adds the features of a trunk of its own; ``"private"`` a trunk
            for each task and nothing shared.
        generator: Source of the initial weights; None uses torch's global one.

    Raises:
        UnknownNameError: A capacity of another name.
    """
    if capacity not in get_args(Capacity):
        raise UnknownNameError.of("capacity", capacity, get_args(Capacity))
    # Layers draw default weights as they are made: with a generator of its own, that must leave no trace.
    with nullcontext() if generator is None else seeded(None):
        return initialise(_mlp_network(inputs, tasks, hidden, dropout, capacity), generator)


def _mlp_network(
    inputs: int, tasks: Sequence[Task], hidden: Sequence[int], dropout: float, capacity: Capacity
) -> MultiTaskNetwork:
    example = torch.zeros(1, inputs)
    if capacity == "shared":
        return MultiTaskNetwork(mlp(inputs, hidden, dropout=dropout), tasks, example)
    if capacity == "half-shared":
        first: nn.Module = mlp(inputs, hidden[:-1], dropout=dropout) if len(hidden) > 1 else nn.Identity()
        last_inputs = hidden[-2] if len(hidden) > 1 else inputs
        last = {task.name: mlp(last_inputs, hidden[-1:], dropout=dropout) for task in tasks}
        return MultiTaskNetwork(first, tasks, example, private=last)
    own = {task.name: mlp(inputs, hidden, dropout=dropout) for task in tasks}
    trunk = nn.Identity() if capacity == "private" else mlp(inputs, hidden, dropout=dropout)
    return MultiTaskNetwork(trunk, tasks, example, private=own, parallel=capacity == "shared+private")


def initialise(network: MultiTaskNetwork, generator: torch.Generator | None) -> MultiTaskNetwork:
    """Draw the weights of all linear and convolutional layers anew, from `generator` alone."""
    if generator is None:
        return network
    for module in network.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            fan_in = module.weight[0].numel()
            bound = fan_in**-0.5  # the bound of torch's own default initialisation
            with torch.no_grad():
                module.weight.uniform_(-bound, bound, generator=generator)
                if module.bias is not None:
                    module.bias.uniform_(-bound, bound, generator=generator)
    return network


def _key(name: str) -> str:
    # A module's name may hold no dot and be no attribute of its container; a task's name may.
    return "task_" + name.replace(".", "\u2024")
