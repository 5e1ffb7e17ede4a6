"""The sequencer: named after what goes wrong."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import pytest
from sqlalchemy import text

from heldout.checkpoint import Checkpoint, Signer, open_checkpoint, sign_checkpoint
from heldout.errors import ConflictError, NotFoundError, UnavailableError, VerificationError
from heldout.layout import Tile
from heldout.merkle import leaf_hash, root_of, verify_consistency
from heldout.tiles import TileReader
from registry import log
from registry.db import Sessions
from registry.log import Sequencer
from registry.storage import CheckpointStore, FileCheckpointStore, FileStore, ObjectStore
from tests.registry.builders import ORIGIN, add_entries
from tests.registry.failing import FailingCheckpoints, FailingStore, Fuse, PowerCut, When, read_log

SIGNER = Signer(ORIGIN, b"\x01" * 32)


class World:
    """A database, a folder, and sequencers over them."""

    def __init__(self, sessions: Sessions, folder: Path) -> None:
        self.sessions = sessions
        self.store = FileStore(folder / "log")
        self.checkpoints = FileCheckpointStore(folder / "log", folder / "lock")
        self.n_added = 0

    def add(self, n: int) -> None:
        add_entries(self.sessions, [b"entry %d" % (self.n_added + i) for i in range(n)])
        self.n_added += n

    def sequencer(
        self,
        *,
        store: ObjectStore | None = None,
        checkpoints: CheckpointStore | None = None,
        signer: Signer = SIGNER,
    ) -> Sequencer:
        return Sequencer(self.sessions, store or self.store, checkpoints or self.checkpoints, signer)

    def run_until_power_cut(self, at: int, when: When) -> bool:
        """Whether there was a step to cut at."""
        fuse = Fuse(at, when)
        store, checkpoints = FailingStore(self.store, fuse), FailingCheckpoints(self.checkpoints, fuse)
        try:
            self.sequencer(store=store, checkpoints=checkpoints).sequence()
        except PowerCut:
            return True
        return False

    def entries(self) -> list[bytes]:
        return read_log(self.store, self.checkpoints, SIGNER.verifier)

    def expected(self) -> list[bytes]:
        return [b"entry %d" % i for i in range(self.n_added)]


@pytest.fixture
def world(sessions: Sessions, tmp_path: Path) -> World:
    return World(sessions, tmp_path)


def test_an_empty_log_gets_a_checkpoint(world: World) -> None:
    checkpoint = world.sequencer().sequence()
    assert (checkpoint.origin, checkpoint.size, checkpoint.root) == (ORIGIN, 0, root_of([]))
    assert world.entries() == []


def test_entries_are_in_the_order_they_came(world: World) -> None:
    sequencer = world.sequencer()
    for n in (1, 2, 5):
        world.add(n)
        assert sequencer.sequence().size == world.n_added
        assert world.entries() == world.expected()


def test_sequencing_without_news_changes_no_byte(world: World) -> None:
    world.add(3)
    world.sequencer().sequence()
    before = {path: path.read_bytes() for path in world.store.root.rglob("*") if path.is_file()}
    world.sequencer().sequence()
    assert {path: path.read_bytes() for path in world.store.root.rglob("*") if path.is_file()} == before


def test_growth_over_full_tiles_agrees_with_the_naive_tree_and_is_consistent(world: World) -> None:
    sequencer = world.sequencer()
    seen = []
    for n in (200, 55, 1, 1, 254, 2, 300):  # 200, 255, 256, 257, 511, 513, 813
        world.add(n)
        checkpoint = sequencer.sequence()
        assert checkpoint.root == root_of([leaf_hash(entry) for entry in world.expected()])
        assert world.entries() == world.expected()
        seen.append(checkpoint)
    reader = TileReader(world.store.read, seen[-1].size)
    for old in seen:
        proof = reader.consistency_proof(old.size)
        verify_consistency(old.size, old.root, seen[-1].size, seen[-1].root, proof)


def test_a_reader_of_an_old_checkpoint_still_finds_its_tiles(world: World) -> None:
    world.add(200)
    old = world.sequencer().sequence()
    world.add(100)
    world.sequencer().sequence()
    with pytest.raises(NotFoundError):  # the partial tile made way for the full one
        world.store.read(Tile(0, 0, 200).path)
    reader = TileReader(world.store.read, old.size)
    assert reader.root() == old.root
    assert list(reader.iter_entries()) == world.expected()[:200]


def test_more_entries_than_one_batch_are_all_sequenced(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "BATCH_SIZE", 4)
    world.add(10)
    assert world.sequencer().sequence().size == 10
    assert world.entries() == world.expected()


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("n_before", [0, 254])
def test_power_cut_at_every_step_loses_and_doubles_nothing(world: World, when: When, n_before: int) -> None:
    """With 254 entries before, the cuts also fall where tiles become full and a level is added."""
    if n_before:
        world.add(n_before)
        world.sequencer().sequence()
    at = 0
    while True:
        world.add(3)
        was_cut = world.run_until_power_cut(at, when)
        seen = world.entries()
        assert seen == world.expected()[: len(seen)]
        world.sequencer().sequence()
        assert world.entries() == world.expected()
        if not was_cut:
            break
        at += 1
    assert at >= 3, "bundle, tile and checkpoint are steps"


def test_entries_that_come_after_a_power_cut_come_after_in_the_log(world: World) -> None:
    world.add(2)
    assert world.run_until_power_cut(0, "before")
    world.add(2)
    world.sequencer().sequence()
    assert world.entries() == world.expected()


class Interrupted(FailingCheckpoints):
    """Something happens just before the checkpoint moves."""

    def __init__(self, store: CheckpointStore, meanwhile: Callable[[], object]) -> None:
        super().__init__(store, Fuse(-1))
        self._meanwhile: Callable[[], object] | None = meanwhile

    def compare_and_swap(self, old: bytes | None, new: bytes) -> None:
        if self._meanwhile is not None:
            meanwhile, self._meanwhile = self._meanwhile, None
            meanwhile()
        super().compare_and_swap(old, new)


def test_two_sequencers_at_once_agree(world: World) -> None:
    def other() -> None:
        world.add(300)
        world.sequencer().sequence()

    world.add(5)
    first = world.sequencer(checkpoints=Interrupted(world.checkpoints, other))
    assert first.sequence().size == 305
    assert world.entries() == world.expected()


class FullDisk:
    """A store whose disk is full from the n-th write on, until somebody makes room."""

    def __init__(self, store: ObjectStore, n_writes: int) -> None:
        self._store = store
        self.n_left = n_writes

    def read(self, path: str) -> bytes:
        return self._store.read(path)

    def write(self, path: str, data: bytes) -> None:
        self._take()
        self._store.write(path, data)

    def replace(self, path: str, data: bytes) -> None:
        self._take()
        self._store.replace(path, data)

    def discard(self, path: str) -> None:
        self._store.discard(path)

    def iter_files(self, folder: str) -> Iterator[tuple[str, datetime]]:
        return self._store.iter_files(folder)

    def _take(self) -> None:
        if self.n_left == 0:
            raise UnavailableError("no space left on device: check the disk")
        self.n_left -= 1


class FullCheckpoints(FailingCheckpoints):
    """As `FullDisk`, of the checkpoint."""

    def __init__(self, store: CheckpointStore, disk: FullDisk) -> None:
        super().__init__(store, Fuse(-1))
        self._disk = disk

    def compare_and_swap(self, old: bytes | None, new: bytes) -> None:
        self._disk._take()
        super().compare_and_swap(old, new)


@pytest.mark.parametrize("n_before", [0, 254])
def test_a_full_disk_at_any_write_loses_nothing_and_the_same_sequencer_goes_on(world: World, n_before: int) -> None:
    world.add(n_before)
    world.sequencer().sequence()
    n_failures = 0
    for n_writes in range(100):
        world.add(3)
        disk = FullDisk(world.store, n_writes)
        sequencer = world.sequencer(store=disk, checkpoints=FullCheckpoints(world.checkpoints, disk))
        seen = world.entries()
        try:
            sequencer.sequence()
        except UnavailableError:
            n_failures += 1
            assert world.entries() == seen == world.expected()[: len(seen)]
        else:
            break
        disk.n_left = 1_000
        assert sequencer.sequence().size == world.n_added
        assert world.entries() == world.expected()
    assert n_failures >= 3, "bundle, tile and checkpoint are writes"
    assert world.entries() == world.expected()


def test_a_disk_the_system_says_is_full_leaves_no_half_file(tmp_path: Path) -> None:
    """The real thing: the system refuses to let files grow."""
    script = """
