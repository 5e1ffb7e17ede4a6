"""Mails owed to the two sides of a dispute: noted in the transaction that gives the reason, sent where a mailer is.

A mail says that there is something to read, and where; what was said is not in it, so that nobody is insulted through
us. Addresses are looked up when it is sent: one that was erased meanwhile gets nothing. Takes a Session whose
transaction the caller opened.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal, cast

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from heldout.errors import InputError
from registry.sign_in import parse_email
from registry.tables import AccountRow, ClaimantRow, DisputeRow, NoticeRow

Side = Literal["claimant", "disputer"]
About = Literal["filed", "answered", "decided"]

MAX_TRIES: Final = 8
LEASE: Final = timedelta(minutes=10)
"""After which a mail whose sender died is sent by another, doubled with each try: eight take some 40 hours."""


@dataclass(frozen=True)
class Notice:
    """A mail to send."""

    id: int
    to: str
    side: Side
    about: About
    claim_id: str
    dispute_id: str
    answer_due_at: datetime
    has_account: bool
    """Whether its reader finds the dispute by signing in; else by the claim's private address."""


def owe(session: Session, dispute_id: str, side: str, about: About, *, now: datetime) -> None:
    """Note that somebody is to be told."""
    session.add(NoticeRow(dispute_id=dispute_id, side=side, about=about, due_at=now, n_tries=0))
    session.flush()


def take_due(session: Session, *, now: datetime, limit: int = 20) -> list[Notice]:
    """Mails whose time has come; one that is not reported sent comes up again. Those without an address are dropped."""
    rows = session.scalars(
        select(NoticeRow)
        .where(NoticeRow.due_at <= now)
        .order_by(NoticeRow.due_at, NoticeRow.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    ).all()
    taken = []
    for row in rows:
        notice = _notice(session, row)
        if notice is None or row.n_tries >= MAX_TRIES:
            session.delete(row)
            continue
        row.due_at, row.n_tries = now + LEASE * 2**row.n_tries, row.n_tries + 1
        taken.append(notice)
    session.flush()
    return taken


def sent(session: Session, notice_id: int) -> None:
    """It is no longer owed."""
    session.execute(delete(NoticeRow).where(NoticeRow.id == notice_id))


def forget(session: Session, dispute_ids: Sequence[str]) -> None:
    """Nobody is to be told about these any more."""
    session.execute(delete(NoticeRow).where(NoticeRow.dispute_id.in_(dispute_ids)))


def _notice(session: Session, row: NoticeRow) -> Notice | None:
    dispute = session.get_one(DisputeRow, row.dispute_id, populate_existing=True)
    claimant = session.get_one(ClaimantRow, dispute.claim_id, populate_existing=True)
    account_id = dispute.account_id if row.side == "disputer" else claimant.account_id
    account = None if account_id is None else session.get(AccountRow, account_id, populate_existing=True)
    contact = claimant.contact if row.side == "claimant" else None
    to = account.email if account is not None else _address(contact)
    if to is None:
        return None
    return Notice(
        id=row.id,
        to=to,
        side=cast("Side", row.side),
        about=cast("About", row.about),
        claim_id=dispute.claim_id,
        dispute_id=dispute.id,
        answer_due_at=dispute.answer_due_at,
        has_account=account is not None,
    )


def _address(contact: str | None) -> str | None:
    """A claimant's contact, where it is an e-mail address."""
    try:
        return None if contact is None else parse_email(contact)
    except InputError:
        return None
