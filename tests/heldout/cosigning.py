"""A witness's signing, made from the C2SP documents alone, so that both sides of the format are written twice."""

import base64
import hashlib
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey


@dataclass(frozen=True)
class Witness:
    """A key and the name it signs under."""

    name: str
    seed: bytes
    kind: int = 4

    @property
    def _key(self) -> Ed25519PrivateKey | MLDSA44PrivateKey:
        if self.kind == 4:
            return Ed25519PrivateKey.from_private_bytes(self.seed)
        return MLDSA44PrivateKey.from_seed_bytes(self.seed)

    @property
    def _public(self) -> bytes:
        return self._key.public_key().public_bytes_raw()

    @property
    def key_id(self) -> bytes:
        return hashlib.sha256(self.name.encode() + b"\n" + bytes([self.kind]) + self._public).digest()[:4]

    @property
    def vkey(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{base64.b64encode(bytes([self.kind]) + self._public).decode()}"

    def cosign(self, note: str, timestamp: int) -> str:
        """Signature line, with newline, over a checkpoint's note."""
        text = note[: note.rindex("\n\n") + 1]
        if self.kind == 4:
            message = f"cosignature/v1\ntime {timestamp}\n{text}".encode()
        else:
            origin, size, root = text.split("\n")[:3]
            message = b"subtree/v1\n\x00"
            message += len(self.name.encode()).to_bytes(1) + self.name.encode() + timestamp.to_bytes(8)
            message += len(origin.encode()).to_bytes(1) + origin.encode()
            message += (0).to_bytes(8) + int(size).to_bytes(8) + base64.b64decode(root)
        signed = self.key_id + timestamp.to_bytes(8) + self._key.sign(message)
        return f"\u2014 {self.name} {base64.b64encode(signed).decode()}\n"
