"""From claims to data files."""

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heldout.leaves import PREFERENCES, HostRule, ImageDigest, LoggedSubject, PrefixRule, UrlDigest
from heldout.records import ASSURANCES, CLAIM_STATES
from heldout.replay import LoggedClaim
from registry import listing
from registry.effective import effective_rows
from registry.listing import DataFile, build_files
from registry.standings import list_tables
from tests.registry import listing_reference
from tests.registry.listing_reference import Standing

DAY = datetime(1970, 1, 11, tzinfo=UTC)
"""Day 10."""


def claim(
    *subjects: LoggedSubject,
    preference: str = "train-ai=n",
    assurance: str = "declared",
    days: int = 0,
    state: str = "in_force",
) -> LoggedClaim:
    states, assurances = [state] * len(subjects), [assurance] * len(subjects)
    return LoggedClaim(preference, DAY + timedelta(days=days), list(subjects), states, assurances)  # type: ignore[arg-type]


def rows(file: DataFile) -> list[dict[str, object]]:
    table = pq.read_table(pa.BufferReader(file.data))
    assert table.num_rows == file.entry.count
    assert len(file.data) == file.entry.size
    found: list[dict[str, object]] = table.to_pylist()
    return found


def rows_of(claims: Iterable[LoggedClaim]) -> pa.Table:
    return effective_rows({f"claim{i:04}": each for i, each in enumerate(claims)})


def standings(claims: Iterable[LoggedClaim]) -> dict[LoggedSubject, Standing]:
    """What the list's tables say of each subject."""
    held = list(claims)
    tables = list_tables(rows_of(held))
    by_key = {subject.key[:8]: subject for each in held for subject in each.subjects if isinstance(subject, UrlDigest)}
    found: dict[LoggedSubject, Standing] = {}
    for row in (row for table in tables.values() for row in table.to_pylist()):
        subject: LoggedSubject
        match row:
            case {"pdq": pdq, "quality": quality, "sha256": sha256}:
                subject = ImageDigest(pdq, quality, sha256)
            case {"prefix": prefix}:
                subject = PrefixRule(prefix)
            case {"host": host}:
                subject = HostRule(host)
            case _:
                subject = by_key[row["key"].to_bytes(8, "big")]
        found[subject] = Standing(row["preference"], row["assurance"], (row["since"] - date(1970, 1, 1)).days)
    return found


def files_of(standing: Mapping[LoggedSubject, Standing]) -> tuple[dict[str, DataFile], int]:
    """Data files in which this holds: a claim for each subject says so."""
    first = DAY - timedelta(days=10)
    claims = [
        LoggedClaim(
            PREFERENCES[held.preference],
            first + timedelta(days=held.since),
            [subject],
            ["in_force"],
            [ASSURANCES[held.assurance]],
        )
        for subject, held in standing.items()
    ]
    return build_files(list_tables(rows_of(claims)))


URL = UrlDigest(bytes(range(32)))
IMAGE = ImageDigest(bytes(range(32)), 80, bytes(32))


def test_only_claims_in_force_count_and_a_dispute_takes_none_out() -> None:
    states = ["pending", "withdrawn", "rejected", "quarantined"]
    assert standings(claim(URL, state=state) for state in states) == {}
    assert set(standings([claim(URL)])) == set(standings([claim(URL, state="disputed")])) == {URL}


def test_each_subject_counts_at_its_own_state_and_assurance() -> None:
    three = claim(URL, IMAGE, ImageDigest(bytes(32), 99))
    three.states[1] = "quarantined"
    three.assurances[2] = "credential"
    assert {subject: held.assurance for subject, held in standings([three]).items()} == {
        URL: 0,
        ImageDigest(bytes(32), 99): ASSURANCES.index("credential"),
    }


