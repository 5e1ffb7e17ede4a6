"""Lookups, and lists on disk that somebody tampered with."""

import hashlib
import io
import json
import shutil
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heldout.errors import InputError, NotFoundError, VerificationError
from heldout.exclusion import ExclusionList, Matches, sha256_of
from heldout.leaves import canonical_json
from heldout.lookup_records import LookupRequest, PictureMark
from heldout.lookups import look_up
from heldout.pull import pull
from heldout.records import ASSURANCES, Assurance
from heldout.stored import ListFolder, verify_current, verify_logged
from tests.heldout.conftest import IMAGES, URLS
from tests.heldout.published import (
    BASE_URL,
    ImageRule,
    PlaceRule,
    Site,
    UrlRule,
    content_of,
    some_pdq,
    url_table,
)


def opened(
    tmp_path: Path, urls: list[UrlRule], images: list[ImageRule], min_assurance: Assurance = "declared"
) -> ExclusionList:
    site = Site().publish(urls, images)
    pull(BASE_URL, tmp_path / "list", root=site.write_root(tmp_path), transport=site.transport())
    return ExclusionList.open(tmp_path / "list", min_assurance=min_assurance)


def orientations(pdq: bytes, position: int = 0) -> np.ndarray:
    """A picture of which one orientation has this hash."""
    array = np.random.default_rng(99).integers(0, 256, (1, 8, 32), dtype=np.uint8)
    array[0, position] = np.frombuffer(pdq, np.uint8)
    return array


def flip(pdq: bytes, n_bits: int) -> bytes:
    bits = np.unpackbits(np.frombuffer(pdq, np.uint8))
    bits[:n_bits] ^= 1
    return np.packbits(bits).tobytes()


def test_urls_are_found_in_any_spelling_with_assurance_and_date(pulled: Path) -> None:
    exclusions = ExclusionList.open(pulled)
    asked = [
        "https://x@ART.example.:443/%31.jpg#a",
        None,
        "no url",
        "https://art.example/2.jpg",
        "http://art.example/2.jpg?w=1",
    ]
    for urls in (asked, pa.array(asked), pa.chunked_array([asked[:2], asked[2:]])):
        matches = exclusions.lookup_urls(urls)["url"]
        assert matches.found.tolist() == [True, False, False, False, True]
        assert matches.unreadable.tolist() == [False, False, True, False, False]
        assert ASSURANCES[matches.assurance[4]] == "host"
        assert matches.since_date(0) == date(2026, 11, 1)


def test_text_that_is_not_unicode_is_unreadable(pulled: Path) -> None:
    matches = ExclusionList.open(pulled).lookup_urls(["https://art.example/\ud800", "https://art.example/1.jpg"])["url"]
    assert matches.unreadable.tolist() == [True, False]
    assert matches.found.tolist() == [False, True]


def test_no_questions_have_no_answers(pulled: Path) -> None:
    exclusions = ExclusionList.open(pulled)
    assert len(exclusions.lookup_urls([])["url"].found) == 0
    assert len(exclusions.lookup_sha256([]).found) == 0
    assert len(exclusions.lookup_pdq(np.zeros((0, 8, 32), np.uint8), np.zeros(0, np.uint8)).found) == 0


def test_bytes_are_found_by_the_strongest_of_equal_entries(tmp_path: Path) -> None:
    digest, other = bytes(range(32)), bytes(range(8)) + bytes(24)  # the same first 8 bytes
    images = [
        ImageRule(some_pdq(1), sha256=digest),
        ImageRule(some_pdq(2), sha256=digest, assurance="reviewed"),
        ImageRule(some_pdq(3), sha256=other, assurance="host"),
        ImageRule(some_pdq(4)),
    ]
    matches = opened(tmp_path, [], images).lookup_sha256(
        [other, bytes(32), digest, None, b"short", digest[:8] + b"x" * 24]
    )
    assert matches.found.tolist() == [True, False, True, False, False, False]
    assert [ASSURANCES[code] for code in matches.assurance[[0, 2]]] == ["host", "reviewed"]


