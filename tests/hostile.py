"""A web server that misbehaves in every way a stranger's may, and a name server that changes its mind; on loopback."""

import asyncio
import gzip
import io
import socket
import ssl
import struct
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from ipaddress import IPv4Network
from pathlib import Path
from typing import Final, Self, cast

import dns.flags
import dns.message
import dns.rdatatype
import dns.rrset
import pyarrow as pa
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from PIL import Image

ALLOWED: Final = IPv4Network("127.0.0.1/32")
"""What a guard of the tests lets pass: the server is there, the trap at `TRAP` beside it."""
TRAP: Final = "127.0.0.2"

Answer = Callable[["Request", asyncio.StreamWriter], Awaitable[None]]


@dataclass(frozen=True)
class Request:
    """What a client sent."""

    path: str
    headers: dict[str, str]
    at: float


@dataclass
class Seen:
    """What a server has seen."""

    connections: int = 0
    requests: list[Request] = field(default_factory=list)
    in_air: int = 0
    most_in_air: int = 0

    def count(self, path: str) -> int:
        return sum(request.path == path for request in self.requests)


def png(seed: int = 0, size: tuple[int, int] = (48, 32)) -> bytes:
    """A small picture, another for each seed."""
    out = io.BytesIO()
    pixels = bytes((x * 7 + seed * 53 + (x * x) % 251) % 256 for x in range(12 * 8 * 3))
    Image.frombytes("RGB", (12, 8), pixels).resize(size).save(out, "PNG")
    return out.getvalue()


def ok(body: bytes, headers: str = "", *, status: str = "200 OK") -> Answer:
    """An honest answer."""

    async def answer(_: Request, writer: asyncio.StreamWriter) -> None:
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
        writer.write(head.encode("latin-1") + body)

    return answer


def redirect(location: str) -> Answer:
    return ok(b"", f"Location: {location}\r\n", status="302 Found")


