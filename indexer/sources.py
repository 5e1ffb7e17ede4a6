"""The files a shard was made of, as they were: a run that goes on must notice one that was changed since.

`done.json` holds their SHA-256. Beside it lies when they were last seen to have it (`SEEN_FILE`): files whose names,
sizes and modification times are still those are taken for unchanged, for hashing terabytes at every resume would serve
nobody. Any others are hashed again. A change that keeps both size and time goes unnoticed.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from heldout.durable import remove_parts, write_durably
from heldout.errors import ConflictError, InputError
from indexer.shards import Shard, format_json, read_done
from indexer.writer import describe

SEEN_FILE: Final = "sources_seen.json"


def stamp(shard: Shard) -> list[dict[str, Any]]:
    """Name, size and modification time (ns) of the shard's files."""
    stats = [(path.name, path.stat()) for path in shard.files]
    return [{"name": name, "size": stat.st_size, "mtime_ns": stat.st_mtime_ns} for name, stat in stats]


def record_sources(shard: Shard, before: Sequence[dict[str, Any]], folder: Path) -> list[dict[str, Any]]:
    """Name, size and SHA-256 of the shard's files, which have been read, for its marker; notes in `folder` when.

    Args:
        shard: The shard.
        before: Their `stamp` before they were read.
        folder: The shard's new folder.

    Raises:
        InputError: one changed while it was read.
    """
    sources = _describe_sources(shard)
    if stamp(shard) != before:
        raise InputError(f"{shard.source} or its parquet changed while it was read: run again when it is whole")
    (folder / SEEN_FILE).write_text(format_json({"sources": before}), encoding="utf-8")
    return sources


def check_sources(folder: Path, shard: Shard) -> None:
    """That a done shard was made from its files as they are now.

    Raises:
        ConflictError: it was not; says what to do.
        InputError: its marker cannot be read.
    """
    said = read_done(folder).get("sources")
    now = stamp(shard)
    if _seen(folder) == now and said is not None:
        return
    found = _describe_sources(shard)
    if found != said:
        raise ConflictError(
            f"shard {shard.name} was made from {_shown(said or ())}, and {shard.source.parent} holds {_shown(found)}: "
            f"remove {folder} to ingest it again, or use another --dataset"
        )
    remove_parts(folder / SEEN_FILE)
    write_durably(folder / SEEN_FILE, format_json({"sources": now}).encode())


def _describe_sources(shard: Shard) -> list[dict[str, Any]]:
    return [{"name": path.name, **describe(path)} for path in shard.files]


def _seen(folder: Path) -> object:
    """What `SEEN_FILE` holds; None, which costs no more than hashing again, if it is not there or damaged."""
    try:
        seen = json.loads((folder / SEEN_FILE).read_bytes())
    except (OSError, ValueError):
        return None
    return seen.get("sources") if isinstance(seen, dict) else None


def _shown(sources: Sequence[dict[str, Any]]) -> str:
    said = [f"{one['name']} of {one['size']:,} bytes with SHA-256 {one['sha256'][:12]}..." for one in sources]
    return " and ".join(said) or "files that it does not name"
