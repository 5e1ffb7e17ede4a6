"""The log's entries as canonical JSON: opt-out, assurance, state, withdraw, list. Nothing else is in the log.

Canonical JSON: UTF-8, keys sorted, no spaces, only objects, arrays, strings and integers. A leaf has one encoding;
`parse_leaf` refuses any other. An entry has version 1 where version 1 can say it, else version 2, so that entries of
old logs stay as they are. No personal data: a URL is the SHA-256 of its canonical key; only a place (`prefix`, `host`)
is in the log by name, because a digest cannot be matched by those below it without the name.
Normative description and vectors: docs/formats/log.md.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, TypeVar, cast

from heldout.errors import InputError, VerificationError
from heldout.records import ASSURANCES, CLAIM_STATES, Assurance, ClaimState, Preference, SubjectKind
from heldout.tiles import MAX_ENTRY_SIZE

MAX_SUBJECTS_PER_LEAF = 300
"""An image subject has at most 190 bytes, so that a full leaf stays under 58,000 of the 65,535 an entry may have."""
MAX_SUBJECT_BYTES_PER_LEAF = 60_000
"""Subjects of one leaf, encoded: places may be longer than what 300 pictures take."""
MAX_POSITIONS_PER_LEAF = 5_000
"""A position has at most 11 bytes with its comma."""
MAX_PREFIX_BYTES = 2_000
MAX_HOST_BYTES = 253
"""RFC 1035 §2.3.4, without the final dot."""
PREFERENCES: tuple[Preference, ...] = ("train-ai=n", "train-ai=y")
"""The position is the code used in the exclusion list's files."""

_T = TypeVar("_T")

_CLAIM_ID = re.compile(r"[0-9a-z]{8,64}", re.ASCII)
_CODE = re.compile(r"[a-z][a-z0-9-]{0,31}", re.ASCII)
_HEX256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_HOST = re.compile(r"(?:[a-z0-9_-]{1,63}\.)+[a-z0-9_-]{1,63}", re.ASCII)
_PREFIX = re.compile(r"(?:[a-z0-9._-]+|\[[0-9a-f:]+\])(?::[0-9]{1,5})?/[%A-Za-z0-9\-._~!*'()$&+,;=:@/]+/", re.ASCII)
_AT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z", re.ASCII)


@dataclass(frozen=True)
class UrlDigest:
    """A URL subject in the log."""

    key: bytes
    """SHA-256 of the canonical key, 32 bytes (`heldout.urls.key_digest`)."""


@dataclass(frozen=True)
class ImageDigest:
    """An image subject in the log."""

    pdq: bytes
    """32 bytes."""
    quality: int
    """PDQ quality, 0-100."""
    sha256: bytes | None = None
    """Of the file's bytes, if known."""


@dataclass(frozen=True)
class PrefixRule:
    """A prefix subject in the log: everything below one path of one host."""

    prefix: str
    """Canonical key of the folder, ending in a slash (`heldout.places.prefix_rule`)."""


@dataclass(frozen=True)
class HostRule:
    """A host subject in the log: a host and everything below it."""

    host: str
    """Lower case, as in a canonical key (`heldout.places.host_rule`)."""


LoggedSubject = UrlDigest | ImageDigest | PrefixRule | HostRule
_KINDS: Mapping[type, SubjectKind] = {UrlDigest: "url", ImageDigest: "image", PrefixRule: "prefix", HostRule: "host"}


@dataclass(frozen=True)
class OptOutLeaf:
    """Part `part` of `n_parts` of a claim, as it was made. Places may begin as pending (`heldout.states`)."""

    at: datetime
    claim: str
    assurance: Assurance
    preference: Preference
    subjects: tuple[LoggedSubject, ...]
    part: int = 1
    n_parts: int = 1


@dataclass(frozen=True)
class AssuranceLeaf:
    """What a claimant has shown about a claim, or about some of its subjects, is now this."""

    at: datetime
    claim: str
    assurance: Assurance
    reason: str
    """A code such as `dns-txt`, never free text."""
    positions: tuple[int, ...] | None = None
    """Of the subjects, counted from 0 over all parts, ascending; None for all of them."""


