"""Deltas between versions: what they give, how small they are, and what is not one."""

import random
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heldout.bit_packing import pack, unpack
from heldout.delta_files import (
    ListDelta,
    TableDelta,
    apply_delta,
    format_delta,
    make_delta,
    parse_delta,
    rebuilt_files,
)
from heldout.errors import VerificationError
from heldout.list_tables import SCHEMAS, TableName, content_digest, in_order
from heldout.manifest import ListFile, LogState, Manifest, PreviousVersion

Tables = Mapping[TableName, pa.Table]
BASE = PreviousVersion(7, bytes(range(32)))

keys = st.one_of(st.integers(0, 2**64 - 1), st.integers(0, 40), st.integers(2**64 - 40, 2**64 - 1))
digests = st.sampled_from([bytes([n]) * 32 for n in range(6)])
standings = st.tuples(st.integers(0, 1), st.integers(0, 4), st.integers(-800_000, 2_000_000))
hosts = st.from_regex(r"[a-e]{1,2}\.example", fullmatch=True)


def table_from(rows: Mapping[Any, tuple[int, int, int]], name: TableName) -> pa.Table:
    """Rows by subject; of a picture (pdq, sha256), whose quality is its assurance."""
    subject = SCHEMAS[name].names[0]
    columns: dict[str, object] = {subject: [key[0] if isinstance(key, tuple) else key for key in rows]}
    if name == "image":
        columns |= {"quality": [code for _, code, _ in rows.values()], "sha256": [key[1] for key in rows]}
    columns["preference"] = [code for code, _, _ in rows.values()]
    columns["assurance"] = [code for _, code, _ in rows.values()]
    columns["since"] = pa.array([day for _, _, day in rows.values()], pa.int32()).cast(pa.date32())
    return in_order(pa.table(columns, schema=SCHEMAS[name]), name)


subjects: dict[TableName, st.SearchStrategy[object]] = {
    "url": keys,
    "prefix": hosts.map("{}/a/".format),
    "host": hosts,
    "image": st.tuples(digests, st.none() | digests),
}
tables: st.SearchStrategy[Tables] = st.fixed_dictionaries(
    {
        name: st.dictionaries(subject, standings, max_size=12).map(lambda rows, name=name: table_from(rows, name))  # type: ignore[misc]
        for name, subject in subjects.items()
    }
)


