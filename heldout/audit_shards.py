"""Shards of an audit, each looked at just as a filter run that writes nothing would, so that both count the same."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from heldout.audit_samples import Hosts, SampleNotes
from heldout.errors import HeldoutError, UnavailableError
from heldout.exclusion import ExclusionList
from heldout.filtering_decision import ALONE, Linked
from heldout.filtering_options import FilterOptions
from heldout.filtering_parquet import link_keys
from heldout.filtering_plan import Job, Source
from heldout.filtering_shard import filter_source
from heldout.filtering_tar import filter_tar
from heldout.report import Tally, sha256_file

SHARD_SCHEMA = pa.schema(
    {
        "shard": pa.int32(),
        "name": pa.string(),
        "sha256": pa.string(),
        "sibling": pa.string(),
        "is_counted": pa.bool_(),
        "n_samples": pa.int64(),
        "n_opted_out": pa.int64(),
        "n_unreadable_urls": pa.int64(),
        "n_unreadable_pictures": pa.int64(),
    }
)


@dataclass(frozen=True)
class AuditedShard:
    """One shard that could be read whole."""

    name: str
    """Its path below the folder given, with slashes."""
    sha256: str
    tally: Tally
    sibling: str | None
    """Name of the shard that holds the same samples in the other form."""
    notes: Path | None
    """Where the notes on its samples are; None of the tar of a pair, whose Parquet file has them all."""


class ShardReader:
    """Reads shards one after the other; writes the notes on their samples into a folder."""

    def __init__(self, folder: Path, exclusions: ExclusionList, options: FilterOptions) -> None:
        """With this list, applied as these options say."""
        self._folder = folder
        self._exclusions = exclusions
        self._options = options
        self._hosts = Hosts()
        self._n = 0

    def read(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, list[AuditedShard] | HeldoutError]]:
        """What was read of each job, or why it could not be. Nothing is left of one that could not."""
        for job in jobs:
            first = self._n
            outcome: list[AuditedShard] | HeldoutError
            try:
                outcome = self._read(job)
            except HeldoutError as error:
                outcome = error
            except OSError as error:
                where = error.filename or job.sources[0].path
                outcome = UnavailableError(f"{where}: {error.strerror}: check the disk and run again")
            if isinstance(outcome, HeldoutError):
                for number in range(first, self._n):
                    self._path(number).unlink(missing_ok=True)
                self._n = first
            yield job, outcome

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:05d}.parquet"

    def _read(self, job: Job) -> list[AuditedShard]:
        column = self._options.url_column
        if len(job.sources) == 2:
            tar, parquet = job.sources
            linked = link_keys(parquet.path, self._exclusions, url_column=column)
            if linked is not None:
                tally, dropped = filter_tar(tar.path, None, self._exclusions, url_column=column, linked=linked)
                in_tar = AuditedShard(tar.name, sha256_file(tar.path), tally, parquet.name, None)
                self._n += 1
                return [in_tar, self._note(parquet, linked=Linked(dropped, frozenset()), sibling=tar.name)]
        return [self._note(source) for source in job.sources]

    def _note(self, source: Source, *, linked: Linked = ALONE, sibling: str | None = None) -> AuditedShard:
        path = self._path(self._n)
        column = self._options.url_column
        with SampleNotes(path, self._n, self._hosts) as notes:
            tally, _ = filter_source(
                source.path, None, self._exclusions, url_column=column, linked=linked, observer=notes
            )
        self._n += 1
        return AuditedShard(source.name, sha256_file(source.path), tally, sibling, path)


def shard_table(shards: Sequence[AuditedShard]) -> pa.Table:
    """The table `shards`: in the order in which they were read, which is that of their numbers."""
    rows = [
        {
            "shard": number,
            "name": shard.name,
            "sha256": shard.sha256,
            "sibling": shard.sibling,
            "is_counted": shard.notes is not None,
            "n_samples": shard.tally.n_in,
            "n_opted_out": shard.tally.n_in - shard.tally.n_kept,
            "n_unreadable_urls": shard.tally.n_unreadable_urls,
            "n_unreadable_pictures": shard.tally.n_unreadable_pictures,
        }
        for number, shard in enumerate(shards)
    ]
    return pa.Table.from_pylist(rows, schema=SHARD_SCHEMA)
