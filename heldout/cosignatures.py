"""C2SP cosignatures: a witness's word that, at a time, a checkpoint was the newest it knew and extended all before.

Two types, by the key's: Ed25519 (0x04) and ML-DSA-44 (0x06, which older releases of `cryptography` cannot verify).
Only verifying: this project is no witness. Source: https://c2sp.org/tlog-cosignature.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from heldout.checkpoint import (
    ED25519_KEY_SIZE,
    Checkpoint,
    NoteSignature,
    make_key_id,
    parse_checkpoint,
    split_note,
    split_vkey,
    to_base64,
    wrong_signature,
)
from heldout.errors import InputError, UnavailableError, VerificationError

COSIGNATURE_ED25519 = b"\x04"
COSIGNATURE_ML_DSA_44 = b"\x06"
ML_DSA_44_KEY_SIZE = 1312

_KEY_SIZES = {COSIGNATURE_ED25519: ED25519_KEY_SIZE, COSIGNATURE_ML_DSA_44: ML_DSA_44_KEY_SIZE}
_SIGNATURE_SIZES = {COSIGNATURE_ED25519: 64, COSIGNATURE_ML_DSA_44: 2420}
_TIMESTAMP_SIZE = 8
_LATEST_TIMESTAMP = int(datetime.max.replace(tzinfo=UTC).timestamp())


@dataclass(frozen=True)
class Cosigner:
    """A witness's public key and the name it signs under; written as a vkey."""

    name: str
    kind: bytes
    """Signature type, 1 byte."""
    public_key: bytes

    @classmethod
    def parse(cls, vkey: str) -> "Cosigner":
        """From `<name>+<key id, 8 hex>+<base64>`.

        Raises:
            InputError: not such a key, not a witness's, or the id is not the key's.
        """
        name, kind, key = split_vkey(vkey)
        if len(key) != _KEY_SIZES.get(kind):
            raise InputError(
                f"the key of {name!r} is of type 0x{kind.hex()} with {len(key)} bytes: a witness's is Ed25519 (0x04) "
                "or ML-DSA-44 (0x06)"
            )
        return cls(name, kind, key)

    @property
    def key_id(self) -> bytes:
        """4 bytes that go before each signature."""
        return make_key_id(self.name, self.kind, self.public_key)

    @property
    def vkey(self) -> str:
        """Inverse of `parse`."""
        return f"{self.name}+{self.key_id.hex()}+{to_base64(self.kind + self.public_key)}"


@dataclass(frozen=True)
class Cosignature:
    """One that verified."""

    cosigner: Cosigner
    at: datetime
    """When the witness says it signed."""
    line: str
    """As the note has it, without newline."""


def verify_cosignatures(note: str | bytes, cosigners: Iterable[Cosigner]) -> list[Cosignature]:
    """Cosignatures of a checkpoint by these witnesses, in the note's order, one for each; those of others are ignored.

    The log's own signature is not looked at: `heldout.checkpoint.open_checkpoint` does.

    Raises:
        VerificationError: the note is malformed, or the signature of one of these is wrong.
        UnavailableError: this installation cannot verify the kind of signature that one of these makes.
    """
    text, signatures = split_note(note)
    known = {(cosigner.name, cosigner.key_id): cosigner for cosigner in cosigners}
    verified: dict[Cosigner, Cosignature] = {}
    for signed in signatures:
        cosigner = known.get((signed.name, signed.key_id))
        if cosigner is not None:
            verified[cosigner] = _verify(text, signed, cosigner)
    return list(verified.values())


def ed25519_message(text: str, timestamp: int) -> bytes:
    """What an Ed25519 cosignature signs: all of the checkpoint's text, extension lines included."""
    return f"cosignature/v1\ntime {timestamp}\n{text}".encode()


def ml_dsa_44_message(cosigner: str, timestamp: int, tree: Checkpoint, *, start: int = 0) -> bytes:
    """What an ML-DSA-44 cosignature signs: names and the subtree of `tree` from `start` on, for a checkpoint all."""
    return b"".join(
        [
            b"subtree/v1\n\0",
            _short(cosigner),
            timestamp.to_bytes(_TIMESTAMP_SIZE, "big"),
            _short(tree.origin),
            start.to_bytes(8, "big"),
            tree.size.to_bytes(8, "big"),
            tree.root,
        ]
    )


def _verify(text: str, signed: NoteSignature, cosigner: Cosigner) -> Cosignature:
    stamp, signature = signed.signature[:_TIMESTAMP_SIZE], signed.signature[_TIMESTAMP_SIZE:]
    timestamp = int.from_bytes(stamp, "big")
    if len(signature) != _SIGNATURE_SIZES[cosigner.kind] or not 0 < timestamp <= _LATEST_TIMESTAMP:
        raise wrong_signature(signed)
    try:
        if cosigner.kind == COSIGNATURE_ED25519:
            Ed25519PublicKey.from_public_bytes(cosigner.public_key).verify(signature, ed25519_message(text, timestamp))
        else:
            message = ml_dsa_44_message(cosigner.name, timestamp, parse_checkpoint(text))
            verify_ml_dsa_44(cosigner.public_key, signature, message)
    except InvalidSignature as error:
        raise wrong_signature(signed) from error
    return Cosignature(cosigner, datetime.fromtimestamp(timestamp, UTC), signed.line)


def verify_ml_dsa_44(public_key: bytes, signature: bytes, message: bytes) -> None:
    """Check a signature (FIPS 204).

    Raises:
        InvalidSignature: it is wrong.
        UnavailableError: this installation has no ML-DSA.
    """
    try:
        from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey

        key = MLDSA44PublicKey.from_public_bytes(public_key)
    except (ImportError, UnsupportedAlgorithm) as error:
        raise UnavailableError(
            "this installation cannot verify ML-DSA-44 cosignatures: install a newer release of cryptography"
        ) from error
    key.verify(signature, message)


def _short(text: str) -> bytes:
    data = text.encode()
    if not 1 <= len(data) <= 255:
        raise VerificationError(f"{text[:60]!r} has {len(data)} bytes: an ML-DSA-44 cosignature cannot name it")
    return bytes([len(data)]) + data
