"""A lab's own keys, Ed25519 as PEM: `heldout keygen` makes them, `openssl genpkey -algorithm ed25519` may."""

from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from heldout.durable import write_durably
from heldout.errors import ConflictError, InputError, UnavailableError

MAX_KEY_BYTES = 100_000


def make_keys(path: Path) -> tuple[Path, Path]:
    """Make a key pair: the private half at `path`, for its owner's eyes, the public one at `path` with `.pub`.

    Raises:
        ConflictError: one of the files is there.
        UnavailableError: they cannot be written.
    """
    public = path.with_name(f"{path.name}.pub")
    for taken in (path, public):
        if taken.exists():
            raise ConflictError(f"{taken} is there already, and a key that is gone cannot be had again: name another")
    key = Ed25519PrivateKey.generate()
    try:
        write_durably(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), mode=0o600)
        write_durably(public, key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    except OSError as error:
        raise UnavailableError(f"{path} cannot be written ({error.strerror}): check the folder") from error
    return path, public


def load_private_key(path: Path) -> Ed25519PrivateKey:
    """The key to sign with.

    Raises:
        InputError: it cannot be read, or is another kind of key. The message does not hold it.
    """
    data = _read(path)
    try:
        key = load_pem_private_key(data, password=None)
    except TypeError as error:  # what cryptography raises for a key with a passphrase
        raise InputError(
            f"{path} is locked with a passphrase: give an unlocked copy, kept safe by the system"
        ) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InputError(f"{path} is not a private key in PEM form: give the file that heldout keygen wrote") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise InputError(f"{path} is not an Ed25519 key: make one with heldout keygen")
    return key


def load_public_key(path: Path) -> Ed25519PublicKey:
    """The key to check with; a private key's public half will do.

    Raises:
        InputError: it cannot be read, or is another kind of key.
    """
    data = _read(path)
    if b"PRIVATE KEY" in data:
        return load_private_key(path).public_key()
    try:
        key = load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InputError(f"{path} is not a public key in PEM form: give the lab's key file (.pub)") from error
    if not isinstance(key, Ed25519PublicKey):
        raise InputError(f"{path} is not an Ed25519 key: ask the lab for the key that its report is signed with")
    return key


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_KEY_BYTES)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): give a key's file") from error
