"""The list's manifest: one encoding, checked counts."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heldout.errors import VerificationError
from heldout.leaves import canonical_json
from heldout.manifest import (
    DeltaFile,
    ListFile,
    LogState,
    Manifest,
    PreviousVersion,
    format_manifest,
    manifest_sha256,
    parse_manifest,
)

DIGESTS = st.binary(min_size=32, max_size=32)
FILES = st.builds(ListFile, DIGESTS, st.integers(0, 2**40), st.integers(0, 2**40), DIGESTS)
MANIFEST = Manifest(
    version=3,
    as_of=datetime(2026, 11, 22, 1, 2, 3, tzinfo=UTC),
    canonicalisation="heldout-url/1",
    log=LogState("registry.example/log", "registry.example/log+00000000+AAAA", 7, b"\x01" * 32),
    prefix_bits=0,
    files={
        "urls/000.parquet": ListFile(b"\x02" * 32, 900, 4, b"\x05" * 32),
        "images.parquet": ListFile(b"\x03" * 32, 800, 2, b"\x06" * 32),
        "hosts.parquet": ListFile(b"\x07" * 32, 700, 1, b"\x08" * 32),
        "prefixes.parquet": ListFile(b"\x0a" * 32, 600, 0, b"\x0b" * 32),
    },
    counts={"url": 4, "prefix": 0, "host": 1, "image": 2},
    previous=PreviousVersion(2, b"\x04" * 32),
    delta=DeltaFile(b"\x09" * 32, 80),
)


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    prefix_bits = draw(st.integers(0, 2))
    urls = {f"urls/{number:03x}.parquet": draw(FILES) for number in range(1 << prefix_bits)}
    images, prefixes, hosts = draw(FILES), draw(FILES), draw(FILES)
    version = draw(st.integers(1, 10**6))
    return Manifest(
        version=version,
        as_of=draw(st.none() | st.integers(0, 2**32).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))),
        canonicalisation=draw(st.text(max_size=20)),
        log=LogState(
            draw(st.text(max_size=20)), draw(st.text(max_size=20)), draw(st.integers(0, 2**60)), draw(DIGESTS)
        ),
        prefix_bits=prefix_bits,
        files=urls | {"images.parquet": images, "prefixes.parquet": prefixes, "hosts.parquet": hosts},
        counts={
            "url": sum(file.count for file in urls.values()),
            "prefix": prefixes.count,
            "host": hosts.count,
            "image": images.count,
        },
        previous=(previous := draw(st.none() | st.builds(PreviousVersion, st.integers(1, 10**6), DIGESTS))),
        delta=draw(st.none() | st.builds(DeltaFile, DIGESTS, st.integers(0, 2**40))) if previous else None,
    )


@given(manifests())
def test_parsing_a_formatted_manifest_gives_it_back(manifest: Manifest) -> None:
    assert parse_manifest(format_manifest(manifest)) == manifest


def test_the_order_in_which_files_were_written_does_not_show() -> None:
    reordered = Manifest(**{**vars(MANIFEST), "files": dict(reversed(MANIFEST.files.items()))})
    assert format_manifest(reordered) == format_manifest(MANIFEST)
    assert manifest_sha256(format_manifest(reordered)) == manifest_sha256(format_manifest(MANIFEST))


@pytest.mark.parametrize(
    "change",
    [
        {"format": "heldout-exclusion-list/1"},
        {"version": 0},
        {"version": "3"},
        {"as_of": "yesterday"},
        {"extra": 1},
        {"log": {"origin": "a", "vkey": "b", "size": 7}},
        {"log": {"origin": "a", "vkey": "b", "size": 7, "root": "AAAA"}},
        {"prefix_bits": 13},
        {"prefix_bits": True},
        {"files": []},
        {"files": {"../../etc/passwd": {"sha256": "0" * 64, "size": 1, "count": 6, "content": "0" * 64}}},
        {"files": {"urls/000.parquet": {"sha256": "0" * 63, "size": 1, "count": 6}}},
        {"counts": {"url": 5, "prefix": 0, "host": 1, "image": 2}},
        {"counts": {"url": 4, "host": 1, "image": 2}},
        {"previous": {"version": 2}},
        {"previous": None},
        {"delta": {"sha256": "0" * 64}},
        {"canonicalisation": None},
    ],
)
def test_manifests_with_a_wrong_field_are_refused(change: dict[str, Any]) -> None:
    fields = json.loads(format_manifest(MANIFEST)) | change
    with pytest.raises(VerificationError):
        parse_manifest(canonical_json(fields))


@pytest.mark.parametrize("bits", [0, 3, 12])
def test_a_manifest_names_all_files_of_its_list_and_no_other(bits: int) -> None:
    empty = ListFile(bytes(32), 0, 0, bytes(32))
    urls = {f"urls/{number:03x}.parquet": empty for number in range(1 << bits)}
    whole = replace(MANIFEST, prefix_bits=bits, files=MANIFEST.files | urls, counts=MANIFEST.counts | {"url": 0})
    assert parse_manifest(format_manifest(whole)) == whole
    for name in (f"urls/{(1 << bits) - 1:03x}.parquet", "prefixes.parquet"):
        files = {other: file for other, file in whole.files.items() if other != name}
        with pytest.raises(VerificationError, match="too few"):
            parse_manifest(format_manifest(replace(whole, files=files)))
    with pytest.raises(VerificationError, match="too many"):
        parse_manifest(format_manifest(replace(whole, files=whole.files | {f"urls/{1 << bits:03x}.parquet": empty})))


def test_a_manifest_in_another_layout_is_refused() -> None:
    with pytest.raises(VerificationError, match="canonical"):
        parse_manifest(format_manifest(MANIFEST) + b"\n")
