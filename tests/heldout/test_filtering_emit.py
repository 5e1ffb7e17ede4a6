"""What is written besides shards; counting without writing them; entries up to a day."""

import hashlib
import json
from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from heldout.cli import run as run_command
from heldout.errors import InputError
from heldout.filtering import EMITS, FilterOptions, FilterResult, filter_shards
from heldout.filtering_emit import UID_DTYPE, as_uids, merge_uids, sorted_uids
from heldout.report_check import verify_report
from tests.heldout.conftest import IMAGES, URLS
from tests.heldout.test_filtering import outputs
from tests.heldout.test_filtering_tar import sample, tar_of

SHA256 = IMAGES[1].sha256 or b""
CLEAN = "https://else.example/{}.jpg"
DROPPED = {1: URLS[0].url, 4: URLS[1].url}

Filter = Callable[..., FilterResult]


def uid_of(number: int) -> str:
    return hashlib.md5(b"%d" % number, usedforsecurity=False).hexdigest()


def table_of(numbers: range) -> pa.Table:
    """DataComp-like; of every ten, 1 and 4 are opted out by URL, 7 by bytes."""
    return pa.table(
        {
            "uid": [uid_of(i) for i in numbers],
            "url": [DROPPED.get(i % 10, CLEAN.format(i)) for i in numbers],
            "text": [f"caption {i}" for i in numbers],
            "SAMPLE_ID": pa.array(numbers, pa.int64()),
            "sha256": [SHA256.hex() if i % 10 == 7 else None for i in numbers],
        }
    )


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    folder = tmp_path / "shards"
    (folder / "deep").mkdir(parents=True)
    pq.write_table(table_of(range(20)), folder / "00000.parquet", row_group_size=7)
    pq.write_table(table_of(range(20, 30)), folder / "deep" / "00%.parquet")
    return folder


@pytest.fixture
def run(pulled: Path, shards: Path, tmp_path: Path) -> Filter:
    def filter_(*emits: str, out: str = "out", **options: object) -> FilterResult:
        chosen = FilterOptions(pulled, emit=frozenset(emits), **options)  # type: ignore[arg-type]
        return filter_shards([shards], tmp_path / out, chosen)

    return filter_


def kept_numbers(stop: int = 30) -> list[int]:
    return [i for i in range(stop) if i % 10 not in {1, 4, 7}]


def test_removal_list_says_what_went_by_which_rule(run: Filter, tmp_path: Path) -> None:
    run("removal")
    rows = pq.read_table(tmp_path / "out" / "removal" / "00000.parquet.parquet").to_pylist()
    assert [row["row"] for row in rows] == [1, 4, 7, 11, 14, 17]
    assert rows[2] == {
        "shard": "00000.parquet",
        "row": 7,
        "key": None,
        "uid": uid_of(7),
        "sample_id": "7",
        "id": None,
        "kind": "sha256",
        "assurance": "account",
        "since": date(2026, 11, 2),
    }
    assert (rows[1]["kind"], rows[1]["assurance"], rows[1]["since"]) == ("url", "host", date(2026, 11, 1))
    other = pq.read_table(tmp_path / "out" / "removal" / "deep%2F00%25.parquet.parquet")
    assert other["shard"].to_pylist() == ["deep/00%.parquet"] * 3


def test_url_list_has_address_and_caption_of_what_is_kept(run: Filter, tmp_path: Path) -> None:
    run("url-list")
    table = pa.concat_tables([pq.read_table(path) for path in sorted((tmp_path / "out" / "url-list").iterdir())])
    assert table.to_pylist() == [{"url": CLEAN.format(i), "caption": f"caption {i}"} for i in kept_numbers()]


def test_uids_are_in_the_form_of_datacomp(run: Filter, tmp_path: Path) -> None:
    run("datacomp-uids")
    uids = np.load(tmp_path / "out" / "datacomp-uids.npy")
    assert uids.dtype == np.dtype("u8,u8")
    expected = sorted((int(uid_of(i)[:16], 16), int(uid_of(i)[16:32], 16)) for i in kept_numbers())
    assert uids.tolist() == expected


