"""Errors in the visitor's language: finds the marked sentence that a message was made from, and says its translation.

Errors are raised in English, far from any page, and the API says them so. The catalogue has each as a sentence with
places for values (`web.extracting` reads them out of the code); a message is matched against these. What matches none
stays English: `said` is then None.
"""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Final

from web import words

PLACE: Final = re.compile(r"%\((\w+)\)s")
_NAME: Final = re.compile(r"[^\s.:/]*[.:/]+[^\s.:/]")
"""A word with a dot, a colon or a slash in its middle."""
_MAX_MESSAGE_CHARS: Final = 2_000
_MAX_DEPTH: Final = 2
MIN_LETTERS: Final = 8
"""Fewer than this beside its values, and a sentence fits too much."""


def sentence(message: str) -> str:
    """An error's message as a sentence, in the visitor's language if there is a translation."""
    return said(message) or in_english(message)


def in_english(message: str) -> str:
    """An error's message as a sentence, as it is. One that begins with an address or a file's name keeps it so."""
    start = message[:1] if _NAME.match(message) else message[:1].upper()
    return start + message[1:] + ("" if message.endswith((".", "!", "?")) else ".")


def said(message: str) -> str | None:
    """The sentence in the visitor's language; None where the catalogue has none for it."""
    if words.language() == words.SOURCE:
        return in_english(message)
    found = words.gettext(message)
    if found != message:
        return found
    if len(message) > _MAX_MESSAGE_CHARS:
        return None
    translated = _translated(in_english(message), _MAX_DEPTH)
    return None if translated is None else in_english(translated)


def _translated(message: str, depth: int) -> str | None:
    """The translation of the most particular sentence that the message fits."""
    for fixed, names, translation in _sentences(words.language()):
        found = _values(message, fixed)
        if found is not None:
            values = dict(zip(names, found, strict=True))
            if depth:  # a message inside a message
                values |= {
                    name: _translated(in_english(value), depth - 1) or value
                    for name, value in values.items()
                    if " " in value
                }
            return _fill(translation, values)
    return None


def _values(message: str, fixed: Sequence[str]) -> list[str] | None:
    """What stands between the fixed texts of a sentence; None if the message is not made from it.

    Each text is looked for once, from left to right: however long the message, the time is in proportion.
    """
    first, last = fixed[0], fixed[-1]
    if len(fixed) == 1:
        return [] if message == first else None
    at, end = len(first), len(message) - len(last)
    if at > end or not (message.startswith(first) and message.endswith(last)):
        return None
    values = []
    for text in fixed[1:-1]:
        found = message.find(text, at, end)
        if found < 0:
            return None
        values.append(message[at:found])
        at = found + len(text)
    return [*values, message[at:end]]


def _fill(translation: str, values: Mapping[str, str]) -> str:
    return PLACE.sub(lambda place: values.get(place[1], ""), translation).replace("%%", "%")


@cache
def _sentences(language: str) -> list[tuple[list[str], list[str], str]]:
    """Fixed texts, names of values and translation of each sentence, those with the most fixed text first."""
    found = []
    for message in words.read_catalogue(language):
        if not message.string or message.fuzzy or message.pluralizable or message.context:
            continue
        pieces = PLACE.split(in_english(str(message.id)))  # text, name, text, name, ... text
        fixed, names = [text.replace("%%", "%") for text in pieces[::2]], pieces[1::2]
        if sum(map(str.isalpha, "".join(fixed))) >= MIN_LETTERS:
            found.append((fixed, names, str(message.string)))
    return sorted(found, key=lambda each: -sum(map(len, each[0])))
