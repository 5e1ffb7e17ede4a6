"""Applying an exclusion list to shards: which files, in which processes, and the report.

Fails closed shard by shard: an input that cannot be read whole gives no output and is named in the report, the others
go on. An output takes its place only when it is complete. Reading and writing one shard: `heldout.filtering_parquet`,
`heldout.filtering_tar`.
"""

import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final

import pyarrow as pa

from heldout.durable import remove_parts, replacing, write_durably
from heldout.errors import HeldoutError, InputError, UnavailableError
from heldout.exclusion import ExclusionList
from heldout.filtering_parquet import filter_parquet
from heldout.filtering_tar import filter_tar
from heldout.records import Assurance
from heldout.report import REPORT_NAME, FilteredShard, Tally, build_report, sha256_file

SUFFIXES: Final = (".parquet", ".tar")

Progress = Callable[[int, int], None]
"""(shards done, shards in all)."""


@dataclass(frozen=True)
class FilterOptions:
    """How to apply which list."""

    list_path: Path
    min_assurance: Assurance = "declared"
    allow_unverified: bool = False
    url_column: str | None = None
    now: datetime | None = None
    """For tests of freshness."""
    list_version: str | None = None
    """Name of a version folder; the one in force if None."""


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


@dataclass(frozen=True)
class _Job:
    name: str
    source: Path
    target: Path


def filter_shards(
    inputs: Sequence[Path],
    out: Path,
    options: FilterOptions,
    *,
    workers: int = 1,
    progress: Progress | None = None,
) -> FilterResult:
    """Write every shard, minus the samples the list excludes, below `out`, and a report beside them.

    Args:
        inputs: Parquet and tar files, and folders that are searched for them. A file keeps its name, a folder's files
            their paths below it.
        out: folder of the outputs; made if need be. What an earlier run left under the same names is replaced.
        options: the list and how to apply it.
        workers: processes; each holds the list in memory.
        progress: told after each shard.

    Raises:
        InputError: there is nothing to filter, two inputs have one name, or an output would replace its input.
        VerificationError: the list does not prove itself; nothing was written.
        UnavailableError: the output folder cannot be written.
    """
    jobs = _plan(inputs, out)
    exclusions = _open(options)
    # The same version for every worker, even if a pull moves the list on in the meantime.
    pinned = replace(options, list_version=exclusions.version.name)
    shards: list[FilteredShard] = []
    failures: dict[str, HeldoutError] = {}
    try:
        (out / REPORT_NAME).unlink(missing_ok=True)
        for job in jobs:
            job.target.parent.mkdir(parents=True, exist_ok=True)
            remove_parts(job.target)
        done = _run(jobs, exclusions, pinned, min(workers, len(jobs)))
        for n_done, (job, result) in enumerate(done, start=1):
            if isinstance(result, HeldoutError):
                failures[job.name] = result
                job.target.unlink(missing_ok=True)  # an earlier run's output would pass for this one's
            else:
                shards.append(result)
            if progress is not None:
                progress(n_done, len(jobs))
        if shards:
            write_durably(
                out / REPORT_NAME, build_report(exclusions, shards, list(failures), url_column=options.url_column)
            )
    except OSError as error:
        raise UnavailableError(
            f"{error.filename or out} cannot be written ({error.strerror}): check the disk"
        ) from error
    total = Tally()
    for shard in shards:
        total.add(shard.tally)
    shards.sort(key=lambda shard: shard.name)
    return FilterResult(out / REPORT_NAME if shards else None, shards, failures, total, exclusions.doubts)


def _plan(inputs: Sequence[Path], out: Path) -> list[_Job]:
    jobs: dict[str, _Job] = {}
    for name, source in _iter_sources(inputs, out.resolve()):
        if name in jobs:
            raise InputError(f"{source} and {jobs[name].source} would both become {out / name}: filter them apart")
        target = out / name
        if target.exists() and target.samefile(source):
            raise InputError(f"{target} would replace its own input: give another folder with -o")
        jobs[name] = _Job(name, source, target)
    if REPORT_NAME in jobs or not jobs:
        raise InputError("there is nothing to filter: give .parquet or .tar files, or folders that hold some")
    return sorted(jobs.values(), key=lambda job: job.name)


def _iter_sources(inputs: Iterable[Path], out: Path) -> Iterator[tuple[str, Path]]:
    """Names and files; what lies in `out` is no input, so that a folder within the input folder will do as output."""
    for path in inputs:
        if path.is_dir():
            found = [
                source
                for source in sorted(path.rglob("*"))
                if source.suffix in SUFFIXES and source.is_file() and out not in source.resolve().parents
            ]
            if not found:
                raise InputError(f"{path} holds no .parquet or .tar file: give the folder of the shards")
            yield from ((source.relative_to(path).as_posix(), source) for source in found)
        elif not path.exists():
            raise InputError(f"{path} does not exist")
        elif path.suffix not in SUFFIXES:
            raise InputError(f"{path} is neither .parquet nor .tar: rename it, or convert it first")
        else:
            yield path.name, path


def _open(options: FilterOptions) -> ExclusionList:
    return ExclusionList.open(
        options.list_path,
        min_assurance=options.min_assurance,
        allow_unverified=options.allow_unverified,
        now=options.now,
        version=options.list_version,
    )


def _run(
    jobs: Sequence[_Job], exclusions: ExclusionList, options: FilterOptions, workers: int
) -> Iterator[tuple[_Job, FilteredShard | HeldoutError]]:
    if workers <= 1:
        for job in jobs:
            yield job, _filter_shard(job, exclusions, options)
        return
    # Spawned, not forked: pyarrow has threads running, which a fork would leave behind in unknown states.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker, initargs=(options,)) as pool:
        futures: dict[Future[FilteredShard | HeldoutError], _Job] = {pool.submit(_work, job): job for job in jobs}
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


def _start_worker(options: FilterOptions) -> None:
    global _worker  # noqa: PLW0603 - the one way to give every task of a process the same list
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    _worker = _open(options), options


def _work(job: _Job) -> FilteredShard | HeldoutError:
    if _worker is None:
        raise RuntimeError("the worker was not started")
    return _filter_shard(job, *_worker)


def _filter_shard(job: _Job, exclusions: ExclusionList, options: FilterOptions) -> FilteredShard | HeldoutError:
    """One shard, whole or not at all. What goes wrong is returned, so that the others go on."""
    try:
        input_sha256 = sha256_file(job.source)
        with replacing(job.target) as stream:
            if job.source.suffix == ".tar":
                tally = filter_tar(job.source, stream, exclusions)
            else:
                tally = filter_parquet(job.source, stream, exclusions, url_column=options.url_column)
        return FilteredShard(job.name, input_sha256, sha256_file(job.target), tally)
    except HeldoutError as error:
        return error
    except OSError as error:
        return UnavailableError(f"{error.filename or job.source}: {error.strerror}: check the disk and run again")