@settings(deadline=None)
@given(st.lists(st.integers(0, 64).flatmap(lambda bits: st.integers(0, 2**bits - 1 if bits else 0)), max_size=200))
def test_packed_numbers_come_back(values: list[int]) -> None:
    data = pack(np.array(values, np.uint64))
    found, size = unpack(data + b"rest", len(values))
    assert found.tolist() == values
    assert (
        size
        == len(data)
        == -(-len(values) // 32)
        + sum(4 * max(values[start : start + 32]).bit_length() for start in range(0, len(values), 32))
    )


@settings(deadline=None)
@given(tables, tables)
def test_a_delta_leads_from_any_list_to_any_other(old: Tables, new: Tables) -> None:
    data = format_delta(make_delta(BASE, old, new))
    delta = parse_delta(data)
    assert delta.base == BASE
    assert format_delta(delta) == data
    for name, table in new.items():
        result = apply_delta(old[name], delta.tables[name], name)
        assert result.equals(table)
        assert content_digest(result, name) == content_digest(table, name)


@settings(deadline=None)
@given(tables)
def test_nothing_that_changed_is_a_delta_of_nothing(old: Tables) -> None:
    delta = make_delta(BASE, old, old)
    assert all(len(part.removed) == part.added.num_rows == 0 for part in delta.tables.values())


def test_one_picture_of_many_with_the_same_hash_can_go() -> None:
    old = table_from({(bytes(32), None): (0, 0, 0), (bytes(32), b"\1" * 32): (0, 0, 0)}, "image")
    new = old.slice(1)
    delta = make_delta(BASE, _with(image=old), _with(image=new)).tables["image"]
    assert (delta.removed.tolist(), delta.added.num_rows) == ([0], 0)
    assert apply_delta(old, delta, "image").equals(new)


def _with(**some: pa.Table) -> Tables:
    return {name: some.get(name, schema.empty_table()) for name, schema in SCHEMAS.items()}


# --- a version's files --------------------------------------------------------------------------------------------


def manifest_of(content: Tables, bits: int) -> tuple[Manifest, dict[str, pa.Table]]:
    """A version whose URL files are split so, and its tables by file name."""
    urls = content["url"]
    prefixes = np.array([key >> (64 - bits) if bits else 0 for key in urls["key"].to_pylist()], np.int64)
    files = {f"urls/{n:03x}.parquet": urls.filter(pa.array(prefixes == n)) for n in range(1 << bits)}
    files |= {
        "prefixes.parquet": content["prefix"],
        "hosts.parquet": content["host"],
        "images.parquet": content["image"],
    }
    kinds: dict[str, TableName] = {"prefixes.parquet": "prefix", "hosts.parquet": "host", "images.parquet": "image"}
    entries = {
        name: ListFile(b"", 0, table.num_rows, content_digest(table, kinds.get(name, "url")))
        for name, table in files.items()
    }
    log = LogState("registry.example/log", "vkey", 1, bytes(32))
    at = datetime(2026, 11, 22, tzinfo=UTC)
    manifest = Manifest(7, at, "heldout-url/1", log, bits, entries, {}, None, None)
    return manifest, files


@settings(deadline=None, max_examples=60)
@given(st.lists(tables, min_size=2, max_size=4), st.integers(0, 3), st.integers(0, 3))
def test_the_files_of_a_version_are_made_from_an_old_one_and_the_deltas_between(
    versions: list[Tables], old_bits: int, new_bits: int
) -> None:
    old, held = manifest_of(versions[0], old_bits)
    new, wanted = manifest_of(versions[-1], new_bits)
    deltas = [make_delta(BASE, before, after) for before, after in pairwise(versions)]
    made = dict(rebuilt_files(old, new, deltas, held.__getitem__))
    known = {file.content for file in old.files.values()}
    assert made.keys() == {name for name, file in new.files.items() if file.content not in known}
    for name, table in made.items():
        assert table.equals(wanted[name]), name


def test_files_that_did_not_change_are_not_read() -> None:
    random_ = random.Random(1)  # noqa: S311
    rows = {random_.randrange(2**64): (0, 0, 0) for _ in range(400)}
    old, held = manifest_of(_with(url=table_from(rows, "url")), 3)
    more = rows | {2**63 + 5: (0, 0, 0)}
    new, wanted = manifest_of(_with(url=table_from(more, "url")), 3)
    delta = make_delta(BASE, _with(url=table_from(rows, "url")), _with(url=table_from(more, "url")))
    asked: list[str] = []

    def read(name: str) -> pa.Table:
        asked.append(name)
        return held[name]

    made = dict(rebuilt_files(old, new, [delta], read))
    assert asked == list(made) == ["urls/004.parquet"]
    assert made["urls/004.parquet"].equals(wanted["urls/004.parquet"])


def test_a_delta_of_another_list_is_refused_or_gives_other_content() -> None:
    rows = {n * 2**50: (0, 0, 0) for n in range(40)}
    old = _with(url=table_from(rows, "url"))
    new = _with(url=table_from(dict(list(rows.items())[:20]), "url"))
    delta = make_delta(BASE, old, new).tables["url"]
    with pytest.raises(VerificationError, match="another list"):
        apply_delta(new["url"], delta, "url")
    longer = table_from(rows | {5: (0, 0, 0)}, "url")
    assert content_digest(apply_delta(longer, delta, "url"), "url") != content_digest(new["url"], "url")


# --- what is no delta ---------------------------------------------------------------------------------------------


def some_delta() -> ListDelta:
    day = date(2026, 11, 1).toordinal() - date(1970, 1, 1).toordinal()
    old = _with(
        url=table_from(dict.fromkeys(range(50), (0, 0, 9)), "url"), host=table_from({"a.example": (0, 2, 9)}, "host")
    )
    new = _with(
        url=table_from({n * 3: (0, n % 2, day) for n in range(40)}, "url"),
        prefix=table_from({"a.example/b/": (0, 1, day)}, "prefix"),
        image=table_from({(bytes(32), None): (0, 0, 3), (bytes(32), b"\7" * 32): (0, 0, 3)}, "image"),
    )
    return make_delta(BASE, old, new)


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(VerificationError):
        parse_delta(data)
    with pytest.raises(VerificationError):
        parse_delta(format_delta(some_delta()).partition(b"\n")[0] + b"\n" + data)


def test_every_altered_or_missing_byte_is_refused_or_says_something_else() -> None:
    delta = some_delta()
    good = format_delta(delta)
    for position in range(len(good)):
        with pytest.raises(VerificationError):
            parse_delta(good[:position])
        for bit in (1, 0x80):
            bad = good[:position] + bytes([good[position] ^ bit]) + good[position + 1 :]
            try:
                found = parse_delta(bad)
            except VerificationError:
                continue
            assert format_delta(found) == bad  # said in its one encoding: the digest in the manifest tells it apart
    with pytest.raises(VerificationError):
        parse_delta(good + b"\0")


def test_a_delta_is_a_thousandth_of_the_list_where_a_thousandth_changed() -> None:
    rng = np.random.default_rng(1)
    old = np.sort(rng.integers(0, 2**64 - 1, 200_000, np.uint64))
    keep = np.delete(old, rng.choice(len(old), 70, replace=False))
    new = np.sort(np.concatenate([keep, rng.integers(0, 2**64 - 1, 140, np.uint64)]))
    old_table, new_table = (_urls(values) for values in (old, new))
    delta = make_delta(BASE, _with(url=old_table), _with(url=new_table))
    assert (len(delta.tables["url"].removed), delta.tables["url"].added.num_rows) == (70, 140)
    assert len(format_delta(delta)) < 0.0015 * len(old) * 6.1
    assert parse_delta(format_delta(delta)).tables["url"].added.equals(delta.tables["url"].added)


def _urls(values: np.ndarray) -> pa.Table:
    n = len(values)
    columns = {"key": values, "preference": np.zeros(n, np.uint8), "assurance": np.zeros(n, np.uint8)}
    return pa.table(
        columns | {"since": pa.array(np.full(n, 20_000, np.int32)).cast(pa.date32())}, schema=SCHEMAS["url"]
    )


def test_positions_out_of_order_are_refused() -> None:
    delta = some_delta()
    swapped = TableDelta(delta.tables["url"].removed[::-1].copy(), delta.tables["url"].added)
    bad = replace(delta, tables={**delta.tables, "url": swapped})
    with pytest.raises(VerificationError):
        parse_delta(format_delta(bad))


def test_standings_that_differ_by_days_take_bits() -> None:
    """700 entries of any assurance, declared on any of a thousand days: what their keys take, and 2.5 octets each."""
    rng = np.random.default_rng(1)
    subjects = np.unique(rng.integers(0, 2**64 - 1, 700, np.uint64))
    urls = pa.table(
        {
            "key": subjects,
            "preference": (rng.random(700) < 0.02).astype(np.uint8),
            "assurance": rng.integers(0, 5, 700).astype(np.uint8),
            "since": pa.array(rng.integers(20_000, 21_000, 700).astype(np.int32)).cast(pa.date32()),
        },
        schema=SCHEMAS["url"],
    )
    size = len(format_delta(make_delta(BASE, _with(), _with(url=urls))))
    keys_alone = len(pack(np.diff(subjects, prepend=np.uint64(0))))
    assert size < keys_alone + 700 * 2.5 + 300  # 300 for the header
