"""A program: saves over an older model, or none, is killed at every file operation, and says what is left.

Arguments: what is saved, a folder to work in, the first operation at which it is killed, and how many
operations lie between two kills. It prints, in JSON, by older model or none, what was read after each kill:
"old", "new", or the name of the error.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import torch
from test_killed import CRASH

import concord as cc
from concord.deploy import TrunkRecord, export_onnx, from_pretrained, save_pretrained
from concord.errors import ConcordError
from concord.networks.trunks import build_trunk
from test_archive import KIND, TABLE, TRAITS, Words

VERSIONS = {"old": 0.25, "new": 0.5}


def network(version):
    built = build_trunk("builtin:mlp", shape=(3,), options={"hidden": [4]})
    made = cc.MultiTaskNetwork(built.module, [KIND, TRAITS], built.example)
    for parameter in made.parameters():
        torch.nn.init.constant_(parameter, VERSIONS[version])
    return built, made


def save_hub(place, version):
    built, made = network(version)
    trunk = TrunkRecord("builtin:mlp", (3,), {"hidden": [4]}, built.resolved, Words())
    save_pretrained(place, made, [KIND, TRAITS], example=built.example, trunk=trunk)


def read_hub(place):
    return {float(p.detach().flatten()[0]) for p in from_pretrained(place).network.parameters()}


def estimator(version):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(30, 3)), {"kind": rng.integers(0, 3, 30), "traits": rng.integers(0, 2, (30, 2))}
    model = cc.CoupledClassifier([KIND, TRAITS], [TABLE], "posterior", steps=1, hidden=(4,), random_state=0)
    model.fit(x, y)
    for parameter in model._network.parameters():
        torch.nn.init.constant_(parameter, VERSIONS[version])
    return model


def read_estimator(place):
    model = cc.CoupledClassifier.load(place)
    return {float(p.detach().flatten()[0]) for p in model._network.parameters()}


def save_onnx(place, version):
    built, made = network(version)
    export_onnx(place / "model.onnx", made, [KIND, TRAITS], example=built.example)


def read_onnx(place):
    import onnxruntime

    if not (place / "model.onnx").exists():
        raise ConcordError("none")
    session = onnxruntime.InferenceSession(str(place / "model.onnx"))
    given = session.get_inputs()[0].name
    found = session.run(["traits_probabilities"], {given: np.zeros((1, 3), np.float32)})[0][0, 0]
    return {number for version, number in VERSIONS.items() if abs(found - probability(version)) < 1e-5}


@torch.no_grad()
def probability(version):
    return float(network(version)[1].eval()(torch.zeros(1, 3))["traits"][0, 0].sigmoid())


def main(what, work, first, every):
    models = {version: estimator(version) for version in VERSIONS} if what == "estimator" else {}
    save, read = {
        "hub": (save_hub, read_hub),
        "estimator": (lambda place, version: models[version].save(place), read_estimator),
        "onnx": (save_onnx, read_onnx),
    }[what]
    found = {}
    for before in ("none",) if what == "estimator" else ("none", "old"):
        found[before] = []
        for n in range(first, 1000, every):
            place = work / f"{before}-{n}"
            if before == "old":
                save(place, "old")
            if not killed(lambda place=place: save(place, "new"), place, n):
                break
            found[before].append(left(read, place))
            if found[before][-1] != "new" or what != "estimator":  # which is saved into new folders only
                save(place, "new")
                assert left(read, place) == "new"
                assert not [path.name for path in place.iterdir() if path.name.startswith(".")], n
            shutil.rmtree(place)
    print(json.dumps(found))


def killed(save, place, n):
    """Whether a process that saves was killed at its n-th operation, before it was through."""
    process = os.fork()
    if not process:
        exec(CRASH.format(limit=n, home=str(place)), {})
        save()
        os._exit(0)
    _, status = os.waitpid(process, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, status
    return os.WIFSIGNALED(status)


def left(read, place):
    try:
        (value,) = read(place)
    except ConcordError as error:
        return type(error).__name__
    return {number: version for version, number in VERSIONS.items()}[value]


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *map(int, sys.argv[3:]))
