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
from web.words import NAMES, day, gettext, gettext_noop, in_language

LOOK_S = 60.0
"""Seconds between looks for what is due: two small queries."""


_SAID = {
    "filed": (
        gettext_noop("Somebody disputes your opt-out"),
        gettext_noop(
            "Somebody disputes your opt-out, or part of it. It stays in force. You may answer until %(day)s; then a "
            "reviewer decides."
        ),
    ),
    "answered": (
        gettext_noop("Your dispute was answered"),
        gettext_noop("The other side has answered your dispute. A reviewer decides now."),
    ),
    "decided": (
        gettext_noop("A dispute is over"),
        gettext_noop("A dispute that you are part of is over. Its outcome and the reason are there."),
    ),
}
"""What a notice is about -> subject, text."""
_BY_MISTAKE = gettext_noop("If you know nothing of it, somebody gave your address by mistake: do nothing.")


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
            with self.condition.noted():
                await asyncio.to_thread(self.work)

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
    """The message, in all of the site's languages: nobody has asked for it, so nobody knows which its reader speaks."""
    subjects, texts = [], []
    for code in NAMES:
        with in_language(code):
            subject, text = _SAID[notice.about]
            subjects.append(gettext(subject))
            told = gettext(text, day=day(notice.answer_due_at)) if notice.about == "filed" else gettext(text)
            texts.append(f"{told}\n\n{_how(notice, base_url)}\n\n{gettext(_BY_MISTAKE)}\n")
    return Mail(notice.to, " / ".join(subjects), "\n* * *\n\n".join(texts))


def _how(notice: Notice, base_url: str) -> str:
    if notice.side == "claimant" and not notice.has_account:
        return gettext(
            "Open the private address you were given with your opt-out %(url)s and follow the dispute there.",
            url=f"{base_url}/claims/{notice.claim_id}",
        )
    return gettext("Sign in and open %(url)s", url=f"{base_url}/disputes/{notice.dispute_id}")
