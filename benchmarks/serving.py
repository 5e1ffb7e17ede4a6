"""A text query over HTTP beside its bare parts, and concurrent queries with and without batches.

    python -m benchmarks.serving --encoder data/models/starter-onnx
    PYTHONPATH=data/scripts/starter python -m benchmarks.serving --encoder random:ViT-B-32 --n 200000

Without `--n` the bundled collection is served; with it, so many made vectors (benchmarks/vectors.py) with captions of
made words. `random:TAG` is an open_clip model with random weights: its work does not depend on them.

In turns, in one run: a query embedded and its ten nearest looked up, in this process; the same text asked of a server
process with `GET /v1/search?k=10`, which besides asks the caption index, fuses, groups copies and reads samples. Then
16 threads embed texts one by one, directly and through `search.batching`, in turns; and one thread alone, both ways.
"""

import argparse
import multiprocessing
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before FAISS, torch and ONNX Runtime are imported
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import faiss
import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import uvicorn

from benchmarks.vectors import Generator
from indexer.build import build
from indexer.encoder import Encoder, load_encoder
from indexer.generation import Generation
from indexer.ingest import ingest
from search.batching import BatchingEncoder
from search.query_encoder import QueryEncoder
from tests.collection import COLLECTION
from tests.web.serving import address_of, free_socket
from web.app import create_app
from web.settings import Settings

K = 10
RANDOM = "random:"
CHUNK = 50_000


def main() -> None:
    """Index, serve, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--encoder", required=True, help="encoder folder, model tag, or random:TAG")
    parser.add_argument("--n", type=int, default=0, help="made vectors; the bundled collection if left out")
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--threads", type=int, default=16)
    arguments = parser.parse_args()
    encoder = make_encoder(arguments.encoder)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        release = folder / "datasets" / "made"
        source = write_made(folder / "source", arguments.n, encoder.d) if arguments.n else COLLECTION / "webdataset"
        ingest([source], release=release, encoder=encoder)
        build(release)
        print_http(folder, arguments.encoder, encoder, arguments.queries)
    print_batches(encoder, arguments.threads)


def make_encoder(spec: str) -> Encoder:
    """The encoder of a specification."""
    if not spec.startswith(RANDOM):
        return load_encoder(spec)
    import torch
    from torchvision_shim import ensure_torchvision

    ensure_torchvision()
    import open_clip

    from indexer.openclip import OpenClipEncoder

    torch.set_num_threads(1)
    tag = spec.removeprefix(RANDOM)
    torch.manual_seed(0)
    model = open_clip.create_model(tag).eval()
    return OpenClipEncoder(model, open_clip.get_tokenizer(tag), tag=spec)


def words_of(number: int) -> str:
    """A caption of some made words, by number: rare ones and frequent ones."""
    return " ".join(f"word{(number * step) % size}" for step, size in ((7, 50), (11, 5_000), (13, 100_000), (17, 300)))


def write_made(folder: Path, n: int, d: int) -> Path:
    """So many made vectors with captions and addresses, in clip-retrieval's layout."""
    generator = Generator(d, seed=0)
    for name in ("img_emb", "metadata"):
        (folder / name).mkdir(parents=True)
    for number, first in enumerate(range(0, n, CHUNK)):
        ids = range(first, min(first + CHUNK, n))
        np.save(folder / "img_emb" / f"img_emb_{number}.npy", generator.draw(len(ids)).astype(np.float16))
        table = {"url": [f"https://h{one % 997}.example/{one}.jpg" for one in ids], "caption": list(map(words_of, ids))}
        pq.write_table(pa.table(table), folder / "metadata" / f"metadata_{number}.parquet")
    return folder


def serve(folder: str, spec: str, port: int) -> None:
    """The whole site, in a process of its own."""
    settings = Settings(state_dir=Path(folder) / "state", datasets_dir=Path(folder) / "datasets", suggestions=None)
    uvicorn.run(create_app(settings, encoder=make_encoder(spec)), port=port, log_config=None, access_log=False)


def print_http(folder: Path, spec: str, encoder: Encoder, n_queries: int) -> None:
    """Median times of the bare parts and of the request, taken in turns."""
    faiss.omp_set_num_threads(1)
    bound = free_socket()
    address, port = address_of(bound), bound.getsockname()[1]
    bound.close()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(str(folder), spec, port), daemon=True)
    server.start()
    generation = Generation.open(folder / "datasets" / "made")
    texts = [
        f"{words_of(7 * number)} {number}" if spec.startswith(RANDOM) else f"red car {number}"
        for number in range(n_queries + 20)
    ]
    with httpx.Client(base_url=address, timeout=60) as client:
        wait_for(client)
        bare, embedding, whole = [], [], []
        for text in texts:
            began = time.perf_counter()
            row = encoder.embed_texts([text])
            embedded = time.perf_counter()
            generation.search_embedding(row, K, kind="text")
            looked_up = time.perf_counter()
            client.get("/v1/search", params={"text": text, "k": K}).raise_for_status()
            whole.append(time.perf_counter() - looked_up)
            bare.append(looked_up - began)
            embedding.append(embedded - began)
        index = generation.manifest
        print(f"n={generation.n:,} d={generation.d} k={K} encoder={encoder.tag} index={index.image_index}")
        for name, times in (("embed", embedding), ("embed + index", bare), ("GET /v1/search", whole)):
            print(f"  {name:<16} p50 {1e3 * statistics.median(times[20:]):7.2f} ms")
        print(f"  request over embed + index, p50: {statistics.median(whole[20:]) / statistics.median(bare[20:]):.2f}")
    server.terminate()
    server.join()


def wait_for(client: httpx.Client) -> None:
    """Until the server is ready."""
    for _ in range(1_200):
        try:
            if client.get("/readyz").status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.1)
    raise TimeoutError("the server does not get ready")


def print_batches(encoder: Encoder, n_threads: int) -> None:
    """Texts a second of many threads, and the time of one alone, directly and in batches, in turns."""
    batching = BatchingEncoder(encoder)
    ways: dict[str, QueryEncoder] = {"directly": encoder, "in batches": batching}
    rates: dict[str, list[float]] = {name: [] for name in ways}
    alone: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(5):
        for name, way in ways.items():
            rates[name].append(rate_of(way, n_threads))
        for number in range(30):
            for name, way in ways.items():
                began = time.perf_counter()
                way.embed_texts([f"a picture of {number}"])
                alone[name].append(time.perf_counter() - began)
    print(f"texts embedded by {n_threads} threads, encoder={encoder.tag}")
    for name in ways:
        rate, one = statistics.median(rates[name]), 1e3 * statistics.median(alone[name])
        print(f"  {name:<11} {rate:8.1f} a second; one alone p50 {one:6.2f} ms")
    both = [statistics.median(rates[name]) for name in ways]
    print(f"  in batches over directly: {both[1] / both[0]:.2f}")


def rate_of(way: QueryEncoder, n_threads: int, seconds: float = 3.0) -> float:
    """Texts a second that so many threads get embedded."""
    counts = [0] * n_threads
    end = time.perf_counter() + seconds

    def ask(place: int) -> None:
        while time.perf_counter() < end:
            way.embed_texts([f"a picture of {counts[place]} by {place}"])
            counts[place] += 1

    began = time.perf_counter()
    run_all([lambda place=place: ask(place) for place in range(n_threads)])  # type: ignore[misc]
    return sum(counts) / (time.perf_counter() - began)


def run_all(tasks: list[Callable[[], None]]) -> None:
    """Each in a thread of its own, to the end."""
    threads = [threading.Thread(target=task) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
