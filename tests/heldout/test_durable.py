import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from heldout.durable import PART_LIFE_S, locked, make_folders, remove_parts, replacing, sweep_parts, write_durably
from heldout.errors import ConflictError, UnavailableError


def test_file_takes_its_place_only_when_the_block_ends_well(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(TypeError), replacing(path) as stream:
        stream.writelines([b"half", "no bytes"])  # type: ignore[list-item]
    assert path.read_bytes() == b"old"
    with replacing(path) as stream:
        stream.write(b"new")
        stream.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_process_killed_in_the_middle_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_durably(path, b"old")
    code = (
        "import os, sys; from pathlib import Path; from heldout.durable import replacing\n"
        "with replacing(Path(sys.argv[1])) as stream: stream.write(b'half'); stream.flush(); os._exit(9)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False)  # noqa: S603 - our own interpreter
    assert done.returncode == 9
    assert path.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 2
    remove_parts(path)
    assert list(tmp_path.iterdir()) == [path]


def test_lock_is_held_by_one_and_free_again(tmp_path: Path) -> None:
    with locked(tmp_path / ".lock"), pytest.raises(ConflictError, match="another process"), locked(tmp_path / ".lock"):
        pass
    with locked(tmp_path / ".lock"):
        pass


def test_lock_is_waited_for(tmp_path: Path) -> None:
    inside = threading.Event()

    def enter() -> None:
        with locked(tmp_path / ".lock", wait=True):
            inside.set()

    with locked(tmp_path / ".lock"):
        thread = threading.Thread(target=enter)
        thread.start()
        assert not inside.wait(0.05)
    thread.join()
    assert inside.is_set()


def test_lock_that_cannot_be_made_is_an_error_of_the_disk(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="nowhere"), locked(tmp_path / "nowhere" / ".lock"):
        pass


def test_only_parts_without_a_writer_are_swept(tmp_path: Path) -> None:
    make_folders(tmp_path / "a" / "b")
    kept = [tmp_path / "a" / "file", tmp_path / "a" / "b" / ".hidden", tmp_path / "a" / "file.part"]
    for path in kept:
        path.write_bytes(b"")
        os.utime(path, (0, 0))
    old = tmp_path / "a" / "b" / ".file.0011aabb.part"
    old.write_bytes(b"half")
    os.utime(old, (0, old.stat().st_mtime - PART_LIFE_S - 1))
    with replacing(tmp_path / "a" / "file") as stream:
        stream.write(b"whole")
        assert sweep_parts(tmp_path) == 1
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == sorted(kept)
    assert kept[0].read_bytes() == b"whole"
    assert sweep_parts(tmp_path) == sweep_parts(tmp_path / "nowhere") == 0
