"""The sample as a shard stores it, and which columns of a source it comes from.

Column detection follows the schemas the field publishes (LAION-400M, LAION-2B/5B, Re-LAION, DataComp, COYO, PD12M,
img2dataset output), by name and case-insensitive; what no role claims is kept under its own name.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from heldout.errors import InputError

FIXED_SCHEMA: Final = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("shard", pa.string(), nullable=False),
        pa.field("row", pa.int32(), nullable=False),
        pa.field("url", pa.string()),
        pa.field("caption", pa.string()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("status", pa.string(), nullable=False),
        pa.field("reason", pa.string()),
        pa.field("sha256", pa.binary(32)),
        pa.field("pdq", pa.binary(32)),
        pa.field("pdq_quality", pa.uint8()),
        pa.field("iscc", pa.string()),
        pa.field("embedding_row", pa.int32()),
        pa.field("unsafe", pa.bool_(), nullable=False),
        pa.field("signals", pa.list_(pa.string())),
    ]
)
"""Columns of every `samples.parquet`; the source's own columns follow under their names.

`signals` are the opt-out signals a server sent (`heldout.signals`); null where nothing was fetched.
"""

STATUS_OK: Final = "ok"
STATUS_NO_PICTURE: Final = "no_picture"
STATUS_NOT_FETCHED: Final = "not_fetched"
STATUS_CORRUPT: Final = "corrupt"

_ALIASES: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "url": ("url", "image_url", "img_url"),
        # LAION-COCO also has `top_caption`, made by a model: the alt text is what names an artist.
        "caption": ("caption", "text", "alt_text", "alttext", "alt"),
        # clip-retrieval writes a webdataset's keys as `image_path`.
        "key": ("key", "uid", "sample_id", "id", "image_path"),
        "width": ("original_width", "width"),
        "height": ("original_height", "height"),
        "status": ("status",),
        "reason": ("error_message",),
        "sha256": ("sha256",),
        "picture": ("jpg", "jpeg", "png", "webp", "image", "image_bytes", "bytes"),
    }
)
"""Role -> names that fill it, best first."""

ROLES: Final = tuple(_ALIASES)
ROLE_NAMES: Final = frozenset(form for names in _ALIASES.values() for name in names for form in (name, name.upper()))
"""Columns that fill a role, as data sets write them."""
_UNSAFE_WORDS: Final = ("nsfw",)
_UNSAFE_SCORES: Final = ("punsafe", "nsfw_score_opennsfw2", "nsfw_score_gantman")
_UNSAFE_FROM: Final = 0.5
_STRAY: Final = frozenset({"__index_level_0__"})


@dataclass(frozen=True)
class ColumnMapping:
    """Which source column fills which role, and what is kept besides."""

    roles: Mapping[str, str]
    kept: tuple[str, ...]

    def describe(self) -> str:
        """One line for a person: `url <- URL, caption <- TEXT; kept: LICENSE`."""
        filled = [f"{role} <- {column}" for role, column in self.roles.items()]
        filled += [f"no {role}" for role in NEEDED if role not in self.roles]
        return f"{', '.join(filled)}; kept: {', '.join(self.kept) or 'nothing else'}"


NEEDED: Final = ("url", "caption")
"""Roles without which a list of samples is most likely one whose columns have names that nobody told us."""


def map_columns(
    names: Sequence[str],
    *,
    overrides: Mapping[str, str] | None = None,
    binary: Iterable[str] = (),
    needed: Iterable[str] = NEEDED,
    source: str,
) -> ColumnMapping:
    """Detect the roles of a source's columns.

    Args:
        names: The columns, in order.
        overrides: Role -> column, from the user; an empty column says that there is none.
        binary: Those columns that hold bytes; only they can be the picture.
        needed: Roles that must be filled, unless the user says that there is no such column. A picture makes up for
            any of them: its sample can be found without.
        source: The file, for messages.

    Raises:
        InputError: a needed role is not filled, or an override names a column or role that is not there.
    """
    if len(set(names)) != len(names):
        raise InputError(f"{source} has two columns of one name: it has {_shown(names)}; write it again with one")
    roles = _detect(names, set(binary))
    check_roles(overrides or ())
    for role, column in (overrides or {}).items():
        if not column:
            roles.pop(role, None)
            continue
        if column not in names:
            raise InputError(f"{source} has no column {column!r} for {role}: it has {_shown(names)}")
        roles[role] = column
    for role in () if "picture" in roles else needed:
        if role not in roles and role not in (overrides or {}):
            raise InputError(
                f"{source} has no {role.upper() if role == 'url' else role} column: it has {_shown(names)}; "
                f"name it with --columns {role}=COLUMN, or say --columns {role}= if there is none"
            )
    consumed = set(roles.values())
    kept = tuple(name for name in names if name not in consumed and name not in _STRAY)
    return ColumnMapping(roles, kept)


def check_roles(roles: Iterable[str]) -> None:
    """Raises `InputError` where one of them is none of ours."""
    for role in roles:
        if role not in ROLES:
            raise InputError(f"--columns names the unknown role {role!r}: known are {', '.join(ROLES)}")


def _detect(names: Sequence[str], holds_bytes: set[str]) -> dict[str, str]:
    by_lower: dict[str, str] = {}
    for name in names:
        by_lower.setdefault(name.lower(), name)
    roles: dict[str, str] = {}
    for role, aliases in _ALIASES.items():
        found = [by_lower[alias] for alias in aliases if alias in by_lower]
        if role == "picture":
            found = [name for name in found if name in holds_bytes]
        if found:
            roles[role] = found[0]
    return roles


def kept_names(names: Iterable[str]) -> dict[str, str]:
    """Source column -> its name in `samples.parquet`: its own, or `source_...` where ours, or another, has that."""
    given: dict[str, str] = {}
    taken = set(FIXED_SCHEMA.names)
    for name in sorted(names, key=lambda name: name.lower() in taken):  # those that keep their names come first
        new = f"source_{name}" if name.lower() in FIXED_SCHEMA.names else name
        while new in taken:
            new = f"source_{new}"
        taken.add(new)
        given[name] = new
    return {name: given[name] for name in names}


def kept_column(column: pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """A kept column as it is, but text as valid UTF-8."""
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    return text_column(column) if _is_text(kind) else column


def key_column(column: pa.ChunkedArray) -> pa.Array:
    """Keys as text. Numbers that pandas made float, because some were missing, are whole ones again."""
    if pa.types.is_floating(column.type):
        with suppress(pa.ArrowInvalid):  # not whole ones
            column = column.cast(pa.int64())
    return text_column(column)


def text_column(column: pa.ChunkedArray) -> pa.Array:
    """A column as valid UTF-8 strings: numbers are written out, bad bytes become U+FFFD."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(array, pa.ChunkedArray):  # combine_chunks keeps chunks of over 2 GiB
        array = pa.concat_arrays(array.chunks)
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_null(array.type):
        return pa.nulls(len(array), pa.string())
    if _is_text(array.type) or _is_bytes(array.type):
        try:
            text = array.cast(pa.string())
            text.validate(full=True)
        except (pa.ArrowInvalid, UnicodeDecodeError):
            raw = array.view(pa.binary()) if pa.types.is_string(array.type) else array.cast(pa.binary())
            decoded = [None if value is None else value.decode("utf-8", "replace") for value in raw.to_pylist()]
            return pa.array(decoded, pa.string())
        else:
            return text
    try:
        return array.cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return pa.array([None if value is None else str(value) for value in array.to_pylist()], pa.string())


