"""The image index: which kind for how many embeddings, its centroids, and how it is filled. See `docs/benchmarks.md`.

Few embeddings are all compared. More are kept as one bit per dimension (RaBitQ, Gao & Long 2024) in inverted lists
around centroids; what they give is ranked again by the true cosine (`image_index`). Positions in the index are row
numbers of `embeddings.npy`. Lists are mapped from disk, so that processes share them.
"""

import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import faiss
import numpy as np
import numpy.typing as npt
from faiss.contrib.ondisk import merge_ondisk

log = logging.getLogger(__name__)

IMAGE_FILE, LISTS_FILE, CENTROIDS_FILE = "image.faiss", "image.lists", "centroids.npy"
EXACT_UP_TO: Final = 10_000
"""Embeddings: up to here a scan of everything takes about a millisecond and needs no training."""
GRAPH_FROM: Final = 10_000_000
"""Embeddings from which centroids are so many that a graph finds the nearest."""
HUGE_FROM: Final = 300_000_000
MEMORY_BYTES: Final = 8 * 1024**3
"""Codes held in memory while they are sorted into lists; more than that are merged on disk."""
MAX_GROWTH: Final = 4
"""Centroids serve until there are this many times the embeddings they were trained for."""
_TWO_LEVELS_FROM: Final = 16_384
"""Centroids from which k-means is done in two levels: all at once would take hours."""
_TRAIN_PER_LIST: Final = 64
_MIN_PER_LIST: Final = 39  # below it faiss warns that centroids are poorly trained
_ITERATIONS: Final = 10
_ADD: Final = 65_536
"""Rows added at once."""

Rows = npt.NDArray[np.float16]
Centroids = npt.NDArray[np.float32]


