"""The caption index: full text over captions, where most artists first look for their own name.

Text is folded and cut into words here, the same way for captions and queries, and tantivy indexes the words: case,
accents and width do not matter, every word must be there, the last one may be a beginning. Scripts written without
spaces are cut into single signs and searched as phrases.
"""

import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import tantivy

_LETTERS: Final = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "\u0131": "i", "ħ": "h", "ŧ": "t"}
)
"""Letters that a person without them on the keyboard types otherwise, and Unicode does not decompose."""
_ACCENTS: Final = re.compile("[\u0300-\u036f]")
"""Combining marks of Latin, Greek and Cyrillic; other scripts' marks are letters in their own right."""
_UNSPACED: Final = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff"
"""Thai, Lao, Burmese, Khmer, kana and Han."""
_WORD: Final = re.compile(rf"[{_UNSPACED}]+|(?:(?![{_UNSPACED}])(?:\w|(?<=\w)[\u0900-\u0dff]))+")
_UNSPACED_RUN: Final = re.compile(rf"[{_UNSPACED}]")

_MAX_WORD_BYTES: Final = 200
_MAX_CAPTION_CHARS: Final = 100_000
"""Longer captions are spam; what follows is not indexed."""
_MAX_QUERY_WORDS: Final = 32
_HEAP_BYTES: Final = 64 * 1024 * 1024
_COMMIT_EVERY: Final = 1_000_000
_FIELD, _ID = "caption", "id"


def fold(text: str) -> str:
    """Without case, accents and width: `Łukasz Müller` and `lukasz muller` are one."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return unicodedata.normalize("NFC", _ACCENTS.sub("", decomposed)).casefold().translate(_LETTERS)


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

    def search(self, text: str, k: int, *, offset: int = 0) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """(scores, ids), best first, ties in one fixed order; empty when `text` holds no word."""
        units = split_units(text)[:_MAX_QUERY_WORDS]
        if not units or k <= 0:
            return np.empty(0, np.float32), np.empty(0, np.int64)
        parts = [self._query(unit) for unit in units[:-1]]
        parts.append(self._prefix_query(units[-1]))
        query = tantivy.Query.boolean_query([(tantivy.Occur.Must, part) for part in parts])
        hits = self._searcher.search(query, limit=k, count=False, offset=offset).hits
        ids = self._searcher.fast_field_values(_ID, [address for _, address in hits]) if hits else []
        return np.array([score for score, _ in hits], dtype=np.float32), np.array(ids, dtype=np.int64)

    def _query(self, unit: list[str]) -> tantivy.Query:
        if len(unit) == 1:
            return tantivy.Query.term_query(self._schema, _FIELD, unit[0])
        return tantivy.Query.phrase_query(self._schema, _FIELD, list(unit))

    def _prefix_query(self, unit: list[str]) -> tantivy.Query:
        whole = self._query(unit)
        if len(unit) > 1 or _UNSPACED_RUN.match(unit[0]):
            return whole
        beginning = tantivy.Query.regex_query(self._schema, _FIELD, re.escape(unit[0]) + ".+")
        # The whole word weighs by its rarity; a longer word that only begins so counts little.
        weak = tantivy.Query.boost_query(beginning, 0.1)
        return tantivy.Query.boolean_query([(tantivy.Occur.Should, whole), (tantivy.Occur.Should, weak)])


def _schema() -> tantivy.Schema:
    builder = tantivy.SchemaBuilder()
    builder.add_integer_field(_ID, stored=False, indexed=False, fast=True)
    builder.add_text_field(_FIELD, stored=False, tokenizer_name="words", index_option="position")
    return builder.build()


def _register(index: tantivy.Index) -> None:
    analyzer = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.whitespace()).build()
    index.register_tokenizer("words", analyzer)
