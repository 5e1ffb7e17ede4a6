"""What holds for each subject of the log, all at once: from effective rows to the exclusion list's four tables.

A row is one subject of one claim that counts. Over the rows of one subject: per preference, the best assurance and the
earliest day; `train-ai=n` holds unless a `train-ai=y` has a strictly better assurance: a claim that nobody proved
cannot lift another's. A picture that claims measured differently is one subject, of the highest quality. Two addresses
of one 64-bit key are excluded if either is. Normative: docs/formats/log.md §4.

Sums are packed into one int64 each, so that "the best, and what belongs to it" is a single minimum or maximum.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from heldout.list_tables import SCHEMAS, TableName

CODES: Final[Mapping[TableName, int]] = {"url": 0, "image": 1, "prefix": 2, "host": 3}
"""How `kind` is written."""
SCHEMA: Final = pa.schema(
    {
        "claim": pa.string(),
        "kind": pa.uint8(),  # of CODES
        "key": pa.binary(32),  # of an address, the SHA-256 of its canonical key; of a picture, its PDQ hash; or null
        "place": pa.string(),  # of a prefix or host, its text; or null
        "sha256": pa.binary(32),  # of a picture's file, or null
        "quality": pa.uint8(),  # of a picture; 0 of the others
        "preference": pa.uint8(),  # position in leaves.PREFERENCES
        "assurance": pa.uint8(),  # position in records.ASSURANCES
        "since": pa.int32(),  # days since 1970-01-01
    }
)
"""One effective subject of one claim."""

_DAY_BITS = 32
_DAY_ZERO = 1 << (_DAY_BITS - 1)  # days before 1970 are negative
_DAY_MASK = (1 << _DAY_BITS) - 1
_MOST_ASSURANCE = 255

Ints = npt.NDArray[np.int64]


def list_tables(rows: pa.Table) -> dict[TableName, pa.Table]:
    """The list's tables, sorted as the list has them.

    Args:
        rows: of `SCHEMA`, in any order.
    """
    of_kind = {name: rows.filter(pc.equal(rows["kind"], code)) for name, code in CODES.items()}
    return {
        "url": _url_table(_holding(of_kind["url"], "key")),
        "prefix": _place_table(_holding(of_kind["prefix"], "place"), "prefix"),
        "host": _place_table(_holding(of_kind["host"], "place"), "host"),
        "image": _image_table(_holding(of_kind["image"], "key", "sha256")),
    }


def _holding(rows: pa.Table, *subject: str) -> pa.Table:
    """What holds for each subject, which these columns name: `packed_max`, and `quality_max_max`."""
    by_preference = rows.group_by([*subject, "preference"]).aggregate(
        [("assurance", "max"), ("since", "min"), ("quality", "max")]
    )
    assurance, preference = _ints(by_preference["assurance_max"]), _ints(by_preference["preference"])
    # Among equals of assurance the smaller preference, train-ai=n, is the greater number.
    packed = (assurance * 2 + 1 - preference) << _DAY_BITS | (_ints(by_preference["since_min"]) + _DAY_ZERO)
    with_sums = by_preference.append_column("packed", pa.array(packed))
    return with_sums.group_by(list(subject)).aggregate([("packed", "max"), ("quality_max", "max")])


def _url_table(subjects: pa.Table) -> pa.Table:
    preference, assurance, since = _unpacked(subjects)
    keys = _first_bits(subjects["key"])
    # The first of several: that which excludes, then the best proved, then the earliest.
    rank = ((preference << 8) + (_MOST_ASSURANCE - assurance)) << _DAY_BITS | (since + _DAY_ZERO)
    order = np.lexsort((rank, keys))
    keys = keys[order]
    order = order[np.concatenate([[True], keys[1:] != keys[:-1]])] if len(order) else order
    columns = {"key": _first_bits(subjects["key"])[order], **_standing(preference, assurance, since, order)}
    return pa.table(columns, schema=SCHEMAS["url"])


def _place_table(subjects: pa.Table, name: TableName) -> pa.Table:
    order = _ints(pc.sort_indices(subjects, sort_keys=[("place", "ascending")]))
    places = subjects["place"].take(pa.array(order))
    return pa.table({name: places, **_standing(*_unpacked(subjects), order)}, schema=SCHEMAS[name])


def _image_table(subjects: pa.Table) -> pa.Table:
    has_file = pc.is_valid(subjects["sha256"])
    keys = [("key", "ascending"), ("has_file", "ascending"), ("sha256", "ascending")]
    order = _ints(pc.sort_indices(subjects.append_column("has_file", pc.cast(has_file, pa.uint8())), sort_keys=keys))
    taken = subjects.take(pa.array(order)).combine_chunks()
    columns = {
        "pdq": taken["key"],
        "quality": pc.cast(taken["quality_max_max"], pa.uint8()),
        "sha256": taken["sha256"],
        **_standing(*_unpacked(subjects), order),
    }
    return pa.table(columns, schema=SCHEMAS["image"])


def _unpacked(subjects: pa.Table) -> tuple[Ints, Ints, Ints]:
    """Preference, assurance and day of what holds."""
    packed = _ints(subjects["packed_max"])
    score = packed >> _DAY_BITS
    return 1 - score % 2, score // 2, (packed & _DAY_MASK) - _DAY_ZERO


def _standing(preference: Ints, assurance: Ints, since: Ints, order: Ints) -> dict[str, object]:
    return {
        "preference": preference[order].astype(np.uint8),
        "assurance": assurance[order].astype(np.uint8),
        "since": pa.array(since[order].astype(np.int32)).cast(pa.date32()),
    }


def _first_bits(keys: pa.ChunkedArray) -> npt.NDArray[np.uint64]:
    """(n,) the first 64 bits of each, big-endian."""
    joined = b"".join(_octets(chunk) for chunk in keys.chunks)
    words = np.frombuffer(joined, dtype=">u8")
    return words.reshape(-1, 4)[:, 0].astype(np.uint64)


def _octets(chunk: pa.FixedSizeBinaryArray) -> bytes:
    """The bytes of an array without nulls."""
    start = chunk.offset * 32
    return memoryview(chunk.buffers()[1])[start : start + len(chunk) * 32].tobytes() if len(chunk) else b""


def _ints(values: pa.ChunkedArray | pa.Array) -> Ints:
    return np.asarray(values).astype(np.int64)
