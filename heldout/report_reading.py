"""A filter report read and held against itself: its form, its sums, its signature. Files and lists are not looked at.

Either the statement as `heldout filter` wrote it, or a DSSE envelope around it (`heldout.dsse`), which lies beside it
as `report.dsse.json` if the lab signed it. Form: docs/formats/filter-report.md.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from heldout.checkpoint import from_base64
from heldout.dsse import IN_TOTO, is_envelope, parse_envelope, verify_envelope
from heldout.errors import InputError, VerificationError
from heldout.filtering_decision import KINDS
from heldout.filtering_options import PREFERENCES
from heldout.merkle import HASH_SIZE
from heldout.records import ASSURANCES
from heldout.report import PREDICATE_TYPE, STATEMENT_TYPE, Tally

ENVELOPE_SUFFIX: Final = ".dsse.json"
_OPTIONS: Final[Mapping[str, Sequence[str | None]]] = {
    "preference": PREFERENCES,
    "min_assurance": ASSURANCES,
    "min_grant_assurance": (None, *ASSURANCES),
    "writes": ("shards", "masks"),
}
_COUNTS: Final = dict.fromkeys(
    ("n_in", "n_kept", "n_dropped", "n_not_granted", "n_unreadable_urls", "n_unreadable_pictures"), int
)
MAX_REPORT_BYTES: Final = 2_000_000_000
"""Largest report read; a million shards have some 600 MB."""


@dataclass(frozen=True)
class Report:
    """What a lab says that a filter run did."""

    path: Path
    subjects: dict[str, str]
    """SHA-256 of what was written, by path below the report."""
    shards: list[dict[str, Any]]
    total: dict[str, Any]
    emitted: tuple[str, ...]
    failed: tuple[str, ...]
    """Inputs that gave no output."""
    tool: dict[str, Any]
    options: dict[str, Any]
    listed: dict[str, Any]
    """The list that was applied, as `heldout.report.describe_list` has it."""
    is_list_verified: bool
    """Whether the run itself could verify its list."""
    signed_by: tuple[str, ...]
    """Key ids of those of the keys asked about that signed it."""
    claimed_signers: tuple[str, ...]
    """Key ids of signatures that nobody checked, for want of the key."""

    @property
    def has_shards(self) -> bool:
        """Whether the run wrote shards: it may have been for masks, or a trial."""
        return self.options["writes"] == "shards" and not self.options["dry_run"]

    @property
    def manifest_sha256(self) -> str:
        """Of the list that was applied, hexadecimal."""
        return str(self.listed["manifest_sha256"])

    @property
    def log_size(self) -> int:
        """Entries of the log that the list was made from, by the report's word."""
        return int(self.listed["log"]["size"])

    @property
    def log_root(self) -> bytes:
        """Root of these entries."""
        return from_base64(self.listed["log"]["root"])


def is_report(value: object) -> bool:
    """Whether parsed JSON is a filter report, or an envelope that may hold one."""
    return is_envelope(value) or (isinstance(value, dict) and value.get("predicateType") == PREDICATE_TYPE)


def envelope_path(report: Path) -> Path:
    """Where a report's signed form is, beside it."""
    return report.with_name(f"{report.name.removesuffix('.json')}{ENVELOPE_SUFFIX}")


def load_report(path: Path, keys: Sequence[Ed25519PublicKey] = ()) -> Report:
    """Read a report, or the envelope around one.

    Args:
        path: of either. Beside a bare report its envelope is looked at too.
        keys: of which one has to have signed it, if there are any.

    Raises:
        InputError: it cannot be read or is not a report.
        VerificationError: none of the keys signed it, its counts contradict each other, or a field is missing.
    """
    data, value = read_json(path)
    beside = envelope_path(path)
    if is_envelope(value) or not beside.is_file():
        return parse_report(data, path, keys)
    return _open_envelope(read_json(beside)[1], beside, data, keys)


def parse_report(data: bytes, path: Path, keys: Sequence[Ed25519PublicKey] = ()) -> Report:
    """As `load_report`, of a report's or an envelope's bytes; `path` is for messages, nothing is looked for there."""
    value = _parse(data, path)
    if is_envelope(value):
        return _open_envelope(value, path, None, keys)
    if keys:
        raise VerificationError(
            f"{path} is not signed: there is no {envelope_path(path).name} beside it; ask the lab for it"
        )
    return report_of(path, value)


def report_of(
    path: Path,
    value: Any,  # noqa: ANN401 - JSON
    signed_by: tuple[str, ...] = (),
    claimed: tuple[str, ...] = (),
) -> Report:
    """A statement's JSON as a report, checked against itself; who signed it is not looked at.

    Raises:
        InputError: it is not a report.
        VerificationError: its counts contradict each other, or a field is missing.
    """
    if not is_report(value) or is_envelope(value) or value.get("_type") != STATEMENT_TYPE:
        raise InputError(f"{path} is not a filter report ({PREDICATE_TYPE}): give the report of heldout filter")
    try:
        report = _from_statement(path, value, signed_by, claimed)
        _check_shape(report)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise VerificationError(f"{path} lacks a field of a filter report ({error}): it was changed") from error
    _check_sums(report)
    return report


