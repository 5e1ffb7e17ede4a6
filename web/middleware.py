"""What every request passes through, as plain ASGI: security headers, one log line, a limit on bodies.

The log line has the route's pattern, never the address as asked: that would hold what somebody searched for. An
unexpected error is logged by its type and the lines of code it passed, without its message, for the same reason.
"""

import logging
import time

from fastapi import Request
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from web.logs import describe
from web.problems import problem, unexpected
from web.words import gettext_noop

log = logging.getLogger("web.requests")

# `data:` and `blob:` are the picture somebody searches with, shown back to them.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)

_HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    # Not `no-referrer`: with it browsers send `Origin: null` on our own forms, which the same-origin check refuses.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), browsing-topics=()",
}
_TOO_LARGE = gettext_noop(
    "What you sent is over the limit of %(megabytes)s: a smaller copy of the picture finds the same."
)
DRAIN_FACTOR = 4
"""A body up to this many times the limit is read to its end before it is refused: browsers show an answer only then."""


class SecurityHeaders:
    """Adds the headers to every answer, errors and static files included."""

    def __init__(self, app: ASGIApp, *, is_https: bool) -> None:
        self._app = app
        headers = dict(_HEADERS)
        if is_https:
            headers["strict-transport-security"] = "max-age=31536000"
        self._headers = [(name.encode(), value.encode()) for name, value in headers.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, adding headers to the start of the answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *self._headers]
            await send(message)

        await self._app(scope, receive, send_with_headers)


class RequestLog:
    """One line per request; turns an error nobody foresaw into a plain 500."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, timing it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 0

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_and_note)
        except Exception as error:
            log.error("unexpected_error", extra=describe(error))  # noqa: TRY400 - its message stays out
            if status:
                raise  # the answer has begun: all that is left is to cut it off
            await unexpected(Request(scope))(scope, receive, send_and_note)
        finally:
            route = _route(scope)
            milliseconds = round((time.perf_counter() - started) * 1000, 1)
            log.info(
                "request",
                extra={"method": scope["method"], "route": route, "status": status, "milliseconds": milliseconds},
            )


def _route(scope: Scope) -> str:
    if isinstance(scope.get("endpoint"), StaticFiles):
        return f"{scope['root_path']}/*"
    return getattr(scope.get("route"), "path", None) or "unmatched"


class BodyLimit:
    """Refuses a body over the limit with 413: by its declared length, else as soon as more has arrived."""

    def __init__(self, app: ASGIApp, *, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes
        megabytes = f"{max_bytes / 1_000_000:g} MB"
        self._message = _TOO_LARGE % {"megabytes": megabytes}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, counting what arrives."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > self._max_bytes:
            drained = int(declared) <= DRAIN_FACTOR * self._max_bytes and await _drain(receive)
            headers = {} if drained else {"Connection": "close"}
            await problem(Request(scope), 413, self._message, headers=headers)(scope, receive, send)
            return
        received = 0

        async def receive_and_count() -> Message:
            nonlocal received
            message = await receive()
            if message["type"] == "http.request":
                received += len(message.get("body", b""))
                if received > self._max_bytes:
                    raise HTTPException(413, self._message)
            return message

        await self._app(scope, receive_and_count, send)


async def _drain(receive: Receive) -> bool:
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return False
        if not message.get("more_body", False):
            return True
