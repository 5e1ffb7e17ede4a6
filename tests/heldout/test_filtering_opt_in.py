"""Opt-in only: what nobody granted is dropped, and so is what somebody opted out, whoever granted it."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from heldout.cli import run as run_command
from heldout.errors import VerificationError
from heldout.filtering import Filter, FilterOptions, FilterResult, filter_shards
from heldout.records import ASSURANCES, Assurance
from heldout.report_check import verify_report
from heldout.report_reading import load_report
from heldout.report_shards import verify_shards
from heldout.stored import verify_current
from tests.heldout.published import PlaceRule, Site, UrlRule
from tests.heldout.test_filtering_tar import keys_of, sample, tar_of

GRANTED = "https://open.example/1.jpg"
DECLARED = "https://anyone.example/1.jpg"
IN_FOLDER = "https://art.example/free/2.jpg"
ON_HOST = "https://cdn.free.example/3.jpg"
OUT_ON_HOST = "https://cdn.free.example/not-this.jpg"
OUT_IN_FOLDER = "https://art.example/free/mine/4.jpg"
UNKNOWN = "https://else.example/5.jpg"
ROWS: list[tuple[str | None, bool]] = [
    (GRANTED, True),
    (DECLARED, False),
    (IN_FOLDER, True),
    (ON_HOST, True),
    (OUT_ON_HOST, False),
    (OUT_IN_FOLDER, False),
    (UNKNOWN, False),
    ("no url", False),
    (None, False),
]
URLS = [url for url, _ in ROWS]
KEPT = [is_kept for _, is_kept in ROWS]


@pytest.fixture
def site() -> Site:
    urls = [UrlRule(GRANTED, "account", 1), UrlRule(DECLARED, "declared", 1), UrlRule(OUT_ON_HOST)]
    places = [
        PlaceRule("art.example/free/", "account", 1),
        PlaceRule("art.example/free/mine/", "account", 0),
        PlaceRule("free.example", "host", 1),
    ]
    return Site().publish(urls, [], places)


def run(pulled: Path, shard: Path, out: Path, **options: Any) -> FilterResult:
    return filter_shards([shard], out, FilterOptions(pulled, preference="train-ai=y", **options))


def test_only_what_is_granted_and_not_opted_out_is_kept(pulled: Path, tmp_path: Path) -> None:
    pq.write_table(pa.table({"url": URLS, "n": range(len(URLS))}), tmp_path / "a.parquet")
    result = run(pulled, tmp_path / "a.parquet", tmp_path / "out")
    kept = pq.read_table(tmp_path / "out" / "a.parquet")["url"].to_pylist()
    assert kept == [url for url, is_kept in ROWS if is_kept]
    total = result.total.to_json()
    assert (total["n_in"], total["n_kept"], total["n_dropped"]) == (9, 3, 6)
    assert total["dropped"] == {"url": {"declared": 1}, "prefix": {"account": 1}}
    assert total["n_not_granted"] == 4
    assert result.report is not None
    assert verify_report(result.report).doubts == ()
    said = json.loads(result.report.read_bytes())["predicate"]["options"]
    assert (said["preference"], said["min_grant_assurance"]) == ("train-ai=y", "account")


def test_a_grant_weaker_than_any_entry_asked_for_counts_for_nothing_and_the_report_says_so(
    pulled: Path, tmp_path: Path
) -> None:
    pq.write_table(pa.table({"url": [GRANTED, ON_HOST]}), tmp_path / "a.parquet")
    result = run(pulled, tmp_path / "a.parquet", tmp_path / "out", min_assurance="host")
    assert pq.read_table(tmp_path / "out" / "a.parquet")["url"].to_pylist() == [ON_HOST]
    assert result.report is not None
    said = json.loads(result.report.read_bytes())["predicate"]["options"]
    assert (said["min_assurance"], said["min_grant_assurance"]) == ("host", "host")
    stored = verify_current(pulled, now=None)
    again = verify_shards(load_report(result.report), [tmp_path / "a.parquet"], stored, n_again=1)
    assert again.filtered_again == ("a.parquet",)


def test_every_format_and_batch_decides_alike(pulled: Path, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps({"url": url}) for url in URLS))
    (tmp_path / "b.csv").write_text("\n".join(["n,url", *(f"{n},{url or ''}" for n, url in enumerate(URLS))]))
    tar_of(tmp_path / "c.tar", [part for n, url in enumerate(URLS) for part in sample(str(n), b"", url=url)])
    for name in ("a.jsonl", "b.csv", "c.tar"):
        run(pulled, tmp_path / name, tmp_path / "out")
    lines = (tmp_path / "out" / "a.jsonl").read_text().split("\n")
    assert [json.loads(line)["url"] for line in lines if line] == [url for url, is_kept in ROWS if is_kept]
    assert len((tmp_path / "out" / "b.csv").read_text().splitlines()) == 1 + sum(KEPT)
    assert keys_of(tmp_path / "out" / "c.tar") == [str(n) for n, is_kept in enumerate(KEPT) if is_kept]
    filter_ = Filter(pulled, preference="train-ai=y")
    assert filter_.keep({"url": URLS}).tolist() == KEPT
    assert filter_.keep(pa.table({"url": URLS})).tolist() == KEPT
    assert [filter_.keep_webdataset({"json": {"url": url}}) for url in URLS] == KEPT


@pytest.mark.parametrize(("least", "granted"), [("declared", 4), ("account", 3), ("host", 1), ("credential", 0)])
def test_grants_have_to_be_proved_well_enough(pulled: Path, least: Assurance, granted: int) -> None:
    filter_ = Filter(pulled, preference="train-ai=y", min_grant_assurance=least)
    assert int(filter_.keep({"url": URLS}).sum()) == granted
    assert least in ASSURANCES


def test_a_grant_is_not_enough_if_the_sample_gives_another_address(pulled: Path) -> None:
    rows = [{"url": GRANTED, "URL": UNKNOWN}, {"url": GRANTED, "URL": None}, {"url": GRANTED, "URL": ON_HOST}]
    filter_ = Filter(pulled, preference="train-ai=y")
    assert filter_.keep(rows).tolist() == [False, True, True]
    assert filter_.keep(pa.Table.from_pylist(rows)).tolist() == [False, True, True]


def test_grants_change_nothing_without_opt_in_only(pulled: Path) -> None:
    expected = [url not in {OUT_ON_HOST, OUT_IN_FOLDER} for url in URLS]
    assert Filter(pulled).keep({"url": URLS}).tolist() == expected


def test_removal_list_says_what_was_not_granted(pulled: Path, tmp_path: Path) -> None:
    pq.write_table(pa.table({"url": [GRANTED, OUT_ON_HOST, UNKNOWN]}), tmp_path / "a.parquet")
    run(pulled, tmp_path / "a.parquet", tmp_path / "out", emit=frozenset({"removal"}), writes="masks")
    removal = pq.read_table(tmp_path / "out" / "removal" / "a.parquet.parquet").to_pylist()
    assert [(row["row"], row["kind"], row["assurance"]) for row in removal] == [
        (1, "url", "declared"),
        (2, "not-granted", None),
    ]
    assert removal[1]["since"] is None


def test_changed_count_of_what_was_not_granted_is_seen(pulled: Path, tmp_path: Path) -> None:
    pq.write_table(pa.table({"url": URLS}), tmp_path / "a.parquet")
    report = run(pulled, tmp_path / "a.parquet", tmp_path / "out").report
    assert report is not None
    report.write_bytes(report.read_bytes().replace(b'"n_not_granted": 4', b'"n_not_granted": 3'))
    with pytest.raises(VerificationError, match="contradict"):
        verify_report(report)


def test_command_keeps_only_what_is_granted(pulled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pq.write_table(pa.table({"url": URLS}), tmp_path / "a.parquet")
    line = ["filter", str(tmp_path / "a.parquet"), "--list", str(pulled), "--preference", "train-ai=y"]
    assert run_command([*line, "-o", str(tmp_path / "out")]) == 0
    assert "4 not granted" in capsys.readouterr().out
    assert run_command([*line, "-o", str(tmp_path / "any"), "--min-grant-assurance", "declared"]) == 0
    assert "4 kept" in capsys.readouterr().out
