"""A reader of one's own: a data set in its native layout in, a manifest out.

Layout, as its authors give it out: `notes.jsonl`, one line per photo, next to the photos.

Everything else (inspection, splits, mixtures, trainings, studies) reads the manifest. As a file of
`src/concord/data/readers/` it would be found by its name, by `concord data index` too.
"""

import json
import tempfile
from pathlib import Path

import polars as pl

from concord.data import Manifest, from_frame, inspect
from concord.errors import MissingDataError

NAME = "birds"
TITLE = "Birds"
HOME = "nowhere: this script writes it"


def read(root: Path) -> Manifest:
    """Read `notes.jsonl`: one line per photo, with a species, or with what was seen of it.

    Args:
        root: Folder of the data set.

    Returns:
        A row a photo, with gaps: task `bird` of classes, task `marks` of labels.

    Raises:
        MissingDataError: No such file in it.
    """
    notes = root / "notes.jsonl"
    if not notes.is_file():
        raise MissingDataError(f"{TITLE}: expected {notes}; get the data from {HOME}")
    lines = [json.loads(line) for line in notes.read_text(encoding="utf-8").splitlines()]
    frame = pl.DataFrame(
        {
            "path": [line["photo"] for line in lines],
            "bird": [line.get("bird") for line in lines],
            "crest": [line.get("crest") for line in lines],
            "hooked_bill": [line.get("hooked_bill") for line in lines],
            "camera": [line["camera"] for line in lines],
        }
    )
    return from_frame(
        frame,
        NAME,
        classes={"bird": ["eagle", "jay", "wren"]},
        labels={"marks": ["crest", "hooked_bill"]},
        path="path",
        group="camera",  # photos of one camera never lie in two splits
        root=root,
    )


def main() -> None:
    """Write the layout in small, read it, and show what is annotated where."""
    from rich.console import Console

    with tempfile.TemporaryDirectory() as folder:
        notes = [
            {"photo": "1.jpg", "camera": "a", "bird": "jay"},
            {"photo": "2.jpg", "camera": "a", "bird": "eagle"},
            {"photo": "3.jpg", "camera": "b", "crest": True, "hooked_bill": False},
            {"photo": "4.jpg", "camera": "c", "hooked_bill": True},
        ]
        text = "\n".join(json.dumps(note) for note in notes)
        (Path(folder) / "notes.jsonl").write_text(text, encoding="utf-8")
        manifest = read(Path(folder))
        print(manifest)
        Console().print(inspect(manifest).render())


if __name__ == "__main__":
    main()
