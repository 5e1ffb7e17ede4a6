"""OpenClipEncoder: any open_clip model, by tag or from a local folder, on torch. Needs the extra `clip`."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from heldout.errors import InputError, UnavailableError
from indexer.encoder import LOCAL_DIR
from indexer.precision import place, size_batch
from indexer.preprocess import Preprocess

TEXT_BATCH = 64
"""Texts of one forward pass."""


class OpenClipEncoder:
    """An open_clip model and its tokenizer; see `indexer.encoder.Encoder`. Runs on CUDA where there is one."""

    def __init__(self, model: Any, tokenizer: Any, *, tag: str, precision: str = "float32") -> None:  # noqa: ANN401 - open_clip ships no types
        torch = _import_torch()
        self._torch = torch
        self.tokenizer = tokenizer
        self.preprocess = Preprocess.from_config(model.visual.preprocess_cfg)
        self.model, self._device, self.precision = place(torch, model, self.preprocess.size, precision)
        self.batch, self.threads = size_batch(torch, self.model, self.preprocess.size, self._device)
        self._dtype = getattr(torch, self.precision)
        mean, std = (
            255 * torch.tensor(values, device=self._device).view(1, 3, 1, 1)
            for values in (self.preprocess.mean, self.preprocess.std)
        )
        self._scale, self._shift = 1 / std, -mean / std
        self.tag = tag
        self.d = int(self.embed_texts([""]).shape[1])

    @classmethod
    def load(cls, spec: str, *, precision: str = "float32") -> "OpenClipEncoder":
        """Load `local-dir:PATH`, `MODEL/WEIGHTS` or `hf-hub:NAME`, to run in `precision` (`indexer.precision`).

        A folder may bring its own BPE as one `*.txt.gz`; its tag is the folder's name and a digest of its weights.

        Raises:
            InputError: no such folder, tag or precision, or it does not load.
            UnavailableError: torch or open_clip cannot be imported.
        """
        open_clip = _import_open_clip()
        options: dict[str, str] = {}
        if spec.startswith(LOCAL_DIR):
            folder = Path(spec.removeprefix(LOCAL_DIR))
            tag, options = _describe_folder(folder)
            name, pretrained = spec, None
        elif spec.startswith("hf-hub:"):
            tag, name, pretrained = spec, spec, None
        else:
            name, _, weights = spec.partition("/")
            if not weights:
                raise InputError(
                    f"model {spec!r} names no weights: say MODEL/WEIGHTS, such as {name}/laion2b_s34b_b79k"
                )
            tag, pretrained = spec, weights
        try:
            model, _, _ = open_clip.create_model_and_transforms(name, pretrained=pretrained)
            tokenizer = open_clip.get_tokenizer(name, **options)
        except (RuntimeError, ValueError, OSError, KeyError, TypeError) as error:
            raise InputError(f"open_clip cannot load {spec!r}: {error}") from error
        return cls(model, tokenizer, tag=tag, precision=precision)

    def embed_images(self, images: Sequence[Image.Image]) -> npt.NDArray[np.float32]:
        """As `Encoder.embed_images`."""
        rows = [np.empty((0, self.d), dtype=np.float32)]
        rows += [
            self.embed_fitted(self.preprocess.stack(images[start : start + self.batch]))
            for start in range(0, len(images), self.batch)
        ]
        return np.concatenate(rows)

    def claim_thread(self) -> None:
        """As `Encoder.claim_thread`."""
        self._torch.set_num_threads(1)  # of the calling thread, where torch runs on OpenMP

    def embed_fitted(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """As `Encoder.embed_fitted`. Where CUDA's memory does not hold so many, they go in halves."""
        torch = self._torch
        if not len(pixels):
            return np.empty((0, self.d), dtype=np.float32)
        try:
            with torch.inference_mode():
                batch = torch.from_numpy(pixels).to(self._device).permute(0, 3, 1, 2)
                batch = torch.addcmul(self._shift, batch.float(), self._scale).to(self._dtype)
                return self._unit(self.model.encode_image(batch))
        except torch.OutOfMemoryError:
            if len(pixels) == 1:
                raise
        half = len(pixels) // 2
        return np.concatenate([self.embed_fitted(pixels[:half]), self.embed_fitted(pixels[half:])])

    def embed_texts(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """As `Encoder.embed_texts`."""
        torch = self._torch
        rows = [np.empty((0, getattr(self, "d", 0)), dtype=np.float32)] if not texts else []
        with torch.inference_mode():
            for start in range(0, len(texts), TEXT_BATCH):
                tokens = self.tokenizer(list(texts[start : start + TEXT_BATCH])).to(self._device)
                rows.append(self._unit(self.model.encode_text(tokens)))
        return np.concatenate(rows)

    def _unit(self, vectors: Any) -> npt.NDArray[np.float32]:  # noqa: ANN401 - a torch tensor
        unit: npt.NDArray[np.float32] = self._torch.nn.functional.normalize(vectors.float(), dim=-1).cpu().numpy()
        return unit


def _describe_folder(folder: Path) -> tuple[str, dict[str, str]]:
    """Tag of a local-dir model, and the tokenizer's options."""
    if not (folder / "open_clip_config.json").is_file():
        raise InputError(f"{folder} holds no open_clip_config.json: give a folder saved for open_clip's local-dir:")
    weights = sorted(path for path in folder.iterdir() if path.suffix in {".safetensors", ".bin", ".pt"})
    if not weights:
        raise InputError(f"{folder} holds no weights: expected open_clip_model.safetensors")
    digest = hashlib.sha256()
    for path in weights:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    vocabularies = sorted(folder.glob("*.txt.gz"))
    if len(vocabularies) > 1:
        raise InputError(f"{folder} holds {len(vocabularies)} *.txt.gz files: keep the one BPE that the model uses")
    options = {"bpe_path": str(vocabularies[0])} if vocabularies else {}
    return f"{folder.resolve().name}-{digest.hexdigest()[:12]}", options


def _import_torch() -> Any:  # noqa: ANN401 - a module
    try:
        import torch
    except ImportError as error:
        raise UnavailableError(
            "torch is not installed: pip install 'heldout[clip]', or use an exported folder"
        ) from error
    return torch


def _import_open_clip() -> Any:  # noqa: ANN401 - a module
    _import_torch()
    try:
        import open_clip
    except ImportError as error:
        raise UnavailableError(
            "open_clip is not installed: pip install 'heldout[clip]', or use an exported folder"
        ) from error
    except RuntimeError as error:  # torchvision built for another torch: "operator torchvision::nms does not exist"
        raise UnavailableError(
            f"open_clip does not import ({error}): install matching torch and torchvision"
        ) from error
    return open_clip
