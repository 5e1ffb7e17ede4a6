"""One shard through all stages: read, fetched, fingerprinted, embedded, written. What every engine runs, anywhere.

Pictures are decoded in processes while threads run the model on those before them and others are read ahead. The
pictures of a forward pass are those that stand together in the shard, and each pass computes on one thread: whichever
engine, however many processes and threads, a shard has the same bytes.
"""

import math
import threading
import time
from collections import Counter, deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from heldout.errors import InputError
from indexer.batches import Batch
from indexer.decoding import CHUNK, Decoders, Picture, Task, open_decoders
from indexer.encoder import Encoder
from indexer.fetch import FetchOptions, FetchStage
from indexer.fingerprint import Looked
from indexer.machine import count_cores
from indexer.outcome import Outcome, short_reason
from indexer.planning import Shard
from indexer.precomputed import PRECOMPUTED
from indexer.progress import Progress
from indexer.readers import PICTURE_BATCH, open_shard
from indexer.rows import fill_rows
from indexer.samples import STATUS_OK
from indexer.shards import iter_done, new_folder, scratch_dir, shards_dir
from indexer.sources import localised, record_sources, stamp
from indexer.writer import ShardWriter

SPARE_BLOCKS: Final = 3
"""Forward passes being decoded for besides those that threads run and wait for."""


@dataclass(frozen=True)
class Options:
    """What an ingest is told besides its shards and its model."""

    columns: Mapping[str, str] | None = None
    """Role -> column, where detection is not enough."""
    workers: int | None = None
    """Decoding processes; as many as cores by default, 0 decodes where the shard is read."""
    fetch: FetchOptions | None = None
    """How to fetch pictures that a source has only addresses of; they are not fetched where it is not given."""
    cores: int | None = None
    """Cores to use; all that there are by default."""


class Stopped(Exception):  # noqa: N818 - no error: the run ends for another reason
    """Another shard's failure ends the run."""


@dataclass(frozen=True)
class Stages:
    """What every shard goes through; one set serves several shards at once."""

    encoder: Encoder
    decoders: Decoders
    forward: ThreadPoolExecutor
    options: Options
    stop: threading.Event
    """Set when the run ends early."""
    fetch: FetchStage | None = None

    def check(self) -> None:
        """Raises `Stopped` when the run is to end."""
        if self.stop.is_set():
            raise Stopped


@contextmanager
def open_stages(encoder: Encoder, options: Options) -> Iterator[Stages]:
    """Start the processes that decode and the threads that embed."""
    cores = options.cores or count_cores()
    workers = cores if options.workers is None else options.workers
    threads = min(encoder.threads, cores)
    n_blocks = 2 * threads + SPARE_BLOCKS
    with (
        nullcontext() if options.fetch is None else FetchStage(options.fetch) as fetch,
        open_decoders(workers, encoder.preprocess, n_blocks=n_blocks, n_slots=encoder.batch) as decoders,
    ):
        forward = ThreadPoolExecutor(threads, "forward", initializer=encoder.claim_thread)
        stages = Stages(encoder, decoders, forward, options, threading.Event(), fetch)
        try:
            yield stages
        finally:
            stages.stop.set()
            forward.shutdown(cancel_futures=True)


def ingest_shard(shard: Shard, release: Path, stages: Stages, progress: Progress) -> Outcome:
    """Ingest a shard; it appears in the release whole or not at all.

    A damaged one is an outcome, not an error.

    Raises:
        OSError: the disk is full, or fails.
        UnavailableError: decoding processes die again and again.
        Stopped: `stages.stop` was set.
    """
    began = time.monotonic()
    outcome = Outcome(shard.name)
    try:
        _ingest(shard, release, stages, progress, outcome)
    except InputError as error:
        outcome = Outcome(shard.name, set_aside=str(error))
    finally:
        progress.close(shard.name)
    outcome.seconds = time.monotonic() - began
    return outcome


def _ingest(shard: Shard, release: Path, stages: Stages, progress: Progress, outcome: Outcome) -> None:
    before = stamp(shard)
    with localised(shard, scratch_dir(release) / shard.name) as here:
        reader = open_shard(here, overrides=stages.options.columns)
        outcome.mapping = reader.mapping.describe()
        precomputed = reader.d is not None
        if precomputed and stages.encoder.precision != PRECOMPUTED and reader.d != stages.encoder.d:
            raise InputError(
                f"{shard.source} brings embeddings of {reader.d} dimensions, and {stages.encoder.tag} has "
                f"{stages.encoder.d}: name the model that made them with --model"
            )
        _, done = next(iter_done(release), (None, None)) if precomputed else (None, None)
        if done is not None and done["d"] != reader.d:
            raise InputError(
                f"{shard.source} brings embeddings of {reader.d} dimensions, and shard {done['shard']} of {release} "
                f"has {done['d']}: use another --dataset"
            )
        progress.open(shard.name, reader.n_rows)
        with (
            new_folder(shards_dir(release) / shard.name) as work,
            ShardWriter(work, reader.d or stages.encoder.d) as writer,
            closing(_fetched(reader.batches(), stages)) as batches,
        ):
            for batch, looked, embedded in _ahead(shard.name, batches, stages):
                n = _append(batch, looked, embedded, writer, outcome)
                progress.advance(shard.name, n)
            writer.finish(
                {
                    "shard": shard.name,
                    "sources": record_sources(shard, here, before, work),
                    "model_tag": stages.encoder.tag,
                    "precision": PRECOMPUTED if precomputed else stages.encoder.precision,
                    "d": reader.d or stages.encoder.d,
                    "fetched": stages.fetch is not None,
                    "columns": dict(reader.mapping.roles),
                    "notes": dict(reader.notes),
                }
            )
    outcome.statuses = Counter(writer.counts)
    outcome.notes = Counter(reader.notes)


