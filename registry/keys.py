"""The operator's keys: one for the log (a signed-note skey), one for each TUF role of the list. Files of mode 0600.

    keys/log.skey, log.vkey                                  the log's private and public key
    keys/{root,targets,snapshot,timestamp}.pem               TUF role keys, Ed25519, PKCS8
    keys/root.json                                           the signed TUF root: what labs are given to trust

After keygen, `root.pem` is needed only to renew or change the root: move it off the machine.
"""

import os
import shutil
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import mkdtemp

from cryptography.hazmat.primitives.serialization import load_pem_private_key
from securesystemslib.signer._crypto_signer import CryptoSigner
from tuf.api.metadata import Metadata, Root

from heldout.checkpoint import Signer, Verifier
from heldout.errors import ConflictError, InputError, NotFoundError

LOG_SKEY = "log.skey"
LOG_VKEY = "log.vkey"
ROOT_JSON = "root.json"
ONLINE_ROLES = ("targets", "snapshot", "timestamp")
ROOT_VALIDITY = timedelta(days=365)


@dataclass(frozen=True)
class Keys:
    """What publishing needs. The root's private key is not among it."""

    log: Signer
    roles: dict[str, CryptoSigner]
    """By role: targets, snapshot, timestamp."""
    roots: dict[int, bytes]
    """Signed root metadata by version."""

    @property
    def root_expires_at(self) -> datetime:
        """When the newest root expires, and with it every list."""
        return Metadata[Root].from_bytes(self.roots[max(self.roots)]).signed.expires


def keygen(folder: Path, origin: str, *, now: datetime) -> Verifier:
    """Make all keys and the first root, in a new folder of mode 0700; all of it or nothing.

    Args:
        folder: must not exist, or be empty.
        origin: name of the log: its URL without scheme, as `registry.example/log`.
        now: the root expires `ROOT_VALIDITY` later.

    Returns:
        The log's public key.

    Raises:
        ConflictError: there are keys already; they are never overwritten.
        InputError: the origin cannot be a key's name.
    """
    if folder.exists() and any(folder.iterdir()):
        raise ConflictError(f"{folder} holds keys already: keys are never overwritten; move them away to make new ones")
    log = Signer.generate(origin)
    roles = {role: CryptoSigner.generate_ed25519() for role in ("root", *ONLINE_ROLES)}
    root = Root(version=1, expires=_expiry(now), consistent_snapshot=True)
    for role, signer in roles.items():
        root.add_key(signer.public_key, role)
    folder.parent.mkdir(parents=True, exist_ok=True)
    staged = Path(mkdtemp(prefix=".keys-", dir=folder.parent))  # of mode 0700
    _write_private(staged / LOG_SKEY, f"{log.skey}\n".encode())
    _write_private(staged / LOG_VKEY, f"{log.verifier.vkey}\n".encode())
    for role, signer in roles.items():
        _write_private(staged / f"{role}.pem", signer.private_bytes)
    _write_private(staged / _root_name(1), _signed(root, roles["root"]))
    try:
        staged.rename(folder)
    except OSError as error:  # another process made keys meanwhile
        shutil.rmtree(staged, ignore_errors=True)
        raise ConflictError(f"{folder} cannot be made ({error.strerror}): see what is there") from error
    return log.verifier


def renew_root(folder: Path, *, now: datetime) -> int:
    """Sign the next version of the root, with the same keys and a new expiry; its version.

    Raises:
        NotFoundError: the keys, or the root's private key, are not there.
    """
    roots = _load_roots(folder)
    version = max(roots) + 1
    root = Metadata[Root].from_bytes(roots[version - 1]).signed
    root.version, root.expires = version, _expiry(now)
    _write_private(folder / _root_name(version), _signed(root, _load_pem(folder / "root.pem")))
    return version


def load_keys(folder: Path) -> Keys:
    """Keys as `keygen` made them.

    Raises:
        NotFoundError: a file is missing.
        InputError: a file is not the key it should be.
    """
    log = Signer.parse(_read(folder / LOG_SKEY).decode("ascii", "replace"))
    return Keys(log, {role: _load_pem(folder / f"{role}.pem") for role in ONLINE_ROLES}, _load_roots(folder))


def _root_name(version: int) -> str:
    return f"{version}.{ROOT_JSON}"


def _load_roots(folder: Path) -> dict[int, bytes]:
    roots: dict[int, bytes] = {}
    while (folder / _root_name(len(roots) + 1)).exists():
        roots[len(roots) + 1] = _read(folder / _root_name(len(roots) + 1))
    if not roots:
        raise NotFoundError(f"there is no {_root_name(1)} in {folder}: run python -m registry keygen")
    return roots


def _load_pem(path: Path) -> CryptoSigner:
    try:
        return CryptoSigner(load_pem_private_key(_read(path), None))
    except (ValueError, TypeError) as error:
        raise InputError(f"{path} is not an unencrypted private key in PEM: restore the file keygen wrote") from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise NotFoundError(
            f"{path} cannot be read ({error.strerror}): run python -m registry keygen, or restore it"
        ) from error


def _signed(root: Root, signer: CryptoSigner) -> bytes:
    metadata = Metadata(root)
    metadata.sign(signer)
    return metadata.to_bytes()


def _expiry(now: datetime) -> datetime:
    return now.replace(microsecond=0) + ROOT_VALIDITY


def _write_private(path: Path, data: bytes) -> None:
    """Create a file only the owner can read, durable on return. FileExistsError if it is there."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
