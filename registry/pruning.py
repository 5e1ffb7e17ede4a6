"""Removing what no reader of the published list can still need.

Everything that is named by its digest stays on the disk until this removes it. Kept are: the roots; TUF metadata that
is in force or was so within `Retention.history`, with the manifests and proofs it names; as far back the chain of
manifests before the newest, each with its delta; and the data files of the versions that are in force or were so
within `Retention.data_files`, so that whoever is in the middle of a pull finds all of it. Nothing that was written
within `Retention.data_files` goes at all: a run that has just died may have left it for the next one.

What refers goes before what is referred to, so that a run that dies leaves no reference to what is not there.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from tuf.api.metadata import Metadata, Targets

from heldout.errors import NotFoundError
from heldout.manifest import Manifest, parse_manifest
from registry.storage import ObjectStore

METADATA: Final = "metadata"
TARGETS: Final = "targets"
FILES: Final = "files"
MANIFEST: Final = "manifest.json"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Retention:
    """How long what was superseded stays."""

    data_files: timedelta = timedelta(days=2)
    """For readers in the middle of a pull, and mirrors that copy once a day."""
    history: timedelta = timedelta(days=30)
    """Who last pulled longer ago fetches the list whole."""


class Pruner:
    """Prunes one list. One at a time: the caller holds the publisher's lock."""

    def __init__(self, lists: ObjectStore, retention: Retention) -> None:
        self._lists = lists
        self._retention = retention

    def prune(self, snapshot: int, targets: int, *, now: datetime) -> int:
        """Remove what is not needed.

        Args:
            snapshot: number of the snapshot metadata in force.
            targets: number of the targets metadata in force.
            now: ages count back from here.

        Returns:
            Number of files removed.

        Raises:
            NotFoundError, VerificationError: something that is published is missing or damaged. Nothing was removed.
            UnavailableError: the disk failed.
        """
        there = {
            path: modified for folder in (METADATA, TARGETS, FILES) for path, modified in self._lists.iter_files(folder)
        }
        keep = set(self._needed(there, snapshot, targets, now))
        old = [
            path for path, modified in there.items() if path not in keep and modified < now - self._retention.data_files
        ]
        for path in old:  # in the order of the folders: what refers first
            self._lists.discard(path)
        if old:
            logger.info("list_pruned", extra={"n_files": len(old)})
        return len(old)

    def _needed(self, there: dict[str, datetime], snapshot: int, targets: int, now: datetime) -> Iterator[str]:
        yield f"{METADATA}/timestamp.json"
        yield from (path for path in there if path.startswith(f"{METADATA}/") and path.endswith("root.json"))
        history, grace = now - self._retention.history, now - self._retention.data_files
        for number in _recent("snapshot", snapshot, there, history):
            yield f"{METADATA}/{number}.snapshot.json"
        manifests: dict[str, Manifest] = {}
        recent: list[str] = []  # manifests whose data files a reader may be fetching
        for number in _recent("targets", targets, there, history):
            path = f"{METADATA}/{number}.targets.json"
            yield path
            for name, file in Metadata[Targets].from_bytes(self._lists.read(path)).signed.targets.items():
                named = f"{TARGETS}/{file.hashes['sha256']}.{name}"
                yield named
                if name == MANIFEST:
                    manifests[named] = parse_manifest(self._lists.read(named))
                    if number == targets or there[f"{METADATA}/{number + 1}.targets.json"] > grace:
                        recent.append(named)
        newest = recent[0]
        manifests |= self._before(newest, manifests[newest], there, history)
        yield from manifests
        for manifest in manifests.values():
            if manifest.delta is not None:
                yield f"{FILES}/{manifest.delta.sha256.hex()}.delta"
        for name in recent:
            yield from (f"{FILES}/{file.sha256.hex()}.parquet" for file in manifests[name].files.values())

    def _before(
        self, path: str, manifest: Manifest, there: dict[str, datetime], since: datetime
    ) -> dict[str, Manifest]:
        """The chain of manifests before this one that were in force since then."""
        found: dict[str, Manifest] = {}
        while manifest.previous is not None and there[path] > since:
            path = f"{TARGETS}/{manifest.previous.sha256.hex()}.{MANIFEST}"
            try:
                manifest = parse_manifest(self._lists.read(path))
            except NotFoundError:  # pruned by a shorter retention
                break
            found[path] = manifest
        return found


def _recent(role: str, current: int, there: dict[str, datetime], since: datetime) -> Iterator[int]:
    """The number in force, then the ones before it that were so since then."""
    number = current
    while True:
        yield number
        path = f"{METADATA}/{number}.{role}.json"
        number -= 1
        if f"{METADATA}/{number}.{role}.json" not in there or there[path] <= since:
            return
