"""Writes exclusion-list-vectors.json: examples for exclusion-list.md, made by the library. Run it from the checkout."""

import json
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from heldout.bit_packing import pack
from heldout.delta_files import format_delta, make_delta
from heldout.list_tables import SCHEMAS, TableName, content_digest, in_order
from heldout.manifest import PreviousVersion
from heldout.records import ASSURANCES
from heldout.urls import canonical_key, key_digest

Row = dict[str, Any]

ENTRIES: list[Row] = [
    {"url": "https://art.example/1.jpg", "preference": 0, "assurance": "declared"},
    {"url": "https://shop.example/jane/free.jpg", "preference": 1, "assurance": "reviewed"},
    {"url": "https://open.example/free.jpg", "preference": 1, "assurance": "declared"},
    {"prefix": "shop.example/jane/", "preference": 0, "assurance": "account"},
    {"prefix": "shop.example/jane/new/", "preference": 0, "assurance": "account"},
    {"prefix": "shop.example/jane/old/", "preference": 0, "assurance": "reviewed"},
    {"prefix": "shop.example/jane/old/1999/", "preference": 0, "assurance": "host"},
    {"prefix": "shop.example:8080/joe/", "preference": 0, "assurance": "account"},
    {"prefix": "1.2.3.4/kim/", "preference": 0, "assurance": "account"},
    {"prefix": "shop.example/a//b/", "preference": 0, "assurance": "account"},
    {"prefix": "open.example/gallery/", "preference": 1, "assurance": "account"},
    {"host": "jane.example", "preference": 0, "assurance": "host"},
    {"host": "www.jane.example", "preference": 0, "assurance": "host"},
    {"host": "old.jane.example", "preference": 0, "assurance": "credential"},
    {"host": "x.old.jane.example", "preference": 0, "assurance": "host"},
    {"host": "free.example", "preference": 1, "assurance": "host"},
    {"host": "xn--mnchen-3ya.example", "preference": 0, "assurance": "host"},
]
"""`url` stands for the digest of its canonical key."""

CASES: list[tuple[str, Row, bool]] = [
    ("https://art.example/1.jpg", {"url": "art.example/1.jpg"}, False),
    ("http://ART.example:443/%31.jpg?utm_source=x#top", {"url": "art.example/1.jpg"}, False),
    ("https://art.example/2.jpg", {}, False),
    ("https://shop.example/jane", {"prefix": "shop.example/jane/"}, False),
    ("https://shop.example/jane?page=2", {"prefix": "shop.example/jane/"}, False),
    ("https://shop.example/jane/", {"prefix": "shop.example/jane/"}, False),
    ("https://shop.example/jane/a/b.jpg?x=/y", {"prefix": "shop.example/jane/"}, False),
    ("https://shop.example/jane//a.jpg", {"prefix": "shop.example/jane/"}, False),
    ("https://shop.example/janet/a.jpg", {}, False),
    ("https://shop.example/?q=/jane/", {}, False),
    ("https://www.shop.example/jane/a.jpg", {}, False),
    ("https://shop.example:8080/jane/a.jpg", {}, False),
    ("https://shop.example:8080/joe/a.jpg", {"prefix": "shop.example:8080/joe/"}, False),
    ("https://shop.example/joe/a.jpg", {}, False),
    ("https://shop.example/jane/new/a.jpg", {"prefix": "shop.example/jane/new/"}, False),
    ("https://shop.example/jane/old/1999/a.jpg", {"prefix": "shop.example/jane/old/"}, False),
    ("https://shop.example/a//b/c", {"prefix": "shop.example/a//b/"}, False),
    ("https://shop.example/a/b/c", {}, False),
    ("http://1.2.3.4/kim/1.jpg", {"prefix": "1.2.3.4/kim/"}, False),
    ("https://jane.example/", {"host": "jane.example"}, False),
    ("https://JANE.example.:8080/any?q", {"host": "jane.example"}, False),
    ("https://cdn.jane.example/x.png", {"host": "jane.example"}, False),
    ("https://www.jane.example/x.png", {"host": "www.jane.example"}, False),
    ("https://a.x.old.jane.example/x.png", {"host": "old.jane.example"}, False),
    ("https://notjane.example/", {}, False),
    ("https://example/", {}, False),
    ("https://münchen.example/a", {"host": "xn--mnchen-3ya.example"}, False),
    ("https://open.example/free.jpg", {}, True),
    ("https://open.example/gallery/1.jpg", {}, True),
    ("https://pics.free.example/1.jpg", {}, True),
    ("https://open.example/other.jpg", {}, False),
    ("https://shop.example/jane/free.jpg", {"prefix": "shop.example/jane/"}, False),
]
"""Address, the entry of each kind that excludes it, whether it is granted and not excluded."""

