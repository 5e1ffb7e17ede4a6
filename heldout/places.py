"""Places an opt-out can be about: a host with everything below it, a path of a host with everything below it.

Exactly what a place covers is said here, over canonical keys (`heldout.urls`); docs/formats/log.md §3.1 says the same.
Which hosts belong to nobody alone (`github.io`, `co.uk`) is the registry's business: it has the public suffix list.
"""

import re
from typing import Final

from heldout.errors import InputError
from heldout.leaves import MAX_HOST_BYTES, MAX_PREFIX_BYTES, HostRule, PrefixRule
from heldout.urls import canonical_key, host_of

MAX_PREFIX_SEGMENTS: Final = 32
"""Deeper folders are no profiles; looking up an address costs one look per level."""

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_SEGMENT = re.compile(r"[^/]+")
_IP = re.compile(r"[0-9.]+|\[.*\]")


def host_rule(text: str) -> HostRule:
    """The rule for a host as people write it: `Jane.Example`, `*.jane.example`, `https://jane.example/`.

    It covers every address, on any port, whose host is this one or ends in a dot and this one.

    Raises:
        InputError: an address with a path or a port, an IP address, no host, or a name without a dot.
    """
    bare = text.strip().removeprefix("*.")
    key = canonical_key(bare if _SCHEME.match(bare) else f"https://{bare}")
    host = host_of(key)
    shown = repr(text[:200])
    if key != f"{host}/":
        raise InputError(f"{shown} is more than a host: give the host alone, or claim it as a prefix")
    if _IP.fullmatch(host):
        raise InputError(f"{shown} is an IP address: whose it is may change any day; claim addresses or a prefix")
    if "." not in host or len(host) > MAX_HOST_BYTES or any(len(label) > 63 for label in host.split(".")):
        raise InputError(f"{shown} is not the name of a host on the internet: give one such as jane.example")
    return HostRule(host)


def prefix_rule(text: str) -> PrefixRule:
    """The rule for a folder as people write it: `https://art.example/jane`, with or without the final slash.

    It covers `art.example/jane`, also with a query, and everything below `art.example/jane/`; not `art.example/janet`,
    and no other host or port.

    Raises:
        InputError: a query, no path, too long or too deep, or as `heldout.urls.canonical_key`.
    """
    bare = text.strip()
    shown = repr(bare[:200])
    key = canonical_key(bare if _SCHEME.match(bare) else f"https://{bare}")
    if "?" in key:
        raise InputError(f"{shown} has a query: a prefix is a path; claim the address itself instead")
    folder = key.rstrip("/")
    if "/" not in folder:
        raise InputError(f"{shown} is a whole host: claim it as a host")
    if len(folder) >= MAX_PREFIX_BYTES or folder.count("/") > MAX_PREFIX_SEGMENTS:
        raise InputError(f"{shown} is too long or too deep for a prefix: claim a folder further up")
    return PrefixRule(f"{folder}/")


def hosts_covering(key: str) -> list[str]:
    """The hosts whose rules cover an address of this canonical key, the nearest first."""
    host = host_of(key)
    if _IP.fullmatch(host):
        return []
    labels = host.split(".")
    return [".".join(labels[start:]) for start in range(len(labels) - 1)]


def prefixes_covering(key: str) -> list[str]:
    """The prefixes whose rules cover an address of this canonical key, the widest first."""
    path = key.partition("?")[0][:MAX_PREFIX_BYTES]
    is_cut = len(path) == MAX_PREFIX_BYTES
    ends = [match.end() for match in _SEGMENT.finditer(path)][1 : MAX_PREFIX_SEGMENTS + 1]
    return [f"{path[:end]}/" for end in ends if not (is_cut and end == len(path))]
