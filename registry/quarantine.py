"""Fingerprints that are nobody's own work: held for a reviewer instead of keeping strangers' pictures out of training.

Two ways. Without looking at any index, when a claim is made: the fingerprint itself is of next to nothing, or was found
to be nobody's before. And by the indexes, when one is new or a claim is: `scan` asks whoever has them
(`web.quarantine`) at how many unrelated sites a picture is and whether it is flat. Only fingerprints are held:
addresses of the same claim count as before, since one address keeps out no more than itself. docs/disputes.md has the
figures.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, cast

import numpy as np
import numpy.typing as npt
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from heldout.fingerprints import MATCH_DISTANCE, PDQ_BYTES, distances
from heldout.states import EFFECTIVE
from registry.claim_history import history
from registry.claims import locked_claim
from registry.db import Sessions, transaction
from registry.tables import CommonPictureRow, PictureScanRow, SubjectRow
from registry.transitions import SHOWN_OF_ITSELF, change_state

Reason = Literal["too-plain", "too-many-hosts"]

MIN_CLAIM_QUALITY: Final = 10
"""PDQ quality under which a picture has next to nothing in it. Below `MIN_QUALITY` (50) only the very file is matched,
which hurts nobody but where the file is everybody's: a white square, a one-pixel gif. The plainest picture of the
bundled collection has 63."""
MANY_DOMAINS: Final = 100
"""Registered domains that have the picture, from which it is taken for nobody's. The most copied work of the bundled
collection is on 7, and works are widely copied: far above, since holding a work that is somebody's costs the artist."""
MANY_DOMAINS_FLAT: Final = 20
"""The same of a picture that is mostly flat, as logos and signs are. So are silhouettes that artists draw, one picture
in a hundred of the bundled collection: hence never for flatness alone."""
BATCH: Final = 200


@dataclass(frozen=True)
class Thresholds:
    """From how many registered domains a fingerprint is held."""

    many: int = MANY_DOMAINS
    many_flat: int = MANY_DOMAINS_FLAT


@dataclass(frozen=True)
class Claimed:
    """A picture that somebody claims."""

    subject: int
    claim: str
    position: int
    pdq: bytes
    quality: int
    sha256: bytes | None


@dataclass(frozen=True)
class Found:
    """Where the indexes have a picture."""

    n_domains: int
    is_flat: bool


Look = Callable[[Sequence[Claimed]], Sequence[Found]]


@dataclass(frozen=True)
class Scanned:
    """What a run did."""

    n_looked_up: int = 0
    n_held: int = 0


def held_at_claim(session: Session, claim_id: str) -> dict[Reason, list[int]]:
    """Positions of a new claim's fingerprints that are nobody's, by why."""
    query = select(SubjectRow.position, SubjectRow.pdq, SubjectRow.quality)
    rows = session.execute(
        query.where(SubjectRow.claim_id == claim_id, SubjectRow.kind == "image", SubjectRow.state.in_(EFFECTIVE))
    ).all()
    if not rows:
        return {}
    held: dict[Reason, list[int]] = {"too-plain": [], "too-many-hosts": []}
    known = _known(session)
    for position, pdq, quality in rows:
        reason = known.judged(pdq or b"")
        if reason is None and (quality or 0) < MIN_CLAIM_QUALITY:
            reason = "too-plain"
        if reason is not None and reason != "released":
            held[reason].append(position)
    return {reason: positions for reason, positions in held.items() if positions}


def scan(
    sessions: Sessions, generations: str, look: Look, *, now: Callable[[], datetime], thresholds: Thresholds
) -> Scanned:
    """Look up claimed pictures in the indexes: all of them in new indexes, else those claimed since.

    Goes on where the last run stopped, a batch a transaction; looking is outside of any.

    Args:
        sessions: of the registry's database.
        generations: names the indexes; another text is other indexes.
        look: says where a picture is.
        now: goes into the log.
        thresholds: from which a picture is held.
    """
    total = Scanned()
    while batch := _next_batch(sessions, generations):
        found = look(batch)
        with transaction(sessions) as session:
            n_held = _record(session, batch, found, now=now(), thresholds=thresholds)
            _set_progress(session, generations, batch[-1].subject)
        total = Scanned(total.n_looked_up + len(batch), total.n_held + n_held)
    return total


def release_pictures(
    session: Session, pictures: Collection[bytes], *, common: Collection[bytes], now: datetime
) -> None:
    """Note that fingerprints are somebody's after all: no scan holds them, or what is near, again.

    Args:
        session: in a transaction.
        pictures: released by a reviewer; those never found to be nobody's are left alone.
        common: those of them that were held for that.
        now: is noted.
    """
    for pdq in sorted(pictures):
        row = session.get(CommonPictureRow, pdq, populate_existing=True)
        if row is not None:
            row.released_at = now
        elif pdq in common:
            session.add(CommonPictureRow(pdq=pdq, n_domains=0, reason="too-plain", seen_at=now, released_at=now))
    session.flush()