DAY = 20_758  # 2026-11-01
OLD: dict[TableName, list[Row]] = {
    "url": [{"key": key, "preference": 0, "assurance": 0, "since": DAY} for key in (1, 5, 2**63, 2**64 - 1)],
    "prefix": [{"prefix": "shop.example/jane/", "preference": 0, "assurance": 1, "since": DAY}],
    "host": [],
    "image": [
        {"pdq": "00" * 32, "quality": 90, "sha256": None, "preference": 0, "assurance": 0, "since": DAY},
        {"pdq": "00" * 32, "quality": 90, "sha256": "11" * 32, "preference": 0, "assurance": 0, "since": DAY},
    ],
}
NEW: dict[TableName, list[Row]] = {
    "url": [
        {"key": 1, "preference": 0, "assurance": 0, "since": DAY},
        {"key": 5, "preference": 0, "assurance": 4, "since": DAY},
        *({"key": n * 2**57 + 7, "preference": n % 2, "assurance": n % 3, "since": DAY + 21} for n in range(35)),
        {"key": 2**64 - 1, "preference": 0, "assurance": 0, "since": DAY},
    ],
    "prefix": [],
    "host": [
        {"host": "jane.example", "preference": 0, "assurance": 2, "since": DAY + 21},
        {"host": "joe.example", "preference": 0, "assurance": 2, "since": -3},
    ],
    "image": [
        {"pdq": "00" * 32, "quality": 90, "sha256": "11" * 32, "preference": 0, "assurance": 0, "since": DAY},
        {"pdq": "0a" * 32, "quality": 49, "sha256": "22" * 32, "preference": 1, "assurance": 3, "since": DAY},
        {"pdq": "0a" * 32, "quality": 50, "sha256": None, "preference": 0, "assurance": 0, "since": DAY},
    ],
}
PACKED = [[], [0], [1], [0] * 32, [2**64 - 1], list(range(33)), [0] * 40 + [5, 2**40]]


def table(rows: Sequence[Row], name: TableName) -> pa.Table:
    """Rows as the list has them."""
    schema = SCHEMAS[name]
    columns: dict[str, Any] = {column: [row[column] for row in rows] for column in schema.names}
    for column in ("pdq", "sha256"):
        if column in columns:
            columns[column] = [value if value is None else bytes.fromhex(value) for value in columns[column]]
    columns["since"] = pa.array(columns["since"], pa.int32()).cast(pa.date32())
    return in_order(pa.table(columns, schema=schema), name)


def shown(rows: Sequence[Row]) -> list[Row]:
    """Rows as the file has them: no number is over 2**53."""
    return [row | ({"key": f"{row['key']:016x}"} if "key" in row else {}) for row in rows]


def entry(row: Row) -> Row:
    """An entry of `ENTRIES`, with the digest that the list holds."""
    if "url" not in row:
        return row
    return row | {"key": key_digest(canonical_key(row["url"]))[:8].hex()}


def tables_of(rows: Mapping[TableName, Sequence[Row]]) -> list[Row]:
    """Tables with their digests."""
    return [
        {"table": name, "rows": shown(rows[name]), "content": content_digest(table(rows[name], name), name).hex()}
        for name in SCHEMAS
    ]


def vectors() -> dict[str, Any]:
    """All of the file."""
    base = PreviousVersion(7, bytes(range(32)))
    old, new = ({name: table(rows[name], name) for name in SCHEMAS} for rows in (OLD, NEW))
    return {
        "assurances": list(ASSURANCES),
        "entries": [entry(row) for row in ENTRIES],
        "cases": [
            {
                "url": url,
                "key": canonical_key(url),
                "excluded": {kind: found.get(kind) for kind in ("url", "prefix", "host")},
                "granted": is_granted,
            }
            for url, found, is_granted in CASES
        ],
        "packed": [
            {"numbers": [str(number) for number in numbers], "hex": pack(np.array(numbers, np.uint64)).hex()}
            for numbers in PACKED
        ],
        "delta": {
            "base": {"version": base.version, "sha256": base.sha256.hex()},
            "old": tables_of(OLD),
            "new": tables_of({name: table_rows(NEW[name], name) for name in SCHEMAS}),
            "hex": format_delta(make_delta(base, old, new)).hex(),
        },
        "since_of_day": {str(DAY): date(1970, 1, 1).fromordinal(date(1970, 1, 1).toordinal() + DAY).isoformat()},
    }


def table_rows(rows: Sequence[Row], name: TableName) -> list[Row]:
    """Rows in the order of their table."""
    if name == "image":
        return sorted(rows, key=lambda row: (row["pdq"], row["sha256"] is not None, row["sha256"] or ""))
    return sorted(rows, key=lambda row: row[SCHEMAS[name].names[0]])


if __name__ == "__main__":
    text = json.dumps(vectors(), indent=1, ensure_ascii=False)
    Path(__file__).with_name("exclusion-list-vectors.json").write_text(text + "\n", encoding="utf-8")