def test_copies_are_found_within_the_distance_in_any_orientation(tmp_path: Path) -> None:
    exclusions = opened(tmp_path, [], [ImageRule(some_pdq(1), quality=50), ImageRule(some_pdq(2), quality=49)])
    cases = [
        (orientations(some_pdq(1)), 50, True),
        (orientations(some_pdq(1), 7), 100, True),
        (orientations(flip(some_pdq(1), 31), 3), 50, True),
        (orientations(flip(some_pdq(1), 32), 3), 50, False),
        (orientations(some_pdq(1)), 49, False),
        (orientations(some_pdq(2)), 100, False),
    ]
    pdq = np.concatenate([array for array, _, _ in cases])
    quality = np.array([quality for _, quality, _ in cases], np.uint8)
    assert exclusions.lookup_pdq(pdq, quality).found.tolist() == [found for _, _, found in cases]


@pytest.mark.parametrize("min_assurance", ["declared", "host", "reviewed"])
def test_a_weak_entry_about_a_copy_hides_no_stronger_one(tmp_path: Path, min_assurance: Assurance) -> None:
    images = [ImageRule(some_pdq(1)), ImageRule(flip(some_pdq(1), 5), assurance="host")]
    exclusions = opened(tmp_path, [], images)
    pdq = orientations(some_pdq(1))
    matches = exclusions.lookup_pdq(pdq, np.array([99], np.uint8))
    assert [ASSURANCES[code] for code in matches.assurance] == ["host"]
    mark = PictureMark(pdq=[each.tobytes().hex() for each in pdq[0]], quality=99)
    (told,) = look_up(exclusions, LookupRequest(pdq=[mark], min_assurance=min_assurance)).pdq
    assert told.is_opted_out == (min_assurance != "reviewed")


def test_grants_exclude_nothing(tmp_path: Path) -> None:
    urls = [UrlRule("https://art.example/1.jpg", preference=1)]
    exclusions = opened(tmp_path, urls, [ImageRule(some_pdq(1), sha256=bytes(32), preference=1)])
    assert (set(exclusions.counts.values()), exclusions.has_pdq) == ({0}, False)
    assert not exclusions.lookup_urls(["https://art.example/1.jpg"])["url"].found.any()
    assert not exclusions.lookup_sha256([bytes(32)]).found.any()


@pytest.mark.parametrize("level", range(5))
def test_entries_weaker_than_asked_for_are_left_out(tmp_path: Path, level: int) -> None:
    urls = [UrlRule(f"https://art.example/{name}", name) for name in ASSURANCES]
    images = [ImageRule(some_pdq(i), assurance=name) for i, name in enumerate(ASSURANCES)]
    exclusions = opened(tmp_path, urls, images, ASSURANCES[level])
    found = exclusions.lookup_urls([rule.url for rule in urls])["url"].found
    assert found.tolist() == [i >= level for i in range(5)]
    pdq = np.concatenate([orientations(rule.pdq) for rule in images])
    assert exclusions.lookup_pdq(pdq, np.full(5, 99, np.uint8)).found.tolist() == [i >= level for i in range(5)]


def test_each_kind_of_rule_about_addresses_is_found_with_what_it_says(tmp_path: Path) -> None:
    places = [
        PlaceRule("jane.example", "host", since=date(2026, 11, 5)),
        PlaceRule("shop.example/jane/", "account"),
        PlaceRule("free.example", "host", preference=1),
    ]
    site = Site().publish([UrlRule("https://cdn.jane.example/1")], [], places)
    pull(BASE_URL, tmp_path / "list", root=site.write_root(tmp_path), transport=site.transport())
    exclusions = ExclusionList.open(tmp_path / "list")
    urls = ["http://cdn.jane.example/1", "https://Shop.example/jane?p=2", "https://free.example/", None, "x"]
    found = exclusions.lookup_urls(urls)
    assert {kind: matches.found.tolist() for kind, matches in found.items()} == {
        "url": [True, False, False, False, False],
        "prefix": [False, True, False, False, False],
        "host": [True, False, False, False, False],
    }
    assert all(matches.unreadable.tolist() == [False] * 4 + [True] for matches in found.values())
    assert (found["host"].since_date(0), ASSURANCES[found["host"].assurance[0]]) == (date(2026, 11, 5), "host")
    assert exclusions.grants.lookup_urls(urls)["host"].found.tolist() == [False, False, True, False, False]
    strict = ExclusionList.open(tmp_path / "list", min_assurance="host", as_of=date(2026, 11, 4))
    assert strict.counts == {"url": 0, "prefix": 0, "host": 0, "image": 0}
    assert strict.grants.counts["host"] == 1


