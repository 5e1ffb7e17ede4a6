"""C2SP tlog-tiles: paths of tiles and entry bundles, as pure functions. Nothing else puts such a path together.

Source: https://c2sp.org/tlog-tiles, "Merkle Tree", "Partial Tiles" and "Log entries".
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from heldout.errors import InputError

TILE_HEIGHT = 8
TILE_WIDTH = 1 << TILE_HEIGHT
"""Hashes in a full tile, entries in a full bundle."""
MAX_LEVEL = 63
CHECKPOINT_PATH = "checkpoint"
WITNESSED_PATH = "checkpoint.witnessed"
"""Ours, beside what tlog-tiles names: the last checkpoint that enough witnesses cosigned, where a log has witnesses."""

_PATH = re.compile(r"tile/(entries|0|[1-9][0-9]?)/((?:x[0-9]{3}/)*[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?", re.ASCII)


@dataclass(frozen=True, order=True)
class Tile:
    """One tile, or one entry bundle if `level` is None."""

    level: int | None
    index: int
    width: int = TILE_WIDTH
    """1 to 256; below 256 the tile is partial."""

    @property
    def path(self) -> str:
        """Path below the log's prefix."""
        return (
            bundle_path(self.index, self.width) if self.level is None else tile_path(self.level, self.index, self.width)
        )


def tile_path(level: int, index: int, width: int | None = None) -> str:
    """Path of a tile of hashes; a width of None or 256 is the full tile.

    >>> tile_path(0, 1234067)
    'tile/0/x001/x234/067'
    >>> tile_path(2, 0, 1)
    'tile/2/000.p/1'

    Raises:
        InputError: level, index or width out of range.
    """
    if not 0 <= level <= MAX_LEVEL:
        raise InputError(f"tile level {level} is out of range: use 0 to {MAX_LEVEL}")
    return f"tile/{level}/{_index_path(index)}{_suffix(width)}"


def bundle_path(index: int, width: int | None = None) -> str:
    """Path of an entry bundle; a width of None or 256 is the full bundle.

    >>> bundle_path(273, 112)
    'tile/entries/273.p/112'

    Raises:
        InputError: index or width out of range.
    """
    return f"tile/entries/{_index_path(index)}{_suffix(width)}"


def parse_path(path: str) -> Tile:
    """Inverse of `tile_path` and `bundle_path`; exactly one path names a tile.

    Raises:
        InputError: not such a path.
    """
    match = _PATH.fullmatch(path)
    if match:
        kind, digits, width = match.groups()
        index = int(digits.replace("x", "").replace("/", ""))
        level = None if kind == "entries" else int(kind)
        if (level is None or level <= MAX_LEVEL) and (width is None or int(width) < TILE_WIDTH):
            tile = Tile(level, index, TILE_WIDTH if width is None else int(width))
            if tile.path == path:  # refuses needless leading "x000/"
                return tile
    raise InputError(f"{path!r} is not a tile path: expected tile/<level>/<index>[.p/<width>], as in C2SP tlog-tiles")


def tile_width(level: int, index: int, size: int) -> int:
    """Hashes that tile `index` of `level` has in a tree of `size` leaves: 0 (no such tile) to 256."""
    return max(0, min(TILE_WIDTH, (size >> (TILE_HEIGHT * level)) - index * TILE_WIDTH))


def iter_new_tiles(old_size: int, new_size: int) -> Iterator[Tile]:
    """Tiles of hashes a tree of `new_size` has and one of `old_size` had not, lowest level first."""
    for level in range(MAX_LEVEL + 1):
        n_old, n_new = old_size >> (TILE_HEIGHT * level), new_size >> (TILE_HEIGHT * level)
        if n_new == 0:
            return
        if n_new > n_old:
            for index in range(n_old // TILE_WIDTH, -(-n_new // TILE_WIDTH)):
                yield Tile(level, index, tile_width(level, index, new_size))


def iter_new_bundles(old_size: int, new_size: int) -> Iterator[Tile]:
    """Entry bundles a log of `new_size` has and one of `old_size` had not."""
    if new_size > old_size:
        for index in range(old_size // TILE_WIDTH, -(-new_size // TILE_WIDTH)):
            yield Tile(None, index, tile_width(0, index, new_size))


def _index_path(index: int) -> str:
    if index < 0:
        raise InputError(f"tile index {index} is negative: indices start at 0")
    digits = str(index)
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    groups = [digits[i : i + 3] for i in range(0, len(digits), 3)]
    return "/".join([*(f"x{group}" for group in groups[:-1]), groups[-1]])


def _suffix(width: int | None) -> str:
    if width is None or width == TILE_WIDTH:
        return ""
    if not 1 <= width < TILE_WIDTH:
        raise InputError(f"tile width {width} is out of range: use 1 to {TILE_WIDTH}")
    return f".p/{width}"
