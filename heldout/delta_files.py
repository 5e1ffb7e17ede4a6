"""What changed from one version of the exclusion list to the next: make, format, parse, apply. Pure.

Of each table, first the positions of the entries that go, then the entries that come; an entry of which anything
changed goes and comes. The result is checked against the content digests of the new version's manifest, so that a
delta need not be trusted. The order, and to let a checksum of the result decide, is Safe Browsing's (v4, "Local
Database"). Format: docs/formats/exclusion-list.md §4.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from heldout.bit_packing import pack, unpack
from heldout.errors import VerificationError
from heldout.leaves import canonical_json, parse_canonical_json
from heldout.list_tables import OTHER_FILES, SCHEMAS, STANDING, TableName, fixed_bytes, in_order, url_file
from heldout.manifest import Manifest, PreviousVersion

DELTA_FORMAT: Final = "heldout-list-delta/1"
_MAX_HEADER_BYTES = 4096
_HEX256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_STANDING = np.dtype([("since", "<i4"), ("assurance", "u1"), ("preference", "u1")])
_DAY = 16
"""What a day counts for in the number of a standing; the assurance counts for 2, and train-ai=y for 1."""

Reader = Callable[[str], pa.Table]
"""The table of a data file by its name in the old manifest."""


@dataclass(frozen=True)
class TableDelta:
    """What changed in one table."""

    removed: npt.NDArray[np.int64]
    """(r,) Positions of entries in the old table, ascending. Of URL entries they count over all files."""
    added: pa.Table
    """Entries, in the table's order."""


@dataclass(frozen=True)
class ListDelta:
    """What changed in a list."""

    base: PreviousVersion
    """The version that it is applied to."""
    tables: Mapping[TableName, TableDelta]


def make_delta(
    base: PreviousVersion, old: Mapping[TableName, pa.Table], new: Mapping[TableName, pa.Table]
) -> ListDelta:
    """What changed between the tables of two versions."""
    return ListDelta(base, {name: _table_delta(old[name], new[name], name) for name in SCHEMAS})


def format_delta(delta: ListDelta) -> bytes:
    """The one encoding of a delta."""
    sections = {name: _format_table(table, name) for name, table in delta.tables.items()}
    header = {
        "format": DELTA_FORMAT,
        "base": {"version": delta.base.version, "sha256": delta.base.sha256.hex()},
        "tables": {
            name: {"removed": len(table.removed), "added": table.added.num_rows, "size": len(sections[name])}
            for name, table in delta.tables.items()
        },
    }
    return canonical_json(header) + b"\n" + b"".join(sections[name] for name in SCHEMAS)


def parse_delta(data: bytes) -> ListDelta:
    """Inverse of `format_delta`.

    Raises:
        VerificationError: not a delta, or not in its one encoding.
    """
    line = data[:_MAX_HEADER_BYTES].partition(b"\n")[0]
    fields = parse_canonical_json(line, "list's delta")
    try:
        base, tables = _base(fields), fields["tables"]
        found, start = {}, len(line) + 1
        for name in SCHEMAS:
            sizes = {key: _natural(value) for key, value in tables[name].items()}
            found[name] = _Section(data[start : start + sizes["size"]]).table(name, sizes["removed"], sizes["added"])
            start += sizes["size"]
        delta = ListDelta(base, found)
        is_exact = format_delta(delta) == data
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, pa.ArrowException) as error:
        raise VerificationError(f"the list's delta is damaged ({error!r:.100})") from error
    if not is_exact:
        raise VerificationError("the list's delta is not in its one encoding: it was changed")
    return delta


def apply_delta(table: pa.Table, delta: TableDelta, name: TableName) -> pa.Table:
    """The new table. What it says is to be checked: a delta of another version may give anything.

    Raises:
        VerificationError: it removes entries that the table does not have.
    """
    if len(delta.removed) and delta.removed[-1] >= table.num_rows:
        raise VerificationError(f"the delta removes {name} entries that the list does not have: it is of another list")
    keep = np.ones(table.num_rows, np.bool_)
    keep[delta.removed] = False
    return in_order(pa.concat_tables([table.filter(pa.array(keep)), delta.added]), name)


def rebuilt_files(
    old: Manifest, new: Manifest, deltas: Sequence[ListDelta], read: Reader
) -> Iterator[tuple[str, pa.Table]]:
    """The data files of a version that an older one does not have, made from its files and the deltas between.

    A few files are in memory at a time. Check each against the manifest (`heldout.stored.check_content`).

    Args:
        old: the version at hand.
        new: the version wanted.
        deltas: of every version after the old one up to the new one, in order.
        read: gives the old version's tables.

    Yields:
        Name in the new manifest, and table.

    Raises:
        VerificationError: the deltas do not fit the old version. Raised by `read`: whatever it raises.
    """
    known = {file.content for file in old.files.values()}
    for name, table in _chain(old, new, deltas, read, known):
        if new.files[name].content not in known:
            yield name, table


