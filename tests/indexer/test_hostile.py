"""Shards made to break things, or broken: the rest is ingested, nothing is lost without a word, bounds hold."""

import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from heldout.errors import InputError
from indexer.batches import MAX_TEXT_BYTES
from indexer.ingest import ingest
from indexer.onnx_encoder import OnnxEncoder
from indexer.outcome import IngestReport
from indexer.planning import plan_shards
from indexer.readers import open_shard, open_tar
from indexer.tar_members import (
    MAX_FIELDS,
    MAX_JSON_DEPTH,
    MAX_PICTURE_BYTES,
    MAX_SHARD_TEXT_BYTES,
    Member,
    metadata_of,
)
from tests.indexer.releases import samples_of
from tests.indexer.tars import pack

SAID = b'{"url": "https://a.example/", "caption": "a"}'


def _ingest(path: Path, encoder: OnnxEncoder) -> tuple[IngestReport, Path]:
    release = path.parent / "release"
    return ingest([path], release=release, encoder=encoder, workers=0), release


def test_a_damaged_header_in_the_middle_sets_the_shard_aside(tmp_path: Path, make: Any, encoder: OnnxEncoder) -> None:
    png = make.encode(make.draw(1))
    files = [(f"{n}.{suffix}", data) for n in range(6) for suffix, data in (("png", png), ("json", SAID))]
    data = bytearray(pack(tmp_path / "0.tar", files).read_bytes())
    place = data.index(b"2.png")
    data[place + 148 : place + 154] = b"zzzzzz"  # its checksum
    (tmp_path / "0.tar").write_bytes(data)
    report, release = _ingest(tmp_path / "0.tar", encoder)
    assert report.ingested == []
    assert f"{tmp_path / '0.tar'} has a damaged header" in report.set_aside["0"]
    assert f"at byte {place}" in report.set_aside["0"]
    assert not (release / "shards" / "0").exists()


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"[" * 200_000, "is not a JSON object"),
        (b'{"a":' * (MAX_JSON_DEPTH + 1) + b"1" + b"}" * (MAX_JSON_DEPTH + 1), "is nested deeper than 32 levels"),
        (b'{"n": ' + b"9" * 10_000 + b"}", "is not a JSON object"),
        (b'{"url": "https://a.example/"' + b" " * MAX_TEXT_BYTES + b"}", "bytes, over the limit of 4,194,304"),
    ],
)
def test_a_json_beyond_bounds_costs_its_sample_only_that(
    said: bytes, reason: str, tmp_path: Path, make: Any, encoder: OnnxEncoder
) -> None:
    png = make.encode(make.draw(1))
    pack(tmp_path / "0.tar", [("0.png", png), ("0.json", said), ("1.png", png), ("1.json", SAID)])
    report, release = _ingest(tmp_path / "0.tar", encoder)
    assert report.ingested == ["0"]
    first, second = samples_of(release)
    assert first["status"] == "ok"
    assert first["url"] is None
    assert first["reason"].startswith("0.tar: 0.json ")
    assert reason in first["reason"]
    assert (second["url"], second["reason"]) == ("https://a.example/", None)


def test_odd_but_lawful_json_is_kept(tmp_path: Path, make: Any, encoder: OnnxEncoder) -> None:
    deep: Any = 1
    for _ in range(MAX_JSON_DEPTH - 2):
        deep = [deep]
    said = {"url": "https://a.example/", "caption": "a", "deep": deep, "empty": [{}], "none": [[]]}
    text = json.dumps(said)[:-1] + ', "\\ud800": 1}'
    pack(tmp_path / "0.tar", [("0.png", make.encode(make.draw(1))), ("0.json", text.encode())])
    report, release = _ingest(tmp_path / "0.tar", encoder)
    assert report.ingested == ["0"]
    (sample,) = samples_of(release)
    assert (sample["deep"], json.loads(sample["empty"])) == (deep, [{}])
    assert sample["\ufffd" * 3] == 1


def test_a_caption_file_beyond_its_bound_is_not_read(tmp_path: Path, make: Any, encoder: OnnxEncoder) -> None:
    files = [("0.png", make.encode(make.draw(1))), ("0.json", b'{"url": "https://a.example/"}')]
    pack(tmp_path / "0.tar", [*files, ("0.txt", b"a" * (MAX_TEXT_BYTES + 1)), ("1.json", SAID)])
    _, release = _ingest(tmp_path / "0.tar", encoder)
    first = samples_of(release)[0]
    assert (first["url"], first["caption"], first["status"]) == ("https://a.example/", None, "ok")
    assert first["reason"] == "0.tar: 0.txt has 4,194,305 bytes, over the limit of 4,194,304"


def test_fields_beyond_their_bound_are_left_out_but_none_that_counts(tmp_path: Path) -> None:
    many = {f"f{n}": n for n in range(2 * MAX_FIELDS)}
    files = [("0.json", json.dumps(many).encode()), ("1.json", SAID), ("2.json", b'{"f0": 5, "other": 1}')]
    table = open_tar(plan_shards([pack(tmp_path / "0.tar", files)])[0]).table
    assert len(table.column_names) == MAX_FIELDS + 4  # key, error_message, url and caption
    assert table["url"].to_pylist() == [None, "https://a.example/", None]
    assert table["f0"].to_pylist() == [0, None, 5]
    first, second, third = table["error_message"].to_pylist()
    assert first == "0.tar: 0.json brings the shard over 1,000 fields: 1,000 are left out"
    assert (second, third) == (None, "0.tar: 2.json brings the shard over 1,000 fields: 1 are left out")


