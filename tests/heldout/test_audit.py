"""Audits of shards of every format: what they count, and that a filter run counts the same."""

import csv
import gzip
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heldout.audit import AuditResult, audit
from heldout.audit_charts import Bar, across, upward
from heldout.audit_samples import Hosts
from heldout.audit_sections import Voice
from heldout.cli import run
from heldout.errors import InputError, VerificationError
from heldout.filtering import FilterOptions, filter_shards
from heldout.kernel import keys_of
from heldout.urls import canonical_key, host_of
from tests.heldout.conftest import IMAGES, URLS
from tests.indexer.tars import pack
from tests.web.html import read_page

ROOT = Path(__file__).parents[2]
OUT = [rule.url for rule in URLS]
SHA256 = IMAGES[1].sha256
assert SHA256 is not None
DIGEST = SHA256.hex()
Capture = pytest.CaptureFixture[str]
Auditor = Callable[..., AuditResult]

ROWS: list[dict[str, Any]] = [
    {"url": OUT[0], "caption": "A castle", "width": 640, "height": 480, "LANGUAGE": "en", "signals": None},
    {"url": "HTTP://art.example:80/1.jpg#x", "caption": "замок", "width": 32, "height": 900, "LANGUAGE": "ru"},
    {"url": OUT[1], "caption": "お城の絵", "width": None, "height": 10, "LANGUAGE": None, "signals": []},
    {
        "url": "https://a.jane.github.io/x.png",
        "caption": "42",
        "width": 5000,
        "height": 4200,
        "signals": ["tdm: 1", "tdm: 1"],
    },
    {
        "url": "https://b.jane.github.io/x.png",
        "caption": None,
        "width": 64,
        "height": 64,
        "signals": ["tdm: 1", "x: noai"],
    },
    {"url": "https://cdn.shop.co.uk/1.jpg?w=9", "caption": " ", "width": -3, "height": 5, "sha256": DIGEST},
    {"url": "not an address", "caption": "castle", "width": 100, "height": 100},
    {"url": None, "caption": "castle", "width": 100, "height": 100},
]
"""Eight samples: two of one address, four opted out."""


def table_of(rows: list[dict[str, Any]]) -> pa.Table:
    schema = pa.schema(
        {
            "url": pa.string(),
            "caption": pa.string(),
            "width": pa.float64(),
            "height": pa.int32(),
            "LANGUAGE": pa.string(),
            "sha256": pa.string(),
            "signals": pa.list_(pa.string()),
        }
    )
    return pa.Table.from_pylist(rows, schema=schema)


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    folder = tmp_path / "shards"
    folder.mkdir()
    pq.write_table(table_of(ROWS[:5]), folder / "00000.parquet")
    pq.write_table(table_of(ROWS[5:]), folder / "00001.parquet")
    return folder


@pytest.fixture
def auditor(pulled: Path, tmp_path: Path) -> Auditor:
    def make(*inputs: Path, against: tuple[Path, ...] = (), **options: Any) -> AuditResult:
        return audit(inputs, tmp_path / "audit", FilterOptions(pulled, **options), against=against)

    return make


