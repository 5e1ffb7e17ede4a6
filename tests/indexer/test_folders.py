"""Folders of pictures as a source: chunks in order of name, texts beside them, img2dataset's `files` format."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from heldout.errors import ConflictError, InputError
from indexer import planning
from indexer.ingest import ingest
from indexer.onnx_encoder import OnnxEncoder
from indexer.planning import Kind, Shard, plan, plan_shards
from indexer.readers import open_shard


def _rows(shard: Shard) -> list[dict[str, Any]]:
    return [row for batch in open_shard(shard).batches() for row in batch.table.to_pylist()]


@pytest.fixture
def folder(tmp_path: Path, make: Any) -> Path:
    """Pictures at two levels with all kinds of texts beside them, and files that are none."""
    root = tmp_path / "Portfolio 2024"
    (root / "oil" / "näher").mkdir(parents=True)
    for number, name in enumerate(["z.PNG", "oil/a.jpg", "oil/a.png", "oil/näher/b.webp", "oil/c.heic"]):
        (root / name).write_bytes(make.encode(make.draw(number), ("PNG", "JPEG", "PNG", "WEBP", "PNG")[number]))
    (root / "z.txt").write_text("Zenith, by Ärtist")
    (root / "oil" / "a.jpg.json").write_text(json.dumps({"url": "https://a.example/a", "caption": "of the JPEG"}))
    (root / "oil" / "a.png.txt").write_text("of the PNG")
    (root / "oil" / "näher" / "b.txt").write_bytes(b"bad \xff bytes")
    (root / "oil" / "näher" / "b.json").write_text("[not an object]")
    for name in ("notes.txt", "oil/.DS_Store", "oil/._a.jpg", ".hidden.jpg", "index.html"):
        (root / name).write_bytes(b"x")
    return root


def test_pictures_get_their_texts_and_their_paths_as_keys(folder: Path) -> None:
    (shard,) = plan_shards([folder])
    assert (shard.name, shard.kind) == ("Portfolio 2024-00000", Kind.PICTURES)
    rows = {row["key"]: row for row in _rows(shard)}
    assert list(rows) == ["oil/a.jpg", "oil/a.png", "oil/c.heic", "oil/näher/b.webp", "z.PNG"]
    assert (rows["oil/a.jpg"]["url"], rows["oil/a.jpg"]["caption"]) == ("https://a.example/a", "of the JPEG")
    assert (rows["oil/a.png"]["url"], rows["oil/a.png"]["caption"]) == (None, "of the PNG")
    assert rows["z.PNG"]["caption"] == "Zenith, by Ärtist"
    assert rows["oil/näher/b.webp"]["caption"] == "bad \ufffd bytes"
    assert "is not a JSON object" in rows["oil/näher/b.webp"]["reason"]
    assert {row["status"] for row in rows.values()} == {"ok"}


def test_a_text_of_one_stem_belongs_to_all_its_pictures(tmp_path: Path) -> None:
    for name in ("a.jpg", "a.png"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "a.txt").write_text("both")
    (shard,) = plan_shards([tmp_path])
    assert [(row["key"], row["caption"]) for row in _rows(shard)] == [("a.jpg", "both"), ("a.png", "both")]


def test_a_folder_without_any_text_needs_none(tmp_path: Path, make: Any, encoder: OnnxEncoder) -> None:
    (tmp_path / "art").mkdir()
    for number in range(3):
        (tmp_path / "art" / f"{number}.png").write_bytes(make.encode(make.draw(number)))
    report = ingest([tmp_path / "art"], release=tmp_path / "release", encoder=encoder, workers=0)
    assert (report.ingested, report.statuses) == (["art-00000"], {"ok": 3})
    assert list(report.mappings) == ["key <- key, no url, no caption; kept: nothing else"]


def test_large_folders_are_cut_the_same_way_every_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Any, encoder: OnnxEncoder
) -> None:
    monkeypatch.setattr(planning, "PICTURES_PER_SHARD", 4)
    art = tmp_path / "art"
    for number in reversed(range(10)):
        path = art / f"{number % 3}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(make.encode(make.draw(number)))
    shards = plan_shards([art])
    assert [shard.name for shard in shards] == ["art-00000", "art-00001", "art-00002"]
    assert [len(shard.files) for shard in shards] == [4, 4, 2]
    assert shards == plan_shards([art])
    keys = [row["key"] for shard in shards for row in _rows(shard)]
    assert keys == sorted(keys)
    assert len(set(keys)) == 10

    release = tmp_path / "release"
    assert len(ingest([art], release=release, encoder=encoder, workers=0).ingested) == 3
    assert len(ingest([art], release=release, encoder=encoder, workers=0).skipped) == 3
    (art / "2" / "9.png").write_bytes(make.encode(make.draw(99)))  # sorts last: the earlier shards stay
    with pytest.raises(ConflictError, match=r"art-00002 was made from .* in 2 files with SHA-256 .* in 3 files"):
        ingest([art], release=release, encoder=encoder, workers=0)


def test_the_files_format_of_img2dataset_keeps_failed_rows_and_order(tmp_path: Path, make: Any) -> None:
    rows = [("000000000", "success"), ("000000001", "failed_to_download"), ("000000002", "success")]
    (tmp_path / "00000").mkdir()
    for key, status in rows:
        if status == "success":
            (tmp_path / "00000" / f"{key}.jpg").write_bytes(make.encode(make.draw(int(key)), "JPEG"))
            (tmp_path / "00000" / f"{key}.txt").write_text("also in the list")
            (tmp_path / "00000" / f"{key}.json").write_text("{}")
    (tmp_path / "00000_stats.json").write_text("{}")
    table = pa.table(
        {
            "url": [f"https://a.example/{key}" for key, _ in rows],
            "caption": ["a", "b", "c"],
            "key": [key for key, _ in rows],
            "status": [status for _, status in rows],
            "error_message": [None, "HTTP Error 404: Not Found", None],
        }
    )
    pq.write_table(table, tmp_path / "00000.parquet")
    (shard,) = plan_shards([tmp_path])
    assert (shard.name, shard.kind) == ("00000", Kind.PICTURES)
    read = _rows(shard)
    assert [(row["key"], row["status"], row["caption"]) for row in read] == [
        ("000000000", "ok", "a"),
        ("000000001", "failed_to_download", "b"),
        ("000000002", "ok", "c"),
    ]
    assert read[1]["reason"] == "HTTP Error 404: Not Found"


@pytest.mark.parametrize("keys", [pa.array([7, 12], pa.int64()), pa.array([7.0, 12.0])])
def test_keys_that_became_numbers_find_the_files_whose_names_begin_with_zeros(
    keys: pa.Array, tmp_path: Path, make: Any
) -> None:
    said = make.rows(4, first=0)
    tar = make.tar(tmp_path / "0.tar", [make.Row("000000007", said[0].data, None, None)], sibling=False)
    pq.write_table(pa.table({"key": keys, "url": ["u7", "u12"], "caption": ["a", "b"]}), tar.with_suffix(".parquet"))
    (shard,) = plan_shards([tar])
    (batch,) = open_shard(shard).batches()
    assert batch.table["key"].to_pylist()[0] == "000000007"
    assert batch.table["status"].to_pylist() == ["ok", "no_picture"]
    assert batch.table["url"].to_pylist() == ["u7", "u12"]


def test_loose_pictures_beside_shards_are_counted_and_passed_over(tmp_path: Path, make: Any) -> None:
    make.tar(tmp_path / "0.tar", make.rows(4))
    (tmp_path / "preview.jpg").write_bytes(b"x")
    planned = plan([tmp_path])
    assert [shard.name for shard in planned.shards] == ["0"]
    assert planned.n_passed_over == 1


def test_two_folders_are_one_data_set_if_their_names_differ(tmp_path: Path) -> None:
    for name in ("a/x/1.jpg", "b/x/1.jpg", "b/y/1.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert [shard.name for shard in plan_shards([tmp_path / "b" / "x", tmp_path / "b" / "y"])] == ["x-00000", "y-00000"]
    with pytest.raises(InputError, match="would both be shard x-00000"):
        plan_shards([tmp_path / "a" / "x", tmp_path / "b" / "x"])


def test_links_to_folders_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    (tmp_path / "art").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "1.jpg").write_bytes(b"x")
    (tmp_path / "art" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "art")
    (shard,) = plan_shards([tmp_path / "art"])
    assert [row["key"] for row in _rows(shard)] == ["linked/1.jpg"]


def test_a_picture_that_goes_meanwhile_sets_its_shard_aside(tmp_path: Path) -> None:
    (tmp_path / "1.jpg").write_bytes(b"x")
    (shard,) = plan_shards([tmp_path])
    reader = open_shard(shard)
    (tmp_path / "1.jpg").unlink()
    with pytest.raises(InputError, match=r"1\.jpg cannot be read .*run again when it is back"):
        list(reader.batches())
