"""Text to CLIP's token ids without torch: the ids that open_clip's `SimpleTokenizer` gives, for any text.

A `tokenizer.json` of the `tokenizers` library holds the BPE and the split pattern; the cleaning before it (ftfy, HTML
entities, white space, lower case) is Python in both implementations. The pattern lists its code points one by one, so
that the ids do not depend on whose Unicode tables are newer.
"""

import html
import re
from collections.abc import Sequence
from pathlib import Path

import ftfy
import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from heldout.errors import InputError

START_TOKEN = "<start_of_text>"  # noqa: S105 - a token of text, not a password
END_TOKEN = "<end_of_text>"  # noqa: S105
_SPECIAL = re.compile(f"({START_TOKEN}|{END_TOKEN})")


def clean_text(text: str) -> str:
    """Mended encoding, HTML entities resolved twice, single spaces, lower case: open_clip's cleaning "lower"."""
    mended = html.unescape(html.unescape(ftfy.fix_text(text)))
    return " ".join(mended.split()).lower()


class ClipTokenizer:
    """Callable: texts to (n, context_length) int64 token ids, zero-padded, truncated with the end token kept."""

    def __init__(self, tokenizer: Tokenizer, context_length: int) -> None:
        """`tokenizer` must know the start and end tokens and add neither by itself.

        Raises:
            InputError: it knows no start or end token.
        """
        start, end = tokenizer.token_to_id(START_TOKEN), tokenizer.token_to_id(END_TOKEN)
        if start is None or end is None:
            raise InputError(f"the tokenizer has no {START_TOKEN} or {END_TOKEN}: export the encoder again")
        self._tokenizer = tokenizer
        self._start: int = start
        self._end: int = end
        self._split = tokenizer.pre_tokenizer[0]  # the pattern; behind it the byte alphabet
        self.context_length = context_length

    @classmethod
    def load(cls, path: Path, context_length: int) -> "ClipTokenizer":
        """Read a `tokenizer.json`.

        Raises:
            InputError: not a tokenizer file.
        """
        try:
            tokenizer = Tokenizer.from_str(path.read_text(encoding="utf-8"))
        except Exception as error:  # the library raises bare Exception
            raise InputError(f"{path} is not a tokenizer file ({error}): export the encoder again") from error
        return cls(tokenizer, context_length)

    def encode(self, text: str) -> list[int]:
        """Ids of the whole text, without start and end."""
        ids: list[int] = []
        # A literal "<end_of_text>" in the text is that token in open_clip too, unless other signs touch its front.
        for piece in self._pieces(clean_text(text)):
            if piece == START_TOKEN:
                ids.append(self._start)
            elif piece == END_TOKEN:
                ids.append(self._end)
            else:
                ids.extend(self._tokenizer.encode(piece, add_special_tokens=False).ids)
        return ids

    def _pieces(self, text: str) -> Sequence[str]:
        if not _SPECIAL.search(text):
            return (text,)
        return [piece for piece, _ in self._split.pre_tokenize_str(text)]

    def __call__(self, texts: Sequence[str]) -> npt.NDArray[np.int64]:
        """Token ids of `texts`."""
        batch = np.zeros((len(texts), self.context_length), dtype=np.int64)
        for row, text in enumerate(texts):
            ids = [self._start, *self.encode(text), self._end][: self.context_length]
            ids[-1] = self._end
            batch[row, : len(ids)] = ids
        return batch
