"""The encoder: pictures and texts to unit vectors of one space. Two implementations pass one contract test.

`OpenClipEncoder` (torch; any open_clip model) and `OnnxEncoder` (a folder exported by us; no torch). `load_encoder`
chooses by what the spec names; neither is imported before it is asked for.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from heldout.errors import InputError

ENCODER_FILE = "encoder.json"
LOCAL_DIR = "local-dir:"


class Encoder(Protocol):
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


def load_encoder(spec: str, *, threads: int = 1) -> Encoder:
    """Load the encoder that `spec` names.

    `local-dir:PATH` and open_clip tags (`ViT-B-32/laion2b_s34b_b79k`, `hf-hub:...`) run on torch; the path of a folder
    with an `encoder.json` runs on onnxruntime with `threads` threads.

    Raises:
        InputError: no such folder or tag, or the folder is not an encoder.
        UnavailableError: torch or open_clip is not installed here, or does not import.
    """
    folder = Path(spec)
    if (folder / ENCODER_FILE).is_file():
        from indexer.onnx_encoder import OnnxEncoder

        return OnnxEncoder.open(folder, threads=threads)
    if folder.is_dir():
        hint = (
            f"; for an open_clip folder say {LOCAL_DIR}{spec}" if (folder / "open_clip_config.json").is_file() else ""
        )
        raise InputError(f"{spec} holds no {ENCODER_FILE}: make one with `python -m indexer export`{hint}")
    from indexer.openclip import OpenClipEncoder

    return OpenClipEncoder.load(spec)
