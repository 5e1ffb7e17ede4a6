"""Checking a filter report again: the files beside it, and the list it says it applied.

What the check proves is that the files beside it are those that a run wrote which describes itself so, that nothing of
that run is missing, that it names this very list, and, by a key, who says so. Its counts are the lab's own word, until
they are held against the shards (`heldout.report_shards`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from heldout.errors import InputError, VerificationError
from heldout.filtering_plan import is_shard
from heldout.manifest import Manifest
from heldout.report import Tally, describe_manifest, sha256_file, some, tell_blind
from heldout.report_reading import Report, load_report
from heldout.stored import StoredVersion


@dataclass(frozen=True)
class ReportCheck:
    """What could be checked of a report, and what stands against relying on it."""

    report: Report
    n_intact: int
    """Files at hand that have the digest the report gives."""
    missing: tuple[str, ...]
    """Files of the report that are not beside it."""
    unlisted: tuple[str, ...]
    """Shards beside the report that it does not know: they were not filtered by this run."""

    @property
    def failed(self) -> tuple[str, ...]:
        """Inputs that gave no output."""
        return self.report.failed

    @property
    def blind(self) -> tuple[str, ...]:
        """Shards that had samples, none with an address; tars apart, of which the pictures are looked up."""
        return tuple(shard["name"] for shard in self.report.shards if Tally.from_json(shard).is_blind(shard["name"]))

    @property
    def manifest_sha256(self) -> str:
        """Of the list that was applied."""
        return self.report.manifest_sha256

    @property
    def total(self) -> dict[str, Any]:
        """Counts."""
        return self.report.total

    @property
    def doubts(self) -> tuple[str, ...]:
        """Why not to rely on it, in words; empty if nothing is amiss."""
        return tuple(self._iter_doubts())

    def _iter_doubts(self) -> Iterator[str]:
        if not self.report.is_list_verified:
            yield "the run was allowed to use a list that did not verify: filter again with a verified one"
        if self.failed:
            yield f"{len(self.failed)} inputs gave no output ({some(self.failed)}): mend and filter them"
        if self.missing:
            yield f"{len(self.missing)} files of the run are not here ({some(self.missing)})"
        if self.blind:
            yield tell_blind(self.blind)
        if self.unlisted:
            yield f"{len(self.unlisted)} shards here are not of this run ({some(self.unlisted)}): move them away"


def verify_report(
    path: Path,
    *,
    applied: StoredVersion | None = None,
    keys: Sequence[Ed25519PublicKey] = (),
    out: Path | None = None,
) -> ReportCheck:
    """Check a report against its own sums, the files it tells of, and the list. Look at `ReportCheck.doubts` too.

    Args:
        path: the report, or its envelope.
        applied: the list it should be about, if at hand.
        keys: of which one has to have signed it, if there are any.
        out: where the run's outputs are; beside the report if left out.

    Raises:
        InputError: it cannot be read or is not a report.
        VerificationError: a shard was changed, the counts contradict each other, the list is another, or nobody of
            `keys` signed it.
    """
    return check_report(load_report(path, keys), applied=applied, out=out)


def check_report(report: Report, *, applied: StoredVersion | None = None, out: Path | None = None) -> ReportCheck:
    """As `verify_report`, of a report that was read."""
    if applied is not None:
        check_list(report, applied)
    folder = report.path.parent if out is None else out
    missing = tuple(name for name in report.subjects if not _check_output(report, folder, name))
    unlisted = tuple(sorted(_iter_shards(folder) - report.subjects.keys())) if report.has_shards else ()
    return ReportCheck(report, len(report.subjects) - len(missing), missing, unlisted)


def check_list(report: Report, applied: StoredVersion) -> None:
    """Check that a report is about this list, in every word it says of it: a digest alone lets the rest be invented.

    Raises:
        VerificationError: it is not.
    """
    if report.manifest_sha256 != applied.manifest_sha256.hex():
        raise VerificationError(
            f"{report.path} is about the list with manifest {report.manifest_sha256}, not "
            f"{applied.manifest_sha256.hex()}"
        )
    index = None if applied.proved is None else applied.proved.logged.index
    check_described(report, applied.manifest, applied.manifest_sha256, index)


def check_described(report: Report, manifest: Manifest, sha256: bytes, list_index: int | None) -> None:
    """Check every word that a report says of its list.

    Args:
        report: the report.
        manifest: of the list.
        sha256: of the manifest.
        list_index: of the manifest's entry in the log; None if it is not known, and the report's word is taken.

    Raises:
        VerificationError: it says something else.
    """
    named = report.listed
    if not report.is_list_verified and named["log"].get("list_index") is None:
        list_index = None  # such a run did not look for it; that it did not is a doubt already
    known = describe_manifest(manifest, sha256, named["log"].get("list_index") if list_index is None else list_index)
    differing = sorted(name for name in named.keys() | known.keys() if named.get(name) != known.get(name))
    if differing:
        raise VerificationError(
            f"{report.path} misstates its list ({', '.join(differing)}): the report was changed, or its maker lies"
        )


def _iter_shards(folder: Path) -> set[str]:
    """Shards below a folder, hidden files apart, as a report names them."""
    found = (path.relative_to(folder) for path in folder.rglob("*") if is_shard(path))
    return {path.as_posix() for path in found if not any(part.startswith(".") for part in path.parts)}


def _check_output(report: Report, folder: Path, name: str) -> bool:
    """Whether an output is at hand. Raises VerificationError if it is, and was changed."""
    relative = Path(name)
    if relative.is_absolute() or ".." in relative.parts:
        raise VerificationError(f"{report.path} names {name!r}, outside its own folder: the report was changed")
    path = folder / relative
    try:
        found = sha256_file(path)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror})") from error
    if found != report.subjects[name]:
        raise VerificationError(f"{path} is not what the run wrote (SHA-256 {found}): it was changed since")
    return True
