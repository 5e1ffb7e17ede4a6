"""Seals on what a page hands out and takes back: HMAC-SHA256 over text and time.

The basket's page seals what it has shown, so that what is claimed is what somebody saw, and not yesterday's
tab, a half-loaded page or a form put together elsewhere. Each seal has a random part: two pages made at the same moment
for the same pictures are two people's.
"""

import hashlib
import hmac
import secrets
from datetime import datetime, timedelta

from heldout.errors import InputError

MAX_AGE = timedelta(hours=12)


def seal(secret: str, text: str, *, now: datetime) -> str:
    """A seal on `text`, good for `MAX_AGE`; never the same twice."""
    made = f"{int(now.timestamp())}.{secrets.token_hex(16)}"
    return f"{made}.{_digest(secret, text, made)}"


def check_seal(secret: str, text: str, given: str, *, now: datetime) -> None:
    """Accept a seal made on this text.

    Raises:
        InputError: too old, or of another text.
    """
    made, _, digest = given.rpartition(".")
    if not hmac.compare_digest(digest.encode(), _digest(secret, text, made).encode()):
        raise InputError("Your basket has changed since this page was made: look at it again, then opt out.")
    made_at = datetime.fromtimestamp(int(made.partition(".")[0]), tz=now.tzinfo)
    if not timedelta(0) <= now - made_at <= MAX_AGE:
        raise InputError("This page was open for too long: look at your basket again, then opt out.")


def _digest(secret: str, text: str, made: str) -> str:
    return hmac.new(secret.encode(), f"{made}\n{text}".encode(), hashlib.sha256).hexdigest()
