"""Tars of files that are in memory, for tests and measurements."""

import io
import tarfile
from collections.abc import Iterable
from pathlib import Path


def pack(path: Path, files: Iterable[tuple[str, bytes]]) -> Path:
    """Write a tar of (name, bytes), taken one by one; its path."""
    with tarfile.open(path, "w") as tar:
        for name, data in files:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path
