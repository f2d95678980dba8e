"""Records that say something else, with digests that fit: what whoever means harm can always write."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from concord.archive import FORMATS, Kind


def forge(folder: Path, of: Kind, /, **changes: Any) -> None:
    """Change parts of a folder's record, `...` takes one out; digests of the files and its own fit again."""
    path = folder / FORMATS[of].record
    record = json.loads(path.read_text()) | changes
    record = {key: value for key, value in record.items() if value is not ...} | {"digest": "0" * 64}
    for name in record["files"]:
        data = (folder / name).read_bytes()
        record["files"][name] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    text = json.dumps(record, indent=1) + "\n"
    path.write_text(text.replace("0" * 64, hashlib.sha256(text.encode()).hexdigest()))
