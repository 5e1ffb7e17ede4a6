"""Answers that scripts of any site may read (CORS): public data, and questions that carry no cookie."""

from collections.abc import Sequence
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

PREFLIGHT: Final = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "GET, POST",
    "Access-Control-Allow-Headers": "Authorization, Content-Type",
    "Access-Control-Max-Age": "86400",
}


class OpenToAnyOrigin:
    """Lets scripts of other sites read what lies below some paths, errors too, and the headers of our own."""

    def __init__(self, app: ASGIApp, *, paths: Sequence[str], headers: Sequence[str]) -> None:
        """Open what is at `paths` and below, and the answers' `headers`."""
        self._app = app
        self._paths = tuple(paths)
        self._headers = ", ".join(headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, adding to the start of the answer; answer a browser's own question beforehand."""
        if scope["type"] != "http" or not self._is_open(scope["path"]):
            await self._app(scope, receive, send)
            return
        if scope["method"] == "OPTIONS" and "access-control-request-method" in Headers(scope=scope):
            await Response(status_code=204, headers=PREFLIGHT)(scope, receive, send)
            return

        async def send_open(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["access-control-allow-origin"] = "*"
                headers["access-control-expose-headers"] = self._headers
            await send(message)

        await self._app(scope, receive, send_open)

    def _is_open(self, path: str) -> bool:
        return any(path == each or path.startswith(f"{each}/") for each in self._paths)
