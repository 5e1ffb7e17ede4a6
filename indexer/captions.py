"""The caption index: full text over captions, where most artists first look for their own name.

Text is folded and cut into words here, the same way for captions and queries, and tantivy indexes the words: case,
accents and width do not matter, every word must be there, the last one may be a beginning. Captions that have it whole
come first, whatever else speaks for the others: who asks for "bear" does not want bearded men. Scripts written without
spaces are cut into single signs and searched as phrases.
"""

import re
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import tantivy

_LETTERS: Final = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "\u0131": "i", "ħ": "h", "ŧ": "t"}
)
"""Letters that a person without them on the keyboard types otherwise, and Unicode does not decompose."""
_ACCENTS: Final = re.compile(
    "[\u0300-\u036f"  # of Latin, Greek and Cyrillic
    "\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7"  # Hebrew points
    "\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06ed\u0640"  # Arabic vowels, hamza on a letter; the stretching stroke
    "\u200b-\u200f\u202a-\u202e\u2060\ufe00-\ufe0f\ufeff\u00ad]"  # no ink at all
)
"""What people leave out when they type; other scripts' marks are letters in their own right."""
_ARABIC: Final = str.maketrans(
    {"\u0629": "\u0647", "\u0649": "\u064a", "\u06cc": "\u064a", "\u06a9": "\u0643", "\u0671": "\u0627"}
)
"""Letters that Arabic and Persian keyboards write differently, or that writers take for each other."""
_UMLAUTS: Final = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "å": "aa", "ø": "oe"})
_UNTANGLED: Final = re.compile("([aou])e|aa")
_UNSPACED: Final = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff"
"""Thai, Lao, Burmese, Khmer, kana and Han."""
_MARKS: Final = "".join(
    sign for sign in map(chr, range(0x0300, sys.maxunicode + 1)) if unicodedata.category(sign) in {"Mn", "Mc"}
)
"""Vowel signs and the like, which follow the letter that they belong to."""
_WORD: Final = re.compile(rf"[{_UNSPACED}]+|(?:(?![{_UNSPACED}])\w[{_MARKS}]*)+")
_UNSPACED_RUN: Final = re.compile(rf"[{_UNSPACED}]")

_MAX_WORD_BYTES: Final = 200
_MAX_CAPTION_CHARS: Final = 100_000
"""Longer captions are spam; what follows is not indexed."""
_MAX_QUERY_WORDS: Final = 32
_MIN_BEGINNING: Final = 2
"""Letters from which a last word may be a beginning: all words with one letter would be read for little."""
_BEGUN: Final = 1e-3
"""Captions that only have a beginning score below this, the others above."""
_HEAP_BYTES: Final = 64 * 1024 * 1024
_COMMIT_EVERY: Final = 1_000_000
_FIELD, _ID = "caption", "id"


def fold(text: str) -> str:
    """Without case, accents and width: `Łukasz Müller` and `lukasz muller` are one."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    plain = unicodedata.normalize("NFC", _ACCENTS.sub("", decomposed)).casefold()
    return plain.translate(_LETTERS).translate(_ARABIC)


def split_units(text: str) -> list[list[str]]:
    """Units of a text: a spaced script's word is one word; a run of an unspaced script is its signs, in order."""
    units = []
    for match in _WORD.finditer(fold(text).replace("_", " ")):
        run = match[0]
        signs = list(run) if _UNSPACED_RUN.match(run) else [run.encode()[:_MAX_WORD_BYTES].decode("utf-8", "ignore")]
        units.append(signs)
    return units


def build_caption_index(captions: Iterable[tuple[int, str]], folder: Path) -> int:
    """Index (id, caption) pairs in a new folder; how many held a word."""
    folder.mkdir()
    index = tantivy.Index(_schema(), path=str(folder))
    _register(index)
    # One thread: segments then hold ids in ascending order.
    writer = index.writer(heap_size=_HEAP_BYTES, num_threads=1)
    n = 0
    for sample_id, caption in captions:
        words = [word for unit in split_units(caption[:_MAX_CAPTION_CHARS]) for word in unit]
        if not words:
            continue
        writer.add_document(tantivy.Document(**{_ID: sample_id, _FIELD: " ".join(words)}))
        n += 1
        if n % _COMMIT_EVERY == 0:
            writer.commit()
    writer.commit()
    writer.wait_merging_threads()
    return n


