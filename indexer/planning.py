"""Which shards a set of sources makes: webdataset tars, parquet files, pictures, precomputed embeddings, an index.

What a folder holds is told by the names in it, as the field's programs write them, here or on any fsspec file system:

    00000.tar, 00000.parquet            img2dataset, webdataset: one shard; the parquet file alone is one, too
    00000/*.jpg, 00000.parquet          img2dataset's `files`: one shard
    img_emb/img_emb_0.npy, metadata/metadata_0.parquet    embeddings by clip-retrieval, or LAION's: one shard a pair;
                                        also `images/`, `laion2B-en-metadata/`, or all in one folder
    image.index, metadata/*             an index by clip-retrieval without its embeddings: parts of it
    any/where/*.jpg, .txt, .json        pictures with sidecar texts: `PICTURES_PER_SHARD` a shard, in order of name

The plan depends on names alone (and an index on its number of rows), so the same files make the same shards.
"""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple

from heldout.errors import InputError
from indexer.filesystems import Place, find_file, is_remote, list_files, plain_url
from indexer.tar_members import PICTURE_SUFFIXES

PICTURES_PER_SHARD: Final = 10_000
"""img2dataset's own number."""
_SIDECARS: Final = frozenset({"txt", "json"})
_INDEX_NAMES: Final = ("image.index", "image.index/populated.index")
_INDEX_FILES: Final = ("image.index", "text.index", "metadata/")
_EMBEDDING_FOLDERS: Final = frozenset({"img_emb", "images"})
"""clip-retrieval's, and that of LAION-400M's embeddings."""


class Kind(StrEnum):
    """How a shard is read."""

    TAR = "tar"
    PARQUET = "parquet"
    PICTURES = "pictures"
    EMBEDDINGS = "embeddings"
    INDEX = "index"


class IndexPart(NamedTuple):
    """Which of an index's samples a shard holds."""

    first_id: int
    first_row: int
    """In its metadata file."""
    n: int
    total: int
    """Samples of the whole index, by its metadata."""


