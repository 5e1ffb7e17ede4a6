"""Lines of JSONL, CSV and TSV files as samples: their values beside the very bytes they were read from.

Fails closed: what cannot be read in one way only is an error that names file and line, since a line that is misread may
hide an address.

- JSONL: every line that is not blank is an object, with no name twice and a field of URLs, whose value is a string or
  null, as is that of a field of digests.
- CSV: RFC 4180, with the first of comma, semicolon, tab and bar under which the header names a column of URLs. Quoted
  fields may hold line breaks.
- TSV: a line is a sample. Both customs are read, quotes as part of the text and quotes around it, as long as they agree
  on where fields end.
"""

import csv
import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO, Final

from heldout.errors import InputError
from heldout.filtering_columns import (
    ABOUT_NAMES,
    CAPTION_NAMES,
    ID_NAMES,
    SHA256_NAME,
    Columns,
    find_columns,
    is_url_name,
)

MAX_LINE_BYTES: Final = 64 * 1024 * 1024
_DELIMITERS: Final = ",;\t|"
_BOM: Final = "\ufeff"


@dataclass(frozen=True)
class Line:
    """Some bytes of the file that stay or go together."""

    data: bytes
    """With the line's end."""
    values: "Values | None"
    """None for what is no sample and always kept: a header, a blank line."""


@dataclass(frozen=True)
class Values:
    """What a sample says."""

    urls: tuple[str | None, ...]
    digests: tuple[str | None, ...]
    said: dict[str, str | None]
    """Its keys and caption by the names of `heldout.filtering_emit.SAID`, and the rest of what is `about` it."""


class LineReader:
    """The physical lines of a file, counted."""

    def __init__(self, stream: BinaryIO, name: str, *, max_line_bytes: int = MAX_LINE_BYTES) -> None:
        """Read `stream` from where it stands; `name` is for messages."""
        self._stream = stream
        self._max_line_bytes = max_line_bytes
        self.name = name
        self.number = 0
        """Of the line read last, from 1."""
        self.taken: list[bytes] = []
        """Lines read since it was last cleared."""

    def __iter__(self) -> Iterator[str]:
        while data := self._stream.readline(self._max_line_bytes + 1):
            self.number += 1
            if len(data) > self._max_line_bytes:
                raise self.error(f"is longer than {self._max_line_bytes} bytes: it is damaged, or no text")
            self.taken.append(data)
            # Captions in other encodings must not hide the rest; an address with such bytes is counted as unreadable.
            text = data.decode(errors="surrogateescape")
            yield text.removeprefix(_BOM) if self.number == 1 else text

    def take(self) -> bytes:
        """The bytes of the lines read since the last call."""
        data = b"".join(self.taken)
        self.taken.clear()
        return data

    def error(self, what: str, number: int | None = None) -> InputError:
        """About a line, this one if none is given."""
        return InputError(f"{self.name}, line {number or self.number}, {what}")


class _Ambiguous(dict[str, object]):
    """A JSON object with a name in it twice."""


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields = dict(pairs)
    return fields if len(fields) == len(pairs) else _Ambiguous(fields)


_JSON: Final = json.JSONDecoder(object_pairs_hook=_object)


def iter_jsonl(lines: LineReader, url_column: str | None) -> Iterator[Line]:
    """Lines of a JSONL file.

    Raises:
        InputError: a line is not an object, or has no URL field.
    """
    for text in lines:
        data = lines.take()
        if not text.strip():
            yield Line(data, None)
            continue
        try:
            fields = _JSON.decode(text)
        except (ValueError, RecursionError) as error:
            raise lines.error(f"is not JSON ({error}): correct it, or get the file again") from error
        if isinstance(fields, _Ambiguous):
            raise lines.error("has a field twice, of which some readers take one and some the other: correct it")
        if not isinstance(fields, dict):
            raise lines.error("is not a JSON object: every line must be one")
        yield Line(data, _json_values(fields, lines, url_column))


def _json_values(fields: dict[str, object], lines: LineReader, url_column: str | None) -> Values:
    urls: list[str | None] = []
    digests: list[str | None] = []
    said: dict[str, str | None] = {}
    for name, value in fields.items():
        lower = name.lower()
        if is_url_name(name, url_column):
            if value is not None and not isinstance(value, str):
                raise lines.error(f"has a field {name!r} that is no text: name the URLs with --url-column")
            urls.append(value)
        elif lower == SHA256_NAME:
            if value is not None and not isinstance(value, str):
                raise lines.error(f"has a field {name!r} that is no text, so that no picture would be met by its bytes")
            digests.append(value)
        elif (lower in ID_NAMES or lower in CAPTION_NAMES) and isinstance(value, str | int):
            said[lower] = str(value)
        elif lower in ABOUT_NAMES:
            said[lower] = about_text(value)
    if not urls:
        wanted = f"field {url_column!r}" if url_column is not None else "field url or URL"
        raise lines.error(
            f"has no {wanted}, so its sample cannot be checked by URL; its fields are {', '.join(fields)[:500]}: "
            "name the right one with --url-column"
        )
    said["url"] = urls[0]
    said["caption"] = next((said[name] for name in CAPTION_NAMES if name in said), None)
    return Values(tuple(urls), tuple(digests), said)


