"""What a sample costs in each stage, in processor time and on disk: the rates that `docs/operations.md` counts with.

    PYTHONPATH=data/scripts/starter python -m benchmarks.stages --pictures 256 --rows 200000

- look: SHA-256, decode, PDQ in 8 orientations, ISCC, thumbnail and the model's input, of photo-sized JPEGs;
- forward: ViT-B-32 with random weights, float32 and bfloat16, a thread a pass as the ingest runs it;
- read and write: a list of addresses to a release, embeddings brought (512 dimensions), no pictures;
- build: those to a served generation.

Processor time of this process and its children, so that a busy machine shows less; memory is the process's peak.
"""

import argparse
import io
import resource
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from torchvision_shim import ensure_torchvision

ensure_torchvision()

import open_clip  # noqa: E402 - needs the lines above on some machines
import torch  # noqa: E402

from benchmarks.embedding import iter_files, make_shards, processor_time, run_forward  # noqa: E402
from indexer.build import build  # noqa: E402
from indexer.fingerprint import look  # noqa: E402
from indexer.ingest import ingest  # noqa: E402
from indexer.openclip import OpenClipEncoder  # noqa: E402
from indexer.precomputed import PrecomputedModel  # noqa: E402

MODEL = "ViT-B-32"
D = 512


def say(name: str, n: int, run: Callable[[], object]) -> None:
    """Run, and print what it took."""
    began = processor_time()
    run()
    used = processor_time() - began
    print(f"{name:24} {1e3 * used / n:9.4f} ms of processor a sample, {n / used:12,.0f} samples/s a core", flush=True)


def pictures(n: int, folder: Path) -> None:
    """The stages that see pixels."""
    files = list(iter_files(make_shards(folder / "photos", n, 1)))
    print(f"{n} photos of {sum(map(len, files)) / n / 1e3:.0f} kB")
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model, _, _ = open_clip.create_model_and_transforms(MODEL)
    for precision in ("float32", "bfloat16"):
        encoder = OpenClipEncoder(model, open_clip.get_tokenizer(MODEL), tag=MODEL, precision=precision)
        if precision == "float32":
            fitted = np.empty((*encoder.preprocess.size, 3), np.uint8)
            look("warm", files[0], encoder.preprocess, fitted)
            found = []
            say("look", n, lambda: found.extend(look("a", data, encoder.preprocess, fitted) for data in files))  # noqa: B023
            print(f"thumbnails of {sum(len(one.thumbnail) for one in found) / n / 1e3:.1f} kB")
        pixels = np.stack([encoder.preprocess.stack([Image.open(io.BytesIO(data))])[0] for data in files])
        run_forward(encoder, pixels[: encoder.batch], 1)
        say(f"forward, {encoder.precision}", n, lambda: run_forward(encoder, pixels, 1))  # noqa: B023


def rows(n: int, folder: Path) -> None:
    """The stages that see none."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((2000, D), dtype=np.float32)
    vectors = centres[rng.integers(0, 2000, n)] + 0.7 * rng.standard_normal((n, D), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    words = ["".join(map(chr, rng.integers(97, 123, 3 + k % 8))) for k in range(30_000)]
    picks, hosts = rng.integers(0, len(words), (n, 9)), rng.integers(0, 60_000, n)
    table = pa.table(
        {
            "url": [
                f"https://cdn.shop-{hosts[k]}.example/media/{k % 997:03d}/product-{k:09d}-large.jpg" for k in range(n)
            ],
            "caption": [" ".join(words[w] for w in row) for row in picks],
            "width": rng.integers(200, 3000, n).astype(np.int32),
            "height": rng.integers(200, 3000, n).astype(np.int32),
        }
    )
    source, release = folder / "source", folder / "release"
    for name, step in (("img_emb", 0), ("metadata", 1)):
        (source / name).mkdir(parents=True)
        for shard, first in enumerate(range(0, n, 100_000)):
            if step:
                pq.write_table(table.slice(first, 100_000), source / name / f"metadata_{shard}.parquet")
            else:
                np.save(source / name / f"img_emb_{shard}.npy", vectors[first : first + 100_000].astype(np.float16))
    del vectors, table
    model = PrecomputedModel("ViT-B-32/laion2b_s34b_b79k")
    say("read and write", n, lambda: ingest([source], release=release, encoder=model, workers=0))
    say("build", n, lambda: build(release))
    for part in sorted(release.iterdir()):
        size = sum(path.stat().st_size for path in part.rglob("*") if path.is_file()) if part.is_dir() else 0
        if size:
            print(f"{part.name:24} {size / n:9.0f} bytes a sample")
    for path in sorted((release / "generations").rglob("*")):
        if path.is_file() and path.stat().st_size > n:
            print(f"  {path.name:22} {path.stat().st_size / n:9.1f} bytes a sample")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=256)
    parser.add_argument("--rows", type=int, default=200_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if arguments.rows:
            rows(arguments.rows, Path(folder))
        if arguments.pictures:
            pictures(arguments.pictures, Path(folder))


if __name__ == "__main__":
    main()
