"""EmotioNet: faces from the web, action units coded by machine and partly by hand.

Layout: the challenge's `dataFile_0001.txt`, `dataFile_0002.txt`, ..., tab-separated without a header: the
image's URL, a second field (the image's first URL), then AU1 to AU60; or the release of 2020,
`EmotioNet_FACS_aws_2020_24600.csv`, comma-separated with a header `URL,URL orig,AU 1,...,AU 60` whose names
and URLs may stand in quotes; the same table also comes as `.xlsx` (read with openpyxl). Images lie by the
last two parts of their URL, as `N_0000000001/N_0000000001_00001.jpg`, or all in one folder.

Codes: 0 absent, 1 present; 999 and, in the later release, -1 for unknown. Of the 60 columns 11 are in
common use (1, 2, 4, 5, 6, 9, 12, 17, 20, 25, 26), 23 are coded at all (also 10, 15, 18, 24, 28, 43, 51-56).

Traps: images are named by URL, and many can no longer be had, so that rows without an image are left out;
the set has no official split.
"""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path
from typing import Literal

import polars as pl

from concord.data.manifest import Manifest
from concord.data.readers._faces import Gaps, face_manifest, unit_column, unit_task
from concord.data.readers._files import Missing, check_choice, entries, not_found
from concord.data.readers._sheets import BETWEEN, read_sheet
from concord.data.readers._text import Lines, read_lines, require_columns
from concord.errors import ConfigError, DataFormatError

NAME = "emotionet"
TITLE = "EmotioNet"
HOME = "http://cbcsl.ece.ohio-state.edu/dbform_emotionet.html (on request to its authors)"

UNITS = {
    11: (1, 2, 4, 5, 6, 9, 12, 17, 20, 25, 26),
    23: (1, 2, 4, 5, 6, 9, 10, 12, 15, 17, 18, 20, 24, 25, 26, 28, 43, 51, 52, 53, 54, 55, 56),
}
"""The units in common use, and all that are coded, by their number."""

RELEASES = {
    "challenge": ("dataFile_*.txt",),
    "2020": ("EmotioNet_FACS_aws_2020_*.csv", "EmotioNet_FACS_aws_2020_*.xlsx"),
}
"""Files of each release; of those of one, the first that are there are read."""

_ALL = [f"AU{unit}" for unit in range(1, 61)]
_CODES = {"0": 0, "1": 1, "999": None, "-1": None}


def read(
    root: Path,
    *,
    labels: Literal[11, 23] = 11,
    release: Literal["challenge", "2020"] | None = None,
    images: str = "images",
    flat: bool = False,
    missing: Missing = "drop",
    gaps: Gaps = "drop",
) -> Manifest:
    """Read EmotioNet.

    Args:
        root: Folder that holds the label files.
        labels: 11 units in common use, or all 23 that are coded.
        release: "challenge" (text files, 999 for unknown) or "2020" (csv or xlsx, -1 for unknown); None takes
            the one that is there.
        images: Folder of the images.
        flat: Whether all images lie in `images` itself, not in a folder by the second last part of the URL.
        missing: A label without an image: "drop" the row, "keep" it, or "error".
        gaps: A row without annotation of these units: "drop" it or "keep" it.

    Returns:
        A manifest with the task `action_units`; no split.

    Raises:
        MissingDataError: No label files, or no images.
        DataFormatError: A line of another form; names file and line.
        ConfigError: Both releases are there, and `release` does not say which.
    """
    check_choice("number of EmotioNet labels", labels, tuple(UNITS))
    if release is not None:
        release = "2020" if str(release) == "2020" else release  # a number where it comes from YAML
        check_choice("release of EmotioNet", release, tuple(RELEASES))
    found = {name: _label_files(root, patterns) for name, patterns in RELEASES.items()}
    there = [name for name, files in found.items() if files and release in (None, name)]
    if not there:
        choices = [pattern for name, some in RELEASES.items() if release in (None, name) for pattern in some]
        raise not_found(root, f"label files {' or '.join(choices)}", choices, TITLE, HOME)
    if len(there) > 1:
        raise ConfigError(f"{TITLE}: expected the files of one release in {root}, found both; say release=")
    units = UNITS[labels]
    frame = pl.concat([_file_frame(path, there[0], units, flat) for path in found[there[0]]])
    frame = frame.with_columns(path=pl.lit(f"{images}/") + pl.col("path"))
    return face_manifest(frame, [unit_task(units)], root, TITLE, missing=missing, gaps=gaps)


def _label_files(root: Path, patterns: tuple[str, ...]) -> list[Path]:
    every = ([root / name for name in entries(root) if fnmatch(name, pattern)] for pattern in patterns)
    return next((files for files in every if files), [])


def _file_frame(path: Path, release: str, units: tuple[int, ...], flat: bool) -> pl.DataFrame:
    sheet = path.suffix == ".xlsx"
    lines = read_sheet(path) if sheet else read_lines(path)
    between = BETWEEN if sheet else ","
    if release == "challenge":
        fields = lines.fields(["URL", "URL orig", *_ALL], "\t")
    else:
        header, lines = lines.split_header()
        fields = lines.fields(_header(path, header, between), between)
    columns = [_image(lines, fields["URL"], flat)]
    for unit in units:
        codes = lines.codes(fields[f"AU{unit}"], _CODES, f"a code of AU{unit}", pl.Int8)
        columns.append(codes.alias(unit_column(unit)))
    return pl.DataFrame(columns)


def _header(path: Path, header: str, between: str) -> list[str]:
    names = [name.strip(" '\"") for name in header.split(between)]
    names = [name.replace(" ", "") if name.startswith("AU") else name for name in names]
    require_columns(path, names, ["URL", *_ALL])
    if len(set(names)) < len(names):
        raise DataFormatError(f"{path}, line 1: expected distinct column names, found one twice")
    return names


def _image(lines: Lines, urls: pl.Series, flat: bool) -> pl.Series:
    urls = urls.str.strip_chars("'\" ")
    form = r"^[a-z]+://[^\s\\]+/(\w[^/\s\\?#]*/\w[^/\s\\?#]*\.[A-Za-z]{3,4})$"
    lines.require(urls.str.contains(form), "the URL of an image in the first field", urls)
    inner = urls.str.extract(form)
    return (inner.str.extract(r"([^/]+)$") if flat else inner).alias("path")
