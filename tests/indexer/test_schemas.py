"""Every published schema, with its names and types, becomes samples without any configuration."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from indexer.planning import plan_shards
from indexer.readers import open_shard

URL, TEXT = "https://artist.example/käse.jpg", "Sonnenuntergang über dem Meer, by Ärtist"
STRINGS, INT, LONG, FLOAT, DOUBLE = pa.string(), pa.int32(), pa.int64(), pa.float32(), pa.float64()
PHASH, HEX = "a9e2b1c4d5f60718", "0f" * 32

SCHEMAS: dict[str, list[tuple[str, pa.DataType, Any]]] = {
    "laion400m": [
        ("SAMPLE_ID", DOUBLE, 1581282014547.0),
        ("URL", STRINGS, URL),
        ("TEXT", STRINGS, TEXT),
        ("HEIGHT", DOUBLE, 225.0),
        ("WIDTH", DOUBLE, 300.0),
        ("LICENSE", STRINGS, "?"),
        ("NSFW", STRINGS, "UNLIKELY"),
        ("similarity", DOUBLE, 0.3144),
    ],
    "laion2B-en": [
        ("SAMPLE_ID", LONG, 1581282014547),
        ("URL", STRINGS, URL),
        ("TEXT", STRINGS, TEXT),
        ("HEIGHT", INT, 225),
        ("WIDTH", INT, 300),
        ("LICENSE", STRINGS, "?"),
        ("NSFW", STRINGS, "UNLIKELY"),
        ("similarity", DOUBLE, 0.3144),
    ],
    "laion2B-multi": [
        ("SAMPLE_ID", LONG, 1581282014547),
        ("URL", STRINGS, URL),
        ("TEXT", STRINGS, TEXT),
        ("HEIGHT", LONG, 225),
        ("WIDTH", LONG, 300),
        ("LICENSE", STRINGS, "?"),
        ("LANGUAGE", STRINGS, "de"),
        ("NSFW", STRINGS, "UNLIKELY"),
        ("similarity", DOUBLE, 0.3144),
    ],
    "laion5B-joined": [
        ("URL", STRINGS, URL),
        ("TEXT", STRINGS, TEXT),
        ("WIDTH", INT, 300),
        ("HEIGHT", INT, 225),
        ("similarity", DOUBLE, 0.3144),
        ("LANGUAGE", STRINGS, "de"),
        ("hash", LONG, -7),
        ("punsafe", FLOAT, 0.125),
        ("pwatermark", FLOAT, 0.5),
    ],
    "laion-aesthetic": [
        ("URL", STRINGS, URL),
        ("TEXT", STRINGS, TEXT),
        ("WIDTH", DOUBLE, 300.0),
        ("HEIGHT", DOUBLE, 225.0),
        ("similarity", DOUBLE, 0.3144),
        ("punsafe", FLOAT, 0.125),
        ("pwatermark", FLOAT, 0.5),
        ("aesthetic", FLOAT, 6.5),
        ("hash", LONG, 7),
        ("__index_level_0__", LONG, 12),
    ],
    "laion-aesthetic-score": [
        ("URL", STRINGS, URL),
        ("TEXT", STRINGS, TEXT),
        ("WIDTH", DOUBLE, 300.0),
        ("HEIGHT", DOUBLE, 225.0),
        ("AESTHETIC_SCORE", DOUBLE, 6.5),
    ],
    "laion-coco": [
        ("URL", STRINGS, URL),
        ("TEXT", STRINGS, TEXT),
        ("top_caption", STRINGS, "a sunset"),
        ("all_captions", pa.list_(STRINGS), ["a sunset", "the sea"]),
        ("all_similarities", pa.list_(DOUBLE), [0.3, 0.2]),
        ("WIDTH", INT, 300),
        ("HEIGHT", INT, 225),
        ("similarity", DOUBLE, 0.3144),
        ("hash", LONG, 7),
        ("pwatermark", FLOAT, 0.5),
        ("punsafe", FLOAT, 0.125),
    ],
    "relaion2B-en-research-safe": [
        ("url", STRINGS, URL),
        ("caption", STRINGS, TEXT),
        ("similarity", DOUBLE, 0.3144),
        ("hash", LONG, 7),
        ("pwatermark", FLOAT, 0.5),
        ("punsafe", FLOAT, 0.125),
        ("key", STRINGS, "12"),
        ("status", STRINGS, "success"),
        ("width", LONG, 300),
        ("height", LONG, 225),
    ],
    "datacomp": [
        ("uid", STRINGS, "ab" * 16),
        ("url", STRINGS, URL),
        ("text", STRINGS, TEXT),
        ("original_width", LONG, 300),
        ("original_height", LONG, 225),
        ("clip_b32_similarity_score", FLOAT, 0.25),
        ("clip_l14_similarity_score", FLOAT, 0.5),
        ("face_bboxes", pa.list_(pa.list_(DOUBLE)), [[0.25, 0.5, 0.75, 1.0]]),
        ("sha256", STRINGS, HEX),
    ],
    "coyo-700m": [
        ("id", LONG, 841814333321),
        ("url", STRINGS, URL),
        ("text", STRINGS, TEXT),
        ("width", INT, 300),
        ("height", INT, 225),
        ("image_phash", STRINGS, PHASH),
        ("text_length", INT, 40),
        ("word_count", INT, 6),
        ("num_tokens_bert", INT, 9),
        ("num_tokens_gpt", INT, 9),
        ("num_faces", INT, 0),
        ("clip_similarity_vitb32", FLOAT, 0.25),
        ("clip_similarity_vitl14", FLOAT, 0.25),
        ("nsfw_score_opennsfw2", FLOAT, 0.125),
        ("nsfw_score_gantman", FLOAT, 0.125),
        ("watermark_score", FLOAT, 0.125),
        ("aesthetic_score_laion_v2", FLOAT, 5.5),
    ],
    "pd12m": [
        ("id", STRINGS, "3f1a"),
        ("url", STRINGS, URL),
        ("s3_key", STRINGS, "images/3f1a.jpg"),
        ("caption", STRINGS, TEXT),
        ("hash", STRINGS, "d41d8cd98f00b204e9800998ecf8427e"),
        ("width", LONG, 300),
        ("height", LONG, 225),
        ("mime_type", STRINGS, "image/jpeg"),
        ("license", STRINGS, "CC0"),
        ("source", STRINGS, "museum"),
    ],
    "img2dataset-webdataset-list": [
        ("url", STRINGS, URL),
        ("caption", STRINGS, TEXT),
        ("key", STRINGS, "000000012"),
        ("status", STRINGS, "success"),
        ("error_message", pa.null(), None),
        ("width", INT, 256),
        ("height", INT, 192),
        ("original_width", INT, 300),
        ("original_height", INT, 225),
        ("exif", STRINGS, "{}"),
        ("sha256", STRINGS, HEX),
    ],
}
KEYS = {
    "laion400m": "1581282014547",
    "laion2B-en": "1581282014547",
    "laion2B-multi": "1581282014547",
    "relaion2B-en-research-safe": "12",
    "datacomp": "ab" * 16,
    "coyo-700m": "841814333321",
    "pd12m": "3f1a",
    "img2dataset-webdataset-list": "000000012",
}
DROPPED = {"__index_level_0__"}


def _write(path: Path, columns: list[tuple[str, pa.DataType, Any]]) -> Path:
    """A row with all values, and one of nulls."""
    schema = pa.schema([pa.field(name, kind) for name, kind, _ in columns])
    rows = [{name: value for name, _, value in columns}, dict.fromkeys(schema.names)]
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path)
    return path


def _read(path: Path) -> pa.Table:
    (shard,) = plan_shards([path])
    (batch,) = open_shard(shard).batches()
    return batch.table


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_published_schema_is_read_without_configuration(name: str, tmp_path: Path) -> None:
    columns = SCHEMAS[name]
    table = _read(_write(tmp_path / "part-0.parquet", columns))
    full, empty = table.to_pylist()
    assert (full["url"], full["caption"]) == (URL, TEXT)
    assert full["key"] == KEYS.get(name, "part-0:0")
    assert (full["status"], full["unsafe"]) == ("not_fetched", False)
    assert (full["width"], full["height"]) == (300, 225)
    if any(column == "sha256" for column, _, _ in columns):
        assert full["sha256"] == bytes.fromhex(HEX)
    assert (empty["key"], empty["url"], empty["caption"], empty["width"]) == ("part-0:1", None, None, None)
    assert (empty["status"], empty["unsafe"]) == ("not_fetched", False)


@pytest.mark.parametrize("name", SCHEMAS)
def test_nothing_that_a_published_schema_holds_is_lost(name: str, tmp_path: Path) -> None:
    columns = SCHEMAS[name]
    table = _read(_write(tmp_path / "part-0.parquet", columns))
    full = table.to_pylist()[0]
    for column, kind, value in columns:
        held = [full[each] for each in table.column_names if each.lower().removeprefix("source_") == column.lower()]
        fills = [str(cell) for cell in full.values()]
        as_whole = int(value) if isinstance(value, float) and value.is_integer() else value
        if column in DROPPED or column in {"sha256", "status"} or value is None:
            continue
        assert value in held or str(as_whole) in fills, column
        if column in table.column_names and value in held and kind not in {INT, LONG, DOUBLE}:
            assert table.schema.field(column).type == kind


def test_unsafe_is_told_by_each_sets_own_column(tmp_path: Path) -> None:
    for name, column, value in [
        ("laion400m", "NSFW", "NSFW"),
        ("laion5B-joined", "punsafe", 0.75),
        ("coyo-700m", "nsfw_score_opennsfw2", 0.75),
        ("coyo-700m", "nsfw_score_gantman", 0.75),
    ]:
        columns = [(each, kind, value if each == column else said) for each, kind, said in SCHEMAS[name]]
        assert _read(_write(tmp_path / f"{name}.parquet", columns))["unsafe"].to_pylist() == [True, False]


def test_pictures_in_a_parquet_file_are_read_as_img2dataset_and_hugging_face_write_them(
    tmp_path: Path, make: Any
) -> None:
    png = make.encode(make.draw(1))
    img2dataset = [
        *(column for column in SCHEMAS["img2dataset-webdataset-list"] if column[0] != "error_message"),
        ("error_message", STRINGS, None),
        ("jpg", pa.binary(), png),
        ("txt", STRINGS, TEXT),
    ]
    hugging_face = [
        ("image", pa.struct([("bytes", pa.binary()), ("path", STRINGS)]), {"bytes": png, "path": "1.png"}),
        ("label", LONG, 3),
    ]
    for name, columns in (("img2dataset", img2dataset), ("hf", hugging_face)):
        (shard,) = plan_shards([_write(tmp_path / f"{name}.parquet", columns)])
        (batch,) = open_shard(shard).batches()
        assert batch.pictures == [png, None]
        assert batch.table["status"].to_pylist() == ["ok", "no_picture"]


def test_a_list_without_captions_is_taken_when_the_user_says_there_are_none(tmp_path: Path) -> None:
    (shard,) = plan_shards([_write(tmp_path / "urls.parquet", [("url", STRINGS, URL)])])
    reader = open_shard(shard, overrides={"caption": ""})
    (batch,) = reader.batches()
    assert batch.table["url"].to_pylist() == [URL, None]
    assert reader.mapping.describe() == "url <- url, no caption; kept: nothing else"
