"""What a database's pictures have in common: camera, background, light, manner of drawing."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Style:
    """The manner of a database.

    Attributes:
        name: Of the database.
        clutter: Patches of the background along one side; 1 is a plain wall.
        liveliness: How far colours of the background differ, in [0, 1].
        line: Width of lines, 1 is fine.
        outline: Darkness of the head's outline, in [0, 1].
        saturation: 0 is grey, 1 as drawn.
        contrast: About the middle grey; 1 as drawn.
        brightness: Added after contrast, in [-1, 1].
        cast: Factors of red, green and blue.
        blur: Share of a 3 x 3 mean in the picture, in [0, 1].
        noise: Standard deviation of a pixel, of 1.
        yaw: Standard deviation of the head's turn to the side, in radians.
        pitch: The same, up and down.
        roll: The same, in the picture's plane.
        light: Strength of a light from the side, in [0, 1].
        occlusion: Share of pictures in which something covers part of the face.
    """

    name: str
    clutter: int = 1
    liveliness: float = 0.1
    line: float = 1.0
    outline: float = 0.3
    saturation: float = 1.0
    contrast: float = 1.0
    brightness: float = 0.0
    cast: tuple[float, float, float] = (1.0, 1.0, 1.0)
    blur: float = 0.0
    noise: float = 0.01
    yaw: float = 0.1
    pitch: float = 0.06
    roll: float = 0.04
    light: float = 0.15
    occlusion: float = 0.0


LABORATORY = Style(
    "laboratory",
    saturation=0.35,
    contrast=1.05,
    cast=(0.97, 1.0, 1.05),
    noise=0.012,
    yaw=0.1,
    pitch=0.06,
    roll=0.04,
    light=0.15,
    occlusion=0.03,
)
"""Posed before a plain wall: nearly grey, sharp, frontal, even light."""

FIELD = Style(
    "field",
    clutter=6,
    liveliness=0.9,
    line=1.5,
    outline=0.75,
    saturation=1.15,
    contrast=0.8,
    brightness=-0.02,
    cast=(1.12, 0.98, 0.8),
    blur=0.35,
    noise=0.045,
    yaw=0.2,
    pitch=0.1,
    roll=0.1,
    light=0.4,
    occlusion=0.12,
)
"""Taken anywhere: warm, flat, noisy, heads turned, light from a side, things in the way, bold lines."""

STYLES = {style.name: style for style in (LABORATORY, FIELD)}
"""Both databases by name."""
