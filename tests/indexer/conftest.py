import gzip
import importlib.util
import io
import json
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from indexer.ingest import ingest
from indexer.onnx_encoder import OnnxEncoder
from tests.indexer.tars import pack

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


@dataclass(frozen=True)
class Row:
    """One sample as img2dataset would store it."""

    key: str
    data: bytes | None
    """The file, or None where the download failed."""
    url: str | None
    caption: str | None


def draw(seed: int, size: tuple[int, int] = (96, 72)) -> Image.Image:
    """A busy picture without symmetry."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)
    return Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)


def encode(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def make_rows(n: int, *, first: int = 0) -> list[Row]:
    """Pictures of several formats; the last two have a corrupt file and no file."""
    rows = [
        Row(
            f"{number:09d}",
            encode(draw(number), ("PNG", "JPEG", "WEBP")[number % 3]),
            f"https://artist{number % 3}.example/art/{number}.png?utm_source=x",
            f"Picture number {number} by Ärtist {number % 3}",
        )
        for number in range(first, first + n - 2)
    ]
    last = first + n - 2
    rows.append(Row(f"{last:09d}", b"not a picture", f"https://broken.example/{last}.jpg", "A corrupt one"))
    rows.append(Row(f"{last + 1:09d}", None, f"https://gone.example/{last}.jpg", None))
    return rows


def write_tar(path: Path, rows: list[Row], *, sibling: bool = True, as_json: bool = True) -> Path:
    """A webdataset tar as img2dataset writes it, and the parquet file of all rows beside it."""
    metadata = [
        {
            "url": row.url,
            "caption": row.caption,
            "key": row.key,
            "status": "failed_to_download" if row.data is None else "success",
            "error_message": "HTTP Error 404: Not Found" if row.data is None else None,
            "original_width": 960,
            "LICENSE": "CC0",
        }
        for row in rows
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    files: list[tuple[str, bytes]] = []
    for row, said in zip(rows, metadata, strict=True):
        if row.data is None:
            continue
        files.append((f"{row.key}.jpg", row.data))
        if row.caption is not None:
            files.append((f"{row.key}.txt", row.caption.encode()))
        if as_json:
            files.append((f"{row.key}.json", json.dumps(said).encode()))
    pack(path, files)
    if sibling:
        pq.write_table(pa.Table.from_pylist(metadata), path.with_suffix(".parquet"))
    return path


@pytest.fixture(scope="session")
def release(encoder: OnnxEncoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ingested release of two tar shards and one of addresses only. Do not write to it."""
    source = tmp_path_factory.mktemp("source")
    write_tar(source / "00000.tar", make_rows(30))
    write_tar(source / "00001.tar", make_rows(20, first=100), sibling=False)
    table = pa.table(
        {
            "URL": ["https://a.example/1.jpg", None, "no url"],
            "TEXT": ["one", "two", None],
            "WIDTH": [10.0, None, 2.5],
            "NSFW": ["UNLIKELY", "NSFW", None],
        }
    )
    pq.write_table(table, source / "urls.parquet")
    folder = tmp_path_factory.mktemp("datasets") / "small"
    ingest([source], release=folder, encoder=encoder, workers=0)
    return folder


@pytest.fixture(scope="session")
def make() -> Any:
    """The functions above, for tests: rows, tar, draw, encode, Row."""
    return SimpleNamespace(rows=make_rows, tar=write_tar, draw=draw, encode=encode, Row=Row)
