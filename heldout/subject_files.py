"""What somebody wants to opt out, read from their own files: tables, lists of addresses, folders of pictures.

Pictures are fingerprinted here, on their machine; only fingerprints leave it. A line that cannot be used is data, with
its place, not an exception: the other ten thousand still count.
"""

import csv
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from heldout.errors import InputError
from heldout.records import ImageSubject, Subject

PICTURE_SUFFIXES: Final = frozenset(
    {".avif", ".bmp", ".gif", ".heic", ".heif", ".jfif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
)
COLUMNS: Final[Mapping[str, str]] = {
    "url": "url", "address": "url", "link": "url", "image_url": "url",
    "prefix": "prefix", "profile": "prefix",
    "host": "host", "site": "host", "domain": "host",
    "pdq": "pdq", "quality": "quality", "pdq_quality": "quality", "sha256": "sha256",
}  # fmt: skip
"""Names of a table's columns, in lower case, and what they hold."""

MAX_FILE_BYTES: Final = 500_000_000
"""Read at once; a picture of 100 megapixels has 300 MB in the least thrifty of usual formats."""
MAX_CELL_CHARS: Final = 100_000
"""Of a table. The csv module's own limit is the whole process's, and other code raises it."""

_SUBJECT: Final[TypeAdapter[Subject]] = TypeAdapter(Subject)
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Line:
    """One thing found in a file: a subject, or why it is none."""

    where: str
    """As `works.csv:17` or `pictures/castle.png`."""
    subject: Subject | None
    problem: str = ""


def read_source(source: str, *, progress: Progress | None = None) -> list[Line]:
    """Lines of a folder, a table (`.csv`, `.tsv`), a list of addresses (any other text), a picture, or one address.

    Raises:
        InputError: there is no such file, it is not text or has no column that we know, or pictures are to be read and
            what reads them is not installed.
    """
    if "://" in source:
        return [_line(source, {"kind": "url", "url": source})]
    path = Path(source)
    if path.is_dir():
        return read_pictures(_pictures_below(path), progress=progress)
    if path.suffix.lower() in PICTURE_SUFFIXES:
        return read_pictures([path], progress=progress)
    return read_text(source, _read_text(path))


def read_text(name: str, text: str) -> list[Line]:
    """Lines of a table or a list of addresses that is at hand, told apart by the ending of its name.

    Raises:
        InputError: it is a table without a column that we know, or a damaged one.
    """
    if Path(name).suffix.lower() in {".csv", ".tsv"}:
        return list(_read_table(name, text))
    return list(_read_list(name, text.splitlines()))


def fingerprint_line(where: str, data: bytes) -> Line:
    """A picture that is at hand. What reads pictures must be installed."""
    from heldout.pictures import fingerprint

    try:
        mark = fingerprint(data, name="it")
    except InputError as error:
        return Line(where, None, str(error))
    return Line(where, ImageSubject(pdq=mark.pdq[0].tobytes().hex(), quality=mark.quality, sha256=mark.sha256.hex()))


def read_pictures(paths: Iterable[Path], *, progress: Progress | None = None) -> list[Line]:
    """Fingerprints of pictures, in the order given; several are read at once.

    Raises:
        InputError: what reads pictures is not installed.
    """
    try:
        import heldout.pictures  # noqa: F401 - is it installed?
    except ImportError as error:
        raise InputError("to read pictures, install what reads them: pip install 'heldout[images]'") from error
    wanted = list(paths)
    lines = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # decoders let go of the interpreter while they work
        for line in pool.map(_read_picture, wanted):
            lines.append(line)
            if progress is not None:
                progress(len(lines), len(wanted))
    return lines


def host_line(host: str) -> Line:
    """A site named on the command line."""
    return _line(host, {"kind": "host", "host": host})


def prefix_line(prefix: str) -> Line:
    """A profile named on the command line."""
    return _line(prefix, {"kind": "prefix", "prefix": prefix})


def _read_picture(path: Path) -> Line:
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would keep us waiting
            return Line(os.fspath(path), None, "is no file")
        return fingerprint_line(os.fspath(path), _read_bytes(path, "it"))
    except OSError as error:
        return Line(os.fspath(path), None, f"cannot be read ({error.strerror})")
    except InputError as error:
        return Line(os.fspath(path), None, str(error))


def _pictures_below(folder: Path) -> list[Path]:
    """Pictures by their endings, hidden ones apart; and folders that cannot be looked into, to be told as unreadable.

    Links to files count; links to folders are not followed: they may lead round in a circle.
    """
    found: list[Path] = []
    unreadable: list[Path] = []
    for below, folders, names in os.walk(folder, onerror=lambda error: unreadable.append(Path(error.filename))):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths = [Path(below, name) for name in names if not name.startswith(".")]
        found += [path for path in paths if path.suffix.lower() in PICTURE_SUFFIXES]
    found = sorted([*found, *unreadable])
    if not found:
        raise InputError(f"{folder} holds no picture with one of the endings {' '.join(sorted(PICTURE_SUFFIXES))}")
    return found


def _read_bytes(path: Path, name: str) -> bytes:
    """Raises OSError, and InputError for what is no picture and no table of anybody's, but would fill the memory."""
    if path.stat().st_size > MAX_FILE_BYTES:
        raise InputError(f"{name} is over {MAX_FILE_BYTES // 1_000_000} MB: give a smaller copy, or in parts")
    return path.read_bytes()


def _read_text(path: Path) -> str:
    try:
        return _read_bytes(path, os.fspath(path)).decode("utf-8-sig")
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror}): give a folder of pictures, a picture, a table (.csv), a list "
            "of addresses or an address with http:// or https://"
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not text in UTF-8: save it so, or give a table, a list or pictures") from error


