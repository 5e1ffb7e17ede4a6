"""Groups worked out at build, against a naive flood fill over the rule for copies."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heldout.fingerprints import distances
from indexer.copies import PdqIndex, build_pdq_index
from indexer.copy_groups import GroupTable, unite, unite_near_hashes, unite_same_hashes, write_groups
from indexer.orientations import orientations

N = 400


def _naive(n: int, edges: list[tuple[int, int]]) -> list[int]:
    groups = list(range(n))
    for _ in range(n):
        for one, other in edges:
            groups[one] = groups[other] = min(groups[one], groups[other])
    return groups


@given(edges=st.lists(st.tuples(st.integers(0, 29), st.integers(0, 29)), max_size=60), parts=st.integers(1, 4))
def test_united_samples_share_the_smallest_id(edges: list[tuple[int, int]], parts: int) -> None:
    groups = np.arange(30, dtype=np.int32)
    for part in range(parts):
        some = np.array(edges[part::parts], dtype=np.int64).reshape(-1, 2)
        unite(groups, some[:, 0], some[:, 1])
    flat = groups
    for _ in range(30):
        flat = flat[flat]
    assert flat.tolist() == _naive(30, edges)


@pytest.fixture(scope="module")
def hashes() -> npt.NDArray[np.uint8]:
    """Chains of near hashes, some of them turned or equal, among strangers."""
    rng = np.random.default_rng(3)
    drawn = rng.integers(0, 256, (N, 32), dtype=np.uint8)
    for row in range(0, 200, 2):
        bits = np.unpackbits(drawn[row])
        bits[rng.choice(256, row % 40, replace=False)] ^= 1
        drawn[row + 1] = orientations(np.packbits(bits)[None])[0, row % 8]
    for row in range(1, 60, 3):  # chains: near to the second of a pair
        bits = np.unpackbits(drawn[row])
        bits[rng.choice(256, 25, replace=False)] ^= 1
        drawn[300 + row] = np.packbits(bits)
    return drawn


@pytest.mark.parametrize("flat_up_to", [N, 0])
@pytest.mark.parametrize("n_known", [0, 250])
def test_groups_are_what_the_rule_for_copies_links(
    tmp_path: Path, hashes: npt.NDArray[np.uint8], flat_up_to: int, n_known: int
) -> None:
    rng = np.random.default_rng(4)
    ids = np.sort(rng.choice(2 * N, N, replace=False))  # not every sample has a hash
    quality = rng.integers(40, 100, N).astype(np.uint8)
    busy = np.flatnonzero(quality >= 50)
    turned = np.stack([distances(orientations(hashes)[:, way], hashes) for way in range(8)]).min(axis=0)
    edges = [(int(ids[a]), int(ids[b])) for a, b in np.argwhere(turned <= 31) if {a, b} <= set(busy.tolist())]
    expected = _naive(2 * N, edges)
    known = _naive(2 * N, [edge for edge in edges if max(edge) < n_known])
    np.save(tmp_path / "pdq.npy", hashes)
    index = PdqIndex(tmp_path, build_pdq_index(tmp_path, flat_up_to=flat_up_to))
    groups = np.array(known, dtype=np.int32)
    rows = unite_same_hashes(groups, index, busy, ids)
    unite_near_hashes(groups, index, rows[ids[rows] >= n_known], ids, quality, workers=2)
    n_shared = write_groups(groups, tmp_path / "groups.npy", tmp_path / "grouped.npy")
    table = GroupTable(tmp_path / "groups.npy", tmp_path / "grouped.npy")
    assert table.groups.tolist() == expected
    assert n_shared == sum(expected.count(group) > 1 for group in set(expected)) > 40
    for group in set(expected):
        assert table.members(group).tolist() == [sample for sample, of in enumerate(expected) if of == group]
