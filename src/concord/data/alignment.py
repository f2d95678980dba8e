"""Faces brought to one place, size and angle by their landmarks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from concord.errors import ShapeError

Array = npt.NDArray[np.float64]

TEMPLATE: Array = (
    np.array(
        [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
    )
    / 112
)
"""Eyes, tip of the nose and corners of the mouth in the unit square, as in the face recognition of Deng, Guo,
Xue and Zafeiriou, "ArcFace", CVPR 2019. Left is left in the image."""

# Of 68 points: the two eyes (their mean), the tip of the nose, the corners of the mouth.
OF_68 = (range(36, 42), range(42, 48), range(30, 31), range(48, 49), range(54, 55))


def five_points(landmarks: Sequence[float]) -> Array:
    """Eyes, nose and mouth corners, shape (5, 2), from x0, y0, x1, y1, ... of 5 or 68 points.

    Raises:
        ShapeError: Another number of points, or one that is not finite.
    """
    points = np.asarray(landmarks, dtype=np.float64)
    if points.size not in {10, 136} or not np.isfinite(points).all():
        raise ShapeError(f"landmarks are x and y of 5 or 68 points, all finite; found {points.size} numbers")
    points = points.reshape(-1, 2)
    return points if len(points) == 5 else np.stack([points[list(part)].mean(axis=0) for part in OF_68])


def similarity(points: Array, onto: Array) -> Array:
    """The rotation, scale and shift that brings points nearest to others, as a 2 x 3 matrix.

    Least squares without reflection: Umeyama, "Least-squares estimation of transformation parameters
    between two point patterns", 1991.

    Raises:
        ShapeError: Points that all coincide.
    """
    # As complex numbers a similarity is z -> a z + b, and least squares is a quotient.
    z, w = points @ [1, 1j], onto @ [1, 1j]
    centred = z - z.mean()
    spread = np.vdot(centred, centred).real
    if not spread > 0:
        raise ShapeError("landmarks all lie at one point")
    a = np.vdot(centred, w - w.mean()) / spread
    b = w.mean() - a * z.mean()
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])


def align(
    image: Image.Image, landmarks: Sequence[float], size: int, fill: tuple[int, int, int]
) -> Image.Image:
    """The face as a square image of `size` pixels, landmarks as near to the template as they get.

    Raises:
        ShapeError: Landmarks that cannot be used.
    """
    points = five_points(landmarks)
    forward = similarity(points, TEMPLATE * size)
    scale = float(np.hypot(*forward[:, 0]))
    shrink = max(1, int(1 / max(scale, 1 / max(image.size))))
    if shrink > 1:
        # An affine transform takes single pixels; a large face is averaged down first.
        image = image.reduce(shrink)
        forward = similarity(points / shrink, TEMPLATE * size)
    inverse = np.linalg.inv(np.vstack([forward, [0, 0, 1]]))[:2]
    return image.transform(
        (size, size),
        Image.Transform.AFFINE,
        inverse.ravel().tolist(),
        Image.Resampling.BILINEAR,
        fillcolor=fill,
    )
