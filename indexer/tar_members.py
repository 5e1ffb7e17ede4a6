"""What a webdataset tar holds: where each sample's files lie, and the table of its own `.json` and `.txt` files.

Both come from strangers. What goes beyond a bound below costs its sample that one file, with the reason beside it.
A folder of pictures (`indexer.folders`) is read in the same way.
"""

import json
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pyarrow as pa

from heldout.errors import InputError
from heldout.tars import iter_parts
from indexer.batches import MAX_TEXT_BYTES
from indexer.samples import ROLE_NAMES

MAX_PICTURE_BYTES: Final = 320 * 1024 * 1024
"""Bytes of a picture; uncompressed RGB of the 100 megapixels that are decoded at most has 300 million."""
MAX_SHARD_TEXT_BYTES: Final = 256 * 1024 * 1024
"""Bytes of all of them in a shard, which are held in memory at once, some ten times as large; img2dataset's have 20 MB.
A shard with more is set aside."""
MAX_JSON_DEPTH: Final = 32
"""Levels of a JSON; one with EXIF data has three. Python's own reader gives up at about 1,000."""
MAX_FIELDS: Final = 1_000
"""Names of fields in a shard's JSON files together: each becomes a column of all rows. img2dataset writes about 20.
Those that fill a role, such as `url`, are read whatever came before."""
PICTURE_SUFFIXES: Final = frozenset(
    {"jpg", "jpeg", "png", "webp", "gif", "avif", "bmp", "tif", "tiff", "jfif", "heic", "heif"}
)

Place = tuple[int, int]
"""Where a file lies, and its bytes: its offset in a tar, or its number among a folder's files."""
Read = Callable[[Place], bytes]


@dataclass
class Member:
    """One sample of a tar."""

    key: str
    files: dict[str, Place] = field(default_factory=dict)
    """Suffix -> place."""

    @property
    def picture(self) -> Place | None:
        """Place of the first picture."""
        return next((place for suffix, place in self.files.items() if suffix in PICTURE_SUFFIXES), None)


@contextmanager
def read_tar(path: Path) -> Iterator[Read]:
    """A function that reads a tar's files by their places."""
    with path.open("rb") as file:

        def read(place: Place) -> bytes:
            file.seek(place[0])
            return file.read(place[1])

        yield read


def index_tar(path: Path) -> list[Member]:
    """Members of a tar grouped by key, adjacent ones together, as webdataset groups them.

    Raises:
        InputError: it is not an uncompressed tar, truncated or damaged anywhere.
    """
    members: list[Member] = []
    with path.open("rb") as archive:
        for part in iter_parts(archive, path):
            entry = part.member
            if entry is None or not entry.isfile():
                continue
            folder, _, name = entry.name.rpartition("/")
            stem, _, suffix = name.partition(".")
            if not stem:
                continue
            key, suffix = whole_text(f"{folder}/{stem}" if folder else stem), suffix.lower()
            if not members or members[-1].key != key or suffix in members[-1].files:
                members.append(Member(key))
            members[-1].files[suffix] = (entry.offset_data, entry.size)
    return members


def metadata_of(members: Sequence[Member], read: Read, source: str) -> pa.Table:
    """Table of the members' own `.json` and `.txt` files, one row a member; `error_message` says what was not read.

    Raises:
        InputError: they hold more than `MAX_SHARD_TEXT_BYTES` together.
    """
    texts = [member.files[suffix][1] for member in members for suffix in ("txt", "json") if suffix in member.files]
    n_bytes = sum(size for size in texts if size <= MAX_TEXT_BYTES)
    if n_bytes > MAX_SHARD_TEXT_BYTES:
        raise InputError(
            f"{source} holds {n_bytes:,} bytes of .json and .txt files, over the limit of {MAX_SHARD_TEXT_BYTES:,}: "
            f"pack its samples as several shards"
        )
    rows: list[dict[str, object]] = []
    names: dict[str, None] = {}
    last = source.rpartition("/")[2]
    for member in members:
        row: dict[str, object] = {"key": member.key}
        reasons: list[str] = []
        for suffix in ("txt", "json"):
            if suffix not in member.files:
                continue
            place, called = member.files[suffix], f"{last}: {member.key}.{suffix}"
            if place[1] > MAX_TEXT_BYTES:
                reasons.append(f"{called} has {place[1]:,} bytes, over the limit of {MAX_TEXT_BYTES:,}")
            elif suffix == "txt":
                row["caption"] = read(place).decode("utf-8", "replace")
            else:
                fields, reason = _parse(read(place), names)
                row.update(fields)
                reasons += [f"{called} {reason}"] if reason else []
        if reasons:
            row["error_message"] = "; ".join(reasons)
        rows.append(row)
        names.update(dict.fromkeys(row))
    return pa.table({name: _column([row.get(name) for row in rows]) for name in names})


def _parse(data: bytes, known: Collection[str]) -> tuple[dict[str, object], str | None]:
    """Fields of a sample's JSON, and what is wrong with it; `known` are the fields of the samples before."""
    try:
        said = json.loads(data)
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        return {}, "is not a JSON object"
    if not _is_shallow(said, MAX_JSON_DEPTH):
        return {}, f"is nested deeper than {MAX_JSON_DEPTH} levels"
    fields: dict[str, object] = {}
    room, n_left_out = MAX_FIELDS - len(known), 0
    for name, value in said.items():
        name = whole_text(name)  # noqa: PLW2901 - the other is not to be used
        if name not in known and name not in fields and name not in ROLE_NAMES:
            if room <= 0:
                n_left_out += 1
                continue
            room -= 1
        fields[name] = value
    if n_left_out:
        return fields, f"brings the shard over {MAX_FIELDS:,} fields: {n_left_out:,} are left out"
    return fields, None


def _is_shallow(value: object, levels: int) -> bool:
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels > 0 and all(_is_shallow(child, levels - 1) for child in children)


def _column(values: list[object]) -> pa.Array:
    """JSON values as one Arrow column; as JSON text where they hold objects or are of different types."""
    values = [whole_text(value) if isinstance(value, str) else value for value in values]
    if not any(_holds_object(value) for value in values):
        try:
            return pa.array(values)
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, UnicodeEncodeError):
            pass  # written out below
    return pa.array([None if value is None else json.dumps(value) for value in values], pa.string())


def _holds_object(value: object) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and any(map(_holds_object, value)))


def whole_text(text: str) -> str:
    """JSON and names in a tar may hold half of a surrogate pair, which no UTF-8 can."""
    return text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