def test_places_in_force_are_in_files_of_their_own() -> None:
    places = claim(HostRule("jane.example"), PrefixRule("art.example/jane/"), URL, assurance="host")
    waiting = claim(HostRule("joe.example"), state="pending")
    files, _ = build_files(list_tables(rows_of([places, waiting])))
    day = datetime(1970, 1, 11, tzinfo=UTC).date()
    standing = {"preference": 0, "assurance": ASSURANCES.index("host"), "since": day}
    assert rows(files["hosts.parquet"]) == [{"host": "jane.example", **standing}]
    assert rows(files["prefixes.parquet"]) == [{"prefix": "art.example/jane/", **standing}]
    assert {name: file.entry.count for name, file in files.items()} == {
        "urls/000.parquet": 1,
        "prefixes.parquet": 1,
        "hosts.parquet": 1,
        "images.parquet": 0,
    }


def test_a_grant_for_an_address_does_not_lift_the_rule_of_its_host() -> None:
    granted = claim(URL, preference="train-ai=y", assurance="reviewed")
    held = standings([claim(HostRule("jane.example"), assurance="host"), granted])
    assert {subject: PREFERENCES[standing.preference] for subject, standing in held.items()} == {
        URL: "train-ai=y",
        HostRule("jane.example"): "train-ai=n",
    }


def test_several_claims_give_the_best_assurance_and_the_earliest_day() -> None:
    claims = [claim(URL, days=5), claim(URL, days=2), claim(URL, assurance="host", days=9)]
    assert standings(claims) == {URL: Standing(0, ASSURANCES.index("host"), 12)}


@pytest.mark.parametrize(
    ("no", "yes", "holds"),
    [
        ("declared", "declared", "train-ai=n"),
        ("declared", "account", "train-ai=y"),
        ("host", "account", "train-ai=n"),
        ("host", "host", "train-ai=n"),
        ("reviewed", "credential", "train-ai=n"),
    ],
)
def test_a_grant_lifts_an_opt_out_only_with_a_stronger_proof(no: str, yes: str, holds: str) -> None:
    claims = [claim(URL, assurance=no), claim(URL, preference="train-ai=y", assurance=yes)]
    for order in (claims, claims[::-1]):
        assert PREFERENCES[standings(order)[URL].preference] == holds


def test_a_picture_measured_differently_is_one_subject_of_the_highest_quality() -> None:
    other = ImageDigest(IMAGE.pdq, 95, IMAGE.sha256)
    without = ImageDigest(IMAGE.pdq, 70)
    claims = [claim(IMAGE), claim(other, days=-2), claim(without)]
    assert standings(claims) == {other: Standing(0, 0, 8), without: Standing(0, 0, 10)}


def test_files_hold_what_stands_sorted() -> None:
    far = UrlDigest(b"\xff" * 32)
    near = UrlDigest(b"\x00" * 32)
    plain = ImageDigest(b"\x01" * 32, 10)
    files, prefix_bits = files_of(
        {far: Standing(0, 4, 3), near: Standing(1, 0, 1), IMAGE: Standing(0, 0, 7), plain: Standing(0, 1, 9)}
    )
    assert prefix_bits == 0
    assert set(files) == {"urls/000.parquet", "prefixes.parquet", "hosts.parquet", "images.parquet"}
    dates = {day: datetime(1970, 1, 1 + day, tzinfo=UTC).date() for day in range(10)}
    assert rows(files["urls/000.parquet"]) == [
        {"key": 0, "preference": 1, "assurance": 0, "since": dates[1]},
        {"key": 2**64 - 1, "preference": 0, "assurance": 4, "since": dates[3]},
    ]
    assert rows(files["images.parquet"]) == [
        {"pdq": IMAGE.pdq, "quality": 80, "sha256": IMAGE.sha256, "preference": 0, "assurance": 0, "since": dates[7]},
        {"pdq": plain.pdq, "quality": 10, "sha256": None, "preference": 0, "assurance": 1, "since": dates[9]},
    ]


def test_an_empty_list_has_empty_files() -> None:
    files, _ = files_of({})
    assert {name: rows(file) for name, file in files.items()} == {name: [] for name in files}
    assert len({file.entry.content for file in files.values()}) == len(files) == 4


