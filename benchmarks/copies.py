"""Copies of pictures, changed as the web changes them: who finds them, and what else is called a copy.

    python -m benchmarks.copies --encoder data/models/starter-onnx \
        --torch-encoder local-dir:data/models/starter --pictures 150

*Forward*: the data set holds the original, the query is a changed copy. *Reverse*: the query is the original, and the
data set holds it and all its changed copies. *Strangers*: the query's picture is not in the data set. PDQ alone is
distance <= 31 in any orientation; CLIP alone is the original nearest of all by cosine; heldout is what search labels
`exact` or `near`. Pictures whose index is in the first half were used to choose thresholds; queries are of the other.
"""

import argparse
import csv
import io
import json
import os
import statistics
import sys
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from random import Random
from typing import Final

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before FAISS and ONNX Runtime are imported

import numpy as np
from PIL import Image

from heldout.fingerprints import MATCH_DISTANCE, distances
from heldout.pictures import decode_picture, pdq_orientations
from indexer.build import build
from indexer.encoder import Encoder, load_encoder
from indexer.ingest import ingest
from indexer.transforms import COPIES, collage
from search.engine import SearchEngine
from tests.collection import COLLECTION, read_pictures
from tests.indexer.tars import pack

SHIM: Final = COLLECTION.parent / "scripts" / "starter"
"""Holds what lets torchvision be imported where its operators do not load."""
PROVED: Final = {"exact", "near"}
COLLAGE: Final = "2 x 2 collage"
Made = tuple[Image.Image, set[str]]
"""A changed copy, and the keys of the originals that it shows."""
Change = Callable[[str, Image.Image, Random], Made]


@dataclass
class Figures:
    """What became of one change."""

    pdq: list[bool] = field(default_factory=list)
    clip: list[bool] = field(default_factory=list)
    found: list[bool] = field(default_factory=list)
    n_right: int = 0
    n_wrong: int = 0
    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)


@dataclass
class Collection:
    """The bundled collection's pictures."""

    pictures: dict[str, bytes]
    family: dict[str, str]
    """Key of a planted copy -> key of its original."""
    originals: list[str]

    @classmethod
    def read(cls) -> "Collection":
        """Read all of it."""
        with (COLLECTION / "truth.csv").open(encoding="utf-8", newline="") as file:
            family = {row["key"]: row["original_key"] for row in csv.DictReader(file)}
        with (COLLECTION / "broken.csv").open(encoding="utf-8", newline="") as file:
            broken = {row["key"] for row in csv.DictReader(file)}
        pictures = {key: data for key, data in read_pictures().items() if key not in broken}
        return cls(pictures, family, sorted(pictures.keys() - family.keys()))

    def original(self, key: str) -> str:
        """Key of the original of a sample, be it a planted copy or one made here."""
        key = key.partition("~")[0]
        return self.family.get(key, key)

    def image(self, key: str) -> Image.Image:
        """A picture, decoded."""
        return decode_picture(self.pictures[key])


