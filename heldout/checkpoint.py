"""C2SP signed notes and log checkpoints: parse, format, sign and verify, Ed25519 only.

Sources: https://c2sp.org/signed-note, https://c2sp.org/tlog-checkpoint; keys are written as in Go's sumdb/note.
Signatures by unknown keys are ignored (witnesses may add theirs); one by a known key that does not verify refuses
the note.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from heldout.errors import InputError, VerificationError
from heldout.merkle import HASH_SIZE

ED25519 = b"\x01"
"""Signature type identifier byte of the signed-note specification."""
ED25519_KEY_SIZE = 32
MAX_NOTE_SIZE = 1_000_000
"""Bytes. A checkpoint with 16 post-quantum cosignatures has some 80 kB."""
MAX_SIGNATURES = 100
_SKEY_PREFIX = "PRIVATE+KEY+"
_SIGNATURE_LINE = re.compile("— ([^ ]+) ([A-Za-z0-9+/=]+)")
_DECIMAL = re.compile(r"0|[1-9][0-9]{0,19}", re.ASCII)


@dataclass(frozen=True)
class Verifier:
    """A public key and the name it signs under; written as a vkey."""

    name: str
    public_key: bytes
    """32 bytes, RFC 8032."""

    @classmethod
    def parse(cls, vkey: str) -> "Verifier":
        """From `<name>+<key id, 8 hex>+<base64>`.

        Raises:
            InputError: not such a key, not Ed25519, or the id is not the key's.
        """
        name, kind, material = split_vkey(vkey)
        if kind != ED25519 or len(material) != ED25519_KEY_SIZE:
            raise InputError(f"the verifier key of {name!r} is not an Ed25519 key: only these are supported")
        return cls(name, material)

    @property
    def key_id(self) -> bytes:
        """4 bytes that go before each signature."""
        return make_key_id(self.name, ED25519, self.public_key)

    @property
    def vkey(self) -> str:
        """Inverse of `parse`."""
        return f"{self.name}+{self.key_id.hex()}+{to_base64(ED25519 + self.public_key)}"


@dataclass(frozen=True)
class Signer:
    """A private key and the name it signs under; written as an skey."""

    name: str
    seed: bytes = field(repr=False)
    """32 bytes, RFC 8032."""

    def __post_init__(self) -> None:
        _check_name(self.name)

    @classmethod
    def generate(cls, name: str) -> "Signer":
        """A new key. Raises InputError if the name is empty or holds spaces or a plus."""
        return cls(name, Ed25519PrivateKey.generate().private_bytes_raw())

    @classmethod
    def parse(cls, skey: str) -> "Signer":
        """From `PRIVATE+KEY+<name>+<key id, 8 hex>+<base64>`.

        Raises:
            InputError: not such a key. The message does not hold the key.
        """
        text = skey.strip()
        if not text.startswith(_SKEY_PREFIX):
            raise InputError("the log's private key does not begin with PRIVATE+KEY+: give the file that keygen wrote")
        name, key_id, material = _split_key(text.removeprefix(_SKEY_PREFIX), "private key")
        if len(material) != 1 + ED25519_KEY_SIZE or material[:1] != ED25519:
            raise InputError(f"the private key of {name!r} is not an Ed25519 key: only these are supported")
        signer = cls(name, material[1:])
        if key_id != signer.verifier.key_id:
            raise InputError(f"private key of {name!r} does not belong to its id {key_id.hex()}: restore the file")
        return signer

    @property
    def skey(self) -> str:
        """Inverse of `parse`. A secret."""
        return f"{_SKEY_PREFIX}{self.name}+{self.verifier.key_id.hex()}+{to_base64(ED25519 + self.seed)}"

    @property
    def verifier(self) -> Verifier:
        """The public half."""
        return Verifier(self.name, Ed25519PrivateKey.from_private_bytes(self.seed).public_key().public_bytes_raw())

    def sign(self, text: str) -> str:
        """Signature line over a note's text, without newline."""
        signature = Ed25519PrivateKey.from_private_bytes(self.seed).sign(text.encode())
        return f"— {self.name} {to_base64(self.verifier.key_id + signature)}"


@dataclass(frozen=True)
class NoteSignature:
    """One signature line of a note, unchecked."""

    name: str
    key_id: bytes
    """4 bytes."""
    signature: bytes

    @property
    def line(self) -> str:
        """As the note has it, without newline."""
        return f"— {self.name} {to_base64(self.key_id + self.signature)}"


