"""TUF metadata over the list's two targets: what is signed next, given what is published. python-tuf does the formats.

Folder `metadata/` of the list, with consistent snapshots: `<n>.root.json`, `<n>.targets.json`, `<n>.snapshot.json` and,
moved last, `timestamp.json`. Versions only grow; until the timestamp names them, files of a run that died are replaced.
Source: https://theupdateframework.github.io/specification/latest/ §6.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from securesystemslib.signer._crypto_signer import CryptoSigner
from tuf.api.metadata import Metadata, MetaFile, Snapshot, TargetFile, Targets, Timestamp

from heldout.errors import NotFoundError, VerificationError
from registry.storage import ObjectStore

_S = TypeVar("_S", Targets, Snapshot, Timestamp)

METADATA = "metadata"
TARGETS = "targets"


@dataclass(frozen=True)
class Validity:
    """How long signed metadata is good for."""

    targets: timedelta = timedelta(days=30)
    snapshot: timedelta = timedelta(days=30)
    timestamp: timedelta = timedelta(days=7)
    """A list that was not published again within this time is stale to every lab."""
    renew_share: float = 0.5
    """Targets and snapshot are signed anew once this share of their time is gone."""


@dataclass(frozen=True)
class Signed:
    """The three online roles' metadata, as last published."""

    targets: Targets
    snapshot: Snapshot
    timestamp: Timestamp


class MetadataRepository:
    """Reads and writes the metadata of one list. One writer at a time: the caller holds a lock."""

    def __init__(self, store: ObjectStore, signers: Mapping[str, CryptoSigner], validity: Validity) -> None:
        self._store = store
        self._signers = signers
        self._validity = validity

    def load(self) -> Signed | None:
        """What is published; None before the first time.

        Raises:
            VerificationError: the timestamp names metadata that is not there.
        """
        try:
            timestamp = Metadata[Timestamp].from_bytes(self._store.read(f"{METADATA}/timestamp.json")).signed
        except NotFoundError:
            return None
        try:
            number = timestamp.snapshot_meta.version
            snapshot = Metadata[Snapshot].from_bytes(self._store.read(f"{METADATA}/{number}.snapshot.json")).signed
            number = snapshot.meta["targets.json"].version
            targets = Metadata[Targets].from_bytes(self._store.read(f"{METADATA}/{number}.targets.json")).signed
        except NotFoundError as error:
            raise VerificationError(f"the published list lacks metadata ({error}): restore the folder") from error
        return Signed(targets, snapshot, timestamp)

    def publish(self, targets: Mapping[str, bytes], roots: Mapping[int, bytes], *, now: datetime) -> None:
        """Sign and write what changed; the timestamp always, and last.

        Args:
            targets: the targets' content by name. It must be in the store already.
            roots: signed roots by version.
            now: expiry times count from here.
        """
        for version, data in roots.items():
            self._store.write(f"{METADATA}/{version}.root.json", data)
        self._store.replace(f"{METADATA}/root.json", roots[max(roots)])
        before = self.load()
        files = {name: TargetFile.from_data(name, data, ["sha256"]) for name, data in targets.items()}
        number = self._publish_targets(before, files, now)
        number = self._publish_snapshot(before, number, now)
        self._publish_timestamp(before, number, now)

    def _publish_targets(self, before: Signed | None, files: dict[str, TargetFile], now: datetime) -> int:
        old = before.targets if before else None
        if old and old.targets == files and self._is_fresh(old.expires, self._validity.targets, now):
            return old.version
        version = old.version + 1 if old else 1
        targets = Targets(version=version, expires=_expiry(now, self._validity.targets), targets=files)
        self._store.replace(f"{METADATA}/{version}.targets.json", self._sign(targets, "targets"))
        return version

    def _publish_snapshot(self, before: Signed | None, targets_version: int, now: datetime) -> int:
        old = before.snapshot if before else None
        meta = {"targets.json": MetaFile(version=targets_version)}
        if old and old.meta == meta and self._is_fresh(old.expires, self._validity.snapshot, now):
            return old.version
        version = old.version + 1 if old else 1
        snapshot = Snapshot(version=version, expires=_expiry(now, self._validity.snapshot), meta=meta)
        self._store.replace(f"{METADATA}/{version}.snapshot.json", self._sign(snapshot, "snapshot"))
        return version

    def _publish_timestamp(self, before: Signed | None, snapshot_version: int, now: datetime) -> None:
        timestamp = Timestamp(
            version=before.timestamp.version + 1 if before else 1,
            expires=_expiry(now, self._validity.timestamp),
            snapshot_meta=MetaFile(version=snapshot_version),
        )
        self._store.replace(f"{METADATA}/timestamp.json", self._sign(timestamp, "timestamp"))

    def _is_fresh(self, expires: datetime, validity: timedelta, now: datetime) -> bool:
        return expires - now > validity * (1 - self._validity.renew_share)

    def _sign(self, signed: _S, role: str) -> bytes:
        metadata = Metadata(signed)
        metadata.sign(self._signers[role])
        return metadata.to_bytes()


def _expiry(now: datetime, validity: timedelta) -> datetime:
    return now.replace(microsecond=0) + validity
