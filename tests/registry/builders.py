"""Small makers of what the tests are about."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from heldout.leaves import HostRule, ImageDigest, ListLeaf, LoggedSubject, PrefixRule, UrlDigest
from heldout.records import ClaimRequest, HostSubject, ImageSubject, PrefixSubject, Sample, Subject, UrlSubject
from heldout.replay import LoggedClaim, LogState
from registry.db import Sessions
from registry.tables import ClaimRow, EventRow, ListRow, SubjectRow

ORIGIN = "registry.example/log"


@dataclass
class Clock:
    """A clock that goes when told."""

    now: datetime = field(default_factory=lambda: datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC))

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **amount: float) -> None:
        self.now += timedelta(**amount)


def digest(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


def url(name: str) -> UrlSubject:
    return UrlSubject(url=f"https://jane.example/{name}.jpg")


def image(name: str, *, quality: int = 90, with_sha256: bool = True) -> ImageSubject:
    sha256 = digest(f"{name}.jpg").hex() if with_sha256 else None
    return ImageSubject(pdq=digest(name).hex(), quality=quality, sha256=sha256)


def host(name: str = "jane.example") -> HostSubject:
    return HostSubject(host=name)


def prefix(name: str = "https://art.example/jane") -> PrefixSubject:
    return PrefixSubject(prefix=name)


def request(*subjects: Subject, **fields: object) -> ClaimRequest:
    return ClaimRequest.model_validate({"subjects": list(subjects) or [url("picture")], **fields})


def sample(position: int = 0, **fields: object) -> Sample:
    blank: dict[str, object] = dict.fromkeys(
        ["url", "host", "caption", "width", "height", "sha256", "pdq", "pdq_quality"]
    )
    return Sample.model_validate(
        {"dataset": "d", "id": position, "key": str(position), "status": "ok", **blank, **fields}
    )


def add_entries(sessions: Sessions, payloads: Sequence[bytes]) -> None:
    """Events whose payloads mean nothing: the sequencer does not look into them."""
    with sessions.begin() as session:
        for payload in payloads:  # one by one: ids in this order
            session.add(EventRow(kind="list", payload=payload))
            session.flush()


def tables(session: Session) -> LogState:
    """What the tables say, in the form a replay of the log gives."""
    claims = {
        row.id: LoggedClaim(row.preference, row.received_at, [], [], [])  # type: ignore[arg-type]
        for row in session.scalars(select(ClaimRow))
    }
    for row in session.scalars(select(SubjectRow).order_by(SubjectRow.claim_id, SubjectRow.position)):
        claim = claims[row.claim_id]
        assert row.position == len(claim.subjects)
        claim.subjects.append(subject_of(row))
        claim.states.append(row.state)  # type: ignore[arg-type]
        claim.assurances.append(row.assurance)  # type: ignore[arg-type]
    summed = {row.id: (row.state, row.assurance) for row in session.scalars(select(ClaimRow))}
    assert summed == {claim_id: (claim.state, claim.assurance) for claim_id, claim in claims.items()}
    lists = {
        row.version: ListLeaf(row.published_at, row.version, row.manifest_sha256)
        for row in session.scalars(select(ListRow))
    }
    return LogState(claims, lists)


def subject_of(row: SubjectRow) -> LoggedSubject:
    """A subject's row as the log has it."""
    match row.kind:
        case "url":
            assert row.digest is not None
            return UrlDigest(row.digest)
        case "prefix":
            assert row.rule is not None
            return PrefixRule(row.rule)
        case "host":
            assert row.rule is not None
            return HostRule(row.rule)
    assert row.pdq is not None
    assert row.quality is not None
    return ImageDigest(row.pdq, row.quality, row.sha256)