def _chain(
    old: Manifest, new: Manifest, deltas: Sequence[ListDelta], read: Reader, known: set[bytes]
) -> Iterator[tuple[str, pa.Table]]:
    for file, name in OTHER_FILES.items():
        if file in new.files and new.files[file].content not in known:
            table = read(file) if file in old.files else SCHEMAS[name].empty_table()
            for delta in deltas:
                table = apply_delta(table, delta.tables[name], name)
            yield file, table
    # URL files, in groups of which each is whole files of both versions.
    bits = min(old.prefix_bits, new.prefix_bits)
    steps = [_Step(delta.tables["url"]) for delta in deltas]
    for group in range(1 << bits):
        before, after = _files(old, group, bits), _files(new, group, bits)
        if all(new.files[name].content in known for name in after if name in new.files):
            n_rows = sum(old.files[name].count for name in before if name in old.files)
            for step in steps:
                n_rows = step.skip(n_rows, group, bits)
            continue
        tables = [SCHEMAS["url"].empty_table(), *(read(name) for name in before if name in old.files)]
        table = pa.concat_tables(tables)
        for step in steps:
            table = apply_delta(table, step.take(table.num_rows, group, bits), "url")
        inner = np.array([_bound(int(file[5:8], 16), new.prefix_bits) for file in after[1:]], np.uint64)
        rows = np.searchsorted(table["key"].to_numpy(), inner).tolist()
        for file, start, end in zip(after, [0, *rows], [*rows, table.num_rows], strict=True):
            if file in new.files:
                yield file, table.slice(start, end - start)


class _Step:
    """One delta of the URL entries, taken group by group in the keys' order."""

    def __init__(self, delta: TableDelta) -> None:
        self._delta = delta
        self._keys = delta.added["key"].to_numpy()
        self._first = 0  # position, in this step's old table, of the next group's first entry

    def take(self, n_rows: int, group: int, bits: int) -> TableDelta:
        """What changes in a group, which has `n_rows` entries before."""
        removed = self._delta.removed
        start, end = np.searchsorted(removed, [self._first, self._first + n_rows])
        low, high = _added(self._keys, group, bits)
        part = TableDelta(removed[start:end] - self._first, self._delta.added.slice(low, high - low))
        self._first += n_rows
        return part

    def skip(self, n_rows: int, group: int, bits: int) -> int:
        """Entries that a group has afterwards."""
        part = self.take(n_rows, group, bits)
        return n_rows - len(part.removed) + int(part.added.num_rows)


def _added(keys: npt.NDArray[np.uint64], group: int, bits: int) -> tuple[int, int]:
    low = int(np.searchsorted(keys, np.uint64(_bound(group, bits))))
    if group + 1 == 1 << bits:
        return low, len(keys)
    return low, int(np.searchsorted(keys, np.uint64(_bound(group + 1, bits))))


def _bound(prefix: int, bits: int) -> int:
    """The first key of a prefix."""
    return prefix << (64 - bits)


def _files(manifest: Manifest, group: int, bits: int) -> list[str]:
    """The names that a version's URL files of a group have."""
    more = manifest.prefix_bits - bits
    return [url_file(number) for number in range(group << more, (group + 1) << more)]


# ---- making -----------------------------------------------------------------------------------------------------


def _table_delta(old: pa.Table, new: pa.Table, name: TableName) -> TableDelta:
    not_in = _keys_not_in if name == "url" else _rows_not_in
    return TableDelta(not_in(old, new), new.take(pa.array(not_in(new, old))))


def _keys_not_in(table: pa.Table, other: pa.Table) -> npt.NDArray[np.int64]:
    """As `_rows_not_in`, of tables that may have a billion rows: both are sorted."""
    keys, others = table["key"].to_numpy(), other["key"].to_numpy()
    place = np.searchsorted(others, keys)
    is_there = place < len(others)
    place[~is_there] = 0
    if len(others):
        is_there &= others[place] == keys
        for column in STANDING:
            is_there &= table[column].to_numpy() == other[column].to_numpy()[place]
    return np.flatnonzero(~is_there)


def _rows_not_in(table: pa.Table, other: pa.Table) -> npt.NDArray[np.int64]:
    """Positions of the rows that the other table has not, ascending."""
    left, right = _comparable(table), _comparable(other)
    numbered = left.append_column("row", pa.array(np.arange(table.num_rows)))
    found = numbered.join(right, keys=left.column_names, join_type="left anti")["row"].to_numpy()
    return cast("npt.NDArray[np.int64]", np.sort(found.astype(np.int64)))


def _comparable(table: pa.Table) -> pa.Table:
    """As joins compare: a null equals none in them."""
    if "sha256" not in table.column_names:
        return table
    position = table.column_names.index("sha256")
    return table.set_column(position, "sha256", pc.fill_null(table["sha256"].cast(pa.binary()), b""))


# ---- the encoding -----------------------------------------------------------------------------------------------


