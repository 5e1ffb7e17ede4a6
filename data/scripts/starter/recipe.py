"""The starter model's shape, shared by training, packaging and evaluation."""

import gzip
import json
import math
from pathlib import Path
from typing import Any

from torchvision_shim import ensure_torchvision

ensure_torchvision()

import open_clip  # noqa: E402 - only after the shim

IMAGE_SIZE = 64
MERGES = 12_000  # of CLIP's 48,894 byte-pair merges, which are in order of priority
TEXT_WIDTH = 192
EMBED_DIM = 256
TEACHER_DIM = 384
BPE_NAME = "bpe_12k.txt.gz"
LOGIT_SCALE = math.log(20.0)
MEAN, STD = (0.75, 0.73, 0.71), (0.33, 0.33, 0.35)  # of the training pictures on white

MODEL: dict[str, Any] = {
    "embed_dim": EMBED_DIM,
    "vision_cfg": {"image_size": IMAGE_SIZE, "layers": [1, 2, 2, 1], "width": 32, "head_width": 64},
    "text_cfg": {
        "context_length": 32,
        "vocab_size": 2 * 256 + MERGES + 2,  # bytes, bytes that end a word, merges, start and end
        "width": TEXT_WIDTH,
        "heads": TEXT_WIDTH // 64,
        "layers": 4,
    },
}
PREPROCESS: dict[str, Any] = {
    "mean": MEAN,
    "std": STD,
    "interpolation": "bicubic",
    "resize_mode": "longest",
    "fill_color": 255,
}


def build() -> open_clip.CLIP:
    """An untrained model."""
    return open_clip.CLIP(**MODEL)


def write_config(folder: Path) -> None:
    """Write `open_clip_config.json`, which open_clip's `local-dir:` reads."""
    config = {"model_cfg": MODEL, "preprocess_cfg": PREPROCESS}
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def write_merges(folder: Path) -> Path:
    """Write CLIP's own vocabulary file cut to its first merges, the same bytes every time; its path."""
    whole = Path(open_clip.__file__).with_name("bpe_simple_vocab_16e6.txt.gz")
    lines = gzip.decompress(whole.read_bytes()).decode().split("\n")
    path = folder / BPE_NAME
    path.write_bytes(gzip.compress("\n".join(lines[: 1 + MERGES]).encode(), mtime=0))
    return path


def tokenizer(folder: Path) -> open_clip.SimpleTokenizer:
    """The tokenizer over `write_merges`' file."""
    return open_clip.SimpleTokenizer(
        bpe_path=str(folder / BPE_NAME), context_length=MODEL["text_cfg"]["context_length"]
    )