@dataclass(frozen=True)
class StateLeaf:
    """A claim, or some of its subjects, passed into another state."""

    at: datetime
    claim: str
    state: ClaimState
    """Any but `withdrawn`, which has a leaf of its own."""
    reason: str
    """A code such as `evidence`, never free text."""
    positions: tuple[int, ...] | None = None
    """As in `AssuranceLeaf`."""


@dataclass(frozen=True)
class WithdrawLeaf:
    """A claim that no longer holds."""

    at: datetime
    claim: str
    reason: str
    """A code such as `by-claimant`, never free text."""


@dataclass(frozen=True)
class ListLeaf:
    """An exclusion list's version that was published."""

    at: datetime
    version: int
    manifest_sha256: bytes


Leaf = OptOutLeaf | AssuranceLeaf | StateLeaf | WithdrawLeaf | ListLeaf


def format_leaf(leaf: Leaf) -> bytes:
    """The one encoding of a leaf.

    Raises:
        InputError: a value the format cannot hold (no time zone, part of a second, too many subjects, ...).
    """
    data = canonical_json(_to_json(leaf))
    if len(data) > MAX_ENTRY_SIZE:
        raise InputError(f"a leaf of {len(data)} bytes is over {MAX_ENTRY_SIZE}: split the claim into parts")
    try:
        is_exact = _from_json(json.loads(data)) == leaf
    except VerificationError as error:
        raise InputError(str(error)) from error
    if not is_exact:
        raise InputError(f"the leaf {leaf!r:.200} holds a value its encoding would lose: give whole seconds in UTC")
    return data


def parse_leaf(data: bytes) -> Leaf:
    """Inverse of `format_leaf`.

    Raises:
        VerificationError: not a leaf of versions 1 and 2, or not in its one encoding.
    """
    fields = parse_canonical_json(data, "log entry")
    return _from_json(fields)


def kind_of(subject: LoggedSubject) -> SubjectKind:
    """Its kind, as records name it."""
    return _KINDS[type(subject)]


def split_subjects(subjects: Sequence[LoggedSubject]) -> list[tuple[LoggedSubject, ...]]:
    """The subjects in order, in as few parts as leaves can hold."""
    parts: list[tuple[LoggedSubject, ...]] = []
    part: list[LoggedSubject] = []
    n_bytes = 0
    for subject in subjects:
        size = len(canonical_json(_subject_to_json(subject))) + 1
        if len(part) == MAX_SUBJECTS_PER_LEAF or (part and n_bytes + size > MAX_SUBJECT_BYTES_PER_LEAF):
            parts.append(tuple(part))
            part, n_bytes = [], 0
        part.append(subject)
        n_bytes += size
    return [*parts, tuple(part)]


def split_positions(positions: Sequence[int]) -> list[tuple[int, ...]]:
    """The positions in order, in as few parts as leaves can hold."""
    step = MAX_POSITIONS_PER_LEAF
    return [tuple(positions[start : start + step]) for start in range(0, len(positions), step)]