def unit_rows(rows: Rows | npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Rows as float32 of length one. Stored ones, too: rounding to float16 would let a longer row beat an equal one."""
    wide = rows.astype(np.float32)
    wide /= np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), np.float32(1e-12))
    return wide


def widen(rows: Rows) -> npt.NDArray[np.float32]:
    """Finite float16 rows as float32, exactly, in a quarter of the time that numpy and faiss take.

    Sign, exponent and fraction are moved to their places in a float32 (IEEE 754); multiplying makes up for the other
    bias of the exponent, of subnormal numbers, too.
    """
    bits = np.left_shift(rows.view(np.int16), 13, dtype=np.int32, casting="unsafe")
    np.bitwise_and(bits, np.int32(-0x70002000), out=bits)  # 0x8FFFE000: without the copies of the sign beside it
    return bits.view(np.float32) * np.float32(2.0**112)


def n_lists(n: int) -> int:
    """How many inverted lists suit `n` embeddings."""
    if n >= HUGE_FROM:
        return 262_144
    if n >= GRAPH_FROM:
        return 65_536
    return max(1, min(round(4 * math.sqrt(n)), n // _MIN_PER_LIST))


def factory_string(n: int, *, exact_up_to: int = EXACT_UP_TO, lists: int | None = None) -> str:
    """The faiss factory string for `n` embeddings, in a number of lists that is given or follows from `n`."""
    if n <= exact_up_to:
        return "Flat"
    coarse = "_HNSW32" if n >= GRAPH_FROM else "(SQfp16)"  # half the bytes of float32, and faster to scan
    return f"IVF{lists or n_lists(n)}{coarse},RaBitQ"


def train_centroids(rows: Rows, lists: int, *, seed: int = 0, two_levels_from: int = _TWO_LEVELS_FROM) -> Centroids:
    """(lists, d) float32 centroids of a seeded sample of the rows, by k-means; many are found in two levels."""
    chosen = np.random.default_rng(seed).choice(len(rows), min(len(rows), lists * _TRAIN_PER_LIST), replace=False)
    sample = unit_rows(rows[np.sort(chosen)])
    if lists < two_levels_from:
        return _kmeans(sample, lists, seed)
    coarse = _kmeans(sample, round(math.sqrt(lists)), seed)
    nearest = faiss.knn(sample, coarse, 1)[1][:, 0]
    sizes = np.bincount(nearest, minlength=len(coarse))
    limits = np.cumsum(sizes) * lists // len(sample)  # each gets its share of the centroids
    shares = np.diff(limits, prepend=0)
    parts = [
        _kmeans(sample[nearest == number], int(share), seed) for number, share in enumerate(shares.tolist()) if share
    ]
    return np.concatenate(parts)


def _kmeans(sample: npt.NDArray[np.float32], lists: int, seed: int) -> Centroids:
    kmeans = faiss.Kmeans(sample.shape[1], lists, niter=_ITERATIONS, seed=seed, min_points_per_centroid=1)
    kmeans.train(sample)
    return np.asarray(kmeans.centroids, dtype=np.float32)


def write_image_index(
    rows: Rows,
    folder: Path,
    factory: str,
    *,
    centroids: Centroids | None = None,
    carried: tuple[Path, npt.NDArray[np.int64]] | None = None,
    memory_bytes: int = MEMORY_BYTES,
) -> None:
    """Index (n, d) float16 unit rows, read in order and by parts, into `folder`.

    Args:
        rows: The embeddings.
        folder: Gets `image.faiss`, and `image.lists` where memory would not have held them.
        factory: The faiss factory string.
        centroids: One for each list; none for an exact index.
        carried: Folder of an index with the same centroids, and for each of its positions the one here, ascending,
            or -1 where it is gone. Only other rows are encoded then.
        memory_bytes: Codes held at once.
    """
    n, d = rows.shape
    if centroids is None:
        index: Any = faiss.index_factory(d, factory, faiss.METRIC_INNER_PRODUCT)
        for start in range(0, n, _ADD):
            index.add(unit_rows(rows[start : start + _ADD]))
        faiss.write_index(index, str(folder / IMAGE_FILE))
        return
    index = _empty(d, factory, centroids)
    n_at_once = max(_ADD, memory_bytes // (index.code_size + 8))
    if n <= n_at_once:
        fresh = np.arange(n)
        if carried is not None:
            fresh = np.delete(fresh, _carry(index, *carried))
        _add(index, rows, fresh)
        faiss.write_index(index, str(folder / IMAGE_FILE))
        return
    blocks: list[Path] = []
    for start in range(0, n, n_at_once):
        _add(index, rows, np.arange(start, min(start + n_at_once, n)))
        blocks.append(folder / f"image-{len(blocks)}.block")
        faiss.write_index(index, str(blocks[-1]))
        index.reset()
    merge_ondisk(index, list(map(str, blocks)), str(folder / LISTS_FILE))
    faiss.write_index(index, str(folder / IMAGE_FILE))
    for block in blocks:
        block.unlink()


def read_image_index(folder: Path) -> Any:  # noqa: ANN401 - faiss
    """The index in a folder, its lists mapped."""
    merged = faiss.IO_FLAG_ONDISK_SAME_DIR | faiss.IO_FLAG_READ_ONLY
    flags = merged if (folder / LISTS_FILE).exists() else faiss.IO_FLAG_MMAP  # which would not map a file of its own
    index = faiss.read_index(str(folder / IMAGE_FILE), flags)
    if isinstance(index, faiss.IndexIVF):
        lists: Any = faiss.downcast_InvertedLists(index.invlists)  # type: ignore[arg-type]
        if isinstance(lists, faiss.OnDiskInvertedLists):
            lists.prefetch_nthread = 0  # threads started for every query cost more than the query
    return index


def load_centroids(folder: Path) -> Centroids:
    """The centroids of the index in a folder."""
    return np.asarray(np.load(folder / CENTROIDS_FILE), dtype=np.float32)


def _empty(d: int, factory: str, centroids: Centroids) -> Any:  # noqa: ANN401 - faiss
    # Unit rows rank alike by either metric; RaBitQ's estimate of L2 is the better one, most of all for text queries.
    index: Any = faiss.index_factory(d, factory, faiss.METRIC_L2)
    index.quantizer.train(centroids)
    index.quantizer.add(centroids)
    if isinstance(index.quantizer, faiss.IndexHNSW):
        index.quantizer.hnsw.efSearch = 64
    index.train(centroids)  # the coder's own part; the lists' centroids are there
    return index


def _add(index: Any, rows: Rows, positions: npt.NDArray[np.int64]) -> None:  # noqa: ANN401 - faiss
    for start in range(0, len(positions), _ADD):
        part = positions[start : start + _ADD]
        index.add_with_ids(unit_rows(rows[part]), part)


def _carry(index: Any, folder: Path, positions: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:  # noqa: ANN401
    """Take over the codes of another index's rows that are still there; their positions here."""
    for number, ids, codes in _iter_lists(read_image_index(folder)):
        moved = positions[ids]
        kept = moved >= 0
        here = np.ascontiguousarray(moved[kept])
        there = np.ascontiguousarray(codes[kept])
        index.invlists.add_entries(number, len(here), faiss.swig_ptr(here), faiss.swig_ptr(there))
    taken = positions[positions >= 0]
    index.ntotal = len(taken)
    return taken


def _iter_lists(index: Any) -> Iterator[tuple[int, npt.NDArray[np.int64], npt.NDArray[np.uint8]]]:  # noqa: ANN401
    """(number, ids, codes) of the lists that are not empty; valid until the next one."""
    lists = index.invlists
    for number in range(lists.nlist):
        size = lists.list_size(number)
        if size == 0:
            continue
        ids = faiss.rev_swig_ptr(lists.get_ids(number), size)
        codes = faiss.rev_swig_ptr(lists.get_codes(number), size * lists.code_size).reshape(size, -1)
        yield number, ids, codes
        lists.release_ids(number, lists.get_ids(number))
        lists.release_codes(number, lists.get_codes(number))
