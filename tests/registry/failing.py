"""Stores that lose power at a chosen step, and the check of what a reader must never see."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from heldout.checkpoint import Verifier, open_checkpoint
from heldout.layout import iter_new_bundles, iter_new_tiles
from heldout.merkle import leaf_hash, root_of
from heldout.tiles import TileReader
from registry.storage import CheckpointStore, ObjectStore

When = Literal["before", "after"]


class PowerCut(Exception):  # noqa: N818
    """The machine stopped here."""


@dataclass
class Fuse:
    """Stops the machine before or after the n-th change, counted from 0; never if `at` is negative."""

    at: int
    when: When = "before"
    n_steps: int = 0

    def step(self, change: Callable[[], None]) -> None:
        number, self.n_steps = self.n_steps, self.n_steps + 1
        if self.at >= 0 and number > self.at:
            raise AssertionError("the machine went on after the power cut")
        if number == self.at and self.when == "before":
            raise PowerCut
        change()
        if number == self.at:
            raise PowerCut


class FailingStore:
    """An object store whose changes go through a fuse."""

    def __init__(self, store: ObjectStore, fuse: Fuse) -> None:
        self._store = store
        self._fuse = fuse

    def read(self, path: str) -> bytes:
        return self._store.read(path)

    def write(self, path: str, data: bytes) -> None:
        self._fuse.step(lambda: self._store.write(path, data))

    def replace(self, path: str, data: bytes) -> None:
        self._fuse.step(lambda: self._store.replace(path, data))

    def discard(self, path: str) -> None:
        self._fuse.step(lambda: self._store.discard(path))

    def iter_files(self, folder: str) -> Iterator[tuple[str, datetime]]:
        return self._store.iter_files(folder)


class FailingCheckpoints:
    """A checkpoint store whose changes go through a fuse."""

    def __init__(self, store: CheckpointStore, fuse: Fuse) -> None:
        self._store = store
        self._fuse = fuse

    def load(self) -> bytes | None:
        return self._store.load()

    def compare_and_swap(self, old: bytes | None, new: bytes) -> None:
        self._fuse.step(lambda: self._store.compare_and_swap(old, new))


def read_log(store: ObjectStore, checkpoints: CheckpointStore, verifier: Verifier) -> list[bytes]:
    """All entries under the published checkpoint, read as a stranger would, every tile and bundle checked."""
    note = checkpoints.load()
    if note is None:
        return []
    checkpoint = open_checkpoint(note, verifier)
    reader = TileReader(store.read, checkpoint.size)
    for tile in iter_new_tiles(0, checkpoint.size):
        assert tile.level is not None
        assert len(reader.tile(tile.level, tile.index)) == tile.width
    for bundle in iter_new_bundles(0, checkpoint.size):
        assert len(reader.entries(bundle.index)) == bundle.width
    entries = list(reader.iter_entries())
    assert root_of([leaf_hash(entry) for entry in entries]) == checkpoint.root == reader.root()
    return entries
