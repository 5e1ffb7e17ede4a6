"""A release's shards to a new index generation; `CURRENT` moves last, by rename.

Everything is read shard by shard, and sorted outside memory: see `build_tables` for what is held.
"""

import logging
import time
from importlib.metadata import version
from pathlib import Path
from typing import Final

import faiss
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from heldout.durable import remove_parts, write_durably
from heldout.errors import InputError, NotFoundError, VerificationError
from indexer import copies, vectors
from indexer.build_tables import write_tables
from indexer.generation import (
    CURRENT_FILE,
    EMBEDDING_IDS_FILE,
    GENERATIONS_FOLDER,
    IMAGE_FILE,
    VECTORS_FILE,
    current_generation,
)
from indexer.manifest import Manifest, ShardEntry, describe_files, load_manifest, save_manifest
from indexer.shards import DONE_FILE, EMBEDDINGS_FILE, iter_done, lock_release, new_folder, read_done, shards_dir
from indexer.shards import SAMPLES_FILE as SHARD_SAMPLES_FILE
from indexer.tables import iter_samples
from indexer.writer import describe

log = logging.getLogger(__name__)

METRIC: Final = "cosine"


def build(release: Path, *, exact_up_to: int = vectors.EXACT_UP_TO, flat_up_to: int = copies.FLAT_UP_TO) -> int:
    """Build a generation of all done shards and make it current; its number.

    When the current generation already holds exactly these shards it stays, and its number is returned.

    Args:
        release: Folder of the release.
        exact_up_to: Embeddings up to which the image index scans everything.
        flat_up_to: Hashes up to which the PDQ index scans everything.

    Raises:
        NotFoundError: the release has no finished shard.
        ConflictError: another run holds the release.
        InputError: its shards were embedded by different models.
    """
    with lock_release(release):
        began = time.monotonic()
        entries, tag, d = _plan(release)
        number = _unchanged(release, entries)
        if number is not None:
            return number
        folder = release / GENERATIONS_FOLDER
        folder.mkdir(exist_ok=True)
        number = 1 + max((int(path.name) for path in folder.iterdir() if path.name.isdigit()), default=0)
        with new_folder(folder / str(number)) as work:
            n = sum(entry.n_samples for entry in entries)
            shards = [shards_dir(release) / entry.name / SHARD_SAMPLES_FILE for entry in entries]
            counts = write_tables(shards, n, work, flat_up_to=flat_up_to)
            rows = _write_embeddings(release, entries, d, work)
            image_factory = vectors.factory_string(len(rows), exact_up_to=exact_up_to)
            faiss.write_index(vectors.build_image_index(rows, image_factory), str(work / IMAGE_FILE))
            save_manifest(
                work,
                Manifest(
                    dataset=release.resolve().name,
                    number=number,
                    model_tag=tag,
                    d=d,
                    metric=METRIC,
                    n_samples=n,
                    n_embeddings=len(rows),
                    n_pdq=counts.pdq,
                    n_urls=counts.urls,
                    n_hosts=counts.hosts,
                    n_captions=counts.captions,
                    n_groups=counts.groups,
                    image_index=image_factory,
                    pdq_index=counts.pdq_index,
                    shards=tuple(entries),
                    files=describe_files(work),
                    libraries={
                        "faiss": faiss.__version__,
                        "pyarrow": pa.__version__,
                        "tantivy": version("tantivy"),
                    },
                ),
            )
        remove_parts(release / CURRENT_FILE)
        write_durably(release / CURRENT_FILE, f"{number}\n".encode())
        log.info(
            "generation_built",
            extra={
                "generation": number,
                "samples": n,
                "embeddings": len(rows),
                "image_index": image_factory,
                "seconds": round(time.monotonic() - began, 3),
            },
        )
        return number


def _plan(release: Path) -> tuple[list[ShardEntry], str, int]:
    entries: list[ShardEntry] = []
    tags: dict[tuple[str, int], str] = {}
    first_id = 0
    for path, done in iter_done(release):
        tags.setdefault((str(done["model_tag"]), int(done["d"])), path.name)
        digest = describe(path / DONE_FILE)["sha256"]
        entries.append(ShardEntry(path.name, first_id, int(done["n_samples"]), digest))
        first_id += int(done["n_samples"])
    if not entries:
        raise NotFoundError(f"{release} has no finished shard: run `python -m indexer ingest` first")
    if len(tags) > 1:
        said = ", ".join(f"{name} by {tag}" for (tag, _), name in tags.items())
        raise InputError(f"{release} mixes models ({said}): ingest those shards as separate data sets")
    ((tag, d),) = tags
    return entries, tag, d


def _unchanged(release: Path, entries: list[ShardEntry]) -> int | None:
    try:
        number = current_generation(release)
        manifest = load_manifest(release / GENERATIONS_FOLDER / str(number))
    except (NotFoundError, VerificationError):  # nothing built, or not by this version
        return None
    return number if manifest.shards == tuple(entries) else None


def _write_embeddings(release: Path, entries: list[ShardEntry], d: int, work: Path) -> npt.NDArray[np.float16]:
    """All embeddings as one mapped file, in id order, and the id of each. One shard's file is open at a time."""
    shards = [shards_dir(release) / entry.name for entry in entries]
    promised = [int(read_done(shard)["n_embeddings"]) for shard in shards]
    n = sum(promised)
    ids: list[npt.NDArray[np.int64]] = []
    with (work / VECTORS_FILE).open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f2", "fortran_order": False, "shape": (n, d)})
        for entry, shard, n_promised in zip(entries, shards, promised, strict=True):
            first, n_pictures = entry.first_id, 0
            for table in iter_samples([shard / SHARD_SAMPLES_FILE], extra=["embedding_row"]):
                with_picture = np.flatnonzero(table["embedding_row"].is_valid().to_numpy())
                ids.append(with_picture + first)
                first, n_pictures = first + len(table), n_pictures + len(with_picture)
            part = np.load(shard / EMBEDDINGS_FILE, mmap_mode="r" if n_promised else None)
            if (n_pictures, d) != part.shape or n_pictures != n_promised:
                raise InputError(
                    f"{shard} holds embeddings of shape {part.shape} for {n_pictures} pictures, {n_promised} by its "
                    f"marker, and d = {d}: remove it and ingest it again"
                )
            file.write(np.ascontiguousarray(part).tobytes())
    np.save(work / EMBEDDING_IDS_FILE, np.concatenate([np.empty(0, np.int64), *ids]))
    mapped: npt.NDArray[np.float16] = np.load(work / VECTORS_FILE, mmap_mode="r" if n else None)
    return mapped
