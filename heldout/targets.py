"""An address as it is asked for: read as browsers do, then held against what a polite fetch may ask.

Parsing is the WHATWG URL Standard's (by ada), so `http://2130706433/` and `http://0x7f.1/` become `127.0.0.1` here and
not in the operating system. Pure.
"""

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Final
from urllib.parse import urljoin

import can_ada

from heldout.addresses import Address
from heldout.errors import InputError
from heldout.urls import canonical_key

_WEB_PORTS: Final = frozenset({80, 443})
_FIRST_FREE_PORT: Final = 1024
"""Below it a port belongs to a service that is not the web's."""
_BAD_PORTS: Final = frozenset(
    {
        # https://fetch.spec.whatwg.org/#port-blocking, those from 1024 on
        *(1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697),
        10080,
        # databases, caches and machine control: they take commands from whoever connects
        *(2375, 2376, 2379, 3306, 5432, 5984, 6379, 9200, 9300, 10250, 11211, 27017),
    }
)
_IPV4: Final = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}")


@dataclass(frozen=True)
class Target:
    """An address that may be asked for, if the guard lets its host pass."""

    url: str
    """Normalised; without credentials, fragment and the dot at the end of a host."""
    host: str
    """Name in ASCII, or an IP address without brackets."""
    port: int

    @property
    def address(self) -> Address | None:
        """The IP address that stands in place of a name."""
        if ":" in self.host:
            return IPv6Address(self.host)
        return IPv4Address(self.host) if _IPV4.fullmatch(self.host) else None


class RefusedPortError(InputError):
    """The port is not one that websites have."""


def parse_target(url: str) -> Target:
    """Read an absolute http or https URL.

    Raises:
        RefusedPortError: its port belongs to another service.
        InputError: not such a URL, or one with a user name or password.
    """
    canonical_key(url)  # knows what a URL may be
    parsed = can_ada.parse(url)
    if parsed.username or parsed.password:
        raise InputError("the URL holds a user name or password, which are not sent on: remove them")
    host = str(parsed.hostname).removesuffix(".")
    port = int(parsed.port) if parsed.port else 443 if parsed.protocol == "https:" else 80
    if port in _BAD_PORTS or not (port in _WEB_PORTS or port >= _FIRST_FREE_PORT):
        raise RefusedPortError(f"port {port} is no website's: nothing is asked there")
    netloc = f"{host}:{parsed.port}" if parsed.port else host
    return Target(f"{parsed.protocol}//{netloc}{parsed.pathname}{parsed.search}", host.strip("[]"), port)


def parse_location(location: str, base: Target) -> Target:
    """Where a redirect leads.

    Raises:
        RefusedPortError, InputError: as `parse_target`.
    """
    # Servers write other characters as UTF-8, which reaches us as surrogate escapes where it is not.
    text = location.encode("utf-8", "surrogateescape").decode("utf-8", "replace").strip()
    try:
        joined = urljoin(base.url, text)
    except ValueError as error:
        raise InputError(f"the server leads to {text[:200]!a}, which is no URL") from error
    return parse_target(joined)
