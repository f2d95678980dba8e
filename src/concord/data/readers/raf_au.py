"""RAF-AU: faces from the web, coded for action units by FACS coders.

Layout: `RAFAU_label.txt`, one line an image, `0001.jpg 1+2+25`, or `0002.jpg null`; images in
`aligned/0001_aligned.jpg` or `original/0001.jpg`. Codes, as the coders wrote them:

- `25`: action unit 25 is shown;
- `L12`, `R12`: on the left or right side only; `T`, `B`: in the upper or lower half of the lips only; several
  letters together, as in `BL18` and `RB18`, or behind the number, as in `L12L`, say so more closely;
- `t23`: a trace of unit 23 (intensity A of FACS);
- `AD19`: action descriptor 19, a movement that FACS numbers in the same list as the units.

Traps: a unit may stand twice, as in `26+26` or `L12+R12`, and counts once; blanks at the ends of lines;
`null` stands on faces with an expression as well, so that it is read as "not coded" unless the user says
otherwise; the set has no official split.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import polars as pl

from concord.data.manifest import Manifest
from concord.data.readers._faces import Gaps, face_manifest, unit_column, unit_task
from concord.data.readers._files import Missing, check_choice, find_file
from concord.data.readers._text import Lines, read_lines
from concord.errors import EmptyDataError

NAME = "raf-au"
TITLE = "RAF-AU"
HOME = "http://www.whdeng.cn/RAF/model3.html (on request to its authors)"

_LINE = r"(?<name>[0-9]{4})\.jpg[ \t]+(?<codes>\S+)"
_CODE = r"(?:(?<kind>AD|t)|(?<side>[LRTB]{1,2}))?(?<unit>[1-9][0-9]?)(?<behind>[LRTB]?)"


def read(
    root: Path,
    *,
    units: Sequence[int] | None = None,
    sides: Literal["merge", "gap"] = "merge",
    traces: Literal["present", "absent", "gap"] = "present",
    null: Literal["gap", "absent"] = "gap",
    images: Literal["aligned", "original"] = "aligned",
    missing: Missing = "drop",
    gaps: Gaps = "drop",
) -> Manifest:
    """Read RAF-AU.

    Args:
        root: Folder that holds `RAFAU_label.txt`.
        units: Action units to read; None reads all that occur, in ascending order. Action descriptors are
            numbered among them.
        sides: A unit on one side only: "merge" counts it as shown, "gap" leaves it open, unless it is shown
            left and right, or above and below.
        traces: A unit of which there is a trace only: "present", "absent", or a "gap".
        null: A line of `null`: "gap" leaves all units open, "absent" says that none is shown.
        images: "aligned" faces or the "original" images.
        missing: A line without an image: "drop" the row, "keep" it, or "error".
        gaps: A line without annotation: "drop" the row or "keep" it.

    Returns:
        A manifest with the task `action_units`; no split.

    Raises:
        MissingDataError: No label file, or no images.
        DataFormatError: A line that is no image with units; names file and line.
        EmptyDataError: No unit in the whole file.
    """
    check_choice("value of sides", sides, ("merge", "gap"))
    check_choice("value of traces", traces, ("present", "absent", "gap"))
    check_choice("value of null", null, ("gap", "absent"))
    check_choice("images of RAF-AU", images, ("aligned", "original"))
    lines = read_lines(find_file(root, ["RAFAU_label.txt"], TITLE, HOME))
    fields = lines.match(_LINE, "an image and its units, as '0001.jpg 1+2+L12' or '0001.jpg null'")
    lines.distinct(fields["name"], "image")
    shown = _shown(lines, fields["codes"])
    numbers = list(units) if units is not None else sorted(shown["unit"].unique())
    if not numbers:
        raise EmptyDataError(f"{lines.path}: expected action units, found none in {len(lines)} lines")
    open_row = (fields["codes"] == "null") & (null == "gap")
    suffix = "_aligned.jpg" if images == "aligned" else ".jpg"
    frame = pl.select(
        pl.concat_str(pl.lit(f"{images}/"), fields["name"], pl.lit(suffix)).alias("path"),
        *(_labels(shown, unit, open_row, sides, traces).alias(unit_column(unit)) for unit in numbers),
    )
    return face_manifest(frame, [unit_task(numbers)], root, TITLE, missing=missing, gaps=gaps)


def _shown(lines: Lines, codes: pl.Series) -> pl.DataFrame:
    """Row, unit, side and trace of every code; `null` has none."""
    coded = pl.DataFrame({"row": pl.int_range(len(lines), eager=True), "code": codes.str.split("+")})
    coded = coded.filter(codes != "null").explode("code")
    fits = coded["code"].str.contains(f"^{_CODE}$")
    if not fits.all():
        bad = coded.filter(~fits).row(0, named=True)
        raise lines.error(bad["row"], "units as 1, 25, L12, BL18, t23 or AD19 with + between", bad["code"])
    lines.require_end(len(codes) > 0 and codes[-1] != "null")
    parts = coded["code"].str.extract_groups(f"^{_CODE}$").struct.unnest()
    return coded.select(
        "row",
        unit=parts["unit"].cast(pl.Int64),
        side=parts["side"].fill_null("") + parts["behind"],
        trace=parts["kind"].fill_null("") == "t",
    )


def _labels(shown: pl.DataFrame, unit: int, open_row: pl.Series, sides: str, traces: str) -> pl.Series:
    rows = pl.int_range(len(open_row), eager=True)
    of_unit = shown.filter(pl.col("unit") == unit)
    clear, trace = of_unit.filter(~pl.col("trace")), of_unit.filter("trace")
    partly = clear["row"]
    whole = partly if sides == "merge" else _on_both_sides(clear)
    present, unsure = rows.is_in(whole.implode()), rows.is_in(partly.implode())
    if traces != "absent":
        traced = rows.is_in(trace["row"].implode())
        present, unsure = (present | traced, unsure) if traces == "present" else (present, unsure | traced)
    gap = open_row | (unsure & ~present)
    labels = pl.when(gap).then(None).when(present).then(1).otherwise(0).cast(pl.Int8)
    return pl.select(labels).to_series()


def _on_both_sides(clear: pl.DataFrame) -> pl.Series:
    """Rows that show a unit on the whole face, or on two opposite sides of it."""
    sides = clear.group_by("row").agg(whole=(pl.col("side") == "").any(), all=pl.col("side").str.join(""))
    opposite = [pl.col("all").str.contains(a) & pl.col("all").str.contains(b) for a, b in ("LR", "TB")]
    return sides.filter(pl.col("whole") | opposite[0] | opposite[1])["row"]