def test_grants_are_asked_as_the_list_is(tmp_path: Path) -> None:
    urls = [UrlRule("https://art.example/1.jpg", preference=1), UrlRule("https://art.example/2.jpg")]
    images = [ImageRule(some_pdq(1), sha256=bytes(32), preference=1), ImageRule(some_pdq(2))]
    grants = opened(tmp_path, urls, images).grants
    assert grants.lookup_urls([rule.url for rule in urls])["url"].found.tolist() == [True, False]
    assert grants.lookup_sha256([bytes(32), b"\1" * 32]).found.tolist() == [True, False]
    pdq = np.concatenate([orientations(rule.pdq) for rule in images])
    assert grants.lookup_pdq(pdq, np.full(2, 99, np.uint8)).found.tolist() == [True, False]


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(-1, 9), st.integers(0, 4)), max_size=12),
)
def test_grouped_answers_are_each_samples_strongest(questions: list[tuple[int, int, int]]) -> None:
    n = len(questions)
    rule = np.array([rule for _, rule, _ in questions], np.int64)
    assurance = np.array([code if rule >= 0 else 0 for _, rule, code in questions], np.uint8)
    matches = Matches(rule, assurance, np.zeros(n, np.int32), np.zeros(n, np.bool_))
    grouped = matches.grouped([owner for owner, _, _ in questions], 5)
    for sample in range(5):
        codes = [code for owner, rule, code in questions if owner == sample and rule >= 0]
        assert grouped.found[sample] == bool(codes)
        assert grouped.assurance[sample] == max(codes, default=0)


@pytest.mark.parametrize(
    ("value", "digest"),
    [
        ("00" * 32, bytes(32)),
        ("AB" * 32, bytes([0xAB]) * 32),
        (bytes(32), bytes(32)),
        ("00" * 31, None),
        ("zz" * 32, None),
        (b"", None),
        (None, None),
    ],
)
def test_digests_are_read_as_data_sets_write_them(value: str | bytes | None, digest: bytes | None) -> None:
    assert sha256_of(value) == digest


# --- opening ------------------------------------------------------------------------------------------------------


SIGNED = [
    f"versions/1-1/{name}"
    for name in (
        "manifest.json",
        "manifest.tlog-proof",
        *(f"metadata/{role}.json" for role in ("timestamp", "snapshot", "targets")),
    )
]


def data_files(pulled: Path) -> dict[str, Path]:
    files = ExclusionList.open(pulled).version.manifest.files
    return {name: ListFolder(pulled).data_file(file) for name, file in files.items()}


