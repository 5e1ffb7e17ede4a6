"""OnnxEncoder: a folder written by `python -m indexer export`, run by onnxruntime without torch.

The folder: `encoder.json` (model tag, d, preprocess, context length, digests), `image.onnx`, `text.onnx`,
`tokenizer.json`. Both graphs end in unit rows.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
from PIL import Image

from heldout.errors import InputError, VerificationError
from indexer.encoder import ENCODER_FILE
from indexer.machine import count_cores
from indexer.preprocess import Preprocess
from indexer.tokenizer import ClipTokenizer

ENCODER_FORMAT = "heldout-encoder/1"
IMAGE_FILE, TEXT_FILE, TOKENIZER_FILE = "image.onnx", "text.onnx", "tokenizer.json"
BATCH = 32
"""Pictures or texts of one run: larger batches gain nothing on a CPU and cost memory."""


class OnnxEncoder:
    """See `indexer.encoder.Encoder`. Safe to call from several threads, each of which computes alone."""

    precision = "float32"
    batch = BATCH

    def __init__(
        self,
        image: onnxruntime.InferenceSession,
        text: onnxruntime.InferenceSession,
        *,
        tokenizer: ClipTokenizer,
        preprocess: Preprocess,
        tag: str,
        d: int,
    ) -> None:
        self._image = image
        self._text = text
        self._tokenizer = tokenizer
        self.preprocess = preprocess
        self.tag = tag
        self.d = d
        self.threads = count_cores()

    @classmethod
    def open(cls, folder: Path) -> "OnnxEncoder":
        """Open an exported folder; every file must have the digest that `encoder.json` says.

        Raises:
            InputError: a file is missing, or is not what an export writes.
            VerificationError: a file was changed after the export.
        """
        description = _read_description(folder)
        for name, promised in description["files"].items():
            path = folder / name
            if not path.is_file():
                raise InputError(f"{folder} lacks {name}: export the encoder again")
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
            if found != promised["sha256"]:
                raise VerificationError(f"{path} has SHA-256 {found}, encoder.json says {promised['sha256']}")
        return cls(
            _open_session(folder / IMAGE_FILE),
            _open_session(folder / TEXT_FILE),
            tokenizer=ClipTokenizer.load(folder / TOKENIZER_FILE, description["context_length"]),
            preprocess=Preprocess.from_config(description["preprocess"]),
            tag=description["model_tag"],
            d=description["d"],
        )

    def embed_images(self, images: Sequence[Image.Image]) -> npt.NDArray[np.float32]:
        """As `Encoder.embed_images`."""
        rows = np.empty((len(images), self.d), dtype=np.float32)
        for start in range(0, len(images), BATCH):
            rows[start : start + BATCH] = self.embed_fitted(self.preprocess.stack(images[start : start + BATCH]))
        return rows

    def claim_thread(self) -> None:
        """As `Encoder.claim_thread`; every thread does."""

    def embed_fitted(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """As `Encoder.embed_fitted`."""
        if not len(pixels):
            return np.empty((0, self.d), dtype=np.float32)
        rows: npt.NDArray[np.float32] = self._image.run(None, {"pixels": self.preprocess.normalise(pixels)})[0]
        return rows

    def embed_texts(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """As `Encoder.embed_texts`."""
        rows = np.empty((len(texts), self.d), dtype=np.float32)
        for start in range(0, len(texts), BATCH):
            tokens = self._tokenizer(texts[start : start + BATCH])
            rows[start : start + BATCH] = self._text.run(None, {"tokens": tokens})[0]
        return rows


def _read_description(folder: Path) -> dict[str, Any]:
    path = folder / ENCODER_FILE
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not an encoder description ({error}): export the encoder again") from error
    wanted = {"format", "model_tag", "d", "preprocess", "context_length", "files"}
    if not isinstance(description, dict) or description.get("format") != ENCODER_FORMAT or wanted - set(description):
        raise InputError(f"{path} is not of format {ENCODER_FORMAT}: export the encoder again")
    if set(description["files"]) != {IMAGE_FILE, TEXT_FILE, TOKENIZER_FILE}:
        raise InputError(f"{path} does not list {IMAGE_FILE}, {TEXT_FILE} and {TOKENIZER_FILE}: export it again")
    return description


def _open_session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # callers bring threads of their own
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False  # the arena keeps the largest batch's memory for ever
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions have no common base
        raise InputError(f"onnxruntime cannot open {path} ({error}): export the encoder again") from error