@dataclass(frozen=True)
class Shard:
    """Files to ingest together, and the name they get in the release."""

    name: str
    kind: Kind
    root: str
    """Folder or URL that all files lie below."""
    files: tuple[Place, ...]
    """The tar, then its parquet file; the parquet file; a parquet file or none, then pictures and their texts;
    embeddings, then their metadata; the index, then its metadata."""
    part: IndexPart | None = None

    @property
    def source(self) -> str:
        """What messages name."""
        return self.root if self.kind is Kind.PICTURES else str(self.files[0])

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files, which must be here: `indexer.sources.localised` brings those that are not."""
        paths = tuple(file for file in self.files if isinstance(file, Path))
        if len(paths) != len(self.files):
            raise AssertionError(f"{self.source} has not been brought here")
        return paths

    def name_of(self, file: Place) -> str:
        """Path of one of the files below `root`, with slashes."""
        return relative_name(str(file), self.root)


def relative_name(file: str, root: str) -> str:
    """Path of a file below a folder or URL, with slashes."""
    return file[len(root.rstrip("/")) :].lstrip("/") if root not in {"", "."} else file


@dataclass
class Plan:
    """Shards in name order."""

    shards: list[Shard]
    n_passed_over: int = 0
    """Pictures that lie loose beside shards, and are in none."""


@dataclass
class _Listing:
    """Files of one source by their path below its root; those that a shard takes are taken out."""

    root: str
    files: dict[str, Place]
    label: str = ""
    """Name for shards that the root itself gives: its last part."""
    shards: list[Shard] = field(default_factory=list)

    def add(self, name: str, kind: Kind, names: Sequence[str]) -> None:
        """Make a shard of files, in this order."""
        self.shards.append(Shard(name, kind, self.root, tuple(self.files[one] for one in names)))

    def take(self, names: Sequence[str]) -> None:
        """Leave these files out of what follows."""
        for name in names:
            self.files.pop(name, None)


def plan_shards(sources: Sequence[str | Path]) -> list[Shard]:
    """Shards of files, folders (searched whole) and fsspec URLs, in name order; see `plan`."""
    return plan(sources).shards


def plan(sources: Sequence[str | Path]) -> Plan:
    """Shards of files, folders (searched whole) and fsspec URLs.

    A parquet file beside a tar or folder of the same stem belongs to it. In a folder other files are passed over.

    Raises:
        InputError: a source does not exist, nothing was found, or two shards would have one name.
        UnavailableError: a remote file system does not answer.
    """
    found: dict[str, Shard] = {}
    n_passed_over = 0
    for source in sources:
        listing = _list(source)
        n_passed_over += _divide(listing)
        for shard in listing.shards:
            if shard.name in found and found[shard.name].files != shard.files:
                raise InputError(
                    f"{found[shard.name].source} and {shard.source} would both be shard {shard.name}: "
                    f"ingest them as two data sets"
                )
            found[shard.name] = shard
    if not found:
        raise InputError(f"no shard, picture or embedding in {', '.join(map(str, sources))}")
    return Plan([found[name] for name in sorted(found)], n_passed_over)


def _list(source: str | Path) -> _Listing:
    if isinstance(source, str) and is_remote(source):
        url = plain_url(source)
        files = list_files(url)
        if len(files) == 1 and files[0].url == url:
            beside = find_file(f"{url.removesuffix('.tar')}.parquet") if url.endswith(".tar") else None
            return _Listing(url.rpartition("/")[0], {file.name: file for file in (files[0], beside) if file})
        named = {relative_name(str(file), url): file for file in files}
        return _Listing(url, {name: file for name, file in named.items() if not _is_hidden(name)}, _last(url))
    path = Path(source.removeprefix("file://")) if isinstance(source, str) else source
    if not path.exists():
        raise InputError(f"{path} does not exist: give shard files or folders of them")
    if path.is_dir():
        return _Listing(str(path), _walk(path), path.resolve().name)
    files_here: dict[str, Place] = {path.name: path}
    parquet = path.with_suffix(".parquet")
    if path.suffix == ".tar" and parquet.is_file():
        files_here[parquet.name] = parquet
    listing = _Listing(str(path.parent), files_here)
    if path.suffix not in {".tar", ".parquet"}:
        listing.add(path.stem, Kind.PARQUET, [path.name])  # whose reader says what is wrong with it
        listing.take([path.name])
    return listing


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


def _last(url: str) -> str:
    return PurePosixPath(url.partition("://")[2]).name


def _divide(listing: _Listing) -> int:
    """Make shards of a listing, most telling names first; how many pictures are in none."""
    _take_indexes(listing, _take_embeddings(listing))
    pictures = {name: _key(name) for name in listing.files if _suffix(name) in PICTURE_SUFFIXES}
    in_folder: dict[str, list[str]] = {}
    for name in pictures:
        for parent in list(PurePosixPath(name).parents)[:-1]:
            in_folder.setdefault(str(parent), []).append(name)
    texts = _texts(listing.files)
    taken: set[str] = set()
    for name in sorted(listing.files):
        stem, suffix = _key(name), _suffix(name)
        if suffix == "tar":
            parquet = f"{stem}.parquet"
            listing.add(_joined(stem), Kind.TAR, [name, parquet] if parquet in listing.files else [name])
        elif suffix == "parquet" and f"{stem}.tar" not in listing.files:
            inside = in_folder.get(stem, [])
            listing.add(
                _joined(stem), Kind.PICTURES if inside else Kind.PARQUET, [name, *_with_texts(sorted(inside), texts)]
            )
            taken.update(inside)
    loose = sorted(pictures.keys() - taken)
    if listing.shards:
        return len(loose)
    for number, start in enumerate(range(0, len(loose), PICTURES_PER_SHARD)):
        chunk = loose[start : start + PICTURES_PER_SHARD]
        listing.add(f"{listing.label or 'pictures'}-{number:05d}", Kind.PICTURES, _with_texts(chunk, texts))
    return 0


def _texts(files: Mapping[str, Place]) -> dict[str, list[str]]:
    """What stands before `.txt` or `.json` -> those files."""
    texts: dict[str, list[str]] = {}
    for name in files:
        if _suffix(name) in _SIDECARS:
            texts.setdefault(_key(name), []).append(name)
    return texts


def _with_texts(pictures: Sequence[str], texts: Mapping[str, list[str]]) -> list[str]:
    """Pictures and the texts of each: `a.txt` and `a.jpg.txt` both belong to `a.jpg`."""
    named = [one for name in pictures for one in (name, *texts.get(_key(name), ()), *texts.get(name, ()))]
    return list(dict.fromkeys(named))


def _take_embeddings(listing: _Listing) -> set[str]:
    """Pairs of embeddings and metadata by number; the folders (ending in a slash) that have them.

    What lacks its other half is a shard, too: it is set aside.
    """
    around: set[str] = set()
    embeddings = [name for name in listing.files if _is_embeddings(name)]
    for folder in sorted({_folder(name) for name in embeddings}):
        below = f"{_folder(folder)}/" if _last_part(folder) in _EMBEDDING_FOLDERS else f"{folder}/"
        below = below.removeprefix("/")
        halves: dict[str, dict[str, str]] = {}
        for name in listing.files:
            if name in embeddings and _folder(name) == folder:
                halves.setdefault(_number(name), {})["npy"] = name
            elif _suffix(name) == "parquet" and _is_metadata(name, below):
                halves.setdefault(_number(name), {})["parquet"] = name
        for number, pair in halves.items():
            names = [pair[half] for half in ("npy", "parquet") if half in pair]
            listing.add(_joined(below + (number or "embeddings")), Kind.EMBEDDINGS, names)
        listing.take([name for pair in halves.values() for name in pair.values()])
        _take_below(listing, tuple(below + one for one in _INDEX_FILES))
        around.add(below)
    return around


def _is_embeddings(name: str) -> bool:
    return _suffix(name) == "npy" and (_last_part(_folder(name)) == "img_emb" or _last_part(name).startswith("img_emb"))


def _is_metadata(name: str, below: str) -> bool:
    """Whether a file is of the metadata of embeddings around `below`: LAION-5B has `laion2B-en-metadata/`."""
    folder = _folder(name)
    if f"{folder}/".removeprefix("/") == below:
        return _last_part(name).startswith("metadata")
    return folder.startswith(below) and re.fullmatch(r"([^/]+-)?metadata", folder[len(below) :]) is not None


def _folder(name: str) -> str:
    return name.rpartition("/")[0]


def _number(name: str) -> str:
    """The last digits of a file's name, `0012` of `img_emb_0012.npy`; empty if there are none."""
    digits: list[str] = re.findall(r"\d+", _key(_last_part(name)))
    return digits[-1] if digits else ""


