"""Checking a filter report again: its sums, the files beside it, and the list it says it applied.

A report is not signed, and its counts are the lab's own word. What the check proves is that the files beside it are
those that a run wrote which describes itself so, that nothing of that run is missing, and that it names this very list.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heldout.errors import InputError, VerificationError
from heldout.filtering_plan import is_shard
from heldout.report import PREDICATE_TYPE, STATEMENT_TYPE, describe_list, sha256_file
from heldout.stored import StoredVersion


@dataclass(frozen=True)
class ReportCheck:
    """What could be checked of a report, and what stands against relying on it."""

    n_intact: int
    """Files at hand that have the digest the report gives."""
    missing: tuple[str, ...]
    """Files of the report that are not beside it."""
    unlisted: tuple[str, ...]
    """Shards beside the report that it does not know: they were not filtered by this run."""
    failed: tuple[str, ...]
    """Inputs that gave no output."""
    is_list_verified: bool
    """Whether the run itself could verify its list."""
    manifest_sha256: str
    """Of the list that was applied."""
    total: dict[str, Any]

    @property
    def doubts(self) -> tuple[str, ...]:
        """Why not to rely on it, in words; empty if nothing is amiss."""
        return tuple(self._iter_doubts())

    def _iter_doubts(self) -> Iterator[str]:
        if not self.is_list_verified:
            yield "the run was allowed to use a list that did not verify: filter again with a verified one"
        if self.failed:
            yield f"{len(self.failed)} inputs gave no output ({_some(self.failed)}): mend and filter them"
        if self.missing:
            yield f"{len(self.missing)} files of the run are not here ({_some(self.missing)})"
        if self.unlisted:
            yield f"{len(self.unlisted)} shards here are not of this run ({_some(self.unlisted)}): move them away"


def is_report(value: object) -> bool:
    """Whether parsed JSON is such a statement."""
    return isinstance(value, dict) and value.get("predicateType") == PREDICATE_TYPE


def verify_report(path: Path, *, applied: StoredVersion | None = None) -> ReportCheck:
    """Check a report against the files beside it, its own sums, and the list. Look at `ReportCheck.doubts` too.

    Args:
        path: the report.
        applied: the list it should be about, if at hand.

    Raises:
        InputError: it cannot be read or is not a report.
        VerificationError: a shard was changed, the counts contradict each other, or the list is another.
    """
    try:
        statement = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as JSON ({error}): give the report of heldout filter") from error
    if not is_report(statement) or statement.get("_type") != STATEMENT_TYPE:
        raise InputError(f"{path} is not a filter report ({PREDICATE_TYPE}): give the report of heldout filter")
    try:
        subjects = {subject["name"]: subject["digest"]["sha256"] for subject in statement["subject"]}
        predicate = statement["predicate"]
        shards, total, named = predicate["shards"], predicate["total"], dict(predicate["list"])
        is_list_verified, failed = named.pop("is_verified") is True, tuple(map(str, predicate["failed"]))
        digest = str(named["manifest_sha256"])
        _check_sums([*shards, total], path)
        for key in ("n_in", "n_kept", "n_dropped"):
            if sum(shard[key] for shard in shards) != total[key]:
                raise VerificationError(f"{path}: the shards' {key} do not add up to the total: the report was changed")
        dry_run = predicate["options"]["dry_run"]
        written = [] if dry_run else [shard["name"] for shard in shards]
        if sorted([*written, *predicate["emitted"]]) != sorted(subjects):
            raise VerificationError(f"{path}: its subjects are not what the run wrote: the report was changed")
    except (KeyError, TypeError, AttributeError) as error:
        raise VerificationError(f"{path} lacks a field of a filter report ({error}): it was changed") from error
    if applied is not None:
        _check_list(path, named, applied)
    missing = tuple(name for name in subjects if not _check_output(path, name, subjects[name]))
    unlisted = () if dry_run else tuple(sorted(_iter_shards(path.parent) - subjects.keys()))
    n_intact = len(subjects) - len(missing)
    return ReportCheck(n_intact, missing, unlisted, failed, is_list_verified, digest, total)


def _check_sums(counts: list[dict[str, Any]], path: Path) -> None:
    for count in counts:
        n_dropped = sum(n for by_assurance in count["dropped"].values() for n in by_assurance.values())
        if n_dropped != count["n_dropped"] or count["n_in"] != count["n_kept"] + n_dropped:
            name = count.get("name", "the total")
            raise VerificationError(f"{path}: the counts of {name} contradict each other: the report was changed")


def _check_list(path: Path, named: dict[str, Any], applied: StoredVersion) -> None:
    """Every word of it: a digest alone would let the rest be invented."""
    known = describe_list(applied)
    if named.get("manifest_sha256") != known["manifest_sha256"]:
        raise VerificationError(
            f"{path} is about the list with manifest {named.get('manifest_sha256')}, not {known['manifest_sha256']}"
        )
    differing = sorted(name for name in named.keys() | known.keys() if named.get(name) != known.get(name))
    if differing:
        raise VerificationError(f"{path} misstates its list ({', '.join(differing)}): the report was changed")


def _iter_shards(folder: Path) -> set[str]:
    """Shards below a folder, hidden files apart, as a report names them."""
    found = (path.relative_to(folder) for path in folder.rglob("*") if is_shard(path))
    return {path.as_posix() for path in found if not any(part.startswith(".") for part in path.parts)}


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


def _check_output(report: Path, name: str, sha256: str) -> bool:
    """Whether a shard is at hand. Raises VerificationError if it is, and was changed."""
    relative = Path(name)
    if relative.is_absolute() or ".." in relative.parts:
        raise VerificationError(f"{report} names {name!r}, outside its own folder: the report was changed")
    path = report.parent / relative
    try:
        found = sha256_file(path)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror})") from error
    if found != sha256:
        raise VerificationError(f"{path} is not what the run wrote (SHA-256 {found}): it was changed since")
    return True