def about_text(value: object) -> str | None:
    """A field of `ABOUT_NAMES` as text, a list of texts as lines; None where it is neither text nor number."""
    if isinstance(value, list):
        return "\n".join(one for one in value if isinstance(one, str)) or None
    return str(value) if isinstance(value, str | int | float) else None


def iter_csv(lines: LineReader, url_column: str | None) -> Iterator[Line]:
    """Records of a CSV file, the header first.

    Raises:
        InputError: no header with a URL column, or a record that does not fit it.
    """
    csv.field_size_limit(max(csv.field_size_limit(), MAX_LINE_BYTES))
    source = iter(lines)
    delimiter, names = _header(_header_line(source, lines), lines, url_column)
    columns = find_columns(names, lines.name, url_column)
    yield Line(lines.take(), None)
    records = csv.reader(source, delimiter=delimiter, strict=True)
    while True:
        start = lines.number + 1
        try:
            fields = next(records)
        except StopIteration:
            return
        except csv.Error as error:
            raise lines.error(f"cannot be read as CSV ({error}): correct it, or get the file again", start) from error
        data = lines.take()
        yield Line(data, _values(fields, names, columns, lines, start) if fields else None)


def _header(text: str, lines: LineReader, url_column: str | None) -> tuple[str, list[str]]:
    for delimiter in _DELIMITERS:
        try:
            names = next(csv.reader([text], delimiter=delimiter, strict=True), [])
        except csv.Error:
            continue
        if any(is_url_name(name, url_column) for name in names):
            return delimiter, names
    names = text.strip().split(",")
    find_columns(names, lines.name, url_column)  # says which there are, if none is of URLs
    if '"' in text:
        raise lines.error("is a header with quotes that do not fit: correct it, or get the file again")
    return ",", names


def _header_line(source: Iterator[str], lines: LineReader) -> str:
    text = next(source, "")
    if not text.strip():
        raise InputError(f"{lines.name} has no header on its first line: the columns must be named there")
    _check_ends(text, lines)
    return text


def _check_ends(text: str, lines: LineReader) -> None:
    """Some programs end a line at a carriage return alone: for them, more samples would be in it."""
    if "\r" in text.rstrip("\r\n"):
        raise lines.error("holds a carriage return, which may end a line or not: end lines with LF or CR LF")


def iter_tsv(lines: LineReader, url_column: str | None) -> Iterator[Line]:
    """Lines of a TSV file, the header first.

    Raises:
        InputError: no header with a URL column, or a line that does not fit it.
    """
    source = iter(lines)
    names = _split_tabs(_header_line(source, lines))
    columns = find_columns(names, lines.name, url_column)
    yield Line(lines.take(), None)
    for text in source:
        data = lines.take()
        if len(names) == 1:  # else lines that are not told apart have too many fields
            _check_ends(text, lines)
        blank = not text.rstrip("\r\n") and len(names) > 1
        yield Line(data, None if blank else _values(_split_tabs(text), names, columns, lines, lines.number))


def _split_tabs(text: str) -> list[str]:
    fields = text.rstrip("\r\n").split("\t")
    if any(field.startswith('"') for field in fields):
        with suppress(csv.Error):
            unquoted = next(csv.reader([text], delimiter="\t", strict=True), [])
            if len(unquoted) == len(fields):
                return unquoted
        # Quotes are text in this line. An address that has them around is one for readers that take them off.
        return [field[1:-1] if len(field) > 1 and field[0] == field[-1] == '"' else field for field in fields]
    return fields


def _values(fields: list[str], names: list[str], columns: Columns, lines: LineReader, number: int) -> Values:
    if len(fields) != len(names):
        raise lines.error(
            f"has {len(fields)} fields, the header {len(names)}: correct it, or get the file again", number
        )
    said: dict[str, str | None] = {name: fields[i] for name, i in columns.ids.items()}
    said |= {name: fields[i] or None for name, i in columns.about.items()}
    said["url"] = fields[columns.urls[0]] or None
    said["caption"] = None if columns.caption is None else fields[columns.caption]
    return Values(tuple(fields[i] or None for i in columns.urls), tuple(fields[i] for i in columns.sha256), said)
