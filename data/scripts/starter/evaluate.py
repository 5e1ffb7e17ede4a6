"""Measure a finished model on the artist-disjoint test set, or on the validation slice while tuning.

    python data/scripts/starter/evaluate.py WORK MODEL [--part test] [--json OUT] [--sheet OUT.png]

MODEL is what `indexer.encoder.load_encoder` takes: `local-dir:FOLDER` or an exported encoder folder.  Run from the
repository's environment, so that what is measured is the encoder that serves.  Prints, and writes as JSON: concept
precision at 10 of single words, recall of pictures by their own titles, copies found after eleven changes beside what
the nearest PDQ hash finds, and the time one picture and one text take.
"""

import argparse
import json
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pdqhash
from concepts import precision_at_10, relevance
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

sys.path.insert(0, str(Path(__file__).parents[3]))

from indexer.encoder import Encoder, load_encoder
from indexer.transforms import TRANSFORMS

SIDE = 256
QUERIES = 400
TWIN = 1.5  # mean difference of 32-px pictures below which two gallery pictures count as the same
SHEET = (
    "cat",
    "dog",
    "red car",
    "tree",
    "castle",
    "flower",
    "house",
    "fruit",
    "musical instrument",
    "boat",
    "woman",
    "flag",
    "computer",
)

Picture = Image.Image


def pictures_of(rows: Sequence[dict[str, Any]]) -> list[Picture]:
    """The rows' pictures on white, at most SIDE px, from the unpacked packages."""
    from render import load_or_draw, on_white

    found = []
    for row in rows:
        picture = on_white(load_or_draw(row))
        picture.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
        found.append(picture)
    return found


def _pdq(picture: Picture) -> NDArray[np.uint64]:
    return np.packbits(pdqhash.compute(np.asarray(picture))[0].astype(bool)).view(np.uint64)


def copies(encoder: Encoder, gallery: list[Picture], features: NDArray[np.float32]) -> dict[str, dict[str, float]]:
    """For each change: share of changed pictures whose original (or its twin) comes first, and in the first five."""
    chance = random.Random(0)  # noqa: S311 - the same queries every time
    asked = chance.sample(range(len(gallery)), min(QUERIES, len(gallery)))
    tiny = np.stack([np.asarray(p.resize((32, 32))).astype(np.int16).ravel() for p in gallery])
    twins = [set(np.flatnonzero(np.abs(tiny - tiny[i]).mean(1) < TWIN).tolist()) for i in asked]
    hashes = np.stack([_pdq(p) for p in gallery])
    found: dict[str, dict[str, float]] = {}
    for name, change in TRANSFORMS.items():
        changed = [change(gallery[i], chance) for i in asked]
        best = np.argsort(-(encoder.embed_images(changed) @ features.T), axis=1)[:, :5]
        distance = np.stack([np.bitwise_count(hashes ^ _pdq(p)).sum(1) for p in changed])
        found[name] = {
            "R@1": float(np.mean([b[0] in t for b, t in zip(best, twins, strict=True)])),
            "R@5": float(np.mean([bool(t & set(b.tolist())) for b, t in zip(best, twins, strict=True)])),
            "PDQ R@1": float(np.mean([min(d[list(t)]) <= d.min() for d, t in zip(distance, twins, strict=True)])),
        }
    found["mean"] = {key: float(np.mean([row[key] for row in found.values()])) for key in ("R@1", "R@5", "PDQ R@1")}
    return found


def latency(encoder: Encoder, picture: Picture) -> dict[str, float]:
    """Milliseconds of one picture (with preprocessing) and of one text: the median of 60."""
    taken: dict[str, float] = {}
    for name, run in (
        ("image", lambda: encoder.embed_images([picture])),
        ("text", lambda: encoder.embed_texts(["a red car"])),
    ):
        times = []
        for _ in range(60):
            start = time.perf_counter()
            run()
            times.append(time.perf_counter() - start)
        taken[name] = 1000 * float(np.median(times))
    return taken


def sheet(path: Path, gallery: list[Picture], scores: NDArray[np.float32], queries: Sequence[str]) -> None:
    """Draw the ten best pictures of each query."""
    cell = 96
    paper = Image.new("RGB", (140 + 10 * (cell + 4), len(queries) * (cell + 4)), "white")
    draw = ImageDraw.Draw(paper)
    for y, (query, row) in enumerate(zip(queries, scores, strict=True)):
        draw.text((4, y * (cell + 4) + 40), query, fill="black", font=ImageFont.load_default(14))
        for x, i in enumerate(np.argsort(-row)[:10]):
            small = gallery[i].copy()
            small.thumbnail((cell, cell))
            paper.paste(small, (140 + x * (cell + 4), y * (cell + 4)))
    paper.save(path)


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("model")
    parser.add_argument("--part", default="validation", choices=["validation", "test", "collection"])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--sheet", type=Path)
    parser.add_argument("--no-copies", action="store_true")
    arguments = parser.parse_args()
    work: Path = arguments.work
    held = set(json.loads((work / "splits.json").read_text(encoding="utf-8"))[arguments.part])
    rows = [row for row in map(json.loads, (work / "rows.jsonl").open(encoding="utf-8")) if row["id"] in held]
    for row in rows:
        row["path"] = str(work / row["path"])
    gallery = pictures_of(rows)
    encoder = load_encoder(arguments.model)
    features = encoder.embed_images(gallery)

    words, relevant = relevance(rows)
    precision = precision_at_10(encoder.embed_texts(words) @ features.T, relevant)
    scores = encoder.embed_texts([row["title"] for row in rows]) @ features.T
    titles = np.array([row["title"] for row in rows])
    best = np.where(titles[:, None] == titles[None], scores, -9).max(1, keepdims=True)
    rank = (scores > best).sum(1)
    report: dict[str, Any] = {
        "part": arguments.part,
        "pictures": len(rows),
        "concepts": {
            "words": len(words),
            "P@10": float(precision.mean()),
            "random": float(relevant.mean()),
            "attainable": float((np.minimum(relevant.sum(1), 10) / 10).mean()),
            "words with a hit in 10": float((precision > 0).mean()),
            "words with 3 hits in 10": float((precision > 0.25).mean()),
            "hits of each word": {
                w: f"{round(10 * p)}/{min(10, n)}"
                for w, p, n in zip(words, precision, relevant.sum(1).tolist(), strict=True)
            },
        },
        "titles": {f"R@{k}": float((rank < k).mean()) for k in (1, 5, 10, 50)},
        "latency ms": latency(encoder, gallery[0]),
    }
    if not arguments.no_copies:
        report["copies"] = copies(encoder, gallery, features)
    text = json.dumps(report, indent=2)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n", encoding="utf-8")
    if arguments.sheet:
        sheet(arguments.sheet, gallery, encoder.embed_texts(SHEET) @ features.T, SHEET)


if __name__ == "__main__":
    main()
