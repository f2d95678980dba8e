"""What the package makes of the drawn relations, worlds and data: values as they are recorded."""

from __future__ import annotations

import json
import os
import shutil
import warnings
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from golden import api
from golden.drawing import (
    DOTS,
    PLAN,
    ROWS,
    SHAPE,
    Drawn,
    World,
    config,
    data_on_disk,
    drawn,
    said,
    world,
)
from golden.machine import digest, one_thread, write_json

# -- relations ------------------------------------------------------------------------------------------

SOME = slice(0, ROWS, ROWS // 12)
"""Rows of which every number is kept: with a class, with an outcome, with both."""


def relation_values(index: int) -> dict[str, np.ndarray]:
    """Evidence, decoding, couplings and the check of a drawn relation, by what they are."""
    case = drawn(index)
    found: dict[str, Any] = {}
    with one_thread():
        found |= _evidence(case)
        found |= _decoding(case)
        found |= _couplings(case)
        found |= _check(case)
    return {name: np.asarray(value) for name, value in found.items()}


def _observations(case: Drawn) -> api.Observations:
    relation = case.relation
    return api.Observations(
        relation.source,
        relation.target,
        case.y,
        case.a,
        said(case.source_logits, True),
        said(case.target_logits, relation.class_to_class),
        case.weight,
    )


def _evidence(case: Drawn) -> dict[str, Any]:
    seen, relation = _observations(case), case.relation
    arguments = seen.active, seen.seen, relation.class_to_class
    log_likelihood = api.evidence(relation.table, relation.rates(), *arguments)
    fitted = api.fit_exponent(seen, relation.table)
    return {
        "relation/rates": relation.rates(),
        "relation/class prior": relation.class_prior(),
        "relation/known rows": relation.known_rows,
        "relation/neutral": relation.neutral,
        "evidence": log_likelihood[SOME],
        "evidence/by the rows' own rates": api.evidence(relation.table, seen.base_rates(), *arguments)[SOME],
        "evidence/sum": log_likelihood.sum(axis=0),
        **_flat("evidence/fitted", fitted),
        "staging/posterior": api.posterior_targets(seen.class_proba, case.a, relation, 0.7)[SOME],
    }


def _decoding(case: Drawn) -> dict[str, Any]:
    seen, relation = _observations(case), case.relation
    p, q = seen.class_proba[SOME], seen.target_proba[SOME]
    suggestion, mass = api.implied(p, relation)
    decoder = api.JointDecoder(relation).fit(seen.class_proba, seen.target_proba, case.y, case.a)
    classes, outcomes = decoder.decode(p, q)
    class_rows, outcome_rows = (
        task.annotated(values) for task, values in ((relation.source, case.y), (relation.target, case.a))
    )
    out = {
        "decoding/implied": suggestion,
        "decoding/mass": mass,
        "decoding/target strength": decoder.target_strength,
        "decoding/class strength": decoder.class_strength,
        "decoding/classes": classes,
        "decoding/targets": outcomes,
        "decoding/class temperature": api.temperature(
            case.source_logits[class_rows], case.y[class_rows], True
        ),
        "decoding/target temperature": api.temperature(
            case.target_logits[outcome_rows],
            case.a[outcome_rows].astype(int) if relation.class_to_class else case.a[outcome_rows],
            relation.class_to_class,
        ),
    }
    for strength in (0.35, 1.0):
        out[f"decoding/classes at {strength}"] = api.decode_classes(p, q, relation, strength)
        out[f"decoding/targets at {strength}"] = api.decode_targets(p, q, relation, strength)
    return out


def _couplings(case: Drawn) -> dict[str, Any]:
    relation = case.relation
    names = relation.source.name, relation.target.name
    index = torch.arange(relation.source.width)
    like = torch.zeros((), dtype=torch.float64)
    tensors = api.relation_tensors(relation, like)
    out = {}
    for field in fields(tensors):
        values = getattr(tensors, field.name)  # a tensor, or what stands for one of a sparse table
        out[f"tensors/{field.name}"] = values[index].numpy()
    logits = {
        name: torch.tensor(z[SOME], requires_grad=True)
        for name, z in zip(names, (case.source_logits, case.target_logits), strict=True)
    }
    kind = torch.int64 if relation.class_to_class else torch.float32
    targets = {names[0]: torch.tensor(case.y[SOME]), names[1]: torch.tensor(case.a[SOME], dtype=kind)}
    view = api.View(logits, targets, relation)
    out |= {
        f"view/{name}": getattr(view, name).detach().numpy()
        for name in ("log_p", "p", "class_known", "seen", "active", "target_known", "informed")
    }
    for i, part in enumerate((*view.table_rows, *view.mixed())):
        out[f"view/table rows and mixed {i}"] = part.detach().numpy()
    out["view/evidence"] = view.evidence().numpy()
    out["view/posterior"] = api.class_posterior(view, 0.7).numpy()
    for name, make in api.COUPLINGS.items():
        for coupling in make():
            if coupling.supports(relation):
                loss = coupling(logits, targets, relation)
                gradients = torch.autograd.grad(loss, list(logits.values()), allow_unused=True)
                out[f"coupling/{name}/{coupling.name}"] = loss.item()
                for task, gradient in zip(names, gradients, strict=True):
                    if gradient is not None:
                        out[f"coupling/{name}/{coupling.name}/gradient of {task}"] = gradient.numpy()
    return out


def _check(case: Drawn) -> dict[str, Any]:
    seen, crossed = _observations(case), None
    if case.folds is not None:
        crossed = api.FoldPredictions(np.arange(ROWS) % 3, said(case.folds, True), seen.target_proba)
    found = api.check_relation(seen, case.supplied, crossed)
    return {**_flat("check", found), "check/sentences": found.sentences()}


def _flat(name: str, value: Any) -> dict[str, Any]:
    """A dataclass of dataclasses, relations and tuples as named arrays; None is the text `None`."""
    if isinstance(value, api.Relation):
        ends = {f"{name}/ends": [value.source.name, value.target.name]}
        return ends | _joined((f"{name}/{f}", getattr(value, f)) for f in api.relation_fields)
    if is_dataclass(value):
        return _joined(
            (f"{name}/{api.recorded_names.get(field.name, field.name)}", getattr(value, field.name))
            for field in fields(value)
        )
    if isinstance(value, tuple):
        return {f"{name}/count": len(value)} | _joined((f"{name}/{i}", v) for i, v in enumerate(value))
    return {name: "None" if value is None else value}


def _joined(parts: Any) -> dict[str, Any]:
    return {key: kept for name, value in parts for key, kept in _flat(name, value).items()}


# -- worlds ---------------------------------------------------------------------------------------------

SMALL: dict[str, Any] = {
    "steps": 40,
    "hidden": (12, 12),
    "dropout": 0.1,
    "rows_per_task": 24,
    "learning_rate": 0.01,
    "effort": "fast",
    "random_state": 0,
}
WAYS: dict[str, dict[str, Any]] = {
    "auto, distilled": {"coupling": "auto"},
    "auto, bagged": {"coupling": "auto", "artefact": "bagged"},
    "auto, no table": {"coupling": "auto", "relations": None},
    "two-stage": {"coupling": "two-stage"},
    "posterior": {"coupling": "posterior"},
    "none": {"coupling": None},
}
"""Only `auto` ends with one artefact or another."""


@contextmanager
def quiet() -> Iterator[None]:
    """One thread, and none of the package's warnings: these data give reason to several."""
    with one_thread(), warnings.catch_warnings():
        warnings.simplefilter("ignore", api.ConcordWarning)
        yield


def fitted(given: World, way: str, **changes: Any) -> api.CoupledClassifier:
    options = {"relations": given.relations, **SMALL, **WAYS[way], **changes}
    extra = dict(given.fit)
    if options["coupling"] in ("posterior", None):  # `auto` refuses weights: it trains single tasks too
        extra["sample_weight"] = 0.5 + np.arange(len(given.x)) % 3
    with quiet():
        return api.CoupledClassifier(given.tasks, **options).fit(given.x, given.y, **extra)


def world_values(name: str, way: str) -> dict[str, Any]:
    """What a fit in a world came to, as plain data."""
    given = world(name)
    model = fitted(given, way)
    with quiet():
        predicted = model.predict_proba(given.new)
    weights = {
        each: digest(value.numpy() for value in network.state_dict().values())
        for each, network in api.networks(model)
    }
    account = {
        "choices": {task: asdict(choice) for task, choice in model.choices_.items()},
        "checks": [[check.verdict, float(check.exponent), float(check.trust)] for check in model.checks_],
        "relations": [np.asarray(relation.table).tolist() for relation in model.relations_],
        "shifts": [str(shift) for shift in model.shifts_],
        "report": model.report_,
    }
    account = json.loads(json.dumps(account, default=lambda value: value.item()))
    return {
        "weights": weights,
        "account": account,
        "digest of the account": digest([np.frombuffer(json.dumps(account).encode(), dtype=np.uint8)]),
        "summary": {
            "cost": model.cost_,
            "zero_shot": model.zero_shot_,
            "chosen": {task: list(choice.weights) for task, choice in model.choices_.items()},
            "predicted": {task: p.tolist() for task, p in predicted.items()},
        },
    }


# -- a study and a training -----------------------------------------------------------------------------


def study_files(folder: Path) -> dict[str, bytes]:
    """`results.csv` and `curves.csv` of a tiny study that is run in a folder, and what `auto` said there."""
    plan = api.as_plan(PLAN)
    with quiet():
        assert api.run_study(plan, folder) == 0
        api.compare(plan, folder)
    records = [json.loads(path.read_text()) for path in sorted((folder / "runs").glob("*.json"))]
    accounts = {f"{r['condition']}~{r['seed']}": r["account"] for r in records if r["account"]}
    return {
        "results.csv": (folder / "results.csv").read_bytes(),
        "curves.csv": (folder / "curves.csv").read_bytes(),
        "accounts.json": (json.dumps(accounts, indent=1) + "\n").encode(),
    }


TRAININGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "two-stage": {
        "couplings": [],
        "stages": {"kind": "two-stage", "folds": 2, "share": 0.5},
        "validation": {"every": 10, "select": "log-loss"},
    },
}

