"""What queries are embedded with: the part of `indexer.encoder.Encoder` that search needs."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image


class QueryEncoder(Protocol):
    """Maps pictures and texts to unit vectors; equal inputs give equal rows whatever else is in the batch."""

    @property
    def tag(self) -> str:
        """Names the weights: vectors are comparable only between encoders of one tag."""
        ...

    @property
    def d(self) -> int:
        """Length of a vector."""
        ...

    def embed_images(self, images: Sequence[Image.Image]) -> npt.NDArray[np.float32]:
        """(n, d) float32 unit rows of RGB pictures of any size; (0, d) for none."""
        ...

    def embed_texts(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """(n, d) float32 unit rows; (0, d) for none. Text beyond the model's context is cut."""
        ...
