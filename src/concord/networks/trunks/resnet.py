"""A small residual network for small images."""

from __future__ import annotations

from torch import Tensor, nn

from concord.arrays import whole_number
from concord.errors import RangeError

GROUPS = 8
"""Of channels that are normalised together."""


class _Block(nn.Module):
    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(before, after, 3, stride, 1, bias=False),
            nn.GroupNorm(GROUPS, after),
            nn.ReLU(),
            nn.Conv2d(after, after, 3, 1, 1, bias=False),
            nn.GroupNorm(GROUPS, after),
        )
        self.skip = (
            nn.Identity()
            if stride == 1 and before == after
            else nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.GroupNorm(GROUPS, after))
        )
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.body(x) + self.skip(x))


class SmallResNet(nn.Module):
    """Residual blocks at falling resolution, then the mean over positions: (n, channels, H, W) -> (n, width).

    Group instead of batch normalisation: a batch that mixes two data sets has no common statistics, and
    a network without batch statistics trains alike in one process and in many.

    Args:
        channels: Channels of the input images.
        width: Channels of the first stage, a multiple of 8; each later stage doubles it.
        stages: Number of stages, >= 1; all but the first halve the resolution.
        stem_stride: Stride of the first convolution, >= 1; 2 for images of 64 pixels and more.

    Raises:
        RangeError: A width, stages or a stride that are no whole number in their range.
    """

    def __init__(self, channels: int = 3, width: int = 32, stages: int = 3, stem_stride: int = 1) -> None:
        super().__init__()
        width = whole_number("a residual net's width", width, GROUPS)
        if width % GROUPS:
            raise RangeError(f"a residual net's width is a multiple of {GROUPS}, found {width}")
        stages = whole_number("a residual net's number of stages", stages)
        stem_stride = whole_number("a residual net's stem_stride", stem_stride)
        self.stem = nn.Sequential(
            nn.Conv2d(channels, width, 3, stem_stride, 1, bias=False), nn.GroupNorm(GROUPS, width), nn.ReLU()
        )
        blocks: list[nn.Module] = []
        before = width
        for stage in range(stages):
            after = width * 2**stage
            blocks.append(_Block(before, after, stride=1 if stage == 0 else 2))
            before = after
        self.blocks = nn.Sequential(*blocks)

    def forward(self, x: Tensor) -> Tensor:
        """Features (n, width * 2^(stages-1))."""
        return self.blocks(self.stem(x)).mean(dim=(-2, -1))
