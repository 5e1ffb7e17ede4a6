"""Give every picture its texts: titles, keywords, the kind of thing it is (WordNet), its colour, English for Italian.

    python data/scripts/starter/captions.py WORK

Reads WORK/rows.jsonl and WORK/pictures.npy; writes WORK/captions.json:
`strings`: all distinct texts; `names` and `tags`: for each row the numbers of the texts that name it and of the single
words that are true of it; `vocabulary`: numbers of the texts that belong to no picture and teach the text tower only.
"""

import argparse
import collections
import json
import random
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sources import ICON_SOURCES
from translations import ENGLISH
from wordnet import WordNet

Row = dict[str, Any]

LONGEST = 150  # characters of a text that are kept
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white", "gray")
TEMPLATES = (
    "a picture of a {}", "clip art of {}", "an illustration of a {}", "drawing of a {}", "{} icon", "a {}",
    "{} clipart", "cartoon {}", "photo of a {}", "the {}", "{} drawing", "a {} on white background",
)  # fmt: skip


def translated(title: str) -> str | None:
    """The title in English, when at least one of its words is in the table; articles and prepositions are dropped."""
    found = [ENGLISH.get(word, word) for word in title.split()]
    return " ".join(" ".join(found).split()) if found != title.split() else None


def colour_name(picture: NDArray[np.uint8]) -> str | None:
    """The colour that more than half of the visible picture has; None when there is no such colour.

    Args:
        picture: (side, side, 4) uint8, premultiplied RGBA.
    """
    alpha = picture[..., 3].astype(np.float32) / 255
    seen = alpha > 0.5
    if seen.sum() < 100:
        return None
    rgb = picture[..., :3][seen].astype(np.float32) / (255 * alpha[seen][:, None])
    high, low = rgb.max(1), rgb.min(1)
    saturation = (high - low) / np.maximum(high, 1e-3)
    r, g, b = rgb.T
    spread = np.maximum(high - low, 1e-6)
    hue = (
        np.where(high == r, (g - b) / spread % 6, np.where(high == g, (b - r) / spread + 2, (r - g) / spread + 4)) * 60
    )
    dark_warm = (high < 0.65) & (hue > 10) & (hue < 50)
    names = np.select(
        [high < 0.2, (saturation < 0.12) & (high > 0.9), saturation < 0.18, dark_warm,
         (hue < 14) & (high > 0.85) & (saturation < 0.5),
         (hue < 14) | (hue >= 345), hue < 42, hue < 68, hue < 170, hue < 262, hue < 300],
        [8, 9, 10, 7, 6, 0, 1, 2, 3, 4, 5], 6,
    )  # fmt: skip
    share = np.bincount(names, minlength=len(COLOURS)) / len(names)
    coloured = share[:8].sum()
    if coloured > 0.25:  # outlines, wheels and windows are black, white and gray on anything
        best = int(share[:8].argmax())
        return COLOURS[best] if share[best] > 0.75 * coloured else None
    best = int(share.argmax())
    return COLOURS[best] if share[best] > 0.6 and best in {8, 9} else None


class Strings:
    """Distinct texts, numbered in the order they came."""

    def __init__(self) -> None:
        self.number: dict[str, int] = {}

    def add(self, text: str) -> int | None:
        """The text's number, or None for an empty text."""
        text = " ".join(text.lower().split())[:LONGEST]
        return self.number.setdefault(text, len(self.number)) if text else None

    def add_all(self, texts: list[str]) -> list[int]:
        """Numbers of the texts, without repetition."""
        return list(dict.fromkeys(n for t in texts if (n := self.add(t)) is not None))


def texts_of(row: Row, colour: str | None, wordnet: WordNet, chance: random.Random) -> tuple[list[str], list[str]]:
    """The texts that name the picture, and the single words that are true of it."""
    named = [row["title"], *row["names"]]
    named += [english for name in dict.fromkeys(named) if (english := translated(name))]
    short = [name for name in dict.fromkeys(named) if len(name.split()) <= 4]
    kinds = list(dict.fromkeys(kind for name in short for kind in wordnet.kinds(name)))
    tags = [*row["keywords"], *kinds, *row["folder"][-1:]]
    names = list(named)
    for _ in range(2):
        if row["keywords"]:
            some = chance.sample(row["keywords"], min(len(row["keywords"]), chance.randint(1, 3)))
            names.append(f"{row['title']}, {', '.join(some)}")
    if kinds:
        names.append(f"{row['title']}, {chance.choice(kinds)}")
    if colour:
        names += [f"{colour} {name}" for name in short[-2:] if colour not in name.split()]
    return names, tags


def main() -> None:
    """Write WORK/captions.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    work = parser.parse_args().work
    chance = random.Random(3)  # noqa: S311 - the same texts every time
    rows = [json.loads(line) for line in (work / "rows.jsonl").open(encoding="utf-8")]
    pictures = np.load(work / "pictures.npy", mmap_mode="r")
    wordnet = WordNet(work / "debian/usr/share/wordnet")
    one_palette = {source.name for source in ICON_SOURCES if source.silhouette or source.interface}
    strings = Strings()
    names, tags = [], []
    seen: collections.Counter[str] = collections.Counter()
    for row, picture in zip(rows, pictures, strict=True):
        colour = None if row["source"] in one_palette else colour_name(picture)
        seen[colour or "none"] += 1
        its_names, its_tags = texts_of(row, colour, wordnet, chance)
        names.append(strings.add_all(its_names))
        tags.append(strings.add_all(its_tags))
    of_pictures = len(strings.number)
    for word in wordnet.common_words():
        strings.add(word)
    # Not round an openclipart picture's own names: those of the held-out pictures must not leak.
    own = {n for row, some in zip(rows, names, strict=True) if row["source"] == "openclipart" for n in some}
    plain = [t for t, n in strings.number.items() if len(t.split()) <= 3 and n not in own]
    for text in chance.sample(plain, 14_000):
        strings.add(chance.choice(TEMPLATES).format(text))
    for text in chance.sample(plain, 8_000):
        strings.add(f"{chance.choice(COLOURS)} {text}")
    vocabulary = list(range(of_pictures, len(strings.number)))
    captions = {"strings": list(strings.number), "names": names, "tags": tags, "vocabulary": vocabulary}
    (work / "captions.json").write_text(json.dumps(captions), encoding="utf-8")
    print(
        f"{len(rows):,} pictures, {of_pictures:,} texts of pictures, {len(vocabulary):,} others;"
        f" colours {seen.most_common()}"
    )
    for i in chance.sample(range(len(rows)), 12):
        print(
            "  ",
            rows[i]["id"],
            "|",
            [captions["strings"][n] for n in names[i]],
            "|",
            [captions["strings"][n] for n in tags[i]],
        )
    assert all(re.search(r"\S", t) for t in captions["strings"])


if __name__ == "__main__":
    main()