def main() -> None:
    """Build the indexes in a temporary folder, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--encoder", required=True, help="encoder folder or model tag")
    parser.add_argument("--torch-encoder", help="the same model on torch, to cloak pictures against it")
    parser.add_argument("--pictures", type=int, default=150, help="originals to make copies of")
    parser.add_argument("--cloaked", type=int, default=40, help="of them, pictures to cloak")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--change", action="append", help="only this change, by name; may be given again")
    parser.add_argument("--only", choices=["forward", "reverse", "strangers"], help="one of the three")
    arguments = parser.parse_args()
    collection, encoder = Collection.read(), load_encoder(arguments.encoder)
    rng = Random(arguments.seed)  # noqa: S311 - not a secret
    second_half = collection.originals[len(collection.originals) // 2 :]
    chosen = sorted(rng.sample(second_half, min(arguments.pictures, len(second_half))))
    print(f"{len(collection.pictures)} pictures, {len(chosen)} asked for, encoder {encoder.tag}, seed {arguments.seed}")
    if arguments.only in {None, "forward"}:
        changes = {name: each for name, each in _changes(collection).items() if name in (arguments.change or [name])}
        forward(collection, encoder, chosen, changes, arguments.seed)
        if arguments.torch_encoder:
            cloaks = _cloaks(arguments.torch_encoder)
            forward(collection, encoder, chosen[: arguments.cloaked], cloaks, arguments.seed)
    if arguments.only in {None, "strangers"}:
        strangers(collection, encoder, arguments.pictures)
    if arguments.only in {None, "reverse"}:
        reverse(collection, encoder, chosen, arguments.seed)


def forward(
    collection: Collection, encoder: Encoder, chosen: Sequence[str], changes: Mapping[str, Change], seed: int
) -> None:
    """Ask with changed copies of pictures that the data set holds."""
    print(f"\nforward: a changed copy is asked for, n = {len(chosen)}")
    print(f"{'change':<22}{'PDQ':>8}{'CLIP':>8}{'heldout':>9}{'precision':>11}{'p50 ms':>8}{'cpu ms':>8}")
    everything: list[Figures] = []
    with _engine(encoder, [COLLECTION / "webdataset"]) as engine, engine.generation("collection") as generation:
        samples = {sample.key: sample for sample in generation.samples(range(generation.n))}
        for name, change in changes.items():
            figures, rng = Figures(), Random(f"{seed} {name}")  # noqa: S311
            for key in chosen:
                image, shown = change(key, collection.image(key), rng)
                hashes = np.frombuffer(bytes.fromhex(samples[key].pdq or ""), np.uint8).reshape(1, 32)
                figures.pdq.append(bool(distances(pdq_orientations(image)[0], hashes).min() <= MATCH_DISTANCE))
                _, nearest = generation.search_embedding(encoder.embed_images([image]), 1)
                figures.clip.append(collection.original(generation.samples(nearest[0])[0].key) in shown)
                proved = [collection.original(found) for found in _ask(engine, image, figures)]
                figures.found.append(key in proved)
                figures.n_right += sum(found in shown for found in proved)
                figures.n_wrong += sum(found not in shown for found in proved)
            everything.append(figures)
            _print_row(name, figures)
        total = sum(each.n_right + each.n_wrong for each in everything)
        means = [
            statistics.fmean(statistics.fmean(getattr(each, name)) for each in everything)
            for name in ("pdq", "clip", "found")
        ]
        right = sum(each.n_right for each in everything) / max(1, total)
        print(f"{'mean':<22}{means[0]:8.3f}{means[1]:8.3f}{means[2]:9.3f}{right:11.4f}  of {total} hits")


def _ask(engine: SearchEngine, image: Image.Image, figures: Figures) -> list[str]:
    """Keys of the exact and near hits."""
    data = _png(image)
    began, cpu = time.perf_counter(), time.process_time()
    hits = engine.search_picture(data, k=1).hits
    figures.seconds.append(time.perf_counter() - began)
    figures.cpu.append(time.process_time() - cpu)
    return [hit.sample.key for hit in hits if hit.label in PROVED]


def _print_row(name: str, figures: Figures) -> None:
    shares = [statistics.fmean(each) for each in (figures.pdq, figures.clip, figures.found)]
    precision = figures.n_right / max(1, figures.n_right + figures.n_wrong)
    times = [1e3 * statistics.median(each) for each in (figures.seconds, figures.cpu)]
    print(
        f"{name:<22}{shares[0]:8.3f}{shares[1]:8.3f}{shares[2]:9.3f}{precision:11.4f}{times[0]:8.0f}{times[1]:8.0f}",
        flush=True,
    )


def strangers(collection: Collection, encoder: Encoder, n: int) -> None:
    """Ask for pictures that the data set does not hold: any exact or near hit is a wrong one."""
    shards = sorted((COLLECTION / "webdataset").glob("*.tar"))
    with tarfile.open(shards[-1]) as tar:
        there = {member.name.partition(".")[0] for member in tar}
    related = {original for key, original in collection.family.items() if key not in there}
    asked = [key for key in collection.originals if key in there and key not in related][:n]
    wrong: Counter[tuple[str, str]] = Counter()
    seconds: list[float] = []
    with _engine(encoder, shards[:-1]) as engine:
        for key in asked:
            began = time.perf_counter()
            hits = engine.search_picture(collection.pictures[key], k=1).hits
            seconds.append(time.perf_counter() - began)
            wrong.update((key, hit.sample.key) for hit in hits if hit.label in PROVED)
    n_wrong = len({key for key, _ in wrong})
    print(
        f"\nstrangers: {n_wrong} of {len(asked)} pictures that are not in the data set have an exact or near hit; "
        f"p50 {1e3 * statistics.median(seconds):.0f} ms"
    )
    for key, other in sorted(wrong):
        print(f"  {key} {other}")


def reverse(collection: Collection, encoder: Encoder, chosen: Sequence[str], seed: int) -> None:
    """Ask with originals for changed copies that the data set holds."""
    found: dict[str, list[bool]] = {}
    n_right = n_wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        made = _write_copies(Path(folder), collection, chosen, seed)
        with _engine(encoder, [COLLECTION / "webdataset", Path(folder)]) as engine:
            for key in chosen:
                hits = engine.search_picture(collection.pictures[key], k=1).hits
                proved = {hit.sample.key for hit in hits if hit.label in PROVED}
                for name, (copy, _) in made[key].items():
                    found.setdefault(name, []).append(copy in proved)
                showing = {copy for each in made.values() for copy, shown in each.values() if key in shown}
                right = sum(each in showing or collection.original(each) == key for each in proved)
                n_right, n_wrong = n_right + right, n_wrong + len(proved) - right
    print(f"\nreverse: the original is asked for, n = {len(chosen)}")
    for name, each in found.items():
        print(f"{name:<22}{statistics.fmean(each):8.3f}")
    mean = statistics.fmean(statistics.fmean(each) for each in found.values())
    print(f"{'mean':<22}{mean:8.3f}   precision {n_right / (n_right + n_wrong):.4f} of {n_right + n_wrong} hits")


def _write_copies(
    folder: Path, collection: Collection, chosen: Sequence[str], seed: int
) -> dict[str, dict[str, tuple[str, set[str]]]]:
    """A shard of changed copies; key of an original -> change -> key of the copy, and the originals it shows."""
    made: dict[str, dict[str, tuple[str, set[str]]]] = {key: {} for key in chosen}

    def files() -> Iterator[tuple[str, bytes]]:
        for number, (name, change) in enumerate(_changes(collection).items()):
            rng = Random(f"{seed} {name}")  # noqa: S311
            for key in chosen:
                image, shown = change(key, collection.image(key), rng)
                copy = f"{key}~{number:02d}"
                made[key][name] = copy, shown
                yield f"{copy}.png", _png(image)
                yield f"{copy}.txt", b"a copy"
                yield f"{copy}.json", json.dumps({"key": copy, "url": f"https://copies.example/{copy}.png"}).encode()

    pack(folder / "90000.tar", files())
    return made


def _changes(collection: Collection) -> dict[str, Change]:
    def one(name: str) -> Change:
        return lambda key, image, rng: (COPIES[name](image, rng), {key})

    def four(key: str, image: Image.Image, rng: Random) -> Made:
        others = rng.sample([other for other in collection.originals if other != key], 3)
        tiles = [image, *(collection.image(other) for other in others)]
        return collage(tiles), {key, *others}

    return {name: one(name) for name in COPIES} | {COLLAGE: four}


def _cloaks(spec: str) -> dict[str, Change]:
    sys.path.append(str(SHIM))
    import_module("torchvision_shim").ensure_torchvision()
    from benchmarks.cloaks import add_low_noise, cloak_against
    from indexer.openclip import OpenClipEncoder

    encoder = OpenClipEncoder.load(spec)

    def attack(bound: int) -> Change:
        return lambda key, image, rng: (cloak_against(encoder, image, bound, rng.getrandbits(31))[0], {key})

    def noise(bound: int) -> Change:
        return lambda key, image, rng: (add_low_noise(image, rng, bound), {key})

    attacks = {f"PGD {bound}/255": attack(bound) for bound in (4, 8, 16)}
    return attacks | {f"low noise {bound}/255": noise(bound) for bound in (8, 16, 32)}


@contextmanager
def _engine(encoder: Encoder, sources: Iterable[Path]) -> Iterator[SearchEngine]:
    with tempfile.TemporaryDirectory() as folder:
        release = Path(folder) / "collection"
        ingest(list(sources), release=release, encoder=encoder)
        build(release)
        engine = SearchEngine.open(Path(folder), encoder)
        engine.search_picture(_png(Image.new("RGB", (64, 64))), k=1)
        yield engine
        engine.close()


def _png(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG", compress_level=1)
    return out.getvalue()


if __name__ == "__main__":
    main()
