"""The parts of an audit that people look at: a title, a sentence, a chart, and the table behind it.

Made from rows of `heldout.audit_tables`, in words that the caller chooses: the command's page is English, the site's in
its visitors' languages.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import accumulate
from typing import Any, Final

from heldout import audit_words as words
from heldout.audit_charts import Bar, across, upward
from heldout.records import ASSURANCES

SHOWN: Final = 20
"""Rows of a table that are shown; the files have all."""
_DRAWN: Final = 10
"""Of these, in a chart."""

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Voice:
    """How to say things."""

    say: Callable[[str], str] = str
    count: Callable[[int], str] = "{:,}".format
    percent: Callable[[float], str] = "{:.2%}".format

    @property
    def mark(self) -> str:
        """What stands between the thousands of its numbers."""
        return self.count(10_000)[2:-3]


@dataclass(frozen=True)
class Cell:
    """A cell of a table."""

    text: str
    is_number: bool


@dataclass(frozen=True)
class Legend:
    """A series of a chart."""

    name: str
    """Of `heldout.audit_charts.COLOURS`; without spaces, for a class."""
    words: str


@dataclass(frozen=True)
class Section:
    """One part of the page."""

    id: str
    title: str
    words: str
    chart: str
    """SVG; empty where there is nothing to draw."""
    legend: list[Legend]
    heads: list[Cell]
    rows: list[list[Cell]]
    more: str
    """That not all rows are shown; empty if they are."""
    file: str
    """Name of the table's files, without suffix."""


@dataclass(frozen=True)
class Found:
    """Rows of one table: the first of them, and how many there are."""

    rows: Sequence[Row]
    n_rows: int


def make_sections(tables: Mapping[str, Found], n_samples: int, voice: Voice) -> list[Section]:
    """Those that there is something to say in, in the order of `heldout.audit_words.TITLES`."""
    return list(_Maker(tables, n_samples, voice).sections())


