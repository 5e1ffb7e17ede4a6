"""The log's entries: one encoding each, and nothing else parses."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heldout.errors import InputError, VerificationError
from heldout.leaves import (
    MAX_SUBJECTS_PER_LEAF,
    PREFERENCES,
    ImageDigest,
    Leaf,
    ListLeaf,
    OptOutLeaf,
    UrlDigest,
    WithdrawLeaf,
    canonical_json,
    format_at,
    format_leaf,
    parse_at,
    parse_leaf,
)
from heldout.records import ASSURANCES
from heldout.tiles import MAX_ENTRY_SIZE

DIGESTS = st.binary(min_size=32, max_size=32)
TIMES = st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31), timezones=st.just(UTC)).map(  # noqa: DTZ001
    lambda at: at.replace(microsecond=0)
)
CLAIMS = st.text("0123456789abcdefghijklmnopqrstuvwxyz", min_size=8, max_size=64)
SUBJECTS = st.one_of(
    st.builds(UrlDigest, DIGESTS), st.builds(ImageDigest, DIGESTS, st.integers(0, 100), st.none() | DIGESTS)
)


@st.composite
def opt_outs(draw: st.DrawFn) -> OptOutLeaf:
    n_parts = draw(st.integers(1, 40))
    return OptOutLeaf(
        at=draw(TIMES),
        claim=draw(CLAIMS),
        assurance=draw(st.sampled_from(ASSURANCES)),
        preference=draw(st.sampled_from(PREFERENCES)),
        subjects=tuple(draw(st.lists(SUBJECTS, min_size=1, max_size=5))),
        part=draw(st.integers(1, n_parts)),
        n_parts=n_parts,
    )


LEAVES: st.SearchStrategy[Leaf] = st.one_of(
    opt_outs(),
    st.builds(WithdrawLeaf, TIMES, CLAIMS, st.from_regex(r"[a-z][a-z0-9-]{0,31}", fullmatch=True)),
    st.builds(ListLeaf, TIMES, st.integers(1, 2**53), DIGESTS),
)
OPT_OUT = OptOutLeaf(
    datetime(2026, 11, 22, 1, 2, 3, tzinfo=UTC),
    "claim0001",
    "declared",
    "train-ai=n",
    (UrlDigest(b"\x01" * 32), ImageDigest(b"\x02" * 32, 87, b"\x03" * 32), ImageDigest(b"\x04" * 32, 50)),
)


@given(LEAVES)
def test_parsing_a_formatted_leaf_gives_it_back(leaf: Leaf) -> None:
    assert parse_leaf(format_leaf(leaf)) == leaf


def test_a_leaf_is_written_as_documented() -> None:
    assert format_leaf(OPT_OUT) == (
        b'{"assurance":"declared","at":"2026-11-22T01:02:03Z","claim":"claim0001","part":[1,1],'
        b'"preference":"train-ai=n","subjects":[{"key":"' + b"01" * 32 + b'","kind":"url"},'
        b'{"kind":"image","pdq":"' + b"02" * 32 + b'","quality":87,"sha256":"' + b"03" * 32 + b'"},'
        b'{"kind":"image","pdq":"' + b"04" * 32 + b'","quality":50}],"type":"opt-out","v":1}'
    )


def test_a_full_leaf_fits_an_entry() -> None:
    subject = ImageDigest(b"\xff" * 32, 100, b"\xff" * 32)
    full = OptOutLeaf(
        OPT_OUT.at, "z" * 64, "credential", "train-ai=n", (subject,) * MAX_SUBJECTS_PER_LEAF, part=2**31, n_parts=2**31
    )
    assert len(format_leaf(full)) < MAX_ENTRY_SIZE


@given(LEAVES, st.data())
def test_no_second_encoding_of_a_leaf_parses(leaf: Leaf, data: st.DataObject) -> None:
    """Changed layout, key order, escapes or trailing bytes: one meaning has one leaf hash."""
    encoded = format_leaf(leaf)
    fields = json.loads(encoded)
    others = [
        encoded + b"\n",
        b" " + encoded,
        json.dumps(fields, sort_keys=True).encode(),
        json.dumps(dict(reversed(fields.items())), separators=(",", ":")).encode(),
        encoded.replace(b'"v":1', b'"v":1.0'),
        encoded.replace(b'"v":1', b'"v":1,"v":1'),
        encoded.replace(b"train", b"\\u0074rain") if b"train" in encoded else encoded + b"x",
        encoded.replace(b'"v":1', b'"v":true'),
    ]
    with pytest.raises(VerificationError):
        parse_leaf(data.draw(st.sampled_from(others)))


@pytest.mark.parametrize(
    "change",
    [
        {"v": 2},
        {"type": "opt-in"},
        {"type": None},
        {"extra": 1},
        {"at": "2026-11-22T01:02:03.5Z"},
        {"at": "2026-02-30T01:02:03Z"},
        {"at": 5},
        {"claim": "UPPERCASE"},
        {"claim": "short"},
        {"claim": None},
        {"assurance": "certain"},
        {"assurance": ["declared"]},
        {"preference": "train-ai=maybe"},
        {"part": [2, 1]},
        {"part": [0, 1]},
        {"part": [True, 1]},
        {"part": 1},
        {"part": [1]},
        {"subjects": []},
        {"subjects": {}},
        {"subjects": [None]},
        {"subjects": [{"kind": "url", "key": "0" * 63}]},
        {"subjects": [{"kind": "url", "key": "A" * 64}]},
        {"subjects": [{"kind": "url", "key": "0" * 64, "url": "https://a.example/"}]},
        {"subjects": [{"kind": "host", "key": "0" * 64}]},
        {"subjects": [{"kind": "image", "pdq": "0" * 64, "quality": 101}]},
        {"subjects": [{"kind": "image", "pdq": "0" * 64, "quality": 1.5}]},
        {"subjects": [{"kind": "image", "pdq": "0" * 64, "quality": 10, "sha256": None}]},
        {"subjects": [{"kind": "image", "pdq": "0" * 64, "quality": 10, "name": "Jane"}]},
        {"subjects": [{"kind": "url", "key": "0" * 64}] * 301},
    ],
)
def test_leaves_with_a_wrong_field_are_refused(change: dict[str, Any]) -> None:
    fields = json.loads(format_leaf(OPT_OUT)) | change
    with pytest.raises(VerificationError):
        parse_leaf(canonical_json(fields))


@pytest.mark.parametrize("field", ["at", "claim", "assurance", "part", "preference", "subjects", "type", "v"])
def test_leaves_that_lack_a_field_are_refused(field: str) -> None:
    fields = json.loads(format_leaf(OPT_OUT))
    del fields[field]
    with pytest.raises(VerificationError):
        parse_leaf(canonical_json(fields))


@pytest.mark.parametrize("data", [b"", b"null", b"[]", b"{", b"\xff", b'{"a":"\\ud800"}', b"[" * 100_000, b'{"v":1}'])
def test_what_is_not_a_leaf_is_refused(data: bytes) -> None:
    with pytest.raises(VerificationError):
        parse_leaf(data)


@pytest.mark.parametrize(
    "leaf",
    [
        WithdrawLeaf(datetime(2026, 1, 1, 0, 0, 0, 5, tzinfo=UTC), "claim0001", "by-claimant"),
        WithdrawLeaf(datetime(2026, 1, 1), "claim0001", "by-claimant"),  # noqa: DTZ001
        WithdrawLeaf(datetime(2026, 1, 1, tzinfo=UTC), "claim0001", "Jane Doe asked"),
        WithdrawLeaf(datetime(2026, 1, 1, tzinfo=UTC), "jane@example.org", "by-claimant"),
        ListLeaf(datetime(2026, 1, 1, tzinfo=UTC), 0, b"\0" * 32),
        ListLeaf(datetime(2026, 1, 1, tzinfo=UTC), 1, b"\0" * 31),
        OptOutLeaf(OPT_OUT.at, "claim0001", "declared", "train-ai=n", ()),
        OptOutLeaf(OPT_OUT.at, "claim0001", "declared", "train-ai=n", (UrlDigest(b"\0" * 31),)),
        OptOutLeaf(OPT_OUT.at, "claim0001", "declared", "train-ai=n", (UrlDigest(b"\0" * 32),) * 301),
        OptOutLeaf(OPT_OUT.at, "claim0001", "declared", "train-ai=n", (UrlDigest(b"\0" * 32),) * 900),
    ],
)
def test_leaves_the_format_cannot_hold_are_not_written(leaf: Leaf) -> None:
    with pytest.raises(InputError):
        format_leaf(leaf)


def test_times_are_written_in_utc() -> None:
    at = datetime(2026, 11, 22, 3, 2, 3, tzinfo=timezone(timedelta(hours=2)))
    assert format_at(at) == "2026-11-22T01:02:03Z"
    assert parse_at("2026-11-22T01:02:03Z") == at
