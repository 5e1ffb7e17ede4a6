"""Fetching a list from a site, and switching to it only once everything about it is proved.

TUF (python-tuf's client) guards against rollback, freeze, mix-and-match, and key loss; on top of it the manifest must
be an entry of the log it names, that log must extend the one seen at the last pull, and the witnesses asked for must
have signed it. The site is not trusted with anything, and mirrors less: what is small and signed comes from the site,
data files from wherever they are (`heldout.mirrors`). The trusted root comes from elsewhere. Files on disk:
`heldout.stored`.
"""

import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import httpx
from tuf.api.exceptions import (
    BadVersionNumberError,
    DownloadError,
    DownloadLengthMismatchError,
    ExpiredMetadataError,
    RepositoryError,
)
from tuf.ngclient.config import UpdaterConfig
from tuf.ngclient.updater import Updater

from heldout.checkpoint import Checkpoint
from heldout.data_files import DataFiles, Progress
from heldout.deltas import Deltas
from heldout.download import Downloads, TufFetcher, base_url
from heldout.durable import locked, remove_parts, sync_folder, write_durably
from heldout.errors import InputError, NotFoundError, UnavailableError, VerificationError
from heldout.layout import TILE_WIDTH
from heldout.manifest import Manifest, parse_manifest
from heldout.merkle import HASH_SIZE, verify_consistency
from heldout.mirrors import Mirrors
from heldout.stored import (
    MANIFEST,
    PROOF,
    ListFolder,
    LoggedManifest,
    ProvedVersion,
    check_canonicalisation,
    verify_version,
)
from heldout.tiles import TileReader
from heldout.trust import check_root
from heldout.witnesses import WitnessPolicy

MAX_TARGET_BYTES: Final = 16_000_000
"""Largest manifest or log proof read. A manifest with 4,096 files has half a megabyte."""

MAX_ROOT_BYTES: Final = 512_000

_VERSION_NAME = re.compile(r"[0-9]+-[0-9]+", re.ASCII)


@dataclass(frozen=True)
class PullResult:
    """What a pull left in the folder."""

    path: Path
    manifest: Manifest
    manifest_sha256: bytes
    expires_at: datetime
    """The list is stale from then on."""
    is_new: bool
    """Whether the version differs from the one that was there."""
    is_vouched: bool
    """False if the root was taken from the server itself."""
    witnesses: tuple[str, ...]
    """Those of the policy that cosigned, by its names."""
    n_deltas: int
    """Deltas that data files were made with; 0 if whole files were fetched."""
    delta_doubt: str | None
    """Why whole files were fetched after all, in words."""
    n_bytes: int = 0
    """Bytes of data files and deltas that were fetched."""
    refused: tuple[str, ...] = ()
    """Mirrors that did not answer, or not with what was signed for, in words."""


def pull(
    url: str,
    out: Path,
    *,
    root: Path | None = None,
    allow_unverified: bool = False,
    mirrors: Sequence[str] = (),
    witnesses: WitnessPolicy | None = None,
    transport: httpx.BaseTransport | None = None,
    now: datetime | None = None,
    progress: Progress | None = None,
) -> PullResult:
    """Fetch or update the list of a site into a folder.

    Atomic: on any error the folder's current version stays as it was. Data files at hand are not fetched again, and
    what there is of one is gone on with.

    Args:
        url: the site's base address; the list is at `list/` and the log at `log/` below it. http, https, an object
            store's (s3://bucket/prefix) or a folder.
        out: the list's folder, made if need be.
        root: trusted root metadata; needed at the first pull.
        allow_unverified: at the first pull, take the root from the server itself. The folder is then marked, and
            whoever uses it must allow this again. Nothing else is relaxed.
        mirrors: base addresses to take data files from, in this order; what they lack is taken from the site.
        witnesses: who must have cosigned the log's checkpoint.
        transport: httpx's, for tests.
        now: for tests of freshness.
        progress: told about data files as they arrive.

    Raises:
        InputError: no root was given, or it is another than the folder's; the URL cannot be asked.
        ConflictError: another process is pulling into the folder.
        UnavailableError: the server or the disk failed.
        VerificationError: the server's list, or the folder's own, does not prove itself.
    """
    now = now or datetime.now(UTC)
    folder = ListFolder(out)
    url, bases = base_url(url), [base_url(mirror) for mirror in mirrors]
    try:
        folder.versions.mkdir(parents=True, exist_ok=True)
        folder.files.mkdir(exist_ok=True)
        with locked(out / ".lock"), Downloads(transport) as downloads:
            sources = Mirrors(downloads, [*bases, url])
            run = _Pull(url, folder, downloads, now, witnesses, sources)
            result = run.run(root, DataFiles(folder, sources, progress), allow_unverified=allow_unverified)
            return replace(result, n_bytes=sources.n_bytes, refused=tuple(map(str, sources.refused.values())))
    except OSError as error:
        raise UnavailableError(
            f"{error.filename or out} cannot be written ({_reason(error)}): check the disk; nothing is lost"
        ) from error