def canonical_json(value: object) -> bytes:
    """Sorted keys, no spaces, UTF-8 without escapes but the necessary ones."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def parse_canonical_json(data: bytes, what: str) -> dict[str, Any]:
    """Object whose canonical JSON is exactly these bytes. Raises VerificationError otherwise."""
    try:
        value = json.loads(data)
        is_canonical = isinstance(value, dict) and canonical_json(value) == data
    except (ValueError, RecursionError) as error:
        raise VerificationError(f"the {what} is not JSON ({error}): it is damaged") from error
    if not is_canonical:
        raise VerificationError(f"the {what} is not canonical JSON (sorted keys, no spaces): it was changed")
    return cast("dict[str, Any]", value)


def format_at(at: datetime) -> str:
    """`2026-11-22T01:02:03Z`. Raises InputError if the time has no zone."""
    if at.tzinfo is None:
        raise InputError(f"the time {at} has no time zone: give UTC")
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ").rjust(20, "0")


def parse_at(text: object) -> datetime:
    """Inverse of `format_at`. Raises VerificationError."""
    try:
        if isinstance(text, str) and _AT.fullmatch(text):
            return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        pass
    raise VerificationError(f"{text!r:.40} is not a time such as 2026-11-22T01:02:03Z")


def _version(leaf: Leaf) -> int:
    """The lowest version that can say it."""
    match leaf:
        case OptOutLeaf():
            return 2 if any(isinstance(subject, PrefixRule | HostRule) for subject in leaf.subjects) else 1
        case AssuranceLeaf() | StateLeaf():
            return 2
        case WithdrawLeaf() | ListLeaf():
            return 1


def _to_json(leaf: Leaf) -> dict[str, object]:
    shared: dict[str, object] = {"at": format_at(leaf.at), "v": _version(leaf)}
    match leaf:
        case OptOutLeaf():
            return shared | {
                "type": "opt-out",
                "claim": leaf.claim,
                "assurance": leaf.assurance,
                "part": [leaf.part, leaf.n_parts],
                "preference": leaf.preference,
                "subjects": [_subject_to_json(subject) for subject in leaf.subjects],
            }
        case AssuranceLeaf():
            changed: dict[str, object] = {"type": "assurance", "assurance": leaf.assurance}
            return shared | changed | _change_to_json(leaf)
        case StateLeaf():
            return shared | {"type": "state", "state": leaf.state} | _change_to_json(leaf)
        case WithdrawLeaf():
            return shared | {"type": "withdraw", "claim": leaf.claim, "reason": leaf.reason}
        case ListLeaf():
            return shared | {"type": "list", "version": leaf.version, "manifest_sha256": leaf.manifest_sha256.hex()}


def _change_to_json(leaf: AssuranceLeaf | StateLeaf) -> dict[str, object]:
    positions = {} if leaf.positions is None else {"subjects": list(leaf.positions)}
    return {"claim": leaf.claim, "reason": leaf.reason, **positions}


def _subject_to_json(subject: LoggedSubject) -> dict[str, object]:
    match subject:
        case UrlDigest():
            return {"kind": "url", "key": subject.key.hex()}
        case ImageDigest():
            sha256 = {} if subject.sha256 is None else {"sha256": subject.sha256.hex()}
            return {"kind": "image", "pdq": subject.pdq.hex(), "quality": subject.quality, **sha256}
        case PrefixRule():
            return {"kind": "prefix", "prefix": subject.prefix}
        case HostRule():
            return {"kind": "host", "host": subject.host}


def _from_json(fields: Mapping[str, Any]) -> Leaf:
    version = fields.get("v")
    if type(version) is not int or version not in {1, 2}:
        raise VerificationError(f"the log entry has version {version!r:.40}: this program reads versions 1 and 2")
    leaf = _leaf_from_json(fields)
    if version != _version(leaf):
        raise VerificationError(
            f"the log entry of type {fields['type']} has version {version}: what it says is said in {_version(leaf)}"
        )
    return leaf


def _leaf_from_json(fields: Mapping[str, Any]) -> Leaf:
    kind = fields.get("type")
    match kind:
        case "opt-out":
            _check_keys(fields, {"assurance", "claim", "part", "preference", "subjects"})
            return _opt_out_from_json(fields)
        case "assurance":
            _check_keys(fields, {"assurance", "claim", "reason"}, {"subjects"})
            assurance: Assurance = _one_of(ASSURANCES, fields["assurance"], "assurance")
            return AssuranceLeaf(
                at=parse_at(fields["at"]),
                claim=_matching(_CLAIM_ID, fields["claim"], "claim"),
                assurance=assurance,
                reason=_matching(_CODE, fields["reason"], "reason"),
                positions=_positions(fields),
            )
        case "state":
            _check_keys(fields, {"state", "claim", "reason"}, {"subjects"})
            state: ClaimState = _one_of(CLAIM_STATES[:-1], fields["state"], "state")
            return StateLeaf(
                at=parse_at(fields["at"]),
                claim=_matching(_CLAIM_ID, fields["claim"], "claim"),
                state=state,
                reason=_matching(_CODE, fields["reason"], "reason"),
                positions=_positions(fields),
            )
        case "withdraw":
            _check_keys(fields, {"claim", "reason"})
            reason = _matching(_CODE, fields["reason"], "reason")
            return WithdrawLeaf(parse_at(fields["at"]), _matching(_CLAIM_ID, fields["claim"], "claim"), reason)
        case "list":
            _check_keys(fields, {"version", "manifest_sha256"})
            digest = _digest(fields["manifest_sha256"], "manifest_sha256")
            return ListLeaf(parse_at(fields["at"]), _integer(fields["version"], "version", 1, 2**53), digest)
    raise VerificationError(
        f"the log entry has type {kind!r:.40}: expected opt-out, assurance, state, withdraw or list"
    )


def _opt_out_from_json(fields: Mapping[str, Any]) -> OptOutLeaf:
    part, subjects = fields["part"], fields["subjects"]
    if not (isinstance(part, list) and len(part) == 2):
        raise VerificationError("the log entry's part is not [i, n]")
    n_parts = _integer(part[1], "number of parts", 1, 2**31)
    if not (isinstance(subjects, list) and 1 <= len(subjects) <= MAX_SUBJECTS_PER_LEAF):
        raise VerificationError(f"the log entry does not have 1 to {MAX_SUBJECTS_PER_LEAF} subjects")
    return OptOutLeaf(
        at=parse_at(fields["at"]),
        claim=_matching(_CLAIM_ID, fields["claim"], "claim"),
        assurance=_one_of(ASSURANCES, fields["assurance"], "assurance"),
        preference=_one_of(PREFERENCES, fields["preference"], "preference"),
        subjects=tuple(_subject_from_json(subject) for subject in subjects),
        part=_integer(part[0], "part", 1, n_parts),
        n_parts=n_parts,
    )


def _positions(fields: Mapping[str, Any]) -> tuple[int, ...] | None:
    if "subjects" not in fields:
        return None
    given = fields["subjects"]
    if not (isinstance(given, list) and 1 <= len(given) <= MAX_POSITIONS_PER_LEAF):
        raise VerificationError(f"the log entry does not name 1 to {MAX_POSITIONS_PER_LEAF} subjects")
    positions = tuple(_integer(each, "subject", 0, 2**31) for each in given)
    if any(one >= other for one, other in pairwise(positions)):
        raise VerificationError("the log entry names its subjects out of order or twice")
    return positions


def _subject_from_json(fields: object) -> LoggedSubject:
    match fields:
        case {"kind": "url", "key": key, **rest} if not rest:
            return UrlDigest(_digest(key, "key"))
        case {"kind": "image", "pdq": pdq, "quality": quality, **rest} if set(rest) <= {"sha256"}:
            sha256 = _digest(rest["sha256"], "sha256") if rest else None
            return ImageDigest(_digest(pdq, "pdq"), _integer(quality, "quality", 0, 100), sha256)
        case {"kind": "prefix", "prefix": str(prefix), **rest} if not rest and len(prefix) <= MAX_PREFIX_BYTES:
            return PrefixRule(_matching(_PREFIX, prefix, "prefix"))
        case {"kind": "host", "host": str(host), **rest} if not rest and len(host) <= MAX_HOST_BYTES:
            return HostRule(_matching(_HOST, host, "host"))
    raise VerificationError(f"{fields!r:.100} is not a subject of kind url, image, prefix or host")


def _check_keys(fields: Mapping[str, Any], own: set[str], optional: frozenset[str] | set[str] = frozenset()) -> None:
    if set(fields) - optional != own | {"at", "type", "v"}:
        raise VerificationError(
            f"the log entry of type {fields['type']} has the fields {sorted(fields)!r:.200}: not these"
        )


def _one_of(known: Sequence[_T], value: object, name: str) -> _T:
    for each in known:
        if each == value:
            return each
    raise VerificationError(f"the log entry's {name} is {value!r:.40}: this program does not know it")


def _matching(pattern: re.Pattern[str], value: object, name: str) -> str:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise VerificationError(f"the log entry's {name} is {value!r:.80}: it does not match {pattern.pattern}")
    return value


def _digest(value: object, name: str) -> bytes:
    return bytes.fromhex(_matching(_HEX256, value, name))


def _integer(value: object, name: str, low: int, high: int) -> int:
    if type(value) is not int or not low <= value <= high:
        raise VerificationError(f"the log entry's {name} is {value!r:.40}: expected {low} to {high}")
    return value
