"""The cookie that says which basket is a browser's own.

It holds the basket's id and how much is in it, so that every page can show the number without asking the database.
"""

from fastapi import Request
from fastapi.responses import Response

from registry.baskets import BASKET_LIFE
from web.settings import Settings
from web.signed_cookies import SignedCookie

_COOKIE = SignedCookie("heldout-basket", salt="heldout.basket", life=BASKET_LIFE)


def give_cookie(response: Response, settings: Settings, basket_id: str, n_works: int) -> None:
    """Give the browser its cookie."""
    _COOKIE.give(response, settings, f"{basket_id}.{n_works}")


def basket_count(request: Request) -> int:
    """How much is in the basket of the browser that asks, as its cookie says: for the link on every page."""
    settings = getattr(request.app.state, "settings", None) if "app" in request.scope else None
    return 0 if settings is None else read_cookie(request, settings)[1]


def read_cookie(request: Request, settings: Settings) -> tuple[str, int]:
    """The basket's id and how much is in it; empty and 0 where the browser has none."""
    text = _COOKIE.read(request, settings)
    if text is None:
        return "", 0
    basket_id, _, n = text.rpartition(".")
    return basket_id, int(n)
