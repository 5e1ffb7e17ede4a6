"""The picked pictures as Debian's packages hold them: files, and what their own metadata says of artist and licence.

`selection.csv` (path, title) was written by hand from contact sheets: which pictures, and an English title for each,
because half of the files are titled in Italian, French or not at all. Artist and licence are never ours: they are read
from the Dublin Core metadata inside each SVG, and a picture whose file does not declare the public domain is refused.
"""

import csv
import hashlib
import html
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent

PACKAGES = {
    "openclipart-png": (
        "1:0.18+dfsg-19",
        "f07f1545a2970c2cf3fa339bc2405da1a95cf2b1827bfa05bf73eb1c20291c02",
    ),
    "openclipart-svg": (
        "1:0.18+dfsg-19",
        "989712d90d57dfa3230049f553bb43b76c30ee4d4b8c5f6e106e33f7db5cbdc5",
    ),
}
"""Debian package -> (version, SHA-256 of the .deb)."""

INSTALLED = Path("/usr/share/openclipart")
"""Where those packages put their files: `svg/` and `png/`, the same tree twice."""

PUBLIC_DOMAIN = {
    "http://web.resource.org/cc/PublicDomain",
    "http://creativecommons.org/licenses/publicdomain/",
}

_CONTACT = re.compile(r"\s*(\(.*\)|\[.*\]|<.*>|- \S+@\S+)\s*$")


def without_contact(text: str) -> str:
    """A name or a title less the e-mail address that its artist put behind it."""
    return _CONTACT.sub("", text) if "@" in text else text


@dataclass(frozen=True)
class Original:
    """One picked picture."""

    path: str
    """Relative to the packages' `svg/` and `png/`, without extension."""
    title: str
    """English, by hand, lower case unless a name."""
    written_title: str
    """As the SVG says."""
    creator: str
    """As the SVG says, less e-mail addresses and remarks, one spelling per artist."""
    licence: str
    svg: Path
    png: Path

    @property
    def category(self) -> str:
        """The packages' top folder: animals, food, people..."""
        return self.path.split("/", 1)[0]


def read_table(name: str) -> list[dict[str, str]]:
    """Rows of one of the hand-made tables beside this file."""
    with (HERE / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def read_originals(source: Path) -> list[Original]:
    """The selection, in its table's order.

    Raises:
        SystemExit: a file is missing or does not declare the public domain.
    """
    spelling = {row["written"]: row["name"] for row in read_table("artists.csv")}
    return [_read_original(source, row["path"], row["title"], spelling) for row in read_table("selection.csv")]


def _read_original(source: Path, path: str, title: str, spelling: dict[str, str]) -> Original:
    svg, png = source / "svg" / f"{path}.svg", source / "png" / f"{path}.png"
    for file in (svg, png):
        if not file.is_file():
            raise SystemExit(f"{file} is missing: install Debian's packages {' and '.join(PACKAGES)}")
    root = ET.fromstring(svg.read_bytes())  # noqa: S314 - files of a Debian package whose digest is recorded
    work = list(_children(root.iter(), "Work"))
    creator = _first_text(work, "creator")
    creator = _CONTACT.sub("", html.unescape(creator))
    licence = next((v for w in work for e in _children(w, "license") for v in e.attrib.values()), "")
    if licence not in PUBLIC_DOMAIN or not creator:
        raise SystemExit(f"{svg} names licence {licence!r} and creator {creator!r}: take it out of selection.csv")
    written_title = html.unescape(_first_text(work, "title"))
    return Original(path, title, written_title, spelling.get(creator, creator), licence, svg, png)


def _children(elements: Iterable[ET.Element], name: str) -> Iterator[ET.Element]:
    return (e for e in elements if e.tag.rpartition("}")[2] == name)


def _first_text(work: list[ET.Element], name: str) -> str:
    texts = (" ".join("".join(e.itertext()).split()) for w in work for e in _children(w, name))
    return next((text for text in texts if text), "")


def inputs_digest(originals: Iterable[Original]) -> str:
    """One SHA-256 over the digests of every input file, in path order."""
    lines = [
        f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.suffix[1:]}/{o.path}{file.suffix}\n"
        for o in sorted(originals, key=lambda o: o.path)
        for file in (o.png, o.svg)
    ]
    return hashlib.sha256("".join(lines).encode()).hexdigest()
