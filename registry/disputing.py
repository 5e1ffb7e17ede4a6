"""Disputes as one object, for their two sides: file, answer, take back, read; and what is due. Used as `Proving` is."""

import logging
from collections.abc import Callable
from datetime import datetime
from typing import Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from heldout.records import Dispute, DisputePage, DisputeRequest
from registry import disputes, notices
from registry.claim_secrets import ClaimSecrets
from registry.claims import check_may_change, may_change
from registry.db import Sessions, transaction
from registry.disputes import Deadlines
from registry.limits import Limits
from registry.notices import Notice
from registry.tables import DisputeRow, SubjectRow

logger = logging.getLogger(__name__)


class Disputing:
    """A registry's disputes.

    Args:
        sessions: of the registry's database.
        reading: the same, read only.
        clock: aware time.
        secrets: of claims without an account.
        limits: of a day.
        on_change: called when the log has something new.
        deadlines: for answers and decisions.
    """

    def __init__(
        self,
        sessions: Sessions,
        reading: Sessions,
        clock: Callable[[], datetime],
        *,
        secrets: ClaimSecrets,
        limits: Limits,
        on_change: Callable[[], None],
        deadlines: Deadlines | None = None,
    ) -> None:
        self._sessions = sessions
        self._reading = reading
        self._clock = clock
        self._secrets = secrets
        self._limits = limits
        self._on_change = on_change
        self.deadlines = deadlines or Deadlines()

    def file(
        self,
        request: DisputeRequest,
        account_id: str,
        *,
        client: bytes | None = None,
        idempotency_key: str | None = None,
    ) -> Dispute:
        """As `registry.disputes.file`."""
        with transaction(self._sessions) as session:
            row = disputes.file(
                session,
                request,
                account_id,
                now=self._clock(),
                client=client,
                idempotency_key=idempotency_key,
                limits=self._limits,
                deadlines=self.deadlines,
            )
            (record,) = disputes.records(session, [row], is_party=True)
        self._on_change()
        return record

    def answer(
        self, dispute_id: str, text: str, *, account_id: str | None = None, secret: str | None = None
    ) -> Dispute:
        """The claimant's statement. Raises as `registry.disputes.answer`, and AccessError: not the claimant."""
        with transaction(self._sessions) as session:
            claim_id = disputes.get_dispute(session, dispute_id).claim_id
            has_secret = self._secrets.is_of(claim_id, secret)
            check_may_change(session, claim_id, account_id=account_id, has_secret=has_secret)
            row = disputes.answer(session, dispute_id, text, now=self._clock())
            (record,) = disputes.records(session, [row], is_party=True)
        return record

    def withdraw(self, dispute_id: str, *, account_id: str | None) -> Dispute:
        """Take it back. Raises as `registry.disputes.withdraw_dispute`, and AccessError: filed by somebody else."""
        with transaction(self._sessions) as session:
            disputes.check_is_filed_by(disputes.get_dispute(session, dispute_id), account_id)
            row = disputes.withdraw_dispute(session, dispute_id, now=self._clock())
            (record,) = disputes.records(session, [row], is_party=True)
        self._on_change()
        return record

    def get(self, dispute_id: str, *, account_id: str | None = None, secret: str | None = None) -> Dispute:
        """A dispute; with what was said, for its two sides. Raises NotFoundError."""
        with transaction(self._reading) as session:
            row = disputes.get_dispute(session, dispute_id)
            side = self._side(session, row, account_id, secret)
            (record,) = disputes.records(session, [row], is_party=side is not None)
            return record

    def side_of(
        self, dispute_id: str, *, account_id: str | None = None, secret: str | None = None
    ) -> Literal["claimant", "disputer"] | None:
        """Which side somebody is on; None for everybody else. Raises NotFoundError."""
        with transaction(self._reading) as session:
            return self._side(session, disputes.get_dispute(session, dispute_id), account_id, secret)

    def of_claim(self, claim_id: str, *, account_id: str | None = None, secret: str | None = None) -> list[Dispute]:
        """The disputes about a claim, newest first; with what was said, for its claimant. Raises NotFoundError."""
        with transaction(self._reading) as session:
            is_party = self._may_change(session, claim_id, account_id, secret)
            return disputes.disputes_of(session, claim_id, is_party=is_party)

    def places_of(self, claim_id: str, *, limit: int) -> list[str]:
        """The first sites and profiles of a claim, which the log has by name."""
        query = select(SubjectRow.rule).where(SubjectRow.claim_id == claim_id, SubjectRow.rule.is_not(None))
        with transaction(self._reading) as session:
            return [rule for rule in session.scalars(query.order_by(SubjectRow.position).limit(limit)) if rule]

    def is_late(self, dispute: Dispute) -> bool:
        """Whether the time to answer is over."""
        return self._clock() >= dispute.answer_due_at

    def filed_by(self, account_id: str, *, cursor: str | None = None, limit: int = disputes.MAX_PAGE) -> DisputePage:
        """Those an account filed. Raises as `registry.disputes.page_of`."""
        with transaction(self._reading) as session:
            return disputes.page_of(session, filed_by=account_id, cursor=cursor, limit=limit)

    def against(self, account_id: str, *, cursor: str | None = None, limit: int = disputes.MAX_PAGE) -> DisputePage:
        """Those against an account's claims. Raises as `registry.disputes.page_of`."""
        with transaction(self._reading) as session:
            return disputes.page_of(session, against=account_id, cursor=cursor, limit=limit)

    def expire_due(self) -> int:
        """End what has run out of time, a batch a transaction. How many. As `registry.disputes.expire_due`."""
        n_ended = 0
        while True:
            with transaction(self._sessions) as session:
                ended = disputes.expire_due(session, now=self._clock())
            if not ended:
                break
            n_ended += len(ended)
        if n_ended:
            logger.info("disputes_expired", extra={"n_disputes": n_ended})
            self._on_change()
        return n_ended

    def take_notices(self) -> list[Notice]:
        """Mails that are due. Each comes up again unless it is reported sent."""
        with transaction(self._sessions) as session:
            return notices.take_due(session, now=self._clock())

    def notice_sent(self, notice_id: int) -> None:
        """A mail was handed over."""
        with transaction(self._sessions) as session:
            notices.sent(session, notice_id)

    def _side(
        self, session: Session, row: DisputeRow, account_id: str | None, secret: str | None
    ) -> Literal["claimant", "disputer"] | None:
        if account_id is not None and row.account_id == account_id:
            return "disputer"
        return "claimant" if self._may_change(session, row.claim_id, account_id, secret) else None

    def _may_change(self, session: Session, claim_id: str, account_id: str | None, secret: str | None) -> bool:
        return may_change(session, claim_id, account_id=account_id, has_secret=self._secrets.is_of(claim_id, secret))
