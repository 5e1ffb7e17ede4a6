"""What a release's index and model are worth: index recall, copy recall per transform, concept precision, latency.

Copies are made on the fly from the release's own pictures, seeded. Among the pictures searched, those that look the
same at 32 pixels (`TWIN_DIFFERENCE`) count as the same picture, so that reposts do not count against anyone.
"""

import csv
import json
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from heldout.errors import ConflictError, InputError
from heldout.fingerprints import MATCH_DISTANCE, distances
from heldout.pictures import decode_picture, pdq_orientations
from indexer.encoder import Encoder
from indexer.figures import CopyRecall, Evaluation
from indexer.generation import GENERATIONS_FOLDER, Generation, current_generation
from indexer.image_index import Kind
from indexer.manifest import load_manifest
from indexer.planning import Shard, plan_shards
from indexer.precomputed import PRECOMPUTED
from indexer.readers import open_shard
from indexer.samples import STATUS_OK
from indexer.transforms import TRANSFORMS
from indexer.vectors import unit_rows

TWIN_SIDE: Final = 32
TWIN_DIFFERENCE: Final = 1.5
"""Mean absolute difference of 8-bit values, at most, between pictures that count as one."""
GALLERY: Final = 20_000
"""Pictures that copies are searched in, at most, chosen by the seed."""
_CHUNK: Final = 100_000
"""Embeddings compared at once."""
_REPEATS: Final = 100
_N_BETWEEN: Final = 200


def evaluate(
    release: Path,
    encoder: Encoder,
    *,
    pictures: Sequence[Path] = (),
    queries: Path | None = None,
    truth: Path | None = None,
    n_queries: int = 400,
    seed: int = 0,
) -> Evaluation:
    """Measure the current generation of `release`. One that holds no pictures is held against exact search alone.

    Args:
        release: Folder of the release.
        encoder: The model that embedded it.
        pictures: Shards that hold the pictures as ingested; the release's thumbnails serve where none are given.
        queries: JSON object, text -> keys of the samples that are right answers.
        truth: CSV whose column `key` names planted copies; they are left out of the copies' gallery.
        n_queries: Pictures to make copies of.
        seed: Of the choice and of the crops.

    Raises:
        ConflictError: `encoder` is not the model of the release.
        InputError: the release has neither pictures nor embeddings, or a file is not what it should be.
    """
    generation = Generation.open(release)
    if generation.model_tag != encoder.tag:
        raise ConflictError(f"{release} was embedded by {generation.model_tag}, not {encoder.tag}: give that model")
    try:
        rng = Random(seed)  # noqa: S311 - not a secret
        looked_at = sorted(rng.sample(range(generation.n), min(generation.n, 2 * GALLERY)))
        left_out = _planted(truth)
        keys = {
            sample.id: sample.key
            for sample in generation.samples(looked_at)
            if sample.status == STATUS_OK and sample.key not in left_out
        }
        ids = list(keys)[:GALLERY]
        rows = generation.embeddings(ids or looked_at[:GALLERY])
        rows = rows[~np.isnan(rows[:, 0])]
        if not len(rows):
            raise InputError(f"{release} holds neither pictures nor embeddings to evaluate with")
        chosen = sorted(rng.sample(ids, min(n_queries, len(ids))))
        originals = _originals(generation, chosen, pictures, keys)
        texts = _read_queries(queries)
        by_text = encoder.embed_texts(list(texts)) if texts else None
        index_recall = {"image": _index_recall(generation, _between(rows), "image")}
        copies: list[CopyRecall] = []
        if originals:
            copies, embedded = _copy_recall(encoder, _Gallery.make(generation, ids), originals, seed)
            index_recall["near-copy"] = _index_recall(generation, embedded, "image")
        if by_text is not None:
            index_recall["text"] = _index_recall(generation, by_text, "text")
        return Evaluation(
            dataset=generation.dataset,
            generation=generation.number,
            model_tag=generation.model_tag,
            image_index=generation.manifest.image_index,
            n_pictures=len(ids),
            n_queries=len(chosen),
            seed=seed,
            index_recall=index_recall,
            copies=copies,
            concepts=None if by_text is None else _concepts(generation, texts, by_text),
            latency_ms=_latency(generation, encoder, rows[:1], [image for _, image in originals[:20]]),
        )
    finally:
        generation.close()


def needs_model(release: Path, *, queries: Path | None) -> bool:
    """Whether `evaluate` would embed anything: pictures that the release holds, or `queries`.

    Raises:
        NotFoundError: nothing is built.
        VerificationError: the generation cannot be read.
    """
    number = current_generation(release)
    return queries is not None or load_manifest(release / GENERATIONS_FOLDER / str(number)).n_pdq > 0


