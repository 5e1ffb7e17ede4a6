"""Pictures within a picture: what a screenshot, a collage or a page of several drawings is made of.

As a whole a screenshot resembles other screenshots and a collage nothing at all; their parts resemble their originals.
Parts only find candidates: whether one picture shows part of another is proved elsewhere.

Two ways of finding them, both on a small picture whose page is its most frequent colour: connected regions that stand
out from the page, and an X-Y cut (Nagy and Seth, 1984), which splits a page at its widest empty stripe, and again.
"""

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

Box = tuple[int, int, int, int]
"""Left, top, right, bottom, in pixels."""
Mask = npt.NDArray[np.bool_]

LOOKED_AT: Final = 256
"""Long side, in pixels, at which parts are looked for: a thumbnail's."""
DIFFERENT: Final = (8, 32)
"""Differences of 8-bit values, in some channel, from which on a pixel is not the page: a faint edge counts or not."""
MIN_SHARE: Final = 0.04
"""Least share of the picture's area, of a part."""
MAX_RATIO: Final = 4.0
"""Of a part's sides."""
MAX_PANES: Final = 12
MAX_CUTS: Final = 6
"""Splits of a page, one within the other."""
SAME: Final = 0.85
"""Overlap from which on two boxes are one."""
_CLOSED: Final = 5
"""Pixels by which parts of one drawing may lie apart."""


def find_panes(image: Image.Image) -> list[Box]:
    """Boxes of an RGB picture that stand out from its page, connected ones first, by size; not the whole itself."""
    small, scale = _shrink(image)
    height, width = small.shape[:2]
    faint, clear = (_drawn(small, least) for least in DIFFERENT)
    cut: list[Box] = []
    for mask in (faint, clear):
        _cut(mask, (0, 0, width, height), cut, 0)
    chosen: list[Box] = []
    for box in [*_by_area(_regions(faint)), *_by_area(cut)]:
        if _may_be_picture(box, width * height) and all(
            overlap(box, it) < SAME for it in [*chosen, (0, 0, width, height)]
        ):
            chosen.append(box)
    return [_scaled(box, scale, image.size) for box in chosen[:MAX_PANES]]


def trim_page(image: Image.Image) -> Image.Image | None:
    """An RGB picture without the empty margins around what is drawn; None if it has none."""
    small, scale = _shrink(image)
    whole = (0, 0, small.shape[1], small.shape[0])
    box = _trim(_drawn(small, DIFFERENT[0]), whole)
    if box is None or overlap(box, whole) >= SAME:
        return None
    return image.crop(_scaled(box, scale, image.size))


def area(box: Box) -> int:
    """Of a box, in pixels; 0 for an empty one."""
    return max(0, box[2] - box[0]) * max(0, box[3] - box[1])


def overlap(one: Box, other: Box) -> float:
    """Shared area over joined area."""
    shared = area((max(one[0], other[0]), max(one[1], other[1]), min(one[2], other[2]), min(one[3], other[3])))
    return shared / max(1, area(one) + area(other) - shared)


def _shrink(image: Image.Image) -> tuple[npt.NDArray[np.uint8], float]:
    scale = min(1.0, LOOKED_AT / max(image.size))
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    if scale == 1.0:
        return np.asarray(image), scale
    return np.asarray(image.resize(size, Image.Resampling.BOX, reducing_gap=3.0)), scale


def _scaled(box: Box, scale: float, size: tuple[int, int]) -> Box:
    if scale == 1.0:
        return box
    left, top, right, bottom = box
    return (
        round(max(0.0, left - 0.5) / scale),
        round(max(0.0, top - 0.5) / scale),
        min(size[0], round((right + 0.5) / scale)),
        min(size[1], round((bottom + 0.5) / scale)),
    )


def _drawn(small: npt.NDArray[np.uint8], least: int) -> Mask:
    """Which pixels are not the page: the most frequent colour, to 4 bits a channel."""
    coarse = (small >> 4).astype(np.int32)
    codes = (coarse[..., 0] << 8 | coarse[..., 1] << 4 | coarse[..., 2]).ravel()
    page = np.median(small.reshape(-1, 3)[codes == int(np.bincount(codes).argmax())], axis=0).astype(np.int16)
    return np.asarray((np.abs(small.astype(np.int16) - page) > least).any(axis=2))


def _regions(drawn: Mask) -> list[Box]:
    """Bounding boxes of connected regions, as they are and with small gaps closed."""
    found: list[Box] = []
    for closed in (0, _CLOSED):
        mask = drawn.astype(np.uint8)
        if closed:
            mask = np.asarray(cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((closed, closed), np.uint8)), np.uint8)
        n, _, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
        found += [(int(x), int(y), int(x + wide), int(y + high)) for x, y, wide, high, _ in stats[1:n]]
    return found


def _cut(mask: Mask, box: Box, found: list[Box], depth: int) -> None:
    """Add what a page falls into when it is split at the widest empty row or column stripes."""
    trimmed = _trim(mask, box)
    if trimmed is None or area(trimmed) < MIN_SHARE * mask.size:
        return
    if depth:
        found.append(trimmed)
    left, top, right, bottom = trimmed
    part = mask[top:bottom, left:right]
    rows, columns = (_widest_gap(np.asarray(part.any(axis=axis))) for axis in (1, 0))
    if depth == MAX_CUTS or max(rows[1] - rows[0], columns[1] - columns[0]) < 1:
        return
    if rows[1] - rows[0] >= columns[1] - columns[0]:
        halves = (left, top, right, top + rows[0]), (left, top + rows[1], right, bottom)
    else:
        halves = (left, top, left + columns[0], bottom), (left + columns[1], top, right, bottom)
    for half in halves:
        _cut(mask, half, found, depth + 1)


def _widest_gap(filled: npt.NDArray[np.bool_]) -> tuple[int, int]:
    """Start and end of the longest run of False; (0, 0) if there is none."""
    edges = np.flatnonzero(np.diff(np.concatenate([[True], filled, [True]])))
    starts, ends = edges[::2], edges[1::2]
    if not len(starts):
        return 0, 0
    widest = int(np.argmax(ends - starts))
    return int(starts[widest]), int(ends[widest])


def _trim(mask: Mask, box: Box) -> Box | None:
    """The box without the empty lines at its edges; None if it is empty."""
    left, top, right, bottom = box
    part = mask[top:bottom, left:right]
    rows, columns = np.flatnonzero(part.any(axis=1)), np.flatnonzero(part.any(axis=0))
    if not len(rows):
        return None
    return left + int(columns[0]), top + int(rows[0]), left + int(columns[-1]) + 1, top + int(rows[-1]) + 1


def _may_be_picture(box: Box, whole: int) -> bool:
    wide, high = box[2] - box[0], box[3] - box[1]
    return area(box) >= MIN_SHARE * whole and max(wide, high) <= MAX_RATIO * min(wide, high)


def _by_area(boxes: list[Box]) -> list[Box]:
    return sorted(boxes, key=lambda box: -area(box))
