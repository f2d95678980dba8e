"""Where the parts of a face are, how action units move them, and how they are drawn.

Lengths are in half pictures about the centre of the head, x to the right of the picture, y downwards.
Numbers next to a unit's intensity were chosen by eye, so that a person sees it at 48 pixels.
Source of what a unit does: P. Ekman, W. Friesen, J. Hager, "Facial Action Coding System", 2002.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from concord.relations import ACTION_UNITS
from concord.study.drawn_faces.canvas import Canvas, bezier, ellipse, mixed
from concord.study.drawn_faces.people import BALD, FRINGE, HAIRS, LONG
from concord.study.drawn_faces.poses import Faces
from concord.study.drawn_faces.styles import Style

Array = npt.NDArray[Any]

SIDES = (-1, 1)

JAW = slice(13, -13)
"""Points of a head's outline from one cheek over the chin to the other."""


class Sketch:
    """The shapes of faces, on a canvas.

    Args:
        faces: What is drawn.
        style: Width and darkness of lines.
        scale: Pixels of half a picture, supersampling included.
    """

    def __init__(self, faces: Faces, style: Style, scale: float) -> None:
        self.faces, self.style = faces, style
        self.canvas = Canvas(len(faces), scale)
        p = faces.people
        self.u = {unit: faces.units[:, k] for k, unit in enumerate(ACTION_UNITS)}
        self.rng = [np.random.default_rng([int(seed), 1]) for seed in faces.seed]
        self.chance = np.stack([rng.random(40) for rng in self.rng])
        self.width = 0.68 + 0.035 * p.measure("width")
        self.chin = 0.88 + 0.025 * p.measure("chin") + 0.10 * self.u[26]
        self.hair = HAIRS[p.hair_colour].astype(float)
        self.skin = p.skin.astype(float)
        # Brows and beards are of the hair's colour, yet always seen against the skin.
        self.brow_colour = self.darker(mixed(self.hair, np.array([40.0, 30, 26]), 0.3), 0.45)
        self.beard_colour = self.darker(mixed(self.skin, self.hair, 0.78), 0.62)
        self.shade = mixed(self.skin * 0.48, np.array([70.0, 30, 25]), 0.25)
        self.light = mixed(self.skin, np.array([255.0, 244, 235]), 0.35)
        self._place()

    def darker(self, colour: Array, most: float) -> Array:
        """A colour whose mean is at most a share of the skin's: (n, 3)."""
        bound = most * self.skin.mean(axis=1, keepdims=True) / colour.mean(axis=1, keepdims=True)
        return colour * np.minimum(1, bound)

    def _place(self) -> None:
        p, u = self.faces.people, self.u
        gap = 0.32 + 0.018 * p.measure("eye_gap")
        self.eye_x, self.eye_y = gap, np.full(len(gap), -0.14)
        self.brow_y = -0.385 - 0.018 * p.measure("brow_height")
        self.nose_y = 0.20 + 0.022 * p.measure("nose_length") - 0.05 * u[9]
        self.nose_w = 0.115 + 0.012 * p.measure("nose_width") + 0.03 * u[9]
        press = np.maximum(u[24], 0.6 * u[23])
        self.mouth_y = 0.50 + 0.018 * p.measure("mouth_height") - 0.035 * u[17]
        self.mouth_w = (
            0.235
            + 0.014 * p.measure("mouth_width")
            + 0.085 * u[12]
            + 0.115 * u[20]
            - 0.055 * u[23]
            - 0.02 * u[24]
            - 0.03 * u[26]
        )
        self.corner_y = self.mouth_y - 0.135 * u[12] + 0.125 * u[15] + 0.04 * u[26]
        self.gap = (0.085 * u[25] + 0.22 * u[26]) * (1 - 0.85 * u[24])
        self.upper_lip = (0.05 + 0.009 * p.measure("upper_lip")) * (1 - 0.7 * press - 0.25 * u[20])
        self.lower_lip = (0.072 + 0.011 * p.measure("lower_lip")) * (1 - 0.65 * press - 0.25 * u[20])
        self.lower_lip = self.lower_lip + 0.02 * u[17]
        self.upper_y = self.mouth_y - 0.28 * self.gap - 0.055 * u[10]
        self.lower_y = self.mouth_y + 0.72 * self.gap - 0.02 * u[17] * (self.gap < 0.02)
        self.lower_y = np.maximum(self.lower_y, self.upper_y)
        self.lower_y = self.lower_y - 0.045 * u[10] * (self.gap < 0.02)

    def at(self, x: Any, y: Any) -> Array:
        """A point for each face: (n, 2); coordinates are (n,), or a number for all."""
        return np.stack([np.broadcast_to(v, len(self.faces)) for v in (x, y)], axis=-1).astype(float)

    # -- projection --------------------------------------------------------------------------------

    def seen(self, points: Array, out: float = 0.0) -> Array:
        """Points on the head as seen under its pose; `out` is how far they stand out of it."""
        x, y = points[..., 0], points[..., 1]
        yaw, pitch, roll = (self.faces.pose[:, i, None] for i in range(3))
        depth = 0.62 * np.sqrt(np.maximum(0.0, 1 - (x / 0.85) ** 2 - (y / 1.15) ** 2)) + out
        x, z = x * np.cos(yaw) + depth * np.sin(yaw), depth * np.cos(yaw) - x * np.sin(yaw)
        y = y * np.cos(pitch) + z * np.sin(pitch)
        x, y = x * np.cos(roll) - y * np.sin(roll), x * np.sin(roll) + y * np.cos(roll)
        return np.stack([x, y], axis=-1) * 0.98 + np.array([0.0, 0.03])

    def fill(self, points: Array, colour: Array, where: Array | None = None, out: float = 0.0) -> None:
        """Fill a polygon on the head."""
        self.canvas.polygon(self.seen(points, out), colour, where)

    def stroke(
        self, points: Array, colour: Array, width: Any, where: Array | None = None, out: float = 0.0
    ) -> None:
        """Draw a line on the head, as wide as the style wants it."""
        self.canvas.line(self.seen(points, out), colour, np.asarray(width) * self.style.line, where)

    def wrinkle(self, *controls: Any, unit: Array, width: float = 0.022) -> None:
        """A line in the skin that is as dark as a unit is strong."""
        points = bezier(*(self.at(*c) for c in controls), steps=6)
        strength = np.clip(0.35 + 0.6 * unit, 0, 0.95)
        self.stroke(points, mixed(self.skin, self.shade, strength), width * (0.6 + 0.6 * unit), unit > 0)

    # -- the whole ---------------------------------------------------------------------------------

    def draw(self) -> Canvas:
        """All parts, the hindmost first."""
        self.behind()
        self.head()
        self.furrows()
        self.hairs_of_the_face()
        self.marks()
        self.nose()
        self.mouth()
        self.eyes()
        self.brows()
        self.glasses()
        self.front_hair()
        self.cover()
        return self.canvas

    def behind(self) -> None:
        """Long hair, neck, shoulders, ears."""
        p = self.faces.people
        long = p.hair == LONG
        back = _closed(
            bezier(self.at(-0.95, 1.3), self.at(-1.15, 0.2), self.at(-0.95, -1.15), self.at(0, -1.18)),
            bezier(self.at(0, -1.18), self.at(0.95, -1.15), self.at(1.15, 0.2), self.at(0.95, 1.3)),
        )
        self.canvas.polygon(self.seen(back, -0.3), self.hair * 0.85, long)
        cloth = 60 + 150 * self.chance[:, :3]
        neck = np.stack(
            [self.at(-0.34, 0.5), self.at(0.34, 0.5), self.at(0.4, 1.2), self.at(-0.4, 1.2)], axis=1
        )
        self.canvas.polygon(neck, self.skin * 0.78)
        self.canvas.polygon(
            np.stack(
                [self.at(-1.2, 1.3), self.at(-0.5, 0.96), self.at(0.5, 0.96), self.at(1.2, 1.3)], axis=1
            ),
            cloth,
        )
        for side in SIDES:
            ear = ellipse(side * self.width, 0, 0.09, 0.17)
            self.fill(ear, self.skin * 0.88, ~long, out=-0.2)

    def head(self) -> None:
        """The oval with its jaw."""
        jaw = 0.46 + 0.045 * self.faces.people.measure("jaw")
        w, chin = self.width, self.chin
        temple = bezier(
            self.at(0, -0.93), self.at(0.85 * w, -0.95), self.at(w * 1.06, -0.45), self.at(w, 0.05), steps=12
        )
        cheek = bezier(
            self.at(w, 0.05),
            self.at(w * 0.98, 0.5),
            self.at(jaw + 0.02, chin * 0.86),
            self.at(jaw * 0.6, chin * 0.97),
        )
        below = bezier(
            self.at(jaw * 0.6, chin * 0.97), self.at(jaw * 0.3, chin * 1.01), self.at(0, chin * 1.01), steps=5
        )
        right = np.concatenate([temple, cheek, below], axis=1)
        left = right[:, ::-1] * np.array([-1, 1])
        outline = np.concatenate([right, left], axis=1)
        self.outline = outline
        self.fill(outline, self.skin, out=-0.12)
        dark = mixed(self.skin, self.shade, self.style.outline)
        closed = np.concatenate([outline, outline[:, :1]], axis=1)
        self.stroke(closed, dark, 0.022, out=-0.12)

    def furrows(self) -> None:
        """Everything that a unit folds into the skin."""
        self.furrows_of_the_forehead()
        self.furrows_of_the_chin()
        for side in SIDES:
            self.furrows_of_the_eye(side)
            self.furrows_of_the_nose(side)
            self.furrows_of_the_mouth(side)

    def furrows_of_the_forehead(self) -> None:
        """Units 1, 2 and 4: level lines in the middle, at the sides, and upright ones between the brows."""
        u, brow = self.u, self.brow_y
        for height in (-0.24, -0.34):
            level = brow + height
            self.wrinkle((-0.2, level + 0.02), (0.0, level - 0.03), (0.2, level + 0.02), unit=u[1])
        for side in SIDES:
            for height in (-0.27, -0.36):
                level = brow + height
                self.wrinkle(
                    (side * 0.30, level + 0.01),
                    (side * 0.44, level - 0.05),
                    (side * 0.56, level + 0.06),
                    unit=u[2],
                )
            top, low = (side * 0.045, brow - 0.10), (side * 0.06, brow + 0.10)
            self.wrinkle(top, (side * 0.03, brow), low, unit=u[4], width=0.03)

    def furrows_of_the_eye(self, side: int) -> None:
        """Unit 6: a lit cheek with an arc below it, and crow's feet."""
        u = self.u[6]
        rosy = mixed(self.light, np.array([235.0, 120, 105]), 0.4)
        cheek = ellipse(side * (self.eye_x + 0.07), 0.12, 0.17, 0.10)
        self.fill(cheek, mixed(self.skin, rosy, 0.55 * u), u > 0)
        self.wrinkle((side * 0.17, 0.08), (side * 0.33, 0.20), (side * 0.52, 0.06), unit=u)
        for k in range(3):
            start, level = -0.145 + 0.025 * k, -0.22 + 0.08 * k
            end = level + 0.02 * (k - 1)
            self.wrinkle((side * 0.52, start), (side * 0.58, level), (side * 0.64, end), unit=u)

    def furrows_of_the_nose(self, side: int) -> None:
        """Units 9, 10, 11: across the root, down the flanks, and from the wings towards the mouth."""
        u = self.u
        for level in (-0.16, -0.075, 0.01):
            over, down = (side * 0.07, level), (side * 0.115, level - 0.05)
            self.wrinkle((side * 0.02, level - 0.02), over, down, unit=u[9], width=0.026)
        self.wrinkle((side * 0.15, 0.02), (side * 0.13, 0.08), (side * 0.17, 0.14), unit=u[9])
        x, y = self.nose_w + 0.035, self.nose_y - 0.02
        top, low = (side * x, y - 0.05), (side * (self.mouth_w + 0.085), self.mouth_y + 0.02)
        self.wrinkle(top, (side * (x + 0.13), y + 0.06), low, unit=u[11], width=0.042)
        bend, end = (side * (x + 0.07), y - 0.02), (side * (x + 0.13), y + 0.09)
        self.wrinkle(top, bend, end, unit=u[10], width=0.036)

    def furrows_of_the_mouth(self, side: int) -> None:
        """Units 12, 15, 20, 23: about the corners, and across tight lips."""
        u, x, y = self.u, self.mouth_w, self.corner_y
        start, end = (side * (x + 0.06), y - 0.12), (side * (x + 0.09), y + 0.05)
        self.wrinkle(start, (side * (x + 0.11), y - 0.03), end, unit=u[12], width=0.028)
        bend, end = (side * (x + 0.05), y + 0.05), (side * (x + 0.04), y + 0.13)
        self.wrinkle((side * x, y), bend, end, unit=u[15], width=0.03)
        for out in (0.07, 0.145):
            start, end = (side * (x + out), y - 0.10), (side * (x + out), y + 0.11)
            self.wrinkle(start, (side * (x + out + 0.05), y), end, unit=u[20], width=0.026)
        for across in (0.05, 0.14):
            for up in SIDES:
                tip = (side * 1.15 * across, y + 0.15 * up)
                self.wrinkle((side * across, y + 0.075 * up), tip, unit=u[23], width=0.026)

    def furrows_of_the_chin(self) -> None:
        """Unit 17: the boss with its fold and dimples."""
        u, y = self.u[17], self.chin - 0.17
        self.fill(ellipse(0, y + 0.06, 0.14, 0.075), mixed(self.skin, self.light, 0.7 * u), u > 0)
        self.wrinkle((-0.17, y + 0.06), (0.0, y - 0.13), (0.17, y + 0.06), unit=u, width=0.036)
        for dx, dy in ((-0.06, 0.05), (0.05, 0.03), (0.0, 0.09), (-0.01, 0.02)):
            self.fill(ellipse(dx, y + dy, 0.018, 0.018, steps=6), mixed(self.skin, self.shade, 0.7), u > 0)

    def marks(self) -> None:
        """Freckles, mole, scar."""
        p = self.faces.people
        freckle = mixed(self.skin, np.array([120.0, 62, 30]), 0.55)
        for k in range(16):
            side = SIDES[k % 2]
            x = side * (0.16 + 0.3 * ((k * 0.37 + p.spot[:, 2]) % 1))
            y = 0.02 + 0.22 * ((k * 0.61 + p.spot[:, 3]) % 1)
            self.fill(ellipse(x, y, 0.016, 0.016, steps=5), freckle, p.freckles == 1)
        x = np.where(p.spot[:, 0] < 0.5, -1, 1) * (0.36 + 0.14 * p.spot[:, 1])
        y = 0.22 + 0.25 * p.spot[:, 2]
        self.fill(
            ellipse(x, y, 0.045, 0.045, steps=8),
            self.skin * 0.3,
            p.mole == 1,
        )
        x = np.where(p.spot[:, 0] < 0.5, 1, -1) * (0.40 + 0.08 * p.spot[:, 3])
        points = np.stack([self.at(x - 0.05, 0.16), self.at(x + 0.01, 0.26), self.at(x + 0.06, 0.42)], axis=1)
        bright = (self.skin.mean(axis=1) > 130)[:, None]
        red = np.where(bright, np.array([196.0, 70, 76]), np.array([236.0, 160, 150]))
        self.stroke(points, mixed(self.skin, red, 0.8), 0.042, p.scar == 1)

    def hairs_of_the_face(self) -> None:
        """Beard along the jaw, moustache above the lip."""
        p = self.faces.people
        colour, w = self.beard_colour, self.width
        inner = self.mouth_w + 0.09
        edge = self.outline[:, JAW]
        hole_y = self.lower_y + self.lower_lip + 0.05
        hole = [
            self.at(-w * 0.88, 0.25),
            self.at(-inner, self.mouth_y),
            self.at(-0.16, hole_y),
            self.at(0.16, hole_y),
        ]
        hole += [self.at(inner, self.mouth_y), self.at(w * 0.88, 0.25)]
        beard = np.concatenate([edge, np.stack(hole, axis=1)], axis=1)
        self.fill(beard, colour, p.beard == 1, out=-0.12)
        y, lip = self.nose_y + 0.07, self.upper_y - self.upper_lip - 0.012
        shape = [
            self.at(0, y),
            self.at(self.mouth_w * 0.8, lip - 0.03),
            self.at(self.mouth_w + 0.05, self.corner_y - 0.01),
        ]
        shape += [self.at(self.mouth_w * 0.5, lip), self.at(0, lip)]
        half = np.stack(shape, axis=1)
        whole = np.concatenate([half, half[:, ::-1] * np.array([-1, 1])], axis=1)
        self.fill(whole, colour, p.moustache == 1)

    def nose(self) -> None:
        """Bridge, wings, nostrils."""
        y, w = self.nose_y, self.nose_w
        line = mixed(self.skin, self.shade, 0.55)
        tip = mixed(self.skin, np.array([255.0, 245, 238]), 0.25)
        self.fill(ellipse(0, y, w * 0.55, 0.06, steps=10), tip, out=0.12)
        side = np.where(self.faces.light[:, 0] > 0, -1, 1)
        self.stroke(
            bezier(
                self.at(side * 0.055, -0.10),
                self.at(side * 0.05, 0.05),
                self.at(side * w * 0.75, y - 0.03),
                steps=6,
            ),
            mixed(self.skin, self.shade, 0.35),
            0.022,
            out=0.07,
        )
        for s in SIDES:
            lift = 0.035 * self.u[9] + 0.015 * self.u[10]
            wing = bezier(
                self.at(s * w * 0.85, y - 0.055 - lift),
                self.at(s * w * 1.25, y - lift),
                self.at(s * w * 0.75, y + 0.055 - 0.5 * lift),
                steps=6,
            )
            self.stroke(wing, line, 0.024, out=0.06)
            self.fill(
                ellipse(s * w * 0.45, y + 0.045 - 0.4 * lift, w * 0.22, 0.02, steps=8),
                self.shade * 0.7,
                out=0.1,
            )

    def mouth(self) -> None:
        """Lips, and between them a line or teeth and the dark."""
        w = self.mouth_w
        lip = mixed(self.skin * np.array([0.86, 0.6, 0.58]), np.array([190.0, 60, 70]), 0.35)
        cy, up, lo, tu, tl = self.corner_y, self.upper_y, self.lower_y, self.upper_lip, self.lower_lip
        x = np.linspace(-1, 1, 13)[None, :] * np.ones((len(w), 1))
        inner_up = np.stack([x * w[:, None], _through(cy, up, x)], axis=-1)
        inner_lo = np.stack([x * w[:, None], _through(cy, lo, x, power=2.4)], axis=-1)
        arch = 1 - np.abs(x) ** 2.2
        bow = 1 - 0.30 * np.exp(-((x / 0.16) ** 2)) + 0.12 * np.exp(-(((np.abs(x) - 0.3) / 0.16) ** 2))
        # The upper lip raiser lifts the sides of the lip most: its outline becomes a box.
        arch_up = np.where(self.u[10][:, None] > 0, 1 - np.abs(x) ** 4, arch)
        outer_up = inner_up - np.stack([0 * x, tu[:, None] * arch_up * bow], axis=-1)
        outer_lo = inner_lo + np.stack([0 * x, tl[:, None] * (1 - np.abs(x) ** 2.6)], axis=-1)
        self.fill(_closed(outer_up, outer_lo[:, ::-1]), lip)
        is_open = self.gap > 0.012
        hollow = _closed(inner_up, inner_lo[:, ::-1])
        self.fill(hollow, np.array([52.0, 14, 18]), is_open)
        # Upper teeth: a band below the upper lip, cut by the lower one.
        teeth = inner_up + np.stack([0 * x, np.minimum(0.07, 0.62 * self.gap)[:, None] * (1 - x**2)], axis=-1)
        self.fill(_closed(inner_up, teeth[:, ::-1]), np.array([244.0, 240, 228]), is_open)
        tongue = np.stack([inner_lo[..., 0] * 0.6, inner_lo[..., 1]], axis=-1)
        lifted = tongue - np.stack([0 * x, 0.3 * self.gap[:, None] * (1 - x**2)], axis=-1)
        self.fill(_closed(lifted, tongue[:, ::-1]), np.array([186.0, 76, 84]), self.gap > 0.12)
        middle = 0.5 * (inner_up + inner_lo)
        press = self.u[24]
        self.stroke(
            middle,
            mixed(lip * 0.45, np.array([30.0, 8, 8]), 0.3 + 0.5 * press),
            0.022 + 0.022 * press,
            ~is_open,
        )
        # Pressed lips: light bulges above and below, dark pits at the corners.
        bulge = mixed(self.skin, np.array([255.0, 246, 240]), 0.28 * press)
        bare = (press > 0) & (self.faces.people.beard == 0) & (self.faces.people.moustache == 0)
        for dy in (-0.07, 0.08):
            self.fill(ellipse(0, cy + dy, 0.75 * w, 0.03), bulge, bare)
        for side in SIDES:
            pit = ellipse(side * (w + 0.02), cy, 0.028, 0.04, steps=8)
            self.fill(pit, mixed(self.skin, self.shade * 0.8, 0.9 * press), press > 0)
        # A shadow below the lower lip.
        low = self.lower_y + tl + 0.045
        self.stroke(
            bezier(self.at(-0.10, low), self.at(0, low + 0.015), self.at(0.10, low), steps=4),
            mixed(self.skin, self.shade, 0.3),
            0.022,
        )

    def eyes(self) -> None:
        """White, iris and pupil between the lids, lashes and the lid's fold."""
        u, p = self.u, self.faces.people
        half = 0.145 + 0.008 * p.measure("eye_size")
        wink = 1 + 0.12 * (self.chance[:, 3] - 0.5)
        up = (0.072 + 0.006 * p.measure("eye_size")) * wink * (1 + 0.95 * u[5] - 0.52 * u[7] - 0.18 * u[6])
        lo = 0.055 * (1 + 0.25 * u[5] - 0.75 * u[7] - 0.65 * u[6])
        tilt = 0.012 * p.measure("eye_tilt")
        iris = 0.074
        for side in SIDES:
            cx, cy = side * self.eye_x, self.eye_y
            t = np.linspace(-1, 1, 11)
            x = cx[:, None] + half[:, None] * t
            slope = -side * tilt[:, None] * t
            top = cy[:, None] - up[:, None] * (1 - np.abs(t) ** 2.2) + slope
            low = cy[:, None] + lo[:, None] * (1 - np.abs(t) ** 2.2) + slope
            upper, lower = np.stack([x, top], axis=-1), np.stack([x, low], axis=-1)
            self.fill(_closed(upper, lower[:, ::-1]), np.array([246.0, 244, 240]))
            gx, gy = cx + 0.035 * self.faces.gaze[:, 0], cy - 0.01 + 0.015 * self.faces.gaze[:, 1]
            for radius, colour in ((iris, p.iris), (0.5 * iris, np.array([14.0, 12, 12]))):
                disc = ellipse(gx, gy, radius, radius, steps=16)
                at = np.abs((disc[..., 0] - cx[:, None]) / half[:, None]).clip(0, 1)
                lid = 1 - at**2.2
                rise = -side * tilt[:, None] * (disc[..., 0] - cx[:, None]) / half[:, None]
                disc[..., 1] = np.clip(
                    disc[..., 1],
                    cy[:, None] - up[:, None] * lid + rise,
                    cy[:, None] + lo[:, None] * lid + rise,
                )
                self.fill(disc, colour)
            self.stroke(upper, np.array([34.0, 22, 20]), 0.026)
            tight = np.maximum(u[7], 0.5 * u[6])
            self.stroke(lower, mixed(self.skin, self.shade, 0.45 + 0.5 * tight), 0.016 + 0.016 * tight)
            # Fold of the upper lid: close to the lashes when the eye is wide, gone when it is tight.
            fold = upper - np.array([0.0, 0.045])
            self.stroke(fold[:, 1:-1], mixed(self.skin, self.shade, 0.4), 0.014, (u[7] == 0) & (u[5] == 0))
            # Tightened: the lower lid bulges.
            bag = lower + np.array([0.0, 0.04])
            self.stroke(bag[:, 2:-2], mixed(self.skin, self.shade, 0.65 * u[7]), 0.022, u[7] > 0)

    def brows(self) -> None:
        """Tapered bands."""
        u, by = self.u, self.brow_y
        thick = np.clip(0.034 + 0.010 * self.faces.people.measure("brow_thickness"), 0.016, None)
        uneven = 0.012 * (self.chance[:, 4:6] - 0.5)
        for j, side in enumerate(SIDES):
            y = by + uneven[:, j]
            inner = self.at(
                side * (0.145 - 0.065 * u[4]), y + 0.025 - 0.15 * u[1] + 0.125 * u[4] + 0.045 * u[9]
            )
            arch = self.at(
                side * (0.32 - 0.02 * u[4]),
                y - 0.045 - 0.05 * u[1] - 0.13 * u[2] + 0.075 * u[4] + 0.02 * u[9],
            )
            outer = self.at(side * 0.52, y + 0.045 - 0.125 * u[2] + 0.02 * u[4])
            spine = bezier(inner, arch, outer, steps=9)
            taper = np.linspace(1, 0.35, 9)[:, None] * np.array([0.0, 1.0])
            lift = thick[:, None, None] * taper
            self.fill(_closed(spine - lift, (spine + lift)[:, ::-1]), self.brow_colour)

    def glasses(self) -> None:
        """Rims, bridge and temples."""
        p = self.faces.people
        worn, dark = p.glasses == 1, np.array([30.0, 28, 34])
        angle = np.linspace(0, 2 * np.pi, 17)
        power = (0.45 + 0.55 * p.frame)[:, None]
        cos, sin = np.cos(angle), np.sin(angle)
        rx, ry = 0.205, 0.165 + 0.02 * p.frame
        for side in SIDES:
            x = side * self.eye_x[:, None] + rx * np.sign(cos) * np.abs(cos) ** power
            y = self.eye_y[:, None] + 0.02 + ry[:, None] * np.sign(sin) * np.abs(sin) ** power
            rim = np.stack([x, y], axis=-1)
            self.stroke(rim, dark, 0.022 + 0.016 * p.frame, worn, out=0.06)
            temple = np.stack(
                [
                    self.at(side * (self.eye_x + rx), self.eye_y),
                    self.at(side * self.width, self.eye_y - 0.03),
                ],
                axis=1,
            )
            self.stroke(temple, dark, 0.026, worn)
        inner = self.eye_x - rx
        bridge = bezier(
            self.at(-inner, self.eye_y), self.at(0, self.eye_y - 0.05), self.at(inner, self.eye_y), steps=5
        )
        self.stroke(bridge, dark, 0.026, worn, out=0.1)

    def front_hair(self) -> None:
        """The cap of hair, with or without a fringe, and locks at the sides of long hair."""
        p = self.faces.people
        w = self.width
        crown = _closed(
            bezier(
                self.at(-w * 1.06, -0.1),
                self.at(-w * 1.25, -1.0),
                self.at(-0.4, -1.2),
                self.at(0, -1.17),
            ),
            bezier(
                self.at(0, -1.17),
                self.at(0.4, -1.2),
                self.at(w * 1.25, -1.0),
                self.at(w * 1.06, -0.1),
            ),
        )
        high = bezier(
            self.at(w * 0.99, -0.2),
            self.at(w * 0.8, -0.80),
            self.at(0.3, -0.88),
            self.at(0, -0.82),
            steps=8,
        )
        hairline = np.concatenate([high, high[:, ::-1] * np.array([-1, 1])], axis=1)
        self.fill(_closed(crown, hairline), self.hair, p.hair != BALD, out=-0.1)
        strands = mixed(self.hair, np.array([255.0, 245, 230]), 0.12)
        part = 0.5 * (self.chance[:, 6] - 0.5)
        for k in range(3):
            x = part + 0.22 * (k - 1)
            lock = bezier(self.at(x, -1.08), self.at(x + 0.08, -1.0), self.at(x + 0.14, -0.86), steps=4)
            self.stroke(lock, strands, 0.02, p.hair != BALD, out=-0.1)
        edge = np.stack([self.at(-0.57 + 0.1425 * k, -0.62 if k % 2 else -0.68) for k in range(9)], axis=1)
        fringe = np.concatenate(
            [edge, np.stack([self.at(0.6, -0.95), self.at(0, -1.1), self.at(-0.6, -0.95)], axis=1)], axis=1
        )
        self.fill(fringe, self.hair * 0.95, p.hair == FRINGE, out=-0.05)
        for side in SIDES:
            lock = np.stack(
                [
                    self.at(side * w * 1.02, -0.3),
                    self.at(side * w * 0.90, 0.1),
                    self.at(side * w * 0.95, 0.9),
                    self.at(side * w * 1.3, 0.95),
                    self.at(side * w * 1.3, -0.3),
                ],
                axis=1,
            )
            self.fill(lock, self.hair * 0.92, p.hair == LONG, out=-0.1)

    def cover(self) -> None:
        """A bar from a side or a disc in front of the lower or outer face."""
        kind, x, y, size = self.faces.cover.T
        colour = 40 + 190 * self.chance[:, 10:13]
        radius = 0.16 + 0.14 * size
        self.canvas.polygon(ellipse(1.4 * x - 0.7, 1.5 * y - 0.7, radius, radius), colour, kind == 2)
        tall = 0.07 + 0.07 * size
        level = np.where(y < 0.5, -0.8 + 0.4 * y, 0.35 + 0.5 * y)
        start = 2 * x - 1
        bar = np.stack(
            [
                self.at(start, level - tall),
                self.at(1.2, level - tall),
                self.at(1.2, level + tall),
                self.at(start, level + tall),
            ],
            axis=1,
        )
        self.canvas.polygon(bar, colour, kind == 1)


def _closed(first: Array, second: Array) -> Array:
    return np.concatenate([first, second], axis=1)


def _through(corner: Array, middle: Array, x: Array, power: float = 2.0) -> Array:
    """Height of a lip line at x in [-1, 1] that starts and ends at the corners."""
    return middle[:, None] + (corner - middle)[:, None] * np.abs(x) ** power
