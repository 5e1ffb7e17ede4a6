"""Shards to a release on disk: read, fingerprint and embed, each stage at work on another batch.

Pictures are decoded in a process pool while the encoder runs on the batch before; at most `PENDING` batches are held,
so memory grows with neither a shard's length nor the number of shards. A shard is written aside and renamed when whole:
killed anywhere and run again, a release ends with the same bytes as an undisturbed run gives.
"""

import logging
import multiprocessing
import os
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pyarrow as pa
from PIL import Image

from heldout.durable import remove_parts, write_durably
from heldout.errors import ConflictError, InputError, UnavailableError
from indexer.encoder import Encoder
from indexer.fingerprint import Looked, die_with_parent, look
from indexer.preprocess import Preprocess
from indexer.progress import NoProgress, Progress
from indexer.readers import Batch, ShardReader, open_shard
from indexer.samples import FIXED_SCHEMA, STATUS_CORRUPT, STATUS_OK
from indexer.shards import (
    Shard,
    format_json,
    iter_done,
    lock_release,
    new_folder,
    plan_shards,
    shards_dir,
)
from indexer.sources import check_sources, record_sources, stamp
from indexer.writer import ShardWriter

log = logging.getLogger(__name__)

PENDING: Final = 3
"""Batches read ahead of the encoder."""
CHUNK: Final = 16
"""Pictures of one task of the pool."""

Look = Callable[[Sequence[tuple[str, bytes]]], "Future[list[Looked]]"]


@dataclass
class IngestReport:
    """What a run did."""

    ingested: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    """Done by an earlier run."""
    set_aside: dict[str, str] = field(default_factory=dict)
    """Shard -> why it could not be ingested."""
    statuses: Counter[str] = field(default_factory=Counter)
    """Samples of the ingested shards by status."""
    mappings: dict[str, list[str]] = field(default_factory=dict)
    """How columns were understood -> the shards with those columns."""
    seconds: float = 0.0

    @property
    def n_samples(self) -> int:
        """Samples of the ingested shards."""
        return self.statuses.total()


