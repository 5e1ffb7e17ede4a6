"""One index generation of a release, opened for reading: every look-up that search needs, by id.

A generation is immutable once `CURRENT` names it; `Generation.open` refuses one whose manifest does not fit its files.
All methods may be called from several threads at once.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from heldout.records import Sample


def current_generation(release: Path) -> int:
    """Number that the release's `CURRENT` names; one small read, fit for polling.

    Raises:
        NotFoundError: the release has no finished generation.
    """
    raise NotImplementedError


class Generation:
    """A finished index generation. Ids are dense int64 over the release's shards in name order.

    Attributes:
        dataset: Name of the data set (the release folder's name).
        number: Number of the generation.
        n: Number of samples, those without a picture included.
        d: Length of an embedding.
        model_tag: Tag of the encoder that made the embeddings; a query must be embedded by the same one.
    """

    dataset: str
    number: int
    n: int
    d: int
    model_tag: str

    @classmethod
    def open(cls, release: Path, number: int | None = None) -> "Generation":
        """Open the generation that `CURRENT` names, or `number`.

        Raises:
            NotFoundError: no such release or generation.
            VerificationError: the manifest does not fit the files (format, digest, count, size).
        """
        raise NotImplementedError

    def samples(self, ids: Sequence[int] | npt.NDArray[np.int64]) -> list[Sample]:
        """Samples of `ids`, in their order, duplicates kept.

        Raises:
            NotFoundError: an id is not in 0..n-1.
        """
        raise NotImplementedError

    def search_embedding(
        self, queries: npt.NDArray[np.float32], k: int, *, nprobe: int | None = None, rerank: int | None = None
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """Nearest pictures of `queries` ((nq, d) float32 unit rows) by cosine.

        `nprobe` and `rerank` widen the search of a large index (more for text queries); a small index is exact.

        Returns:
            (scores (nq, k) float32, ids (nq, k) int64), best first; short answers are padded with -inf and -1.
        """
        raise NotImplementedError

    def search_pdq(
        self, queries: npt.NDArray[np.uint8], radius: int = 31
    ) -> list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]]:
        """All samples whose upright PDQ is within `radius` (Hamming) of each of `queries` ((q, 32) uint8).

        Qualities are not looked at: the caller applies the rule of `heldout.fingerprints`.

        Returns:
            For each query (ids int64, distances int32), nearest first, ties by id.
        """
        raise NotImplementedError

    def search_caption(
        self, text: str, k: int, *, offset: int = 0
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """Samples whose caption has every word of `text` (accents and case folded, last word may be a prefix).

        Returns:
            (scores (m,) float32, ids (m,) int64), best first, m <= k; empty when `text` holds no word.
        """
        raise NotImplementedError

    def url_range(self, low: str, high: str, *, limit: int, after: int | None = None) -> npt.NDArray[np.int64]:
        r"""Ids whose `heldout.urls.surt_key` is in [low, high), in SURT order, ties by id.

        One URL is the range [key, key + "\0"). `after` is the last id already given of the same range.
        """
        raise NotImplementedError

    def sha256_lookup(self, digest: bytes) -> npt.NDArray[np.int64]:
        """Ids of the samples whose picture's bytes have this SHA-256 (32 bytes), ascending."""
        raise NotImplementedError

    def embeddings(self, ids: Sequence[int] | npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """(m, d) float32 unit rows of `ids`; a row of NaN where a sample has no picture."""
        raise NotImplementedError

    def thumbnail(self, sample_id: int) -> bytes | None:
        """WebP bytes (long side <= 256), or None where the sample has no picture.

        Raises:
            NotFoundError: `sample_id` is not in 0..n-1.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Let go of the mapped files. Calls under way must have ended."""
        raise NotImplementedError
