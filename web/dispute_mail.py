"""Deadlines of disputes, and mails to their two sides: a job beside the requests, in any number of processes.

A mail says that there is something to read and where. What was said is not in it, and neither is a claim's secret:
the address a claimant gave may be mistyped.
"""

import asyncio

from heldout.errors import UnavailableError
from registry.mail import Mail, Mailer
from registry.notices import Notice
from registry.service import Registry
from web.background import Condition

LOOK_S = 60.0
"""Seconds between looks for what is due: two small queries."""


_FILED = (
    "Somebody disputes your opt-out, or part of it. It stays in force. You may answer until {day}; then a reviewer "
    "decides."
)


class DisputeClerk:
    """Ends what is overdue and sends what is owed, then waits."""

    def __init__(self, registry: Registry, mailer: Mailer | None, base_url: str, *, every_s: float = LOOK_S) -> None:
        self.condition = Condition("disputes")
        self._disputing = registry.disputing
        self._mailer = mailer
        self._base_url = base_url
        self._every_s = every_s

    async def run(self) -> None:
        """Work until cancelled. A failure is noted and tried again."""
        while True:
            await asyncio.sleep(self._every_s)
            try:
                await asyncio.to_thread(self.work)
            except Exception as error:  # noqa: BLE001 - a job that ends is people who are never told
                self.condition.failed(error)
            else:
                self.condition.succeeded()

    def work(self) -> None:
        """One round. A mail that is not taken is left for later, the others are sent; then it is told.

        Raises:
            UnavailableError: the mail server did not take one.
        """
        self._disputing.expire_due()
        if self._mailer is None:
            return
        failure: UnavailableError | None = None
        while notices := self._disputing.take_notices():
            for notice in notices:
                try:
                    self._mailer.send(mail_of(notice, self._base_url))
                except UnavailableError as error:
                    failure = error
                else:
                    self._disputing.notice_sent(notice.id)
            if failure is not None:
                raise failure


def mail_of(notice: Notice, base_url: str) -> Mail:
    """The message."""
    where = f"{base_url}/disputes/{notice.dispute_id}"
    claim = f"{base_url}/claims/{notice.claim_id}"
    if notice.side == "claimant" and not notice.has_account:
        how = f"Open the private address you were given with your opt-out {claim} and follow the dispute there."
    else:
        how = f"Sign in and open {where}"
    subject, text = {
        "filed": ("Somebody disputes your opt-out", _FILED.format(day=f"{notice.answer_due_at:%d %B %Y}")),
        "answered": ("Your dispute was answered", "The other side has answered your dispute. A reviewer decides now."),
        "decided": (
            "A dispute is over",
            "A dispute that you are part of is over. Its outcome and the reason are there.",
        ),
    }[notice.about]
    after = "If you know nothing of it, somebody gave your address by mistake: do nothing.\n"
    return Mail(notice.to, subject, f"{text}\n\n{how}\n\n{after}")
