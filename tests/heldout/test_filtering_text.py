"""JSONL, CSV and TSV shards: what is kept is kept byte for byte, what cannot be read is refused."""

import csv
import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from heldout.errors import InputError
from heldout.filtering import FilterOptions, FilterResult, filter_shards
from heldout.filtering_lines import LineReader, iter_jsonl
from heldout.filtering_plan import SUFFIXES
from tests.heldout.conftest import IMAGES, URLS
from tests.heldout.test_filtering import outputs

HERS = URLS[0].url.encode()
SHA256 = IMAGES[1].sha256
assert SHA256 is not None

Filter = Callable[..., FilterResult]


@pytest.fixture
def run(pulled: Path, tmp_path: Path) -> Filter:
    def filter_(name: str, data: bytes, **options: object) -> FilterResult:
        (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return filter_shards([tmp_path / name], tmp_path / "out", FilterOptions(pulled, **options))  # type: ignore[arg-type]

    return filter_


def left(tmp_path: Path, name: str) -> bytes:
    data = (tmp_path / "out" / name).read_bytes()
    return gzip.decompress(data) if name.endswith(".gz") else data


# Of each file: name, and its pieces with whether they are kept.
FILES: dict[str, tuple[str, list[tuple[bytes, bool]]]] = {
    "json lines with odd spacing, a blank line and no last line end": (
        "a.jsonl",
        [
            (b'{ "caption":"x" ,"url" :"https://else.example/1" }\n', True),
            (b'{"URL": "HTTP://art.example:80/1.jpg#top"}\r\n', False),
            (b"  \n", True),
            (b'{"url": null, "n": 1.50, "meta": {"a": 1, "a": 2}}\n', True),
            (b'{"url": "https://else.example/2", "sha256": "' + SHA256.hex().upper().encode() + b'"}\n', False),
            (b'{"url": "https://art.example\\/1.jpg"}\n', False),
            ('{"url": "https://else.example/3", "caption": "é\u2028"}'.encode(), True),
        ],
    ),
    "json lines with a mark at the start": ("a.ndjson", [(b'\xef\xbb\xbf{"url": "' + HERS + b'"}\n', False)]),
    "csv with quotes, line breaks in fields and windows line ends": (
        "a.csv",
        [
            (b'"caption",URL,sha256\r\n', True),
            (b'"a ""quoted"" cat,\r\nand a dog",https://else.example/1,\r\n', True),
            (b"hers,http://ART.example/1.jpg,\r\n", False),
            (b'"hers,\nin two lines","' + HERS + b'",x\r\n', False),
            (b"\r\n", True),
            (b"no address,,\r\n", True),
            (b"by bytes,https://else.example/2," + SHA256.hex().encode() + b"\r\n", False),
            (b"latin-1 \xe9,https://else.example/3,\r\n", True),
            (b"last,https://else.example/4,", True),
        ],
    ),
    "csv with semicolons and a mark at the start": (
        "a.csv",
        [(b"\xef\xbb\xbfurl;caption\n", True), (HERS + b";a, b\n", False), (b"https://else.example/;a\n", True)],
    ),
    "csv with a space after its header": (
        "a.csv",
        [(b"n,url \n", True), (b"1," + HERS + b"\n", False), (b"2,https://else.example/\n", True)],
    ),
    "csv with two url columns": (
        "a.csv",
        [(b"url,URL\n", True), (b"https://else.example/," + HERS + b"\n", False)],
    ),
    "tsv with quotes that are text": (
        "a.tsv",
        [
            (b"caption\turl\n", True),
            (b'"so-called" cat\thttps://else.example/1\n', True),
            (b'5" nail\t' + HERS + b"\n", False),
            (b'"unclosed\t' + HERS + b"\n", False),
            (b'"quoted"\t"' + HERS + b'"\n', False),
            (b'"so-called" cat\t"' + HERS + b'"\n', False),
            (b'"\thttps://else.example/2\n', True),
        ],
    ),
}
FILES |= {f"{name}, gzip": (f"{file}.gz", pieces) for name, (file, pieces) in list(FILES.items())}


@pytest.mark.parametrize("kind", FILES)
def test_lines_of_samples_that_are_excluded_go_and_all_other_bytes_stay(kind: str, run: Filter, tmp_path: Path) -> None:
    name, pieces = FILES[kind]
    result = run(name, b"".join(data for data, _ in pieces))
    assert result.failures == {}
    assert left(tmp_path, name) == b"".join(data for data, kept in pieces if kept)
    assert result.total.to_json()["n_dropped"] == sum(not kept for _, kept in pieces)


def test_gzip_outputs_do_not_depend_on_the_time(run: Filter, tmp_path: Path) -> None:
    run("a.jsonl.gz", b'{"url": "https://else.example/"}\n')
    data = (tmp_path / "out" / "a.jsonl.gz").read_bytes()
    assert data[4:8] == bytes(4)  # RFC 1952: MTIME
    assert data[3] == 0  # and no name


def test_named_field_is_taken_instead_of_url(run: Filter, tmp_path: Path) -> None:
    line = json.dumps({"url": "https://else.example/", "link": URLS[0].url}).encode() + b"\n"
    run("a.jsonl", line, url_column="link")
    assert left(tmp_path, "a.jsonl") == b""
    run("a.csv", b"url,link\nhttps://else.example/," + HERS + b"\n", url_column="link")
    assert left(tmp_path, "a.csv") == b"url,link\n"


def test_addresses_that_cannot_be_read_are_counted(run: Filter) -> None:
    assert run("a.jsonl", b'{"url": "no url"}\n{"url": null}\n').total.n_unreadable_urls == 2
    assert run("a.csv", b"url\nhttps://else.example/\xe9\xe9\nhttps://else.example/\n").total.n_unreadable_urls == 1


def test_more_lines_than_a_batch_keep_their_order(run: Filter, tmp_path: Path) -> None:
    lines = [b"%s/%d,%d\n" % (b"https://else.example", i, i) if i % 3 else HERS + b",x\n" for i in range(50_000)]
    result = run("a.csv", b"url,n\n" + b"".join(lines))
    assert left(tmp_path, "a.csv") == b"url,n\n" + b"".join(line for line in lines if not line.startswith(HERS))
    assert (result.total.n_in, result.total.n_kept) == (50_000, 33_333)


BAD: dict[str, tuple[str, bytes, str]] = {
    "not json": ("a.jsonl", b'{"url": "https://a.example/"}\n{"url": \n', "line 2, is not JSON"),
    "not an object": ("a.jsonl", b'["url"]\n', "line 1, is not a JSON object"),
    "no field": ("a.jsonl", b'{"url": null}\n\n{"link": "https://a.example/"}\n', "line 3, has no field url"),
    "no text": ("a.jsonl", b'{"url": ["https://a.example/"]}\n', "line 1, has a field 'url' that is no text"),
    "too deep": ("a.jsonl", b'{"url":' + b"[" * 100_000 + b"\n", "line 1, is not JSON"),
    "no header": ("a.csv", b"", "no header"),
    "no header, tsv": ("a.tsv", b"\n", "no header"),
    "no column": ("a.csv", b"link,caption\nhttps://a.example/,b\n", "has no column named url"),
    "no column, tsv": ("a.tsv", b"link\tcaption\n", "has no column named url"),
    "too few fields": ("a.csv", b"url,caption\nhttps://a.example/,b\nhttps://a.example/\n", "line 3, has 1 fields"),
    "too many fields": ("a.tsv", b"url\tcaption\nhttps://a.example/\tb\tc\n", "line 2, has 3 fields"),
    "quoted tab": ("a.tsv", b'caption\turl\n"a\tb"\thttps://a.example/\n', "line 2, has 3 fields"),
    "quoted line break": ("a.tsv", b'caption\turl\n"a\nb"\thttps://a.example/\n', "line 2, has 1 fields"),
    "open quote": ("a.csv", b'caption,url\n"a,https://a.example/\nb,https://a.example/\n', "line 2, cannot be read"),
    "escaped quote": ("a.csv", b'caption,url\n"a \\"b\\" c",https://a.example/\n', "line 2, cannot be read as CSV"),
    "digest of numbers": (
        "a.jsonl",
        b'{"url": null, "sha256": [1, 2]}\n',
        "line 1, has a field 'sha256' that is no text",
    ),
    "address twice": (
        "a.jsonl",
        b'{"url": "' + HERS + b'", "url": "https://a.example/"}\n',
        "line 1, has a field twice",
    ),
    "old line ends of csv": ("a.csv", b"url,caption\rhttps://a.example/,b\r", "line 1, holds a carriage return"),
    "old line ends of tsv": ("a.tsv", b"url\tcaption\rhttps://a.example/\tb\r", "line 1, holds a carriage return"),
    "old line ends after the first": ("a.tsv", b"url\nhttps://a.example/\r" + HERS + b"\n", "line 2, holds a carriage"),
    "open quote in the header": ("a.csv", b'url,"a\nhttps://a.example/,b\n', "line 1, is a header with quotes"),
    "utf-16": ("a.csv", "url,caption\n".encode("utf-16"), "has no column named url"),
}


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("kind", BAD)
def test_lines_that_cannot_be_read_fail_the_shard_and_say_where(
    kind: str, suffix: str, run: Filter, tmp_path: Path
) -> None:
    name, data, message = BAD[kind]
    result = run(name + suffix, data)
    error = result.failures[name + suffix]
    assert isinstance(error, InputError)
    assert str(tmp_path / name) in str(error)
    assert message in str(error)
    assert not (tmp_path / "out" / (name + suffix)).exists()
    assert result.report is None


def test_longest_line_is_bounded() -> None:
    data = b'{"url": "https://a.example/"}\n' + b'{"url": "' + b"x" * 100 + b'"}\n'
    with pytest.raises(InputError, match=r"a\.jsonl, line 2, is longer than 100 bytes"):
        list(iter_jsonl(LineReader(io.BytesIO(data), "a.jsonl", max_line_bytes=100), None))


@pytest.mark.parametrize("damage", ["truncated", "not gzip", "damaged", "rubbish after its end"])
def test_damaged_gzip_gives_no_output(damage: str, pulled: Path, tmp_path: Path) -> None:
    good = gzip.compress(b'{"url": "https://else.example/"}\n' * 1000)
    data = {
        "truncated": good[:-9],
        "not gzip": b'{"url": "https://else.example/"}\n',
        "damaged": good[:40] + b"\xff\xff\xff\xff" + good[44:],
        "rubbish after its end": good + b"rubbish",
    }[damage]
    (tmp_path / "a.jsonl.gz").write_bytes(data)
    result = filter_shards([tmp_path / "a.jsonl.gz"], tmp_path / "out", FilterOptions(pulled))
    assert "a.jsonl.gz cannot be decompressed" in str(result.failures["a.jsonl.gz"])
    assert outputs(tmp_path / "out") == {}


def test_every_form_of_shard_is_found_in_a_folder(pulled: Path, tmp_path: Path) -> None:
    folder = tmp_path / "shards"
    folder.mkdir()
    for number, suffix in enumerate(SUFFIXES):
        (folder / f"{number}{suffix}").write_bytes(b"")
    result = filter_shards([folder], tmp_path / "out", FilterOptions(pulled))
    assert len(result.failures) + len(result.shards) == len(SUFFIXES)


CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(CELLS, st.booleans(), CELLS), max_size=12), quoting=st.sampled_from([0, 1, 2]))
def test_whatever_the_csv_writer_writes_is_read_as_it_was_meant(
    run: Filter, tmp_path: Path, rows: list[tuple[str, bool, str]], quoting: int
) -> None:
    def written(kept_only: bool) -> bytes:
        buffer = io.StringIO()
        writer = csv.writer(buffer, quoting=quoting)  # type: ignore[arg-type]
        writer.writerow(["caption", "url", "more"])
        for number, (one, is_hers, two) in enumerate(rows):
            if not (is_hers and kept_only):
                writer.writerow([one, URLS[0].url if is_hers else f"https://else.example/{number}", two])
        return buffer.getvalue().encode()

    result = run("a.csv", written(kept_only=False))
    assert result.failures == {}
    assert left(tmp_path, "a.csv") == written(kept_only=True)