def raw(data: bytes, *, close: bool = True) -> Answer:
    """Just these bytes."""

    async def answer(_: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        if close:
            writer.close()

    return answer


def dripping(head: bytes, drop: bytes, every_s: float = 0.05) -> Answer:
    """Sends `head`, then a drop now and then, without end."""

    async def answer(_: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        while True:
            await writer.drain()
            await asyncio.sleep(every_s)
            writer.write(drop)

    return answer


def flooding(head: bytes, piece: bytes) -> Answer:
    """Sends `head`, then pieces as fast as they are taken, without end."""

    async def answer(_: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        while True:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)  # others are to be served too

    return answer


def in_turns(*answers: Answer) -> Answer:
    """Another answer at each request; the last one stays."""
    left = list(answers)

    async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
        await (left.pop(0) if len(left) > 1 else left[0])(request, writer)

    return answer


def after(seconds: float, then: Answer) -> Answer:
    async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(seconds)
        await then(request, writer)

    return answer


async def stall(_: Request, _writer: asyncio.StreamWriter) -> None:
    """No answer at all."""
    await asyncio.sleep(3600)


async def break_off(_: Request, writer: asyncio.StreamWriter) -> None:
    """Half a body, then a TCP reset."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"x" * 500)
    await writer.drain()
    await asyncio.sleep(0.05)
    raw_socket = writer.get_extra_info("socket")
    raw_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def bomb(encoding: str, n_bytes: int = 64 * 1024 * 1024) -> Answer:
    """A small body that decodes to `n_bytes`."""
    content = bytes(n_bytes)
    if encoding == "gzip":
        body = gzip.compress(content, 9)
    else:
        body = pa.compress(content, codec={"br": "brotli"}.get(encoding, encoding), asbytes=True)
    return ok(body, f"Content-Type: image/png\r\nContent-Encoding: {encoding}\r\n")


def http_date(seconds: float) -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


class HostileServer:
    """Answers by path, in a thread of its own; several servers may listen at once."""

    def __init__(
        self, answers: Mapping[str, Answer], *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
    ) -> None:
        self.answers = dict(answers)
        self.seen = Seen()
        self.port = 0
        self._host = host
        self._tls = tls
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    @property
    def url(self) -> str:
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http{'s' if self._tls else ''}://{host}:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _listen(self) -> None:
        self._loop.set_exception_handler(lambda _loop, _context: None)  # clients break off, that is the point
        server = await asyncio.start_server(self._serve, self._host, 0, ssl=self._tls, limit=1 << 20)
        self._server = server
        self.port = server.sockets[0].getsockname()[1]

    async def _end(self) -> None:
        self._server.close()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.sleep(0.01)  # for the transports to notice

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.seen.connections += 1
        self._writers.add(writer)
        try:
            while not writer.is_closing():
                await self._answer(_parse(await reader.readuntil(b"\r\n\r\n")), writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client has gone
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
            self._writers.discard(writer)

    async def _answer(self, request: Request, writer: asyncio.StreamWriter) -> None:
        self.seen.requests.append(request)
        self.seen.in_air += 1
        self.seen.most_in_air = max(self.seen.most_in_air, self.seen.in_air)
        try:
            await self.answers.get(request.path, ok(b"", status="404 Not Found"))(request, writer)
            await writer.drain()
        finally:
            self.seen.in_air -= 1


def _parse(head: bytes) -> Request:
    lines = head.decode("latin-1").split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines[1:] if ": " in line)
    return Request(lines[0].split(" ")[1], {name.lower(): value for name, value in headers.items()}, time.monotonic())


class NameServer(asyncio.DatagramProtocol):
    """Answers A and AAAA over UDP with a sequence of address lists for each name; the last one stays."""

    def __init__(self, names: Mapping[str, Sequence[Sequence[str]]]) -> None:
        self._names = {name: list(answers) for name, answers in names.items()}
        self._now: dict[str, Sequence[str]] = {}
        self.asked: Counter[str] = Counter()
        self.address = ""
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)  # it is one without saying so

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        query = dns.message.from_wire(data)
        question = query.question[0]
        name, kind = question.name.to_text(omit_final_dot=True), question.rdtype
        response = dns.message.make_response(query)
        response.flags |= dns.flags.RA
        if kind == dns.rdatatype.A:  # AAAA of the same lookup gets the same set
            self.asked[name] += 1
            answers = self._names.get(name, [[]])
            self._now[name] = answers.pop(0) if len(answers) > 1 else answers[0]
        addresses = self._now.get(name) or self._names.get(name, [[]])[0]
        fitting = [one for one in addresses if (":" in one) == (kind == dns.rdatatype.AAAA)]
        if fitting:
            response.answer.append(dns.rrset.from_text(question.name, 0, "IN", dns.rdatatype.to_text(kind), *fitting))
        assert self._transport is not None
        self._transport.sendto(response.to_wire(), addr)


@contextmanager
def name_server(names: Mapping[str, Sequence[Sequence[str]]]) -> Iterator[NameServer]:
    """A name server on loopback, in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    server = NameServer(names)
    opening = loop.create_datagram_endpoint(lambda: server, local_addr=("127.0.0.1", 0))
    transport, _ = asyncio.run_coroutine_threadsafe(opening, loop).result()
    host, port = transport.get_extra_info("sockname")
    server.address = f"{host}:{port}"
    try:
        yield server
    finally:
        asyncio.run_coroutine_threadsafe(_close(transport), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _close(transport: asyncio.BaseTransport) -> None:
    transport.close()
    await asyncio.sleep(0.01)  # closing takes a turn of the loop


def make_authority(folder: Path, *hosts: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """(server, client) TLS: a certificate for these hosts, and trust in it alone."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test authority")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = folder / "server.pem"
    encoded = serialization.Encoding.PEM
    private = key.private_bytes(encoded, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    pem.write_bytes(private + certificate.public_bytes(encoded))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pem)
    client = ssl.create_default_context(cadata=certificate.public_bytes(encoded).decode())
    return server, client
