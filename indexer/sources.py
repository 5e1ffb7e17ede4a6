"""The files a shard was made of, as they were: a run that goes on must notice one that was changed since.

`done.json` holds their SHA-256. Beside it lies when they were last seen to have it (`SEEN_FILE`): files whose names,
sizes and modification times (of remote files: their ETags, where there are any) are still those are taken for
unchanged, for hashing terabytes at every resume would serve nobody. Any others are hashed again. A change that keeps
both size and time goes unnoticed. The many files of a shard of pictures are told as one, by a digest of their list.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from heldout.durable import remove_parts, write_durably
from heldout.errors import ConflictError, InputError
from indexer.filesystems import Place, RemoteFile, bring, look_again
from indexer.planning import Kind, Shard
from indexer.shards import format_json, read_done
from indexer.writer import describe

SEEN_FILE: Final = "sources_seen.json"
_AT_ONCE: Final = 16
"""Remote files asked for at once."""


@contextmanager
def localised(shard: Shard, scratch: Path) -> Iterator[Shard]:
    """The shard with all its files here; those that were brought from elsewhere go when the block ends.

    Args:
        shard: As planned.
        scratch: Folder for what is brought, of this shard alone; what a killed run left in it is removed.

    Raises:
        InputError: a remote file is gone or refused; of the block, with the remote names in place of the local ones.
        UnavailableError: a remote file system does not answer.
    """
    remote = [file for file in shard.files if isinstance(file, RemoteFile)]
    if not remote:
        yield shard
        return
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        here = {file: scratch / shard.name_of(file) for file in remote}
        for folder in {path.parent for path in here.values()}:
            if scratch not in (folder, *folder.parents) or ".." in folder.parts:
                raise InputError(f"{shard.source} has a file that would lie outside its folder: rename it")
            folder.mkdir(parents=True, exist_ok=True)
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(lambda file: bring(file, here[file]), remote))
        files = tuple(here[file] if isinstance(file, RemoteFile) else file for file in shard.files)
        try:
            yield replace(shard, root=str(scratch), files=files)
        except InputError as error:
            raise InputError(str(error).replace(str(scratch), shard.root)) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def stamp(shard: Shard) -> list[dict[str, Any]]:
    """Name, size and modification time (ns) or mark of the shard's files, which need not be here.

    Raises:
        InputError: one is gone.
        UnavailableError: a remote file system does not answer.
    """
    if any(isinstance(file, RemoteFile) for file in shard.files):
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            stamps = list(pool.map(_stamp_file, shard.files))
    else:
        stamps = [_stamp_file(file) for file in shard.files]
    if shard.kind is not Kind.PICTURES:
        return stamps
    lines = [f"{shard.name_of(file)}\0{format_json(one)}" for file, one in zip(shard.files, stamps, strict=True)]
    return [{"name": shard.name, "files": len(lines), "stamps_sha256": _digest(lines)}]


def _stamp_file(file: Place) -> dict[str, Any]:
    if isinstance(file, RemoteFile):
        now = look_again(file)
        return {"name": now.name, "size": now.size, "mark": now.mark}
    try:
        stat = file.stat()
    except OSError as error:
        raise InputError(f"{file} cannot be read ({error.strerror}): run again when it is back") from error
    return {"name": file.name, "size": stat.st_size, "mtime_ns": stat.st_mtime_ns}


def record_sources(shard: Shard, here: Shard, before: Sequence[dict[str, Any]], folder: Path) -> list[dict[str, Any]]:
    """Name, size and SHA-256 of the shard's files, which have been read, for its marker; notes in `folder` when.

    Args:
        shard: The shard as planned.
        here: The same, localised.
        before: Its `stamp` before it was brought and read.
        folder: The shard's new folder.

    Raises:
        InputError: a file changed while it was read.
    """
    sources = _describe_sources(here)
    if stamp(shard) != before:
        raise InputError(f"{shard.source} or a file beside it changed while it was read: run again when it is whole")
    (folder / SEEN_FILE).write_text(format_json({"sources": before}), encoding="utf-8")
    return sources


def check_sources(folder: Path, shard: Shard, scratch: Path) -> None:
    """That a done shard was made from its files as they are now.

    Raises:
        ConflictError: it was not; says what to do.
        InputError: its marker cannot be read, or a file is gone.
        UnavailableError: a remote file system does not answer.
    """
    said = read_done(folder).get("sources")
    now = stamp(shard)
    if _seen(folder) == now and said is not None:
        return
    with localised(shard, scratch) as here:
        found = _describe_sources(here)
    if found != said:
        raise ConflictError(
            f"shard {shard.name} was made from {_shown(said or ())}, and {shard.root} holds {_shown(found)}: "
            f"remove {folder} to ingest it again, or use another --dataset"
        )
    remove_parts(folder / SEEN_FILE)
    write_durably(folder / SEEN_FILE, format_json({"sources": now}).encode())


def _describe_sources(shard: Shard) -> list[dict[str, Any]]:
    described = [
        describe(path) if shard.part is None else _describe_once(path, _stamp_key(path)) for path in shard.paths
    ]
    if shard.kind is not Kind.PICTURES:
        return [{"name": path.name, **said} for path, said in zip(shard.paths, described, strict=True)]
    lines = [f"{shard.name_of(path)}\0{said['sha256']}" for path, said in zip(shard.paths, described, strict=True)]
    size = sum(said["size"] for said in described)
    return [{"name": shard.name, "files": len(lines), "sha256": _digest(lines), "size": size}]


def _stamp_key(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns


@lru_cache(maxsize=16)
def _describe_once(path: Path, key: tuple[int, int]) -> dict[str, Any]:  # noqa: ARG001 - what makes it the same file
    """Size and SHA-256 of a file that is part of many shards of one run."""
    return describe(path)


def _digest(lines: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def _seen(folder: Path) -> object:
    """What `SEEN_FILE` holds; None, which costs no more than hashing again, if it is not there or damaged."""
    try:
        seen = json.loads((folder / SEEN_FILE).read_bytes())
    except (OSError, ValueError):
        return None
    return seen.get("sources") if isinstance(seen, dict) else None


def _shown(sources: Sequence[dict[str, Any]]) -> str:
    said = [
        f"{one['name']} of {one['size']:,} bytes"
        + (f" in {one['files']:,} files" if "files" in one else "")
        + f" with SHA-256 {one['sha256'][:12]}..."
        for one in sources
    ]
    return " and ".join(said) or "files that it does not name"
