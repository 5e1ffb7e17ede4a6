"""Draw every picture of the inventory once: 96-px premultiplied RGBA for training, and its PDQ hash on white.

    python data/scripts/starter/render.py WORK [--processes 2]

Reads WORK/inventory.jsonl; writes WORK/rows.jsonl (the rows that could be drawn), WORK/pictures.npy (n, 96, 96, 4)
uint8 and WORK/pdq.npy (n, 8, 32) uint8, the hash in its eight orientations.
"""

import argparse
import collections
import io
import json
import multiprocessing
from pathlib import Path
from typing import Any

import numpy as np
import pdqhash
import resvg_py
from numpy.typing import NDArray
from PIL import Image

SIDE = 96
MARGIN = 2  # px on each side, so that rotation does not cut what fills the picture
HASHED_SIDE = 256
MAX_ASPECT = 6.0
MAX_PIXELS = 40_000_000
Image.MAX_IMAGE_PIXELS = MAX_PIXELS

Drawn = tuple[int, NDArray[np.uint8] | None, NDArray[np.uint8] | None, str]


def load(row: dict[str, Any], max_aspect: float = MAX_ASPECT) -> Image.Image:
    """The row's picture as RGBA, cut to what is not transparent.

    Raises:
        ValueError: nothing visible, much longer than wide, or too many pixels.
    """
    svg = row.get("svg")
    if svg is None and row["path"].endswith(".svg"):
        svg = Path(row["path"]).read_text(encoding="utf-8", errors="replace")
    if svg is not None:
        picture = Image.open(io.BytesIO(bytes(resvg_py.svg_to_bytes(svg_string=svg, width=HASHED_SIDE))))
    else:
        picture = Image.open(row["path"])
    if picture.width * picture.height > MAX_PIXELS:  # Pillow itself refuses only twice as many
        raise ValueError("too large")
    picture = picture.convert("RGBA")
    if max(picture.size) > 4 * HASHED_SIDE:
        picture = picture.convert("RGBa").reduce(max(picture.size) // (2 * HASHED_SIDE)).convert("RGBA")
    box = picture.getchannel("A").point(lambda a: 255 if a > 8 else 0).getbbox()
    if box is None or picture.getchannel("A").getextrema()[1] < 40:
        raise ValueError("empty")
    picture = picture.crop(box)
    if max(picture.size) > max_aspect * min(picture.size):
        raise ValueError("too long")
    return picture


def load_or_draw(row: dict[str, Any], max_aspect: float = MAX_ASPECT) -> Image.Image:
    """As `load`, but from the SVG beside it when openclipart's PNG is missing, blank or enormous."""
    try:
        return load(row, max_aspect)
    except (ValueError, OSError, Image.DecompressionBombError):
        if not row.get("path", "").endswith(".png"):
            raise
        drawing = row["path"].replace("/openclipart/png/", "/openclipart/svg/").removesuffix(".png") + ".svg"
        return load({"path": drawing}, max_aspect)


def premultiplied(picture: Image.Image, side: int = SIDE) -> NDArray[np.uint8]:
    """(side, side, 4) uint8: the picture scaled to fit and centred, colours multiplied by alpha before resampling."""
    rgba = np.asarray(picture).astype(np.float32)
    rgba[..., :3] *= rgba[..., 3:] / 255
    scale = (side - 2 * MARGIN) / max(picture.size)
    width, height = (max(1, round(length * scale)) for length in picture.size)
    method = Image.Resampling.BOX if scale < 0.5 else Image.Resampling.BICUBIC
    planes = [np.asarray(Image.fromarray(rgba[..., c]).resize((width, height), method)) for c in range(4)]
    out = np.zeros((side, side, 4), np.float32)
    top, left = (side - height) // 2, (side - width) // 2
    out[top : top + height, left : left + width] = np.stack(planes, -1)
    return out.clip(0, 255).round().astype(np.uint8)


def on_white(picture: Image.Image) -> Image.Image:
    """RGB, transparency shown as white paper."""
    paper = Image.new("RGBA", picture.size, "white")
    paper.alpha_composite(picture)
    return paper.convert("RGB")


def hashes(picture: Image.Image) -> NDArray[np.uint8]:
    """(8, 32) uint8: PDQ of the picture on white in its eight orientations."""
    small = on_white(picture)
    small.thumbnail((HASHED_SIDE, HASHED_SIDE))
    vectors, _quality = pdqhash.compute_dihedral(np.asarray(small))
    return np.stack([np.packbits(v.astype(bool)) for v in vectors])


def draw(job: tuple[int, dict[str, Any]]) -> Drawn:
    """Draw one row; the last item says why it could not be drawn."""
    number, row = job
    try:
        picture = load_or_draw(row)
        return number, premultiplied(picture), hashes(picture), ""
    except (ValueError, OSError) as error:  # resvg's parse errors are ValueErrors
        return number, None, None, str(error)[:40]


def main() -> None:
    """Draw all rows in parallel; keep those that came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    work: Path = arguments.work
    rows = [json.loads(line) for line in (work / "inventory.jsonl").open(encoding="utf-8")]
    pictures = np.zeros((len(rows), SIDE, SIDE, 4), np.uint8)
    pdq = np.zeros((len(rows), 8, 32), np.uint8)
    drawn = np.zeros(len(rows), bool)
    if (work / "rows.jsonl").exists():  # a longer inventory: what was drawn before is taken over
        before = {json.loads(line)["id"]: i for i, line in enumerate((work / "rows.jsonl").open(encoding="utf-8"))}
        known = np.array([i for i, row in enumerate(rows) if row["id"] in before], int)
        places = [before[rows[i]["id"]] for i in known]
        pictures[known], pdq[known] = np.load(work / "pictures.npy")[places], np.load(work / "pdq.npy")[places]
        drawn[known] = True
    failures: collections.Counter[str] = collections.Counter()
    jobs = [(i, rows[i]) for i in np.flatnonzero(~drawn).tolist()]
    with multiprocessing.Pool(arguments.processes) as pool:
        for number, picture, hashed, why in pool.imap_unordered(draw, jobs, chunksize=32):
            if picture is None or hashed is None:
                failures[f"{rows[number]['source']}: {why}"] += 1
            else:
                pictures[number], pdq[number], drawn[number] = picture, hashed, True
    kept = np.flatnonzero(drawn)
    np.save(work / "pictures.npy", pictures[kept])
    np.save(work / "pdq.npy", pdq[kept])
    with (work / "rows.jsonl").open("w", encoding="utf-8") as out:
        out.writelines(json.dumps({k: v for k, v in rows[i].items() if k != "svg"}) + "\n" for i in kept)
    print(f"drawn {len(kept):,} of {len(rows):,}")
    for why, n in failures.most_common(12):
        print(f"  {n:5} {why}")


if __name__ == "__main__":
    main()
