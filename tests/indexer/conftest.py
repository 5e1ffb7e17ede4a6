import gzip
import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from indexer.onnx_encoder import OnnxEncoder

ROOT = Path(__file__).parents[2]
N_MERGES = 600

RESNET = {
    "vision_cfg": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "head_width": 16},
    "preprocess_cfg": {
        "mean": [0.75, 0.73, 0.71],
        "std": [0.33, 0.33, 0.35],
        "interpolation": "bicubic",
        "resize_mode": "longest",
        "fill_color": 255,
    },
}
VIT = {
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
    "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "resize_mode": "shortest"},
}


@pytest.fixture(scope="session")
def open_clip() -> Any:
    """open_clip, imported past a torchvision whose compiled operators do not load beside a CPU-only torch."""
    path = ROOT / "data" / "scripts" / "starter" / "torchvision_shim.py"
    spec = importlib.util.spec_from_file_location("torchvision_shim", path)
    assert spec is not None
    assert spec.loader is not None
    shim = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(shim)
    shim.ensure_torchvision()
    return importlib.import_module("open_clip")


def _save_model(open_clip: Any, folder: Path, kind: dict[str, Any]) -> Path:
    """A small random-weight CLIP as an open_clip local-dir folder with its own, cut, BPE."""
    import torch
    from safetensors.torch import save_file

    folder.mkdir()
    merges = gzip.decompress(Path(open_clip.tokenizer.default_bpe()).read_bytes()).decode().split("\n")
    cut = gzip.compress("\n".join(merges[: N_MERGES + 1]).encode(), mtime=0)
    (folder / "bpe.txt.gz").write_bytes(cut)
    text = {"context_length": 12, "vocab_size": 512 + N_MERGES + 2, "width": 32, "heads": 2, "layers": 2}
    config = {
        "model_cfg": {"embed_dim": 24, "vision_cfg": kind["vision_cfg"], "text_cfg": text},
        "preprocess_cfg": kind["preprocess_cfg"],
    }
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    torch.manual_seed(1)
    model = open_clip.CLIP(**config["model_cfg"])
    with torch.no_grad():
        for name, parameter in model.named_parameters():  # open_clip leaves some of them uninitialised or zero
            scale = parameter.shape[1:].numel() ** -0.5 if parameter.ndim > 1 else 0.1
            parameter.copy_(
                torch.randn_like(parameter) * scale + float(parameter.ndim == 1 and name.endswith("weight"))
            )
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    return folder


@pytest.fixture(scope="session")
def resnet_folder(open_clip: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _save_model(open_clip, tmp_path_factory.mktemp("models") / "tiny-resnet", RESNET)


@pytest.fixture(scope="session")
def vit_folder(open_clip: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _save_model(open_clip, tmp_path_factory.mktemp("models") / "tiny-vit", VIT)


@pytest.fixture(scope="session")
def onnx_folder(resnet_folder: Path) -> Path:
    from indexer.export import export_encoder
    from indexer.openclip import OpenClipEncoder

    out = resnet_folder.with_name("tiny-onnx")
    export_encoder(OpenClipEncoder.load(f"local-dir:{resnet_folder}"), out)
    return out


@pytest.fixture(scope="session")
def encoder(onnx_folder: Path) -> OnnxEncoder:
    return OnnxEncoder.open(onnx_folder)


@pytest.fixture(scope="session")
def pictures() -> list[Image.Image]:
    """Pictures of many shapes: wide, tall, tiny, square, one pixel high."""
    rng = np.random.default_rng(7)
    sizes = [(300, 200), (120, 400), (64, 64), (5, 3), (33, 32), (1, 90), (257, 255), (32, 32), (31, 500)]
    return [
        Image.fromarray(rng.integers(0, 256, (max(1, h // 9), max(1, w // 9), 3), dtype=np.uint8)).resize((w, h))
        for w, h in sizes
    ]
