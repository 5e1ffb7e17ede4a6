"""The log's entries: one encoding each, and nothing else parses."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heldout.errors import InputError, VerificationError
from heldout.leaves import (
    MAX_POSITIONS_PER_LEAF,
    MAX_PREFIX_BYTES,
    MAX_SUBJECTS_PER_LEAF,
    PREFERENCES,
    AssuranceLeaf,
    HostRule,
    ImageDigest,
    Leaf,
    ListLeaf,
    LoggedSubject,
    OptOutLeaf,
    PrefixRule,
    StateLeaf,
    UrlDigest,
    WithdrawLeaf,
    canonical_json,
    format_at,
    format_leaf,
    parse_at,
    parse_leaf,
    split_positions,
    split_subjects,
)
from heldout.records import ASSURANCES, CLAIM_STATES
from heldout.tiles import MAX_ENTRY_SIZE

DIGESTS = st.binary(min_size=32, max_size=32)
TIMES = st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31), timezones=st.just(UTC)).map(  # noqa: DTZ001
    lambda at: at.replace(microsecond=0)
)
CLAIMS = st.text("0123456789abcdefghijklmnopqrstuvwxyz", min_size=8, max_size=64)
SUBJECTS = st.one_of(
    st.builds(UrlDigest, DIGESTS),
    st.builds(ImageDigest, DIGESTS, st.integers(0, 100), st.none() | DIGESTS),
    st.builds(HostRule, st.from_regex(r"[a-z0-9-]{1,20}(\.[a-z0-9-]{1,20}){1,3}", fullmatch=True)),
    st.builds(PrefixRule, st.from_regex(r"art\.example(:8080)?/[A-Za-z0-9%~!*'()&/.-]{1,40}/", fullmatch=True)),
)
CODES = st.from_regex(r"[a-z][a-z0-9-]{0,31}", fullmatch=True)
POSITIONS = st.none() | st.sets(st.integers(0, 2**31), min_size=1, max_size=9).map(lambda some: tuple(sorted(some)))


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
    st.builds(AssuranceLeaf, TIMES, CLAIMS, st.sampled_from(ASSURANCES), CODES, POSITIONS),
    st.builds(StateLeaf, TIMES, CLAIMS, st.sampled_from(CLAIM_STATES[:-1]), CODES, POSITIONS),
    st.builds(WithdrawLeaf, TIMES, CLAIMS, CODES),
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


def test_places_and_what_happens_to_a_claim_are_written_as_documented() -> None:
    places = OptOutLeaf(
        OPT_OUT.at, "claim0001", "declared", "train-ai=n", (HostRule("jane.example"), PrefixRule("art.example/jane/"))
    )
    assert format_leaf(places) == (
        b'{"assurance":"declared","at":"2026-11-22T01:02:03Z","claim":"claim0001","part":[1,1],'
        b'"preference":"train-ai=n","subjects":[{"host":"jane.example","kind":"host"},'
        b'{"kind":"prefix","prefix":"art.example/jane/"}],"type":"opt-out","v":2}'
    )
    assert format_leaf(AssuranceLeaf(OPT_OUT.at, "claim0001", "host", "dns-txt", (0, 2))) == (
        b'{"assurance":"host","at":"2026-11-22T01:02:03Z","claim":"claim0001","reason":"dns-txt",'
        b'"subjects":[0,2],"type":"assurance","v":2}'
    )
    assert format_leaf(StateLeaf(OPT_OUT.at, "claim0001", "in_force", "evidence")) == (
        b'{"at":"2026-11-22T01:02:03Z","claim":"claim0001","reason":"evidence","state":"in_force","type":"state","v":2}'
    )


@given(LEAVES)
def test_what_version_1_can_say_is_said_in_version_1(leaf: Leaf) -> None:
    """Entries of old logs stay as they are, byte for byte; a reader of version 1 refuses what it would misread."""
    fields = json.loads(format_leaf(leaf))
    kinds = {subject["kind"] for subject in fields.get("subjects", []) if isinstance(subject, dict)}
    is_new = fields["type"] in {"assurance", "state"} or bool(kinds & {"host", "prefix"})
    assert fields["v"] == (2 if is_new else 1)
    with pytest.raises(VerificationError):
        parse_leaf(canonical_json(fields | {"v": 3 - fields["v"]}))


@given(st.lists(SUBJECTS, min_size=1, max_size=8), st.integers(1, 300))
def test_subjects_split_into_leaves_that_fit_and_keep_their_order(subjects: list[LoggedSubject], n: int) -> None:
    many = subjects * n
    parts = split_subjects(many)
    assert [subject for part in parts for subject in part] == many
    for i, part in enumerate(parts, start=1):
        format_leaf(OptOutLeaf(OPT_OUT.at, "z" * 64, "credential", "train-ai=n", part, i, len(parts)))


def test_the_longest_places_still_fit_an_entry() -> None:
    longest = PrefixRule("art.example/" + "a" * (MAX_PREFIX_BYTES - 13) + "/")
    parts = split_subjects([longest] * 100)
    assert sum(map(len, parts)) == 100
    for part in parts:
        assert len(format_leaf(OptOutLeaf(OPT_OUT.at, "z" * 64, "credential", "train-ai=n", part))) < MAX_ENTRY_SIZE


def test_many_positions_split_into_leaves_that_fit() -> None:
    positions = range(2**31 - 2 * MAX_POSITIONS_PER_LEAF - 3, 2**31)
    parts = split_positions(positions)
    assert [len(part) for part in parts] == [MAX_POSITIONS_PER_LEAF, MAX_POSITIONS_PER_LEAF, 3]
    for part in parts:
        format_leaf(StateLeaf(OPT_OUT.at, "z" * 64, "quarantined", "a" * 32, part))


@pytest.mark.parametrize(
    "change",
    [
        {"subjects": []},
        {"subjects": [1, 1]},
        {"subjects": [2, 1]},
        {"subjects": [-1]},
        {"subjects": [True]},
        {"subjects": [1.5]},
        {"subjects": None},
        {"state": "withdrawn"},
        {"state": "gone"},
        {"state": ["in_force"]},
        {"reason": "Jane asked"},
        {"assurance": "host"},
        {"v": 1},
        {"v": 3},
    ],
)
def test_changes_with_a_wrong_field_are_refused(change: dict[str, Any]) -> None:
    good = json.loads(format_leaf(StateLeaf(OPT_OUT.at, "claim0001", "disputed", "counter-claim", (0, 1))))
    parse_leaf(canonical_json(good))
    with pytest.raises(VerificationError):
        parse_leaf(canonical_json(good | change))


@pytest.mark.parametrize(
    "subject",
    [
        {"kind": "host", "host": "localhost"},
        {"kind": "host", "host": "Jane.example"},
        {"kind": "host", "host": "jane.example/"},
        {"kind": "host", "host": "j\u00e4ne.example"},
        {"kind": "host", "host": "jane..example"},
        {"kind": "host", "host": "a" * 64 + ".example"},
        {"kind": "host", "host": ".".join(["a" * 60] * 5)},
        {"kind": "host", "host": "jane.example", "of": "Jane"},
        {"kind": "prefix", "prefix": "jane.example/"},
        {"kind": "prefix", "prefix": "jane.example/a"},
        {"kind": "prefix", "prefix": "https://jane.example/a/"},
        {"kind": "prefix", "prefix": "jane.example/a/?b/"},
        {"kind": "prefix", "prefix": "jane.example/a b/"},
        {"kind": "prefix", "prefix": "jane.example/" + "a" * MAX_PREFIX_BYTES + "/"},
    ],
)
def test_places_in_no_normal_form_are_refused(subject: dict[str, str]) -> None:
    fields = json.loads(format_leaf(OPT_OUT)) | {"v": 2, "subjects": [{"kind": "host", "host": "jane.example"}]}
    parse_leaf(canonical_json(fields))
    with pytest.raises(VerificationError):
        parse_leaf(canonical_json(fields | {"subjects": [subject]}))


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
        encoded.removesuffix(b"}") + b".0}",
        encoded.removesuffix(b"}") + b',"v":' + str(fields["v"]).encode() + b"}",
        encoded.replace(b"train", b"\\u0074rain") if b"train" in encoded else encoded + b"x",
        encoded[:-2] + b"true}",
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
