"""Other pictures to look for, made of the query: its parts, and the guises in which copies of it may go.

A screenshot as a whole resembles other screenshots, a collage nothing at all; their *parts* resemble their originals.
A *guise* is the way round: the query as others may have cut or framed it resembles copies so cut or framed. Both
only find candidates; `search.geometry` proves them.
"""

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

Box = tuple[int, int, int, int]
"""Left, top, right, bottom, in pixels."""

LOOKED_AT: Final = 256
"""Long side, in pixels, at which panes are looked for."""
SAME_COLOUR: Final = 8
"""Difference of 8-bit values, at most, in each channel, of what counts as the page."""
MIN_SHARE: Final = 0.04
"""Least share of the picture's area, of a part."""
MAX_PANES: Final = 4
CUT: Final = 0.6
"""Share of either side that a cut guise keeps."""
FRAME: Final = 0.12
"""Width of a framed guise's frame, as a share of the long side."""
MAX_RATIO: Final = 4.0
"""Of a part's sides."""


def find_parts(image: Image.Image) -> list[Box]:
    """Boxes of an RGB picture that may be pictures of their own, likeliest first, the whole itself left out."""
    width, height = image.size
    boxes = [*_panes(image), *_quarters(width, height), _middle(width, height)]
    chosen: list[Box] = []
    for box in boxes:
        if _area(box) and all(_overlap(box, other) < 0.8 for other in [*chosen, (0, 0, width, height)]):
            chosen.append(box)
    return chosen


def make_guises(image: Image.Image) -> list[Image.Image]:
    """An RGB picture framed in grey, and cut to its middle and to each of its corners."""
    framed = ImageOps.expand(image, max(1, round(FRAME * max(image.size))), (128, 128, 128))
    width, height = (max(1, round(CUT * side)) for side in image.size)
    right, bottom = image.width - width, image.height - height
    corners = [(right // 2, bottom // 2), (0, 0), (right, 0), (0, bottom), (right, bottom)]
    return [framed, *(image.crop((left, top, left + width, top + height)) for left, top in corners)]


def _panes(image: Image.Image) -> list[Box]:
    """Bounding boxes of what stands out from the page, largest first."""
    scale = min(1.0, LOOKED_AT / max(image.size))
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    small = np.asarray(image.resize(size, Image.Resampling.BOX, reducing_gap=3.0))
    drawn = (np.abs(small.astype(np.int16) - _page_colour(small)) > SAME_COLOUR).any(axis=2).astype(np.uint8)
    found: list[Box] = []
    for closed in (0, 5):  # parts of one drawing may lie apart
        mask = drawn if not closed else cv2.morphologyEx(drawn, cv2.MORPH_CLOSE, np.ones((closed, closed), np.uint8))
        n, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
        for x, y, wide, high, _ in stats[1:n]:
            share = wide * high / drawn.size
            if share >= MIN_SHARE and max(wide, high) <= MAX_RATIO * min(wide, high):
                left, top = max(0.0, x - 0.5), max(0.0, y - 0.5)
                right, bottom = min(size[0], x + wide + 0.5), min(size[1], y + high + 0.5)
                found.append(tuple(round(each / scale) for each in (left, top, right, bottom)))
    found.sort(key=lambda box: -_area(box))
    chosen: list[Box] = []
    for box in found:
        if all(_overlap(box, other) < 0.8 for other in chosen):
            chosen.append(box)
    return chosen[:MAX_PANES]


def _page_colour(small: npt.NDArray[np.uint8]) -> npt.NDArray[np.int16]:
    """The most frequent colour, to 4 bits a channel."""
    coarse = (small >> 4).astype(np.int32)
    codes = (coarse[..., 0] << 8 | coarse[..., 1] << 4 | coarse[..., 2]).ravel()
    common = int(np.bincount(codes).argmax())
    return np.asarray(np.median(small.reshape(-1, 3)[codes == common], axis=0).astype(np.int16))


def _quarters(width: int, height: int) -> list[Box]:
    across, down = width // 2, height // 2
    return [
        (0, 0, across, down),
        (across, 0, width, down),
        (0, down, across, height),
        (across, down, width, height),
    ]


def _middle(width: int, height: int) -> Box:
    return (width // 5, height // 5, width - width // 5, height - height // 5)


def _area(box: Box) -> int:
    return max(0, box[2] - box[0]) * max(0, box[3] - box[1])


def _overlap(one: Box, other: Box) -> float:
    """Shared area over joined area."""
    shared = _area((max(one[0], other[0]), max(one[1], other[1]), min(one[2], other[2]), min(one[3], other[3])))
    return shared / max(1, _area(one) + _area(other) - shared)
