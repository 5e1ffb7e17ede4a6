"""Column detection over the schemas that the field publishes."""

import numpy as np
import pyarrow as pa
import pytest

from heldout.errors import InputError
from indexer.samples import kept_names, map_columns, sha256_column, size_column, text_column, unsafe_column

SCHEMAS = {
    "laion400m": (
        "SAMPLE_ID URL TEXT HEIGHT WIDTH LICENSE NSFW similarity",
        {"url": "URL", "caption": "TEXT", "key": "SAMPLE_ID", "width": "WIDTH", "height": "HEIGHT"},
    ),
    "laion5b-joined": (
        "URL TEXT WIDTH HEIGHT similarity LANGUAGE hash punsafe pwatermark __index_level_0__",
        {"url": "URL", "caption": "TEXT", "width": "WIDTH", "height": "HEIGHT"},
    ),
    "laion-coco": (
        "URL TEXT top_caption all_captions all_similarities WIDTH HEIGHT similarity hash pwatermark punsafe",
        {"url": "URL", "caption": "TEXT", "width": "WIDTH", "height": "HEIGHT"},
    ),
    "re-laion": ("url caption similarity", {"url": "url", "caption": "caption"}),
    "datacomp": (
        "uid url text original_width original_height clip_b32_similarity_score face_bboxes sha256",
        {
            "url": "url",
            "caption": "text",
            "key": "uid",
            "width": "original_width",
            "height": "original_height",
            "sha256": "sha256",
        },
    ),
    "coyo": (
        "id url text width height image_phash text_length nsfw_score_opennsfw2 watermark_score",
        {"url": "url", "caption": "text", "key": "id", "width": "width", "height": "height"},
    ),
    "pd12m": (
        "id url s3_key caption hash width height mime_type license source",
        {"url": "url", "caption": "caption", "key": "id", "width": "width", "height": "height"},
    ),
    "img2dataset": (
        "url caption key status error_message width height original_width original_height exif sha256 jpg",
        {
            "url": "url",
            "caption": "caption",
            "key": "key",
            "status": "status",
            "reason": "error_message",
            "width": "original_width",
            "height": "original_height",
            "sha256": "sha256",
            "picture": "jpg",
        },
    ),
}


@pytest.mark.parametrize("name", SCHEMAS)
def test_published_schemas_are_understood(name: str) -> None:
    columns, roles = SCHEMAS[name]
    mapping = map_columns(columns.split(), binary=["jpg"], source="x.parquet")
    assert dict(mapping.roles) == roles
    stray = {"__index_level_0__"}
    assert set(mapping.kept) == set(columns.split()) - set(roles.values()) - stray


def test_a_missing_column_is_named_with_the_remedy() -> None:
    with pytest.raises(InputError, match=r"shard\.parquet has no URL column.*TEXT.*--columns url=COLUMN"):
        map_columns(["TEXT"], source="shard.parquet")
    with pytest.raises(InputError, match=r"no caption column.*--columns caption=COLUMN"):
        map_columns(["url", "picture_of"], source="shard.parquet")


def test_overrides_win_and_are_checked() -> None:
    assert map_columns(["link", "url", "text"], overrides={"url": "link"}, source="x").roles["url"] == "link"
    with pytest.raises(InputError, match="nope"):
        map_columns(["url", "text"], overrides={"caption": "nope"}, source="x")
    with pytest.raises(InputError, match="flavour"):
        map_columns(["url", "text"], overrides={"flavour": "text"}, source="x")


def test_a_column_named_like_a_picture_without_bytes_is_kept() -> None:
    mapping = map_columns(["url", "text", "image"], source="x")
    assert "picture" not in mapping.roles
    assert mapping.kept == ("image",)


def test_the_mapping_is_told_in_one_line() -> None:
    said = map_columns(["URL", "TEXT", "LICENSE"], source="x").describe()
    assert said == "url <- URL, caption <- TEXT; kept: LICENSE"


def test_kept_columns_do_not_shadow_ours() -> None:
    names = ["WIDTH", "LICENSE", "source_WIDTH", "width"]
    assert kept_names(names) == {
        "WIDTH": "source_source_WIDTH",
        "LICENSE": "LICENSE",
        "source_WIDTH": "source_WIDTH",
        "width": "source_width",
    }


def test_sizes_of_any_numeric_type_become_pixels() -> None:
    for values, kind in (
        ([10, None, 0], pa.int64()),
        ([10.0, None, -1.0], pa.float64()),
        ([10.4, None, 1e12], pa.float32()),
    ):
        assert size_column(pa.chunked_array([pa.array(values, kind)])).to_pylist() == [10, None, None]
    assert size_column(pa.chunked_array([pa.array([float("nan")])])).to_pylist() == [None]
    assert size_column(pa.chunked_array([pa.array(["wide"])])).to_pylist() == [None]
    texts = ["12", "wide", "7.5", None, "", "-1", "nan", "1e999"]
    assert size_column(pa.chunked_array([pa.array(texts)])).to_pylist() == [12, None, 7, None, None, None, None, None]


def test_text_survives_bad_bytes_numbers_and_nulls() -> None:
    bad = pa.array([b"ok", b"\xff\xfe", None]).view(pa.string())
    assert text_column(pa.chunked_array([bad])).to_pylist() == ["ok", "\ufffd\ufffd", None]
    assert text_column(pa.chunked_array([pa.array([1, None])])).to_pylist() == ["1", None]
    assert text_column(pa.chunked_array([pa.nulls(2)])).to_pylist() == [None, None]
    assert text_column(pa.chunked_array([pa.array(["a", "a"]).dictionary_encode()])).to_pylist() == ["a", "a"]
    assert text_column(pa.chunked_array([pa.array([["a"], None])])).to_pylist() == ["['a']", None]


def test_digests_are_taken_as_hex_or_bytes_and_nothing_else() -> None:
    raw = bytes(range(32))
    assert sha256_column(pa.chunked_array([pa.array([raw.hex(), "ab", "z" * 64, None])])).to_pylist() == [
        raw,
        None,
        None,
        None,
    ]
    assert sha256_column(pa.chunked_array([pa.array([raw])])).to_pylist() == [raw]


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("NSFW", ["NSFW", "UNLIKELY", "UNSURE", None], [True, False, False, False]),
        ("NSFW", [b"NSFW", b"UNLIKELY", None, b"\xff"], [True, False, False, False]),
        ("NSFW", pa.array(["nsfw", "UNLIKELY", None, ""]).dictionary_encode(), [True, False, False, False]),
        ("nsfw", [True, False, None, False], [True, False, False, False]),
        ("punsafe", np.array([0.9, 0.1, np.nan, 0.5], dtype=np.float32), [True, False, False, True]),
        ("nsfw_score_gantman", [0.6, 0.4, None, 0.0], [True, False, False, False]),
        ("similarity", [0.9, 0.9, 0.9, 0.9], [False] * 4),
    ],
)
def test_unsafe_is_what_the_data_set_says(name: str, values: list[object], expected: list[bool]) -> None:
    assert unsafe_column(pa.table({name: values})).to_pylist() == expected