def _open_envelope(value: object, path: Path, statement: bytes | None, keys: Sequence[Ed25519PublicKey]) -> Report:
    """The report in an envelope, which has to be this statement if there is one."""
    try:
        envelope = parse_envelope(value)
        signed_by = verify_envelope(envelope, keys, IN_TOTO) if keys else []
    except VerificationError as error:
        raise VerificationError(f"{path}: {error}") from error
    if envelope.payload_type != IN_TOTO:
        raise VerificationError(f"{path} holds {envelope.payload_type!r:.80}, expected {IN_TOTO}")
    if statement is not None and envelope.payload != statement:
        raise VerificationError(f"{path} holds another report than the one beside it: one of the two was changed")
    claimed = [signed.keyid or "unnamed" for signed in envelope.signatures if signed.keyid not in signed_by]
    return report_of(path, _parse(envelope.payload, path), tuple(signed_by), tuple(claimed))


def _from_statement(path: Path, value: dict[str, Any], signed_by: tuple[str, ...], claimed: tuple[str, ...]) -> Report:
    predicate = value["predicate"]
    listed = dict(predicate["list"])
    if len({subject["name"] for subject in value["subject"]}) != len(value["subject"]):
        raise ValueError("two outputs of one name")
    return Report(
        path=path,
        subjects={str(subject["name"]): str(subject["digest"]["sha256"]) for subject in value["subject"]},
        shards=list(predicate["shards"]),
        total=predicate["total"],
        emitted=tuple(map(str, predicate["emitted"])),
        failed=tuple(map(str, predicate["failed"])),
        tool=dict(predicate["tool"]),
        options=dict(predicate["options"]),
        is_list_verified=listed.pop("is_verified") is True,
        listed=listed,
        signed_by=signed_by,
        claimed_signers=claimed,
    )


def _check_shape(report: Report) -> None:
    """What others rely on being there, and being what it should."""
    log, listed, options = report.listed["log"], report.listed, report.options
    _check_types({"vkey": str, "origin": str, "size": int}, log)
    if report.is_list_verified:
        _check_types({"list_index": int}, log)
        if log["list_index"] < log["size"]:
            raise ValueError("the list is among the entries that it was made from")
    _check_types({"version": int, "as_of": str | None}, listed)
    _check_types({"dry_run": bool, "url_column": str | None, "as_of": str | None}, options)
    if len(report.log_root) != HASH_SIZE or len(bytes.fromhex(report.manifest_sha256)) != HASH_SIZE:
        raise ValueError("a digest of another length")
    for name, known in _OPTIONS.items():
        if options[name] not in known:
            raise ValueError(f"{name} {options[name]!r:.40}")
    if options["as_of"] is not None:
        date.fromisoformat(options["as_of"])
    for shard in report.shards:
        _check_types({"name": str}, shard)
        _check_types({"sha256": str}, shard["input"])


def _check_types(types: Mapping[str, Any], fields: Mapping[str, Any]) -> None:
    for name, kind in types.items():
        if not isinstance(fields[name], kind) or (kind is int and (isinstance(fields[name], bool) or fields[name] < 0)):
            raise TypeError(f"{name} {fields[name]!r:.40}")


def _check_sums(report: Report) -> None:
    path = report.path
    sums = Tally()
    names = [shard["name"] for shard in report.shards]
    try:
        for count in [*report.shards, report.total]:
            tally = _tally(count)
            n_dropped = sum(tally.dropped.values()) + tally.n_not_granted
            if n_dropped != count["n_dropped"] or tally.n_in != tally.n_kept + n_dropped:
                name = count.get("name", "the total")
                raise VerificationError(f"{path}: the counts of {name} contradict each other: the report was changed")
            if count is not report.total:
                sums.add(tally)
        differing = sorted(key for key, value in sums.to_json().items() if report.total[key] != value)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise VerificationError(f"{path} lacks a field of a filter report ({error}): it was changed") from error
    if differing:
        raise VerificationError(
            f"{path}: the shards' {', '.join(differing)} do not add up to the total: the report was changed"
        )
    if len(set(names)) != len(names):
        raise VerificationError(f"{path} names a shard twice: the report was changed")
    written = names if report.has_shards else []
    if sorted([*written, *report.emitted]) != sorted(report.subjects):
        raise VerificationError(f"{path}: its subjects are not what the run wrote: the report was changed")


def _tally(count: dict[str, Any]) -> Tally:
    """A shard's counts, or the total's. Raises KeyError, TypeError or ValueError: they are none."""
    _check_types(_COUNTS, count)
    for kind, by_assurance in count["dropped"].items():
        if kind not in KINDS:
            raise ValueError(f"{kind!r:.40} is no rule")
        _check_types(dict.fromkeys(by_assurance, int), by_assurance)
    return Tally.from_json(count)


def read_json(path: Path) -> tuple[bytes, Any]:
    """A file's bytes, and the JSON that they are. Raises InputError: it cannot be read, or is none."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_REPORT_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): give a report of heldout filter") from error
    if len(data) > MAX_REPORT_BYTES:
        raise InputError(f"{path} is longer than {MAX_REPORT_BYTES:,} bytes: this is no report")
    return data, _parse(data, path)


def _parse(data: bytes, path: Path) -> Any:  # noqa: ANN401 - JSON
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read as JSON ({error}): it is damaged, or another file") from error