def _fetched(batches: Iterator[Batch], stages: Stages) -> Generator[Batch]:
    yield from batches if stages.fetch is None else stages.fetch.batches(batches, stages.check)


def _append(
    batch: Batch,
    looked: dict[int, Looked],
    embedded: dict[int, npt.NDArray[np.floating]],
    writer: ShardWriter,
    outcome: Outcome,
) -> int:
    """Write a batch and count its failures by reason; its length."""
    rows = sorted(embedded)
    table, thumbnails = fill_rows(batch, looked, rows, writer.n_embeddings)
    vectors = np.array([embedded[row] for row in rows], np.float32).reshape(len(rows), writer.d)
    writer.append(table, vectors, thumbnails)
    for status, reason in zip(table["status"].to_pylist(), table["reason"].to_pylist(), strict=True):
        if status != STATUS_OK:
            outcome.reasons[status, short_reason(reason, status)] += 1
    return len(table)


@dataclass(frozen=True)
class _Group:
    """Pictures of one forward pass, on their way through it."""

    rows: list[int]
    found: "Future[_Found]"


@dataclass(frozen=True)
class _Found:
    """What became of a group."""

    looked: list[Looked]
    slots: list[int]
    """Of the group, those that were embedded."""
    vectors: npt.NDArray[np.float32]


def _ahead(
    shard: str, batches: Iterator[Batch], stages: Stages
) -> Iterator[tuple[Batch, dict[int, Looked], dict[int, npt.NDArray[np.floating]]]]:
    """Batches with what was found in pictures, and embeddings, each by row of the batch.

    Reads ahead as far as there are blocks to decode into.
    """
    depth = math.ceil(len(stages.decoders.blocks.pixels) * stages.encoder.batch / PICTURE_BATCH)
    pending: deque[tuple[Batch, list[_Group]]] = deque()
    for batch in batches:
        stages.check()
        pending.append((batch, _begin(shard, batch, stages)))
        while pending and (len(pending) > depth or not pending[0][1]):  # nothing to wait for where no picture is
            yield _collect(*pending.popleft())
    while pending:
        yield _collect(*pending.popleft())


def _begin(shard: str, batch: Batch, stages: Stages) -> list[_Group]:
    """Send a batch's pictures on their way; lets go of their bytes."""
    rows = [row for row, picture in enumerate(batch.pictures) if picture is not None]
    keys = batch.table["key"].to_pylist() if rows else []
    brought = set() if batch.embedded is None else set(batch.embedded.tolist())
    groups = []
    for start in range(0, len(rows), stages.encoder.batch):
        group = rows[start : start + stages.encoder.batch]
        pictures = [Picture(f"{shard}/{keys[row]}", batch.pictures[row] or b"") for row in group]
        stages.check()
        block = stages.decoders.blocks.take()
        tasks = [
            stages.decoders.submit(pictures[first : first + CHUNK], block, first)
            for first in range(0, len(pictures), CHUNK)
        ]
        wanted = [slot for slot, row in enumerate(group) if row not in brought]
        groups.append(_Group(group, stages.forward.submit(_embed, tasks, block, wanted, stages)))
    batch.pictures.clear()
    return groups


def _embed(tasks: list[Task], block: int, wanted: Sequence[int], stages: Stages) -> _Found:
    """Wait for the pictures of a block, then run the model on those that are wanted and decoded."""
    try:
        looked = [one for task in tasks for one in task.result()]
        sound = [slot for slot in wanted if looked[slot].reason is None]
        pixels = stages.decoders.blocks.pixels[block]
        fitted = pixels[: len(looked)] if len(sound) == len(looked) else pixels[sound]
        return _Found(looked, sound, stages.encoder.embed_fitted(fitted))
    finally:
        stages.decoders.blocks.give_back(block)


def _collect(
    batch: Batch, groups: list[_Group]
) -> tuple[Batch, dict[int, Looked], dict[int, npt.NDArray[np.floating]]]:
    looked: dict[int, Looked] = {}
    embedded: dict[int, npt.NDArray[np.floating]] = {}
    for group in groups:
        found = group.found.result()
        looked.update(zip(group.rows, found.looked, strict=True))
        embedded.update(zip((group.rows[slot] for slot in found.slots), found.vectors, strict=True))
    if batch.embeddings is not None and batch.embedded is not None:
        embedded.update(zip(batch.embedded.tolist(), batch.embeddings, strict=True))
    return batch, looked, embedded