def size_column(column: pa.ChunkedArray) -> pa.Array:
    """A width or height column of any numeric type, or as text, as int32; what is no positive pixel count is null."""
    try:
        values = np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):  # some of it is no number
        values = np.array([_number(value) for value in column.to_pylist()], dtype=np.float64)
    with np.errstate(invalid="ignore"):
        bad = ~((values >= 1) & (values < 2**31))
    return pa.array(np.where(bad, 0, values).astype(np.int32), mask=bad)


def _number(value: object) -> float:
    try:
        return float(value) if isinstance(value, str | bytes | int | float) else math.nan
    except (ValueError, OverflowError):
        return math.nan


def sha256_column(column: pa.ChunkedArray) -> pa.Array:
    """A column of hex or raw SHA-256 digests as binary(32); anything else is null."""
    return pa.array([_digest(value) for value in column.to_pylist()], pa.binary(32))


def _digest(value: object) -> bytes | None:
    if isinstance(value, bytes) and len(value) == 32:
        return value
    if isinstance(value, str) and len(value) == 64:
        try:
            return bytes.fromhex(value)
        except ValueError:
            return None
    return None


def unsafe_column(table: pa.Table) -> pa.Array:
    """True where the data set's own columns call a sample unsafe: NSFW = "NSFW", or a score of at least 0.5."""
    unsafe = np.zeros(len(table), dtype=bool)
    for name in table.column_names:
        column = table[name]
        kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        if name.lower() in _UNSAFE_WORDS and (_is_text(kind) or _is_bytes(kind) or pa.types.is_boolean(kind)):
            said = column if pa.types.is_boolean(column.type) else pc.equal(pc.utf8_upper(text_column(column)), "NSFW")
            unsafe |= np.asarray(pc.fill_null(said, fill_value=False).to_numpy(zero_copy_only=False), dtype=bool)
        elif name.lower() in _UNSAFE_SCORES and pa.types.is_floating(column.type):
            scores = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
            with np.errstate(invalid="ignore"):
                unsafe |= np.asarray(scores >= _UNSAFE_FROM, dtype=bool)
    return pa.array(unsafe)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_fixed_size_binary(kind)
        or pa.types.is_binary_view(kind)
    )


def binary_columns(schema: pa.Schema) -> list[str]:
    """Names of the columns that hold bytes, or a struct with a field `bytes`, as Hugging Face writes pictures."""
    return [field.name for field in schema if _is_bytes(field.type) or _is_picture_struct(field.type)]


def _is_picture_struct(kind: pa.DataType) -> bool:
    at = kind.get_field_index("bytes") if pa.types.is_struct(kind) else -1
    return at >= 0 and _is_bytes(kind.field(at).type)


def picture_bytes(column: pa.ChunkedArray) -> list[bytes | None]:
    """Cells of one of `binary_columns`."""
    if pa.types.is_struct(column.type):
        column = pc.struct_field(column, "bytes")
    cells: list[bytes | None] = column.to_pylist()
    return cells


def with_column(table: pa.Table, name: str, values: pa.Array) -> pa.Table:
    """The table with a column in place of the one of that name, or behind the others if there is none."""
    at = table.schema.get_field_index(name)
    return table.append_column(name, values) if at < 0 else table.set_column(at, name, values)


def add_reason(before: str | None, said: str) -> str:
    """A sample's reason with another one behind it."""
    return f"{before}; {said}" if before else said


def _shown(names: Sequence[str]) -> str:
    return ", ".join(names) or "no columns"
