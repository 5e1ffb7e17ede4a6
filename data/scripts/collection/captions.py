"""Captions as alternative texts on the web are: a plain phrase, a shop's phrase, a file name, a byline, a tag list.

About a third names the artist. `other_languages.csv` holds captions in other languages and scripts, by hand.
"""

from addresses import slug
from choice import percent, pick
from originals import Original, read_table

WITH_ARTIST = (
    "{Title} by {artist}",
    "{Title} | {artist} Gallery",
    "{artist}: {title}",
    "{Title} - drawing by {artist} | Example Portfolio",
    "{Title}, clip art by {artist}",
    "{artist} - {Title} (public domain clip art)",
)

PLAIN = (
    "{Title}",
    "{Title} - free clip art",
    "{Title} clipart",
    "{Title}, vector illustration",
    "{Title} - public domain drawing",
    "Clip art: {title}",
    "{Title} | Example Gallery",
    "Free {title} picture",
    "{file}.{extension}",
    "{file_}_{number:02}.{extension}",
    "{Title} ({category} clip art)",
    "Drawing of: {title}",
)

REPOSTED = (
    "{Title}",
    "{Title} - Pin on cute things",
    "{Title} wallpaper",
    "Free {title} download",
    "{Title}, {category}, clip art, PNG",
    "Best {title} pictures | Clipart Hub",
    "{file}-{number}.{extension}",
    "{Title} sticker",
    "Image result for {title}",
)

REPOSTED_WITH_ARTIST = ("{Title} by {artist} - reposted", "via {artist}: {title}", "{Title} (art: {artist})")


def _fill(pattern: str, original: Original, extension: str) -> str:
    name = slug(original.title)
    return pattern.format(
        title=original.title,
        Title=original.title[0].upper() + original.title[1:],
        artist=original.creator,
        file=name,
        file_=name.replace("-", "_"),
        extension=extension,
        number=1 + percent("number", original.path),
        category=original.category.replace("_", " "),
    )


def other_languages() -> dict[str, str]:
    """Path -> caption in another language."""
    return {row["path"]: row["caption"] for row in read_table("other_languages.csv")}


def original_caption(original: Original, extension: str, foreign: dict[str, str]) -> str:
    """The alternative text on the artist's own page."""
    if original.path in foreign:
        return foreign[original.path]
    patterns = WITH_ARTIST if percent("artist", original.path) < 35 else PLAIN
    return _fill(pick(patterns, "caption", original.path), original, extension)


def copy_caption(original: Original, transform: str, extension: str) -> str:
    """The alternative text on a page that has a copy; few give credit."""
    credit = percent("credit", original.path, transform) < 15
    patterns = REPOSTED_WITH_ARTIST if credit else REPOSTED
    return _fill(pick(patterns, "caption", original.path, transform), original, extension)
