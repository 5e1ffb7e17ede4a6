"""One shard of a filter run, or a pair of them, whole or not at all."""

import errno
from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager, ExitStack
from io import BufferedRandom
from pathlib import Path
from typing import Final

from heldout.durable import remove_parts, replacing
from heldout.errors import HeldoutError, UnavailableError
from heldout.exclusion import ExclusionList
from heldout.filtering_decision import ALONE, Linked, Rule
from heldout.filtering_done import done_path, load_done, save_done, settings_digest
from heldout.filtering_emit import Emitter, emitted_names
from heldout.filtering_masks import MaskWriter, mask_name, writing_mask
from heldout.filtering_observer import Observer
from heldout.filtering_options import EMITS, Emit, FilterOptions
from heldout.filtering_parquet import filter_parquet, link_keys
from heldout.filtering_plan import Job, Source
from heldout.filtering_tar import filter_tar
from heldout.filtering_text import filter_text
from heldout.records import Assurance
from heldout.report import FilteredShard, Tally, sha256_file

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def filter_job(
    job: Job, out: Path, exclusions: ExclusionList, options: FilterOptions
) -> list[FilteredShard] | HeldoutError:
    """Filter a job's shards, or find that an earlier run has. What goes wrong is returned, and leaves no output."""
    try:
        settings = None if options.dry_run else settings_digest(exclusions, options)
        digests = {source.name: sha256_file(source.path) for source in job.sources}
        if settings is not None and (done := load_done(out, job, settings, digests)) is not None:
            return done
        _sweep(job, out, options)
        shards = _ShardFilter(out, exclusions, options, digests).run(job)
        if settings is not None:
            save_done(out, job, settings, shards)
    except HeldoutError as error:
        remove_outputs(job, out, options)
        return error
    except OSError as error:
        remove_outputs(job, out, options)
        # A disk that is full is the output's, and the error does not say which file it is about.
        where = error.filename or (out if error.errno in _FULL else job.sources[0].path)
        return UnavailableError(f"{where}: {error.strerror}, at {job.name}: check the disk and run again")
    return shards


def filter_source(
    source: Path,
    stream: BufferedRandom | None,
    exclusions: ExclusionList,
    *,
    url_column: str | None = None,
    opt_in: Assurance | None = None,
    linked: Linked = ALONE,
    observer: Observer | None = None,
    mask: MaskWriter | None = None,
) -> tuple[Tally, dict[str, Rule]]:
    """Filter a file of any format as `filter_tar`, `filter_parquet` and `filter_text` do.

    Returns:
        The counts, and of a tar which samples were dropped, by key without folder as the other form has it.
    """
    what = (source, stream, exclusions)
    if source.suffix == ".tar":
        return filter_tar(*what, url_column=url_column, opt_in=opt_in, linked=linked, observer=observer, mask=mask)
    if source.suffix == ".parquet":
        also = linked.rules
        return filter_parquet(*what, url_column=url_column, opt_in=opt_in, also=also, observer=observer, mask=mask), {}
    return filter_text(*what, url_column=url_column, opt_in=opt_in, observer=observer, mask=mask), {}


def remove_outputs(job: Job, out: Path, options: FilterOptions) -> None:
    """Remove what an earlier run left under a job's names: it would pass for this one's."""
    for source in job.sources:
        if not options.dry_run:
            (out / (mask_name(source.name) if options.writes == "masks" else source.name)).unlink(missing_ok=True)
            done_path(out, job).unlink(missing_ok=True)
        for name in emitted_names(source.name, options.emit).values():
            (out / name).unlink(missing_ok=True)


def _sweep(job: Job, out: Path, options: FilterOptions) -> None:
    """Remove the record of what no longer holds, and what a killed run left half written, whatever it was to emit."""
    if not options.dry_run:
        done_path(out, job).unlink(missing_ok=True)
        remove_parts(done_path(out, job))
    for source in job.sources:
        for name in (source.name, mask_name(source.name), *emitted_names(source.name, EMITS).values()):
            remove_parts(out / name)


class _ShardFilter:
    def __init__(
        self, out: Path, exclusions: ExclusionList, options: FilterOptions, digests: Mapping[str, str]
    ) -> None:
        self._out = out
        self._exclusions = exclusions
        self._options = options
        self._digests = digests

    def run(self, job: Job) -> list[FilteredShard]:
        if len(job.sources) == 2:
            tar, parquet = job.sources
            known = link_keys(
                parquet.path, self._exclusions, url_column=self._options.url_column, opt_in=self._options.opt_in
            )
            if known is not None:
                return self._run_pair(tar, parquet, known)
        return [self._run_one(source, self._options.emit)[0] for source in job.sources]

    def _run_pair(self, tar: Source, parquet: Source, known: Linked) -> list[FilteredShard]:
        """Both drop what either drops. What is about samples kept is emitted once, from the Parquet file."""
        in_tar, dropped = self._run_one(tar, self._options.emit & {"removal"}, known, parquet.name)
        in_parquet, _ = self._run_one(parquet, self._options.emit, Linked(dropped, frozenset()), tar.name)
        return [in_tar, in_parquet]

    def _run_one(
        self,
        source: Source,
        emits: Collection[Emit],
        linked: Linked = ALONE,
        sibling: str | None = None,
    ) -> tuple[FilteredShard, dict[str, Rule]]:
        options = self._options
        with ExitStack() as stack:
            emitter = stack.enter_context(Emitter(self._out, source.name, emits)) if emits else None
            stream, mask = None, None
            if options.writes == "masks" and not options.dry_run:
                mask = stack.enter_context(self._mask(source))
            elif not options.dry_run:
                stream = stack.enter_context(replacing(self._out / source.name))
            tally, dropped = filter_source(
                source.path,
                stream,
                self._exclusions,
                url_column=options.url_column,
                opt_in=options.opt_in,
                linked=linked,
                observer=emitter,
                mask=mask,
            )
        names = [
            *(() if emitter is None else emitter.names.values()),
            *([] if mask is None else [mask_name(source.name)]),
        ]
        emitted = {name: sha256_file(self._out / name) for name in names}
        output = None if stream is None else sha256_file(self._out / source.name)
        shard = FilteredShard(source.name, self._digests[source.name], output, tally, emitted, sibling)
        return shard, dropped

    def _mask(self, source: Source) -> AbstractContextManager[MaskWriter]:
        path = self._out / mask_name(source.name)
        path.parent.mkdir(exist_ok=True)
        return writing_mask(
            path,
            has_keys=source.path.suffix == ".tar",
            shard_sha256=self._digests[source.name],
            manifest_sha256=self._exclusions.version.manifest_sha256.hex(),
        )