def _format_table(delta: TableDelta, name: TableName) -> bytes:
    added = delta.added
    rows = np.empty(added.num_rows, _STANDING)
    for column in STANDING:
        values = added[column]
        rows[column] = (values.cast(pa.int32()) if column == "since" else values).to_numpy()
    distinct, index = np.unique(rows, return_inverse=True)
    return b"".join(
        [
            pack(_gaps(delta.removed.astype(np.uint64))),
            len(distinct).to_bytes(4, "little"),
            _format_standings(distinct),
            pack(index.astype(np.uint64)),
            _format_subjects(added, name),
        ]
    )


def _format_standings(distinct: npt.NDArray[np.void]) -> bytes:
    """Ascending ones, of which each is a few bits more than the one before."""
    if not len(distinct):
        return b""
    first = distinct["since"][:1]
    days = distinct["since"].astype(np.int64) - int(first[0])
    numbers = days * _DAY + distinct["assurance"].astype(np.int64) * 2 + distinct["preference"]
    return bytes(first.tobytes() + pack(_gaps(numbers.astype(np.uint64))))


def _format_subjects(added: pa.Table, name: TableName) -> bytes:
    if name == "url":
        return pack(_gaps(added["key"].to_numpy()))
    if name != "image":
        return b"".join(f"{text}\n".encode() for text in added[name].to_pylist())
    has_file = added["sha256"].is_valid().to_numpy().astype(np.uint8)
    digests = fixed_bytes(added["sha256"].drop_null(), 32)
    return b"".join(
        [
            fixed_bytes(added["pdq"], 32).tobytes(),
            added["quality"].to_numpy().tobytes(),
            has_file.tobytes(),
            digests.tobytes(),
        ]
    )


class _Section:
    """One table's bytes, read from the front."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def table(self, name: TableName, n_removed: int, n_added: int) -> TableDelta:
        removed = _sums(self._packed(n_removed))
        if n_removed and int(removed[-1]) >= 2**63:
            raise ValueError("a position is too large")
        distinct = self._standings(int.from_bytes(self._take(4), "little"))
        index = self._packed(n_added)
        if n_added and int(index.max()) >= len(distinct):
            raise ValueError("an entry has no standing")
        rows = distinct[index.astype(np.int64)]
        columns: dict[str, Any] = self._subjects(name, n_added)
        if self._data:
            raise ValueError("a table is longer than it says")
        columns |= {column: np.ascontiguousarray(rows[column]) for column in ("preference", "assurance")}
        columns["since"] = pa.array(np.ascontiguousarray(rows["since"])).cast(pa.date32())
        return TableDelta(removed.astype(np.int64), pa.table(columns, schema=SCHEMAS[name]))

    def _standings(self, n: int) -> npt.NDArray[np.void]:
        if not n:
            return np.empty(0, _STANDING)
        first = int.from_bytes(self._take(4), "little", signed=True)
        numbers = _sums(self._packed(n))
        if int(numbers[-1]) // _DAY + first >= 2**31:
            raise ValueError("a day is too late")
        days, rest = np.divmod(numbers.astype(np.int64), _DAY)
        distinct = np.empty(n, _STANDING)
        distinct["since"], distinct["assurance"], distinct["preference"] = days + first, rest // 2, rest % 2
        return distinct

    def _subjects(self, name: TableName, n: int) -> dict[str, Any]:
        if name == "url":
            return {"key": _sums(self._packed(n))}
        if name != "image":
            lines = self._take(len(self._data)).decode().split("\n")
            if lines.pop() or len(lines) != n:
                raise ValueError("it names another number of places")
            return {name: lines}
        pdq = self._take(32 * n)
        quality = np.frombuffer(self._take(n), np.uint8)
        has_file = np.frombuffer(self._take(n), np.uint8)
        digests = iter(_digests(self._take(32 * int(has_file.astype(bool).sum()))))
        return {
            "pdq": _digests(pdq),
            "quality": quality,
            "sha256": [next(digests) if has else None for has in has_file],
        }

    def _packed(self, n: int) -> npt.NDArray[np.uint64]:
        values, size = unpack(self._data, n)
        self._data = self._data[size:]
        return values

    def _take(self, size: int) -> bytes:
        if len(self._data) < size:
            raise ValueError("a table is shorter than it says")
        taken, self._data = self._data[:size], self._data[size:]
        return taken


def _digests(data: bytes) -> list[bytes]:
    return [data[start : start + 32] for start in range(0, len(data), 32)]


def _gaps(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The first value, then the differences."""
    return np.diff(values, prepend=np.uint64(0))


def _sums(gaps: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Inverse of `_gaps` for ascending values. Raises ValueError if they are not, or too large."""
    values = np.cumsum(gaps, dtype=np.uint64)
    if len(values) > 1 and not (values[1:] > values[:-1]).all():
        raise ValueError("what should ascend does not")
    return values


def _base(fields: Mapping[str, Any]) -> PreviousVersion:
    base = fields["base"]
    if (
        fields["format"] != DELTA_FORMAT
        or base.keys() != {"version", "sha256"}
        or not _HEX256.fullmatch(base["sha256"])
    ):
        raise ValueError("it is of another format")
    return PreviousVersion(_natural(base["version"]), bytes.fromhex(base["sha256"]))


def _natural(value: object) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r:.40} is not a count")
    return value
