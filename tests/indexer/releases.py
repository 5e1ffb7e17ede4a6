"""What lies in a release, for comparing two of them."""

from pathlib import Path


def bytes_of(release: Path) -> dict[str, bytes]:
    """Path -> bytes of every file, but the lock's."""
    return {
        path.relative_to(release).as_posix(): path.read_bytes()
        for path in sorted(release.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }
