"""The whole ingest beside the model's forward pass alone, and beside a plain loop over the same shards.

    PYTHONPATH=data/scripts/starter python -m benchmarks.embedding --pictures 1024 --rounds 3

The model is ViT-B-32 with random weights: its work does not depend on them. The shards are webdataset tars of JPEGs the
size of photos, made of the bundled collection: four pictures each side by side, scaled to fill 512 x 512 pixels, with
grain, quality 85, so that they take as many bytes and as long to decode as photos do.

In turns, each round:

forward   tensors made before, the ingest's batch: on as many threads as it has, and on torch's own
ingest    `indexer.ingest`: read, SHA-256, PDQ, ISCC, thumbnail, embed, write, sync; starting processes is told apart
loop      webdataset or tarfile, a DataLoader of as many processes as cores, open_clip's own preprocess, encode_image

Beside pictures a second, processor time a picture, of all processes: on a machine with other work the first says
little, and where model and decoding share the cores, one over the other of the second is what is left to the model.
"""

import argparse
import io
import os
import random
import resource
import shutil
import statistics
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageOps

from heldout.errors import InputError
from heldout.pictures import decode_picture
from indexer.ingest import ingest
from indexer.machine import count_cores
from indexer.openclip import OpenClipEncoder
from tests.collection import read_pictures
from tests.indexer.tars import pack

SIDE = 512
LOOP_BATCH = 64
MODEL = "ViT-B-32"
# torch is imported where it is used: decoding processes import this file again, as they do any program's.