def test_two_urls_of_one_key_are_excluded_if_either_is() -> None:
    one, other = UrlDigest(b"\x07" * 8 + b"a" * 24), UrlDigest(b"\x07" * 8 + b"b" * 24)
    for first, second in ((0, 1), (1, 0)):
        files, _ = files_of({one: Standing(first, 0, 1), other: Standing(second, 0, 2)})
        (row,) = rows(files["urls/000.parquet"])
        assert row["preference"] == 0


@given(st.dictionaries(st.binary(min_size=32, max_size=32), st.integers(0, 20_000), max_size=40), st.randoms())
def test_the_order_of_what_stands_does_not_show_in_the_bytes(digests: dict[bytes, int], random: object) -> None:
    standing: dict[LoggedSubject, Standing] = {}
    for digest, day in digests.items():
        standing[UrlDigest(digest)] = Standing(0, 0, day)
        standing[ImageDigest(digest, day % 101, digest if day % 2 else None)] = Standing(day % 2, day % 5, day)
    shuffled = list(standing.items())
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert files_of(standing) == files_of(dict(shuffled))


def test_many_urls_are_split_by_the_first_bits_of_their_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "KEYS_PER_FILE", 10)
    keys = [(i * 0x9E3779B97F4A7C15) % 2**64 for i in range(45)]
    files, prefix_bits = files_of({UrlDigest(key.to_bytes(8, "big") + bytes(24)): Standing(0, 0, 0) for key in keys})
    assert prefix_bits == 3
    assert sorted(name for name in files if name.startswith("urls/")) == [f"urls/{n:03x}.parquet" for n in range(8)]
    for prefix in range(8):
        found = [row["key"] for row in rows(files[f"urls/{prefix:03x}.parquet"])]
        assert found == sorted(key for key in keys if key >> 61 == prefix)


KEYS = st.builds(
    lambda first, rest: bytes([first]) * 8 + bytes([rest]) * 24, st.sampled_from([0, 7, 255]), st.integers(0, 2)
)
SUBJECTS = st.one_of(
    st.builds(UrlDigest, KEYS),
    st.builds(ImageDigest, KEYS, st.integers(0, 100), st.none() | KEYS),
    st.builds(HostRule, st.sampled_from(["jane.example", "x.jane.example", "joe.example"])),
    st.builds(PrefixRule, st.sampled_from(["art.example/jane/", "art.example/jane-2/", "art.example/jane/x/"])),
)
CLAIMS = st.lists(
    st.builds(
        lambda preference, days, subjects: LoggedClaim(
            preference, DAY + timedelta(days=days), *map(list, zip(*subjects, strict=True))
        ),
        st.sampled_from(PREFERENCES),
        st.integers(-20_000, 40_000),
        st.lists(
            st.tuples(SUBJECTS, st.sampled_from(CLAIM_STATES), st.sampled_from(ASSURANCES)), min_size=1, max_size=5
        ),
    ),
    max_size=8,
)


@settings(max_examples=300, deadline=None)
@given(CLAIMS)
def test_all_at_once_gives_the_bytes_that_a_claim_after_the_other_gives(claims: list[LoggedClaim]) -> None:
    expected = listing_reference.tables_of(listing_reference.standings(claims))
    found = list_tables(rows_of(claims))
    assert list(found) == list(expected)
    for name, ours in found.items():
        assert ours.equals(expected[name])
        assert listing.data_file(ours, name) == listing.data_file(expected[name], name)


def test_many_rows_give_the_same_bytes_too() -> None:
    """More than one row group, with nulls and without."""
    rng = np.random.default_rng(1)
    claims = []
    for i in range(1_500):
        digests = [rng.bytes(32) for _ in range(100)]
        subjects: list[LoggedSubject] = [UrlDigest(each) for each in digests]
        subjects += [ImageDigest(each, 90, each if i % 2 else None) for each in digests[:50]]
        claims.append(
            LoggedClaim("train-ai=n", DAY, subjects, ["in_force"] * len(subjects), ["declared"] * len(subjects))
        )
    expected = listing_reference.tables_of(listing_reference.standings(claims))
    found = list_tables(rows_of(claims))
    assert min(len(found["url"]), len(found["image"])) > 70_000
    for name, ours in found.items():
        assert listing.data_file(ours, name) == listing.data_file(expected[name], name)
