"""The vectors beside docs/formats/exclusion-list.md: kernel, reference and independent reader agree on them."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from heldout.bit_packing import pack, unpack
from heldout.delta_files import apply_delta, format_delta, parse_delta
from heldout.exclusion import ADDRESS_KINDS, Rules
from heldout.list_tables import SCHEMAS, TableName, content_digest
from heldout.pull import pull
from heldout.records import ASSURANCES
from tests.heldout.format_scripts import FOLDER, load_script
from tests.heldout.published import BASE_URL, PlaceRule, Site, UrlRule

VECTORS: dict[str, Any] = json.loads((FOLDER / "exclusion-list-vectors.json").read_text(encoding="utf-8"))
ENTRIES = VECTORS["entries"]
CASES = VECTORS["cases"]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load_script("list_vectors")


def test_the_file_is_what_its_script_writes(script: ModuleType) -> None:
    assert json.loads(json.dumps(script.vectors())) == VECTORS


# --- which samples are excluded -----------------------------------------------------------------------------------


def rules(preference: int) -> tuple[Rules, dict[str, list[str]]]:
    """The entries of this preference, and by kind what each is called in the cases."""
    by_kind: dict[str, list[dict[str, Any]]] = {"url": [], "prefix": [], "host": []}
    for entry in ENTRIES:
        kind = next(kind for kind in by_kind if kind in entry)
        if entry["preference"] == preference:
            by_kind[kind].append(entry)
    by_kind["url"].sort(key=lambda entry: int(entry["key"], 16))
    tables: dict[TableName, pa.Table] = {"image": SCHEMAS["image"].empty_table()}
    for kind in ("url", "prefix", "host"):
        entries = by_kind[kind]
        columns = {
            SCHEMAS[kind].names[0]: [int(entry["key"], 16) if kind == "url" else entry[kind] for entry in entries],  # type: ignore[index]
            "preference": [preference] * len(entries),
            "assurance": [ASSURANCES.index(entry["assurance"]) for entry in entries],
            "since": pa.array([0] * len(entries), pa.int32()).cast(pa.date32()),
        }
        tables[kind] = pa.table(columns, schema=SCHEMAS[kind])  # type: ignore[index]
    named = {kind: [entry[kind].partition("://")[2] or entry[kind] for entry in by_kind[kind]] for kind in by_kind}
    return Rules(tables), named


def answers() -> list[dict[str, Any]]:
    """What the library says of the cases, as the vectors have it."""
    (excluding, names), (granting, _) = rules(0), rules(1)
    urls = [case["url"] for case in CASES]
    found, grants = excluding.lookup_urls(urls), granting.lookup_urls(urls)
    said = []
    for row in range(len(urls)):
        excluded = {
            kind: names[kind][rule] if (rule := int(found[kind].rule[row])) >= 0 else None for kind in ADDRESS_KINDS
        }
        is_granted = any(grants[kind].found[row] for kind in ADDRESS_KINDS) and not any(excluded.values())
        said.append({"excluded": excluded, "granted": is_granted})
    return said


WANTED = [{"excluded": case["excluded"], "granted": case["granted"]} for case in CASES]


def test_the_cases_are_decided_as_the_vectors_say() -> None:
    assert answers() == WANTED


def test_the_cases_are_decided_so_without_the_kernel() -> None:
    code = (
        "import sys; sys.modules['heldout._kernel'] = None\n"
        "import json; from heldout import kernel; assert kernel.IMPLEMENTATION == 'reference'\n"
        "from tests.heldout import test_list_vectors as vectors; print(json.dumps(vectors.answers()))"
    )
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=FOLDER.parents[1]
    )
    assert json.loads(done.stdout) == WANTED


def test_the_independent_reader_decides_so(tmp_path: Path) -> None:
    """It reads the first kind that excludes, with its assurance."""
    urls = [UrlRule(entry["url"], entry["assurance"], entry["preference"]) for entry in ENTRIES if "url" in entry]
    places = [
        PlaceRule(entry.get("prefix") or entry["host"], entry["assurance"], entry["preference"])
        for entry in ENTRIES
        if "url" not in entry
    ]
    assurance = {entry.get("prefix") or entry.get("host"): entry["assurance"] for entry in ENTRIES}
    site = Site().publish(urls, [], places)
    pull(BASE_URL, tmp_path / "list", root=site.write_root(tmp_path), transport=site.transport())
    line = [sys.executable, str(FOLDER / "read_list.py"), str(tmp_path / "list"), *(case["key"] for case in CASES)]
    done = subprocess.run(line, capture_output=True, text=True, check=True)  # noqa: S603
    since = {"url": "2026-11-01", "prefix": "2026-11-03", "host": "2026-11-03"}
    for case, said in zip(CASES, done.stdout.splitlines()[1:], strict=True):
        kind = next((kind for kind, entry in case["excluded"].items() if entry), None)
        if kind is not None:
            proof = "declared" if kind == "url" else assurance[case["excluded"][kind]]
            assert said == f"excluded by {kind} since {since[kind]} ({proof}): {case['key']}"
        else:
            assert said == f"{'granted' if case['granted'] else 'not listed'}: {case['key']}"


# --- digests and deltas, by plain Python --------------------------------------------------------------------------


def unpacked(data: bytes, n: int) -> tuple[list[int], bytes]:
    """Section 4's packed numbers, a bit at a time; and what follows them."""
    n_blocks = -(-n // 32)
    widths, data = data[:n_blocks], data[n_blocks:]
    numbers = []
    for width in widths:
        block, data = int.from_bytes(data[: 4 * width], "little"), data[4 * width :]
        numbers += [block >> (i * width) & ((1 << width) - 1) for i in range(32)]
    return numbers[:n], data


def test_packed_numbers_are_as_the_vectors_say() -> None:
    for vector in VECTORS["packed"]:
        numbers, data = [int(number) for number in vector["numbers"]], bytes.fromhex(vector["hex"])
        assert unpacked(data, len(numbers)) == (numbers, b"")
        assert pack(np.array(numbers, np.uint64)) == data
        assert unpack(data, len(numbers))[0].tolist() == numbers


def section(name: str, header: dict[str, int], data: bytes) -> tuple[list[int], list[dict[str, Any]]]:
    """Positions removed and rows added of one section."""
    gaps, data = unpacked(data, header["removed"])
    removed = [sum(gaps[: i + 1]) for i in range(len(gaps))]
    n = header["added"]
    n_standings, data = int.from_bytes(data[:4], "little"), data[4:]
    earliest, gaps = 0, []
    if n_standings:
        earliest = int.from_bytes(data[:4], "little", signed=True)
        gaps, data = unpacked(data[4:], n_standings)
    standings = [sum(gaps[: i + 1]) for i in range(n_standings)]
    index, data = unpacked(data, n)
    rows: list[dict[str, Any]] = [{} for _ in range(n)]
    if name == "url":
        gaps, data = unpacked(data, n)
        rows = [{"key": f"{sum(gaps[: i + 1]):016x}"} for i in range(n)]
    elif name in {"prefix", "host"}:
        rows, data = [{name: text.decode()} for text in data.split(b"\n")[:-1]], b""
    else:
        pdq, quality, has_file, digests = data[: 32 * n], data[32 * n : 33 * n], data[33 * n : 34 * n], data[34 * n :]
        for i in range(n):
            sha256, digests = (digests[:32].hex(), digests[32:]) if has_file[i] else (None, digests)
            rows[i] = {"pdq": pdq[32 * i : 32 * i + 32].hex(), "quality": quality[i], "sha256": sha256}
        data = digests
    assert data == b""
    for row, number in zip(rows, index, strict=True):
        standing = standings[number]
        row |= {"preference": standing % 2, "assurance": standing % 16 // 2, "since": earliest + standing // 16}
    return removed, rows


def order(name: str, row: dict[str, Any]) -> tuple[Any, ...]:
    if name == "image":
        return row["pdq"], row["sha256"] is not None, row["sha256"] or ""
    return (row["key" if name == "url" else name],)


def sections() -> Iterator[tuple[str, dict[str, int], bytes]]:
    header, _, data = bytes.fromhex(VECTORS["delta"]["hex"]).partition(b"\n")
    fields = json.loads(header)
    assert fields["format"] == "heldout-list-delta/1"
    assert fields["base"] == VECTORS["delta"]["base"]
    for name in ("url", "prefix", "host", "image"):
        size = fields["tables"][name]["size"]
        yield name, fields["tables"][name], data[:size]
        data = data[size:]
    assert data == b""


def test_the_delta_leads_from_the_old_tables_to_the_new_ones() -> None:
    for (name, header, data), old, new in zip(
        sections(), VECTORS["delta"]["old"], VECTORS["delta"]["new"], strict=True
    ):
        removed, added = section(name, header, data)
        rows = [row for i, row in enumerate(old["rows"]) if i not in removed] + added
        assert sorted(rows, key=lambda row: order(name, row)) == new["rows"]


def test_the_library_reads_and_makes_the_same_delta(script: ModuleType) -> None:
    data = bytes.fromhex(VECTORS["delta"]["hex"])
    delta = parse_delta(data)
    assert format_delta(delta) == data
    for name in SCHEMAS:
        old, new = script.table(script.OLD[name], name), script.table(script.NEW[name], name)
        assert apply_delta(old, delta.tables[name], name).equals(new)
        known = {table["table"]: table["content"] for table in VECTORS["delta"]["new"]}
        assert content_digest(new, name).hex() == known[name]
