"""The script a caption is written in: what can honestly be said of a line of alt text, where a language is a guess.

A caption's script is that of most of its letters; of equals, the one that `SCRIPTS` names first. Kana anywhere make
Chinese characters Japanese. Which script a letter is of is read from its name in Python's Unicode data; all captions
of a batch are looked at at once.
"""

import unicodedata
from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

OTHER: Final = "Zzzz"
"""Letters of another script."""
NO_LETTERS: Final = "Zyyy"
"""Digits, signs, pictures."""

_WORDS: Final = {
    "LATIN": "Latn",
    "CYRILLIC": "Cyrl",
    "GREEK": "Grek",
    "ARABIC": "Arab",
    "HEBREW": "Hebr",
    "DEVANAGARI": "Deva",
    "BENGALI": "Beng",
    "GURMUKHI": "Guru",
    "GUJARATI": "Gujr",
    "TAMIL": "Taml",
    "TELUGU": "Telu",
    "KANNADA": "Knda",
    "MALAYALAM": "Mlym",
    "SINHALA": "Sinh",
    "THAI": "Thai",
    "LAO": "Laoo",
    "MYANMAR": "Mymr",
    "KHMER": "Khmr",
    "GEORGIAN": "Geor",
    "ARMENIAN": "Armn",
    "ETHIOPIC": "Ethi",
    "HANGUL": "Hang",
    "HIRAGANA": "Jpan",
    "KATAKANA": "Jpan",
    "KATAKANA-HIRAGANA": "Jpan",
    "CJK": "Hani",
    "IDEOGRAPHIC": "Hani",
}
"""First words of letters' names -> ISO 15924 code; `Jpan` stands for kana, with or without Chinese characters."""
SCRIPTS: Final = tuple(dict.fromkeys(_WORDS.values()))
_N: Final = len(SCRIPTS)
_OTHER: Final = _N
_NONE: Final = 255
_LOOKED_AT: Final = 2_000
"""Characters of a caption; the longest known has a million."""
_JPAN, _HANI = SCRIPTS.index("Jpan"), SCRIPTS.index("Hani")
_NUMBERS: Final = {word: SCRIPTS.index(code) for word, code in _WORDS.items()}
_BEFORE: Final = {"FULLWIDTH", "HALFWIDTH"}
_NAMES: Final = pa.array([*SCRIPTS, OTHER, NO_LETTERS], pa.string())


def scripts_of(captions: pa.Array) -> pa.Array:
    """(n,) dictionary of strings: the script of each caption; null where there is none, or nothing but space.

    Args:
        captions: (n,) strings, of any bytes: what is no UTF-8 is no letter.
    """
    values: list[bytes | None] = captions.cast(pa.large_binary()).to_pylist()
    texts = [(value or b"").decode("utf-8", "replace").strip()[:_LOOKED_AT] for value in values]
    lengths = np.fromiter(map(len, texts), np.int64, len(texts))
    script = _script_of_characters()[np.frombuffer("".join(texts).encode("utf-32-le"), "<u4")]
    is_letter = script != _NONE
    owners = np.repeat(np.arange(len(texts)), lengths)[is_letter]
    counts = np.bincount(owners * (_N + 1) + script[is_letter], minlength=len(texts) * (_N + 1))
    counts = counts.reshape(len(texts), _N + 1)
    is_japanese = counts[:, _JPAN] > 0
    counts[is_japanese, _JPAN] += counts[is_japanese, _HANI]
    counts[is_japanese, _HANI] = 0
    best = np.where(counts.any(axis=1), counts.argmax(axis=1), _N + 1)
    return pa.DictionaryArray.from_arrays(pa.array(best, pa.int8(), mask=lengths == 0), _NAMES)


@cache
def _script_of_characters() -> npt.NDArray[np.uint8]:
    """(0x110000,) position in `SCRIPTS`, `_OTHER` for other letters, `_NONE` for what is no letter."""
    table = np.full(0x110000, _NONE, np.uint8)
    for code in range(0x20000):
        character = chr(code)
        if character.isalpha():
            words = unicodedata.name(character, "").split() or [""]
            table[code] = _NUMBERS.get(words[words[0] in _BEFORE and len(words) > 1], _OTHER)
    table[0x20000:0x32400] = _HANI  # planes of nothing but Chinese characters
    return table
