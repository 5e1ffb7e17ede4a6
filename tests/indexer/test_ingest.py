"""Shards to a release: statuses, resuming after a kill, bad input set aside."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest

from heldout.errors import ConflictError, InputError
from heldout.pictures import fingerprint
from indexer.build import build
from indexer.generation import Generation
from indexer.ingest import ingest, recorded_precision
from indexer.onnx_encoder import OnnxEncoder
from indexer.planning import plan_shards
from indexer.samples import FIXED_SCHEMA
from indexer.shards import read_done
from tests.indexer.releases import bytes_of, samples_of
from tests.indexer.tars import pack


def test_a_tar_with_its_parquet_keeps_all_rows_in_order(release: Path, make: Any, encoder: OnnxEncoder) -> None:
    rows, samples = make.rows(30), samples_of(release, "00000")
    assert [sample["key"] for sample in samples] == [row.key for row in rows]
    assert [sample["row"] for sample in samples] == list(range(30))
    assert [sample["status"] for sample in samples] == ["ok"] * 28 + ["corrupt", "failed_to_download"]
    assert "000000028" in samples[28]["reason"]
    assert samples[29]["reason"] == "HTTP Error 404: Not Found"
    assert {sample["LICENSE"] for sample in samples} == {"CC0"}
    assert {sample["width"] for sample in samples} == {960}
    embeddings = np.load(release / "shards" / "00000" / "embeddings.npy")
    assert embeddings.dtype == np.float16
    assert embeddings.shape == (28, encoder.d)
    expected = encoder.embed_images([make.draw(0)])  # row 0 is a PNG: lossless
    assert (expected[0] @ embeddings[samples[0]["embedding_row"]].astype(np.float32)) > 0.999


def test_fingerprints_are_those_of_the_library(release: Path, make: Any) -> None:
    for row, sample in list(zip(make.rows(30), samples_of(release, "00000"), strict=True))[:6]:
        known = fingerprint(row.data)
        assert sample["sha256"] == known.sha256
        assert sample["pdq"] == known.pdq[0].tobytes()
        assert sample["pdq_quality"] == known.quality
        assert sample["iscc"].startswith("ISCC:EEA")
        assert sample["height"] == known.height


def test_a_tar_alone_is_read_from_its_own_json(release: Path, make: Any) -> None:
    rows, samples = make.rows(20, first=100), samples_of(release, "00001")
    assert [sample["key"] for sample in samples] == [row.key for row in rows if row.data is not None]
    assert samples[0]["caption"] == rows[0].caption
    assert samples[0]["url"] == rows[0].url


def test_addresses_without_pictures_are_samples_too(release: Path) -> None:
    samples = samples_of(release, "urls")
    assert [sample["status"] for sample in samples] == ["not_fetched"] * 3
    assert [sample["key"] for sample in samples] == ["urls:0", "urls:1", "urls:2"]
    assert [sample["width"] for sample in samples] == [10, None, 2]
    assert [sample["unsafe"] for sample in samples] == [False, True, False]
    assert np.load(release / "shards" / "urls" / "embeddings.npy").shape[0] == 0


def test_thumbnails_are_one_a_sample_and_small(release: Path) -> None:
    with pa.ipc.open_file(release / "shards" / "00000" / "thumbnails.arrow") as reader:
        webp = reader.read_all()["webp"].to_pylist()
    assert [one is None for one in webp] == [False] * 28 + [True, True]
    assert all(one[8:12] == b"WEBP" for one in webp if one)


def test_the_marker_tells_counts_and_digests(release: Path) -> None:
    folder = release / "shards" / "00000"
    done = read_done(folder)
    assert done["statuses"] == {"ok": 28, "corrupt": 1, "failed_to_download": 1}
    for name, said in done["files"].items():
        data = (folder / name).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (said["size"], said["sha256"])
    schema = pq.read_schema(folder / "samples.parquet")
    assert schema.names[: len(FIXED_SCHEMA)] == FIXED_SCHEMA.names


def test_parquet_with_pictures_is_embedded(tmp_path: Path, make: Any, encoder: OnnxEncoder) -> None:
    rows = make.rows(6)
    table = {
        "url": [row.url for row in rows],
        "caption": [row.caption for row in rows],
        "jpg": [row.data for row in rows],
    }
    pq.write_table(pa.table(table), tmp_path / "part.parquet")
    ingest([tmp_path / "part.parquet"], release=tmp_path / "release", encoder=encoder, workers=0)
    samples = samples_of(tmp_path / "release", "part")
    assert [sample["status"] for sample in samples] == ["ok"] * 4 + ["corrupt", "no_picture"]


def test_an_empty_file_in_a_tar_is_a_corrupt_sample(tmp_path: Path, make: Any, encoder: OnnxEncoder) -> None:
    rows = [make.Row("a", b"", "https://a.example/", "empty"), *make.rows(4)]
    make.tar(tmp_path / "0.tar", rows)
    ingest([tmp_path / "0.tar"], release=tmp_path / "release", encoder=encoder, workers=0)
    sample = samples_of(tmp_path / "release", "0")[0]
    assert (sample["status"], sample["reason"]) == ("corrupt", "the picture is empty (0 bytes)")


def test_a_tars_json_may_hold_anything(tmp_path: Path, make: Any, encoder: OnnxEncoder) -> None:
    said = [
        {"url": "https://a.example/1", "caption": "half \ud83d a pair", "exif": {}, "tags": [], "n": 1},
        {"url": None, "caption": 7, "exif": {"Make": "x"}, "tags": ["a"], "n": "one"},
        ["no object"],
        {"url": "https://a.example/4", "caption": None, "n": 10**30},
    ]
    files: list[tuple[str, bytes]] = []
    for number, value in enumerate(said):
        files += [(f"{number}.png", make.encode(make.draw(number))), (f"{number}.json", json.dumps(value).encode())]
    pack(tmp_path / "0.tar", files)
    ingest([tmp_path / "0.tar"], release=tmp_path / "release", encoder=encoder, workers=0)
    samples = samples_of(tmp_path / "release", "0")
    assert [sample["status"] for sample in samples] == ["ok"] * 4
    assert [sample["url"] for sample in samples] == ["https://a.example/1", None, None, "https://a.example/4"]
    assert samples[2]["reason"] == "0.tar: 2.json is not a JSON object"
    assert json.loads(samples[1]["exif"]) == {"Make": "x"}


def test_two_columns_of_one_name_set_a_shard_aside(tmp_path: Path, encoder: OnnxEncoder) -> None:
    table = pa.table([["https://a.example/"], ["a"], ["b"]], names=["url", "text", "text"])
    pq.write_table(table, tmp_path / "0.parquet")
    report = ingest([tmp_path / "0.parquet"], release=tmp_path / "release", encoder=encoder, workers=0)
    assert "two columns of one name" in report.set_aside["0"]


def test_ingesting_again_adds_nothing(tmp_path: Path, make: Any, encoder: OnnxEncoder) -> None:
    make.tar(tmp_path / "0.tar", make.rows(5))
    ingest([tmp_path / "0.tar"], release=tmp_path / "release", encoder=encoder, workers=0)
    before = bytes_of(tmp_path / "release")
    report = ingest([tmp_path / "0.tar"], release=tmp_path / "release", encoder=encoder, workers=0)
    assert (report.ingested, report.skipped, report.n_samples) == ([], ["0"], 0)
    assert bytes_of(tmp_path / "release") == before


class TestBadInput:
    @pytest.fixture
    def source(self, tmp_path: Path, make: Any) -> Path:
        """One good shard among bad ones."""
        folder = tmp_path / "source"
        make.tar(folder / "good.tar", make.rows(5))
        (folder / "noparquet.parquet").write_bytes(b"PAR1 is how it starts, and no more")
        pq.write_table(pa.table({"TEXT": ["a"]}), folder / "nourl.parquet")
        pq.write_table(pa.table({"URL": ["https://a.example/"]}), folder / "nocaption.parquet")
        whole = make.tar(folder / "cut.tar", make.rows(30), sibling=False)
        whole.write_bytes(whole.read_bytes()[:40_000])
        (folder / "notar.tar").write_bytes(b"no tar at all" * 100)
        (folder / "readme.md").write_text("not a shard")
        return folder

    def test_bad_shards_are_set_aside_and_the_rest_is_ingested(
        self, source: Path, tmp_path: Path, encoder: OnnxEncoder
    ) -> None:
        report = ingest([source], release=tmp_path / "release", encoder=encoder, workers=0)
        assert report.ingested == ["good"]
        assert set(report.set_aside) == {"noparquet", "nourl", "nocaption", "cut", "notar"}
        for name, words in {
            "noparquet": ("noparquet.parquet", "not a parquet file", "get it again"),
            "nourl": ("nourl.parquet", "no URL column", "TEXT", "--columns url=COLUMN"),
            "nocaption": ("nocaption.parquet", "no caption column", "URL", "--columns caption=COLUMN"),
            "cut": ("cut.tar", "truncated", "get it again"),
            "notar": ("notar.tar", "not an uncompressed tar", "get it again"),
        }.items():
            for word in words:
                assert word in report.set_aside[name]
            said = json.loads((tmp_path / "release" / "set_aside" / f"{name}.json").read_text())
            assert said == {"shard": name, "reason": report.set_aside[name]}
        assert sorted(path.name for path in (tmp_path / "release" / "shards").iterdir()) == ["good"]

    def test_a_shard_that_got_well_is_taken_in(
        self, source: Path, tmp_path: Path, encoder: OnnxEncoder, make: Any
    ) -> None:
        ingest([source], release=tmp_path / "release", encoder=encoder, workers=0)
        make.tar(source / "cut.tar", make.rows(30), sibling=False)
        report = ingest([source / "cut.tar"], release=tmp_path / "release", encoder=encoder, workers=0)
        assert report.ingested == ["cut"]
        assert not (tmp_path / "release" / "set_aside" / "cut.json").exists()

    @pytest.mark.parametrize("cut", [0.3, 0.7, 0.97])
    def test_a_tar_cut_anywhere_is_noticed(self, cut: float, tmp_path: Path, make: Any, encoder: OnnxEncoder) -> None:
        path = make.tar(tmp_path / "0.tar", make.rows(12), sibling=False)
        data = path.read_bytes().rstrip(b"\0")  # as a writer that died would leave it
        path.write_bytes(data[: int(len(data) * cut)])
        report = ingest([path], release=tmp_path / "release", encoder=encoder, workers=0)
        assert "truncated" in report.set_aside["0"]

    def test_overrides_rescue_a_foreign_schema(self, source: Path, tmp_path: Path, encoder: OnnxEncoder) -> None:
        pq.write_table(pa.table({"link": ["https://a.example/"], "words": ["hello"]}), source / "foreign.parquet")
        report = ingest(
            [source / "foreign.parquet"],
            release=tmp_path / "release",
            encoder=encoder,
            columns={"url": "link", "caption": "words"},
            workers=0,
        )
        assert report.ingested == ["foreign"]
        assert samples_of(tmp_path / "release", "foreign")[0]["caption"] == "hello"

    def test_nothing_to_ingest_is_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="does not exist"):
            plan_shards([tmp_path / "missing"])
        with pytest.raises(InputError, match="no shard, picture or embedding in"):
            plan_shards([tmp_path])

    def test_two_shards_of_one_name_are_refused(self, tmp_path: Path, make: Any) -> None:
        for folder in ("a", "b"):
            make.tar(tmp_path / folder / "0.tar", make.rows(3))
        with pytest.raises(InputError, match="both be shard 0"):
            plan_shards([tmp_path / "a", tmp_path / "b"])
        assert [shard.name for shard in plan_shards([tmp_path])] == ["a__0", "b__0"]


class _OtherEncoder:
    tag = "other"
    d = 3
    precision = "float32"


def test_a_release_keeps_to_one_model_and_one_source(tmp_path: Path, make: Any, encoder: OnnxEncoder) -> None:
    path, out = make.tar(tmp_path / "0.tar", make.rows(5)), tmp_path / "release"
    ingest([path], release=out, encoder=encoder, workers=0)
    with pytest.raises(ConflictError, match=f"{encoder.tag}, not other"):
        ingest([path], release=out, encoder=_OtherEncoder(), workers=0)  # type: ignore[arg-type]
    make.tar(path, make.rows(50))
    with pytest.raises(ConflictError, match=r"was made from 0\.tar"):
        ingest([path], release=out, encoder=encoder, workers=0)


def test_a_release_keeps_to_one_precision(tmp_path: Path, make: Any, onnx_folder: Path) -> None:
    release = tmp_path / "release"
    for number in range(2):
        make.tar(tmp_path / "source" / f"{number}.tar", make.rows(4, first=10 * number))
    assert recorded_precision(release) is None
    first, other = OnnxEncoder.open(onnx_folder), OnnxEncoder.open(onnx_folder)
    ingest([tmp_path / "source" / "0.tar"], release=release, encoder=first, workers=0)
    assert recorded_precision(release) == "float32"
    other.precision = "bfloat16"
    with pytest.raises(ConflictError, match="embedded in float32, not bfloat16: say --precision float32"):
        ingest([tmp_path / "source"], release=release, encoder=other, workers=0)
    assert ingest([tmp_path / "source"], release=release, encoder=first, workers=0).ingested == ["1"]


MEASURED = """
import gc, json, sys, tracemalloc
from pathlib import Path
import pyarrow as pa
from indexer.ingest import ingest
from indexer.onnx_encoder import OnnxEncoder

