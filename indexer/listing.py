"""What a source holds: its files, here or on an fsspec file system, by their paths below it."""

import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from heldout.errors import InputError
from indexer.filesystems import Place, find_file, is_remote, list_files, plain_url


@dataclass(frozen=True)
class Listing:
    """Files of one source."""

    root: str
    """Folder or URL that all lie below."""
    files: dict[str, Place]
    """Path below the root, with slashes -> the file, in order; hidden ones left out."""
    label: str = ""
    """The root's own name, where it is the source; empty where that is one file."""


def list_source(source: str | Path) -> Listing:
    """Files of a folder or URL, searched whole; or one file, with the list that img2dataset puts beside a tar.

    Raises:
        InputError: it does not exist, or cannot be read.
        UnavailableError: a remote file system does not answer.
    """
    if isinstance(source, str) and is_remote(source):
        return _list_url(plain_url(source))
    path = Path(source.removeprefix("file://")) if isinstance(source, str) else source
    if not path.exists():
        raise InputError(f"{path} does not exist: give shard files or folders of them")
    if path.is_dir():
        return Listing(str(path), _walk(path), path.resolve().name)
    files: dict[str, Place] = {path.name: path}
    parquet = path.with_suffix(".parquet")
    if path.suffix == ".tar" and parquet.is_file():
        files[parquet.name] = parquet
    return Listing(str(path.parent), files)


def _list_url(url: str) -> Listing:
    files = list_files(url)
    if len(files) == 1 and files[0].url == url:
        beside = find_file(f"{url.removesuffix('.tar')}.parquet") if url.endswith(".tar") else None
        return Listing(url.rpartition("/")[0], {file.name: file for file in (files[0], beside) if file})
    named = {relative_name(str(file), url): file for file in files}
    label = PurePosixPath(url.partition("://")[2]).name
    return Listing(url, {name: file for name, file in named.items() if not _is_hidden(name)}, label)


def _walk(root: Path) -> dict[str, Place]:
    """Files below a folder by their paths there, links to folders followed once."""
    found: dict[str, Place] = {}
    seen: set[str] = set()
    for folder, folders, names in os.walk(root, followlinks=True, onerror=_refuse):
        real = os.path.realpath(folder)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders.sort()
        for name in names:
            file = Path(folder, name)
            relative = file.relative_to(root).as_posix()
            if not _is_hidden(relative) and file.is_file():
                found[relative] = file
    return dict(sorted(found.items()))


def _refuse(error: OSError) -> None:
    raise InputError(f"{error.filename} cannot be read ({error.strerror}): check its rights") from error


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))


def relative_name(file: str, root: str) -> str:
    """Path of a file below a folder or URL, with slashes."""
    return file[len(root.rstrip("/")) :].lstrip("/") if root not in {"", "."} else file


def folder_of(name: str) -> str:
    """A path without its last part."""
    return name.rpartition("/")[0]


def last_of(name: str) -> str:
    """The last part of a path."""
    return name.rpartition("/")[2]


def stem_of(name: str) -> str:
    """A path without its last suffix."""
    folder, slash, last = name.rpartition("/")
    return f"{folder}{slash}{last.rpartition('.')[0] or last}"


def suffix_of(name: str) -> str:
    """The last suffix of a path, without its dot, in lower case."""
    return PurePosixPath(name).suffix[1:].lower()
