"""The PDQ index against counting bits: whatever its kind, no copy is missed."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from heldout.fingerprints import MATCH_DISTANCE, distances
from heldout.pdq_index import FEW_WORDS, MANY_WORDS, Cut
from indexer import copies
from indexer.copies import PdqIndex, build_pdq_index

KINDS = {"flat": None, "multi-hash 16/1": MANY_WORDS, "multi-hash 13/2": Cut(13, 2)}
"""With flips of two, a cut whose tables take less room than those of `FEW_WORDS`."""


def _index(folder: Path, hashes: npt.NDArray[np.uint8], kind: str) -> PdqIndex:
    np.save(folder / "pdq.npy", hashes)
    cut = KINDS[kind]
    assert build_pdq_index(folder, flat_up_to=10**6 if cut is None else 0, cut=cut) == kind
    return PdqIndex(folder, kind)


def _at(hash_: npt.NDArray[np.uint8], bits: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    flips = np.zeros(256, dtype=np.uint8)
    flips[bits] = 1
    return hash_ ^ np.packbits(flips)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("radius", [31, 40])
def test_all_planted_copies_are_found(tmp_path: Path, kind: str, radius: int) -> None:
    rng = np.random.default_rng(5)
    hashes = rng.integers(0, 256, (10_000, 32), dtype=np.uint8)
    hashes[5_000:5_100] = hashes[:100]
    queries = np.stack([_at(hashes[row], rng.choice(256, row % 42, replace=False)) for row in range(200)])
    answers = _index(tmp_path, hashes, kind).search(queries, radius)
    truth = distances(queries, hashes)
    assert len(answers) == len(queries)
    for row, (positions, near) in enumerate(answers):
        expected = np.flatnonzero(truth[row] <= radius)
        assert sorted(positions.tolist()) == expected.tolist()
        assert near.tolist() == truth[row][positions].tolist()
        assert (np.diff(near) >= 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_at_the_very_edge_is_found_however_its_bits_are_spread(tmp_path: Path, kind: str) -> None:
    """The worst spread for words is an even one: every 8th bit, but one of 32, from every start."""
    index = _index(tmp_path, np.zeros((1, 32), dtype=np.uint8), kind)
    even = [np.delete(np.arange(start, 256, 8), gap) for start in range(8) for gap in range(32)]
    rng = np.random.default_rng(1)
    even += [(place + rng.integers(0, 8, 31)) % 256 for place in [np.arange(31) * 8] for _ in range(300)]
    queries = np.stack([_at(np.zeros(32, np.uint8), np.unique(bits)) for bits in even])
    answers = index.search(queries, 31)
    assert [near.tolist() for _, near in answers] == [[31]] * len(even)
    assert not any(len(found) for found, _ in index.search(queries, 30))


def test_many_queries_are_answered_part_by_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copies, "_WORK", 5_000)
    hashes = np.random.default_rng(6).integers(0, 256, (500, 32), dtype=np.uint8)
    index = _index(tmp_path, hashes, "multi-hash 16/1")
    assert index.n_at_once < 100
    assert [found.tolist() for found, _ in index.search(hashes, 31)] == [[row] for row in range(500)]


@pytest.mark.parametrize("cut", [MANY_WORDS, FEW_WORDS, Cut(13, 2)])
def test_words_are_so_many_that_one_of_a_copys_is_always_near_enough(cut: Cut) -> None:
    assert sum(cut.widths) == 256
    assert cut.n_words * (cut.n_flips + 1) > MATCH_DISTANCE
    bits = np.packbits(np.eye(256, dtype=np.uint8), axis=1)
    words = cut.words(bits)  # each bit is in one word, and each word has its bits
    assert (np.count_nonzero(words, axis=0) == 1).all()
    assert np.bitwise_count(np.bitwise_or.reduce(words, axis=1)).tolist() == cut.widths


@pytest.mark.parametrize("kind", KINDS)
def test_no_hashes_give_no_copies(tmp_path: Path, kind: str) -> None:
    some = np.zeros((2, 32), np.uint8)
    if kind == "flat":
        index = _index(tmp_path, np.empty((0, 32), np.uint8), kind)
        assert [len(found) for found, _ in index.search(some, 31)] == [0, 0]
    assert _index(tmp_path, some, kind).search(np.empty((0, 32), np.uint8), 31) == []
