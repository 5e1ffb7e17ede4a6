"""Shards of a release: plan, name, lock, and the markers that make a run resumable.

A shard is done when its folder exists: the folder is written aside with `done.json` last and appears by one rename.
"""

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from heldout.durable import locked
from heldout.errors import ConflictError, InputError

SHARD_FORMAT: Final = "heldout-shard/1"
SAMPLES_FILE, EMBEDDINGS_FILE, THUMBNAILS_FILE = "samples.parquet", "embeddings.npy", "thumbnails.arrow"
DONE_FILE: Final = "done.json"
_SUFFIXES: Final = frozenset({".tar", ".parquet"})


@dataclass(frozen=True)
class Shard:
    """One source file to ingest, and the name it gets in the release."""

    name: str
    source: Path

    @property
    def files(self) -> tuple[Path, ...]:
        """The source and, where it is a tar, the parquet file of the same stem beside it, if there is one."""
        sibling = sibling_of(self.source)
        return (self.source,) if sibling is None else (self.source, sibling)


def sibling_of(source: Path) -> Path | None:
    """The parquet file that img2dataset writes beside a tar; None if there is none."""
    sibling = source.with_suffix(".parquet")
    return sibling if source.suffix == ".tar" and sibling.is_file() else None


def plan_shards(sources: Sequence[Path]) -> list[Shard]:
    """Shards of files and folders (searched whole), in name order.

    A parquet file beside a tar of the same stem belongs to the tar. In a folder other files are passed over.

    Raises:
        InputError: a source does not exist, nothing was found, or two shards would have one name.
    """
    found: dict[str, Path] = {}
    for source in sources:
        if not source.exists():
            raise InputError(f"{source} does not exist: give shard files or folders of them")
        root = source if source.is_dir() else source.parent
        paths = sorted(path for path in source.rglob("*") if path.is_file()) if source.is_dir() else [source]
        for path in paths:
            if path.suffix not in _SUFFIXES and path != source:
                continue
            if path.suffix == ".parquet" and path.with_suffix(".tar").is_file():
                continue
            name = "__".join(path.relative_to(root).with_suffix("").parts)
            if name in found and found[name] != path:
                raise InputError(f"{found[name]} and {path} would both be shard {name}: ingest them as two data sets")
            found[name] = path
    if not found:
        raise InputError(f"no .tar or .parquet shard in {', '.join(map(str, sources))}")
    return [Shard(name, found[name]) for name in sorted(found)]


def shards_dir(release: Path) -> Path:
    """Where the done shards of a release are."""
    return release / "shards"


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
    """A folder to fill that becomes `target` by one rename, all its bytes on disk before; removed on failure."""
    work = target.with_name(f".{target.name}.partial")
    shutil.rmtree(work, ignore_errors=True)  # of a run that was killed
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
