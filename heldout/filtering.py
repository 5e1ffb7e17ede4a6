"""Applying an exclusion list to shards: in which processes, and the report. For batches: `Filter`.

Fails closed shard by shard: an input that cannot be read whole gives no output and is named in the report, the others
go on. An output takes its place only when it is complete. What is filtered: `heldout.filtering_plan`; one shard, by
its format: `heldout.filtering_shard`.
"""

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa

from heldout.durable import remove_parts, write_durably
from heldout.errors import HeldoutError, InputError, UnavailableError
from heldout.exclusion import ExclusionList
from heldout.filtering_batches import Filter
from heldout.filtering_claim import claimed, working_in
from heldout.filtering_emit import STATE, UIDS_NAME, emitted_names, merge_uids
from heldout.filtering_masks import mask_name
from heldout.filtering_options import EMITS, PREFERENCES, FilterOptions, open_list
from heldout.filtering_plan import Job, plan_jobs
from heldout.filtering_shard import filter_job
from heldout.filtering_shared import SharedList, sharing
from heldout.report import REPORT_NAME, FilteredShard, Tally, build_report, sha256_file
from heldout.report_reading import envelope_path

__all__ = ["DRY_RUN_NAME", "EMITS", "PREFERENCES", "Filter", "FilterOptions", "FilterResult", "filter_shards"]

DRY_RUN_NAME: Final = "dry-run.json"
"""The report of a run that wrote no shards: beside that of one that did, if need be."""

Progress = Callable[[int, int], None]
"""(shards done, shards in all)."""


@dataclass(frozen=True)
class FilterResult:
    """What came of a run."""

    report: Path | None
    """None if nothing went through."""
    shards: list[FilteredShard]
    failures: dict[str, HeldoutError]
    """By shard name."""
    total: Tally
    doubts: tuple[str, ...]
    """Why the list should not be trusted; empty unless that was allowed."""
    emitted: list[str]
    """What was written besides shards, by path below the output folder."""


def filter_shards(
    inputs: Sequence[Path],
    out: Path,
    options: FilterOptions,
    *,
    workers: int = 1,
    progress: Progress | None = None,
) -> FilterResult:
    """Write every shard, minus the samples the list excludes, below `out`, and a report beside them.

    Run again after it was killed, it leaves alone what it had finished, and ends with the same bytes.

    Args:
        inputs: shards, and folders that are searched for them. A file keeps its name, a folder's files their paths
            below it. A tar and the Parquet file of the same name in the same folder are filtered as two forms of the
            same samples, if that has a column `key`.
        out: folder of the outputs; made if need be. What an earlier run left under the same names is replaced.
        options: the list and how to apply it.
        workers: processes; they share one list in memory.
        progress: told after each shard.

    Raises:
        InputError: there is nothing to filter, two inputs have one name, or an output would replace its input, or a
            file that no run has written.
        ConflictError: another run is at work in the output folder.
        VerificationError: the list does not prove itself; nothing was written.
        UnavailableError: the output folder cannot be written.
    """
    jobs = plan_jobs(inputs, out)
    if options.dry_run and options.writes == "masks":
        raise InputError("a dry run writes no masks: leave out one of --dry-run and --masks")
    if options.dry_run and options.emit and (out / REPORT_NAME).exists():
        raise InputError(f"{out} holds what a run has written: give another folder with -o for the dry run's files")
    workers = min(workers, len(jobs))
    with ExitStack() as stack:
        shared = stack.enter_context(sharing(open_list(options))) if workers > 1 else None
        exclusions = open_list(options) if shared is None else shared.open()
        return _filter(jobs, out, exclusions, options=options, workers=_Workers(workers, shared), progress=progress)


@dataclass(frozen=True)
class _Workers:
    """Processes, and the list they share; if there is one alone, the run's own."""

    n: int
    shared: SharedList | None


