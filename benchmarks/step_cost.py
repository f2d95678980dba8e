"""What a training step costs with and without each coupling, and our loop beside a plain one.

    python benchmarks/step_cost.py [--threads 2] [--pairs 60] [--only mlp resnet] [--out FILE] [--page]

Every coupling is timed in pairs within one run, plain and coupled steps in turn on the same network. With one
thread the clock is the processor time of this process, so that ratios hold on a busy machine, too; with more,
and on a GPU, it is the time that passes. Memory is what autograd keeps for the backward pass (on a GPU: the
peak of what is allocated). Networks for a GPU are skipped where there is none. What
--out holds is not measured again.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

import concord as cc
from concord.fitting import Recipe, Rows, fit
from concord.networks import MultiTaskNetwork, SmallResNet, mlp
from held import Held
from page import PAGE, machine, page_option, table, write_section


@dataclass(frozen=True)
class Case:
    """One network.

    Attributes:
        title: As the page names it.
        trunk: Makes the trunk.
        shape: Of one input.
        batch: Rows of a step.
        steps: Steps timed at once.
        gpu: Whether it needs a GPU; then it trains in bf16.
        goal: Largest ratio wanted; None where none was set.
    """

    title: str
    trunk: Callable[[], nn.Module]
    shape: tuple[int, ...]
    batch: int
    steps: int
    gpu: bool = False
    goal: float | None = None


def vision_trunk(kind: str) -> nn.Module:
    """ResNet-50 or ViT-B/16, as transformers builds them, with random weights."""
    import transformers

    from concord.networks import VisionTrunk

    config = transformers.ResNetConfig() if kind == "resnet50" else transformers.ViTConfig()
    model = transformers.AutoModel.from_config(config)
    if kind == "vit":
        model.pooler = None
    return VisionTrunk(model)


CASES = {
    "default": Case("MLP 128-128, 64 features", lambda: mlp(64, (128, 128), dropout=0.2), (64,), 128, 8),
    "mlp": Case("MLP 512-512, 128 features", lambda: mlp(128, (512, 512)), (128,), 512, 4, goal=1.10),
    "resnet": Case("small residual net, 32 px", SmallResNet, (3, 32, 32), 64, 1),
    "resnet50": Case(
        "ResNet-50, 224 px, bf16", lambda: vision_trunk("resnet50"), (3, 224, 224), 128, 4, True, 1.02
    ),
    "vit": Case("ViT-B/16, 224 px, bf16", lambda: vision_trunk("vit"), (3, 224, 224), 64, 4, True, 1.02),
}


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, and with --page write the section."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--pairs", type=int, default=60, help="pairs of plain and coupled, by coupling")
    parser.add_argument("--loop-pairs", type=int, default=15, help="pairs of our loop and a plain one")
    parser.add_argument("--loop-steps", type=int, default=100, help="steps of a training in these pairs")
    parser.add_argument("--only", nargs="+", choices=sorted(CASES), default=list(CASES))
    parser.add_argument("--measured", action="store_true", help="only what --out holds; the rest is left out")
    parser.add_argument("--out", type=Path, help="where networks are kept, so that none is measured twice")
    page_option(parser, PAGE)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    held, found, skipped = Held(options.out), {}, []
    settings = {"pairs": options.pairs, "loops": [options.loop_pairs, options.loop_steps]}
    for name in options.only:
        key = {"case": name, **settings}
        if key not in held and (options.measured or (CASES[name].gpu and not torch.cuda.is_available())):
            skipped.append(CASES[name].title)
            continue
        found[name] = held.once(key, partial(measured, CASES[name], options))
    body = page_body(options, found, skipped)
    print(body)
    if options.page:
        write_section("step-cost", "What a coupling costs", body, options.page)


def measured(case: Case, options: argparse.Namespace) -> dict[str, Any]:
    """Steps and loops of a network, and where they ran."""
    told = [f"torch {torch.__version__}", f"{options.threads} threads"]
    if case.gpu:
        told.append(torch.cuda.get_device_name())
    where = machine(*told)
    steps = step_costs(case, options.pairs)
    loop = loop_rate(case, options.loop_pairs, options.loop_steps)
    return {"where": where, "steps": steps, "loop": loop}


# -- a step, with and without ----------------------------------------------------------------------


def problem(case: Case, rows: int, device: str) -> tuple[cc.Relation, Tensor, dict[str, Tensor]]:
    """Random rows: half with a class, half with labels and a few gaps."""
    relation = cc.tables.expressions()
    rng = np.random.default_rng(0)
    y = rng.integers(0, relation.source.width, rows)
    a = rng.integers(0, 2, (rows, relation.target.width)).astype(np.float32)
    a[rng.random(a.shape) < 0.1] = np.nan
    y[1::2], a[::2] = -1, np.nan
    x = torch.from_numpy(rng.normal(size=(rows, *case.shape)).astype(np.float32))
    targets = {relation.source.name: torch.from_numpy(y), relation.target.name: torch.from_numpy(a)}
    return relation, x.to(device), {name: t.to(device) for name, t in targets.items()}


def network_of(case: Case, relation: cc.Relation, device: str) -> MultiTaskNetwork:
    """The network, with the same weights every time."""
    torch.manual_seed(0)
    tasks = [relation.source, relation.target]
    return MultiTaskNetwork(case.trunk(), tasks, torch.zeros(1, *case.shape)).to(device).train()


def step_costs(case: Case, pairs: int) -> list[list[str]]:
    """A row of the table for each coupling."""
    device = "cuda" if case.gpu else "cpu"
    relation, x, targets = problem(case, case.batch, device)
    network = network_of(case, relation, device)
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-4, fused=True)

    def stepper(couplings: list[Any]) -> Callable[[], None]:
        tasks = [relation.source, relation.target]
        objective = cc.CoupledObjective(tasks, [relation], couplings, validate=False)

        def step() -> None:
            with torch.autocast(device, torch.bfloat16, enabled=case.gpu):
                logits = network(x)
            objective(logits, targets).loss.backward()
            optimiser.step()
            optimiser.zero_grad()

        return step

    def seconds(step: Callable[[], None]) -> float:
        start = now(device)
        for _ in range(case.steps):
            step()
        return (now(device) - start) / case.steps

    plain = stepper([])
    coupled = {name: stepper(cc.couplings.make_couplings(name)) for name in cc.couplings.LOSSES}
    for step in (plain, *coupled.values()):
        step()
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in coupled}
    gc.disable()
    for number in range(pairs):
        for name, step in coupled.items():
            if number % 2:
                without = seconds(plain)
                times[name].append((without, seconds(step)))
            else:
                with_it = seconds(step)
                times[name].append((seconds(plain), with_it))
    gc.enable()
    least = memory(plain, device)
    rows = []
    for name, found in times.items():
        ratios = sorted(with_it / without for without, with_it in found)
        low, high = np.quantile(ratios, (0.25, 0.75))
        goal = "" if case.goal is None else f"<= {case.goal:.2f}"
        rows.append(
            [
                f"{case.title}, batch {case.batch}",
                name,
                f"{1e3 * statistics.median(without for without, _ in found):.2f}",
                f"{statistics.median(ratios):.3f}",
                f"{low:.3f} to {high:.3f}",
                goal,
                f"{memory(coupled[name], device) / least:.3f}",
            ]
        )
    return rows


def now(device: str) -> float:
    """Seconds: of the processor with one thread, else of the clock, when the accelerator is done."""
    if device == "cuda":
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


def memory(step: Callable[[], None], device: str) -> int:
    """Bytes: on a GPU the peak of a step, else what autograd keeps, every storage once."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        step()
        return torch.cuda.max_memory_allocated()
    kept: dict[int, int] = {}
    held: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        held.append(tensor)  # or its place could be used again
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        step()
    return sum(kept.values())


