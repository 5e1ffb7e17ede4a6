"""Reading a tiled log, against the naive tree over all leaf hashes."""

import functools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heldout.errors import InputError, NotFoundError, VerificationError
from heldout.layout import iter_new_bundles, iter_new_tiles
from heldout.merkle import consistency_proof, inclusion_proof, leaf_hash, root_of
from heldout.tiles import TileReader, TreeGrower, format_bundle, parse_bundle

LEAVES = [b"leaf %d" % i for i in range(66_000)]


@functools.cache
def level(height: int) -> list[bytes]:
    """Hashes of the complete subtrees of 256**height leaves."""
    if height == 0:
        return [leaf_hash(leaf) for leaf in LEAVES]
    below = level(height - 1)
    return [root_of(below[i : i + 256]) for i in range(0, len(below) // 256 * 256, 256)]


@functools.cache
def files(size: int) -> dict[str, bytes]:
    """A tiled log of this size, made directly from the definition."""
    made = {}
    for tile in iter_new_tiles(0, size):
        assert tile.level is not None
        made[tile.path] = b"".join(level(tile.level)[tile.index * 256 : tile.index * 256 + tile.width])
    for bundle in iter_new_bundles(0, size):
        made[bundle.path] = format_bundle(LEAVES[bundle.index * 256 : bundle.index * 256 + bundle.width])
    return made


SIZES = [1, 2, 3, 255, 256, 257, 511, 700, 65_535, 65_536, 65_537, 65_900]


@pytest.mark.parametrize("size", SIZES)
def test_root_and_entries_from_tiles(size: int) -> None:
    reader = TileReader(files(size).__getitem__, size)
    assert reader.root() == root_of(level(0)[:size])
    assert list(reader.iter_entries()) == LEAVES[:size]
    assert reader.leaf_hash(size - 1) == level(0)[size - 1]


def test_an_empty_log_has_the_empty_root_and_no_tiles() -> None:
    reader = TileReader(files(0).__getitem__, 0)
    assert reader.root() == root_of([])
    assert list(reader.iter_entries()) == []


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(SIZES[:8]), st.data())
def test_proofs_from_tiles_are_those_of_the_whole_tree(size: int, data: st.DataObject) -> None:
    reader = TileReader(files(size).__getitem__, size)
    index = data.draw(st.integers(0, size - 1))
    old = data.draw(st.integers(0, size))
    assert reader.inclusion_proof(index) == inclusion_proof(level(0)[:size], index)
    assert reader.consistency_proof(old) == consistency_proof(level(0)[:size], old)


@pytest.mark.parametrize(
    ("size", "index", "old"), [(65_537, 65_536, 65_535), (65_900, 3, 65_536), (65_536, 65_535, 256)]
)
def test_proofs_over_three_levels_of_tiles(size: int, index: int, old: int) -> None:
    reader = TileReader(files(size).__getitem__, size)
    assert reader.inclusion_proof(index) == inclusion_proof(level(0)[:size], index)
    assert reader.consistency_proof(old) == consistency_proof(level(0)[:size], old)


def test_a_proof_reads_few_tiles() -> None:
    read: list[str] = []

    def fetch(path: str) -> bytes:
        read.append(path)
        return files(65_900)[path]

    TileReader(fetch, 65_900).inclusion_proof(40_000)
    assert len(read) <= 6


def test_a_partial_tile_that_was_dropped_is_cut_from_the_full_one() -> None:
    def fetch(path: str) -> bytes:
        if path not in files(512):
            raise NotFoundError(path)
        return files(512)[path]

    reader = TileReader(fetch, 300)
    assert reader.leaf_hash(299) == level(0)[299]
    assert list(reader.iter_entries()) == LEAVES[:300]
    with pytest.raises(NotFoundError):
        TileReader(fetch, 513).entries(2)


def test_a_tile_of_the_wrong_width_is_refused() -> None:
    damaged = files(257) | {"tile/0/000": b"x" * 31}
    with pytest.raises(VerificationError, match="tile/0/000 has 31 bytes instead of 8192"):
        TileReader(damaged.__getitem__, 257).leaf_hash(0)


def test_a_bundle_with_too_few_entries_is_refused() -> None:
    damaged = files(257) | {"tile/entries/000": format_bundle(LEAVES[:255])}
    with pytest.raises(VerificationError, match="255 entries instead of 256"):
        TileReader(damaged.__getitem__, 257).entries(0)


@given(st.lists(st.binary(max_size=300), max_size=20))
def test_parsing_a_formatted_bundle_gives_the_entries(entries: list[bytes]) -> None:
    assert parse_bundle(format_bundle(entries)) == entries


@given(st.lists(st.binary(min_size=1, max_size=30), min_size=1, max_size=5), st.data())
def test_a_truncated_bundle_is_refused_or_loses_whole_entries(entries: list[bytes], data: st.DataObject) -> None:
    whole = format_bundle(entries)
    cut = data.draw(st.integers(0, len(whole) - 1))
    try:
        assert parse_bundle(whole[:cut]) == entries[: len(parse_bundle(whole[:cut]))]
    except VerificationError as error:
        assert "ends inside entry" in str(error)  # noqa: PT017


def test_an_entry_longer_than_its_length_field_is_refused() -> None:
    assert parse_bundle(format_bundle([b"x" * 65_535])) == [b"x" * 65_535]
    with pytest.raises(InputError, match="65536 bytes is over 65535"):
        format_bundle([b"x" * 65_536])


@pytest.mark.parametrize(("start", "size"), [(0, 1), (0, 700), (200, 256), (256, 257), (511, 513), (65_000, 65_900)])
def test_a_tree_that_grows_leaf_by_leaf_has_the_tiles_of_the_whole(start: int, size: int) -> None:
    grower = TreeGrower.at(TileReader(files(size).__getitem__, size), start)
    assert (grower.size, grower.root()) == (start, root_of(level(0)[:start]))
    made: dict[str, bytes] = {}
    for hashed in level(0)[start:size]:
        made.update({tile.path: data for tile, data in grower.add(hashed)})
    made.update({tile.path: data for tile, data in grower.partial()})
    assert (grower.size, grower.root()) == (size, root_of(level(0)[:size]))
    assert set(made) >= {tile.path for tile in iter_new_tiles(start, size)}
    assert {path: files(size)[path] for path in made} == made


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 400), min_size=1, max_size=4))
def test_a_growing_tree_taken_up_again_anywhere_has_the_root_of_the_whole(steps: list[int]) -> None:
    size = 0
    for step in steps:
        whole = TileReader(files(size + step).__getitem__, size + step)
        grower = TreeGrower.at(whole, size)
        for hashed in level(0)[size : size + step]:
            grower.add(hashed)
        size += step
        assert grower.root() == root_of(level(0)[:size])
