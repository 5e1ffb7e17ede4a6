"""A webdataset tar and img2dataset's Parquet file of the same samples: what one drops, the other drops."""

import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from heldout.errors import InputError
from heldout.filtering import EMITS, FilterOptions, FilterResult, filter_shards
from heldout.pictures import fingerprint
from tests.heldout.conftest import IMAGES, URLS, PullSite
from tests.heldout.published import ImageRule, Site
from tests.heldout.test_filtering import outputs
from tests.heldout.test_filtering_tar import drawing, encoded, keys_of, members_of, sample, tar_of

COLLECTION = Path(__file__).parents[2] / "data" / "collection" / "webdataset"
HERS = drawing(1)
CLEAN = "https://else.example/{}.jpg"

Filter = Callable[..., FilterResult]


@pytest.fixture
def site() -> Site:
    mark = fingerprint(encoded(HERS))
    return Site().publish(URLS, [ImageRule(mark.pdq[0].tobytes(), mark.quality), *IMAGES])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """000 clean, 001 hers by picture, 002 by the tar's URL alone, 003 by the table's alone, 004 not downloaded."""
    path = tmp_path / "shards"
    path.mkdir()
    members = [
        *sample("000", encoded(drawing(10))),
        *sample("001", encoded(HERS.resize((200, 200)), "JPEG", quality=60)),
        *sample("002", encoded(drawing(11)), url=URLS[1].url),
        *sample("003", encoded(drawing(12))),
    ]
    tar_of(path / "00000.tar", members)
    table = pa.table(
        {
            "url": [*map(CLEAN.format, range(3)), URLS[0].url, CLEAN.format(4)],
            "caption": ["a caption"] * 5,
            "key": [f"00{i}" for i in range(5)],
            "uid": [f"{i:032x}" for i in range(5)],
        }
    )
    pq.write_table(table, path / "00000.parquet")
    return path


@pytest.fixture
def run(pulled: Path, tmp_path: Path) -> Filter:
    def filter_(*inputs: Path, emit: frozenset[str] = frozenset()) -> FilterResult:
        return filter_shards(inputs, tmp_path / "out", FilterOptions(pulled, emit=emit))  # type: ignore[arg-type]

    return filter_


def keys_in(path: Path) -> list[str]:
    keys: list[str] = pq.read_table(path)["key"].to_pylist()
    return keys


def test_both_forms_drop_what_either_drops(run: Filter, folder: Path, tmp_path: Path) -> None:
    result = run(folder)
    assert keys_of(tmp_path / "out" / "00000.tar") == ["000"]
    assert keys_in(tmp_path / "out" / "00000.parquet") == ["000", "004"]
    dropped = {"url": {"declared": 1, "host": 1}, "pdq": {"declared": 1}}
    assert [shard.tally.to_json()["dropped"] for shard in result.shards] == [dropped, dropped]
    assert result.report is not None
    shards = json.loads(result.report.read_bytes())["predicate"]["shards"]
    assert [(shard["name"], shard["sibling"]) for shard in shards] == [
        ("00000.parquet", "00000.tar"),
        ("00000.tar", "00000.parquet"),
    ]


def test_files_named_one_by_one_belong_together_too(run: Filter, folder: Path, tmp_path: Path) -> None:
    run(folder / "00000.parquet", folder / "00000.tar")
    assert keys_in(tmp_path / "out" / "00000.parquet") == ["000", "004"]


def test_samples_kept_are_emitted_once(run: Filter, folder: Path, tmp_path: Path) -> None:
    result = run(folder, emit=frozenset(EMITS))
    assert result.emitted == [
        "datacomp-uids.npy",
        "removal/00000.parquet.parquet",
        "removal/00000.tar.parquet",
        "url-list/00000.parquet.parquet",
    ]
    for name in ("00000.parquet", "00000.tar"):
        removed = pq.read_table(tmp_path / "out" / "removal" / f"{name}.parquet")
        assert removed["key"].to_pylist() == ["001", "002", "003"]
        assert removed["kind"].to_pylist() == ["pdq", "url", "url"]


def test_table_without_keys_or_elsewhere_is_filtered_by_itself(run: Filter, folder: Path, tmp_path: Path) -> None:
    table = pq.read_table(folder / "00000.parquet")
    pq.write_table(table.drop(["key"]), folder / "00000.parquet")
    (folder / "deep").mkdir()
    pq.write_table(table, folder / "deep" / "00000.parquet")
    assert {shard.sibling for shard in run(folder).shards} == {None}
    assert pq.read_table(tmp_path / "out" / "00000.parquet").num_rows == 4
    assert keys_in(tmp_path / "out" / "deep" / "00000.parquet") == ["000", "001", "002", "004"]
    assert keys_of(tmp_path / "out" / "00000.tar") == ["000", "003"]