def _read_list(path: str, lines: Iterable[str]) -> Iterator[Line]:
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if text and not text.startswith("#"):
            yield _line(f"{path}:{number}", {"kind": "url", "url": text})


def _read_table(path: str, text: str) -> Iterator[Line]:
    head = text.partition("\n")[0]
    delimiter = max(",;\t", key=head.count)
    rows = csv.reader(StringIO(text, newline=""), delimiter=delimiter)
    try:
        header = [name.strip().lower() for name in next(rows, [])]
        meanings = [COLUMNS.get(name) for name in header]
        if len(header) == 1 and "://" in header[0]:  # a list after all
            yield from _read_list(path, text.splitlines())
            return
        if not {"url", "prefix", "host", "pdq"} & set(meanings):
            raise InputError(f"{path} has no column called url, prefix, host or pdq: name the one that holds them")
        start = rows.line_num + 1
        for row in rows:
            _check_cells(f"{path}, line {rows.line_num},", row)
            cells = {
                meaning: cell.strip()
                for meaning, cell in zip(meanings, row, strict=False)
                if meaning is not None and cell.strip()
            }
            yield from _read_row(f"{path}:{start}", cells, is_empty=not any(map(str.strip, row)))
            start = rows.line_num + 1
    except csv.Error as error:
        raise InputError(f"{path}, line {rows.line_num}, cannot be read as a table ({error}): correct it") from error


def _check_cells(where: str, row: list[str]) -> None:
    if max(map(len, row), default=0) > MAX_CELL_CHARS:
        raise InputError(
            f"{where} cannot be read as a table (a cell of over {MAX_CELL_CHARS:,} characters): correct it"
        )


def _read_row(where: str, cells: Mapping[str, str], *, is_empty: bool) -> Iterator[Line]:
    named = [kind for kind in ("url", "prefix", "host") if kind in cells]
    yield from (_line(where, {"kind": kind, kind: cells[kind]}) for kind in named)
    if "pdq" in cells:
        mark = {"pdq": cells["pdq"].lower(), "quality": cells.get("quality", "")}
        sha256 = {"sha256": cells["sha256"].lower()} if "sha256" in cells else {}
        yield _line(where, {"kind": "image", **mark, **sha256})
    elif not named and not is_empty:
        yield Line(where, None, "names neither an address nor a place nor a picture")


def _line(where: str, fields: Mapping[str, Any]) -> Line:
    try:
        return Line(where, _SUBJECT.validate_python(dict(fields)))
    except ValidationError as error:
        first = error.errors()[0]
        return Line(where, None, f"{first['loc'][-1]}: {first['msg']}")
