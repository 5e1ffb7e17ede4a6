"""The hashes of pictures within pictures, so that a screenshot or a collage of a work is found from the work alone.

Read from the thumbnails, shard by shard; what the current generation found in a shard still there is taken over.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from heldout.fingerprints import PDQ_BYTES
from heldout.pictures import pdq_orientations
from indexer.build_tables import PARTS_FOLDER, PDQ_IDS_FILE, HashWriter
from indexer.copies import HASHES_FILE, build_pdq_index
from indexer.fingerprint import open_thumbnail
from indexer.manifest import ShardEntry
from indexer.parts import find_panes
from indexer.shards import THUMBNAILS_FILE

MIN_PART_QUALITY: Final = 30
"""PDQ quality from which on a part is worth finding: a stripe of text or a flat field resembles too many."""
_AT_ONCE: Final = 256


def write_parts(
    shards: Sequence[Path],
    entries: Sequence[ShardEntry],
    work: Path,
    *,
    flat_up_to: int,
    known: tuple[Path, Sequence[tuple[ShardEntry, ShardEntry | None]]] | None = None,
    workers: int = 1,
) -> tuple[int, str]:
    """Write hashes of the parts of all pictures, the id of the sample each is of, and their index, into `work`.

    Args:
        shards: Folders of the shards.
        entries: Their entries in the manifest to be.
        work: Folder of the generation.
        flat_up_to: Hashes up to which the index compares all.
        known: A generation's folder, and its shards with their entries now, None where a shard has gone.
        workers: Threads that look at thumbnails.

    Returns:
        How many hashes there are, and what the index is called.
    """
    before = {} if known is None else _read_known(*known)
    folder = work / PARTS_FOLDER
    folder.mkdir()
    with HashWriter(folder) as writer, ThreadPoolExecutor(workers) as pool:
        for shard, entry in zip(shards, entries, strict=True):
            if entry.name in before:
                hashes, rows = before[entry.name]
                writer.add(hashes, rows + entry.first_id)
                continue
            for first, thumbnails in _iter_thumbnails(shard / THUMBNAILS_FILE):
                for row, found in enumerate(pool.map(hash_parts, thumbnails), start=first):
                    writer.add(found, np.full(len(found), entry.first_id + row, dtype=np.int64))
    return writer.n, build_pdq_index(folder, flat_up_to=flat_up_to)


def hash_parts(webp: bytes | None) -> npt.NDArray[np.uint8]:
    """(m, 32) upright PDQ hashes of the parts of a thumbnail; none of None or of one that does not decode."""
    image = open_thumbnail(webp)
    if image is None:
        return np.empty((0, PDQ_BYTES), np.uint8)
    hashes: list[npt.NDArray[np.uint8]] = []
    for box in find_panes(image):
        turned, quality = pdq_orientations(image.crop(box))
        if quality >= MIN_PART_QUALITY:
            hashes.append(turned[0])
    return np.array(hashes, dtype=np.uint8).reshape(-1, PDQ_BYTES)


def _iter_thumbnails(path: Path) -> Iterator[tuple[int, list[bytes | None]]]:
    """First row and thumbnails of parts of a shard, in order."""
    with pa.memory_map(str(path)) as file:
        reader = pa.ipc.open_file(file)
        first = 0
        for number in range(reader.num_record_batches):
            column = reader.get_batch(number).column(0)
            for start in range(0, len(column), _AT_ONCE):
                part = column.slice(start, _AT_ONCE)
                yield first + start, part.to_pylist()
            first += len(column)


def _read_known(
    folder: Path, moved: Sequence[tuple[ShardEntry, ShardEntry | None]]
) -> dict[str, tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]]:
    """Hashes and rows within the shard, by name, of the shards that are still there; nothing of damaged files."""
    try:
        hashes = np.load(folder / PARTS_FOLDER / HASHES_FILE, mmap_mode="r")
        ids = np.load(folder / PARTS_FOLDER / PDQ_IDS_FILE, mmap_mode="r")
    except (OSError, ValueError):
        return {}
    known = {}
    for entry, now in moved:
        if now is not None:
            low, high = np.searchsorted(ids, [entry.first_id, entry.first_id + entry.n_samples])
            known[now.name] = hashes[low:high], ids[low:high] - entry.first_id
    return known