encoder = OnnxEncoder.open(Path(sys.argv[1]))
for name in sys.argv[2:]:
    gc.collect()
    tracemalloc.start()
    report = ingest([Path(name) / "source"], release=Path(name) / "out", encoder=encoder, workers=0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    print(json.dumps([report.n_samples, peak, pa.total_allocated_bytes()]))
"""


def test_memory_does_not_grow_with_the_number_of_shards(tmp_path: Path, make: Any, onnx_folder: Path) -> None:
    rows = make.rows(14)
    n_shards = {"warm": 2, "few": 4, "many": 104}
    for name, n in n_shards.items():
        for number in range(n):
            make.tar(tmp_path / name / "source" / f"{number:03d}.tar", rows)
    # In a process of its own: what other tests have left running in this one would be counted.
    command = [sys.executable, "-c", MEASURED, str(onnx_folder), *(str(tmp_path / name) for name in n_shards)]
    done = subprocess.run(command, check=True, capture_output=True, cwd=Path(__file__).parents[2])  # noqa: S603
    warm, few, many = (json.loads(line) for line in done.stdout.splitlines())
    assert [warm[0], few[0], many[0]] == [n * 14 for n in n_shards.values()]
    pictures = sum(len(row.data or b"") for row in rows)
    assert many[1] - few[1] < 100 * pictures / 4  # less than a quarter of its pictures is left of a shard
    assert many[2] - few[2] < pictures


def test_an_empty_shard_is_a_shard(tmp_path: Path, encoder: OnnxEncoder) -> None:
    table = pa.table({"url": pa.array([], pa.string()), "text": pa.array([], pa.string())})
    pq.write_table(table, tmp_path / "0.parquet")
    report = ingest([tmp_path / "0.parquet"], release=tmp_path / "release", encoder=encoder, workers=0)
    assert (report.ingested, report.n_samples) == (["0"], 0)
    build(tmp_path / "release")
    generation = Generation.open(tmp_path / "release")
    assert generation.n == 0
    assert generation.search_caption("a", 5)[1].tolist() == []
    assert generation.url_range("", "~", limit=5).tolist() == []
    assert generation.sha256_lookup(bytes(32)).tolist() == []
