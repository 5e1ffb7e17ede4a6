"""Where a code may stand: TXT records, the well-known file, a page's head, a profile's description. Pure parsers.

A page is read only for what its owner alone writes. Comments are visitors' words, and a code in one proves nothing, so
a code elsewhere on a page is told apart from one that counts.
"""

import html
import re
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urljoin

from heldout.errors import InputError
from heldout.urls import canonical_key
from registry.page_tags import Tag, iter_tags

META_NAME: Final = "heldout-site-verification"
MAX_FILE_BYTES: Final = 16 * 1024
MAX_LINES: Final = 200
MAX_LINKS: Final = 5_000
"""Of one page."""

_DESCRIPTIONS: Final = frozenset({"description", "og:description", "twitter:description", "og:title", "twitter:title"})
"""What platforms fill with a profile's own name and words."""
_HEAD_TAGS: Final = frozenset(
    {"html", "head", "meta", "title", "link", "script", "style", "base", "noscript", "template"}
)
_LINKING: Final = frozenset({"a", "img", "link", "source"})
_WORD: Final = re.compile(r"[a-z0-9]+")


def codes_in_record(text: str) -> str | None:
    """The token of a TXT record: `token=...` and other pairs, or the bare token (dnsop draft, token metadata)."""
    first = text.strip().split(" ", 1)[0]
    name, equals, value = first.partition("=")
    if equals and name.lower() == "token":
        return value.lower() or None
    return text.strip().lower() or None


def codes_in_file(body: bytes) -> list[str]:
    """The tokens of a well-known file: lines `token=...`; blank lines and those that begin with # are passed over.

    Raises:
        InputError: it is a page, or no text at all.
    """
    if len(body) > MAX_FILE_BYTES:
        raise InputError(
            f"the file has more than {MAX_FILE_BYTES:,} bytes: it holds the lines of codes and nothing else"
        )
    if b"\0" in body:
        raise InputError("the file is no plain text: save it as text, in UTF-8")
    lines = [line.strip() for line in body.decode("utf-8-sig", "replace").splitlines()[:MAX_LINES]]
    kept = [line for line in lines if line and not line.startswith("#")]
    if kept and kept[0].startswith("<"):
        raise InputError("a web page came instead of the file: put the file at exactly that address")
    return [found for line in kept if (found := codes_in_record(line)) and line.lower().startswith("token=")]


@dataclass
class PageReading:
    """What of a page counts, and what it links."""

    metas: list[str] = field(default_factory=list)
    """Contents of the verification tags in the head."""
    own_words: list[str] = field(default_factory=list)
    """Title, descriptions, and addresses of links that say they are the profile's own (`rel=me`)."""
    whole: str = ""
    """The page as it came, in lower case."""
    links: list[str] = field(default_factory=list)

    def says(self, code: str) -> bool:
        """Whether the code is where the page's owner alone writes."""
        return any(code in _WORD.findall(each.lower()) for each in self.own_words)

    def has_anywhere(self, code: str) -> bool:
        """Whether it is on the page at all."""
        return code in self.whole

    def link_keys(self, base: str) -> set[str]:
        """Canonical keys of the page's links and pictures."""
        keys = set()
        for link in self.links:
            try:
                keys.add(canonical_key(urljoin(base, link.strip())))
            except (InputError, ValueError):
                continue
        return keys


def read_page(body: bytes, encoding: str = "utf-8") -> PageReading:
    """Read a page, however broken; other octets than text become U+FFFD."""
    try:
        text = body.decode(encoding, "replace")
    except LookupError:
        text = body.decode("utf-8", "replace")
    reading = PageReading(whole=text.lower())
    is_head = True
    for tag in iter_tags(text):
        name = tag.name.removeprefix("/")
        # The head ends with its tag, where the body begins, or at anything that a head cannot hold.
        is_head = is_head and name in _HEAD_TAGS and not tag.text_before.strip() and tag.name != "/head"
        if is_head and name == "meta":
            _add_meta(reading, tag)
        elif is_head and tag.name == "title":
            reading.own_words.append(html.unescape(tag.content))
        if name in _LINKING:
            _add_links(reading, tag, is_head=is_head)
    return reading


def _add_meta(reading: PageReading, tag: Tag) -> None:
    name = (tag.attributes.get("name") or tag.attributes.get("property") or "").lower()
    content = tag.attributes.get("content", "")
    if name == META_NAME:
        reading.metas.append(content.strip().lower())
    elif name in _DESCRIPTIONS:
        reading.own_words.append(content)


def _add_links(reading: PageReading, tag: Tag, *, is_head: bool) -> None:
    given = tag.attributes
    rel = given.get("rel", "").lower().split()
    # Platforms write `me` at a profile's own links, `ugc` at what visitors wrote.
    if "me" in rel and "ugc" not in rel and (tag.name == "a" or (tag.name == "link" and is_head)):
        reading.own_words.append(given.get("href", ""))
    if tag.name != "link":
        links = [given.get("href", ""), given.get("src", "")]
        links += [part.strip().split(" ")[0] for part in given.get("srcset", "").split(",")]
        reading.links += [link for link in links if link][: max(0, MAX_LINKS - len(reading.links))]
