"""The encoder: pictures and texts to unit vectors of one space. Two implementations pass one contract test.

Queries call `embed_images` and `embed_texts`. An ingest fits pictures to the model's input in other processes and calls
`embed_fitted` from several threads at once, each of which computes alone: so the bytes of a release do not depend on
how many threads or cores there were.

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
from indexer.preprocess import Preprocess

ENCODER_FILE = "encoder.json"
LOCAL_DIR = "local-dir:"
PRECISIONS = ("auto", "float32", "bfloat16", "float16")


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

    @property
    def precision(self) -> str:
        """What it computes in: `float32`, `bfloat16` or `float16`. Vectors of all of them may be compared."""
        ...

    @property
    def preprocess(self) -> Preprocess:
        """What the model wants done to a picture."""
        ...

    @property
    def batch(self) -> int:
        """Pictures of one forward pass, at most."""
        ...

    @property
    def threads(self) -> int:
        """Threads that an ingest should call `embed_fitted` from, on this machine."""
        ...

    def claim_thread(self) -> None:
        """Called by each such thread before anything else: it computes alone from here on."""
        ...

    def embed_fitted(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """(n, d) float32 unit rows of (n, height, width, 3) uint8 pictures that `preprocess` has fitted; n <= `batch`.

        For several threads at once. Does not keep `pixels`.
        """
        ...

    def embed_images(self, images: Sequence[Image.Image]) -> npt.NDArray[np.float32]:
        """(n, d) float32 unit rows of RGB pictures of any size; (0, d) for none."""
        ...

    def embed_texts(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """(n, d) float32 unit rows; (0, d) for none. Text beyond the model's context is cut."""
        ...


def load_encoder(spec: str, *, precision: str = "float32") -> Encoder:
    """Load the encoder that `spec` names.

    `local-dir:PATH` and open_clip tags (`ViT-B-32/laion2b_s34b_b79k`, `hf-hub:...`) run on torch, in `precision` (one
    of `PRECISIONS`; `auto` is the fastest here); the path of a folder with an `encoder.json` runs on onnxruntime, in
    float32 always.

    Raises:
        InputError: no such folder or tag, or the folder is not an encoder.
        UnavailableError: torch or open_clip is not installed here, or does not import.
    """
    folder = Path(spec)
    if (folder / ENCODER_FILE).is_file():
        from indexer.onnx_encoder import OnnxEncoder

        if precision not in {"auto", "float32"}:
            raise InputError(f"{spec} is an exported encoder, which computes in float32: leave out --precision")
        return OnnxEncoder.open(folder)
    if folder.is_dir():
        hint = (
            f"; for an open_clip folder say {LOCAL_DIR}{spec}" if (folder / "open_clip_config.json").is_file() else ""
        )
        raise InputError(f"{spec} holds no {ENCODER_FILE}: make one with `python -m indexer export`{hint}")
    if folder.is_absolute() or spec.startswith((".", "~")):
        raise InputError(f"{spec} does not exist: give an exported encoder's folder, or MODEL/WEIGHTS of open_clip")
    from indexer.openclip import OpenClipEncoder

    return OpenClipEncoder.load(spec, precision=precision)