def hold_pictures(session: Session, pictures: Collection[bytes], *, reason: Reason, now: datetime) -> None:
    """Note that these are nobody's: new claims of them are held at once.

    Not for pictures that were held for the quality their claimant gave: anybody can say that another's work is plain.
    What really is gives that quality whenever it is claimed.
    """
    for pdq in sorted(pictures):
        if session.get(CommonPictureRow, pdq) is None:
            session.add(CommonPictureRow(pdq=pdq, n_domains=0, reason=reason, seen_at=now))
    session.execute(update(CommonPictureRow).where(CommonPictureRow.pdq.in_(pictures)).values(released_at=None))
    session.flush()


@dataclass(frozen=True)
class _Known:
    """Fingerprints that were judged before."""

    pdq: npt.NDArray[np.uint8]
    """(n, 32) uint8."""
    reasons: list[Reason]
    released: npt.NDArray[np.bool_]

    def judged(self, pdq: bytes) -> Reason | Literal["released"] | None:
        """Why a picture is nobody's, or that a reviewer said it is somebody's; None where nothing is known."""
        if not self.reasons:
            return None
        near = distances(np.frombuffer(pdq, np.uint8).reshape(1, -1), self.pdq)[0] <= MATCH_DISTANCE
        if (near & self.released).any():
            return "released"
        return self.reasons[int(np.flatnonzero(near)[0])] if near.any() else None


def _known(session: Session) -> _Known:
    rows = session.execute(select(CommonPictureRow.pdq, CommonPictureRow.reason, CommonPictureRow.released_at)).all()
    pdq = np.frombuffer(b"".join(row.pdq for row in rows), np.uint8).reshape(-1, PDQ_BYTES)
    released = np.array([row.released_at is not None for row in rows], bool)
    return _Known(pdq, [cast("Reason", row.reason) for row in rows], released)


def _next_batch(sessions: Sessions, generations: str) -> list[Claimed]:
    with transaction(sessions) as session:
        progress = session.get(PictureScanRow, 1)
        up_to = progress.up_to if progress is not None and progress.generations == generations else 0
        rows = session.scalars(
            select(SubjectRow)
            .where(SubjectRow.id > up_to, SubjectRow.kind == "image", SubjectRow.state.in_(EFFECTIVE))
            .where(SubjectRow.assurance.not_in(SHOWN_OF_ITSELF))
            .order_by(SubjectRow.id)
            .limit(BATCH)
        )
        return [
            Claimed(row.id, row.claim_id, row.position, row.pdq or b"", row.quality or 0, row.sha256) for row in rows
        ]


def _set_progress(session: Session, generations: str, up_to: int) -> None:
    progress = session.get(PictureScanRow, 1, populate_existing=True)
    if progress is None:
        session.add(PictureScanRow(id=1, generations=generations, up_to=up_to))
    elif progress.generations != generations or progress.up_to < up_to:
        progress.generations, progress.up_to = generations, up_to
    session.flush()


def _record(
    session: Session, batch: Sequence[Claimed], found: Sequence[Found], *, now: datetime, thresholds: Thresholds
) -> int:
    """Hold what is at too many sites. How many fingerprints were held."""
    known = _known(session)
    held: dict[tuple[str, Reason], list[int]] = {}
    for claimed, where in zip(batch, found, strict=True):
        reason = _judge(where, thresholds)
        if reason is None or known.judged(claimed.pdq) == "released":
            continue
        row = session.get(CommonPictureRow, claimed.pdq)
        if row is None:
            row = CommonPictureRow(pdq=claimed.pdq, n_domains=where.n_domains, reason=reason, seen_at=now)
            session.add(row)
        row.n_domains, row.reason, row.seen_at = where.n_domains, reason, now
        held.setdefault((claimed.claim, reason), []).append(claimed.position)
    n_held = 0
    for (claim_id, reason), positions in sorted(held.items()):
        locked_claim(session, claim_id)
        still = _holdable(session, claim_id, positions)
        if still:
            change_state(session, claim_id, "quarantined", reason=reason, now=now, positions=still)
            n_held += len(still)
    return n_held


def _judge(where: Found, thresholds: Thresholds) -> Reason | None:
    if where.n_domains >= thresholds.many:
        return "too-many-hosts"
    return "too-plain" if where.is_flat and where.n_domains >= thresholds.many_flat else None


def _holdable(session: Session, claim_id: str, positions: Collection[int]) -> set[int]:
    """Those that still count, and that no reviewer has brought back before (a rebuilt database knows no releases)."""
    query = select(SubjectRow.position).where(SubjectRow.claim_id == claim_id, SubjectRow.state.in_(EFFECTIVE))
    still = set(session.scalars(query.where(SubjectRow.assurance.not_in(SHOWN_OF_ITSELF)))) & set(positions)
    for each in history(session, claim_id):
        if each.what == "state" and each.became == "in_force" and each.reason == "review":
            still -= set(still if each.positions is None else each.positions)
    return still
