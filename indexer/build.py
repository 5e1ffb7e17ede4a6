"""A release's shards to a new index generation; `CURRENT` moves last, by rename.

Everything is read shard by shard, and sorted outside memory: see `build_tables` for what is held. What the current
generation has worked out already is taken over where its shards are still there: the codes of their embeddings, the
centroids until there are several times as many embeddings, and which of their samples are copies of each other.
"""

import filecmp
import logging
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
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
from indexer.build_embeddings import write_embeddings
from indexer.build_image import build_image
from indexer.build_parts import write_parts
from indexer.build_tables import GROUPS_FILE, Known, write_tables
from indexer.generation import CURRENT_FILE, GENERATIONS_FOLDER, Generation
from indexer.manifest import Manifest, ShardEntry, describe_files, save_manifest
from indexer.pruning import KEEP, prune
from indexer.shards import DONE_FILE, SAMPLES_FILE, iter_done, lock_release, new_folder, shards_dir
from indexer.writer import check_written, describe

log = logging.getLogger(__name__)

METRIC: Final = "cosine"


def build(
    release: Path,
    *,
    exact_up_to: int = vectors.EXACT_UP_TO,
    flat_up_to: int = copies.FLAT_UP_TO,
    centroids: Path | None = None,
    memory_bytes: int = vectors.MEMORY_BYTES,
    keep: int = KEEP,
    workers: int = 1,
) -> int:
    """Build a generation of all done shards and make it current; its number.

    When the current generation already holds exactly these shards, by these centroids if any are given, it stays, and
    its number is returned.

    Args:
        release: Folder of the release.
        exact_up_to: Embeddings up to which the image index scans everything.
        flat_up_to: Hashes up to which the PDQ index scans everything.
        centroids: A `centroids.npy` to use instead of training some: shards of one large set can share them.
        memory_bytes: Codes of the image index held at once; what is more is merged on disk.
        keep: Generations to keep; others that nobody reads are removed.
        workers: Threads that look for copies and for parts of pictures.

    Raises:
        NotFoundError: the release has no finished shard.
        ConflictError: another run holds the release.
        InputError: its shards were embedded by different models, one is damaged, or `centroids` do not fit them.
    """
    if not shards_dir(release).is_dir():  # taking the lock would make a folder of a name mistyped
        raise _nothing_in(release)
    with lock_release(release):
        began = time.monotonic()
        entries, tag, d = _plan(release)
        before = _current(release)
        if before is not None and before[1].shards == tuple(entries) and _has(before, centroids):
            return before[1].number
        folder = release / GENERATIONS_FOLDER
        folder.mkdir(exist_ok=True)
        number = 1 + max((int(path.name) for path in folder.iterdir() if path.name.isdigit()), default=0)
        with _naming_damage(release), new_folder(folder / str(number)) as work:
            n = sum(entry.n_samples for entry in entries)
            shards = [shards_dir(release) / entry.name for entry in entries]
            counts = write_tables(
                [shard / SAMPLES_FILE for shard in shards],
                n,
                work,
                flat_up_to=flat_up_to,
                known=None if before is None else _known(*before, entries),
                workers=workers,
            )
            n_parts, parts_index = write_parts(
                shards,
                entries,
                work,
                flat_up_to=flat_up_to,
                known=None if before is None else (before[0], _moved(before[1], entries)),
                workers=workers,
            )
            rows = write_embeddings(shards, entries, d, work)
            carried = None if before is None else _carried(*before, entries)
            image = build_image(
                rows, work, exact_up_to=exact_up_to, given=centroids, before=carried, memory_bytes=memory_bytes
            )
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
                    image_index=image.factory,
                    image_widths={} if image.tuning is None else {k: asdict(v) for k, v in image.tuning.widths.items()},
                    image_recall={} if image.tuning is None else dict(image.tuning.recall),
                    trained_for=image.trained_for,
                    pdq_index=counts.pdq_index,
                    n_parts=n_parts,
                    parts_index=parts_index,
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
                "image_index": image.factory,
                "removed": prune(folder, number, keep=keep),
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
        entries.append(ShardEntry(path.name, first_id, int(done["n_samples"]), int(done["n_embeddings"]), digest))
        first_id += int(done["n_samples"])
    if not entries:
        raise _nothing_in(release)
    if len(tags) > 1:
        said = ", ".join(f"{name} by {tag}, d = {d}" for (tag, d), name in tags.items())
        raise InputError(f"{release} mixes models ({said}): ingest those shards as separate data sets")
    ((tag, d),) = tags
    return entries, tag, d


@contextmanager
def _naming_damage(release: Path) -> Iterator[None]:
    """Turn what a library says of bytes it cannot read into which shard's file it is.

    Only then are all files read to compare digests.
    """
    try:
        yield
    except (pa.ArrowException, OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # the system's own: a full disk, no rights
            raise
        for path, done in iter_done(release):
            check_written(path, done)
        raise


def _nothing_in(release: Path) -> NotFoundError:
    return NotFoundError(f"{release} has no finished shard: run `python -m indexer ingest` first")


def _current(release: Path) -> tuple[Path, Manifest] | None:
    """The current generation, if it is one that a build can go on from."""
    try:
        with closing(Generation.open(release, with_shards=False)) as generation:
            return release / GENERATIONS_FOLDER / str(generation.number), generation.manifest
    except NotFoundError:
        return None
    except VerificationError as error:  # not by this version, or damaged
        log.warning("generation_not_used", extra={"reason": str(error)})
        return None


def _has(before: tuple[Path, Manifest], centroids: Path | None) -> bool:
    """Whether the generation has the centroids given; an exact one needs none."""
    folder, manifest = before
    if centroids is None or manifest.trained_for == 0:
        return True
    return filecmp.cmp(centroids, folder / vectors.CENTROIDS_FILE, shallow=False)


def _moved(before: Manifest, entries: list[ShardEntry]) -> list[tuple[ShardEntry, ShardEntry | None]]:
    """Each shard of the generation before, with its entry now; None where it is gone or was ingested again."""
    now = {(entry.name, entry.done_sha256): entry for entry in entries}
    return [(entry, now.get((entry.name, entry.done_sha256))) for entry in before.shards]


def _known(folder: Path, before: Manifest, entries: list[ShardEntry]) -> Known | None:
    """The groups of the generation before, unless a shard has gone: a group may have hung together by it."""
    ids = []
    for old, now in _moved(before, entries):
        if now is None:
            return None
        ids.append(np.arange(old.n_samples) + now.first_id)
    return Known(np.concatenate([np.empty(0, np.int64), *ids]), np.load(folder / GROUPS_FILE, mmap_mode="r"))


def _carried(folder: Path, before: Manifest, entries: list[ShardEntry]) -> tuple[Path, Manifest, npt.NDArray[np.int64]]:
    """The generation before, and where each of its embeddings is now: -1 where its shard is gone."""
    firsts = np.cumsum([0, *(entry.n_embeddings for entry in entries)])
    first = {entry.name: int(at) for entry, at in zip(entries, firsts, strict=False)}
    positions = [
        np.full(old.n_embeddings, -1) if now is None else np.arange(old.n_embeddings) + first[now.name]
        for old, now in _moved(before, entries)
    ]
    return folder, before, np.concatenate([np.empty(0, np.int64), *positions])
