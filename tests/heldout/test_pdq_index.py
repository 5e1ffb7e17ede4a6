import numpy as np
import pytest

from heldout.fingerprints import MATCH_DISTANCE, nearest
from heldout.pdq_index import PdqIndex

N = 3000


@pytest.mark.parametrize("seed", range(5))
def test_index_finds_what_comparing_all_finds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    hashes = rng.integers(0, 256, (N, 32), dtype=np.uint8)
    hashes[1::3] = hashes[0::3]  # equal hashes: the first is to be found
    candidates = rng.integers(0, 256, (60, 8, 32), dtype=np.uint8)
    for number in range(50):  # at 0 to 49 bits from some hash, in some orientation
        flips = rng.permutation(256)[:number]
        bits = np.unpackbits(hashes[rng.integers(N)])
        bits[flips] ^= 1
        candidates[number, rng.integers(8)] = np.packbits(bits)
    index, distance = PdqIndex(hashes, brute_force_below=0).best(candidates)
    want_index, want_distance = nearest(candidates, hashes)
    near = want_distance <= MATCH_DISTANCE
    assert near.sum() == MATCH_DISTANCE + 1
    assert index.tolist() == np.where(near, want_index, -1).tolist()
    assert distance.tolist() == np.where(near, want_distance, 257).tolist()


def test_hardest_case_spreads_two_bits_over_every_word_but_one() -> None:
    base = np.zeros((1, 32), np.uint8)
    bits = np.zeros((16, 16), np.uint8)
    bits[:, 3:5] = 1
    bits[7, 4] = 0
    candidate = np.packbits(bits.ravel()).reshape(1, 1, 32)
    for brute_force_below in (0, 10):
        index, distance = PdqIndex(base, brute_force_below=brute_force_below).best(candidate)
        assert (index.tolist(), distance.tolist()) == ([0], [31])


@pytest.mark.parametrize("brute_force_below", [0, 10])
def test_nothing_is_near_to_nothing(brute_force_below: int) -> None:
    empty = PdqIndex(np.zeros((0, 32), np.uint8), brute_force_below=brute_force_below)
    index, distance = empty.best(np.zeros((2, 8, 32), np.uint8))
    assert (index.tolist(), distance.tolist()) == ([-1, -1], [257, 257])
    some = PdqIndex(np.zeros((3, 32), np.uint8), brute_force_below=brute_force_below)
    assert len(some.best(np.zeros((0, 8, 32), np.uint8))[0]) == 0


@pytest.mark.parametrize("brute_force_below", [0, 10])
def test_the_best_is_found_before_the_nearest(brute_force_below: int) -> None:
    hashes = np.zeros((5, 32), np.uint8)
    hashes[:, 0] = [0, 1, 3, 3, 7]  # the last is best of those that are near, all 3 bits away
    hashes[4, 1:5] = 255  # but for one bit too many
    index = PdqIndex(hashes, np.array([4, 2, 1, 1, 0], np.uint8), brute_force_below=brute_force_below)
    best, distance = index.best(np.zeros((1, 1, 32), np.uint8))
    assert (best.tolist(), distance.tolist()) == ([2], [2])