def _filter(
    jobs: Sequence[Job],
    out: Path,
    exclusions: ExclusionList,
    *,
    options: FilterOptions,
    workers: _Workers,
    progress: Progress | None,
) -> FilterResult:
    shards: list[FilteredShard] = []
    failures: dict[str, HeldoutError] = {}
    emitted: dict[str, str] = {}
    report = out / (DRY_RUN_NAME if options.dry_run else REPORT_NAME)
    try:
        with claimed(out, _names(jobs, report.name, options), None if options.dry_run else options.writes):
            _prepare(jobs, out, report, options)
            n_done, n_total = 0, sum(len(job.sources) for job in jobs)
            for job, result in _run(jobs, out, exclusions, options, workers):
                if isinstance(result, HeldoutError):
                    failures |= {source.name: result for source in job.sources}
                else:
                    shards += result
                n_done += len(job.sources)
                if progress is not None:
                    progress(n_done, n_total)
            if shards:
                emitted = _finish_emitted(shards, out, options)
                write_durably(report, build_report(exclusions, shards, list(failures), options, emitted))
    except OSError as error:
        raise UnavailableError(
            f"{error.filename or out} cannot be written ({error.strerror}): check the disk"
        ) from error
    total = Tally()
    for shard in shards:
        total.add(shard.tally)
    shards.sort(key=lambda shard: shard.name)
    return FilterResult(report if shards else None, shards, failures, total, exclusions.doubts, sorted(emitted))


def _names(jobs: Sequence[Job], report: str, options: FilterOptions) -> list[str]:
    """Paths below the output folder of all that the run may write for people."""
    names = [report]
    if "datacomp-uids" in options.emit:
        names.append(UIDS_NAME)
    for source in (source for job in jobs for source in job.sources):
        if not options.dry_run:
            names.append(mask_name(source.name) if options.writes == "masks" else source.name)
        names += emitted_names(source.name, options.emit).values()
    return names


def _prepare(jobs: Sequence[Job], out: Path, report: Path, options: FilterOptions) -> None:
    """Folders, and none of an earlier run's statements about the whole."""
    for statement in (report, envelope_path(report)):
        statement.unlink(missing_ok=True)
        remove_parts(statement)
    if "datacomp-uids" in options.emit:
        (out / UIDS_NAME).unlink(missing_ok=True)
        remove_parts(out / UIDS_NAME)
    if not options.dry_run and options.writes == "shards":
        for job in jobs:
            for source in job.sources:
                (out / source.name).parent.mkdir(parents=True, exist_ok=True)


def _finish_emitted(shards: Sequence[FilteredShard], out: Path, options: FilterOptions) -> dict[str, str]:
    """Make one of what shards have parts of; SHA-256 of all that was emitted, by path."""
    emitted = {name: digest for shard in shards for name, digest in shard.emitted.items()}
    parts = sorted(name for name in emitted if name.startswith(f"{STATE}/"))
    if "datacomp-uids" in options.emit:
        merge_uids([out / name for name in parts], out / UIDS_NAME)
        emitted[UIDS_NAME] = sha256_file(out / UIDS_NAME)
    return {name: digest for name, digest in emitted.items() if name not in parts}


def _run(
    jobs: Sequence[Job], out: Path, exclusions: ExclusionList, options: FilterOptions, workers: _Workers
) -> Iterator[tuple[Job, list[FilteredShard] | HeldoutError]]:
    if workers.shared is None:
        for job in jobs:
            yield job, filter_job(job, out, exclusions, options)
        return
    # Spawned, not forked: pyarrow has threads running, which a fork would leave behind in unknown states.
    context = multiprocessing.get_context("spawn")
    started = (workers.shared, out, options)
    with ProcessPoolExecutor(workers.n, mp_context=context, initializer=_start_worker, initargs=started) as pool:
        futures: dict[Future[list[FilteredShard] | HeldoutError], Job] = {
            pool.submit(_work, job, out): job for job in jobs
        }
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BrokenProcessPool as error:
            raise UnavailableError(
                "a worker process died, perhaps for lack of memory: run again with fewer --workers"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


_worker: tuple[ExclusionList, FilterOptions] | None = None
"""Of a worker process: set once, when it starts."""
_held: Final = ExitStack()
"""Of a worker process: until it ends."""


def _start_worker(shared: SharedList, out: Path, options: FilterOptions) -> None:
    global _worker  # noqa: PLW0603 - the one way to give every task of a process the same list
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _held.enter_context(working_in(out))
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    _worker = shared.open(), options


def _end_with_parent() -> None:
    """Not to write on where the next run is writing already, when this one was killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(job: Job, out: Path) -> list[FilteredShard] | HeldoutError:
    if _worker is None:
        raise RuntimeError("the worker was not started")
    return filter_job(job, out, *_worker)
