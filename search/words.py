"""Words of queries and captions: folding, quoted phrases, and whether captions credit somebody by that name.

Pure functions on strings, in any script; words are cut and folded as the caption index cuts and folds them.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from heldout.errors import InputError
from indexer.captions import split_units

MAX_QUERY_CHARS: Final = 1_000
"""Longest text asked for. A text encoder reads about 300 characters, a caption search a few words."""

_QUOTED = re.compile(r'["“”„«»]([^"“”„«»]*)["“”„«»]')
_QUOTES = re.compile(r'["“”„«»]')
_CREDIT: Final = (
    r"(?:\b(?:by|via|art|artist|author|illustrator|photographer|painter|creator|de|von|di|par)\b|[©®@]|\(c\))"
)
_AFTER: Final = ("art", "artist", "credit0mark", "gallery", "illustration", "photography", "portfolio", "studio")

_FUNCTION_WORDS: Final = frozenset(
    [
        "a",
        "an",
        "and",
        "are",
        "as",
        "at",
        "by",
        "for",
        "from",
        "in",
        "into",
        "is",
        "it",
        "its",
        "of",
        "on",
        "onto",
        "or",
        "over",
        "the",
        "this",
        "to",
        "under",
        "with",
        "without",
    ]
)


@dataclass(frozen=True)
class Query:
    """A text as asked."""

    text: str
    """Cleaned, without quotes: what an encoder reads."""
    phrases: tuple[str, ...]
    """Quoted parts, folded: they must be in the caption as they stand."""


def parse_query(text: str) -> Query:
    """Clean a query and find its quoted phrases. An unpaired quote is ignored.

    Raises:
        InputError: no letter or digit in it, or longer than `MAX_QUERY_CHARS`.
    """
    if len(text) > MAX_QUERY_CHARS:
        raise InputError(f"the text is {len(text):,} characters long: ask with at most {MAX_QUERY_CHARS:,}")
    phrases = tuple(phrase for phrase in map(fold, _QUOTED.findall(text)) if phrase)
    plain = clean(_QUOTES.sub(" ", text))
    if not fold(plain):
        raise InputError("the text has no letter or digit in it: write what the picture shows, or a name")
    return Query(plain, phrases)


def clean(text: str) -> str:
    """The text without control characters, white space collapsed to single blanks."""
    visible = "".join(" " if unicodedata.category(char) in {"Cc", "Cs", "Zl", "Zp"} else char for char in text)
    return " ".join(visible.split())


def fold(text: str) -> str:
    """The words of a text as the caption index sees them, single blanks between: what equal-looking texts share.

    >>> fold("Jané  D'OE_3")
    'jane d oe 3'
    """
    return " ".join(word for unit in split_units(text) for word in unit)


def content_words(text: str) -> list[str]:
    """The different words of a text that mean something by themselves; a run of a script without breaks is one."""
    units = ("".join(unit) for unit in split_units(text))
    return list(dict.fromkeys(unit for unit in units if unit not in _FUNCTION_WORDS))


def has_phrase(folded: str, phrase: str) -> bool:
    """Whether a folded text has a folded phrase; signs of scripts without word breaks are words."""
    return f" {phrase} " in f" {folded} "


def has_all_words(folded: str, words: Sequence[str]) -> bool:
    """Whether a folded text has every one of the folded words, as whole words."""
    return all(has_phrase(folded, word) for word in words)


def credits_name(caption: str, name: str) -> bool:
    """Whether a caption credits somebody of this folded name: "... by Jane Doe", "© Jane Doe", "Jane Doe Gallery"."""
    marked = re.sub(_CREDIT, " credit0mark ", unicodedata.normalize("NFC", caption), flags=re.IGNORECASE)
    folded = fold(marked)
    return has_phrase(folded, f"credit0mark {name}") or any(has_phrase(folded, f"{name} {after}") for after in _AFTER)
