"""List every picture that may be trained on: path or SVG, title, other names, keywords, artist, licence.

    python data/scripts/starter/inventory.py WORK

WORK holds the packages that `fetch.py` unpacked.  Writes WORK/inventory.jsonl, one row a picture.
"""

import argparse
import collections
import html
import json
import random
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sources import FLUENT_3D, ICON_SOURCES, OPENCLIPART_WEIGHT, IconSource, wanted

Row = dict[str, Any]

_PUBLIC_DOMAIN = re.compile(r"/publicdomain/?$", re.IGNORECASE)
_NOT_A_KEYWORD = frozenset({
    "hash", "icons", "icon", "theme", "lemon_theme_icon", "clip_art", "clipart", "svg", "unchecked",
    "special", "computer_icons", "externalsource", "action", "mimetype", "misc", "unsorted", "contour",
    "outlined", "object", "color", "coloured", "colour", "media", "public_domain", "image",
})  # fmt: skip
_NOT_A_TITLE = re.compile(r"collection|svg theme|untitled|unnamed|^unknown$|hash\(|aigasymbol", re.IGNORECASE)
_NOT_A_DESCRIPTION = re.compile(r"hash\(|http|eps conv|collection|@", re.IGNORECASE)
_NOT_A_FOLDER = frozenset({"unsorted", "special", "icons"})
# One person under several names.
_SAME_ARTIST = {
    "rollandin francesco": "architetto francesco rollandin",
    "francesco rollandin": "architetto francesco rollandin",
    "andrew fitzsimon": "andy fitzsimon",
    "a.j. ashton": "aj ashton",
}


def words(text: str) -> str:
    """Lower-case words of a title or a file name: no punctuation, no numbers, camelCase taken apart."""
    text = re.sub(r"([a-z])([A-Z])", r"\1 \2", text)
    text = re.sub(r"[_\-.+/,:()\"]+", " ", text)
    text = re.sub(r"\b\d+\b|\d+$", " ", text)
    return " ".join(text.split()).lower()


def artist_key(creator: str) -> str:
    """One spelling per artist: no address, no accents, lower case."""
    name = re.sub(r"[\[(<].*", "", creator).strip().lower() or "unknown"
    name = "".join(c for c in unicodedata.normalize("NFD", name) if not unicodedata.combining(c))
    return _SAME_ARTIST.get(name, name)


def _field(metadata: str, pattern: str) -> str:
    found = re.search(pattern, metadata, re.DOTALL)
    return html.unescape(found.group(1)).strip() if found else ""


def _without_artist(stem_words: str, artist: str) -> str:
    """File names end in (pieces of) the artist's name: `gatto_archi_fran`."""
    parts = [part for part in re.split(r"[ .]+", artist) if len(part) > 2]
    kept = [
        w for w in stem_words.split() if not any(w == part or (len(w) > 2 and part.startswith(w)) for part in parts)
    ]
    return " ".join(kept)


def openclipart(root: Path, chance: random.Random) -> Iterator[Row]:
    """Rows of Debian's openclipart packages: files that say they are in the public domain, links left out."""
    svg_root, png_root = root / "usr/share/openclipart/svg", root / "usr/share/openclipart/png"
    found: list[Row] = []
    for path in sorted(svg_root.rglob("*.svg")):
        if path.is_symlink():
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        metadata = _field(text, r"(<metadata.*?</metadata>)")
        if not _PUBLIC_DOMAIN.search(_field(metadata, r'cc:license\s+rdf:resource="([^"]*)"')):
            continue  # no licence metadata, or the GPL
        relative = path.relative_to(svg_root).with_suffix("").as_posix()
        # 1,375 star polygons and the decks of cards would drown the rest.
        if relative.startswith("shapes/stars/star_") and chance.random() > 0.05:
            continue
        if "/cards/" in relative and chance.random() > 0.35:
            continue
        creator = _field(metadata, r"<dc:creator>.*?<dc:title>([^<]*)</dc:title>")
        png = png_root / f"{relative}.png"
        found.append(
            {
                "id": f"openclipart/{relative}",
                "source": "openclipart",
                "path": str(png if png.exists() else path),
                "raw_title": _field(metadata, r"<dc:title>([^<]*)</dc:title>"),
                "description": " ".join(_field(metadata, r"<dc:description>([^<]*)</dc:description>").split()),
                "raw_keywords": [html.unescape(k).strip() for k in re.findall(r"<rdf:li>([^<]*)</rdf:li>", metadata)],
                "creator": creator or "unknown",
                "artist": artist_key(creator),
                "licence": "public domain",
                "weight": OPENCLIPART_WEIGHT,
            }
        )
    count = collections.Counter(row["raw_title"] for row in found)
    for row in found:
        folder, _, stem = row["id"].removeprefix("openclipart/").rpartition("/")
        name = _without_artist(words(stem), row["artist"])
        raw_title, description = row.pop("raw_title"), row.pop("description")
        raw_title = re.sub(r"^clipart by [^-]*-\s*", "", raw_title, flags=re.IGNORECASE)
        title = "" if count[raw_title] > 6 or _NOT_A_TITLE.search(raw_title) else words(raw_title)
        if _NOT_A_DESCRIPTION.search(description) or len(description) > 140:
            description = ""
        keywords = [words(k) for k in row.pop("raw_keywords") if k.lower() not in _NOT_A_KEYWORD]
        row["keywords"] = [k for k in dict.fromkeys(keywords) if k and k != row["artist"]]
        row["title"] = title or name
        row["names"] = list(dict.fromkeys(n for n in (title, name, description.lower()) if n))
        row["folder"] = [words(part) for part in folder.split("/") if part not in _NOT_A_FOLDER]
        row["stem"] = f"{folder}/{name.replace(' ', '_')}"
        if row["title"]:
            yield row


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower().replace("\u2019", "").replace("'", "")).strip("-")


