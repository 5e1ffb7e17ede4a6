"""Other pictures to look for, made of the query: its parts, and the guises in which copies of it may go.

A screenshot as a whole resembles other screenshots, a collage nothing at all; their *parts* resemble their originals.
A *guise* is the way round: the query as others may have cut or framed it resembles copies so cut or framed. Both
only find candidates; `search.geometry` proves them.
"""

from typing import Final

from PIL import Image, ImageOps

from indexer.parts import Box, area, find_panes, overlap

MAX_PANES: Final = 4
"""Of the query: each is embedded."""
CUT: Final = 0.6
"""Share of either side that a cut guise keeps."""
FRAME: Final = 0.12
"""Width of a framed guise's frame, as a share of the long side."""


def find_parts(image: Image.Image) -> list[Box]:
    """Boxes of an RGB picture that may be pictures of their own, likeliest first, the whole itself left out."""
    width, height = image.size
    boxes = [*find_panes(image)[:MAX_PANES], *_quarters(width, height), _middle(width, height)]
    chosen: list[Box] = []
    for box in boxes:
        if area(box) and all(overlap(box, other) < 0.8 for other in [*chosen, (0, 0, width, height)]):
            chosen.append(box)
    return chosen


def make_guises(image: Image.Image) -> list[Image.Image]:
    """An RGB picture framed in grey, and cut to its middle and to each of its corners."""
    framed = ImageOps.expand(image, max(1, round(FRAME * max(image.size))), (128, 128, 128))
    width, height = (max(1, round(CUT * side)) for side in image.size)
    right, bottom = image.width - width, image.height - height
    corners = [(right // 2, bottom // 2), (0, 0), (right, 0), (0, bottom), (right, bottom)]
    return [framed, *(image.crop((left, top, left + width, top + height)) for left, top in corners)]


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