PLACES = ("data", "output")
"""Keys of a run's config that hold a place; `digest` is a digest of them too."""


def training_file(name: str, folder: Path) -> bytes:
    """`run.json` of a `concord train` in a folder, without what depends on where the folder is."""
    write_json(folder / "golden.json", config(**TRAININGS[name]))
    data_on_disk(folder)
    with quiet(), chdir(folder), _no_overrides():
        assert api.command("train", "golden.json") == 0
    run = json.loads((folder / "out" / "run.json").read_text(encoding="utf-8"))
    del run["digest"]
    for key in PLACES:
        run["config"][key] = key.upper()
    return (json.dumps(run, indent=1) + "\n").encode()


@contextmanager
def _no_overrides() -> Iterator[None]:
    """No variable of the environment that would override a config."""
    mine = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("CONCORD_")}
    try:
        yield
    finally:
        os.environ.update(mine)


# -- saved folders --------------------------------------------------------------------------------------

MODELS = {
    "estimator-posterior": ("labels", "posterior"),
    "estimator-auto": ("labels", "auto, distilled"),
    "estimator-auto-bagged": ("three tasks", "auto, bagged"),
}
"""Folders of `CoupledClassifier.save`: the world and the way of each."""


def save_all(folder: Path, scratch: Path) -> None:
    """Every saved folder with its inputs and expected predictions, written anew."""
    for name, (of_world, way) in MODELS.items():
        given = world(of_world)
        model = fitted(given, way, hidden=(4, 4))
        _empty(folder / name)
        model.save(folder / name / "model")
        inputs = given.new.tolist()
        write_json(
            folder / name / "expected.json", {"inputs": inputs, "expected": estimator_said(model, inputs)}
        )
    _save_hub(_empty(folder / "hub"))
    _save_run(_empty(folder / "run"), scratch)
    _save_unfinished(_empty(folder / "unfinished"), scratch)