@pytest.mark.parametrize("name", SIGNED)
def test_every_altered_byte_on_disk_is_noticed(pulled: Path, name: str) -> None:
    path = pulled / name
    good = path.read_bytes()
    for position in range(0, len(good), max(1, len(good) // 40)):
        path.write_bytes(good[:position] + bytes([good[position] ^ 1]) + good[position + 1 :])
        with pytest.raises(VerificationError):
            ExclusionList.open(pulled)
    path.write_bytes(good)
    assert ExclusionList.open(pulled).doubts == ()


@pytest.mark.parametrize("name", ["urls/000.parquet", "prefixes.parquet", "hosts.parquet", "images.parquet"])
def test_every_altered_byte_of_a_data_file_on_disk_is_noticed_or_changes_no_entry(pulled: Path, name: str) -> None:
    path = data_files(pulled)[name]
    good, entries = path.read_bytes(), pq.read_table(path)
    n_noticed = 0
    for position in range(0, len(good), max(1, len(good) // 200)):
        path.write_bytes(good[:position] + bytes([good[position] ^ 1]) + good[position + 1 :])
        try:
            ExclusionList.open(pulled)
        except VerificationError:
            n_noticed += 1
        else:
            assert pq.read_table(path).equals(entries)
    assert n_noticed > 3


def test_a_data_file_whose_columns_have_no_names_any_more_is_fetched_again(tmp_path: Path) -> None:
    site = Site().publish([UrlRule("https://art.example/1.jpg")])
    root = site.write_root(tmp_path)
    pull(BASE_URL, tmp_path / "list", root=root, transport=site.transport())
    path = data_files(tmp_path / "list")["urls/000.parquet"]
    good = path.read_bytes()
    path.write_bytes(good.replace(b"assurance", b"assuranc\xe5"))
    with pytest.raises(VerificationError, match="cannot be read"):
        ExclusionList.open(tmp_path / "list")
    pull(BASE_URL, tmp_path / "list", transport=site.transport())
    assert path.read_bytes() == good


@pytest.mark.parametrize("which", range(9))
def test_every_missing_or_cut_file_on_disk_is_noticed(pulled: Path, which: int) -> None:
    path = [*(pulled / name for name in SIGNED), *data_files(pulled).values()][which]
    good = path.read_bytes()
    for bad in (good[:-1], b""):
        path.write_bytes(bad)
        with pytest.raises(VerificationError):
            ExclusionList.open(pulled)
    path.unlink()
    with pytest.raises(VerificationError):
        ExclusionList.open(pulled)


def test_missing_root_is_noticed_and_a_doubt_if_that_is_allowed(pulled: Path) -> None:
    (pulled / "root.json").unlink()
    with pytest.raises(VerificationError, match=r"root\.json"):
        ExclusionList.open(pulled)
    exclusions = ExclusionList.open(pulled, allow_unverified=True)
    assert len(exclusions.doubts) == 1
    assert exclusions.lookup_urls([URLS[0].url])["url"].found.all()


def test_root_of_another_registry_is_noticed(pulled: Path) -> None:
    (pulled / "root.json").write_bytes(Site().publish().root)
    with pytest.raises(VerificationError):
        ExclusionList.open(pulled)


def test_altered_data_file_is_a_doubt_if_that_is_allowed_unless_it_cannot_be_read(pulled: Path) -> None:
    paths = data_files(pulled)
    target, images = paths["urls/000.parquet"], paths["images.parquet"]
    good = target.read_bytes()
    for rules in ([URLS[0]], [URLS[0], UrlRule("https://else.example/")]):
        pq.write_table(url_table(rules), target)
        with pytest.raises(VerificationError, match=r"entries"):
            ExclusionList.open(pulled)
        assert len(ExclusionList.open(pulled, allow_unverified=True).doubts) == 1
    target.write_bytes(good[:-1])
    with pytest.raises(VerificationError, match="cannot be read"):
        ExclusionList.open(pulled, allow_unverified=True)
    target.write_bytes(images.read_bytes())
    with pytest.raises(VerificationError, match="columns"):
        ExclusionList.open(pulled, allow_unverified=True)


def test_list_is_fresh_until_its_first_signature_expires(site: Site, pulled: Path) -> None:
    proved = verify_current(pulled, now=site.expires - timedelta(seconds=1)).proved
    assert proved is not None
    assert proved.trusted.expires_at == site.expires
    with pytest.raises(VerificationError, match=r"stale.*heldout pull"):
        verify_current(pulled, now=site.expires + timedelta(seconds=1))
    assert verify_current(pulled, now=None).doubts == ()


def test_version_of_before_can_be_opened_by_name(site: Site, pulled: Path, tmp_path: Path) -> None:
    site.publish([], IMAGES)
    pull(BASE_URL, pulled, transport=site.transport())
    assert ExclusionList.open(pulled).counts["url"] == 0
    assert ExclusionList.open(pulled, version="1-1").counts["url"] == 2
    assert tmp_path.exists()


def test_folder_without_a_list_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="heldout pull"):
        ExclusionList.open(tmp_path)


@pytest.mark.parametrize("name", ["", "../1-1", "9-9", ".staged", "a/b"])
def test_current_that_names_no_version_is_noticed(pulled: Path, name: str) -> None:
    (pulled / "CURRENT").write_text(name)
    with pytest.raises(VerificationError):
        ExclusionList.open(pulled)


@pytest.mark.parametrize("prefix_bits", [1, 5])
def test_url_files_split_by_prefix_are_one_list(tmp_path: Path, prefix_bits: int) -> None:
    urls = [UrlRule(f"https://art.example/{n}", ASSURANCES[n % 5]) for n in range(200)]
    site = Site().publish(urls, [], prefix_bits=prefix_bits)
    pull(BASE_URL, tmp_path / "list", root=site.write_root(tmp_path), transport=site.transport())
    exclusions = ExclusionList.open(tmp_path / "list")
    assert len(exclusions.version.manifest.files) == 2**prefix_bits + 3
    matches = exclusions.lookup_urls([rule.url for rule in urls] + ["https://art.example/200"])["url"]
    assert matches.found.tolist() == [True] * 200 + [False]
    assert matches.assurance[:200].tolist() == [n % 5 for n in range(200)]


def test_another_user_of_the_machine_can_read_the_list(pulled: Path) -> None:
    for path in pulled.rglob("*"):
        assert path.stat().st_mode & (0o055 if path.is_dir() else 0o044), path


def test_unreadable_current_is_reported(pulled: Path) -> None:
    (pulled / "CURRENT").unlink()
    (pulled / "CURRENT").mkdir()
    with pytest.raises(InputError, match="CURRENT"):
        ExclusionList.open(pulled)


@pytest.mark.parametrize("name", ["urls/000.parquet", "hosts.parquet"])
def test_entries_out_of_order_are_refused_even_if_doubts_are_allowed(tmp_path: Path, name: str) -> None:
    site = Site().publish(URLS, [], [PlaceRule("jane.example"), PlaceRule("joe.example")])
    old = json.loads(site.manifest)["files"][name]
    data = io.BytesIO()
    reversed_ = pq.read_table(io.BytesIO(site.files[f"list/files/{old['sha256']}.parquet"])).take([1, 0])
    pq.write_table(reversed_, data)
    new = {
        "sha256": hashlib.sha256(data.getvalue()).hexdigest(),
        "size": len(data.getvalue()),
        "content": content_of(reversed_, "url" if name.startswith("urls") else "host"),
    }
    fields = json.loads(site.manifest)
    fields["files"][name] |= new
    site.manifest = canonical_json(fields)
    site.files[f"list/files/{new['sha256']}.parquet"] = data.getvalue()
    site.log_manifest()
    site.sign()
    pull(BASE_URL, tmp_path / "list", root=site.write_root(tmp_path), transport=site.transport())
    for allowed in (False, True):
        with pytest.raises(VerificationError, match="not in order"):
            ExclusionList.open(tmp_path / "list", allow_unverified=allowed)


def test_list_can_be_copied_to_another_machine(pulled: Path, tmp_path: Path) -> None:
    shutil.copytree(pulled, tmp_path / "copy", symlinks=True)
    shutil.rmtree(pulled)
    assert ExclusionList.open(tmp_path / "copy", now=datetime.now(UTC)).counts["url"] == 2


def test_list_of_unknown_canonicalisation_is_not_read(site: Site, tmp_path: Path) -> None:
    site.canonicalisation = "heldout-url/2"
    site.publish(URLS, IMAGES)
    with pytest.raises(InputError, match="update heldout"):
        pull(BASE_URL, tmp_path / "list", root=site.write_root(tmp_path), transport=site.transport())


LOGGED = Site().publish(URLS, IMAGES)


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_arbitrary_bytes_as_manifest_or_proof_are_refused(data: bytes) -> None:
    for manifest, proof in ((data, LOGGED.proof), (LOGGED.manifest, data)):
        with pytest.raises(VerificationError):
            verify_logged(manifest, proof)
