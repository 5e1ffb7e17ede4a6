"""Who is looking: the cookie of a browser that is signed in, and the token its forms carry.

The cookie holds the session's id. Forms of somebody who is signed in carry a token that follows from the session:
another site cannot know it, whatever a browser sends along (`web.deps.same_origin` refuses such a form first).
"""

import hmac
import re
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Annotated
from urllib.parse import quote

from fastapi import Depends, Request
from fastapi.responses import RedirectResponse, Response

from heldout.errors import AccessError
from registry.accounts import Account
from registry.sessions import SESSION_LIFE
from registry.sign_in import MAX_NEXT_CHARS
from web.deps import RegistryDep, SettingsDep, get_settings
from web.settings import Settings
from web.signed_cookies import SignedCookie

HOME = "/account"
_COOKIE = SignedCookie("heldout", salt="heldout.session", life=SESSION_LIFE)
_PATH = re.compile(rf"/(?![/\\])[\x21-\x5b\x5d-\x7e]{{0,{MAX_NEXT_CHARS - 1}}}")


@dataclass(frozen=True)
class Visitor:
    """Somebody who is signed in."""

    account: Account
    session_id: str
    csrf: str
    """What their forms carry."""

    def check_form(self, given: str) -> None:
        """Accept a form this visitor was given.

        Raises:
            AccessError: the token is not theirs.
        """
        if not hmac.compare_digest(self.csrf.encode(), given.encode("utf-8", "replace")):
            raise AccessError("this form is of another visit: load the page again")


def get_visitor(request: Request, registry: RegistryDep, settings: SettingsDep) -> Visitor | None:
    """Who is signed in; None for everybody else."""
    session_id = _COOKIE.read(request, settings)
    if session_id is None:
        return None
    account = registry.accounts.of_session(session_id)
    return None if account is None else Visitor(account, session_id, _csrf(settings, session_id))


VisitorDep = Annotated[Visitor | None, Depends(get_visitor)]


def sign_in_browser(response: Response, settings: Settings, session_id: str) -> None:
    """Give the browser its cookie."""
    _COOKIE.give(response, settings, session_id)


def sign_out_browser(response: Response, settings: Settings) -> None:
    """Take the cookie back."""
    _COOKIE.take_back(response, settings)


def safe_path(text: str) -> str:
    """Where to go on this site; `HOME` for what could lead to another."""
    return text if _PATH.fullmatch(text) and "/\\" not in text else HOME


def to_sign_in(next_path: str) -> RedirectResponse:
    """Sign in first, then come back."""
    return RedirectResponse(f"/sign-in?next={quote(next_path, safe='/')}", status_code=303)


def client_digest(request: Request, settings: Settings) -> bytes:
    """What stands for the network address that asks; nothing can be read from it without the site's secret.

    Of IPv6 the network of 64 bits: each of its 2^64 addresses is the same subscriber's.
    """
    address = request.client.host if request.client else ""
    with suppress(ValueError):
        number = ip_address(address)
        if isinstance(number, IPv6Address) and number.ipv4_mapped is None:
            address = str(ip_network((number.packed[:8] + bytes(8), 64)))
    return hmac.digest(settings.secret.get_secret_value().encode(), f"client {address}".encode(), "sha256")


def get_client(request: Request) -> bytes:
    """`client_digest`, as a dependency."""
    return client_digest(request, get_settings(request))


def _csrf(settings: Settings, session_id: str) -> str:
    secret = settings.secret.get_secret_value().encode()
    return hmac.digest(secret, f"form {session_id}".encode(), "sha256").hex()