def test_emitted_files_are_subjects_of_the_report(run: Filter, tmp_path: Path) -> None:
    result = run(*EMITS)
    assert result.report is not None
    assert result.emitted == [
        "datacomp-uids.npy",
        "removal/00000.parquet.parquet",
        "removal/deep%2F00%25.parquet.parquet",
        "url-list/00000.parquet.parquet",
        "url-list/deep%2F00%25.parquet.parquet",
    ]
    assert verify_report(result.report).n_intact == 7
    with (tmp_path / "out" / "datacomp-uids.npy").open("ab") as stream:
        stream.write(b"x")
    with pytest.raises(Exception, match=r"datacomp-uids\.npy is not what the run wrote"):
        verify_report(result.report)


def test_emitted_files_do_not_depend_on_the_number_of_workers(
    run: Filter, pulled: Path, shards: Path, tmp_path: Path
) -> None:
    run(*EMITS)
    filter_shards([shards], tmp_path / "two", FilterOptions(pulled, emit=frozenset(EMITS)), workers=2)
    for path in (tmp_path / "out").rglob("*"):
        if path.is_file():
            assert (tmp_path / "two" / path.relative_to(tmp_path / "out")).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("bad", [None, "0" * 31, "0" * 33, " " + "0" * 31, "g" * 32])
def test_missing_uid_fails_the_shard_and_says_where(run: Filter, shards: Path, tmp_path: Path, bad: str | None) -> None:
    pq.write_table(pa.table({"url": [CLEAN, CLEAN], "uid": ["f" * 32, bad]}), shards / "00000.parquet")
    result = run("datacomp-uids", "removal")
    assert "00000.parquet: row 1 has no uid" in str(result.failures["00000.parquet"])
    assert not list((tmp_path / "out").rglob("00000*"))
    assert len(np.load(tmp_path / "out" / "datacomp-uids.npy")) == 7
    pq.write_table(pa.table({"url": [CLEAN]}), shards / "00000.parquet")
    assert "has no column uid" in str(run("datacomp-uids").failures["00000.parquet"])


def test_text_and_tars_are_emitted_like_parquet(pulled: Path, tmp_path: Path) -> None:
    lines = [{"key": "k0", "URL": URLS[0].url}, {"key": "k1", "URL": CLEAN, "uid": uid_of(1), "TEXT": "é\ud800"}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "b.csv").write_text(f"id,url,caption\n7,{URLS[0].url},x\n8,{CLEAN},hers\n")
    members = [*sample("0", b"", url=URLS[1].url, uid=uid_of(2)), *sample("1", b"", uid=uid_of(3))]
    tar_of(tmp_path / "c.tar", members)
    inputs = [tmp_path / name for name in ("a.jsonl", "b.csv", "c.tar")]
    result = filter_shards(inputs, tmp_path / "out", FilterOptions(pulled, emit=frozenset({"removal", "url-list"})))
    assert result.failures == {}
    read = {path.name[0]: pq.read_table(path).to_pylist() for path in (tmp_path / "out" / "url-list").iterdir()}
    assert read == {
        "a": [{"url": CLEAN, "caption": "é?"}],
        "b": [{"url": CLEAN, "caption": "hers"}],
        "c": [{"url": "https://else.example/1.jpg", "caption": "a caption"}],
    }
    removed = {path.name[0]: pq.read_table(path).to_pylist() for path in (tmp_path / "out" / "removal").iterdir()}
    assert [(rows[0]["key"], rows[0]["id"], rows[0]["uid"], rows[0]["row"]) for _, rows in sorted(removed.items())] == [
        ("k0", None, None, 0),
        (None, "7", None, 0),
        ("0", None, uid_of(2), 0),
    ]
    done = filter_shards([tmp_path / "c.tar"], tmp_path / "c", FilterOptions(pulled, emit=frozenset({"datacomp-uids"})))
    assert done.failures == {}
    assert np.load(tmp_path / "c" / "datacomp-uids.npy").tolist() == [
        (int(uid_of(3)[:16], 16), int(uid_of(3)[16:], 16))
    ]


def test_earlier_runs_emitted_files_are_no_inputs(run: Filter, pulled: Path, tmp_path: Path) -> None:
    run(*EMITS)
    again = filter_shards([tmp_path / "out"], tmp_path / "again", FilterOptions(pulled))
    assert [shard.name for shard in again.shards] == ["00000.parquet", "deep/00%.parquet"]


