"""What lies in a release."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq


def bytes_of(release: Path) -> dict[str, bytes]:
    """Path -> bytes of every file, but the lock's."""
    return {
        path.relative_to(release).as_posix(): path.read_bytes()
        for path in sorted(release.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def samples_of(release: Path, shard: str = "0") -> list[dict[str, Any]]:
    """Rows of a shard's `samples.parquet`."""
    rows: list[dict[str, Any]] = pq.read_table(release / "shards" / shard / "samples.parquet").to_pylist()
    return rows