@dataclass(frozen=True)
class Checkpoint:
    """What a log says of itself: its name, its size, its root."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()
    """Further lines, opaque to us."""


def sign_note(text: str, signers: Sequence[Signer]) -> str:
    """Signed note over a text that ends in a newline.

    Raises:
        InputError: no signer, or a text the format cannot hold.
    """
    if not signers:
        raise InputError("a note needs at least one signer")
    _check_text(text, InputError)
    return text + "\n" + "".join(f"{signer.sign(text)}\n" for signer in signers)


def open_note(note: str | bytes, verifiers: Iterable[Verifier]) -> str:
    """Text of a note that at least one of these keys signed.

    Raises:
        VerificationError: malformed, signed by none of them, or a signature by one of them is wrong.
    """
    text, signatures = split_note(note)
    known = {(verifier.name, verifier.key_id): verifier for verifier in verifiers}
    is_signed = False
    for signed in signatures:
        verifier = known.get((signed.name, signed.key_id))
        if verifier is None:
            continue
        try:
            Ed25519PublicKey.from_public_bytes(verifier.public_key).verify(signed.signature, text.encode())
        except InvalidSignature as error:
            raise wrong_signature(signed) from error
        is_signed = True
    if not is_signed:
        names = ", ".join(f"{name} ({key_id.hex()})" for name, key_id in known) or "no key"
        raise VerificationError(f"the note is not signed by {names}: check that you have the right log and key")
    return text


def format_checkpoint(checkpoint: Checkpoint) -> str:
    """Text of a checkpoint. Raises InputError if a line is empty or holds a newline."""
    if checkpoint.size < 0 or len(checkpoint.root) != HASH_SIZE:
        raise InputError(
            f"a checkpoint of size {checkpoint.size} with a root of {len(checkpoint.root)} bytes is malformed"
        )
    lines = [checkpoint.origin, str(checkpoint.size), to_base64(checkpoint.root), *checkpoint.extensions]
    if any(not line or "\n" in line for line in lines):
        raise InputError(f"the checkpoint of {checkpoint.origin!r} has an empty line or a newline in a line")
    text = "".join(f"{line}\n" for line in lines)
    _check_text(text, InputError)
    return text


def parse_checkpoint(text: str) -> Checkpoint:
    """Inverse of `format_checkpoint`.

    Raises:
        VerificationError: not a checkpoint's text, or not in its one canonical form.
    """
    lines = text.split("\n")
    if len(lines) < 4 or lines[-1] or not all(lines[:-1]):
        raise VerificationError("a checkpoint has at least three lines, none empty: this is not one")
    origin, size, root = lines[:3]
    if not _DECIMAL.fullmatch(size):
        raise VerificationError(f"the checkpoint of {origin} gives its size as {size[:30]!r}: expected a plain number")
    hashed = from_base64(root)
    if len(hashed) != HASH_SIZE:
        raise VerificationError(f"the checkpoint of {origin} has a root of {len(hashed)} bytes: expected {HASH_SIZE}")
    return Checkpoint(origin, int(size), hashed, tuple(lines[3:-1]))


def sign_checkpoint(checkpoint: Checkpoint, signer: Signer) -> str:
    """Signed note of a checkpoint. Raises InputError if the key's name is not the log's origin."""
    if signer.name != checkpoint.origin:
        raise InputError(
            f"the key of {signer.name!r} may not sign for the log {checkpoint.origin!r}: use the log's key"
        )
    return sign_note(format_checkpoint(checkpoint), [signer])


def open_checkpoint(note: str | bytes, verifier: Verifier) -> Checkpoint:
    """Checkpoint out of a note signed by the log's key; its origin must be the key's name.

    Raises:
        VerificationError: malformed, not signed by this key, or of another log.
    """
    checkpoint = parse_checkpoint(open_note(note, [verifier]))
    if checkpoint.origin != verifier.name:
        raise VerificationError(
            f"the checkpoint is of the log {checkpoint.origin!r}, the key of {verifier.name!r}: use that log's key"
        )
    return checkpoint


def to_base64(data: bytes) -> str:
    """Standard base64 (RFC 4648 §4) with padding."""
    return base64.b64encode(data).decode("ascii")


def from_base64(text: str) -> bytes:
    """Inverse of `to_base64`; only the canonical form is accepted. Raises VerificationError."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise VerificationError(f"{text[:60]!r} is not base64: the file is damaged") from error
    if to_base64(data) != text:
        raise VerificationError(f"{text[:60]!r} is not canonical base64: the file was changed")
    return data


def split_vkey(vkey: str) -> tuple[str, bytes, bytes]:
    """Name, signature type (1 byte) and key of a vkey.

    Raises:
        InputError: not such a key, or the id is not the key's.
    """
    name, key_id, material = _split_key(vkey.strip(), "verifier key")
    kind, key = material[:1], material[1:]
    if key_id != make_key_id(name, kind, key):
        raise InputError(f"verifier key of {name!r} does not belong to its id {key_id.hex()}: copy it again, whole")
    return name, kind, key


def make_key_id(name: str, kind: bytes, public_key: bytes) -> bytes:
    """Key id of a public key under its name: 4 bytes."""
    return hashlib.sha256(name.encode() + b"\n" + kind + public_key).digest()[:4]


def wrong_signature(signed: NoteSignature) -> VerificationError:
    """What is raised when a known key's signature does not verify."""
    return VerificationError(
        f"the signature of {signed.name} ({signed.key_id.hex()}) is wrong: the note was changed or the key is another"
    )


def _check_name(name: str) -> None:
    if not name or "+" in name or any(c.isspace() or ord(c) < 0x20 or _is_surrogate(c) for c in name):
        raise InputError(
            f"key name {name!r} is empty or holds a space or a plus: use a URL without scheme, as a.example/log"
        )


def _split_key(text: str, what: str) -> tuple[str, bytes, bytes]:
    parts = text.split("+", 2)  # a name holds no plus, base64 may
    if len(parts) != 3 or not re.fullmatch(r"[0-9a-f]{8}", parts[1], re.ASCII):
        raise InputError(f"the {what} is not <name>+<8 hex>+<base64>: copy it again, whole")
    _check_name(parts[0])
    try:
        material = from_base64(parts[2])
    except VerificationError as error:
        raise InputError(f"the {what} of {parts[0]!r} does not end in base64: copy it again, whole") from error
    return parts[0], bytes.fromhex(parts[1]), material


def _check_text(text: str, error: type[InputError | VerificationError]) -> None:
    if not text.endswith("\n"):
        raise error("the text of a note must end in a newline")
    if any((ord(c) < 0x20 and c != "\n") or _is_surrogate(c) for c in text):
        raise error("the text of a note holds a control character or half a one: only newlines are allowed")


def _is_surrogate(character: str) -> bool:
    """Whether it is half a character, as broken JSON and odd file names have: UTF-8 cannot write it."""
    return "\ud800" <= character <= "\udfff"


def split_note(note: str | bytes) -> tuple[str, list[NoteSignature]]:
    """Text of a note, and its signatures, unchecked. Raises VerificationError if it is malformed."""
    try:
        data = note.encode() if isinstance(note, str) else note
    except UnicodeEncodeError as error:
        raise VerificationError("the note holds half a character (a lone surrogate): it is damaged") from error
    if len(data) > MAX_NOTE_SIZE:
        raise VerificationError(f"a note of {len(data)} bytes is over the limit of {MAX_NOTE_SIZE}: this is not one")
    try:
        whole = data.decode()
    except UnicodeDecodeError as error:
        raise VerificationError("the note is not UTF-8: it is damaged") from error
    _check_text(whole, VerificationError)
    text, separator, block = whole.rpartition("\n\n")
    lines = block.split("\n")[:-1]
    if not separator or not lines:
        raise VerificationError(
            "the note has no signatures: expected text, an empty line, then lines that begin with —"
        )
    if len(lines) > MAX_SIGNATURES:
        raise VerificationError(f"the note has {len(lines)} signatures, over the limit of {MAX_SIGNATURES}")
    return text + "\n", [parse_signature(line) for line in lines]


def parse_signature(line: str) -> NoteSignature:
    """Inverse of `NoteSignature.line`. Raises VerificationError if it is malformed."""
    match = _SIGNATURE_LINE.fullmatch(line)
    if not match or "+" in match[1] or any(c.isspace() for c in match[1]):
        raise VerificationError(f"{line[:80]!r} is not a signature line of a note: it is damaged")
    blob = from_base64(match[2])
    if len(blob) <= 4:
        raise VerificationError(f"the signature of {match[1]} is too short: the note is damaged")
    return NoteSignature(match[1], blob[:4], blob[4:])