# -- our loop beside a plain one -------------------------------------------------------------------


def loop_rate(case: Case, pairs: int, steps: int) -> list[str]:
    """A row of the table: rows a second of `fit` and of a loop written out."""
    device = "cuda" if case.gpu else "cpu"
    if len(case.shape) > 1:  # images take longer
        steps = max(5, steps // 10)
    relation, x, targets = problem(case, 4 * case.batch, device)
    tasks = [relation.source, relation.target]
    network = network_of(case, relation, device)
    data = Rows(x, targets)

    def ours() -> float:
        start = now(device)
        fit(
            network,
            cc.CoupledObjective(tasks),
            data,
            steps=steps,
            rows_per_task=case.batch // 2,
            log_every=50,
            recipe=Recipe(precision="bf16-mixed" if case.gpu else "32-true"),
        )
        return steps * case.batch / (now(device) - start)

    def plain() -> float:
        start = now(device)
        plain_loop(network, x, targets, relation, steps, case)
        return steps * case.batch / (now(device) - start)

    ours(), plain()
    rates = []
    for number in range(pairs):
        if number % 2:
            first = plain()
            rates.append((ours(), first))
        else:
            rates.append((ours(), plain()))
    ratios = [mine / other for mine, other in rates]
    low, high = np.quantile(ratios, (0.25, 0.75))
    return [
        f"{case.title}, batch {case.batch}, {steps} steps",
        f"{statistics.median(mine for mine, _ in rates):,.0f}",
        f"{statistics.median(other for _, other in rates):,.0f}",
        f"{statistics.median(ratios):.3f}",
        f"{low:.3f} to {high:.3f}",
        ">= 0.97",
    ]


def plain_loop(
    network: nn.Module, x: Tensor, targets: dict[str, Tensor], relation: cc.Relation, steps: int, case: Case
) -> None:
    """What anyone would write: random batches of the same size, masked losses, AdamW.

    It does the work of `fit` on the same network: rows gathered in memory, a loss of each task over what is
    annotated, the same optimiser with the same options, a record every 50 steps. It shuffles rows where `fit`
    balances tasks, and divides by cells where `fit` divides by samples: both are a little less to do.
    """
    y, a = targets[relation.source.name], targets[relation.target.name]
    optimiser = torch.optim.AdamW(network.parameters(), lr=2e-3, fused=True)
    network.train()
    generator = torch.Generator().manual_seed(0)
    done = 0
    while done < steps:
        order = torch.randperm(len(x), generator=generator).to(x.device)
        for index in order.split(case.batch):
            with torch.autocast(x.device.type, torch.bfloat16, enabled=case.gpu):
                logits = network(x[index])
            labels = a[index]
            seen = ~torch.isnan(labels)
            z = logits[relation.target.name].float()
            each = functional.binary_cross_entropy_with_logits(z, torch.nan_to_num(labels), reduction="none")
            loss = functional.cross_entropy(logits[relation.source.name].float(), y[index], ignore_index=-1)
            loss = loss + (each * seen).sum() / seen.sum().clamp(min=1)
            loss.backward()
            optimiser.step()
            optimiser.zero_grad()
            done += 1
            if done % 50 == 0:
                float(loss.detach())  # a record, as ours makes
            if done == steps:
                break


# -- the page --------------------------------------------------------------------------------------


def page_body(options: argparse.Namespace, found: dict[str, dict[str, Any]], skipped: list[str]) -> str:
    """The section in Markdown."""
    rows = [row for each in found.values() for row in each["steps"]]
    loops = [each["loop"] for each in found.values()]
    places = dict.fromkeys(each["where"] for each in found.values())
    where = "; ".join(
        f"{', '.join(name for name, each in found.items() if each['where'] == place)}: {place}"
        for place in places
    )
    command = (
        f"python benchmarks/step_cost.py --threads {options.threads} --pairs {options.pairs} "
        f"--loop-pairs {options.loop_pairs} --loop-steps {options.loop_steps} "
        f"--only {' '.join(options.only)} --page"
    )
    clock = (
        "Clock: processor time of this process"
        if options.threads == 1
        else "Clock: the time that passes, so that other load on the machine shows in the times"
    )
    parts = [
        f"`{command}`\n\n{where}. {clock}.",
        f"A training step (forward, loss, backward, AdamW) with one coupling, as a multiple of the same step "
        f"without: the median of {options.pairs} pairs taken in turn, and its quartiles. Two tasks, 7 classes and 17 "
        "labels, half the rows annotated for each. Memory: what is kept for the backward pass (on a GPU the "
        "peak), as a multiple of the same without.",
        table(
            ["network", "coupling", "ms without", "ratio", "quartiles", "goal", "memory"],
            rows,
        ),
        "Rows a second of `concord.fitting.fit` and of a plain PyTorch loop with the same network, optimiser and "
        f"batch size, the setting up of both included: medians of {options.loop_pairs} pairs taken in turn. "
        "`fit` has the C library keep freed memory (`concord.launch.keep_freed_memory`); both loops run in one "
        "process, so the plain one gains by that, too.",
        table(["network", "fit", "plain loop", "ratio", "quartiles", "goal"], loops),
    ]
    if skipped:
        parts.append(f"Not measured, for want of a GPU or of time: {'; '.join(skipped)}.")
    return "\n\n".join(parts)


if __name__ == "__main__":
    main()
