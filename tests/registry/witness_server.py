"""A witness on loopback: C2SP tlog-witness, written from its document, with a consistency check of its own."""

import base64
import hashlib
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from tests.heldout.cosigning import Witness


class Refused(Exception):  # noqa: N818
    """An answer that is not 200."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


@dataclass
class WitnessServer:
    """What it knows and how it behaves. Change a field and ask again."""

    key: Witness
    logs: dict[str, str]
    """Origin -> vkey of the logs it follows."""
    seen: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    """Origin -> size and root last cosigned."""
    address: str = ""
    is_asleep: bool = False
    answer: bytes | None = None
    """Say this instead of a cosignature."""
    is_slow: bool = False
    """Give the answer a byte at a time."""
    at: int | None = None
    """Sign for this time instead of now."""
    n_requests: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def policy_line(self) -> str:
        return f"witness {self.key.name.partition('.')[0]} {self.key.vkey} {self.address}\n"

    def add_checkpoint(self, body: str) -> str:
        """The answer to a request. Raises Refused."""
        head, separator, note = body.partition("\n\n")
        old_line, *proof_lines = head.split("\n")
        if not separator or not old_line.startswith("old ") or str(int(old_line[4:])) != old_line[4:]:
            raise Refused(400, "malformed")
        old_size, proof = int(old_line[4:]), [base64.b64decode(line, validate=True) for line in proof_lines]
        text = note[: note.rindex("\n\n") + 1]
        origin, size_line, root_line = text.split("\n")[:3]
        size, root = int(size_line), base64.b64decode(root_line)
        if origin not in self.logs:
            raise Refused(404, "unknown log")
        if not _is_signed(note, text, self.logs[origin]):
            raise Refused(403, "not signed by the log")
        if old_size > size or len(proof) > 63:
            raise Refused(400, "old size is larger")
        with self.lock:
            seen_size, seen_root = self.seen.get(origin, (0, hashlib.sha256(b"").digest()))
            if old_size != seen_size:
                raise Refused(409, f"{seen_size}\n")
            if not _is_consistent(seen_size, seen_root, size, root, proof):
                raise Refused(422, "inconsistent")
            self.seen[origin] = size, root
        return self.key.cosign(note, int(time.time()) if self.at is None else self.at)


@contextmanager
def witness_server(key: Witness, logs: dict[str, str]) -> Iterator[WitnessServer]:
    """A witness that answers while the block lasts."""
    witness = WitnessServer(key, logs)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            witness.n_requests += 1
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            status, kind, data = 200, "text/plain", b""
            if witness.is_asleep:
                status, data = 503, b"asleep"
            elif self.path != "/w/add-checkpoint":
                status = 404
            elif witness.answer is not None:
                data = witness.answer
            else:
                try:
                    data = witness.add_checkpoint(body).encode()
                except Refused as refused:
                    status, data = refused.status, refused.text.encode()
                    kind = "text/x.tlog.size" if status == 409 else kind
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            with suppress(ConnectionError):  # whoever asked may have had enough
                for byte in data if witness.is_slow else []:
                    self.wfile.write(bytes([byte]))
                    time.sleep(0.05)
                self.wfile.write(b"" if witness.is_slow else data)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is http.server's
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        witness.address = f"http://127.0.0.1:{server.server_port}/w/"
        try:
            yield witness
        finally:
            server.shutdown()
            thread.join()


def _is_signed(note: str, text: str, vkey: str) -> bool:
    name, key_id, key = vkey.split("+", 2)
    for line in note[len(text) + 1 :].splitlines():
        _, signer, blob = line.split(" ")
        signature = base64.b64decode(blob)
        if signer == name and signature[:4].hex() == key_id:
            try:
                public = Ed25519PublicKey.from_public_bytes(base64.b64decode(key)[1:])
                public.verify(signature[4:], text.encode())
            except InvalidSignature:
                return False
            return True
    return False


def _is_consistent(old_size: int, old_root: bytes, size: int, root: bytes, proof: Sequence[bytes]) -> bool:
    if old_size in {0, size}:
        return not proof and (old_size == 0 or old_root == root)
    try:
        return _roots(list(proof), 0, size, old_size, old_root) == (old_root, root)
    except IndexError:
        return False


def _roots(proof: list[bytes], start: int, end: int, old_size: int, old_root: bytes) -> tuple[bytes, bytes]:
    """Old and new hash of the leaves from `start` to `end`, by RFC 6962's recursion, from the top down."""
    if old_size == end:
        known = old_root if start == 0 else proof.pop()
        if proof:
            raise IndexError
        return known, known
    middle = start + (1 << ((end - start - 1).bit_length() - 1))
    sibling = proof.pop()
    if old_size <= middle:
        old, new = _roots(proof, start, middle, old_size, old_root)
        return old, _node(new, sibling)
    old, new = _roots(proof, middle, end, old_size, old_root)
    return _node(sibling, old), _node(sibling, new)


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()