def test_shards_cannot_take_the_names_of_emitted_files(pulled: Path, shards: Path, tmp_path: Path) -> None:
    (shards / "deep").rename(shards / "removal")
    with pytest.raises(InputError, match="rename its folder"):
        filter_shards([shards], tmp_path / "out", FilterOptions(pulled))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    parts=st.lists(st.lists(st.tuples(*[st.sampled_from([0, 1, 2**63, 2**64 - 1]) | st.integers(0, 2**64 - 1)] * 2))),
    bucket=st.integers(1, 10),
)
def test_merged_uids_are_those_of_the_parts_sorted(
    tmp_path: Path, parts: list[list[tuple[int, int]]], bucket: int
) -> None:
    paths = [tmp_path / f"{number}.npy" for number in range(len(parts))]
    for path, part in zip(paths, parts, strict=True):
        np.save(path, sorted_uids(as_uids(np.array(part, np.uint64).reshape(-1, 2))))
    merge_uids(paths, tmp_path / "all.npy", bucket_uids=bucket)
    merged = np.load(tmp_path / "all.npy")
    assert merged.dtype == UID_DTYPE
    assert merged.tolist() == sorted({uid for part in parts for uid in part})


# --- dry runs -----------------------------------------------------------------------------------------------------


def test_dry_run_counts_what_a_run_counts_and_writes_no_shard(run: Filter, tmp_path: Path) -> None:
    wet = run(*EMITS)
    dry = run(*EMITS, out="dry", dry_run=True)
    assert dry.total == wet.total
    assert [shard.tally for shard in dry.shards] == [shard.tally for shard in wet.shards]
    assert dry.emitted == wet.emitted
    for name in dry.emitted:
        assert (tmp_path / "dry" / name).read_bytes() == (tmp_path / "out" / name).read_bytes()
    assert dry.report == tmp_path / "dry" / "dry-run.json"
    assert verify_report(dry.report).n_intact == 5
    assert not [
        path for path in (tmp_path / "dry").rglob("*.parquet") if path.parent.name not in {"removal", "url-list"}
    ]


def test_dry_run_leaves_what_a_run_has_written_alone(run: Filter, tmp_path: Path) -> None:
    result = run()
    assert result.report is not None
    before = sorted((tmp_path / "out").rglob("*"))
    run(dry_run=True)
    assert sorted((tmp_path / "out").rglob("*")) == sorted([*before, tmp_path / "out" / "dry-run.json"])
    assert verify_report(result.report).n_intact == 2
    with pytest.raises(InputError, match="another folder"):
        run("removal", dry_run=True)


def test_dry_run_takes_every_form_of_shard(pulled: Path, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"url": URLS[0].url}))
    tar_of(tmp_path / "c.tar", sample("0", b"", url=URLS[1].url))
    options = FilterOptions(pulled, dry_run=True)
    result = filter_shards([tmp_path / "a.jsonl", tmp_path / "c.tar"], tmp_path / "out", options)
    assert result.total.to_json()["n_dropped"] == 2
    assert list(outputs(tmp_path / "out")) == ["dry-run.json"]


# --- entries up to a day ------------------------------------------------------------------------------------------


def test_entries_younger_than_asked_for_do_not_count(run: Filter) -> None:
    assert run(as_of=date(2026, 10, 31)).total.to_json()["n_dropped"] == 0
    assert run(as_of=date(2026, 11, 1)).total.to_json()["dropped"].keys() == {"url"}
    assert run(as_of=date(2026, 11, 2)).total.to_json()["dropped"].keys() == {"url", "sha256"}


def test_report_says_as_of_when(run: Filter) -> None:
    report = run(as_of=date(2026, 11, 1)).report
    assert report is not None
    assert json.loads(report.read_bytes())["predicate"]["options"]["as_of"] == "2026-11-01"


# --- the command --------------------------------------------------------------------------------------------------


def test_command_takes_the_options(
    pulled: Path, shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["filter", str(shards), "-o", str(tmp_path / "out"), "--list", str(pulled), "--emit", "removal"]
    line += ["--emit", "datacomp-uids", "--as-of", "2026-11-01", "--dry-run"]
    assert run_command([*line, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["emitted"][0] == "datacomp-uids.npy"
    assert printed["total"]["dropped"] == {"url": {"declared": 3, "host": 3}}
    assert run_command(line) == 0
    assert "no shards were written" in capsys.readouterr().out
    assert run_command(["verify", str(tmp_path / "out" / "dry-run.json"), "--list", str(pulled)]) == 0
    assert "3 files are as the run wrote them" in capsys.readouterr().out
    assert run_command([*line[:-2], "yesterday"]) == 2
    assert run_command([*line, "--emit", "everything"]) == 2
