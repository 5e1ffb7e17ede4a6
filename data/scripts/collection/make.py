"""Make the bundled collection again, byte for byte, from Debian's openclipart packages.

    pip install -r data/scripts/collection/requirements.txt -e .
    apt-get install openclipart-png openclipart-svg
    python data/scripts/collection/make.py                 # writes data/collection/
    python data/scripts/collection/make.py -o DIR          # elsewhere, to compare
    python data/scripts/collection/make.py --verify 25     # draws 25 pictures again and compares, writes nothing

The versions in `requirements.txt` matter: they hold the JPEG, PNG, WebP and parquet encoders.
"""

import argparse
import csv
import hashlib
import json
import shutil
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import originals
import pyarrow.parquet as pq
import shards
from addresses import original_url
from drawing import draw, encode_for_web
from samples import Fingerprint, Sample, distance, expected_label, fingerprint, make_samples

COLLECTION = Path(__file__).resolve().parents[2] / "collection"
INPUTS_SHA256 = "2afe1a567a60f0f11fc7f535e5adda4eda406c4437ffef2b98a20177671788dd"
"""Over all input files, by `originals.inputs_digest`."""

BROKEN = {"dead", "empty", "html", "truncated", "corrupt"}


def main() -> None:
    """Make the collection; an existing output folder is replaced only when everything has been made."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=COLLECTION)
    parser.add_argument("--source", type=Path, default=originals.INSTALLED, help="folder that holds svg/ and png/")
    parser.add_argument("--verify", type=int, metavar="N", help="draw N pictures again, compare, write nothing")
    arguments = parser.parse_args()
    started = time.monotonic()
    picked = originals.read_originals(arguments.source)
    if arguments.verify:
        verify(picked[:: max(1, len(picked) // arguments.verify)], arguments.output)
        return
    found = originals.inputs_digest(picked)
    if found != INPUTS_SHA256:
        sys.exit(f"the input files have digest {found}, expected {INPUTS_SHA256}: install {originals.PACKAGES}")
    samples = make_samples(picked)
    building = arguments.output.with_name(arguments.output.name + ".new")
    shutil.rmtree(building, ignore_errors=True)
    shards.write_webdataset(samples, building / "webdataset")
    shards.write_list(samples, building / "parquet")
    write_tables(samples, building)
    write_digests(building)
    if arguments.output.exists():
        shutil.rmtree(arguments.output)
    building.rename(arguments.output)
    size = sum(file.stat().st_size for file in arguments.output.rglob("*") if file.is_file())
    print(f"{len(samples)} samples of {len(picked)} pictures, {size / 1e6:.1f} MB, {time.monotonic() - started:.0f} s")


def verify(picked: Sequence[originals.Original], folder: Path) -> None:
    """Draw the pictures again and look their digests up in the collection.

    Raises:
        SystemExit: one came out differently.
    """
    digests = {
        row["url"]: row["sha256"]
        for part in sorted((folder / "parquet").glob("*.parquet"))
        for row in pq.read_table(part, columns=["url", "sha256"]).to_pylist()
    }
    for original in picked:
        encoded = encode_for_web(draw(original), original.path)
        url = original_url(original, encoded.extension)
        if digests.get(url) != hashlib.sha256(encoded.data).hexdigest():
            sys.exit(f"{original.path} ({url}) came out differently: compare versions with requirements.txt")
    print(f"{len(picked)} pictures drawn again, the same bytes")


def write_tables(samples: Sequence[Sample], folder: Path) -> None:
    """Credits, the truth about copies and broken samples, and the right answers to the suggested queries."""
    source = {sample.original.path: sample for sample in samples if sample.role == "original"}
    fingerprints: dict[str, Fingerprint] = {}
    truth, broken = [], []
    for sample in samples:
        first = source[sample.original.path]
        if sample.role in BROKEN:
            status = "success" if sample.data is not None else "failed_to_download"
            broken.append((sample.key, sample.role, first.key, status, sample.error_message or ""))
        elif sample.role != "original" and sample.data is not None and first.data is not None:
            theirs = fingerprints.setdefault(first.key, fingerprint(first.data))
            ours = fingerprint(sample.data)
            found, quality = distance(ours, theirs), min(ours.quality, theirs.quality)
            label = expected_label(sample, found, quality)
            truth.append((sample.key, first.key, sample.role, sample.parameters, label, found, quality))
    _write_csv(
        folder / "truth.csv",
        ("key", "original_key", "transform", "parameters", "expected", "pdq_distance", "pdq_quality"),
        truth,
    )
    _write_csv(folder / "broken.csv", ("key", "problem", "original_key", "status", "error_message"), broken)
    _write_csv(
        folder / "CREDITS.csv",
        ("key", "title", "creator", "licence", "original_file", "original_title"),
        (
            (s.key, o.title, o.creator, o.licence, f"svg/{o.path}.svg", originals.without_contact(o.written_title))
            for s, o in ((sample, sample.original) for sample in samples)
        ),
    )
    answers: dict[str, list[str]] = {}
    for row in originals.read_table("queries.csv"):
        right = [s for s in samples if s.original.path == row["path"] and s.role not in BROKEN]
        right.sort(key=lambda s: (s.role != "original", s.key))
        answers.setdefault(row["query"], []).extend(s.key for s in right)
    text = ",\n".join(f"  {json.dumps(query)}: {json.dumps(keys)}" for query, keys in answers.items())
    (folder / "queries.json").write_text(f"{{\n{text}\n}}\n", encoding="utf-8")


def write_digests(folder: Path) -> None:
    """`SHA256SUMS`, as `sha256sum -c` reads it."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    lines = [
        f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.relative_to(folder).as_posix()}\n" for file in files
    ]
    (folder / "SHA256SUMS").write_text("".join(lines), encoding="utf-8")


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


if __name__ == "__main__":
    main()
