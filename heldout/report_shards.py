"""Holding a filter report against its shards: are they those, and does the filter still do the same to them.

Digests show that the inputs at hand are the ones that were filtered. The counts, and what was dropped, are shown by
filtering some of them again with the same list: the filter is deterministic, so that any difference is a false report.
"""

import random
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from heldout import __version__
from heldout.errors import HeldoutError, InputError, VerificationError
from heldout.exclusion import ExclusionList
from heldout.filtering_options import FilterOptions
from heldout.filtering_plan import Job, plan_jobs
from heldout.filtering_shard import filter_job
from heldout.report import FilteredShard, sha256_file, some
from heldout.report_reading import Report
from heldout.stored import StoredVersion


@dataclass(frozen=True)
class ShardsCheck:
    """What the shards at hand showed."""

    n_inputs: int
    """Inputs at hand that have the digest the report gives."""
    missing: tuple[str, ...]
    """Inputs of the report that are not at hand."""
    unreported: tuple[str, ...]
    """Shards at hand that the report does not know."""
    filtered_again: tuple[str, ...]
    """Those whose filtering gave the same counts and, if `is_exact`, the same bytes."""
    is_exact: bool
    """Whether bytes could be compared: only with the versions of the tools that the run had."""

    @property
    def doubts(self) -> tuple[str, ...]:
        """Why not to rely on the report, in words."""
        return tuple(
            f"{len(names)} inputs {what} ({some(names)})"
            for names, what in (
                (self.missing, "of the run are not here"),
                (self.unreported, "here are not in the report"),
            )
            if names
        )

    def words(self) -> str:
        """What was found, for people."""
        again = "none was filtered again"
        if self.filtered_again:
            same = (
                "the same bytes" if self.is_exact else "the same counts (other versions of the tools write other bytes)"
            )
            again = f"filtered again, {', '.join(self.filtered_again)} gave {same}"
        return f"{self.n_inputs} inputs are the ones that were filtered; {again}"

    def to_json(self) -> dict[str, Any]:
        """For a script."""
        return asdict(self)


def verify_shards(
    report: Report,
    inputs: Sequence[Path],
    applied: StoredVersion | None = None,
    *,
    n_again: int = 0,
    choice: random.Random | None = None,
) -> ShardsCheck:
    """Hold a report against its inputs.

    Args:
        report: whose own sums were checked.
        inputs: as they were given to the filter: files, or folders of them.
        applied: the list that was applied; needed to filter again.
        n_again: how many of the shards at hand to filter again, picked at random; a pair of forms counts as one.
        choice: picks them; for tests.

    Raises:
        InputError: an input cannot be read, or there is no list to filter with.
        VerificationError: an input is another file than the one that was filtered, or the filter does something else
            to it than the report says.
    """
    if n_again and applied is None:
        raise InputError("to filter shards again, give the list that was applied: --list LIST")
    shards = {shard["name"]: shard for shard in report.shards}
    with tempfile.TemporaryDirectory(prefix="heldout-") as folder:
        jobs = plan_jobs(inputs, Path(folder))
        found = {source.name: source.path for job in jobs for source in job.sources}
        for name in sorted(found.keys() & shards.keys()):
            _check_input(report, found[name], shards[name])
        whole = [job for job in jobs if all(source.name in shards for source in job.sources)]
        picked = (choice or random.SystemRandom()).sample(whole, min(n_again, len(whole)))
        is_exact = _has_same_tools(report)
        names: list[str] = []
        if picked and applied is not None:
            again = _Again(report, applied, Path(folder))
            for job in sorted(picked, key=lambda job: job.name):
                names += again.compare(job, shards, is_exact=is_exact)
    return ShardsCheck(
        n_inputs=len(found.keys() & shards.keys()),
        missing=tuple(sorted(shards.keys() - found.keys())),
        unreported=tuple(sorted(found.keys() - shards.keys() - set(report.failed))),
        filtered_again=tuple(names),
        is_exact=is_exact,
    )


class _Again:
    """Filtering shards a second time, as the report says it was done."""

    def __init__(self, report: Report, applied: StoredVersion, out: Path) -> None:
        said = report.options
        self._report = report
        self._out = out
        self._options = FilterOptions(
            applied.folder.path,
            said["min_assurance"],
            allow_unverified=bool(applied.doubts),
            url_column=said["url_column"],
            as_of=None if said["as_of"] is None else date.fromisoformat(said["as_of"]),
            list_version=applied.name,
            dry_run=said["dry_run"],
            writes=said["writes"],
            preference=said["preference"],
            min_grant_assurance=said["min_grant_assurance"] or "account",
        )
        fresh = None if applied.proved is None else applied.proved.trusted.expires_at - timedelta(seconds=1)
        self._exclusions = ExclusionList.open(
            applied.folder.path,
            min_assurance=self._options.min_assurance,
            allow_unverified=self._options.allow_unverified,
            now=fresh,  # a report stays true when its list has gone stale
            version=applied.name,
            as_of=self._options.as_of,
        )

    def compare(self, job: Job, shards: Mapping[str, dict[str, Any]], *, is_exact: bool) -> Iterator[str]:
        """Filter a job's shards and compare; their names.

        Raises:
            VerificationError: something else came of it.
        """
        for source in job.sources:
            (self._out / source.name).parent.mkdir(parents=True, exist_ok=True)
        result = filter_job(job, self._out, self._exclusions, self._options)
        if isinstance(result, HeldoutError):
            raise result
        for shard in result:
            self._check(shard, shards[shard.name], is_exact=is_exact)
            (self._out / shard.name).unlink(missing_ok=True)
            yield shard.name

    def _check(self, shard: FilteredShard, said: dict[str, Any], *, is_exact: bool) -> None:
        done = shard.tally.to_json()
        differing = sorted(name for name in done if said.get(name) != done[name])
        if differing:
            raise VerificationError(
                f"{self._report.path} is false about {shard.name}: filtered again, its {', '.join(differing)} are "
                f"{', '.join(str(done[name]) for name in differing)}"
            )
        outputs = {shard.name: shard.output_sha256} | dict(shard.emitted)
        for name, expected in self._report.subjects.items():
            if is_exact and outputs.get(name, expected) != expected:
                raise VerificationError(
                    f"{self._report.path} is false about {shard.name}: filtered again, {name} has SHA-256 "
                    f"{outputs[name]}, not {expected}"
                )


def _check_input(report: Report, path: Path, said: dict[str, Any]) -> None:
    try:
        found = sha256_file(path)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror})") from error
    if found != said["input"]["sha256"]:
        raise VerificationError(
            f"{path} is not the shard that was filtered (SHA-256 {found}): {report.path} is about another"
        )
    if path.suffix == ".parquet":
        try:
            n_rows = pq.read_metadata(path).num_rows
        except (OSError, pa.ArrowException) as error:
            raise VerificationError(f"{path} is no Parquet ({error}), and cannot have been filtered") from error
        if n_rows != said["n_in"]:
            raise VerificationError(f"{report.path} says that {path} has {said['n_in']} samples: it has {n_rows}")


def _has_same_tools(report: Report) -> bool:
    return report.tool == {"heldout": __version__, "pyarrow": pa.__version__}
