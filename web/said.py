"""Errors in the visitor's language: finds the marked sentence that a message was made from, and says its translation.

Errors are raised in English, far from any page, and the API says them so. The catalogue has each as a sentence with
places for values (`web.extracting` reads them out of the code); a message is matched against these. What matches none
stays English: `said` is then None.
"""

import re
from collections.abc import Mapping
from functools import cache
from typing import Final

from web import words

PLACE: Final = re.compile(r"%\((\w+)\)s")
_MAX_MESSAGE_CHARS: Final = 2_000
_MAX_DEPTH: Final = 2
_MIN_LETTERS: Final = 8
"""Fewer than this beside its values, and a sentence fits too much."""


def sentence(message: str) -> str:
    """An error's message as a sentence, in the visitor's language if there is a translation."""
    return said(message) or in_english(message)


def in_english(message: str) -> str:
    """An error's message as a sentence, as it is."""
    return message[:1].upper() + message[1:] + ("" if message.endswith((".", "!", "?")) else ".")


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
    for pattern, translation in _sentences(words.language()):
        if match := pattern.fullmatch(message):
            values = match.groupdict()
            if depth:  # a message inside a message
                values |= {
                    name: _translated(in_english(value), depth - 1) or value
                    for name, value in values.items()
                    if " " in value
                }
            return _fill(translation, values)
    return None


def _fill(translation: str, values: Mapping[str, str]) -> str:
    return PLACE.sub(lambda place: values.get(place[1], ""), translation).replace("%%", "%")


@cache
def _sentences(language: str) -> list[tuple[re.Pattern[str], str]]:
    """Pattern and translation of each sentence of the catalogue, those with the most fixed text first."""
    found = []
    for message in words.read_catalogue(language):
        if not message.string or message.fuzzy or message.pluralizable or message.context:
            continue
        pieces = PLACE.split(in_english(str(message.id)))  # text, name, text, name, ... text
        fixed, names = pieces[::2], pieces[1::2]
        if sum(map(str.isalpha, "".join(fixed))) >= _MIN_LETTERS:
            pattern = "".join(
                re.escape(text.replace("%%", "%")) + (f"(?P<{name}>.*)" if name else "")
                for text, name in zip(fixed, [*names, ""], strict=True)
            )
            found.append((sum(map(len, fixed)), re.compile(pattern, re.DOTALL), str(message.string)))
    found.sort(key=lambda each: -each[0])
    return [(pattern, translation) for _, pattern, translation in found]