def read(tmp_path: Path, name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(tmp_path / "audit" / "tables" / f"{name}.parquet").to_pylist()
    return rows


def test_totals_and_tables_count_what_is_there(auditor: Auditor, shards: Path, tmp_path: Path) -> None:
    summary = auditor(shards).summary
    assert summary["totals"] == {
        "n_samples": 8,
        "n_opted_out": 4,
        "n_with_url": 6,
        "n_with_caption": 6,
        "n_languages": 2,
        "n_statuses": 0,
        "n_with_size": 6,
        "n_with_signals": 3,
        "n_signalling": 2,
        "n_signalling_not_opted_out": 2,
        "n_urls": 5,
        "n_urls_opted_out": 3,
        "n_urls_repeated": 1,
        "n_hosts": 4,
        "n_domains": 3,
        "n_unreadable_urls": 2,
        "n_unreadable_pictures": 0,
    }
    assert read(tmp_path, "domains") == [
        {"domain": "art.example", "n_hosts": 1, "n_urls": 2, "n_samples": 3, "n_opted_out": 3, "rate": 1.0},
        {"domain": "jane.github.io", "n_hosts": 2, "n_urls": 2, "n_samples": 2, "n_opted_out": 0, "rate": 0.0},
        {"domain": "shop.co.uk", "n_hosts": 1, "n_urls": 1, "n_samples": 1, "n_opted_out": 1, "rate": 1.0},
    ]
    assert [(row["kind"], row["assurance"], row["n_samples"], row["share"]) for row in read(tmp_path, "opt_outs")] == [
        ("url", "declared", 2, 0.25),
        ("url", "host", 1, 0.125),
        ("sha256", "account", 1, 0.125),
    ]
    assert {row["script"]: row["n_samples"] for row in read(tmp_path, "scripts")} == {
        "Latn": 3,
        "Cyrl": 1,
        "Jpan": 1,
        "Zyyy": 1,
        None: 2,
    }
    assert {row["shorter_from"]: row["n_samples"] for row in read(tmp_path, "sizes")} == {
        1: 1,
        64: 3,
        256: 1,
        4096: 1,
        None: 2,
    }
    assert {row["signal"]: row["n_samples"] for row in read(tmp_path, "signals")} == {"tdm: 1": 2, "x: noai": 1}
    assert read(tmp_path, "copies") == [
        {"n_copies": 1, "n_urls": 4, "n_samples": 4, "n_opted_out": 2},
        {"n_copies": 2, "n_urls": 1, "n_samples": 2, "n_opted_out": 2},
    ]
    (repeated,) = read(tmp_path, "repeated")
    keys, _ = keys_of(pa.array([OUT[0]]))
    assert (repeated["key"], repeated["n_samples"]) == (f"{int(keys[0]):016x}", 2)
    assert [row["month"] for row in read(tmp_path, "since")] == [date(2026, 11, 1)] * 3
    assert [(row["name"], row["n_samples"], row["n_opted_out"]) for row in read(tmp_path, "shards")] == [
        ("00000.parquet", 5, 3),
        ("00001.parquet", 3, 1),
    ]
    for name, facts in summary["tables"].items():
        path = tmp_path / "audit" / "tables" / name
        n = (
            len(list(csv.reader(path.read_text().splitlines()))) - 1
            if path.suffix == ".csv"
            else pq.read_metadata(path).num_rows
        )
        assert n == facts["rows"], name


@pytest.mark.parametrize("form", ["parquet", "jsonl", "csv", "tsv.gz", "tar"])
def test_every_format_is_told_the_same_of(form: str, auditor: Auditor, tmp_path: Path) -> None:
    rows = [row for row in ROWS if row["url"] is not None]
    path = tmp_path / f"0.{form}"
    write_as(path, rows)
    summary = auditor(path).summary
    sampled = {
        key: summary["totals"][key] for key in ("n_samples", "n_opted_out", "n_urls", "n_domains", "n_with_size")
    }
    assert sampled == {"n_samples": 7, "n_opted_out": 4, "n_urls": 5, "n_domains": 3, "n_with_size": 5}
    assert {row["script"] for row in read(tmp_path, "scripts")} >= {"Latn", "Cyrl", "Jpan", "Zyyy"}
    assert summary["totals"]["n_languages"] == 2
    if form != "tsv.gz":
        assert {row["signal"]: row["n_samples"] for row in read(tmp_path, "signals")} == {"tdm: 1": 2, "x: noai": 1}


def write_as(path: Path, rows: list[dict[str, Any]]) -> None:
    """The rows as a shard of the form that the name says."""
    if path.suffix == ".parquet":
        pq.write_table(table_of(rows), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".tar":
        pack(path, [(f"{number:05d}.json", json.dumps(row).encode()) for number, row in enumerate(rows)])
    else:
        text = io.StringIO()
        writer = csv.writer(text, delimiter="," if path.suffix == ".csv" else "\t", lineterminator="\n")
        names = ["url", "caption", "width", "height", "LANGUAGE", "sha256", "signals"]
        writer.writerow(names)
        for row in rows:
            signals = (row.get("signals") or [])[: None if path.suffix == ".csv" else 1]  # TSV has a sample a line
            values = {**row, "signals": "\n".join(signals)}
            writer.writerow(["" if values.get(name) is None else values[name] for name in names])
        data = text.getvalue().encode()
        path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


@pytest.mark.parametrize("options", [{}, {"min_assurance": "host"}, {"as_of": date(2026, 11, 1)}])
def test_filter_and_audit_count_the_same(
    options: dict[str, Any], auditor: Auditor, pulled: Path, shards: Path, tmp_path: Path
) -> None:
    write_as(shards / "more.jsonl", ROWS[:3])
    pair(shards / "pair")
    filtered = filter_shards([shards], tmp_path / "kept", FilterOptions(pulled, **options))
    report = json.loads((filtered.report or Path()).read_bytes())["predicate"]
    summary = auditor(shards, **options).summary
    rows = sorted(read(tmp_path, "shards"), key=lambda row: str(row["name"]))
    assert [(row["name"], row["sha256"]) for row in rows] == [
        (shard["name"], shard["input"]["sha256"]) for shard in report["shards"]
    ]
    assert [(row["n_samples"], row["n_opted_out"], row["n_unreadable_urls"]) for row in rows] == [
        (shard["n_in"], shard["n_dropped"], shard["n_unreadable_urls"]) for shard in report["shards"]
    ]
    counted = [shard for shard in report["shards"] if not (shard["sibling"] and shard["name"].endswith(".tar"))]
    assert summary["totals"]["n_opted_out"] == sum(shard["n_dropped"] for shard in counted) > 0
    assert summary["totals"]["n_samples"] == sum(shard["n_in"] for shard in counted)
    assert summary["list"]["manifest_sha256"] == report["list"]["manifest_sha256"]


def test_odd_columns_of_a_shard_do_not_keep_it_from_being_counted(auditor: Auditor, tmp_path: Path) -> None:
    columns = {
        "url": [OUT[0], "https://else.example/1.jpg", None],
        "width": pa.array([2**62, 640, -1], pa.int64()),
        "height": pa.array([2**53 + 1, 480, 1], pa.uint64()),
        "signals": pa.array([[["nested"]], [[]], None], pa.list_(pa.list_(pa.string()))),
        "caption": pa.array([["a", "list"], None, []], pa.list_(pa.string())),
        "status": [{"code": 1}, None, {"code": 2}],
    }
    pq.write_table(pa.table(columns), tmp_path / "0.parquet")
    result = auditor(tmp_path / "0.parquet")
    assert result.failures == {}
    assert {name: result.summary["totals"][name] for name in ("n_samples", "n_opted_out", "n_with_size")} == {
        "n_samples": 3,
        "n_opted_out": 1,
        "n_with_size": 1,
    }


def pair(folder: Path) -> None:
    """img2dataset's two forms of three samples; one is known by its bytes alone, which only the tar has."""
    folder.mkdir()
    urls = [OUT[0], "https://else.example/1.jpg", "https://else.example/2.jpg"]
    table = pa.table({"key": ["0", "1", "2"], "url": urls, "caption": ["a", "b", "c"]})
    pq.write_table(table, folder / "00000.parquet")
    fields = [{"url": url, "sha256": DIGEST if number == 2 else "0" * 64} for number, url in enumerate(urls)]
    pack(folder / "00000.tar", [(f"{number}.json", json.dumps(each).encode()) for number, each in enumerate(fields)])


def test_two_forms_of_the_same_samples_are_counted_once(auditor: Auditor, tmp_path: Path) -> None:
    pair(tmp_path / "pair")
    totals = auditor(tmp_path / "pair").summary["totals"]
    assert (totals["n_samples"], totals["n_opted_out"]) == (3, 2)
    assert [(row["name"], row["is_counted"]) for row in read(tmp_path, "shards")] == [
        ("00000.tar", False),
        ("00000.parquet", True),
    ]


def test_two_versions_are_compared_by_address(auditor: Auditor, shards: Path, tmp_path: Path) -> None:
    old = [
        {"url": url, "caption": "x"}
        for url in ("https://b.jane.github.io/x.png", "https://gone.example/1", OUT[1], None)
    ]
    pq.write_table(table_of(old), tmp_path / "old.parquet")
    summary = auditor(shards, against=(tmp_path / "old.parquet",)).summary
    assert summary["changes"] == {
        "n_added": 3,
        "n_removed": 1,
        "n_kept": 2,
        "n_added_opted_out": 2,
        "n_removed_opted_out": 0,
        "n_kept_opted_out": 1,
        "other_n_samples": 4,
        "other_n_with_url": 3,
    }
    assert {row["domain"]: (row["n_added"], row["n_removed"], row["n_kept"]) for row in read(tmp_path, "changes")} == {
        "art.example": (1, 0, 1),
        "jane.github.io": (1, 0, 1),
        "gone.example": (0, 1, 0),
        "shop.co.uk": (1, 0, 0),
    }
    assert [(row["shard"], row["row"], row["kind"]) for row in read(tmp_path, "added_opted_out")] == [
        ("00000.parquet", 0, "url"),
        ("00000.parquet", 1, "url"),
        ("00001.parquet", 0, "sha256"),
    ]
    page = (tmp_path / "audit" / "audit.html").read_text()
    assert "Addresses added though opted out" in page
    assert "Changes since the other version" in page


def test_same_shards_give_the_same_bytes_and_replace_the_audit_before(
    auditor: Auditor, shards: Path, tmp_path: Path
) -> None:
    auditor(shards, against=(shards / "00000.parquet",))
    first = files_in(tmp_path / "audit")
    auditor(shards)
    assert "tables/changes.csv" not in files_in(tmp_path / "audit")
    auditor(shards, against=(shards / "00000.parquet",))
    assert files_in(tmp_path / "audit") == first
    assert list(tmp_path.glob(".*.part")) == []


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_page_needs_nothing_else_and_escapes_what_strangers_wrote(auditor: Auditor, tmp_path: Path) -> None:
    hostile = "<script>alert(1)</script>\"'&"
    rows = [{"url": "https://a.example/1", "caption": hostile, "LANGUAGE": hostile, "signals": [hostile]}]
    path = tmp_path / f"{'<b>&'}.parquet"
    pq.write_table(table_of(rows), path)
    auditor(path)
    text = (tmp_path / "audit" / "audit.html").read_text()
    assert "<script" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert re.findall(r"""(?:src|href|xlink:href|url\()\s*=?\s*["']?(?:https?:|//|data:)[^"']*""", text) == []
    page = read_page(text.partition("\n")[2])
    (policy,) = page.all("meta", http_equiv="Content-Security-Policy")
    assert policy.attributes["content"].startswith("default-src 'none'")
    for section in page.all("section"):
        assert section.all("table"), section.text
        for drawn in section.all("svg"):
            assert drawn.attributes["role"] == "img"
            assert drawn.attributes["aria-label"]


def test_a_shard_that_cannot_be_read_is_named_and_in_no_number(
    shards: Path, pulled: Path, tmp_path: Path, capsys: Capture
) -> None:
    (shards / "00002.parquet").write_bytes((shards / "00000.parquet").read_bytes()[:-100])
    pq.write_table(pa.table({"link": ["https://a.example"]}), shards / "00003.parquet")
    out = tmp_path / "audit"
    assert run(["audit", str(shards), "--list", str(pulled), "-o", str(out)]) == 2
    printed = capsys.readouterr()
    assert "2 shards, 8 samples of 3 sites, 4 opted out (50.00%)" in printed.out
    assert "samples have no usable URL, and were not checked by it: 2" in printed.out
    assert "00002.parquet cannot be read as Parquet" in printed.err
    assert "2 inputs could not be read and are in no number" in printed.err
    summary = json.loads((out / "audit.json").read_bytes())
    assert summary["failed"] == ["00002.parquet", "00003.parquet"]
    assert summary["totals"]["n_samples"] == 8
    assert "2 shards could not be read" in (out / "audit.html").read_text()
    assert sorted(path.name for path in (out / "samples").iterdir()) == ["00000.parquet", "00001.parquet"]


def test_command_prints_its_summary_as_json(shards: Path, pulled: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "audit"
    assert run(["audit", str(shards), "--list", str(pulled), "-o", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((out / "audit.json").read_bytes())


def test_nothing_is_written_where_nothing_can_be_counted(auditor: Auditor, shards: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        auditor(tmp_path / "bad.parquet")
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        auditor(shards, against=(tmp_path / "bad.parquet",))
    with pytest.raises(InputError, match="no size of memory"):
        audit([shards], tmp_path / "audit", FilterOptions(tmp_path / "list"), memory="lots")
    assert not (tmp_path / "audit").exists()
    assert list(tmp_path.glob(".*.part")) == []


def test_an_output_that_is_something_else_is_left_alone(auditor: Auditor, shards: Path, tmp_path: Path) -> None:
    (tmp_path / "audit").mkdir()
    (tmp_path / "audit" / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="holds something that is no audit"):
        auditor(shards)
    assert (tmp_path / "audit" / "thesis.txt").read_text() == "mine"


@pytest.mark.parametrize("name", ["notes.ipynb", "00000.parquet", "tables/mine.csv", "samples/mine.parquet", "mine/"])
def test_what_others_put_into_an_audit_is_not_lost_with_it(
    auditor: Auditor, shards: Path, tmp_path: Path, name: str
) -> None:
    auditor(shards, against=(shards,))
    auditor(shards)
    mine = tmp_path / "audit" / name
    mine.mkdir() if name.endswith("/") else mine.write_text("mine")
    with pytest.raises(InputError, match=name.rstrip("/")):
        auditor(shards)
    assert mine.exists()


def test_what_a_killed_audit_left_is_swept_once_nobody_can_be_at_it(
    auditor: Auditor, shards: Path, tmp_path: Path
) -> None:
    old, fresh, other = (
        tmp_path / name for name in (".audit.0badcafe.part", ".audit.0badbeef.part", ".audit.mine.part")
    )
    for folder in (old, fresh, other):
        (folder / "made").mkdir(parents=True)
    for folder in (old, other):
        os.utime(folder, (0, 0))
    auditor(shards)
    assert not old.exists()
    assert fresh.exists()
    assert other.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="no limits there")
def test_a_full_disk_is_said_and_the_audit_before_stays(
    auditor: Auditor, shards: Path, pulled: Path, tmp_path: Path
) -> None:
    auditor(shards)
    before = files_in(tmp_path / "audit")
    rows = [{"url": f"https://{n}.example/{n * n}.jpg", "caption": f"{n}"} for n in range(20_000)]
    pq.write_table(table_of(rows), tmp_path / "large.parquet")
    code = (
        "import resource, signal, sys\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536)); signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "from heldout.cli import run\n"
        "sys.exit(run(sys.argv[1:]))"
    )
    command = ["audit", str(tmp_path / "large.parquet"), "--list", str(pulled), "-o", str(tmp_path / "audit")]
    done = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 3
    assert "cannot be written" in done.stderr
    assert "check the disk" in done.stderr
    assert files_in(tmp_path / "audit") == before
    assert list(tmp_path.glob(".*.part")) == []


def test_a_list_that_does_not_prove_itself_gives_no_audit(shards: Path, pulled: Path, tmp_path: Path) -> None:
    for path in pulled.rglob("*.parquet"):
        path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(VerificationError):
        audit([shards], tmp_path / "audit", FilterOptions(pulled))
    assert not (tmp_path / "audit").exists()


def test_missing_extra_is_named(shards: Path, pulled: Path, tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['duckdb'] = None\n"
        "from heldout.cli import run\n"
        f"sys.exit(run(['audit', {str(shards)!r}, '--list', {str(pulled)!r}, '-o', {str(tmp_path / 'audit')!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)  # noqa: S603
    assert done.returncode == 2
    assert "an audit needs duckdb, of the extra heldout[audit]: pip install 'heldout[audit]'" in done.stderr


def test_documented_queries_run_and_say_what_is_documented(
    auditor: Auditor, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    auditor(shards, against=(shards / "00000.parquet",))
    monkeypatch.chdir(tmp_path / "audit")
    db = duckdb.connect()
    db.execute(Path("audit.sql").read_text())
    queries = re.findall(r"```sql\n(.*?)```", (ROOT / "docs" / "audit.md").read_text(), re.DOTALL)
    assert len(queries) >= 4
    for query in queries:
        assert db.execute(query).fetchall(), query
    columns = re.findall(r"^\| `(\w+)` \|", (ROOT / "docs" / "audit.md").read_text(), re.MULTILINE)
    for (name,) in db.execute("SELECT view_name FROM duckdb_views() WHERE NOT internal").fetchall():
        assert name in columns, f"{name} has no line in docs/audit.md"


@given(
    st.lists(
        st.one_of(
            st.none(),
            st.text(max_size=30),
            st.builds(
                "{}{}{}".format,
                st.sampled_from(["http://", "HTTPS://", "https:", " http://u@", "http:\\\\"]),
                st.text("aA.-%20:1_é[]@\\xn", max_size=12),
                st.sampled_from(["", "/", "?q", "#x", ":80/", "/a b"]),
            ),
        ),
        max_size=20,
    )
)
def test_hosts_are_those_of_canonical_keys(urls: list[str | None]) -> None:
    usable = [None if url is not None and not _is_utf8(url) else url for url in urls]
    column = pa.array(usable, pa.string())
    _, has_key = keys_of(column)
    expected = [
        host_of(canonical_key(url)) if url is not None and has else None
        for url, has in zip(usable, has_key, strict=True)
    ]
    assert Hosts().of(column, has_key).to_pylist() == expected


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def test_charts_write_numbers_as_the_page_around_them_does() -> None:
    spanish = Voice(count=lambda n: f"{n:,}".replace(",", "."))
    bars = [Bar("a.example", "kept", 1691), Bar("b.example", "kept", 20)]
    assert ">1.691<" in across(bars, "Sitios", spanish.mark)
    assert ">1,691<" in across(bars, "Sites", Voice().mark)
    assert ">1.500<" in upward(bars, "Tamaños", spanish.mark)


def test_every_bar_that_stands_has_its_name_while_there_is_room() -> None:
    few = [Bar(f"de {n} a {2 * n - 1} px", "kept", n) for n in (64, 128, 256, 512, 1024, 2048)]
    assert 'opacity="0"' not in upward(few, "Tamaños", ".")
    many = [Bar(f"2026-11-{n:02} y más", "kept", n) for n in range(1, 31)]
    assert 'opacity="0"' in upward(many, "Desde", ".")