@dataclass(frozen=True)
class _Pull:
    _url: str
    _folder: ListFolder
    _downloads: Downloads
    _now: datetime
    _policy: WitnessPolicy | None
    _sources: Mirrors

    def run(self, root: Path | None, files: DataFiles, *, allow_unverified: bool) -> PullResult:
        trusted_root, is_vouched = self._trusted_root(root, allow_unverified=allow_unverified)
        held = self._held(trusted_root)
        staged = Path(tempfile.mkdtemp(prefix=".staged-", dir=self._folder.versions))
        try:
            if held is not None:  # TUF's memory of versions seen, against rollback
                shutil.copytree(self._folder.versions / held.name / "metadata", staged / "metadata", symlinks=True)
            self._fetch_signed(trusted_root, staged)
            proved = verify_version(self._folder, staged.name, trusted_root=trusted_root, now=self._now)
            logged = proved.logged
            check_canonicalisation(logged.manifest)
            witnesses = self._check_witnessed(staged, logged)
            log = TileReader(self._read_log, logged.checkpoint.size)
            _check_grown(log, logged.manifest.log.size, logged.manifest.log.root, logged.checkpoint)
            if held is not None:
                self._check_succession(held.logged, logged, log)
            deltas = None if held is None else Deltas(self._folder, held.logged, self._read_target, self._sources)
            files.bring(logged.manifest, deltas)
            self._switch(staged, proved, trusted_root, is_vouched=is_vouched)
        finally:
            shutil.rmtree(staged, ignore_errors=True)
        self._sweep()
        return PullResult(
            path=self._folder.path,
            manifest=logged.manifest,
            manifest_sha256=logged.sha256,
            expires_at=proved.trusted.expires_at,
            is_new=held is None or held.logged.sha256 != logged.sha256,
            is_vouched=is_vouched,
            witnesses=witnesses,
            n_deltas=0 if deltas is None else deltas.n_applied,
            delta_doubt=None if deltas is None else deltas.doubt,
        )

    def _read_target(self, path: str) -> bytes:
        return self._downloads.read(f"{self._url}/{path}", MAX_TARGET_BYTES)

    def _check_witnessed(self, staged: Path, logged: LoggedManifest) -> tuple[str, ...]:
        """Who of the policy cosigned the checkpoint that the list is proved by."""
        if self._policy is None:
            return ()
        try:
            return self._policy.check_list((staged / PROOF).read_bytes(), logged.manifest.log.vkey)
        except VerificationError as error:
            raise VerificationError(f"the list at {self._url}: {error}; the list at hand was kept") from error

    def _trusted_root(self, root: Path | None, *, allow_unverified: bool) -> tuple[bytes, bool]:
        """The root metadata to start from, and whether someone other than the server vouched for it."""
        given = None if root is None else _read_root(root)
        held = self._folder.root.read_bytes() if self._folder.root.exists() else None
        if given is not None:
            if held is not None and held != given:
                raise InputError(
                    f"{root} is another root than {self._folder.root}: pull into a new folder, or leave --root out"
                )
            return given, True
        if held is not None:
            if self._folder.unverified.exists() and not allow_unverified:
                raise VerificationError(
                    f"{self._folder.path} was pulled without a trusted root: give --root FILE, "
                    "or --allow-unverified again"
                )
            return held, not self._folder.unverified.exists()
        if not allow_unverified:
            raise VerificationError(
                f"there is no trusted root for {self._url}: get its root.json from elsewhere than the server and give "
                "--root FILE, or take the server's word with --allow-unverified"
            )
        data = self._downloads.read(f"{self._url}/list/metadata/root.json", MAX_ROOT_BYTES)
        check_root(data, name=f"{self._url}/list/metadata/root.json")
        return data, False

    def _held(self, trusted_root: bytes) -> ProvedVersion | None:
        """The version in force; its age does not matter here."""
        try:
            name = self._folder.current_name()
        except NotFoundError:
            return None
        try:
            return verify_version(self._folder, name, trusted_root=trusted_root, now=None)
        except VerificationError as error:
            raise VerificationError(
                f"what {self._folder.path} holds no longer verifies ({error}), so a rollback could not be seen: move "
                "the folder away and pull anew with --root"
            ) from error

    def _fetch_signed(self, trusted_root: bytes, staged: Path) -> None:
        """The TUF client workflow, then the two targets."""
        (staged / "metadata").mkdir(exist_ok=True)
        metadata_url = f"{self._url}/list/metadata/"
        try:
            updater = Updater(
                str(staged / "metadata"),
                metadata_url,
                target_base_url=f"{self._url}/list/targets/",
                fetcher=TufFetcher(self._downloads),
                config=UpdaterConfig(root_max_length=MAX_ROOT_BYTES),
                bootstrap=trusted_root,
            )
            updater.refresh()
            for name in (MANIFEST, PROOF):
                target = updater.get_targetinfo(name)
                if target is None or target.length > MAX_TARGET_BYTES:
                    raise VerificationError(f"{metadata_url} does not sign for a {name} of sensible size")
                updater.download_target(target, str(staged / name))
        except ExpiredMetadataError as error:
            raise VerificationError(
                f"the list at {self._url} is stale ({error}): its operator stopped publishing, or someone withholds "
                "what is newer; the list at hand was kept"
            ) from error
        except BadVersionNumberError as error:
            raise VerificationError(
                f"the list at {self._url} is older than one seen before ({error}); the list at hand was kept"
            ) from error
        except (RepositoryError, DownloadLengthMismatchError) as error:
            raise VerificationError(
                f"the list at {self._url} does not verify ({error}); the list at hand was kept"
            ) from error
        except DownloadError as error:
            raise UnavailableError(f"the list at {self._url} could not be fetched: {error}") from error

    def _check_succession(self, held: LoggedManifest, logged: LoggedManifest, log: TileReader) -> None:
        """The new list comes after the one at hand, in the same log, which only grew."""
        old, new = held.manifest, logged.manifest
        if (old.log.origin, old.log.vkey) != (new.log.origin, new.log.vkey):
            raise VerificationError(
                f"the log at {self._url} changed its name or key, from {old.log.vkey} to {new.log.vkey}: find out why, "
                "then pull into a new folder"
            )
        if new.version < old.version or (new.version == old.version and held.sha256 != logged.sha256):
            raise VerificationError(
                f"the server shows list version {new.version} ({logged.sha256.hex()[:16]}...) after {old.version} "
                f"({held.sha256.hex()[:16]}...); the list at hand was kept"
            )
        if new.version == old.version + 1 and (new.previous is None or new.previous.sha256 != held.sha256):
            raise VerificationError(f"list version {new.version} does not name the version {old.version} seen before")
        _check_grown(log, held.checkpoint.size, held.checkpoint.root, logged.checkpoint)

    def _read_log(self, path: str) -> bytes:
        url = f"{self._url}/log/{path}"
        limit = TILE_WIDTH * HASH_SIZE
        try:
            return self._downloads.read(url, limit)
        except NotFoundError as error:
            full, dot_p, width = path.partition(".p/")
            try:
                if dot_p:  # a log may drop a partial tile once the full one is there
                    return self._downloads.read(f"{self._url}/log/{full}", limit)[: int(width) * HASH_SIZE]
            except NotFoundError:
                pass
            raise VerificationError(f"the log lacks {url}, so that it cannot prove that it only grew") from error

    def _switch(self, staged: Path, proved: ProvedVersion, trusted_root: bytes, *, is_vouched: bool) -> None:
        """The one place where the folder's state changes; CURRENT is last."""
        if not is_vouched:
            write_durably(
                self._folder.unverified, b"The root was taken from the server itself: see heldout pull --root.\n"
            )
        if not self._folder.root.exists():
            write_durably(self._folder.root, trusted_root)
        name = f"{proved.logged.manifest.version}-{proved.trusted.timestamp_version}"
        # The name may be taken by the version in force, if the server signed nothing new, or by a pull that died here.
        if not self._folder.current.exists() or self._folder.current_name() != name:
            target = self._folder.versions / name
            shutil.rmtree(target, ignore_errors=True)
            for path in (staged, *staged.rglob("*")):
                # A list is public, and may be pulled by one user for many; temporary files are made private.
                path.chmod(0o755 if path.is_dir() else 0o644)
                if path.is_file():
                    _sync_file(path)
            staged.rename(target)
            sync_folder(self._folder.versions)
            write_durably(self._folder.current, f"{name}\n".encode())
        if is_vouched:
            self._folder.unverified.unlink(missing_ok=True)

    def _sweep(self) -> None:
        """Remove what neither the version in force nor the one before needs, and leftovers of pulls that died."""
        names = [path.name for path in self._folder.versions.iterdir() if _VERSION_NAME.fullmatch(path.name)]
        names.sort(key=_numbers)
        current = self._folder.current_name()
        position = names.index(current)
        keep = set(names[max(0, position - 1) : position + 1])
        # A list that was only signed anew is the same list: reports may still be about the one before it.
        keep.update([name for name in names[:position] if _numbers(name)[0] < _numbers(current)[0]][-1:])
        for path in self._folder.versions.iterdir():
            if path.name not in keep:
                shutil.rmtree(path, ignore_errors=True)
        manifests = [parse_manifest((self._folder.versions / name / MANIFEST).read_bytes()) for name in keep]
        needed = {self._folder.data_file(file).name for manifest in manifests for file in manifest.files.values()}
        for path in self._folder.files.iterdir():
            if path.name not in needed:
                path.unlink(missing_ok=True)
        for path in (self._folder.current, self._folder.root, self._folder.unverified):
            remove_parts(path)


def _numbers(name: str) -> list[int]:
    """Of a version's folder: the list's version, and that of the signed timestamp."""
    return [int(part) for part in name.split("-")]


def _check_grown(log: TileReader, old_size: int, old_root: bytes, new: Checkpoint) -> None:
    """The log of this size and root grew into the checkpoint's, by the log's tiles."""
    if old_size > new.size:
        raise VerificationError(
            f"the log went back from {old_size} to {new.size} entries, so something was taken out; "
            "the list at hand was kept"
        )
    verify_consistency(old_size, old_root, new.size, new.root, log.consistency_proof(old_size))


def _read_root(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): give the trusted root.json") from error
    try:
        check_root(data, name=str(path))
    except VerificationError as error:
        raise InputError(f"{error}: give the site's root.json") from error
    return data


def _reason(error: OSError) -> str:
    """Why a file could not be written. shutil gathers the errors of several: the first will do."""
    if isinstance(error, shutil.Error):
        return str(error.args[0][0][2]).partition(": '")[0]
    return error.strerror or str(error)


def _sync_file(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
