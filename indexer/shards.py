"""Shards of a release: their folders, the lock, and the markers that make a run resumable.

A shard is done when its folder exists: the folder is written aside with `done.json` last and appears by one rename.
"""

import glob
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from heldout.durable import locked
from heldout.errors import ConflictError, InputError

SHARD_FORMAT: Final = "heldout-shard/1"
SAMPLES_FILE, EMBEDDINGS_FILE, THUMBNAILS_FILE = "samples.parquet", "embeddings.npy", "thumbnails.arrow"
DONE_FILE: Final = "done.json"
PARTIAL_SUFFIX: Final = ".partial"


def shards_dir(release: Path) -> Path:
    """Where the done shards of a release are."""
    return release / "shards"


def scratch_dir(release: Path) -> Path:
    """Where a run keeps what it brings from elsewhere, a folder a shard, until the shard is done."""
    return release / "scratch"


def iter_done(release: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Done shards in name order, with what their `done.json` says.

    Raises:
        InputError: a marker cannot be read.
    """
    folder = shards_dir(release)
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.is_dir() and not path.name.startswith("."):
            yield path, read_done(path)


def read_done(folder: Path) -> dict[str, Any]:
    """The marker of a done shard.

    Raises:
        InputError: it is missing, damaged or of another format.
    """
    path = folder / DONE_FILE
    try:
        done = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}): remove {folder} and ingest again") from error
    if not isinstance(done, dict) or done.get("format") != SHARD_FORMAT:
        raise InputError(f"{path} is not of format {SHARD_FORMAT}: remove {folder} and ingest again")
    return done


@contextmanager
def lock_release(release: Path) -> Iterator[None]:
    """Hold the release for one writing process; the lock goes when the process does, however it ends.

    Raises:
        ConflictError: another process holds it.
    """
    release.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(release / ".lock"))
        except ConflictError as error:
            raise ConflictError(f"another run is writing {release}: wait for it, or use another --dataset") from error
        yield


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """A folder to fill that becomes `target` by one rename, all its bytes on disk before; removed on failure.

    What a killed writer of `target` left is removed. Should one still be at work, on a machine that has not heard of
    its end, it fails: its folder has a name of its own and is gone.
    """
    for left in target.parent.glob(f".{glob.escape(target.name)}.{'[0-9a-f]' * 8}{PARTIAL_SUFFIX}"):
        shutil.rmtree(left, ignore_errors=True)
    work = target.with_name(f".{target.name}.{secrets.token_hex(4)}{PARTIAL_SUFFIX}")
    work.mkdir(parents=True)
    try:
        yield work
        for path in sorted(work.rglob("*")):
            _sync(path)
        _sync(work)
        work.rename(target)
        _sync(target.parent)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise


def format_json(value: Mapping[str, Any]) -> str:
    """Sorted, indented JSON: equal values give equal bytes."""
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
