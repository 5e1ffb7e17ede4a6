"""Canonical URLs: one key for all the ways a data set and an artist write the same address.

The definition is `docs/formats/url-canonicalisation.md`, version "heldout-url/1", with test vectors beside it; this
module is its reference implementation. Parsing is the WHATWG URL Standard's (by ada), which is what browsers do; the
rest are plain string rules, so that a second implementation is an afternoon's work. Pure: no network, no state.

    >>> canonical_key("HTTPS://Art.Example:443/a/../jane%2ejpg?w=640&utm_source=feed#top")
    'art.example/jane.jpg?w=640'
"""

import hashlib
import re
from typing import Final

import can_ada

from heldout.errors import InputError

CANONICALISATION: Final = "heldout-url/1"
"""Name of these rules. Any change that gives one URL another key is another version."""

MAX_URL_CHARS: Final = 16_384
"""Longest URL read, in characters. DataComp's longest is about 13,000."""

MAX_KEY_BYTES: Final = MAX_URL_CHARS - len("https://")
"""Longest key, so that `https://` and a key is always a URL that can be read again."""

TRACKING_PREFIXES: Final = ("utm_", "mtm_", "pk_")
TRACKING_NAMES: Final = frozenset(
    {
        "_branch_match_id",
        "_ga",
        "_gl",
        "_hsenc",
        "_hsmi",
        "_openstat",
        "__hsfp",
        "__hssc",
        "__hstc",
        "dclid",
        "epik",
        "fb_action_ids",
        "fb_action_types",
        "fb_source",
        "fbclid",
        "gad_campaignid",
        "gad_source",
        "gbraid",
        "gclid",
        "gclsrc",
        "hsctatracking",
        "igsh",
        "igshid",
        "li_fat_id",
        "mc_cid",
        "mc_eid",
        "mkt_tok",
        "msclkid",
        "oly_anon_id",
        "oly_enc_id",
        "rb_clickid",
        "srsltid",
        "ttclid",
        "twclid",
        "vero_conv",
        "vero_id",
        "wbraid",
        "wickedid",
        "yclid",
        "ysclid",
    }
)
"""Query parameters that say who followed a link, never which picture it leads to; compared in lower case."""

# RFC 3986's unreserved characters, and the rest of RFC 2396's (! * ' ( )), which encodeURIComponent leaves alone and
# other encoders do not, and which delimit nothing in an http URL.
_DECODED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~!*'()")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_HOST = re.compile(r"(?:[a-z0-9_-]+\.)*[a-z0-9_-]+|\[[0-9a-f:]+\]")
_ABNORMAL = re.compile(r"%(?:[0-9A-Fa-f]{2})?|[^%A-Za-z0-9\-._~!*'()$&+,;=:@/?]")
_IPV4 = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}")
_SCHEME = re.compile(r"https?:", re.IGNORECASE)


def canonical_key(url: str) -> str:
    """The key of a URL, `host[:port]/path[?query]`: ASCII, without scheme, equal for URLs that mean the same address.

    Idempotent: the key of `"https://" + key` is `key`.

    Raises:
        InputError: not http or https, no host or one DNS cannot hold, control characters, lone surrogates, or longer
            than `MAX_URL_CHARS`.
    """
    if len(url) > MAX_URL_CHARS:
        raise InputError(f"URL of {len(url)} characters ({_shown(url)}) is over the limit of {MAX_URL_CHARS}")
    if _CONTROL.search(url):
        raise InputError(f"URL {_shown(url)} holds control characters: remove them")
    try:
        parsed = can_ada.parse(url)
    except (ValueError, TypeError) as error:  # TypeError: a lone surrogate has no UTF-8
        raise InputError(f"{_shown(url)} is not an absolute URL: give one like https://host/path") from error
    if parsed.protocol not in {"http:", "https:"}:
        raise InputError(f"URL {_shown(url)} is not http or https")
    host: str = parsed.hostname
    host = host.removesuffix(".")
    if not _HOST.fullmatch(host):
        raise InputError(f"URL {_shown(url)} has no host that a name server could hold")
    port: str = parsed.port
    key = host if port in {"", "80", "443"} else f"{host}:{port}"
    key += _normal(parsed.pathname)
    if search := parsed.search:
        key += _query(_normal(search[1:]))
    if len(key) > MAX_KEY_BYTES:
        raise InputError(f"URL {_shown(url)} is over the limit: its key has {len(key)} bytes, not {MAX_KEY_BYTES}")
    return key


def _normal(text: str) -> str:
    """Percent-encoding in its one normal form."""
    return _ABNORMAL.sub(_normal_octets, text)


def _normal_octets(match: re.Match[str]) -> str:
    octets = match[0]
    if len(octets) == 3:
        value = int(octets[1:], 16)
        return chr(value) if value in _DECODED else octets.upper()
    return "".join(f"%{value:02X}" for value in octets.encode())  # a stray % is "%25"


def _query(query: str) -> str:
    """With its question mark, without tracking parameters and empty pieces; "" when nothing is left."""
    kept = [piece for piece in query.split("&") if piece and not _is_tracking(piece)]
    return "?" + "&".join(kept) if kept else ""


def _is_tracking(piece: str) -> bool:
    name = piece.partition("=")[0].lower()
    return name in TRACKING_NAMES or name.startswith(TRACKING_PREFIXES)


def key_digest(key: str) -> bytes:
    """SHA-256 of a canonical key, 32 bytes: what the log and the exclusion list hold in place of the URL."""
    return hashlib.sha256(key.encode()).digest()


def host_of(key: str) -> str:
    """The host of a canonical key, without the port."""
    return _split_key(key)[0]


def surt_key(key: str) -> str:
    """A canonical key with its host reversed: `com,example,www)/path?query`, or `com,example):8080/path` with a port.

    Sorting by it (as bytes) puts a site, its subdomains and everything below one path next to each other. IP
    addresses are not reversed. It is the Sort-friendly URI Reordering Transform of web archives.
    """
    host, port, rest = _split_key(key)
    return f"{_surt_host(host)}){port}{rest}"


def surt_range(site: str) -> tuple[str, str]:
    """The range `[low, high)` of `surt_key` that belongs to a site.

    A bare host (`example.com`) takes its subdomains in. A host with a path (`portfolio.example/jane/`) is that folder
    on that host alone; a slash is added to the path where it lacks one, unless it has a query. A scheme may be there.

    Raises:
        InputError: as `canonical_key`.
    """
    text = site.strip()
    key = canonical_key(text if _SCHEME.match(text) else f"https://{text}")
    host, port, rest = _split_key(key)
    if not port and rest == "/":
        low = f"{_surt_host(host)})"
        # ")" ends the host, "," goes on to a subdomain, and "-" is the first character above both.
        return low, f"{low[:-1]}-"
    low = surt_key(key)
    if "?" not in low and not low.endswith("/"):
        low += "/"
    return low, low[:-1] + chr(ord(low[-1]) + 1)


def _split_key(key: str) -> tuple[str, str, str]:
    """(host, ":port" or "", "/path?query")."""
    slash = key.index("/")
    authority, rest = key[:slash], key[slash:]
    colon = authority.rfind(":")
    if colon == -1 or authority.endswith("]"):
        return authority, "", rest
    return authority[:colon], authority[colon:], rest


def _surt_host(host: str) -> str:
    if host.startswith("[") or _IPV4.fullmatch(host):
        return host
    return ",".join(reversed(host.split(".")))


def _shown(url: str) -> str:
    """For messages: short, and printable whatever it holds."""
    shown = repr(url[:200])
    return shown if len(url) <= 200 else f"{shown}..."
