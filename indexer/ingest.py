"""Shards to a release on disk: plans, locks, has an engine do the shards, and keeps account of what became of them.

A shard is the unit of work: it is written aside and renamed when whole (`indexer.stages`). Killed anywhere and run
again, a release ends with the same bytes as an undisturbed run gives, whichever engine ran it.
"""

import logging
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from heldout.durable import remove_parts, write_durably
from heldout.errors import ConflictError
from indexer.encoder import Encoder
from indexer.fetch import FetchOptions
from indexer.local_engine import LocalEngine
from indexer.outcome import IngestReport, Outcome
from indexer.planning import Kind, Plan, RowPart, Shard, part_name, plan
from indexer.precomputed import PRECOMPUTED
from indexer.progress import NoProgress, Progress
from indexer.samples import STATUS_NOT_FETCHED
from indexer.shards import format_json, iter_done, lock_release, scratch_dir, shards_dir
from indexer.sources import check_sources
from indexer.stages import Options

log = logging.getLogger(__name__)


class Engine(Protocol):
    """Does shards, here or on other machines, with one model."""

    @property
    def model_tag(self) -> str:
        """The model's tag."""
        ...

    @property
    def precision(self) -> str:
        """What it computes in."""
        ...

    @property
    def options(self) -> Options:
        """What it was told besides."""
        ...

    def run(self, shards: Sequence[Shard], release: Path, progress: Progress) -> Iterator[Outcome]:
        """Do `ingest_shard` for each shard; outcomes as they come, in any order.

        Raises:
            UnavailableError: machines or processes die again and again.
            OSError: the disk is full, or fails.
        """
        ...


def ingest(
    sources: Sequence[str | Path],
    *,
    release: Path,
    encoder: Encoder,
    columns: Mapping[str, str] | None = None,
    workers: int | None = None,
    fetch: FetchOptions | None = None,
    progress: Progress | None = None,
) -> IngestReport:
    """`ingest_with` on this machine.

    Args:
        sources: Files, folders or fsspec URLs; see `indexer.planning`.
        release: Folder of the data set's release; made when it is not there.
        encoder: One model for the whole release.
        columns: Role -> column, where detection is not enough.
        workers: Decoding processes; as many as cores by default, 0 decodes in this process.
        fetch: How to fetch pictures that a source has only addresses of; they stay away where it is not given.
        progress: Told of every batch.

    Raises:
        InputError: there is nothing to ingest; and as `ingest_with`.
    """
    engine = LocalEngine(encoder, Options(columns, workers, fetch))
    return ingest_with(engine, plan(sources), release=release, progress=progress)


def ingest_with(engine: Engine, planned: Plan, *, release: Path, progress: Progress | None = None) -> IngestReport:
    """Ingest the shards planned into `release`. What is done already is left as it is.

    A damaged shard is set aside whole, with the reason. One whose files changed since it was done ends the run: what
    was indexed is not replaced behind the operator's back (`indexer.sources` says how a change is noticed).

    Raises:
        InputError: a shard's marker cannot be read, or a file is gone.
        ConflictError: another run holds the release, or it was begun with another model, precision or other files, or
            without fetching.
        UnavailableError: processes or machines die again and again.
        OSError: the disk is full, or fails.
    """
    began = time.monotonic()
    report = IngestReport(n_passed_over=planned.n_passed_over)
    progress = progress or NoProgress()
    with lock_release(release):
        _check_model(release, engine)
        scratch = scratch_dir(release)
        shutil.rmtree(scratch, ignore_errors=True)  # of a run that was killed
        todo = []
        for shard in planned.shards:
            folder = shards_dir(release) / shard.name
            _check_cut(shard, folder)
            if folder.is_dir():
                check_sources(folder, shard, scratch / shard.name)
                report.skipped.append(shard.name)
            else:
                todo.append(shard)
        progress.start(len(todo))
        try:
            for outcome in engine.run(todo, release, progress):
                report.add(outcome)
                _note(outcome, release / "set_aside")
        finally:
            progress.stop()
    report.sort()
    report.seconds = time.monotonic() - began
    return report


def recorded_precision(release: Path) -> str | None:
    """What the release's shards were embedded in; None before the first is done.

    Raises:
        InputError: a marker cannot be read.
    """
    for _, done in iter_done(release):
        if done.get("precision") != PRECOMPUTED:
            return str(done.get("precision", "float32"))
    return None


def _check_model(release: Path, engine: Engine) -> None:
    for folder, done in iter_done(release):
        if done["model_tag"] != engine.model_tag:
            raise ConflictError(
                f"shard {folder.name} of {release} was embedded by {done['model_tag']}, not {engine.model_tag}: "
                f"use that model, or another --dataset"
            )
        missing = done["statuses"].get(STATUS_NOT_FETCHED, 0)
        if engine.options.fetch is not None and missing and not done.get("fetched", False):
            raise ConflictError(
                f"shard {folder.name} of {release} was ingested without --fetch, {missing:,} samples have no picture: "
                f"remove {folder} to have them fetched, go on without --fetch, or use another --dataset"
            )
        precision = done.get("precision", "float32")
        if precision != engine.precision and PRECOMPUTED not in {precision, engine.precision}:
            raise ConflictError(
                f"shard {folder.name} of {release} was embedded in {precision}, not {engine.precision}: "
                f"say --precision {precision}, or use another --dataset"
            )


def _check_cut(shard: Shard, folder: Path) -> None:
    """That no sample would be there twice: a long parquet file is cut where it is here, and whole where it is not.

    Raises:
        ConflictError: the file was ingested the other way.
    """
    other = shard.part.of if isinstance(shard.part, RowPart) else part_name(shard.name, 0)
    if shard.kind is Kind.PARQUET and not folder.is_dir() and folder.with_name(other).is_dir():
        raise ConflictError(
            f"{shard.source} was ingested as shard {other} of {folder.parent}, and would be {shard.name} now: give it "
            f"from where it was, or use another --dataset"
        )


def _note(outcome: Outcome, aside: Path) -> None:
    """Log a shard's outcome, and keep why it was set aside where the operator finds it."""
    path = aside / f"{outcome.shard}.json"
    if outcome.set_aside is None:
        path.unlink(missing_ok=True)
        log.info("shard_ingested", extra=outcome.to_event())
        return
    aside.mkdir(exist_ok=True)
    remove_parts(path)
    write_durably(path, format_json({"shard": outcome.shard, "reason": outcome.set_aside}).encode())
    log.warning("shard_set_aside", extra={"shard": outcome.shard, "reason": outcome.set_aside})