def main() -> None:
    """Make the shards, measure in turns, print ratios of medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=1024, help="in all")
    parser.add_argument("--shards", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precision", nargs="+", default=["float32", "bfloat16"])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        shards = make_shards(Path(folder) / "source", arguments.pictures, arguments.shards)
        size = sum(path.stat().st_size for path in shards) / arguments.pictures
        print(f"{arguments.pictures} pictures of {SIDE} x {SIDE} in {len(shards)} shards, {size / 1e3:.0f} kB each")
        for precision in arguments.precision:
            measure(shards, arguments.pictures, arguments.rounds, precision, Path(folder))


class Cost(NamedTuple):
    """What something took."""

    seconds: float
    cpu: float
    """Seconds of processor time, of this process and its children."""

    def __sub__(self, other: "Cost") -> "Cost":
        return Cost(self.seconds - other.seconds, self.cpu - other.cpu)


def measure(shards: list[Path], n: int, rounds: int, precision: str, folder: Path) -> None:
    """All of them with one precision."""
    from torchvision_shim import ensure_torchvision

    ensure_torchvision()
    import open_clip
    import torch

    torch.manual_seed(0)
    model, _, transform = open_clip.create_model_and_transforms(MODEL)
    encoder = OpenClipEncoder(model, open_clip.get_tokenizer(MODEL), tag=MODEL, precision=precision)
    (single,) = make_shards(folder / f"single-{precision}", 1, 1)
    pixels = np.stack([encoder.preprocess.stack([Image.open(io.BytesIO(data))])[0] for data in iter_files(shards)])
    runs: dict[str, Callable[[], None]] = {
        "forward, our threads": lambda: run_forward(encoder, pixels, encoder.threads),
        "forward, torch's threads": lambda: run_forward(encoder, pixels, 1),
        "ingest": lambda: run_ingest(encoder, shards, folder / "release"),
        "ingest of one picture": lambda: run_ingest(encoder, [single], folder / "release"),
        f"loop ({_reader()})": lambda: run_loop(encoder, shards, transform),
    }
    costs: dict[str, list[Cost]] = {name: [] for name in runs}
    run_forward(encoder, pixels[:64], encoder.threads)
    for _ in range(rounds):
        for name, run in runs.items():
            costs[name].append(timed(run))
    start = costs.pop("ingest of one picture")
    costs["ingest"] = [whole - one for whole, one in zip(costs["ingest"], start, strict=True)]
    seconds = {name: statistics.median(cost.seconds for cost in found) for name, found in costs.items()}
    cpu = {name: statistics.median(cost.cpu for cost in found) for name, found in costs.items()}
    print(f"\n{MODEL}, {encoder.precision}, batch {encoder.batch}, {encoder.threads} threads, {count_cores()} cores")
    names = [name for name in costs if name.startswith("forward")]
    fastest, cheapest = min(seconds[name] for name in names), min(cpu[name] for name in names)
    for name in costs:
        print(
            f"{name:<34} {n / seconds[name]:7.1f} pictures/s, {fastest / seconds[name]:.2f} of forward;"
            f" {1e3 * cpu[name] / n:6.1f} ms of processor a picture, {cheapest / cpu[name]:.2f}"
        )
    loop = next(name for name in costs if name.startswith("loop"))
    print(
        f"ingest over loop: {seconds[loop] / seconds['ingest']:.2f}; by processor time {cpu[loop] / cpu['ingest']:.2f}"
    )
    print(f"starting processes: {statistics.median(one.seconds for one in start):.1f} s, once a run")


def timed(run: Callable[[], None]) -> Cost:
    """What a run takes."""
    cpu, began = processor_time(), time.perf_counter()
    run()
    return Cost(time.perf_counter() - began, processor_time() - cpu)


def processor_time() -> float:
    """Seconds of processor time of this process and those of its children that have ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def make_shards(folder: Path, n: int, n_shards: int) -> list[Path]:
    """Webdataset tars of photo-sized JPEGs."""
    pictures = []
    for data in read_pictures().values():
        try:
            pictures.append(decode_picture(data))
        except InputError:
            continue
    folder.mkdir()

    def files(number: int) -> Iterator[tuple[str, bytes]]:
        for key in range(number * n // n_shards, (number + 1) * n // n_shards):
            yield f"{key:09d}.jpg", make_photo(pictures, key)
            said = f'{{"url": "https://photos.example/{key}.jpg", "caption": "photo {key}"}}'
            yield f"{key:09d}.json", said.encode()

    return [pack(folder / f"{number:05d}.tar", files(number)) for number in range(n_shards)]


def make_photo(pictures: list[Image.Image], seed: int) -> bytes:
    """Four pictures side by side, with grain."""
    rng = random.Random(seed)  # noqa: S311 - not a secret
    photo = Image.new("RGB", (SIDE, SIDE))
    half = SIDE // 2
    for x, y in ((0, 0), (half, 0), (0, half), (half, half)):
        photo.paste(ImageOps.fit(rng.choice(pictures), (half, half), Image.Resampling.BICUBIC), (x, y))
    grain = np.random.default_rng(seed).normal(0, 4, (SIDE, SIDE, 1))
    out = io.BytesIO()
    Image.fromarray(np.clip(np.asarray(photo) + grain, 0, 255).astype(np.uint8)).save(out, "JPEG", quality=85)
    return out.getvalue()


def iter_files(shards: list[Path]) -> Iterator[bytes]:
    """The pictures' bytes, by the standard library alone."""
    for path in shards:
        with tarfile.open(path) as tar:
            for member in tar:
                file = tar.extractfile(member)
                if file is not None and member.name.endswith(".jpg"):
                    yield file.read()


def run_forward(encoder: OpenClipEncoder, pixels: np.ndarray, threads: int) -> None:
    """`encode_image` alone: on so many threads of one core each, or one of all cores."""
    import torch

    dtype = getattr(torch, encoder.precision)
    tensors = torch.from_numpy(encoder.preprocess.normalise(pixels[: encoder.batch])).to(dtype)
    lengths = [min(encoder.batch, len(pixels) - at) for at in range(0, len(pixels), encoder.batch)]

    def forward(length: int) -> None:
        with torch.inference_mode():
            encoder.model.encode_image(tensors[:length])

    if threads == 1:
        for length in lengths:
            forward(length)
    else:
        with ThreadPoolExecutor(threads, initializer=encoder.claim_thread) as pool:
            list(pool.map(forward, lengths))


def run_ingest(encoder: OpenClipEncoder, shards: list[Path], release: Path) -> None:
    """A new release of the shards."""
    shutil.rmtree(release, ignore_errors=True)
    ingest(shards, release=release, encoder=encoder)


def _reader() -> str:
    try:
        import webdataset
    except ImportError:
        return "tarfile + DataLoader"
    return f"webdataset {webdataset.__version__} + DataLoader"


def run_loop(encoder: OpenClipEncoder, shards: list[Path], transform: Any) -> None:  # noqa: ANN401 - open_clip's
    """The loop that people write: embeddings only, into memory, with torch's own threads."""
    import torch

    class Tars(torch.utils.data.IterableDataset):  # type: ignore[type-arg]
        """Shards dealt out to the loader's processes."""

        def __iter__(self) -> Iterator[torch.Tensor]:
            info = torch.utils.data.get_worker_info()
            mine = shards if info is None else shards[info.id :: info.num_workers]
            for data in iter_files(mine):
                yield transform(Image.open(io.BytesIO(data)).convert("RGB"))

    try:
        import webdataset

        urls = [str(path) for path in shards]
        dataset: Any = webdataset.WebDataset(urls, shardshuffle=False).decode("pil").to_tuple("jpg")
        dataset = dataset.map_tuple(transform)
    except ImportError:
        dataset = Tars()
    loader = torch.utils.data.DataLoader(dataset, batch_size=LOOP_BATCH, num_workers=min(count_cores(), len(shards)))
    rows = []
    with torch.inference_mode():
        for batch in loader:
            images = batch[0] if isinstance(batch, list | tuple) else batch
            vectors = encoder.model.encode_image(images.to(getattr(torch, encoder.precision)))
            rows.append(torch.nn.functional.normalize(vectors.float(), dim=-1).half().numpy())


if __name__ == "__main__":
    if "OMP_NUM_THREADS" in os.environ:
        sys.exit("unset OMP_NUM_THREADS: torch's own choice is part of what is compared")
    main()