class CaptionIndex:
    """A built index opened for searching."""

    def __init__(self, folder: Path) -> None:
        self._index = tantivy.Index.open(str(folder))
        _register(self._index)
        self._schema = self._index.schema
        self._searcher = self._index.searcher()

    def search(
        self, text: str, k: int, *, offset: int = 0, phrases: Sequence[str] = ()
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """(scores, ids), best first, ties in one fixed order; empty when `text` holds no word.

        Args:
            text: Every word must be there, the last one perhaps as the beginning of a longer one.
            k: Most to give.
            offset: How many of the best to pass over.
            phrases: Each must be there as it stands, its words in a row.
        """
        units = _variants(text)[:_MAX_QUERY_WORDS]
        if not units or k <= 0:
            return np.empty(0, np.float32), np.empty(0, np.int64)
        quoted = [[sign for unit in split_units(phrase) for sign in unit] for phrase in phrases]
        musts = [self._query(run) for run in quoted if run] + [self._any_query(unit) for unit in units[:-1]]
        last = self._any_query(units[-1])
        whole = tantivy.Query.boolean_query([(tantivy.Occur.Must, part) for part in [*musts, last]])
        found = [(score + _BEGUN, address) for score, address in self._hits(whole, k, offset)]
        beginnings = [unit[0] for unit in units[-1] if len(unit) == 1 and _may_begin(unit[0])]
        if len(found) < k and beginnings:
            passed_over = offset + len(found)
            if not found and offset:
                passed_over = self._searcher.search(whole, limit=1, count=True).count  # type: ignore[attr-defined]
            begun = tantivy.Query.boolean_query(
                [
                    *((tantivy.Occur.Must, part) for part in [*musts, self._begun_query(beginnings)]),
                    (tantivy.Occur.MustNot, last),
                ]
            )
            more = self._hits(begun, k - len(found), max(0, offset - passed_over))
            found += [(_BEGUN * score / (1 + score), address) for score, address in more]
        ids = self._searcher.fast_field_values(_ID, [address for _, address in found]) if found else []
        return np.array([score for score, _ in found], dtype=np.float32), np.array(ids, dtype=np.int64)

    def _hits(self, query: tantivy.Query, k: int, offset: int) -> list[tuple[float, tantivy.DocAddress]]:
        return list(self._searcher.search(query, limit=k, count=False, offset=offset).hits)

    def _any_query(self, variants: Sequence[Sequence[str]]) -> tantivy.Query:
        if len(variants) == 1:
            return self._query(variants[0])
        return tantivy.Query.boolean_query([(tantivy.Occur.Should, self._query(each)) for each in variants])

    def _query(self, unit: Sequence[str]) -> tantivy.Query:
        if len(unit) == 1:
            return tantivy.Query.term_query(self._schema, _FIELD, unit[0])
        return tantivy.Query.phrase_query(self._schema, _FIELD, list(unit))

    def _begun_query(self, beginnings: Sequence[str]) -> tantivy.Query:
        # As a fuzzy term without errors: a regular expression says the same and takes fifty times as long to compile.
        longer = [
            tantivy.Query.fuzzy_term_query(self._schema, _FIELD, each, distance=0, prefix=True) for each in beginnings
        ]
        return tantivy.Query.boolean_query([(tantivy.Occur.Should, each) for each in longer])


def _may_begin(word: str) -> bool:
    return len(word) >= _MIN_BEGINNING and not _UNSPACED_RUN.match(word)


def _variants(text: str) -> list[list[list[str]]]:
    """Units of a query, each in the ways it is written: `Mueller` and `Müller` are one name, and `muller` is typed."""
    units = []
    spelled = split_units(unicodedata.normalize("NFC", text.casefold()).translate(_UMLAUTS))
    plain = split_units(text)
    for place, unit in enumerate(plain):
        ways = [unit]
        if len(plain) == len(spelled):
            ways.append(spelled[place])
        ways += [[_UNTANGLED.sub(lambda found: found[1] or "a", way[0])] for way in ways if len(way) == 1]
        units.append([list(way) for way in dict.fromkeys(map(tuple, ways))])
    return units


def _schema() -> tantivy.Schema:
    builder = tantivy.SchemaBuilder()
    builder.add_integer_field(_ID, stored=False, indexed=False, fast=True)
    builder.add_text_field(_FIELD, stored=False, tokenizer_name="words", index_option="position")
    return builder.build()


def _register(index: tantivy.Index) -> None:
    analyzer = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.whitespace()).build()
    index.register_tokenizer("words", analyzer)
