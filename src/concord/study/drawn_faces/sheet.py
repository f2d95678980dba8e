"""Contact sheets: many pictures on one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from concord.errors import ShapeError

MARGIN, CAPTION = 4, 12


def contact_sheet(
    pictures: npt.NDArray[np.uint8], columns: int, captions: Sequence[str] = (), zoom: int = 2
) -> Image.Image:
    """Pictures in rows on white, with captions below them.

    Args:
        pictures: (n, size, size, 3).
        columns: Pictures a row.
        captions: One a picture, or none.
        zoom: Pixels of the sheet for each of the picture.

    Raises:
        ShapeError: Another number of captions than of pictures.
    """
    if captions and len(captions) != len(pictures):
        raise ShapeError(f"{len(pictures)} pictures need as many captions, found {len(captions)}")
    side = pictures.shape[1] * zoom
    wide, tall = side + MARGIN, side + MARGIN + (CAPTION if captions else 0)
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (columns * wide + MARGIN, rows * tall + MARGIN), "white")
    draw: Any = ImageDraw.Draw(sheet)
    for i, picture in enumerate(pictures):
        x, y = MARGIN + i % columns * wide, MARGIN + i // columns * tall
        sheet.paste(Image.fromarray(picture).resize((side, side), Image.Resampling.BICUBIC), (x, y))
        if captions:
            draw.text((x + 2, y + side), captions[i], fill="black")
    return sheet
