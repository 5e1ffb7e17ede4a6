"""Small makers of what the tests are about."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from heldout.leaves import ImageDigest, ListLeaf, SubjectDigest, UrlDigest
from heldout.records import ClaimRequest, ImageSubject, Sample, Subject, UrlSubject
from registry.db import Sessions
from registry.replay import LoggedClaim, LogState
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
    subjects: dict[str, list[SubjectDigest]] = {}
    for row in session.scalars(select(SubjectRow).order_by(SubjectRow.claim_id, SubjectRow.position)):
        digest: SubjectDigest
        if row.kind == "url":
            assert row.digest is not None
            digest = UrlDigest(row.digest)
        else:
            assert row.pdq is not None
            assert row.quality is not None
            digest = ImageDigest(row.pdq, row.quality, row.sha256)
        subjects.setdefault(row.claim_id, []).append(digest)
    claims = {
        row.id: LoggedClaim(row.state, row.preference, row.assurance, row.received_at, tuple(subjects[row.id]))  # type: ignore[arg-type]
        for row in session.scalars(select(ClaimRow))
    }
    lists = {
        row.version: ListLeaf(row.published_at, row.version, row.manifest_sha256)
        for row in session.scalars(select(ListRow))
    }
    return LogState(claims, lists)
