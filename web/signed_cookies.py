"""Cookies that hold a few words of ours, signed (itsdangerous): what we did not write is not even looked up."""

import hashlib
from dataclasses import dataclass
from datetime import timedelta

from fastapi import Request
from fastapi.responses import Response
from itsdangerous import BadSignature, TimestampSigner

from web.settings import Settings


@dataclass(frozen=True)
class SignedCookie:
    """One kind of cookie; scripts and other sites cannot use it."""

    name: str
    salt: str
    """Keeps the signature of one kind from fitting another."""
    life: timedelta

    def give(self, response: Response, settings: Settings, text: str) -> None:
        """Give it to the browser."""
        response.set_cookie(
            self._name(settings),
            self._signer(settings).sign(text).decode(),
            max_age=self._life_s,
            path="/",
            secure=_is_https(settings),
            httponly=True,
            samesite="lax",
        )

    def read(self, request: Request, settings: Settings) -> str | None:
        """What it holds; None where the browser has none of ours, or one that is too old."""
        value = request.cookies.get(self._name(settings))
        if value is None:
            return None
        try:
            return self._signer(settings).unsign(value, max_age=self._life_s).decode()
        except (BadSignature, UnicodeDecodeError):
            return None

    def take_back(self, response: Response, settings: Settings) -> None:
        """Have the browser forget it."""
        response.delete_cookie(
            self._name(settings), path="/", secure=_is_https(settings), httponly=True, samesite="lax"
        )

    @property
    def _life_s(self) -> int:
        return int(self.life.total_seconds())

    def _name(self, settings: Settings) -> str:
        """`__Host-`: browsers then refuse one that another host of the domain has set."""
        return f"__Host-{self.name}" if _is_https(settings) else self.name

    def _signer(self, settings: Settings) -> TimestampSigner:
        return TimestampSigner(settings.secret.get_secret_value(), salt=self.salt, digest_method=hashlib.sha256)


def _is_https(settings: Settings) -> bool:
    return settings.base_url.startswith("https://")
