"""The tags of a web page, in linear time whatever the page: strangers write them.

Follows the WHATWG tokenizer in what matters here: comments, quoted attributes, and elements whose content is text
(script, style, title and their like). The standard library's parser takes quadratic time on pages of open comments or
endless attributes.
"""

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

_NAME: Final = re.compile(r"[a-zA-Z][^\s/>]*")
_GAP: Final = re.compile(r"[\s/]*")
_ATTRIBUTE: Final = re.compile(r"[^\s/>][^\s/>=]*")
_EQUALS: Final = re.compile(r"\s*=\s*")
_BARE: Final = re.compile(r"[^\s>]*")
_TEXT_ELEMENTS: Final = {
    name: re.compile(f"</{name}(?=[\\s/>])", re.IGNORECASE)
    for name in ("script", "style", "title", "textarea", "xmp", "iframe", "noembed", "noframes")
}


@dataclass(frozen=True)
class Tag:
    """A start tag, or with a slash before its name an end tag. Names are in lower case."""

    name: str
    attributes: dict[str, str] = field(default_factory=dict)
    """The first of two of one name."""
    text_before: str = ""
    """Between this tag and the one before it, as it is written."""
    content: str = ""
    """Of an element that holds only text."""


def iter_tags(page: str) -> Iterator[Tag]:
    """The tags of a page in order. What a browser would drop at the end of a broken page is dropped."""
    at, text_from = 0, 0
    while (start := page.find("<", at)) >= 0:
        following = page[start + 1 : start + 2]
        if following in {"!", "?"} or page.startswith("</", start):
            is_comment = page.startswith("<!--", start)
            end = page.find("-->", start + 2) if is_comment else page.find(">", start)
            if end < 0:
                return
            at = end + (3 if is_comment else 1)
            name = _NAME.match(page, start + 2) if following == "/" else None
            if name:
                yield Tag(f"/{name[0].lower()}", text_before=page[text_from:start])
            elif page[text_from:start].strip():
                yield Tag("", text_before=page[text_from:start])
            text_from = at
        elif (name := _NAME.match(page, start + 1)) is not None:
            attributes, at = _attributes(page, name.end())
            if at < 0:
                return
            before = page[text_from:start]
            content, at = _content(page, name[0].lower(), at)
            yield Tag(name[0].lower(), attributes, before, content)
            if at < 0:
                return
            text_from = at
        else:
            at = start + 1


def _attributes(page: str, at: int) -> tuple[dict[str, str], int]:
    """Of a tag, and where it ends; -1 where it does not."""
    found: dict[str, str] = {}
    while True:
        at = _end(_GAP, page, at)
        if at >= len(page):
            return found, -1
        if page[at] == ">":
            return found, at + 1
        name_end = _end(_ATTRIBUTE, page, at)
        name, at = page[at:name_end].lower(), name_end
        value = ""
        equals = _EQUALS.match(page, at)
        if equals:
            at = equals.end()
            quote = page[at : at + 1]
            if quote in {"'", '"'} and quote:
                end = page.find(quote, at + 1)
                if end < 0:
                    return found, -1
                value, at = page[at + 1 : end], end + 1
            else:
                end = _end(_BARE, page, at)
                value, at = page[at:end], end
        found.setdefault(name, html.unescape(value))


def _content(page: str, name: str, at: int) -> tuple[str, int]:
    """Text inside an element that holds only text, and where it ends; -1 where it does not."""
    closing = _TEXT_ELEMENTS.get(name)
    if closing is None:
        return "", at
    end = closing.search(page, at)
    return (page[at:], -1) if end is None else (page[at : end.start()], end.start())


def _end(pattern: re.Pattern[str], page: str, at: int) -> int:
    match = pattern.match(page, at)
    return match.end() if match else at
