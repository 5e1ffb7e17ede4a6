"""Signed envelopes: DSSE 1.0 (https://github.com/secure-systems-lab/dsse), signed with Ed25519.

    {"payload": base64, "payloadType": text, "signatures": [{"keyid": hex, "sig": base64}]}

Signed is the pre-authentication encoding of type and payload, so that nothing is read before it is proved and nothing
signed as one type passes for another. `keyid` is a hint, not signed: SHA-256 of the public key's DER
SubjectPublicKeyInfo. Either base64 alphabet is read, the standard one written.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from heldout.errors import VerificationError

IN_TOTO: Final = "application/vnd.in-toto+json"
"""Payload type of an in-toto Statement."""
MAX_SIGNATURES: Final = 100


@dataclass(frozen=True)
class EnvelopeSignature:
    """One signature of an envelope, unchecked."""

    keyid: str | None
    signature: bytes


@dataclass(frozen=True)
class Envelope:
    """A payload and who signed it, unchecked."""

    payload: bytes
    payload_type: str
    signatures: tuple[EnvelopeSignature, ...]


def pae(payload_type: str, payload: bytes) -> bytes:
    """Pre-authentication encoding: what is signed.

    >>> pae("http://example.com/HelloWorld", b"hello world")
    b'DSSEv1 29 http://example.com/HelloWorld 11 hello world'
    """
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def sign_envelope(payload: bytes, payload_type: str, key: Ed25519PrivateKey) -> Envelope:
    """An envelope with one signature. The same payload and key give the same envelope."""
    signature = EnvelopeSignature(key_id(key.public_key()), key.sign(pae(payload_type, payload)))
    return Envelope(payload, payload_type, (signature,))


def verify_envelope(envelope: Envelope, keys: Iterable[Ed25519PublicKey], payload_type: str) -> list[str]:
    """Key ids of those of these keys that signed an envelope of this type, at least one.

    Raises:
        VerificationError: none of them did, one of their signatures is wrong, or it holds something else.
    """
    known = {key_id(key): key for key in keys}
    signed: list[str] = []
    message = pae(envelope.payload_type, envelope.payload)
    for each in envelope.signatures:
        candidates = known if each.keyid is None else {each.keyid: known[each.keyid]} if each.keyid in known else {}
        found = [name for name, key in candidates.items() if _is_signed(key, each.signature, message)]
        if each.keyid in known and not found:
            raise VerificationError(f"the signature of key {each.keyid} is wrong: what was signed was changed since")
        signed += found
    if not signed:
        named = ", ".join(each.keyid or "unnamed" for each in envelope.signatures)
        raise VerificationError(
            f"it is signed by {named}, not by {', '.join(known) or 'a key that you gave'}: check whose key you have"
        )
    if envelope.payload_type != payload_type:
        raise VerificationError(f"it holds {envelope.payload_type!r:.80}, expected {payload_type}")
    return list(dict.fromkeys(signed))


def format_envelope(envelope: Envelope) -> bytes:
    """The envelope's JSON."""
    value = {
        "payload": base64.b64encode(envelope.payload).decode(),
        "payloadType": envelope.payload_type,
        "signatures": [
            ({} if each.keyid is None else {"keyid": each.keyid}) | {"sig": base64.b64encode(each.signature).decode()}
            for each in envelope.signatures
        ],
    }
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"


def parse_envelope(value: object) -> Envelope:
    """From parsed JSON. Unknown members are ignored, as DSSE asks.

    Raises:
        VerificationError: not an envelope.
    """
    match value:
        case {"payload": str(payload), "payloadType": str(kind), "signatures": list(signatures)} if (
            1 <= len(signatures) <= MAX_SIGNATURES
        ):
            return Envelope(_from_base64(payload), _encodable(kind), tuple(map(_parse_signature, signatures)))
    raise VerificationError("this is not a DSSE envelope with payload, payloadType and signatures: it is damaged")


def is_envelope(value: object) -> bool:
    """Whether parsed JSON looks like one."""
    return isinstance(value, dict) and {"payload", "payloadType", "signatures"} <= value.keys()


def key_id(key: Ed25519PublicKey) -> str:
    """SHA-256 of the key's DER SubjectPublicKeyInfo, hexadecimal."""
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def _parse_signature(value: Any) -> EnvelopeSignature:  # noqa: ANN401 - what a JSON parser gave
    match value:
        case {"sig": str(signature), "keyid": str(keyid)}:
            return EnvelopeSignature(keyid or None, _from_base64(signature))
        case {"sig": str(signature)} if value.get("keyid") is None:
            return EnvelopeSignature(None, _from_base64(signature))
    raise VerificationError("a signature of the envelope lacks its sig: it is damaged")


def _is_signed(key: Ed25519PublicKey, signature: bytes, message: bytes) -> bool:
    try:
        key.verify(signature, message)
    except InvalidSignature:
        return False
    return True


def _from_base64(text: str) -> bytes:
    """Of either alphabet, in its one form with padding."""
    standard = text.translate(str.maketrans("-_", "+/"))
    try:
        data = base64.b64decode(standard, validate=True)
    except (binascii.Error, ValueError) as error:
        raise VerificationError(f"{text[:60]!r} is not base64: the envelope is damaged") from error
    if base64.b64encode(data).decode() != standard:
        raise VerificationError(f"{text[:60]!r} is not canonical base64: the envelope was changed")
    return data


def _encodable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise VerificationError("the envelope's payloadType holds half a character: it is damaged") from error
    return text
