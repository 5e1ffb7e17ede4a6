"""From claims to data files."""

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heldout.leaves import PREFERENCES, HostRule, ImageDigest, LoggedSubject, PrefixRule, UrlDigest
from heldout.records import ASSURANCES
from heldout.replay import LoggedClaim
from registry import listing
from registry.listing import DataFile, Standing, build_files, standings

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


def test_places_in_force_are_not_in_the_files_yet() -> None:
    places = claim(HostRule("jane.example"), PrefixRule("art.example/jane/"), URL, assurance="host")
    files, _ = build_files(standings([places]))
    assert {name: file.entry.count for name, file in files.items()} == {"urls/000.parquet": 1, "images.parquet": 0}


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
    files, prefix_bits = build_files(
        {far: Standing(0, 4, 3), near: Standing(1, 0, 1), IMAGE: Standing(0, 0, 7), plain: Standing(0, 1, 9)}
    )
    assert prefix_bits == 0
    assert set(files) == {"urls/000.parquet", "images.parquet"}
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
    files, _ = build_files({})
    assert {name: rows(file) for name, file in files.items()} == {"urls/000.parquet": [], "images.parquet": []}


def test_two_urls_of_one_key_are_excluded_if_either_is() -> None:
    one, other = UrlDigest(b"\x07" * 8 + b"a" * 24), UrlDigest(b"\x07" * 8 + b"b" * 24)
    for first, second in ((0, 1), (1, 0)):
        files, _ = build_files({one: Standing(first, 0, 1), other: Standing(second, 0, 2)})
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
    assert build_files(standing) == build_files(dict(shuffled))


def test_many_urls_are_split_by_the_first_bits_of_their_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "KEYS_PER_FILE", 10)
    keys = [(i * 0x9E3779B97F4A7C15) % 2**64 for i in range(45)]
    files, prefix_bits = build_files({UrlDigest(key.to_bytes(8, "big") + bytes(24)): Standing(0, 0, 0) for key in keys})
    assert prefix_bits == 3
    assert sorted(files) == ["images.parquet", *(f"urls/{prefix:03x}.parquet" for prefix in range(8))]
    for prefix in range(8):
        found = [row["key"] for row in rows(files[f"urls/{prefix:03x}.parquet"])]
        assert found == sorted(key for key in keys if key >> 61 == prefix)
