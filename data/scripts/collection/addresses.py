"""Where the pictures are said to be: invented addresses under the names that RFC 2606 reserves, one habit per artist.

None of these sites exists, and the artists never had them. Like the real web they differ: an own site, a profile on a
shared one, a blog's upload folder, a content network that writes the size into the query.
"""

import re
import unicodedata

from choice import number, percent, pick
from originals import Original

SHARED_HOSTS = ("portfolio.example/{artist}", "artists.example.org/~{artist}", "gallery.example.net/u/{artist}")

OWN_PATHS = (
    "/gallery/{category}/{name}.{extension}",
    "/images/{name}.{extension}",
    "/clipart/{category}/{name}.{extension}",
    "/wp-content/uploads/2006/{month:02}/{name}.{extension}",
    "/art/{name}-{number}.{extension}",
)

HABITS = {
    "Jose Hevia": ("https", "jose-hevia.example", "/gallery/{category}/{name}.{extension}"),
    "Jarno Vasamaa": ("https", "portfolio.example/jarno-vasamaa", "/{name}.{extension}"),
    "Jean-Victor Balin": ("https", "www.jean-victor-balin.example", "/images/{name}.{extension}"),
}
"""Artists whose addresses the documentation quotes: an own site, a profile, an own site with a content network."""

COPY_HOSTS = (
    "i.pinboard.example",
    "wallpapers.example.net",
    "www.freepics.example",
    "repost.example.org",
    "cdn.stickerparty.example",
    "kids-crafts.example.com",
    "static.blogfarm.example",
    "img.clipart-hub.example",
)

TRACKING = (
    "utm_source=newsletter&utm_medium=email",
    "fbclid=IwAR0example",
    "utm_source=pinboard&utm_campaign=spring",
    "gclid=EAIaIQexample",
)


def slug(text: str) -> str:
    """Lower-case ASCII words joined by hyphens.

    >>> slug("Moisés Rincón's fir tree, fantasy map")
    'moises-rincons-fir-tree-fantasy-map'
    """
    ascii_text = unicodedata.normalize("NFKD", text.replace("'", "")).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", ascii_text.lower()).strip("-")


def original_url(original: Original, extension: str) -> str:
    """The artist's own address of a picture."""
    artist = slug(original.creator) or "artist"
    scheme, base, path = HABITS.get(original.creator) or _habit(artist)
    name = slug(original.title)
    if percent("content network", original.path) < 12:
        return _content_network(base, artist, name, extension)
    return f"{scheme}://{base}" + path.format(
        category=original.category.replace("_", "-"),
        name=name,
        extension=extension.upper() if percent("upper", original.path) < 3 else extension,
        month=1 + number("month", original.path) % 12,
        number=1 + number("number", original.path) % 400,
    )


def _habit(artist: str) -> tuple[str, str, str]:
    scheme = "http" if percent("scheme", artist) < 25 else "https"
    if percent("own site", artist) < 55:
        www = "www." if percent("www", artist) < 40 else ""
        return scheme, f"{www}{artist}.example", pick(OWN_PATHS, "path", artist)
    base = pick(SHARED_HOSTS, "shared", artist).format(artist=artist)
    return "https", base, pick(("/{name}.{extension}", "/{category}/{name}.{extension}"), "path", artist)


def _content_network(base: str, artist: str, name: str, extension: str) -> str:
    host, _, profile = base.partition("/")
    domain = host.removeprefix("www.")
    folder = f"{profile.rpartition('/')[2].strip('~')}/" if profile else ""
    token = f"{number('token', artist, name):016x}"[:10]
    size = pick(("width=256&quality=85", "w=256&fit=max", "width=256", "w=256&h=256&q=80"), "size", artist, name)
    return f"https://cdn.{domain}/{folder}{token}/{name}.{extension}?{size}"


def copy_url(original: Original, transform: str, extension: str) -> str:
    """An address of a copy, somewhere the artist has no say."""
    host = pick(COPY_HOSTS, "host", original.path, transform)
    name, token = slug(original.title), f"{number('copy', original.path, transform):016x}"
    path = pick(
        (
            f"/564x/{token[:2]}/{token[2:4]}/{token}.{extension}",
            f"/wp-content/uploads/2019/{1 + int(token[:4], 16) % 12:02}/{name}.{extension}",
            f"/free/{name}-{int(token[:4], 16) % 9000 + 1000}.{extension}",
            f"/i/{token[:8]}.{extension}?size=m",
        ),
        "style",
        original.path,
        transform,
    )
    return f"https://{host}{path}"


def with_tracking(url: str) -> str:
    """The same address as a newsletter or an advertisement links it."""
    return f"{url}{'&' if '?' in url else '?'}{pick(TRACKING, 'tracking', url)}"


def with_other_scheme(url: str) -> str:
    """`http` for `https`, and back."""
    return f"http://{url[8:]}" if url.startswith("https://") else f"https://{url[7:]}"


def with_upper_host(url: str) -> str:
    """The host as shouted in an old link list."""
    scheme, _, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.upper()}{slash}{path}"
