"""A shard of pictures that lie in folders, one file each, with sidecar texts.

`a.txt` or `a.jpg.txt` holds the caption of `a.jpg`, `a.json` or `a.jpg.json` what else is said of it. Keys are the
paths below the folder given.

Where img2dataset wrote them (its `files` format), the parquet file beside the folder lists all its samples.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from heldout.errors import InputError
from indexer.planning import Shard
from indexer.readers import MembersReader, join_list
from indexer.samples import map_columns
from indexer.tar_members import PICTURE_SUFFIXES, Member, Place, Read, metadata_of, whole_text


def open_pictures(shard: Shard, overrides: Mapping[str, str] | None = None) -> MembersReader:
    """Samples of a shard of pictures.

    Raises:
        InputError: a file is gone, or the parquet file beside them is damaged.
    """
    paths = shard.paths
    listed = bool(paths) and paths[0].suffix == ".parquet"
    members = _members(shard, by_stem=listed)

    @contextmanager
    def opened() -> Iterator[Read]:
        yield lambda place: _read(paths, place)

    if listed:
        table, joined, mapping = join_list(paths[0], members, overrides, ())
        return MembersReader(paths[0].stem, joined, table, mapping, opened)
    with opened() as read:
        table = metadata_of(members, read, shard.source)
    mapping = map_columns(table.column_names, overrides=overrides, needed=(), source=shard.source)
    return MembersReader(shard.name, members, table, mapping, opened)


def _members(shard: Shard, *, by_stem: bool) -> list[Member]:
    """One member a picture, with its texts; `by_stem`: the key is the file's stem, as img2dataset has it."""
    members: dict[str, Member] = {}
    texts: list[tuple[str, str, Place]] = []
    for number, path in enumerate(shard.paths):
        name, suffix = shard.name_of(path), path.suffix[1:].lower()
        try:
            place = number, path.stat().st_size
        except OSError as error:
            raise InputError(f"{path} cannot be read ({error.strerror}): run again when it is back") from error
        if suffix in PICTURE_SUFFIXES:
            members[name] = Member(whole_text(PurePosixPath(name).stem if by_stem else name), {suffix: place})
        elif suffix in {"txt", "json"}:
            texts.append((name.rpartition(".")[0], suffix, place))
    by_stems: dict[str, list[Member]] = {}
    for name, member in members.items():
        by_stems.setdefault(name.rpartition(".")[0], []).append(member)
        by_stems.setdefault(name, []).append(member)
    for stem, suffix, place in texts:
        for member in by_stems.get(stem, ()):
            member.files[suffix] = place
    return list(members.values())


def _read(paths: Sequence[Path], place: Place) -> bytes:
    path = paths[place[0]]
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): run again when it is back") from error