import resource, signal, sys
from pathlib import Path
from heldout.errors import UnavailableError
from registry.storage import FileCheckpointStore, FileStore
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
root = Path(sys.argv[1])
for write in (
    lambda: FileStore(root).write("tile/0/000", bytes(8192)),
    lambda: FileStore(root).replace("checkpoint", bytes(8192)),
    lambda: FileCheckpointStore(root, root / "lock").compare_and_swap(b"old", bytes(8192)),
):
    try:
        write()
    except UnavailableError as error:
        print(error)
"""
    (tmp_path / "checkpoint").write_bytes(b"old")
    command = [sys.executable, "-c", script, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])  # noqa: S603
    assert done.stdout.count("check the disk") == 3
    files = {path.relative_to(tmp_path).as_posix(): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {"checkpoint": b"old", "lock": b""}


def test_a_sequencer_that_never_gets_its_turn_gives_up(world: World) -> None:
    class Contended(FailingCheckpoints):
        def compare_and_swap(self, old: bytes | None, new: bytes) -> None:
            del old, new
            raise ConflictError("moved")

    world.add(1)
    with pytest.raises(Exception, match="run it again"):
        world.sequencer(checkpoints=Contended(world.checkpoints, Fuse(-1))).sequence()
    assert world.entries() == []


def test_another_key_is_refused(world: World) -> None:
    world.add(1)
    world.sequencer().sequence()
    note = world.checkpoints.load()
    world.add(1)
    for signer in (Signer(ORIGIN, b"\x02" * 32), Signer("other.example/log", b"\x01" * 32)):
        with pytest.raises(VerificationError):
            world.sequencer(signer=signer).sequence()
    assert world.checkpoints.load() == note


def test_a_database_from_an_old_backup_is_refused(world: World, sessions: Sessions) -> None:
    world.add(3)
    world.sequencer().sequence()
    with sessions.begin() as session:  # as if the last two events had never been
        session.execute(text("UPDATE sequencer SET next_index = 1"))
    with pytest.raises(VerificationError, match="old backup"):
        world.sequencer().sequence()
    assert len(world.entries()) == 3


def test_a_changed_tile_is_refused(world: World) -> None:
    world.add(1)
    world.sequencer().sequence()
    (world.store.root / "tile/0/000.p/1").write_bytes(leaf_hash(b"another"))
    world.add(1)
    with pytest.raises(VerificationError, match="do not give the root"):
        world.sequencer().sequence()


def test_a_database_whose_events_are_not_the_logs_is_refused(world: World) -> None:
    """As many events, but others: say, restored from a backup and then written to."""
    world.store.write("tile/0/000.p/1", leaf_hash(b"another"))
    note = sign_checkpoint(Checkpoint(ORIGIN, 1, leaf_hash(b"another")), SIGNER)
    world.checkpoints.compare_and_swap(None, note.encode())
    world.add(2)
    with world.sessions.begin() as session:
        session.execute(text("UPDATE events SET log_index = 0 WHERE id = (SELECT min(id) FROM events)"))
        session.execute(text("UPDATE sequencer SET next_index = 1"))
    with pytest.raises(VerificationError, match="are not the log's"):
        world.sequencer().sequence()
    assert world.checkpoints.load() == note.encode()


def test_a_database_that_lost_events_is_refused(world: World) -> None:
    world.add(1)
    world.sequencer().sequence()
    with world.sessions.begin() as session:
        session.execute(text("UPDATE sequencer SET next_index = 3"))
    with pytest.raises(VerificationError, match="lacks some of the log's entries"):
        world.sequencer().sequence()
    assert len(world.entries()) == 1


def test_a_lost_tile_is_refused(world: World) -> None:
    world.add(2)
    world.sequencer().sequence()
    (world.store.root / "tile/0/000.p/2").unlink()
    world.add(1)
    with pytest.raises(VerificationError, match="lacks a tile"):
        world.sequencer().sequence()


def test_a_lost_folder_does_not_start_a_second_log(world: World, tmp_path: Path) -> None:
    world.add(2)
    world.sequencer().sequence()
    world.add(1)
    empty = tmp_path / "empty"
    with pytest.raises(VerificationError, match="would be rewritten"):
        world.sequencer(store=FileStore(empty), checkpoints=FileCheckpointStore(empty, tmp_path / "lock2")).sequence()
    assert not empty.exists()


def test_another_root_is_never_signed_for_a_size(world: World, sessions: Sessions) -> None:
    world.add(1)
    with sessions.begin() as session:
        session.execute(text("INSERT INTO checkpoints VALUES (1, :root)"), {"root": b"\x09" * 32})
    empty = sign_checkpoint(Checkpoint(ORIGIN, 0, root_of([])), SIGNER)
    world.checkpoints.compare_and_swap(None, empty.encode())
    with pytest.raises(VerificationError, match="two logs"):
        world.sequencer().sequence()


def test_the_published_note_is_a_c2sp_checkpoint(world: World) -> None:
    world.add(1)
    checkpoint = world.sequencer().sequence()
    note = world.checkpoints.load()
    assert note is not None
    assert note.decode().split("\n")[:2] == [ORIGIN, "1"]
    assert open_checkpoint(note, SIGNER.verifier) == checkpoint