def _empty(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def estimator_said(model: api.CoupledClassifier, inputs: Any) -> dict[str, Any]:
    with quiet():
        predicted = model.predict_proba(np.asarray(inputs))
        return {
            "probabilities": {task: p.tolist() for task, p in predicted.items()},
            "predictions": {task: p.tolist() for task, p in model.predict(np.asarray(inputs)).items()},
            "report": model.report_,
            "cost": model.cost_,
            "chosen": {task: choice.weights for task, choice in model.choices_.items()},
        }


def _save_hub(folder: Path) -> None:
    shape, options = (6,), {"hidden": [4, 4]}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        built = api.build_trunk("builtin:mlp", shape=shape, options=options)
        network = api.MultiTaskNetwork(built.module, (SHAPE, DOTS), built.example).eval()
    decoder = api.JointDecoder(api.Relation(SHAPE, DOTS, [[0.9, 0.1], [0.1, np.nan], [0.8, 0.8]]))
    decoder.target_strength, decoder.class_strength = 0.35, 0.75
    api.save_pretrained(
        folder / "model",
        network,
        (SHAPE, DOTS),
        example=built.example,
        trunk=api.TrunkRecord.of(built, "builtin:mlp", shape, options),
        decoders=[decoder],
    )
    inputs = np.random.default_rng(50).normal(size=(5, 6)).tolist()
    write_json(
        folder / "expected.json",
        {"inputs": inputs, "expected": network_said(network, decoder, inputs)},
    )


def network_said(network: torch.nn.Module, decoder: Any, inputs: Any) -> dict[str, Any]:
    """Logits of a network, and its predictions decoded jointly."""
    with one_thread(), torch.no_grad():
        logits = network(torch.tensor(inputs, dtype=torch.float32))
    logits = {name: z.double().numpy() for name, z in logits.items()}
    classes, labels = decoder.decode(said(logits["shape"], True), said(logits["dots"], False))
    return {
        "logits": {name: z.tolist() for name, z in logits.items()},
        "decoded": {"shape": classes.tolist(), "dots": labels.tolist()},
    }


def _trained(folder: Path) -> None:
    """A training in a folder whose files name no place."""
    folder.mkdir()
    data_on_disk(folder)
    with quiet(), chdir(folder):
        api.train(api.as_config(config()))


def _save_run(folder: Path, scratch: Path) -> None:
    _trained(scratch / "run")
    shutil.copytree(scratch / "run" / "out", folder / "run", ignore=shutil.ignore_patterns("checkpoints"))
    inputs = np.random.default_rng(51).normal(size=(5, 6)).tolist()
    expected = run_said(folder / "run", inputs, scratch)
    write_json(folder / "expected.json", {"inputs": inputs, "expected": expected})


def run_said(folder: Path, inputs: Any, scratch: Path) -> dict[str, Any]:
    """What `predict` says with a run's folder: by column."""
    np.save(scratch / "inputs.npy", np.asarray(inputs, dtype=np.float32))
    with quiet():
        frame = api.predict(api.load_run(folder), scratch / "inputs.npy", source="classed")
    return {name: frame[name].to_list() for name in frame.columns}


def _save_unfinished(folder: Path, scratch: Path) -> None:
    """A training that was stopped behind step 10 of 20, and the weights that it would have come to."""
    _trained(scratch / "whole")
    out = scratch / "whole" / "out"
    shutil.copytree(out, folder / "run", ignore=shutil.ignore_patterns("run.json", "model.safetensors"))
    kept = sorted((folder / "run" / "checkpoints").iterdir())
    assert len(kept) == 2
    shutil.rmtree(kept[-1])
    write_json(folder / "expected.json", {"expected": weights_of(out)})


def gone_on_with(folder: Path, scratch: Path) -> dict[str, Any]:
    """The weights that an unfinished training comes to, in a copy of its folder."""
    data_on_disk(scratch)
    shutil.copytree(folder, scratch / "out")
    kept = [path for path in (scratch / "out" / "checkpoints").rglob("*") if path.is_file()]
    written = [path.stat().st_mtime_ns for path in kept]
    with quiet(), chdir(scratch):
        api.train(api.as_config(config()))
    assert kept
    assert [path.stat().st_mtime_ns for path in kept] == written  # gone on with, not begun anew
    return weights_of(scratch / "out")


def weights_of(folder: Path) -> dict[str, Any]:
    state = api.load_run(folder).network.state_dict()
    return {name: value.double().tolist() for name, value in state.items()}