class _Maker:
    def __init__(self, tables: Mapping[str, Found], n_samples: int, voice: Voice) -> None:
        self._tables = tables
        self._n_samples = n_samples
        self._voice = voice
        self._say = voice.say

    def sections(self) -> Iterator[Section]:
        for name in words.TITLES:
            found = self._tables.get(name)
            if found is None or not self._is_worth(name, found):
                continue
            rows = [dict(row) for row in found.rows]
            if name == "since":
                rows = self._since(rows)
            heads = self._heads(name, rows[0])
            title = self._say(words.TITLES[name])
            alt = self._say(words.LINES["chart"]) % {"title": title}
            bars = self._bars(name, rows)
            draw = upward if name in {"since", "sizes"} else across
            more = ""
            if len(rows) < found.n_rows and name != "since":
                counts = {"n": self._voice.count(len(rows)), "of": self._voice.count(found.n_rows)}
                more = self._say(words.LINES["first"]) % counts
            yield Section(
                id=name,
                title=title,
                words=self._say(words.WORDS[name]),
                chart=draw(bars, alt, self._voice.mark) if bars else "",
                legend=self._legend(bars),
                heads=[Cell(self._say(words.HEADS[head]), _is_number(head)) for head in heads],
                rows=[[Cell(self._text(head, row[head]), _is_number(head)) for head in heads] for row in rows],
                more=more,
                file={"opted_out_domains": "domains"}.get(name, name),
            )

    def _is_worth(self, name: str, found: Found) -> bool:
        if not found.rows:
            return False
        column = {"scripts": "script", "languages": "language", "statuses": "status", "sizes": "shorter_from"}.get(name)
        if column is not None:  # the data set says nothing of it
            return any(row[column] is not None for row in found.rows)
        return name != "copies" or any(row["n_copies"] > 1 for row in found.rows)

    def _since(self, rows: Sequence[Row]) -> list[dict[str, Any]]:
        """Months, none left out, and what has come together by then."""
        by_month: dict[date, dict[str, int]] = {}
        for row in rows:
            by_month.setdefault(row["month"], {})[row["assurance"]] = row["n_samples"]
        months = list(_months(min(by_month), max(by_month)))
        fresh = [sum(by_month.get(month, {}).values()) for month in months]
        return [
            {
                "month": month,
                "n_samples": n,
                "total": total,
                "share": total / self._n_samples,
                "by_proof": by_month.get(month, {}),
            }
            for month, n, total in zip(months, fresh, accumulate(fresh), strict=True)
        ]

    def _heads(self, name: str, row: Row) -> list[str]:
        wanted = {
            "since": ("month", "n_samples", "total", "share"),
            "opt_outs": ("kind", "assurance", "n_samples", "share"),
            "changes": ("domain", "n_added", "n_removed", "n_kept", "n_added_opted_out"),
        }.get(name)
        return list(wanted) if wanted is not None else [head for head in words.HEADS if head in row]

    def _text(self, head: str, value: object) -> str:
        voice = self._voice
        if head in {"rate", "share"} and isinstance(value, float):
            return voice.percent(value)
        if head == "month" and isinstance(value, date):
            return f"{value:%Y-%m}"
        if head == "shorter_from":
            return self._size(value if isinstance(value, int) else None)
        if isinstance(value, int):
            return voice.count(value)
        names = {"kind": words.KINDS, "assurance": words.PROOFS, "script": words.SCRIPT_WORDS}.get(head, {})
        if value is None and head != "script":
            return self._say(words.LINES["not stated"])
        text = str(value or "")
        return self._say(names[text]) if text in names else text

    def _size(self, low: int | None) -> str:
        count = self._voice.count
        if low is None:
            return self._say(words.LINES["not stated"])
        if low == 1:
            return self._say(words.LINES["below"]) % {"n": count(64)}
        if low == 4096:  # the last step of `heldout.audit_sql`
            return self._say(words.LINES["from"]) % {"n": count(low)}
        return self._say(words.LINES["span"]) % {"low": count(low), "high": count(2 * low - 1)}

    def _bars(self, name: str, rows: Sequence[Row]) -> list[Bar]:
        if name == "since":
            totals = dict.fromkeys(ASSURANCES, 0)
            bars = []
            for row in rows:
                for proof in ASSURANCES:
                    totals[proof] += row["by_proof"].get(proof, 0)
                    if totals[proof]:
                        bars.append(Bar(f"{row['month']:%Y-%m}", proof, totals[proof]))
            return bars
        if name == "opt_outs":
            return [Bar(self._text("kind", row["kind"]), row["assurance"], row["n_samples"]) for row in rows]
        if name == "copies":
            return [Bar(self._text("n_copies", row["n_copies"]), "kept", row["n_urls"]) for row in rows][:_DRAWN]
        first = next(head for head in words.HEADS if head in rows[0])
        parts = {"changes": (("added", "n_added"), ("removed", "n_removed"))}.get(name)
        bars = []
        for row in rows[: None if name == "sizes" else _DRAWN]:
            label = self._text(first, row[first])
            if parts is not None:
                bars += [Bar(label, series, row[column]) for series, column in parts]
            else:
                out = row["n_opted_out"]
                rest = 0 if name == "opted_out_domains" else row["n_samples"] - out
                bars += [Bar(label, "kept", rest)] if name != "opted_out_domains" else []
                bars.append(Bar(label, "opted out", out))
        return bars

    def _legend(self, bars: Sequence[Bar]) -> list[Legend]:
        names = {**words.SERIES, **words.PROOFS}
        found = [name for name in names if any(bar.series == name for bar in bars)]
        if len(found) == 1 and found[0] not in words.PROOFS:  # the title says it
            return []
        return [Legend(class_of(name), self._say(names[name])) for name in found]


def class_of(series: str) -> str:
    """What a page calls a series of `heldout.audit_charts.COLOURS`."""
    return series.replace(" ", "-")


def _is_number(head: str) -> bool:
    return head.startswith("n_") or head in {"rate", "share", "total"}


def _months(first: date, last: date) -> Iterator[date]:
    month = first
    while month <= last:
        yield month
        month = date(month.year + month.month // 12, month.month % 12 + 1, 1)
