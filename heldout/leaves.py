"""The log's entries: opt-out, withdraw and list, as canonical JSON. What is in the log is here, and nothing else is.

Canonical JSON: UTF-8, keys sorted, no spaces, only objects, arrays, strings and integers. A leaf has one encoding;
`parse_leaf` refuses any other. No URL's text and no personal data: a URL is the SHA-256 of its canonical key.
Normative description and vectors: docs/formats/log.md.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

from heldout.errors import InputError, VerificationError
from heldout.records import ASSURANCES, Assurance, Preference
from heldout.tiles import MAX_ENTRY_SIZE

MAX_SUBJECTS_PER_LEAF = 300
"""An image subject has at most 190 bytes, so that a full leaf stays under 58,000 of the 65,535 an entry may have."""
PREFERENCES: tuple[Preference, ...] = ("train-ai=n", "train-ai=y")
"""The position is the code used in the exclusion list's files."""

_CLAIM_ID = re.compile(r"[0-9a-z]{8,64}", re.ASCII)
_CODE = re.compile(r"[a-z][a-z0-9-]{0,31}", re.ASCII)
_HEX256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
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


SubjectDigest = UrlDigest | ImageDigest


@dataclass(frozen=True)
class OptOutLeaf:
    """Part `part` of `n_parts` of a claim that came into force."""

    at: datetime
    claim: str
    assurance: Assurance
    preference: Preference
    subjects: tuple[SubjectDigest, ...]
    part: int = 1
    n_parts: int = 1


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


Leaf = OptOutLeaf | WithdrawLeaf | ListLeaf


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
        VerificationError: not a leaf of this version, or not in its one encoding.
    """
    fields = parse_canonical_json(data, "log entry")
    return _from_json(fields)


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


def _to_json(leaf: Leaf) -> dict[str, object]:
    shared: dict[str, object] = {"at": format_at(leaf.at), "v": 1}
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
        case WithdrawLeaf():
            return shared | {"type": "withdraw", "claim": leaf.claim, "reason": leaf.reason}
        case ListLeaf():
            return shared | {"type": "list", "version": leaf.version, "manifest_sha256": leaf.manifest_sha256.hex()}


def _subject_to_json(subject: SubjectDigest) -> dict[str, object]:
    match subject:
        case UrlDigest():
            return {"kind": "url", "key": subject.key.hex()}
        case ImageDigest():
            sha256 = {} if subject.sha256 is None else {"sha256": subject.sha256.hex()}
            return {"kind": "image", "pdq": subject.pdq.hex(), "quality": subject.quality, **sha256}


def _from_json(fields: Mapping[str, Any]) -> Leaf:
    kind = fields.get("type")
    if fields.get("v") != 1 or type(fields.get("v")) is not int:
        raise VerificationError(f"the log entry has version {fields.get('v')!r:.40}: this program reads version 1")
    match kind:
        case "opt-out":
            _check_keys(fields, {"assurance", "claim", "part", "preference", "subjects"})
            return _opt_out_from_json(fields)
        case "withdraw":
            _check_keys(fields, {"claim", "reason"})
            reason = _matching(_CODE, fields["reason"], "reason")
            return WithdrawLeaf(parse_at(fields["at"]), _matching(_CLAIM_ID, fields["claim"], "claim"), reason)
        case "list":
            _check_keys(fields, {"version", "manifest_sha256"})
            digest = _digest(fields["manifest_sha256"], "manifest_sha256")
            return ListLeaf(parse_at(fields["at"]), _integer(fields["version"], "version", 1, 2**53), digest)
    raise VerificationError(f"the log entry has type {kind!r:.40}: expected opt-out, withdraw or list")


def _opt_out_from_json(fields: Mapping[str, Any]) -> OptOutLeaf:
    part, subjects = fields["part"], fields["subjects"]
    if not (isinstance(part, list) and len(part) == 2):
        raise VerificationError("the log entry's part is not [i, n]")
    n_parts = _integer(part[1], "number of parts", 1, 2**31)
    if not (isinstance(subjects, list) and 1 <= len(subjects) <= MAX_SUBJECTS_PER_LEAF):
        raise VerificationError(f"the log entry does not have 1 to {MAX_SUBJECTS_PER_LEAF} subjects")
    if fields["assurance"] not in ASSURANCES or fields["preference"] not in PREFERENCES:
        raise VerificationError(
            f"the log entry has assurance {fields['assurance']!r:.40} and preference {fields['preference']!r:.40}: "
            "this program does not know them"
        )
    return OptOutLeaf(
        at=parse_at(fields["at"]),
        claim=_matching(_CLAIM_ID, fields["claim"], "claim"),
        assurance=fields["assurance"],
        preference=fields["preference"],
        subjects=tuple(_subject_from_json(subject) for subject in subjects),
        part=_integer(part[0], "part", 1, n_parts),
        n_parts=n_parts,
    )


def _subject_from_json(fields: object) -> SubjectDigest:
    match fields:
        case {"kind": "url", "key": key, **rest} if not rest:
            return UrlDigest(_digest(key, "key"))
        case {"kind": "image", "pdq": pdq, "quality": quality, **rest} if set(rest) <= {"sha256"}:
            sha256 = _digest(rest["sha256"], "sha256") if rest else None
            return ImageDigest(_digest(pdq, "pdq"), _integer(quality, "quality", 0, 100), sha256)
    raise VerificationError(f"{fields!r:.100} is not a subject of kind url or image")


def _check_keys(fields: Mapping[str, Any], own: set[str]) -> None:
    if set(fields) != own | {"at", "type", "v"}:
        raise VerificationError(
            f"the log entry of type {fields['type']} has the fields {sorted(fields)!r:.200}: not these"
        )


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