@dataclass(frozen=True)
class _Gallery:
    """Everything copies are searched in, by position."""

    ids: npt.NDArray[np.int64]
    embeddings: npt.NDArray[np.float32]
    pdq: npt.NDArray[np.uint8]
    small: npt.NDArray[np.int16]
    """(n, 32 * 32 * 3)."""

    @classmethod
    def make(cls, generation: Generation, ids: Sequence[int]) -> "_Gallery":
        hashes = [bytes.fromhex(sample.pdq or "00" * 32) for sample in generation.samples(ids)]
        small = np.stack([_small(_open_thumbnail(generation, sample_id)) for sample_id in ids])
        pdq = np.frombuffer(b"".join(hashes), dtype=np.uint8).reshape(-1, 32)
        return cls(np.array(ids), generation.embeddings(list(ids)), pdq, small)

    def right(self, sample_id: int) -> npt.NDArray[np.bool_]:
        """Positions of a sample and its twins, as a mask."""
        position = int(np.searchsorted(self.ids, sample_id))
        difference = np.abs(self.small - self.small[position]).mean(axis=1)
        return np.asarray(difference < TWIN_DIFFERENCE, dtype=np.bool_)


def _open_thumbnail(generation: Generation, sample_id: int) -> Image.Image:
    return decode_picture(generation.thumbnail(sample_id) or b"", name=f"thumbnail {sample_id}")


def _small(image: Image.Image) -> npt.NDArray[np.int16]:
    return np.asarray(image.resize((TWIN_SIDE, TWIN_SIDE)), dtype=np.int16).ravel()


def _originals(
    generation: Generation, chosen: Sequence[int], pictures: Sequence[Path], keys: Mapping[int, str]
) -> list[tuple[int, Image.Image]]:
    """(id, picture) of the chosen samples, from the shards where they are given."""
    if not pictures:
        return [(sample_id, _open_thumbnail(generation, sample_id)) for sample_id in chosen]
    first_ids = {shard.name: shard.first_id for shard in generation.manifest.shards}
    wanted, found = set(chosen), []
    for shard in plan_shards(pictures):
        if shard.name not in first_ids:
            raise InputError(f"{shard.source} is not a shard of {generation.dataset}: give the shards it was made from")
        for sample_id, key, data in _shard_pictures(shard, first_ids[shard.name]):
            if sample_id in wanted and data is not None:
                if keys[sample_id] != key:
                    raise InputError(f"{shard.source} is not the shard that was ingested: sample {key} is out of place")
                found.append((sample_id, decode_picture(data, name=key)))
    if len(found) != len(wanted):
        raise InputError(f"{len(wanted) - len(found)} of {len(wanted)} pictures are not in the shards given")
    return found


def _shard_pictures(shard: Shard, first_id: int) -> Iterator[tuple[int, str, bytes | None]]:
    sample_id = first_id
    for batch in open_shard(shard).batches():
        for key, data in zip(batch.table["key"].to_pylist(), batch.pictures, strict=True):
            yield sample_id, key, data
            sample_id += 1


def _copy_recall(
    encoder: Encoder, gallery: _Gallery, originals: Sequence[tuple[int, Image.Image]], seed: int
) -> tuple[list[CopyRecall], npt.NDArray[np.float32]]:
    """Recall per transform, and the embeddings of all copies."""
    right = np.stack([gallery.right(sample_id) for sample_id, _ in originals])
    results, embedded = [], []
    for name, transform in TRANSFORMS.items():
        rng = Random(f"{seed} {name}")  # noqa: S311 - not a secret
        copies = [transform(image, rng) for _, image in originals]
        embeddings = np.concatenate([encoder.embed_images(copies[at : at + 64]) for at in range(0, len(copies), 64)])
        order = np.argsort(-(embeddings @ gallery.embeddings.T), axis=1, kind="stable")[:, :5]
        hits = np.take_along_axis(right, order, axis=1)
        turned = np.stack([pdq_orientations(copy)[0] for copy in copies])
        upright = distances(turned[:, 0], gallery.pdq)
        nearest = np.where(right, upright, 999).min(axis=1) <= upright.min(axis=1)
        any_way = np.stack([distances(turned[:, way], gallery.pdq) for way in range(turned.shape[1])]).min(axis=0)
        matched = (np.where(right, any_way, 999) <= MATCH_DISTANCE).any(axis=1)
        results.append(
            CopyRecall(
                name,
                clip_r1=float(hits[:, 0].mean()),
                clip_r5=float(hits.any(axis=1).mean()),
                pdq_r1=float(nearest.mean()),
                pdq_match=float((np.where(right, upright, 999) <= MATCH_DISTANCE).any(axis=1).mean()),
                pdq_match_any=float(matched.mean()),
                either=float((hits[:, 0] | matched).mean()),
            )
        )
        embedded.append(embeddings)
    return results, np.concatenate(embedded)


