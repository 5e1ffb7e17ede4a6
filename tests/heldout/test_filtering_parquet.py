"""Parquet shards of every schema the field uses, healthy and not."""

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow.parquet import encryption

from heldout.errors import InputError
from heldout.filtering import FilterOptions, FilterResult, filter_shards
from tests.heldout.conftest import IMAGES, URLS

OUT_OF_TWO = [rule.url for rule in URLS]
SHA256 = IMAGES[1].sha256
assert SHA256 is not None
CLEAN = "https://else.example/{}.jpg"

Filter = Callable[..., FilterResult]


@pytest.fixture
def run(pulled: Path, tmp_path: Path) -> Filter:
    def filter_(*tables: pa.Table, **options: object) -> FilterResult:
        inputs = []
        for number, table in enumerate(tables):
            path = tmp_path / f"{number:05d}.parquet"
            write = options.pop("write", {}) if number == len(tables) - 1 else {}
            pq.write_table(table, path, **write)  # type: ignore[arg-type]
            inputs.append(path)
        return filter_shards(inputs, tmp_path / "out", FilterOptions(pulled, **options))  # type: ignore[arg-type]

    return filter_


def out(tmp_path: Path, number: int = 0) -> pa.Table:
    return pq.read_table(tmp_path / "out" / f"{number:05d}.parquet")