def embeddings_beside(folder: str) -> tuple[str, ...]:
    """Where the embeddings of an index in `folder` may lie: with it, around it, or as `clip-retrieval end2end` does."""
    around = f"{PurePosixPath(folder).parent}/".removeprefix("./") if folder.strip("/") else ""
    return folder, around, f"{around}embeddings/"


def _take_indexes(listing: _Listing, with_embeddings: set[str]) -> None:
    """Indexes whose embeddings are not there: the others hold nothing more."""
    for index in _INDEX_NAMES:
        for name in sorted(name for name in listing.files if f"/{name}".endswith(f"/{index}")):
            if name not in listing.files:
                continue
            below = name.removesuffix(index)
            if with_embeddings.intersection(embeddings_beside(below)):
                _take_below(listing, tuple(below + one for one in _INDEX_FILES))
                continue
            if not isinstance(listing.files[name], Path):
                raise InputError(
                    f"{listing.files[name]} is an index without its embeddings, which is read at random places: "
                    f"copy its folder here first, and import that"
                )
            from indexer.import_index import plan_index

            folder = Path(listing.root) / below
            listing.shards.extend(plan_index(folder, prefix=_joined(below.rstrip("/"))))
            _take_below(listing, tuple(below + one for one in _INDEX_FILES))


def _take_below(listing: _Listing, starts: tuple[str, ...]) -> None:
    listing.take([name for name in listing.files if name.startswith(starts)])


def _joined(name: str) -> str:
    """A path as the name of a shard."""
    return name.replace("/", "__")


def _last_part(name: str) -> str:
    return name.rpartition("/")[2]


def _key(name: str) -> str:
    """A path without its last suffix."""
    folder, slash, last = name.rpartition("/")
    return f"{folder}{slash}{last.rpartition('.')[0] or last}"


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix[1:].lower()
