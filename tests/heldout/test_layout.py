"""Paths of C2SP tlog-tiles: input -> output pairs of the specification, and properties."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heldout.errors import InputError
from heldout.layout import (
    Tile,
    bundle_path,
    iter_new_bundles,
    iter_new_tiles,
    parse_path,
    tile_path,
    tile_width,
)

TILES = st.builds(Tile, st.one_of(st.none(), st.integers(0, 63)), st.integers(0, 10**15), st.integers(1, 256))


@pytest.mark.parametrize(
    ("tile", "path"),
    [
        (Tile(0, 1234067), "tile/0/x001/x234/067"),
        (Tile(0, 0), "tile/0/000"),
        (Tile(0, 273, 112), "tile/0/273.p/112"),
        (Tile(1, 1, 17), "tile/1/001.p/17"),
        (Tile(2, 0, 1), "tile/2/000.p/1"),
        (Tile(63, 999), "tile/63/999"),
        (Tile(0, 1000, 5), "tile/0/x001/000.p/5"),
        (Tile(None, 1234067, 255), "tile/entries/x001/x234/067.p/255"),
    ],
)
def test_paths_of_the_specification(tile: Tile, path: str) -> None:
    assert tile.path == path
    assert parse_path(path) == tile


@given(TILES)
def test_parsing_a_formatted_path_gives_the_tile(tile: Tile) -> None:
    assert parse_path(tile.path) == tile


@given(st.text(alphabet="tile/0123456789x.pentrs-", max_size=40))
def test_a_path_that_parses_is_the_only_one_of_its_tile(path: str) -> None:
    try:
        tile = parse_path(path)
    except InputError:
        return
    assert tile.path == path


@pytest.mark.parametrize(
    "path",
    [
        "tile/64/000",
        "tile/00/000",
        "tile/0/1",
        "tile/0/x000/001",
        "tile/0/001.p/0",
        "tile/0/001.p/256",
        "tile/0/001.p/01",
        "tile/0/001/002",
        "tile/0/x001",
        "tile/-1/001",
        "tile/data/000",
        "tile/0/\u0660\u0660\u0661",
        "tile/0/000\n",
        "",
    ],
)
def test_other_paths_are_refused(path: str) -> None:
    with pytest.raises(InputError, match="not a tile path"):
        parse_path(path)


def test_values_out_of_range_are_refused() -> None:
    for level, index, width in [(64, 0, None), (-1, 0, None), (0, -1, None), (0, 0, 257), (0, 0, 0)]:
        with pytest.raises(InputError):
            tile_path(level, index, width)
    with pytest.raises(InputError):
        bundle_path(0, 257)


def test_a_tree_of_70000_has_the_tiles_the_specification_lists() -> None:
    tiles = list(iter_new_tiles(0, 70_000))
    assert sum(tile.level == 0 and tile.width == 256 for tile in tiles) == 273
    partial = [tile for tile in tiles if tile.width < 256]
    assert partial == [Tile(0, 273, 112), Tile(1, 1, 17), Tile(2, 0, 1)]
    assert [tile for tile in tiles if tile.level == 1 and tile.width == 256] == [Tile(1, 0)]
    assert len(tiles) == 277


def test_a_tree_of_256_is_one_full_tile_and_one_hash_above() -> None:
    assert list(iter_new_tiles(0, 256)) == [Tile(0, 0), Tile(1, 0, 1)]


@given(st.integers(0, 70_000), st.integers(0, 2_000))
def test_growth_writes_every_tile_the_new_size_needs(old: int, growth: int) -> None:
    new = old + growth
    have = set(iter_new_tiles(0, old)) | set(iter_new_tiles(old, new))
    for level in range(4):
        for index in range(-(-(new >> 8 * level) // 256)):
            assert Tile(level, index, tile_width(level, index, new)) in have
    bundles = set(iter_new_bundles(0, old)) | set(iter_new_bundles(old, new))
    assert {Tile(None, index, tile_width(0, index, new)) for index in range(-(-new // 256))} <= bundles
