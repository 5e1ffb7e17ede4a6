import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heldout.fingerprints import MATCH_DISTANCE, MIN_QUALITY, distances, is_match, nearest


@settings(deadline=None)
@given(
    st.lists(st.binary(min_size=32, max_size=32), max_size=4), st.lists(st.binary(min_size=32, max_size=32), max_size=5)
)
def test_distance_is_the_count_of_differing_bits(queries: list[bytes], hashes: list[bytes]) -> None:
    got = distances(_rows(queries), _rows(hashes))
    want = [[(int.from_bytes(q) ^ int.from_bytes(h)).bit_count() for h in hashes] for q in queries]
    assert got.shape == (len(queries), len(hashes))
    assert got.tolist() == want


def test_match_needs_nearness_and_both_qualities() -> None:
    assert is_match(MATCH_DISTANCE, MIN_QUALITY, MIN_QUALITY)
    assert not is_match(MATCH_DISTANCE + 1, 100, 100)
    assert not is_match(0, MIN_QUALITY - 1, 100)
    assert not is_match(0, 100, MIN_QUALITY - 1)


def test_nearest_looks_at_every_orientation() -> None:
    rng = np.random.default_rng(7)
    hashes = rng.integers(0, 256, (1000, 32), dtype=np.uint8)
    candidates = rng.integers(0, 256, (3, 8, 32), dtype=np.uint8)
    candidates[0, 5] = hashes[123]
    candidates[1, 0] = hashes[7]
    candidates[1, 0, 3] ^= 0b101
    index, distance = nearest(candidates, hashes)
    assert index[:2].tolist() == [123, 7]
    assert distance[:2].tolist() == [0, 2]
    assert distance[2] == distances(candidates[2], hashes).min()


def test_nearest_of_no_hashes_is_none() -> None:
    index, distance = nearest(np.zeros((2, 8, 32), np.uint8), np.zeros((0, 32), np.uint8))
    assert index.tolist() == [-1, -1]
    assert (distance > MATCH_DISTANCE).all()


def test_wrong_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(n, 32\) uint8"):
        distances(np.zeros((1, 31), np.uint8), np.zeros((1, 32), np.uint8))


def _rows(hashes: list[bytes]) -> np.ndarray:
    return np.frombuffer(b"".join(hashes), dtype=np.uint8).reshape(-1, 32)
