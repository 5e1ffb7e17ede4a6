import subprocess
import sys
from pathlib import Path

import pytest

from heldout.durable import locked, remove_parts, replacing, write_durably
from heldout.errors import ConflictError


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