def _between(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Queries that are no row: each between two pictures that are near to each other."""
    some = rows[:_N_BETWEEN]
    alike = some @ rows.T
    alike[np.arange(len(some)), np.arange(len(some))] = -np.inf
    return unit_rows(some + rows[alike.argmax(axis=1)])


def _index_recall(generation: Generation, queries: npt.NDArray[np.float32], kind: Kind) -> dict[str, float]:
    """recall@1 and @10 against exact search over all embeddings; equal scores count as equal."""
    k = min(10, generation.manifest.n_embeddings)
    best = _exact_scores(generation, queries, k)
    found = np.concatenate(
        [generation.search_embedding(queries[at : at + 64], k, kind=kind)[0] for at in range(0, len(queries), 64)]
    )
    return {
        "recall@1": float((found[:, 0] >= best[:, 0] - 1e-5).mean()),
        "recall@10": float((found >= best[:, k - 1 : k] - 1e-5).mean()),
    }


def _exact_scores(generation: Generation, queries: npt.NDArray[np.float32], k: int) -> npt.NDArray[np.float32]:
    """The `k` highest cosines of each query over all embeddings, highest first."""
    best = np.full((len(queries), k), -np.inf, dtype=np.float32)
    for start in range(0, generation.n, _CHUNK):
        rows = generation.embeddings(range(start, min(start + _CHUNK, generation.n)))
        rows = rows[~np.isnan(rows[:, 0])]
        for at in range(0, len(queries), 64):
            part = np.concatenate([best[at : at + 64], queries[at : at + 64] @ rows.T], axis=1)
            best[at : at + 64] = -np.partition(-part, k - 1, axis=1)[:, :k]
    return -np.sort(-best, axis=1)


def _concepts(
    generation: Generation, texts: Mapping[str, Sequence[str]], by_text: npt.NDArray[np.float32]
) -> dict[str, Any]:
    """Precision@10 of text queries by CLIP alone and by captions alone, beside chance and what could be reached."""
    n_pictures = generation.manifest.n_embeddings
    rows: list[dict[str, Any]] = []
    _, found = generation.search_embedding(by_text, 10, kind="text")
    for (text, named), ids in zip(texts.items(), found, strict=True):
        right = set(named)
        by_caption = generation.search_caption(text, 10)[1]
        rows.append(
            {
                "query": text,
                "right": len(right),
                "clip": sum(sample.key in right for sample in generation.samples(ids[ids >= 0])) / 10,
                "caption": sum(sample.key in right for sample in generation.samples(by_caption)) / 10,
                "attainable": min(10, len(right)) / 10,
                "random": len(right) / max(n_pictures, 1),
            }
        )
    means = {name: statistics.fmean(row[name] for row in rows) for name in ("clip", "caption", "attainable", "random")}
    return {"n": len(rows), "precision@10": means, "queries": rows}


def _latency(
    generation: Generation, encoder: Encoder, query: npt.NDArray[np.float32], images: Sequence[Image.Image]
) -> dict[str, float]:
    requests: dict[str, Callable[[int], object]] = {}
    if images:
        requests["embed_picture"] = lambda turn: encoder.embed_images([images[turn % len(images)]])
    if encoder.precision != PRECOMPUTED:
        requests["embed_text"] = lambda turn: encoder.embed_texts([f"a red car number {turn}"])
    requests["search_embedding"] = lambda _: generation.search_embedding(query, 10)
    figures = {}
    for name, call in requests.items():
        call(0)
        times = []
        cpu = time.process_time()
        for turn in range(_REPEATS):
            began = time.perf_counter()
            call(turn)
            times.append(time.perf_counter() - began)
        figures[name] = round(statistics.median(times) * 1000, 3)
        figures[f"{name}_cpu"] = round((time.process_time() - cpu) / _REPEATS * 1000, 3)
    return figures


def _planted(truth: Path | None) -> set[str]:
    if truth is None:
        return set()
    if not truth.is_file():
        raise InputError(f"{truth} does not exist: give a CSV with a column `key`")
    with truth.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file)
        if "key" not in (rows.fieldnames or ()):
            raise InputError(f"{truth} has no column `key`")
        return {row["key"] for row in rows}


def _read_queries(path: Path | None) -> dict[str, list[str]]:
    if path is None:
        return {}
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not JSON ({error})") from error
    if not isinstance(said, dict) or not all(isinstance(keys, list) for keys in said.values()):
        raise InputError(f"{path} is not an object of query -> list of keys")
    return {str(text): [str(key) for key in keys] for text, keys in said.items()}
