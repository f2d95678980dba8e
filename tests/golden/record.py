"""Renew the golden values: `python tests/golden/record.py [relations|worlds|study|training|saved ...]`.

Without a part all are renewed. Values are renewed only in a commit of their own, which changes no code of the
package and says why they are other ones now. A change that moves code renews none.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np

from golden import computing
from golden.drawing import RELATIONS, WORLDS
from golden.machine import SAVED, VALUES, fingerprint, one_thread, pack, write_json


def relations() -> None:
    kept = {f"{i:02}/{k}": v for i in range(RELATIONS) for k, v in computing.relation_values(i).items()}
    VALUES.mkdir(exist_ok=True)
    np.savez_compressed(VALUES / "relations.npz", **pack(kept))


def worlds() -> None:
    found = {f"{name}: {way}": computing.world_values(name, way) for name in WORLDS for way in computing.WAYS}
    write_json(VALUES / "worlds.json", {"machine": _machine(), "values": found})


def study() -> None:
    with TemporaryDirectory() as folder:
        _write("study", computing.study_files(Path(folder) / "study"))


def training() -> None:
    files = {}
    for name in computing.TRAININGS:
        with TemporaryDirectory() as folder:
            files[f"{name}.json"] = computing.training_file(name, Path(folder))
    _write("training", files)


def saved() -> None:
    with TemporaryDirectory() as scratch:
        computing.save_all(SAVED, Path(scratch))


def _write(part: str, files: dict[str, bytes]) -> None:
    folder = VALUES / part
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    write_json(folder / "machine.json", _machine())


def _machine() -> dict[str, object]:
    with one_thread():
        return fingerprint()


PARTS = {"relations": relations, "worlds": worlds, "study": study, "training": training, "saved": saved}

if __name__ == "__main__":
    asked = sys.argv[1:] or list(PARTS)
    if not set(asked) <= set(PARTS):
        sys.exit(f"parts are {', '.join(PARTS)}")
    for part in asked:
        PARTS[part]()
        print(f"renewed {part}")
