"""The file store: immutable files, atomic replacement, and the checkpoint's compare-and-swap."""

import threading
from pathlib import Path

import pytest

from heldout.errors import ConflictError, InputError, NotFoundError, UnavailableError
from registry.storage import FileCheckpointStore, FileStore


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "public")


def test_what_was_written_is_read(store: FileStore) -> None:
    store.write("tile/0/x001/234.p/5", b"hashes")
    assert store.read("tile/0/x001/234.p/5") == b"hashes"
    assert [path.name for path in store.root.rglob("*") if path.is_file()] == ["5"]


def test_an_immutable_file_may_be_written_again_but_not_otherwise(store: FileStore) -> None:
    store.write("a/b", b"one")
    store.write("a/b", b"one")
    with pytest.raises(ConflictError, match="a/b"):
        store.write("a/b", b"two")
    assert store.read("a/b") == b"one"


def test_replacing_changes_a_file(store: FileStore) -> None:
    store.replace("a", b"one")
    store.replace("a", b"two")
    assert store.read("a") == b"two"


def test_a_missing_file_is_not_found(store: FileStore) -> None:
    store.write("a", b"")
    for path in ("b", "a/b", "b/c"):
        with pytest.raises(NotFoundError, match=path):
            store.read(path)


def test_discarding_removes_a_file_and_its_empty_folder(store: FileStore) -> None:
    store.write("000.p/1", b"")
    store.write("000.p/2", b"")
    store.discard("000.p/1")
    store.discard("000.p/1")
    assert store.read("000.p/2") == b""
    store.discard("000.p/2")
    assert list(store.root.iterdir()) == []


@pytest.mark.parametrize("path", ["", "/etc/passwd", "../secret", "a/../../b", "a//b", ".hidden", "a/.tmp-1"])
def test_paths_outside_are_refused(store: FileStore, path: str) -> None:
    with pytest.raises(InputError, match="not a path"):
        store.write(path, b"")


def test_a_disk_that_refuses_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UnavailableError, match="check the disk"):
        FileStore(tmp_path / "file").replace("a", b"data")
    (tmp_path / "folder" / "a").mkdir(parents=True)
    with pytest.raises(UnavailableError, match="check the disk"):
        FileStore(tmp_path / "folder").replace("a", b"data")
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["a"]
    with pytest.raises(UnavailableError, match="cannot be read"):
        FileStore(tmp_path / "folder").read("a")


def test_messages_that_strangers_may_read_name_no_folder_of_the_machine(store: FileStore) -> None:
    store.write("a", b"one")
    for attempt in (lambda: store.read("b"), lambda: store.write("a", b"two"), lambda: store.read("../b")):
        with pytest.raises((NotFoundError, ConflictError, InputError)) as refused:
            attempt()
        assert str(store.root) not in str(refused.value)


def test_discarding_what_cannot_be_removed_is_an_error_of_the_disk(store: FileStore) -> None:
    store.write("folder/a", b"")
    with pytest.raises(UnavailableError, match="check the disk"):
        store.discard("folder")
    store.discard("folder/a/b")
    assert store.read("folder/a") == b""


def test_a_checkpoint_whose_lock_cannot_be_made_does_not_move(tmp_path: Path) -> None:
    checkpoints = FileCheckpointStore(tmp_path / "log", tmp_path / "nowhere" / "lock")
    with pytest.raises(UnavailableError, match="check the disk"):
        checkpoints.compare_and_swap(None, b"one")
    assert checkpoints.load() is None


def test_the_checkpoint_moves_only_from_what_it_is(tmp_path: Path) -> None:
    checkpoints = FileCheckpointStore(tmp_path / "log", tmp_path / "lock")
    assert checkpoints.load() is None
    checkpoints.compare_and_swap(None, b"one")
    for old in (None, b"zero"):
        with pytest.raises(ConflictError, match="another sequencer"):
            checkpoints.compare_and_swap(old, b"two")
    checkpoints.compare_and_swap(b"one", b"two")
    assert checkpoints.load() == b"two"


def test_of_many_that_move_the_checkpoint_at_once_one_wins(tmp_path: Path) -> None:
    won: list[int] = []
    start = threading.Barrier(8)

    def move(number: int) -> None:
        checkpoints = FileCheckpointStore(tmp_path / "log", tmp_path / "lock")
        start.wait()
        try:
            checkpoints.compare_and_swap(None, b"%d" % number)
        except ConflictError:
            return
        won.append(number)

    threads = [threading.Thread(target=move, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert FileCheckpointStore(tmp_path / "log", tmp_path / "lock").load() == b"%d" % won[0]
