"""Which shards a set of sources makes: webdataset tars, parquet files, pictures, precomputed embeddings, an index.

What a folder holds is told by the names in it, as the field's programs write them, here or on any fsspec file system:

    00000.tar, 00000.parquet        img2dataset, webdataset: one shard; the parquet file alone is one, too
    00000/*.jpg, 00000.parquet      img2dataset's `files`: one shard
    img_emb/, metadata/             embeddings, one shard a pair of files (`indexer.brought`)
    image.index, metadata/          an index without its embeddings: parts of it
    any/where/*.jpg, .txt, .json    pictures with sidecar texts: `PICTURES_PER_SHARD` a shard, in order of name
    part-00000.parquet              a list of more than `ROWS_PER_SHARD` samples: so many a shard, in order

The plan depends on names and numbers of rows alone, so the same files make the same shards.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple

from heldout.errors import InputError
from indexer.brought import find_indexes, is_of, pair_embeddings
from indexer.filesystems import Place
from indexer.listing import Listing, list_source, relative_name, stem_of, suffix_of
from indexer.parquet_rows import open_parquet
from indexer.tar_members import PICTURE_SUFFIXES

PICTURES_PER_SHARD: Final = 10_000
"""img2dataset's own number."""
ROWS_PER_SHARD: Final = 100_000
"""Of a parquet file: minutes of fetching, which is what a killed run loses. LAION-400M's files have 13 million."""
_SIDECARS: Final = frozenset({"txt", "json"})


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


class RowPart(NamedTuple):
    """Which rows of a parquet file a shard holds."""

    first_row: int
    n: int
    total: int
    """Rows of the file."""
    of: str
    """Name of the shard that the whole file would be."""


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
    part: IndexPart | RowPart | None = None

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


@dataclass
class Plan:
    """Shards in name order."""

    shards: list[Shard]
    n_passed_over: int = 0
    """Pictures that lie loose beside shards, and are in none."""


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
        shards, n_loose = _divide(list_source(source))
        n_passed_over += n_loose
        for shard in shards:
            if shard.name in found and found[shard.name].files != shard.files:
                raise InputError(
                    f"{found[shard.name].source} and {shard.source} would both be shard {shard.name}: "
                    f"ingest them as two data sets"
                )
            found[shard.name] = shard
    if not found:
        raise InputError(f"no shard, picture or embedding in {', '.join(map(str, sources))}")
    return Plan([found[name] for name in sorted(found)], n_passed_over)


def _divide(listing: Listing) -> tuple[list[Shard], int]:
    """Shards of a listing, most telling names first; how many pictures are in none."""
    shards, rest = _divide_brought(listing)
    pictures = [name for name in rest if suffix_of(name) in PICTURE_SUFFIXES]
    in_folder: dict[str, list[str]] = {}
    for name in pictures:
        for parent in list(PurePosixPath(name).parents)[:-1]:
            in_folder.setdefault(str(parent), []).append(name)
    texts = _texts(rest)
    taken: set[str] = set()
    for name in sorted(rest):
        stem, suffix = stem_of(name), suffix_of(name)
        if suffix == "tar":
            parquet = f"{stem}.parquet"
            shards.append(_shard(listing, stem, Kind.TAR, [name, parquet] if parquet in rest else [name]))
        elif suffix == "parquet" and f"{stem}.tar" not in rest:
            inside = in_folder.get(stem, [])
            kind = Kind.PICTURES if inside else Kind.PARQUET
            shards += _cut(_shard(listing, stem, kind, [name, *_with_texts(sorted(inside), texts)]))
            taken.update(inside)
    loose = sorted(set(pictures) - taken)
    if shards:
        return shards, len(loose)
    if rest and not loose and not listing.label:  # a file of another kind: its reader says what is wrong with it
        return [_shard(listing, stem_of(name), Kind.PARQUET, [name]) for name in rest], 0
    chunks = [loose[start : start + PICTURES_PER_SHARD] for start in range(0, len(loose), PICTURES_PER_SHARD)]
    label = listing.label or "pictures"
    return [
        _shard(listing, f"{label}-{number:05d}", Kind.PICTURES, _with_texts(chunk, texts))
        for number, chunk in enumerate(chunks)
    ], 0


def _divide_brought(listing: Listing) -> tuple[list[Shard], dict[str, Place]]:
    """Shards of embeddings and of indexes, and the files that belong to neither."""
    pairs, around = pair_embeddings(listing)
    alone, accompanied = find_indexes(listing, around)
    shards = [_shard(listing, name, Kind.EMBEDDINGS, names) for name, names in pairs.items()]
    for folder in alone:
        from indexer.import_index import plan_index

        shards += plan_index(Path(listing.root) / folder, prefix=_joined(folder.rstrip("/")))
    held = {name for names in pairs.values() for name in names}
    folders = around | accompanied | set(alone)
    rest = {name: file for name, file in listing.files.items() if name not in held and not is_of(name, folders)}
    return shards, rest


def _shard(listing: Listing, name: str, kind: Kind, names: Sequence[str]) -> Shard:
    return Shard(_joined(name), kind, listing.root, tuple(listing.files[one] for one in names))


def _cut(shard: Shard) -> list[Shard]:
    """Shards of at most `ROWS_PER_SHARD` rows, of a parquet file that is here; others would be brought for each."""
    path = shard.files[0]
    if shard.kind is not Kind.PARQUET or not isinstance(path, Path):
        return [shard]
    try:
        with open_parquet(path) as file:
            total: int = file.metadata.num_rows
    except InputError:  # its reader says so, and the other shards are done
        return [shard]
    if total <= ROWS_PER_SHARD:
        return [shard]
    return [
        replace(
            shard,
            name=part_name(shard.name, number),
            part=RowPart(first, min(ROWS_PER_SHARD, total - first), total, shard.name),
        )
        for number, first in enumerate(range(0, total, ROWS_PER_SHARD))
    ]


def part_name(name: str, number: int) -> str:
    """Name of a part of what would be shard `name`."""
    return f"{name}.{number:05d}"


def _texts(files: Mapping[str, Place]) -> dict[str, list[str]]:
    """What stands before `.txt` or `.json` -> those files."""
    texts: dict[str, list[str]] = {}
    for name in files:
        if suffix_of(name) in _SIDECARS:
            texts.setdefault(stem_of(name), []).append(name)
    return texts


def _with_texts(pictures: Sequence[str], texts: Mapping[str, list[str]]) -> list[str]:
    """Pictures and the texts of each: `a.txt` and `a.jpg.txt` both belong to `a.jpg`."""
    named = [one for name in pictures for one in (name, *texts.get(stem_of(name), ()), *texts.get(name, ()))]
    return list(dict.fromkeys(named))


def _joined(name: str) -> str:
    """A path as the name of a shard."""
    return name.replace("/", "__")
