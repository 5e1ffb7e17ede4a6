"""A log in memory that can be made to lie: the tree is made from RFC 6962's definition, each time anew."""

import gzip
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import httpx

from heldout.checkpoint import Checkpoint, Signer, sign_checkpoint
from heldout.leaves import Leaf, ListLeaf, format_leaf

AT = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)


@dataclass
class LyingLog:
    """Entries, what is served of them, and what was asked."""

    signer: Signer = field(default_factory=lambda: Signer("registry.example/log", b"\x01" * 32))
    entries: list[bytes] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    """Path below the base address -> content."""
    requests: list[str] = field(default_factory=list)
    fails_after: int | None = None
    """The connection breaks after so many requests."""
    is_gzipped: bool = False
    """Bundles are served compressed, asked for or not, as tlog-tiles allows."""
    n_lists: int = 0

    def add(self, *leaves: Leaf | bytes) -> "LyingLog":
        self.entries += [leaf if isinstance(leaf, bytes) else format_leaf(leaf) for leaf in leaves]
        return self

    def fill(self, n: int) -> "LyingLog":
        """Entries about nothing in particular."""
        for _ in range(n):
            self.n_lists += 1
            at = AT + timedelta(seconds=self.n_lists)
            self.add(ListLeaf(at, self.n_lists, hashlib.sha256(b"%d" % self.n_lists).digest()))
        return self

    def publish(self) -> str:
        """Everything as a log of these entries has it; the checkpoint's note."""
        size = len(self.entries)
        self.files = {}
        level, hashes = 0, [_hash(b"\x00", entry) for entry in self.entries]
        while hashes:
            for start in range(0, len(hashes), 256):
                part = hashes[start : start + 256]
                self.files[f"log/tile/{level}/{_path(start // 256, len(part))}"] = b"".join(part)
            hashes = [_root(hashes[start : start + 256]) for start in range(0, len(hashes) // 256 * 256, 256)]
            level += 1
        for start in range(0, size, 256):
            bundle = self.entries[start : start + 256]
            data = b"".join(len(entry).to_bytes(2) + entry for entry in bundle)
            self.files[f"log/tile/entries/{_path(start // 256, len(bundle))}"] = data
        root = _root([_hash(b"\x00", entry) for entry in self.entries])
        note = sign_checkpoint(Checkpoint(self.signer.name, size, root), self.signer)
        self.files["log/checkpoint"] = note.encode()
        return note

    def damage(
        self, path: str, change: Callable[[bytes], bytes] = lambda data: data[:-1] + bytes([data[-1] ^ 1])
    ) -> None:
        self.files[path] = change(self.files[path])

    def transport(self) -> httpx.MockTransport:
        return httpx.MockTransport(self._answer)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.lstrip("/")
        self.requests.append(path)
        if self.fails_after is not None and len(self.requests) > self.fails_after:
            raise httpx.ConnectError("the line went dead", request=request)
        if path not in self.files:
            return httpx.Response(404)
        if self.is_gzipped and "entries" in path:
            return httpx.Response(200, headers={"Content-Encoding": "gzip"}, content=gzip.compress(self.files[path]))
        return httpx.Response(200, content=self.files[path])


def _path(index: int, width: int) -> str:
    digits = f"{index:03d}"
    assert len(digits) == 3, "these logs are small"
    return digits if width == 256 else f"{digits}.p/{width}"


def _hash(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def _root(hashes: list[bytes]) -> bytes:
    if not hashes:
        return hashlib.sha256(b"").digest()
    if len(hashes) == 1:
        return hashes[0]
    middle = 1 << ((len(hashes) - 1).bit_length() - 1)
    return _hash(b"\x01", _root(hashes[:middle]), _root(hashes[middle:]))