def _split_words(run: str, vocabulary: set[str]) -> str:
    """Take `documentwithpicture` apart into the fewest words of a vocabulary; unchanged when that fails."""
    best: list[list[str] | None] = [[]]
    for end in range(1, len(run) + 1):
        options = [
            [*before, run[start:end]]
            for start in range(end)
            if (before := best[start]) is not None and run[start:end] in vocabulary
        ]
        best.append(min(options, key=len) if options else None)
    whole = best[len(run)]
    return " ".join(whole) if whole else run


def icons(npm: Path, vocabulary: set[str]) -> Iterator[Row]:
    """Rows of the npm icon sets, named and tagged from emojibase where the name is an emoji's."""
    emoji = json.loads((npm / "emojibase-data/en/data.json").read_text(encoding="utf-8"))
    by_slug = {_slug(e["label"]): e for e in emoji}
    by_letters = {_slug(e["label"]).replace("-", ""): e for e in emoji}
    for source in ICON_SOURCES:
        data = json.loads((npm / f"@iconify-json/{source.name}/icons.json").read_text(encoding="utf-8"))
        for name, icon in data["icons"].items():
            if icon.get("hidden") or not wanted(source, name) or re.match(r"u[0-9a-f]{4}", name):
                continue
            plain = re.sub(r"-(?:flat|duo|fill|line|outline|negative|alt|bold|\d+)$", "", re.sub(r"-\d+$", "", name))
            entry = by_slug.get(_slug(plain))
            if entry is None and source.name == "fxemoji":
                entry = by_letters.get(plain)
                plain = _split_words(plain, vocabulary) if "-" not in plain else plain
            title = words(entry["label"] if entry else plain)
            if len(title) < 2 or (title.startswith("flag ") and not source.flags):
                continue
            size = [icon.get(k, data.get(k, d)) for k, d in (("left", 0), ("top", 0), ("width", 16), ("height", 16))]
            box = " ".join(str(v) for v in size)
            body = icon["body"].replace("currentColor", "#000") if source.silhouette else icon["body"]
            svg = (
                '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
                f' viewBox="{box}" width="{size[2]}" height="{size[3]}">{body}</svg>'
            )
            yield _icon_row(source, name, title, entry, svg=svg)
    by_code = {e["hexcode"].lower(): e for e in emoji}
    by_code |= {code.replace("-fe0f", ""): e for code, e in by_code.items()}
    for path in sorted((npm / "@lobehub/fluent-emoji-3d/assets").glob("*.webp")):
        entry = by_code.get(path.stem) or by_code.get(path.stem.replace("-fe0f", ""))
        if entry and wanted(FLUENT_3D, _slug(entry["label"])) and not entry["label"].startswith("flag"):
            yield _icon_row(FLUENT_3D, path.stem, words(entry["label"]), entry, path=str(path))


def _icon_row(source: IconSource, name: str, title: str, entry: Row | None, **picture: str) -> Row:
    names, weight = [title], source.weight
    if title.startswith("flag "):
        country = title.removeprefix("flag ")
        names, weight = [title, f"flag of {country}", country], 0.3 * weight
    return {
        "id": f"{source.name}/{name}",
        "source": source.name,
        **picture,
        "title": title,
        "names": names,
        "keywords": [words(t) for t in (entry or {}).get("tags", [])],
        "folder": [],
        "creator": source.attribution,
        "artist": source.name,
        "licence": source.licence,
        "weight": weight,
        "silhouette": source.silhouette,
        "stem": f"icon/{_slug(title)}",
    }


def main() -> None:
    """Write WORK/inventory.jsonl and print the number of pictures per source."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    work = parser.parse_args().work
    nouns = (work / "debian/usr/share/wordnet/index.noun").read_text(encoding="latin-1").splitlines()
    vocabulary = {n.split()[0] for n in nouns if n[0] != " "} | {"with", "of", "and", "in", "on", "up", "down"}
    vocabulary = {w for w in vocabulary if len(w) > 2 or w in {"of", "in", "on", "up"}}
    chance = random.Random(7)  # noqa: S311 - the same pictures every time
    rows = [*openclipart(work / "debian", chance), *icons(work / "npm/node_modules", vocabulary)]
    with (work / "inventory.jsonl").open("w", encoding="utf-8") as out:
        out.writelines(json.dumps(row) + "\n" for row in rows)
    for source, n in collections.Counter(row["source"] for row in rows).most_common():
        print(f"{source:28}{n:7,}")
    print(f"{'all':28}{len(rows):7,}")


if __name__ == "__main__":
    main()
