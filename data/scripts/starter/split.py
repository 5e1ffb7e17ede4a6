"""Part the pictures into training, validation and test, and keep the bundled collection out of all three.

    python data/scripts/starter/split.py WORK data/collection/CREDITS.csv

The bundled collection is what the column `original_file` of its CREDITS.csv names.  Test and validation are whole
artists.  Training loses every picture that has the same folder and stem as one that is held out, or lies within PDQ
distance 31 of one in any orientation.
Reads WORK/rows.jsonl, WORK/pdq.npy; writes WORK/splits.json, the ids of each part.  Which pictures are for test and
validation was drawn once and is in `held_out.json` beside this file.
"""

import argparse
import collections
import csv
import json
import math
import random
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from render import hashes, load_or_draw

# The pictures held out, chosen once: one that joins the inventory later must not move an artist from part to part.
HELD_OUT = Path(__file__).with_name("held_out.json")
NEAR = 31  # PDQ bits of 256
TEST_SIZE, VALIDATION_SIZE = 1_500, 400
LARGEST_ARTIST = 460  # of 1,375 star polygons or 886 desktop icons no test can be made
# Three artists drew half of the collection.  Their other pictures stay: training has few illustrations without them.
MOST_IN_COLLECTION = 100
LARGEST_IN_VALIDATION = 60  # so that the small validation slice is of many hands
# Gradients and patterns, star polygons, and pictures nobody signed: names say little about them.
NEVER_HELD_OUT = frozenset({"alan horkan", "codifiedivining", "unknown"})


def near(held: NDArray[np.uint8], others: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """(n,) bool: which of the others lies within NEAR bits of a held-out picture.

    Args:
        held: (m, 8, 32) hashes in eight orientations.
        others: (n, 32) hashes.
    """
    wide = others.view(np.uint64)
    found = np.zeros(len(others), bool)
    for eight in held.view(np.uint64).reshape(len(held), 8, 4):
        distance = np.bitwise_count(wide[:, None] ^ eight[None]).sum(-1, dtype=np.uint16)
        found |= (distance <= NEAR).any(1)
    return found


def collection_hashes(paths: list[str], root: Path) -> NDArray[np.uint8]:
    """(n, 8, 32) PDQ hashes of the collection's pictures, read from the package so that links count too."""
    files = [root / "png" / f"{path}.png" for path in paths]
    return np.stack([hashes(load_or_draw({"path": str(file)}, max_aspect=math.inf)) for file in files])


def choose(rows: list[dict[str, Any]], collection: set[str]) -> dict[str, list[str]]:
    """Draw artists for test and validation; the ids of their pictures that are not in the collection."""
    artists: dict[str, list[int]] = collections.defaultdict(list)
    for i, row in enumerate(rows):
        if row["source"] == "openclipart":
            artists[row["artist"]].append(i)
    taken = {artist: sum(rows[i]["id"] in collection for i in some) for artist, some in artists.items()}
    order = sorted(
        artist
        for artist, some in artists.items()
        if artist not in NEVER_HELD_OUT and len(some) <= LARGEST_ARTIST and taken[artist] < MOST_IN_COLLECTION
    )
    random.Random(20).shuffle(order)  # noqa: S311 - the same split every time
    held: dict[str, list[str]] = {"test": [], "validation": []}
    for artist in order:
        if len(held["test"]) < TEST_SIZE:
            name = "test"
        elif len(held["validation"]) < VALIDATION_SIZE and len(artists[artist]) <= LARGEST_IN_VALIDATION:
            name = "validation"
        else:
            continue
        for i in artists[artist]:
            if rows[i]["id"] not in collection:
                held[name].append(rows[i]["id"])
    return held


def main() -> None:
    """Write WORK/splits.json and print the sizes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("credits", type=Path)
    arguments = parser.parse_args()
    work: Path = arguments.work
    rows = [json.loads(line) for line in (work / "rows.jsonl").open(encoding="utf-8")]
    pdq = np.load(work / "pdq.npy")
    with arguments.credits.open(encoding="utf-8", newline="") as file:
        files = {row["original_file"] for row in csv.DictReader(file) if row["original_file"]}
    paths = sorted(file.removeprefix("svg/").removeprefix("png/").rpartition(".")[0] for file in files)
    collection = {f"openclipart/{path}" for path in paths}

    if not HELD_OUT.exists():
        HELD_OUT.write_text(json.dumps(choose(rows, collection), indent=0) + "\n", encoding="utf-8")
    chosen = json.loads(HELD_OUT.read_text(encoding="utf-8"))
    part_of = {name: part for part in ("test", "validation") for name in chosen[part]}
    part = {i: part_of.get(row["id"], "training") for i, row in enumerate(rows)}
    for i, row in enumerate(rows):
        if row["id"] in collection:
            part[i] = "collection"
    held = np.array([i for i in part if part[i] in {"test", "validation"}])
    stems = {rows[i]["stem"] for i in part if part[i] != "training"}
    banned = near(
        np.concatenate([pdq[held], collection_hashes(paths, work / "debian/usr/share/openclipart")]), pdq[:, 0].copy()
    )
    dropped: collections.Counter[str] = collections.Counter()
    splits: dict[str, list[str]] = {"training": [], "validation": [], "test": [], "collection": [], "dropped": []}
    for i, row in enumerate(rows):
        if part[i] == "training" and (row["stem"] in stems or (banned[i] and not row.get("silhouette"))):
            dropped["same stem" if row["stem"] in stems else f"near-duplicate, {row['source']}"] += 1
            part[i] = "dropped"
        splits[part[i]].append(row["id"])
    (work / "splits.json").write_text(json.dumps(splits, indent=0), encoding="utf-8")
    for name, ids in splits.items():
        print(f"{name:12}{len(ids):7,}  of openclipart {sum(i.startswith('openclipart/') for i in ids):6,}")
    print("dropped from training:", dropped.most_common())


if __name__ == "__main__":
    main()
