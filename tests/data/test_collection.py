"""The bundled collection is what data/README.md says: whole, credited, deduplicated, and its truth table is true."""

import csv
import hashlib
import importlib.metadata
import json
import re
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import pytest

from heldout.errors import InputError
from heldout.pictures import decode_picture, pdq_orientations

ROOT = Path(__file__).resolve().parents[2]
COLLECTION = ROOT / "data" / "collection"
SCRIPTS = ROOT / "data" / "scripts" / "collection"
OPENCLIPART = Path("/usr/share/openclipart")
PUBLIC_DOMAIN = {
    "http://web.resource.org/cc/PublicDomain",
    "http://creativecommons.org/licenses/publicdomain/",
}
RESERVED = re.compile(r"(^|\.)(example|example\.(com|net|org)|test|invalid|localhost)$")  # RFC 2606

Row = dict[str, Any]
Bits = npt.NDArray[np.uint8]


def read_csv(name: str) -> list[dict[str, str]]:
    with (COLLECTION / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def read_parquet(folder: str) -> list[Row]:
    rows: list[Row] = []
    for path in sorted((COLLECTION / folder).glob("*.parquet")):
        rows += pq.read_table(path).to_pylist()
    return rows


@pytest.fixture(scope="module")
def members() -> dict[str, dict[str, bytes]]:
    """Key -> extension -> bytes, over all tars."""
    found: dict[str, dict[str, bytes]] = {}
    for path in sorted((COLLECTION / "webdataset").glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                key, _, extension = member.name.partition(".")
                file = tar.extractfile(member)
                assert file is not None
                assert key.startswith(path.stem)
                assert (member.mtime, member.uid, member.gid, member.mode) == (0, 0, 0, 0o644)
                found.setdefault(key, {})[extension] = file.read()
    return found


@pytest.fixture(scope="module")
def pictures(members: dict[str, dict[str, bytes]]) -> dict[str, bytes]:
    """Key -> the picture file's bytes."""
    return {
        key: next(data for extension, data in files.items() if extension not in {"txt", "json"})
        for key, files in members.items()
    }


@pytest.fixture(scope="module")
def broken_keys() -> set[str]:
    return {row["key"] for row in read_csv("broken.csv")}


@pytest.fixture(scope="module")
def hashes(pictures: dict[str, bytes], broken_keys: set[str]) -> dict[str, tuple[Bits, int]]:
    """Key -> (8, 256) bits of PDQ, quality."""
    found = {}
    for key, data in pictures.items():
        if key not in broken_keys:
            packed, quality = pdq_orientations(decode_picture(data))
            found[key] = np.unpackbits(packed, axis=1), quality
    return found


@pytest.fixture(scope="module")
def original_keys(broken_keys: set[str]) -> list[str]:
    copies = {row["key"] for row in read_csv("truth.csv")}
    return [row["key"] for row in read_csv("CREDITS.csv") if row["key"] not in copies | broken_keys]


def test_every_file_has_the_recorded_digest() -> None:
    lines = (COLLECTION / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    recorded = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
    files = {path.relative_to(COLLECTION).as_posix(): path for path in COLLECTION.rglob("*") if path.is_file()}
    del files["SHA256SUMS"]
    assert {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()} == recorded


def test_the_collection_is_at_most_25_megabytes() -> None:
    assert sum(path.stat().st_size for path in COLLECTION.rglob("*") if path.is_file()) <= 25_000_000


def test_both_forms_hold_the_same_samples() -> None:
    shards, listed = read_parquet("webdataset"), read_parquet("parquet")
    names = ("key", "url", "caption", "creator", "sha256")
    assert [[row[name] for name in names] for row in shards] == [[row[name] for name in names] for row in listed]
    keys = [row["key"] for row in listed]
    assert keys == sorted(set(keys))
    assert len({row["url"] for row in listed}) == len(listed)


def test_a_shards_tar_json_and_parquet_agree(members: dict[str, dict[str, bytes]], pictures: dict[str, bytes]) -> None:
    rows = {row["key"]: row for row in read_parquet("webdataset")}
    assert {key for key, row in rows.items() if row["status"] == "success"} == set(members)
    for key, files in members.items():
        assert json.loads(files["json"]) == rows[key]
        assert files["txt"].decode() == rows[key]["caption"]
        assert hashlib.sha256(pictures[key]).hexdigest() == rows[key]["sha256"]


def test_stats_files_count_their_shard() -> None:
    for path in sorted((COLLECTION / "webdataset").glob("*_stats.json")):
        stats = json.loads(path.read_text(encoding="utf-8"))
        rows = pq.read_table(path.with_name(f"{path.name[:5]}.parquet")).to_pylist()
        assert stats["count"] == len(rows)
        assert stats["successes"] == sum(row["status"] == "success" for row in rows)
        assert stats["failed_to_download"] == sum(row["status"] == "failed_to_download" for row in rows)
        assert sum(stats["status_dict"].values()) == len(rows)


def test_good_pictures_have_the_size_their_rows_say(pictures: dict[str, bytes], broken_keys: set[str]) -> None:
    for row in read_parquet("parquet"):
        if row["key"] not in broken_keys:
            image = decode_picture(pictures[row["key"]], name=row["key"])
            assert (image.width, image.height) == (row["width"], row["height"])


def test_originals_have_a_long_side_of_at_most_256(original_keys: list[str]) -> None:
    rows = {row["key"]: row for row in read_parquet("parquet")}
    assert max(max(rows[key]["width"], rows[key]["height"]) for key in original_keys) == 256


def test_broken_samples_are_broken_as_recorded(pictures: dict[str, bytes]) -> None:
    rows = {row["key"]: row for row in read_parquet("webdataset")}
    problems = {row["problem"] for row in read_csv("broken.csv")}
    assert problems == {"dead", "empty", "html", "truncated", "corrupt"}
    for row in read_csv("broken.csv"):
        sample = rows[row["key"]]
        assert sample["status"] == row["status"]
        if row["problem"] == "dead":
            assert row["key"] not in pictures
            assert sample["error_message"] == row["error_message"] != ""
            continue
        assert (pictures[row["key"]] == b"") == (row["problem"] == "empty")
        assert pictures[row["key"]].startswith(b"<!DOCTYPE html>") == (row["problem"] == "html")
        with pytest.raises(InputError):
            decode_picture(pictures[row["key"]])


def test_the_truth_table_is_true(pictures: dict[str, bytes], hashes: dict[str, tuple[Bits, int]]) -> None:
    truth = read_csv("truth.csv")
    assert len(truth) >= 250
    for row in truth:
        (copy, copy_quality), (original, quality) = hashes[row["key"]], hashes[row["original_key"]]
        distance = int((copy[0] != original).sum(axis=1).min())
        assert (distance, min(copy_quality, quality)) == (int(row["pdq_distance"]), int(row["pdq_quality"])), row
        same = pictures[row["key"]] == pictures[row["original_key"]]
        near = distance <= 31 and min(copy_quality, quality) >= 50
        assert row["expected"] == ("exact" if same else "near" if near else "similar"), row


def test_no_two_originals_are_near_each_other(original_keys: list[str], hashes: dict[str, tuple[Bits, int]]) -> None:
    upright = np.stack([hashes[key][0][0] for key in original_keys]).astype(np.float32)
    for orientation in range(8):
        turned = np.stack([hashes[key][0][orientation] for key in original_keys]).astype(np.float32)
        distances = upright.sum(axis=1)[:, None] + turned.sum(axis=1)[None, :] - 2 * upright @ turned.T
        np.fill_diagonal(distances, 256)
        assert distances.min() > 31, [original_keys[i] for i in np.argwhere(distances <= 31)[0]]


def test_originals_are_detailed_enough_for_pdq(original_keys: list[str], hashes: dict[str, tuple[Bits, int]]) -> None:
    assert min(hashes[key][1] for key in original_keys) >= 50


def test_there_are_between_1000_and_1500_originals(original_keys: list[str]) -> None:
    assert 1000 <= len(original_keys) <= 1500


def test_every_suggested_query_has_at_least_8_right_answers(original_keys: list[str]) -> None:
    queries: dict[str, list[str]] = json.loads((COLLECTION / "queries.json").read_text(encoding="utf-8"))
    known = {row["key"] for row in read_parquet("webdataset") if row["status"] == "success"}
    assert len(queries) >= 40
    originals = set(original_keys)
    for query, keys in queries.items():
        assert len(set(keys)) == len(keys), query
        assert set(keys) <= known, query
        assert len(originals & set(keys)) >= 8, query


def test_only_reserved_host_names_are_used() -> None:
    hosts = {urlsplit(row["url"]).hostname for row in read_parquet("parquet")}
    assert all(host and RESERVED.search(host) for host in hosts)
    captions = " ".join(row["caption"] for row in read_parquet("parquet"))
    assert "@" not in captions
    assert "://" not in captions


def test_creator_and_licence_of_every_sample_are_recorded() -> None:
    credit = {row["key"]: row for row in read_csv("CREDITS.csv")}
    listed = read_parquet("parquet")
    assert list(credit) == [row["key"] for row in listed]
    for row in listed:
        entry = credit[row["key"]]
        assert entry["creator"]
        assert "@" not in entry["creator"]
        assert entry["licence"] in PUBLIC_DOMAIN
        assert entry["original_file"].endswith(".svg")
        assert row["creator"] in {None, entry["creator"]}


def test_about_a_third_of_the_original_captions_name_the_artist(original_keys: list[str]) -> None:
    rows = {row["key"]: row for row in read_parquet("parquet")}
    named = sum(rows[key]["creator"] in rows[key]["caption"] for key in original_keys)
    assert 0.25 < named / len(original_keys) < 0.45


def _pinned_here() -> bool:
    lines = (SCRIPTS / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if "==" in line)
    try:
        return all(importlib.metadata.version(name) == version for name, version in pins.items())
    except importlib.metadata.PackageNotFoundError:
        return False


@pytest.mark.skipif(
    not (OPENCLIPART / "svg").is_dir() or not _pinned_here(),
    reason="needs Debian's openclipart-png and -svg and the versions of data/scripts/collection/requirements.txt",
)
def test_pictures_drawn_again_have_the_same_bytes() -> None:
    command = [sys.executable, str(SCRIPTS / "make.py"), "--verify", "20"]
    result = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603 - our own script
    assert result.returncode == 0, result.stderr
