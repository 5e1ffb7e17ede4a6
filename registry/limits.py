"""How much one account or one network address may claim or dispute in a day.

A missed opt-out costs an artist her work, so a claim beyond the limit is stored all the same and held for review; only
what no portfolio explains is refused. A dispute beyond its limit is refused: it can be filed tomorrow, and nothing is
lost meanwhile. Network addresses come as keyed digests; rows are kept for a day.
Takes a Session whose transaction the caller opened.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from heldout.errors import TooOftenError
from registry.tables import UseRow

SPAN: Final = timedelta(days=1)
REFUSE_FACTOR: Final = 5
"""Times the limit beyond which claims are no longer stored: a queue that nobody can review helps nobody."""

NETWORK_FACTOR: Final = 5
"""Times an account's limit, for all accounts that claim from one network address together: else the limit is only as
good as making accounts is slow."""

MAX_DROPPED: Final = 500
"""Old rows that are dropped at a time: more than come in."""

Verdict = Literal["fine", "held"]


@dataclass(frozen=True)
class Limits:
    """Per day. A portfolio of 10,000 pictures, each with its address, is two claims and 20,000 subjects."""

    claims: int = 200
    """By one network address without an account: a class in a school's network, too."""
    subjects: int = 40_000
    """The same: two such portfolios."""
    account_claims: int = 2_000
    """By one account: a script that makes one for each work."""
    account_subjects: int = 200_000
    """By one account: an agency's."""
    disputes: int = 10
    """By one account, and by one network address."""


def account_digest(account_id: str) -> bytes:
    """Who an account is in `uses`."""
    return hashlib.sha256(f"account {account_id}".encode()).digest()


def check_claim(
    session: Session, *, account_id: str | None, client: bytes | None, n_subjects: int, now: datetime, limits: Limits
) -> Verdict:
    """Count a claim that is about to be made, and say whether it is taken as it is or held.

    Raises:
        TooOftenError: it is over `REFUSE_FACTOR` times the limit.
    """
    counted: list[tuple[bytes, int, int]] = []
    if account_id is not None:
        claims, subjects = limits.account_claims, limits.account_subjects
        counted.append((account_digest(account_id), claims, subjects))
        if client is not None:
            counted.append((_accounts_of(client), NETWORK_FACTOR * claims, NETWORK_FACTOR * subjects))
    elif client is not None:
        counted.append((client, limits.claims, limits.subjects))
    if counted:
        _drop_old(session, now)
    verdicts = [_count_claim(session, *each, n_subjects=n_subjects, now=now) for each in counted]
    return "held" if "held" in verdicts else "fine"


def _count_claim(
    session: Session, who: bytes, most_claims: int, most_subjects: int, *, n_subjects: int, now: datetime
) -> Verdict:
    n_claims, n_before, oldest = _used(session, who, "claim", now)
    n_claims, n_after = n_claims + 1, n_before + n_subjects
    if n_claims > REFUSE_FACTOR * most_claims or n_after > REFUSE_FACTOR * most_subjects:
        raise TooOftenError(
            f"this would be {n_after:,} works and places in {n_claims:,} claims within a day, more than we take from "
            "one account or network: nothing was stored; go on tomorrow, or write to us about so large a collection",
            retry_after_s=_wait_s(oldest, now),
        )
    _note(session, who, "claim", n_subjects, now)
    return "held" if n_claims > most_claims or n_after > most_subjects else "fine"


def check_dispute(session: Session, *, account_id: str, client: bytes | None, now: datetime, limits: Limits) -> None:
    """Count a dispute that is about to be filed.

    Raises:
        TooOftenError: too many within a day.
    """
    _drop_old(session, now)
    everybody = [account_digest(account_id), *([] if client is None else [client])]
    for who in everybody:
        n_filed, _, oldest = _used(session, who, "dispute", now)
        if n_filed >= limits.disputes:
            raise TooOftenError(
                f"{n_filed} disputes were filed from here within a day, which is the limit: file the next one tomorrow",
                retry_after_s=_wait_s(oldest, now),
            )
    for who in everybody:
        _note(session, who, "dispute", 1, now)


def _accounts_of(client: bytes) -> bytes:
    """Who all accounts that claim from a network address are in `uses`."""
    return hashlib.sha256(b"accounts " + client).digest()


def forget(session: Session, account_id: str) -> None:
    """Drop what was counted of an account that is deleted."""
    session.execute(delete(UseRow).where(UseRow.who == account_digest(account_id)))


def _drop_old(session: Session, now: datetime) -> None:
    """Forget what no longer counts."""
    old = select(UseRow.id).where(UseRow.at <= now - SPAN).limit(MAX_DROPPED).with_for_update(skip_locked=True)
    session.execute(delete(UseRow).where(UseRow.id.in_(session.scalars(old).all())))  # what others drop is theirs


def _used(session: Session, who: bytes, what: str, now: datetime) -> tuple[int, int, datetime | None]:
    """How often, how many subjects, and since when, within the last day."""
    query = select(func.count(), func.sum(UseRow.n), func.min(UseRow.at))
    is_counted = (UseRow.who == who) & (UseRow.what == what) & (UseRow.at > now - SPAN)
    n, total, oldest = session.execute(query.where(is_counted)).one()
    return n, total or 0, oldest


def _note(session: Session, who: bytes, what: str, n: int, now: datetime) -> None:
    session.add(UseRow(who=who, what=what, n=n, at=now))
    session.flush()


def _wait_s(oldest: datetime | None, now: datetime) -> int:
    return max(60, int(((oldest or now) + SPAN - now).total_seconds()))