def mixed_urls(n: int) -> list[str | None]:
    """Every fourth is opted out, in another spelling than was opted out."""
    spelled = ["HTTP://ART.example:80/1.jpg?utm_source=x#top", "https://user@art.example/a/../2.jpg?w=1&fbclid=2"]
    return [spelled[i // 4 % 2] if i % 4 == 0 else CLEAN.format(i) for i in range(n)]


SCHEMAS: dict[str, dict[str, pa.Array]] = {
    "laion": {
        "URL": pa.array(mixed_urls(8)),
        "TEXT": pa.array([f"caption {i}" for i in range(8)]),
        "WIDTH": pa.array([float(i) for i in range(8)]),
        "similarity": pa.array([0.3] * 8, pa.float64()),
    },
    "datacomp": {
        "uid": pa.array([f"{i:032x}" for i in range(8)]),
        "url": pa.array(mixed_urls(8)),
        "text": pa.array(["x"] * 8),
        "face_bboxes": pa.array([[[0.1, 0.2, 0.3, 0.4]]] * 8),
        "sha256": pa.array(["0" * 64, SHA256.hex().upper(), None, "no digest", *["1" * 64] * 4]),
    },
    "large strings and nested lists": {
        "URL": pa.array(mixed_urls(8), pa.large_string()),
        "all_captions": pa.array([["a", "b"]] * 8),
    },
    "dictionary": {"url": pa.array(mixed_urls(8)).dictionary_encode(), "n": pa.array(range(8))},
    "views, as Polars writes them": {
        "url": pa.array(mixed_urls(8)).cast(pa.string_view()),
        "raw": pa.array([b"x" * i for i in range(8)]).cast(pa.binary_view()),
        "tags": pa.array([["a"], None] * 4, pa.list_(pa.string_view())),
        "said": pa.array([{"by": "a"}, None] * 4, pa.struct([("by", pa.string_view())])),
    },
    "bytes": {"url": pa.array([(url or "").encode() for url in mixed_urls(8)], pa.binary())},
    "raw digests": {
        "url": pa.array([CLEAN.format(i) for i in range(8)]),
        "SHA256": pa.array([SHA256, *[bytes(32)] * 7], pa.binary(32)),
    },
}


@pytest.mark.parametrize("name", SCHEMAS)
def test_opted_out_rows_go_and_the_rest_stays_as_it_was(name: str, run: Filter, tmp_path: Path) -> None:
    table = pa.table(SCHEMAS[name])
    result = run(table)
    drop = {"datacomp": [0, 1, 4], "raw digests": [0]}.get(name, [0, 4])
    left = out(tmp_path)
    assert result.failures == {}
    assert left.schema.equals(pq.read_schema(tmp_path / "00000.parquet"), check_metadata=True)
    assert left.to_pylist() == [row for i, row in enumerate(table.to_pylist()) if i not in drop]
    assert (result.total.n_in, result.total.n_kept) == (8, 8 - len(drop))


def test_counts_are_by_rule_kind_and_assurance(run: Filter) -> None:
    total = run(pa.table(SCHEMAS["datacomp"])).total
    assert total.to_json()["dropped"] == {"url": {"declared": 1, "host": 1}, "sha256": {"account": 1}}


def test_weaker_rules_than_asked_for_do_not_count(run: Filter, tmp_path: Path) -> None:
    result = run(pa.table(SCHEMAS["datacomp"]), min_assurance="host")
    assert result.total.to_json()["dropped"] == {"url": {"host": 1}}
    assert out(tmp_path).num_rows == 7


def test_schema_metadata_compression_dictionaries_and_row_groups_are_kept(run: Filter, tmp_path: Path) -> None:
    table = pa.table(
        {
            "url": mixed_urls(100),
            "n": pa.array(range(100), pa.int32()),
            "when": pa.array([datetime(2026, 1, 1, tzinfo=UTC)] * 100, pa.timestamp("us", "UTC")),
        }
    ).replace_schema_metadata({"origin": "test", "pandas": "{}"})
    write = {
        "row_group_size": 30,
        "compression": {"url": "zstd", "n": "none", "when": "gzip"},
        "use_dictionary": ["n"],
    }
    run(table, write=write)
    left = pq.ParquetFile(tmp_path / "out" / "00000.parquet")
    assert left.schema_arrow.equals(table.schema, check_metadata=True)
    groups = [left.metadata.row_group(i) for i in range(left.num_row_groups)]
    assert [group.num_rows for group in groups] == [22, 23, 22, 8]
    assert [groups[0].column(i).compression for i in range(3)] == ["ZSTD", "UNCOMPRESSED", "GZIP"]
    assert [groups[0].column(i).has_dictionary_page for i in range(3)] == [False, True, False]


def test_nested_columns_keep_their_names_and_compression(run: Filter, tmp_path: Path) -> None:
    table = pa.table({"url": mixed_urls(4), "all_captions": [["a", "b"]] * 4})
    for compliant in (True, False):
        path = "all_captions.list.element" if compliant else "all_captions.list.item"
        run(table, write={"use_compliant_nested_type": compliant, "compression": {path: "zstd", "url": "gzip"}})
        column = pq.ParquetFile(tmp_path / "out" / "00000.parquet").metadata.row_group(0).column(1)
        assert (column.path_in_schema, column.compression) == (path, "ZSTD")


def test_untouched_shard_has_the_same_rows_and_bytes_as_a_second_run(run: Filter, tmp_path: Path) -> None:
    table = pa.table({"url": [CLEAN.format(i) for i in range(50)]})
    run(table)
    first = (tmp_path / "out" / "00000.parquet").read_bytes()
    report = (tmp_path / "out" / "report.json").read_bytes()
    run(table)
    assert (tmp_path / "out" / "00000.parquet").read_bytes() == first
    assert (tmp_path / "out" / "report.json").read_bytes() == report
    assert out(tmp_path) == table


def test_empty_shards_and_shards_of_which_nothing_is_left_stay_readable(run: Filter, tmp_path: Path) -> None:
    empty = pa.table({"url": pa.array([], pa.string()), "n": pa.array([], pa.int8())})
    gone = pa.table({"url": [OUT_OF_TWO[0]] * 5, "n": pa.array(range(5), pa.int8())})
    run(empty, gone)
    assert out(tmp_path, 0) == empty
    assert out(tmp_path, 1) == empty


def test_both_of_two_url_columns_count(run: Filter, tmp_path: Path) -> None:
    run(pa.table({"URL": [CLEAN.format(1), OUT_OF_TWO[0], None], "url": [OUT_OF_TWO[1], CLEAN.format(2), None]}))
    assert out(tmp_path).num_rows == 1


def test_rows_without_a_url_and_with_an_unreadable_one_are_kept_and_counted(run: Filter, tmp_path: Path) -> None:
    result = run(pa.table({"url": [None, "", "not a url", "ftp://art.example/1.jpg", "http://art.example/1.jpg"]}))
    assert out(tmp_path).num_rows == 4
    assert result.total.n_unreadable_urls == 4


def test_url_text_that_is_not_utf8_is_kept_and_read_past(run: Filter, tmp_path: Path) -> None:
    broken = pa.array([b"http://\xff\xfe/", OUT_OF_TWO[0].encode()], pa.binary()).view(pa.string())
    run(pa.table({"url": broken}))
    assert pq.ParquetFile(tmp_path / "out" / "00000.parquet").metadata.num_rows == 1


def test_named_url_column_is_used(run: Filter, tmp_path: Path) -> None:
    run(pa.table({"link": OUT_OF_TWO, "url": [CLEAN.format(1)] * 2}), url_column="link")
    assert out(tmp_path).num_rows == 0


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    picks=st.lists(st.sampled_from([0, 1, 2, 3, None]), max_size=40),
    row_group_size=st.integers(min_value=1, max_value=15),
)
def test_filter_keeps_order_and_adds_nothing(
    run: Filter, tmp_path: Path, picks: list[int | None], row_group_size: int
) -> None:
    urls = [*OUT_OF_TWO, CLEAN.format(1), CLEAN.format(2)]
    table = pa.table(
        {
            "url": pa.array([None if pick is None else urls[pick] for pick in picks], pa.string()),
            "n": pa.array(range(len(picks)), pa.int64()),
        }
    )
    run(table, write={"row_group_size": row_group_size})
    assert out(tmp_path)["n"].to_pylist() == [n for n, pick in enumerate(picks) if pick is None or pick > 1]


# --- bad input ----------------------------------------------------------------------------------------------------


def damaged(good: bytes) -> dict[str, bytes]:
    rng = np.random.default_rng(3)
    return {
        "empty": b"",
        "text": b"url,caption\nhttp://art.example/1.jpg,x\n",
        "noise": rng.bytes(1000),
        "truncated": good[: len(good) // 2],
        "without its end": good[:-8],
        "hole in the data": good[:4] + bytes(len(good) // 2) + good[4 + len(good) // 2 :],
    }


@pytest.mark.parametrize("kind", damaged(b"x" * 100))
def test_damaged_shard_gives_no_output_and_the_rest_goes_on(kind: str, run: Filter, tmp_path: Path) -> None:
    table = pa.table({"url": mixed_urls(5000), "text": [hashlib.sha256(b"%d" % i).hexdigest() for i in range(5000)]})
    run(table, table)
    assert (tmp_path / "out" / "00000.parquet").exists()
    (tmp_path / "00000.parquet").write_bytes(damaged((tmp_path / "00000.parquet").read_bytes())[kind])
    inputs = [tmp_path / "00000.parquet", tmp_path / "00001.parquet"]
    result = filter_shards(inputs, tmp_path / "out", FilterOptions(tmp_path / "list"))
    assert list(result.failures) == ["00000.parquet"]
    message = str(result.failures["00000.parquet"])
    assert isinstance(result.failures["00000.parquet"], InputError)
    assert "00000.parquet" in message
    assert "get it again" in message
    assert not (tmp_path / "out" / "00000.parquet").exists()
    assert out(tmp_path, 1).num_rows == 3750
    assert not list((tmp_path / "out").rglob("*.part"))


def test_pages_with_wrong_checksums_are_noticed(run: Filter, tmp_path: Path) -> None:
    urls = [OUT_OF_TWO[0], CLEAN.format(1)]
    run(pa.table({"url": urls}), write={"write_page_checksum": True, "compression": "none", "use_dictionary": False})
    path = tmp_path / "00000.parquet"
    path.write_bytes(path.read_bytes().replace(b"art.example/1", b"art.example/3"))
    result = filter_shards([path], tmp_path / "out", FilterOptions(tmp_path / "list"))
    assert "CRC" in str(result.failures["00000.parquet"])


@pytest.mark.parametrize("plaintext_footer", [False, True])
def test_encrypted_shard_is_refused_and_the_rest_goes_on(plaintext_footer: bool, pulled: Path, tmp_path: Path) -> None:
    factory = encryption.CryptoFactory(lambda _: NoKms())
    wanted = encryption.EncryptionConfiguration(
        "footer", column_keys={"column": ["url"]}, plaintext_footer=plaintext_footer
    )
    properties = factory.file_encryption_properties(encryption.KmsConnectionConfig(), wanted)
    table = pa.table({"url": mixed_urls(8), "n": list(range(8))})
    pq.write_table(table, tmp_path / "00000.parquet", encryption_properties=properties)
    pq.write_table(table, tmp_path / "00001.parquet")
    inputs = [tmp_path / "00000.parquet", tmp_path / "00001.parquet"]
    result = filter_shards(inputs, tmp_path / "out", FilterOptions(pulled))
    assert "crypt" in str(result.failures["00000.parquet"])
    assert not (tmp_path / "out" / "00000.parquet").exists()
    assert out(tmp_path, 1).num_rows == 6


class NoKms(encryption.KmsClient):  # type: ignore[misc]
    """Wraps keys in nothing."""

    def wrap_key(self, key_bytes: bytes, master_key_identifier: str) -> bytes:  # noqa: ARG002
        return key_bytes


def test_shard_without_a_url_column_names_its_columns_and_the_option(run: Filter, tmp_path: Path) -> None:
    result = run(pa.table({"link": OUT_OF_TWO, "text": ["a", "b"]}))
    assert result.report is None
    assert not (tmp_path / "out" / "00000.parquet").exists()
    message = str(result.failures["00000.parquet"])
    assert "link, text" in message
    assert "--url-column" in message


def test_url_column_of_numbers_is_refused(run: Filter) -> None:
    result = run(pa.table({"url": [1, 2]}))
    assert "int64" in str(result.failures["00000.parquet"])


def test_unknown_named_column_is_refused(run: Filter) -> None:
    result = run(pa.table({"url": OUT_OF_TWO}), url_column="URI")
    assert "'URI'" in str(result.failures["00000.parquet"])


@pytest.mark.parametrize("width", [pa.string(), pa.large_string()])
def test_dictionary_encoded_digests_are_looked_up(run: Filter, tmp_path: Path, width: pa.DataType) -> None:
    plain = pa.table({"url": [CLEAN.format(1), CLEAN.format(2)], "sha256": [bytes(range(32)).hex(), "00" * 32]})
    digests = pa.array(plain["sha256"].to_pylist(), pa.dictionary(pa.int32(), width))
    result = run(plain.set_column(1, "sha256", digests))
    assert out(tmp_path).num_rows == 1
    assert result.total.to_json()["dropped"]["sha256"]


def test_digests_that_are_no_digests_are_refused_rather_than_passed_over(run: Filter) -> None:
    result = run(pa.table({"url": [CLEAN.format(1)], "sha256": [7]}))
    (failure,) = result.failures.values()
    assert "sha256" in str(failure)
    assert "int64" in str(failure)