def ingest(
    sources: Sequence[Path],
    *,
    release: Path,
    encoder: Encoder,
    columns: Mapping[str, str] | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> IngestReport:
    """Ingest shards (files, or folders of them) into `release`. What is done already is left as it is.

    A damaged shard is set aside whole, with the reason. One whose files changed since it was done ends the run: what
    was indexed is not replaced behind the operator's back (`indexer.sources` says how a change is noticed).

    Args:
        sources: Webdataset tars and parquet files, or folders.
        release: Folder of the data set's release; made when it is not there.
        encoder: One model for the whole release.
        columns: Role -> column, where detection is not enough.
        workers: Decoding processes; as many as cores by default, 0 decodes in this process.
        progress: Told of every batch.

    Raises:
        InputError: there is nothing to ingest.
        ConflictError: another run holds the release, or it was begun with another model or other files.
        UnavailableError: a decoding process died.
    """
    began = time.monotonic()
    plan = plan_shards(sources)
    report = IngestReport()
    with lock_release(release):
        _check_model(release, encoder)
        aside = release / "set_aside"
        with _decoders(workers, getattr(encoder, "preprocess", None)) as decode:
            stages = _Stages(encoder, decode, columns, progress or NoProgress())
            for shard in plan:
                folder = shards_dir(release) / shard.name
                if folder.is_dir():
                    check_sources(folder, shard)
                    report.skipped.append(shard.name)
                    continue
                try:
                    _ingest_shard(shard, folder, stages, report)
                except InputError as error:
                    report.set_aside[shard.name] = str(error)
                    aside.mkdir(exist_ok=True)
                    said = format_json({"shard": shard.name, "reason": str(error)})
                    remove_parts(aside / f"{shard.name}.json")
                    write_durably(aside / f"{shard.name}.json", said.encode())
                    log.warning("shard_set_aside", extra={"shard": shard.name, "reason": str(error)})
                else:
                    (aside / f"{shard.name}.json").unlink(missing_ok=True)
                    report.ingested.append(shard.name)
    report.seconds = time.monotonic() - began
    return report


def _check_model(release: Path, encoder: Encoder) -> None:
    for folder, done in iter_done(release):
        if done["model_tag"] != encoder.tag:
            raise ConflictError(
                f"shard {folder.name} of {release} was embedded by {done['model_tag']}, not {encoder.tag}: "
                f"use that model, or another --dataset"
            )


@dataclass(frozen=True)
class _Stages:
    """What every shard goes through."""

    encoder: Encoder
    decode: Look
    columns: Mapping[str, str] | None
    progress: Progress


def _ingest_shard(shard: Shard, folder: Path, stages: _Stages, report: IngestReport) -> None:
    began = time.monotonic()
    encoder, progress = stages.encoder, stages.progress
    before = stamp(shard)
    reader = open_shard(shard.source, overrides=stages.columns)
    progress.start(shard.name, reader.n_rows)
    try:
        with new_folder(folder) as work, ShardWriter(work, encoder.d) as writer:
            for batch, looked in _ahead(shard, reader, stages.decode):
                table, images, thumbnails = _describe(batch, looked, writer.n_embeddings)
                writer.append(table, encoder.embed_images(images), thumbnails)
                progress.advance(len(table))
            writer.finish(
                {
                    "shard": shard.name,
                    "sources": record_sources(shard, before, work),
                    "model_tag": encoder.tag,
                    "d": encoder.d,
                    "columns": dict(reader.mapping.roles),
                }
            )
    finally:
        progress.stop()
    report.statuses.update(writer.counts)
    report.mappings.setdefault(reader.mapping.describe(), []).append(shard.name)
    seconds = time.monotonic() - began
    log.info(
        "shard_ingested",
        extra={
            "shard": shard.name,
            "samples": writer.n_samples,
            "statuses": dict(writer.counts),
            "seconds": round(seconds, 3),
            "samples_per_s": round(writer.n_samples / max(seconds, 1e-9), 1),
        },
    )


def _ahead(shard: Shard, reader: ShardReader, decode: Look) -> Iterator[tuple[Batch, dict[int, Looked]]]:
    """Batches with what the decoders found by row of the batch, read `PENDING` ahead."""
    pending: deque[tuple[Batch, list[tuple[list[int], Future[list[Looked]]]]]] = deque()
    batches = reader.batches()
    for batch in batches:
        rows = [row for row, picture in enumerate(batch.pictures) if picture is not None]
        keys = batch.table["key"].to_pylist()
        tasks = []
        for start in range(0, len(rows), CHUNK):
            chunk = rows[start : start + CHUNK]
            named = [(f"{shard.name}/{keys[row]}", batch.pictures[row] or b"") for row in chunk]
            tasks.append((chunk, decode(named)))
        batch.pictures.clear()  # the bytes are on their way to the pool
        pending.append((batch, tasks))
        if len(pending) > PENDING:
            yield _collect(*pending.popleft())
    while pending:
        yield _collect(*pending.popleft())


def _collect(batch: Batch, tasks: list[tuple[list[int], "Future[list[Looked]]"]]) -> tuple[Batch, dict[int, Looked]]:
    return batch, {row: one for rows, task in tasks for row, one in zip(rows, task.result(), strict=True)}


def _describe(
    batch: Batch, looked: Mapping[int, Looked], first_embedding: int
) -> tuple[pa.Table, list[Image.Image], list[bytes | None]]:
    """Table with all fixed columns, the encoder's pictures, and a thumbnail or None for each sample."""
    table = batch.table
    columns = {name: table[name].to_pylist() for name in ("width", "height", "status", "reason", "sha256")}
    n = len(table)
    pdq: list[bytes | None] = [None] * n
    quality: list[int | None] = [None] * n
    iscc: list[str | None] = [None] * n
    embedding_row: list[int | None] = [None] * n
    thumbnails: list[bytes | None] = [None] * n
    images: list[Image.Image] = []
    for row, one in looked.items():
        # The source's own digest is of the file as published, before a downloader resized it: it stays.
        columns["sha256"][row] = columns["sha256"][row] or one.sha256
        if one.reason is not None:
            columns["status"][row], columns["reason"][row] = STATUS_CORRUPT, one.reason
            continue
        columns["status"][row] = STATUS_OK
        columns["width"][row] = columns["width"][row] or one.width
        columns["height"][row] = columns["height"][row] or one.height
        pdq[row], quality[row], iscc[row], thumbnails[row] = one.pdq, one.quality, one.iscc, one.thumbnail
        embedding_row[row] = first_embedding + len(images)
        images.append(Image.frombytes("RGB", one.size, one.pixels))
    filled = {
        **{name: pa.array(columns[name], pa.int32()) for name in ("width", "height")},
        **{name: pa.array(columns[name], pa.string()) for name in ("status", "reason")},
        "sha256": pa.array(columns["sha256"], pa.binary(32)),
        "pdq": pa.array(pdq, pa.binary(32)),
        "pdq_quality": pa.array(quality, pa.uint8()),
        "iscc": pa.array(iscc, pa.string()),
        "embedding_row": pa.array(embedding_row, pa.int32()),
    }
    if "signals" not in table.column_names:  # only a fetch sees any
        filled["signals"] = pa.nulls(n, FIXED_SCHEMA.field("signals").type)
    for name, values in filled.items():
        at = table.schema.get_field_index(name)
        table = table.append_column(name, values) if at < 0 else table.set_column(at, name, values)
    return table, images, thumbnails


@contextmanager
def _decoders(workers: int | None, preprocess: Preprocess | None) -> Iterator[Look]:
    """A function that has pictures looked at, in `workers` processes.

    Raises:
        UnavailableError: one of them died, within the block.
    """
    if workers is None:
        workers = len(os.sched_getaffinity(0))
    if workers == 0:
        yield lambda pictures: _now(look(pictures, preprocess))
        return
    # Spawned, not forked: the encoder's threads do not survive a fork.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=die_with_parent)
    try:
        yield lambda pictures: pool.submit(look, pictures, preprocess)
    except BrokenProcessPool as error:  # found by asking for a result, or by giving the next task
        raise UnavailableError(
            "a decoding process died, most likely for want of memory: run again with fewer --workers; "
            "finished shards are kept"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _now(looked: list[Looked]) -> "Future[list[Looked]]":
    future: Future[list[Looked]] = Future()
    future.set_result(looked)
    return future