def test_a_picture_beyond_its_bound_is_not_read(tmp_path: Path) -> None:
    header = tarfile.TarInfo("0.png")
    header.size = MAX_PICTURE_BYTES + 512
    path = pack(tmp_path / "0.tar", [("1.png", b"small"), ("1.json", SAID)])
    rest = path.read_bytes()
    with path.open("wb") as file:
        file.write(header.tobuf())
        file.seek(header.size, io.SEEK_CUR)  # a hole: takes no disk
        file.write(rest)
    (batch,) = open_shard(plan_shards([path])[0]).batches()
    assert batch.pictures == [None, b"small"]
    assert batch.table["status"].to_pylist() == ["corrupt", "ok"]
    assert "335,544,832 bytes, over the limit of 335,544,320" in batch.table["reason"].to_pylist()[0]


def test_more_text_than_memory_should_hold_is_refused_before_it_is_read() -> None:
    n = MAX_SHARD_TEXT_BYTES // MAX_TEXT_BYTES + 1
    members = [Member(str(number), {"json": (0, MAX_TEXT_BYTES)}) for number in range(n)]
    with pytest.raises(InputError, match="as several shards"):
        metadata_of(members, lambda _place: b"", "0.tar")


def test_names_that_are_no_utf8_and_keys_of_another_type_are_joined(
    tmp_path: Path, make: Any, encoder: OnnxEncoder
) -> None:
    png = make.encode(make.draw(1))
    pack(tmp_path / "0.tar", [("7.png", png), ("a\udcff.png", png), ("b.png", png), ("b.png", png)])
    pq.write_table(pa.table({"key": [7], "url": ["https://a.example/"], "caption": ["a"]}), tmp_path / "0.parquet")
    report, release = _ingest(tmp_path / "0.tar", encoder)
    assert report.set_aside == {}
    assert [sample["key"] for sample in samples_of(release)] == ["7", "a\ufffd\ufffd\ufffd", "b", "b"]


def test_a_damaged_parquet_beside_a_tar_sets_it_aside(tmp_path: Path, make: Any, encoder: OnnxEncoder) -> None:
    make.tar(tmp_path / "0.tar", make.rows(5))
    data = bytearray((tmp_path / "0.parquet").read_bytes())
    data[4:200] = b"\xff" * 196
    (tmp_path / "0.parquet").write_bytes(data)
    report, _ = _ingest(tmp_path / "0.tar", encoder)
    assert str(tmp_path / "0.parquet") in report.set_aside["0"]


def test_a_row_group_of_pictures_is_never_held_whole(tmp_path: Path) -> None:
    pictures = [bytes([number]) * 1_000_000 for number in range(100)]
    table = pa.table({"url": ["u"] * 100, "caption": ["c"] * 100, "jpg": pictures})
    pq.write_table(table, tmp_path / "0.parquet", compression="none", use_dictionary=False, write_batch_size=2)
    assert pq.read_metadata(tmp_path / "0.parquet").num_row_groups == 1
    program = (
        "import sys, pathlib, pyarrow\n"
        "from indexer.planning import plan_shards\n"
        "from indexer.readers import open_shard\n"
        "(shard,) = plan_shards([pathlib.Path(sys.argv[1])])\n"
        "n = sum(len(batch.pictures) for batch in open_shard(shard).batches())\n"
        "print(n, pyarrow.default_memory_pool().max_memory())"
    )
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", program, str(tmp_path / "0.parquet")], capture_output=True, text=True, check=True
    )
    n, peak = map(int, done.stdout.split())
    assert n == 100
    assert peak < 90_000_000


def test_captions_of_a_million_characters_and_long_addresses_are_kept(tmp_path: Path) -> None:
    caption, url = "ä" * 1_010_000, "https://a.example/" + "x" * 13_000
    longer = "€" * (MAX_TEXT_BYTES // 3 + 1)
    table = pa.table({"url": [url, "u", url], "caption": [caption, longer, None], "key": ["a", "b", "a"]})
    pq.write_table(table, tmp_path / "0.parquet")
    reader = open_shard(plan_shards([tmp_path / "0.parquet"])[0])
    rows = [row for batch in reader.batches() for row in batch.table.to_pylist()]
    assert [row["caption"] for row in rows] == [caption, None, None]
    assert [row["url"] for row in rows] == [url, "u", url]
    assert rows[1]["reason"] == "the caption has 4,194,306 bytes, over the limit of 4,194,304"
    assert reader.notes == {"caption left out: too long": 1, "no caption": 2, "key given before in the shard": 1}


def test_what_is_odd_in_a_source_is_counted_in_the_report_and_the_marker(tmp_path: Path, encoder: OnnxEncoder) -> None:
    captions = pa.array([b"ok", b"\xff\xfe", None]).cast(pa.binary())
    pq.write_table(pa.table({"url": ["u", "v", None], "caption": captions, "id": [1, 1, 2]}), tmp_path / "0.parquet")
    report, release = _ingest(tmp_path / "0.parquet", encoder)
    odd = {
        "caption with bytes that are no UTF-8": 1,
        "no url": 1,
        "no caption": 1,
        "key given before in the shard": 1,
    }
    assert report.notes == odd
    assert json.loads((release / "shards" / "0" / "done.json").read_text())["notes"] == odd
    assert [sample["caption"] for sample in samples_of(release)] == ["ok", "\ufffd\ufffd", None]
    assert any("1  rows: no url" in line for line in report.lines())
