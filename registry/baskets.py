"""Baskets: what somebody has put together to opt out and has not confirmed yet, kept for a browser without an account.

What is in one is the site's business; here it is bytes, sealed with the basket's id. The browser alone has the id, so
neither a thief of the database nor the operator reads a basket that nobody is looking at. Each method is one
transaction.
"""

import base64
import hashlib
import re
import secrets
import zlib
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from cryptography.fernet import Fernet
from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from heldout.errors import InputError, TooOftenError
from registry.db import Sessions, transaction
from registry.tables import BasketRow

BASKET_LIFE: Final = timedelta(days=60)
"""After the last change."""
MAX_BYTES: Final = 8_000_000
"""Before it is packed: 10,000 pictures with their addresses have 4 MB."""
MAX_PER_CLIENT: Final = 30
"""New ones in `LIMIT_SPAN`, per network address."""
LIMIT_SPAN: Final = timedelta(hours=1)
MAX_BYTES_PER_CLIENT: Final = 100_000_000
"""Of what was changed within `BYTES_SPAN`, as it is stored, in baskets begun from one network address: a hundred of
10,000 pictures. Else one address fills the disk."""
BYTES_SPAN: Final = timedelta(days=1)
SMALL_BYTES: Final = 100_000
"""Baskets up to this are taken all the same, so that a neighbour who fills the disk keeps nobody from a few hundred."""

_ID = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)


def new_basket_id() -> str:
    """256 random bits: nobody guesses one."""
    return secrets.token_urlsafe(32)


class Baskets:
    """The baskets of one registry. Thread-safe."""

    def __init__(self, sessions: Sessions, reading: Sessions, clock: Callable[[], datetime]) -> None:
        self._sessions = sessions
        self._reading = reading
        self._clock = clock

    def read(self, basket_id: str) -> bytes | None:
        """What is in a basket; None where there is none, or no longer."""
        if not _ID.fullmatch(basket_id):
            return None
        with transaction(self._reading) as session:
            row = session.get(BasketRow, _digest(basket_id))
            if row is None or row.expires_at <= self._clock():
                return None
            return _open(basket_id, row.sealed)

    def change(self, basket_id: str, change: Callable[[bytes | None], bytes], *, client: bytes) -> None:
        """Put what `change` makes of a basket in its place. Two changes at once wait for each other.

        Args:
            basket_id: as `new_basket_id` makes them.
            change: is given None where there is no basket. What it raises passes, and nothing is changed.
            client: digest of the network address that asks, keyed, so that it says nothing by itself.

        Raises:
            InputError: the id is not one, or the new content is over `MAX_BYTES`.
            TooOftenError: too many new baskets from there, or too much in them.
        """
        if not _ID.fullmatch(basket_id):
            raise InputError("this is no basket's id: start a new one")
        with transaction(self._sessions) as session:
            now = self._clock()
            session.execute(delete(BasketRow).where(BasketRow.expires_at <= now))
            row = session.get(BasketRow, _digest(basket_id), with_for_update=True, populate_existing=True)
            changed = change(None if row is None else _open(basket_id, row.sealed))
            if len(changed) > MAX_BYTES:
                raise InputError(f"the basket is full: {len(changed):,} bytes are over {MAX_BYTES:,}")
            sealed = _box(basket_id).encrypt(zlib.compress(changed))
            if len(sealed) > max(SMALL_BYTES, 0 if row is None else len(row.sealed)):
                _check_not_too_much(session, client if row is None else row.client, sealed, _digest(basket_id), now)
            if row is None:
                _check_not_too_often(session, client, now)
                session.add(
                    BasketRow(
                        id_sha256=_digest(basket_id),
                        client=client,
                        sealed=sealed,
                        created_at=now,
                        expires_at=now + BASKET_LIFE,
                    )
                )
            else:
                row.sealed, row.expires_at = sealed, now + BASKET_LIFE


def _check_not_too_often(session: Session, client: bytes, now: datetime) -> None:
    recent = (
        select(func.count())
        .select_from(BasketRow)
        .where(BasketRow.client == client, BasketRow.created_at > now - LIMIT_SPAN)
    )
    if session.scalars(recent).one() >= MAX_PER_CLIENT:
        raise TooOftenError(
            "too many new baskets were begun from your network: try again in an hour",
            retry_after_s=int(LIMIT_SPAN.total_seconds()),
        )


def _check_not_too_much(session: Session, client: bytes, sealed: bytes, id_sha256: bytes, now: datetime) -> None:
    others = select(func.sum(func.length(BasketRow.sealed))).where(
        BasketRow.client == client,
        BasketRow.id_sha256 != id_sha256,
        BasketRow.expires_at > now + BASKET_LIFE - BYTES_SPAN,
    )
    if (session.scalars(others).one() or 0) + len(sealed) > MAX_BYTES_PER_CLIENT:
        raise TooOftenError(
            "too much was put into baskets from your network today: opt out what is in yours, or go on tomorrow",
            retry_after_s=int(BYTES_SPAN.total_seconds()),
        )


def _open(basket_id: str, sealed: bytes) -> bytes:
    return zlib.decompress(_box(basket_id).decrypt(sealed))


def _box(basket_id: str) -> Fernet:
    return Fernet(base64.urlsafe_b64encode(hashlib.sha256(f"basket {basket_id}".encode()).digest()))


def _digest(basket_id: str) -> bytes:
    return hashlib.sha256(basket_id.encode()).digest()
