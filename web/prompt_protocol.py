"""HTTP as uvicorn speaks it, on connections that send at once."""

import asyncio
import socket

from uvicorn.protocols.http.auto import AutoHTTPProtocol


class PromptProtocol(AutoHTTPProtocol):  # type: ignore[misc,valid-type]  # the parser that is installed
    """Turns Nagle's algorithm off.

    asyncio does so only where a socket names its protocol, and the one that uvicorn makes for several processes does
    not: there a short answer's body would wait 40 ms for the client to acknowledge its head.
    """

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """As asyncio calls it."""
        connected: socket.socket = transport.get_extra_info("socket")
        if connected.family in {socket.AF_INET, socket.AF_INET6}:
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        super().connection_made(transport)