def test_keys_that_are_no_text_hide_nothing(run: Filter, folder: Path, tmp_path: Path) -> None:
    table = pq.read_table(folder / "00000.parquet")
    keys = pa.array([b"000", b"001", b"002", b"003", b"\xff"]).view(pa.string())
    pq.write_table(table.set_column(2, "key", keys), folder / "00000.parquet")
    assert run(folder).failures == {}
    assert pq.read_table(tmp_path / "out" / "00000.parquet").num_rows == 2


@pytest.mark.parametrize("name", ["00000.parquet", "00000.tar"])
def test_damage_to_one_form_gives_no_output_of_either(run: Filter, folder: Path, tmp_path: Path, name: str) -> None:
    run(folder)
    (folder / name).write_bytes((folder / name).read_bytes()[:1000])
    result = run(folder)
    assert sorted(result.failures) == ["00000.parquet", "00000.tar"]
    assert all(isinstance(error, InputError) and name in str(error) for error in result.failures.values())
    assert outputs(tmp_path / "out") == {}


def test_bundled_collection_agrees_after_a_picture_is_opted_out(
    run: Filter, site: Site, pull_site: PullSite, tmp_path: Path
) -> None:
    tar, table = COLLECTION / "00000.tar", COLLECTION / "00000.parquet"
    with tarfile.open(tar) as archive:
        pictures = [archive.extractfile(info) for info in archive if not info.name.endswith((".json", ".txt"))]
        marks = (fingerprint(file.read()) for file in pictures if file is not None)
        mark = next(mark for mark in marks if mark.quality >= 90)
    site.publish([], [ImageRule(mark.pdq[0].tobytes(), mark.quality)])
    pull_site()
    result = run(tar, table)
    assert result.failures == {}
    in_table, in_tar = result.shards
    assert in_tar.tally.to_json()["dropped"] == in_table.tally.to_json()["dropped"]
    assert list(in_tar.tally.to_json()["dropped"]) == ["pdq"]
    gone = set(keys_of(tar)) - set(keys_of(tmp_path / "out" / "00000.tar"))
    assert gone
    assert keys_in(tmp_path / "out" / "00000.parquet") == [key for key in keys_in(table) if key not in gone]
    assert members_of(tmp_path / "out" / "00000.tar") == [
        (name, data) for name, data in members_of(tar) if name.partition(".")[0] not in gone
    ]


@pytest.mark.parametrize("kind", [pa.int64(), pa.uint32(), pa.string()])
def test_integer_keys_link_a_table_to_its_tar(run: Filter, tmp_path: Path, kind: pa.DataType) -> None:
    folder = tmp_path / "numbered"
    folder.mkdir()
    names = [f"{number:09d}" for number in range(3)]
    tar_of(
        folder / "00000.tar", [*sample(names[0], b""), *sample(names[1], b"", url=URLS[0].url), *sample(names[2], b"")]
    )
    keys = pa.array(names if kind == pa.string() else range(3), kind)
    urls = [URLS[0].url, CLEAN.format(1), CLEAN.format(2)]
    pq.write_table(pa.table({"url": urls, "key": keys}), folder / "00000.parquet")
    run(folder)
    assert keys_of(tmp_path / "out" / "00000.tar") == names[2:]
    assert pq.read_table(tmp_path / "out" / "00000.parquet")["key"].to_pylist() == keys.to_pylist()[2:]


def test_forms_without_a_key_in_common_are_refused(run: Filter, tmp_path: Path) -> None:
    folder = tmp_path / "strangers"
    folder.mkdir()
    tar_of(folder / "00000.tar", sample("000000007", b""))
    pq.write_table(pa.table({"url": [CLEAN.format(1)], "key": ["7"]}), folder / "00000.parquet")
    result = run(folder)
    assert sorted(result.failures) == ["00000.parquet", "00000.tar"]
    assert "not one key in common, such as '000000007' and '7'" in str(result.failures["00000.tar"])
    assert outputs(tmp_path / "out") == {}


@pytest.mark.parametrize(
    "keys", [["000", None, "002", "003", "004"], [None] * 5, ["000", "002", "003", "004", "005"], []]
)
def test_forms_of_which_one_lacks_keys_of_the_other_are_refused(
    run: Filter, folder: Path, tmp_path: Path, keys: list[str | None]
) -> None:
    table = pq.read_table(folder / "00000.parquet")[: len(keys)]
    pq.write_table(table.set_column(2, "key", pa.array(keys, pa.string())), folder / "00000.parquet")
    result = run(folder)
    assert sorted(result.failures) == ["00000.parquet", "00000.tar"]
    assert "do not have the same keys" in str(result.failures["00000.tar"])
    assert outputs(tmp_path / "out") == {}


def test_tar_of_which_every_download_failed_is_no_stranger(run: Filter, tmp_path: Path) -> None:
    folder = tmp_path / "failed"
    folder.mkdir()
    tar_of(folder / "00000.tar", [])
    pq.write_table(pa.table({"url": [CLEAN.format(1)], "key": ["7"]}), folder / "00000.parquet")
    assert run(folder).failures == {}
