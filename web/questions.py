"""What somebody typed into the one box: words, an address, a site or a name. Pure.

A picture needs no reading, so it is not here. Whether words are a name is seen from what captions credit, in
`search_pages`. When the reading is wrong the results page offers the others, by `as=`.
"""

import re
from dataclasses import dataclass
from typing import Literal, get_args

from heldout.errors import InputError

Reading = Literal["text", "caption", "url", "site"]
READINGS: tuple[Reading, ...] = get_args(Reading)

MAX_CHARS = 2_000
"""Longer addresses exist, but not ones a person types; the API takes them."""

_HOST = re.compile(r"(?:[\w-]+\.)+[^\W\d_][\w-]+(?::\d+)?(?P<path>[/?]\S*)?")
_SCHEME = re.compile(r"(?:https?:)?//", re.IGNORECASE)
_PICTURE_FILE = re.compile(r"\.(?:jpe?g|png|gif|webp|avif|svg|bmp|tiff?)$", re.IGNORECASE)


@dataclass(frozen=True)
class Question:
    """Words and how they are read."""

    words: str
    reading: Reading
    certain: bool
    """Whether the form of the words, or the person, decided the reading. If not, they may still be a name."""


def understand(words: str, reading: str = "") -> Question:
    """Read what was typed; `reading`, when not empty, is the person's own choice.

    >>> [understand(words).reading for words in ("red car", "https://a.example/1.png", "a.example")]
    ['text', 'url', 'site']

    Raises:
        InputError: nothing was typed, too much was, or there is no such reading.
    """
    words = " ".join(words.split())
    if not words:
        raise InputError("The search box was empty: type some words, a web address or a name, or choose a picture.")
    if len(words) > MAX_CHARS and " " not in words:  # the engine says what it takes of several words
        raise InputError(f"That is {len(words):,} characters long: the search box takes up to {MAX_CHARS:,}.")
    if reading:
        chosen = next((known for known in READINGS if known == reading), None)
        if chosen is None:
            raise InputError(f"There is no way of searching called {reading[:40]!r}: use one of {', '.join(READINGS)}.")
        return Question(words, chosen, certain=True)
    guessed = _by_form(words)
    return Question(words, guessed or "text", certain=guessed is not None)


def _by_form(words: str) -> Reading | None:
    if " " in words:
        return None
    scheme = _SCHEME.match(words)
    host = _HOST.fullmatch(words[scheme.end() :] if scheme else words)
    if host is None:
        return "url" if scheme else None
    path = host["path"] or "/"
    if path == "/":
        return "site"
    return "url" if scheme or "?" in path or _PICTURE_FILE.search(path) else "site"
