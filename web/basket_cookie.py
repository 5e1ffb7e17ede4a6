"""The cookie that says which basket is a browser's own.

It holds the basket's id and how much is in it, signed (itsdangerous), so that every page can show the number without
asking the database, and what we did not write is not even looked up.
"""

import hashlib

from fastapi import Request
from fastapi.responses import Response
from itsdangerous import BadSignature, TimestampSigner

from registry.baskets import BASKET_LIFE
from web.settings import Settings

_LIFE_S = int(BASKET_LIFE.total_seconds())


def give_cookie(response: Response, settings: Settings, basket_id: str, n_works: int) -> None:
    """Give the browser its cookie."""
    response.set_cookie(
        cookie_name(settings),
        _signer(settings).sign(f"{basket_id}.{n_works}").decode(),
        max_age=_LIFE_S,
        path="/",
        secure=settings.base_url.startswith("https://"),
        httponly=True,
        samesite="lax",
    )


def basket_count(request: Request) -> int:
    """How much is in the basket of the browser that asks, as its cookie says: for the link on every page."""
    settings = getattr(request.app.state, "settings", None) if "app" in request.scope else None
    return 0 if settings is None else read_cookie(request, settings)[1]


def cookie_name(settings: Settings) -> str:
    """`__Host-`: browsers then refuse one that another host of the domain has set."""
    return "__Host-heldout-basket" if settings.base_url.startswith("https://") else "heldout-basket"


def read_cookie(request: Request, settings: Settings) -> tuple[str, int]:
    """The basket's id and how much is in it; empty and 0 where the browser has none."""
    value = request.cookies.get(cookie_name(settings))
    if value is None:
        return "", 0
    try:
        basket_id, _, n = _signer(settings).unsign(value, max_age=_LIFE_S).decode().rpartition(".")
    except (BadSignature, UnicodeDecodeError):
        return "", 0
    return basket_id, int(n)


def _signer(settings: Settings) -> TimestampSigner:
    return TimestampSigner(settings.secret.get_secret_value(), salt="heldout.basket", digest_method=hashlib.sha256)
