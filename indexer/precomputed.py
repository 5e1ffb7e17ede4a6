"""A model by name alone, for sources that bring their embeddings: nothing is loaded, so nothing can be encoded."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from heldout.errors import InputError
from indexer.encoder import ENCODER_FILE, LOCAL_DIR, load_encoder
from indexer.planning import Kind, Shard
from indexer.preprocess import Preprocess

PRECOMPUTED: Final = "precomputed"
"""Precision of embeddings that a source brought."""
_OPENAI: Final = frozenset(
    {"RN50", "RN101", "RN50x4", "RN50x16", "RN50x64", "ViT-B/32", "ViT-B/16", "ViT-L/14", "ViT-L/14@336px"}
)
"""OpenAI's own names of its models, which clip-retrieval uses."""


def bring_embeddings(shards: Sequence[Shard]) -> bool:
    """Whether all these shards bring their embeddings, so that no model is needed."""
    return all(shard.kind in {Kind.EMBEDDINGS, Kind.INDEX} for shard in shards)


def tag_of(spec: str) -> str:
    """The tag of the model that `spec` names, as the encoder would give it. An open_clip tag is taken at its word.

    clip-retrieval's names are taken, too: `ViT-L/14` is `ViT-L-14/openai`, and `open_clip:` before a tag is dropped.

    Raises:
        InputError: `spec` is a folder that is no encoder.
        UnavailableError: it is a folder of open_clip weights, and torch or open_clip is not installed here.
    """
    folder = Path(spec)
    if (folder / ENCODER_FILE).is_file():
        try:
            return str(json.loads((folder / ENCODER_FILE).read_bytes())["model_tag"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{folder / ENCODER_FILE} cannot be read ({error}): export the encoder again") from error
    if folder.is_dir() or spec.startswith(LOCAL_DIR):
        return load_encoder(spec).tag  # a digest of its weights is part of it
    spec = spec.removeprefix("open_clip:")
    if spec in _OPENAI:
        return f"{spec.replace('/', '-').replace('@336px', '-336')}/openai"
    return spec


@dataclass(frozen=True)
class PrecomputedModel:
    """See `indexer.encoder.Encoder`. What would need the model is refused."""

    tag: str
    d: int = 1
    """Of no use: each source says its own."""
    precision: str = PRECOMPUTED
    batch: int = 64
    threads: int = 1

    @property
    def preprocess(self) -> Preprocess:
        """As `Encoder.preprocess`: no picture is fitted."""
        return Preprocess((1, 1), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), "bicubic", "shortest", 0)

    def claim_thread(self) -> None:
        """As `Encoder.claim_thread`."""

    def embed_fitted(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """As `Encoder.embed_fitted`, of none."""
        return self._refuse(len(pixels))

    def embed_images(self, images: Sequence[Image.Image]) -> npt.NDArray[np.float32]:
        """As `Encoder.embed_images`, of none."""
        return self._refuse(len(images))

    def embed_texts(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """As `Encoder.embed_texts`, of none."""
        return self._refuse(len(texts))

    def _refuse(self, n: int) -> npt.NDArray[np.float32]:
        if n:
            raise InputError(f"{self.tag} is only the name of a model here: name one that can be loaded with --model")
        return np.empty((0, self.d), np.float32)
