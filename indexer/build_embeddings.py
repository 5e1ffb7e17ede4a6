"""All embeddings of a release as one mapped file in id order, and the id of each. One shard's is open at a time."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from heldout.errors import InputError
from indexer.generation import EMBEDDING_IDS_FILE, VECTORS_FILE
from indexer.manifest import ShardEntry
from indexer.shards import EMBEDDINGS_FILE, SAMPLES_FILE
from indexer.tables import iter_samples


def write_embeddings(
    shards: Sequence[Path], entries: Sequence[ShardEntry], d: int, work: Path
) -> npt.NDArray[np.float16]:
    """Write `embeddings.npy` and `embedding_ids.npy` into `work`; the embeddings, (n, d), mapped.

    Raises:
        InputError: a shard's embeddings are not those that its marker promises.
    """
    n = sum(entry.n_embeddings for entry in entries)
    with (work / VECTORS_FILE).open("wb") as file, (work / EMBEDDING_IDS_FILE).open("wb") as id_file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f2", "fortran_order": False, "shape": (n, d)})
        np.lib.format.write_array_header_1_0(id_file, {"descr": "<i8", "fortran_order": False, "shape": (n,)})
        for entry, shard in zip(entries, shards, strict=True):
            first, n_pictures = entry.first_id, 0
            for table in iter_samples([shard / SAMPLES_FILE], extra=["embedding_row"]):
                with_picture = np.flatnonzero(table["embedding_row"].is_valid().to_numpy())
                id_file.write((with_picture + first).astype("<i8").tobytes())
                first, n_pictures = first + len(table), n_pictures + len(with_picture)
            part = np.load(shard / EMBEDDINGS_FILE, mmap_mode="r" if entry.n_embeddings else None)
            if (n_pictures, d) != part.shape or n_pictures != entry.n_embeddings:
                raise InputError(
                    f"{shard} holds embeddings of shape {part.shape} for {n_pictures} pictures, {entry.n_embeddings} "
                    f"by its marker, and d = {d}: remove it and ingest it again"
                )
            file.write(np.ascontiguousarray(part).tobytes())
    mapped: npt.NDArray[np.float16] = np.load(work / VECTORS_FILE, mmap_mode="r" if n else None)
    return mapped
