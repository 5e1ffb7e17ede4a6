"""Keep-masks: what they say is what a run that writes shards does."""

import gzip
import json
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from heldout.cli import run as run_command
from heldout.errors import InputError
from heldout.exclusion import ExclusionList
from heldout.filtering import FilterOptions, FilterResult, filter_shards
from heldout.filtering_masks import mask_name
from heldout.report import sha256_file
from heldout.report_check import verify_report
from tests.heldout.conftest import URLS
from tests.heldout.test_filtering import outputs
from tests.heldout.test_filtering_tar import drawing, encoded, keys_of, sample, tar_of

HERS = URLS[0].url
CLEAN = "https://else.example/{}.jpg"


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    folder = tmp_path / "shards"
    (folder / "deep").mkdir(parents=True)
    urls = [HERS if i % 7 == 3 else CLEAN.format(i) for i in range(100)]
    pq.write_table(pa.table({"URL": urls, "n": range(100)}), folder / "deep" / "00000.parquet", row_group_size=30)
    lines = "\n\n".join(json.dumps({"url": url}, separators=(",", ":")) for url in urls[:40])
    (folder / "a.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    (folder / "b.csv").write_text("\n".join(["url,n", *(f"{url},{n}" for n, url in enumerate(urls[:20]))]))
    members = [*sample("x/7", encoded(drawing(1)), url=HERS), *sample("x/8", encoded(drawing(2)))]
    tar_of(folder / "c.tar", members)
    return folder


def write_masks(shards: Path, out: Path, pulled: Path, **options: object) -> FilterResult:
    return filter_shards([shards], out, FilterOptions(pulled, writes="masks", **options))  # type: ignore[arg-type]


def mask_of(out: Path, shard: str) -> pa.Table:
    return pq.read_table(out / mask_name(shard))


def test_masks_say_what_a_run_that_writes_shards_does(pulled: Path, shards: Path, tmp_path: Path) -> None:
    masks, out = tmp_path / "masks", tmp_path / "out"
    result = write_masks(shards, masks, pulled)
    assert result.total == filter_shards([shards], out, FilterOptions(pulled)).total
    assert result.total.to_json()["n_dropped"] > 20
    keep = mask_of(masks, "deep/00000.parquet")["keep"]
    table = pq.read_table(shards / "deep" / "00000.parquet")
    assert table.filter(keep).equals(pq.read_table(out / "deep" / "00000.parquet"))
    lines = gzip.decompress((shards / "a.jsonl.gz").read_bytes()).split()
    values = mask_of(masks, "a.jsonl.gz")["keep"].to_pylist()
    left = gzip.decompress((out / "a.jsonl.gz").read_bytes()).split()
    assert [line for line, is_kept in zip(lines, values, strict=True) if is_kept] == left
    assert mask_of(masks, "b.csv")["keep"].to_pylist() == [i % 7 != 3 for i in range(20)]
    assert mask_of(masks, "c.tar").to_pylist() == [{"keep": False, "key": "x/7"}, {"keep": True, "key": "x/8"}]
    assert keys_of(out / "c.tar") == ["x/8"]


def test_mask_has_the_shards_row_groups_and_names_shard_and_list(pulled: Path, shards: Path, tmp_path: Path) -> None:
    write_masks(shards, tmp_path / "out", pulled)
    mask = pq.ParquetFile(tmp_path / "out" / "masks" / "deep%2F00000.parquet.parquet")
    groups = [mask.metadata.row_group(i).num_rows for i in range(mask.num_row_groups)]
    assert groups == [30, 30, 30, 10]
    said = {key.decode(): value.decode() for key, value in mask.schema_arrow.metadata.items()}
    assert said == {
        "heldout.format": "heldout-keep-mask/1",
        "heldout.shard_sha256": sha256_file(shards / "deep" / "00000.parquet"),
        "heldout.list_manifest_sha256": ExclusionList.open(pulled).version.manifest_sha256.hex(),
    }


def test_duckdb_reads_a_shard_through_its_mask(pulled: Path, shards: Path, tmp_path: Path) -> None:
    write_masks(shards, tmp_path / "out", pulled)
    shard, mask = shards / "deep" / "00000.parquet", tmp_path / "out" / mask_name("deep/00000.parquet")
    query = "SELECT n FROM read_parquet($shard) POSITIONAL JOIN read_parquet($mask) WHERE keep"
    with duckdb.connect() as connection:
        rows = connection.execute(query, {"shard": str(shard), "mask": str(mask)}).fetchall()
    assert [n for (n,) in rows] == [i for i in range(100) if i % 7 != 3]


def test_report_names_masks_and_no_shards(pulled: Path, shards: Path, tmp_path: Path) -> None:
    result = write_masks(shards, tmp_path / "out", pulled, emit=frozenset({"removal"}))
    assert result.report is not None
    statement = json.loads(result.report.read_bytes())
    assert statement["predicate"]["options"]["writes"] == "masks"
    names = sorted(subject["name"] for subject in statement["subject"])
    shard_names = ["a.jsonl.gz", "b.csv", "c.tar", "deep/00000.parquet"]
    flat = [name.replace("/", "%2F") for name in shard_names]
    assert names == sorted(f"{folder}/{name}.parquet" for folder in ("masks", "removal") for name in flat)
    assert sorted([*names, "report.json"]) == sorted(outputs(tmp_path / "out"))
    check = verify_report(result.report)
    assert (check.n_intact, check.doubts) == (8, ())


def test_finished_masks_are_left_alone_and_a_changed_one_is_made_again(
    pulled: Path, shards: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    first = write_masks(shards, out, pulled)
    before = outputs(out)
    stats = {path: path.stat().st_mtime_ns for path in (out / "masks").iterdir()}
    changed = out / mask_name("c.tar")
    changed.write_bytes(b"PAR1")
    assert filter_shards([shards], out, FilterOptions(pulled, writes="masks"), workers=2) == first
    assert outputs(out) == before
    again = {path for path, time in stats.items() if path.stat().st_mtime_ns != time}
    assert again == {changed}


def test_pair_of_forms_gets_masks_of_what_either_drops(pulled: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pair"
    folder.mkdir()
    tar_of(folder / "0.tar", [*sample("00", b""), *sample("01", b"", url=HERS), *sample("02", b"")])
    table = pa.table({"url": [HERS, CLEAN.format(1), CLEAN.format(2)], "key": ["00", "01", "02"]})
    pq.write_table(table, folder / "0.parquet")
    write_masks(folder, tmp_path / "out", pulled)
    assert mask_of(tmp_path / "out", "0.tar")["keep"].to_pylist() == [False, False, True]
    assert mask_of(tmp_path / "out", "0.parquet")["keep"].to_pylist() == [False, False, True]


def test_shard_that_cannot_be_read_has_no_mask(pulled: Path, shards: Path, tmp_path: Path) -> None:
    path = shards / "deep" / "00000.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    assert list(write_masks(shards, tmp_path / "out", pulled).failures) == ["deep/00000.parquet"]
    assert not (tmp_path / "out" / mask_name("deep/00000.parquet")).exists()
    assert (tmp_path / "out" / mask_name("b.csv")).exists()


def test_masks_and_shards_do_not_share_a_folder(pulled: Path, shards: Path, tmp_path: Path) -> None:
    write_masks(shards, tmp_path / "out", pulled)
    before = outputs(tmp_path / "out")
    with pytest.raises(InputError, match="holds the masks"):
        filter_shards([shards], tmp_path / "out", FilterOptions(pulled))
    assert outputs(tmp_path / "out") == before
    with pytest.raises(InputError, match="dry run writes no masks"):
        write_masks(shards, tmp_path / "out", pulled, dry_run=True)


def test_command_writes_masks(pulled: Path, shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["filter", str(shards), "-o", str(tmp_path / "out"), "--list", str(pulled), "--masks"]
    assert run_command(line) == 0
    assert "masks were written" in capsys.readouterr().out
    assert len(list((tmp_path / "out" / "masks").iterdir())) == 4


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25)
@given(rows=st.lists(st.booleans(), max_size=40), group=st.integers(1, 7))
def test_any_mask_has_a_row_for_every_row(pulled: Path, tmp_path: Path, rows: list[bool], group: int) -> None:
    shard = tmp_path / "any.parquet"
    urls = pa.array([HERS if is_hers else CLEAN.format(i) for i, is_hers in enumerate(rows)], pa.string())
    pq.write_table(pa.table({"url": urls}), shard, row_group_size=group)
    write_masks(shard, tmp_path / "out", pulled)
    assert mask_of(tmp_path / "out", "any.parquet")["keep"].to_pylist() == [not is_hers for is_hers in rows]
