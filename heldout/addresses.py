"""Which addresses a program may connect to when strangers name them: public ones, and no others.

The guard against server-side request forgery. A data set, an artist's claim or a redirect can name any host; the
decision is made about the IP address, after name resolution, at the moment a connection is opened, because a name
says nothing: `2130706433`, `0x7f.1` and `innocent.example` can all be 127.0.0.1. Pure: no network, no state.

The tables follow the IANA special-purpose address registries for IPv4 and IPv6 (RFC 6890 and its updates, registry
state of 2025) and the IPv6 unicast allocation (2000::/3). They are written out, because `ipaddress.is_global` follows
the Python release and says nothing of IPv4 addresses inside IPv6 ones.
"""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

from heldout.errors import InputError

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

LOOPBACK: Final = (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128"))
"""What a test or a demo on one machine opens."""

_SPECIAL_IPV4: Final = tuple(
    (IPv4Network(block), name)
    for block, name in (
        ("0.0.0.0/8", "this network"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "shared by a provider's customers"),
        ("127.0.0.0/8", "this machine"),
        ("168.63.129.16/32", "a cloud's host agent"),  # Azure's; public by number, answered by the host itself
        ("169.254.0.0/16", "link-local, cloud metadata"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "protocol assignments"),
        ("192.0.2.0/24", "documentation"),
        ("192.31.196.0/24", "AS112"),
        ("192.52.193.0/24", "multicast tunnelling"),
        ("192.88.99.0/24", "6to4 relays"),
        ("192.168.0.0/16", "private"),
        ("192.175.48.0/24", "AS112"),
        ("198.18.0.0/15", "benchmarking"),
        ("198.51.100.0/24", "documentation"),
        ("203.0.113.0/24", "documentation"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved, broadcast"),
    )
)

_IPV6_UNICAST: Final = IPv6Network("2000::/3")
"""The only part of IPv6 handed out for use on the Internet; everything else is special or unassigned."""

_SPECIAL_IPV6: Final = tuple(
    (IPv6Network(block), name)
    for block, name in (
        ("2001::/23", "protocol assignments, Teredo"),
        ("2001:db8::/32", "documentation"),
        ("2002::/16", "6to4"),
        ("2620:4f:8000::/48", "AS112"),
        ("3fff::/20", "documentation"),
    )
)

_MAPPED: Final = IPv6Network("::ffff:0:0/96")
_NAT64: Final = IPv6Network("64:ff9b::/96")
_ISATAP: Final = frozenset({0x0000_5EFE, 0x0200_5EFE})
"""First half of an ISATAP interface identifier (RFC 5214 §6.1); the second half is an IPv4 address."""


class AddressGuard:
    """Says of an IP address whether a connection to it may be opened.

    Globally reachable unicast addresses pass; all special-purpose blocks are refused, those of anycast services
    included: no picture is there. An IPv4 address inside an IPv6 one must pass by itself.

    Args:
        allow: Networks that pass although they are not public.
        refuse: Networks that never pass, such as an institution's own public block.
    """

    def __init__(self, *, allow: Iterable[Network] = (), refuse: Iterable[Network] = ()) -> None:
        self._allow = tuple(allow)
        self._refuse = tuple(refuse)

    def check(self, ip: str | Address) -> None:
        """Let a public address pass.

        Raises:
            InputError: it is not one, or no IP address at all; names the kind of block.
        """
        try:
            address = ip_address(ip) if isinstance(ip, str) else ip
        except ValueError as error:
            raise InputError(f"{str(ip)[:100]!r} is no IP address") from error
        if isinstance(address, IPv6Address) and address.scope_id is not None:
            raise InputError(f"{address} has a zone, it is not a public address")
        if isinstance(address, IPv6Address) and address in _MAPPED:
            address = IPv4Address(int(address) & 0xFFFF_FFFF)  # the kernel connects to just that
        inner = embedded_ipv4(address)
        for one in (address,) if inner is None else (address, inner):
            shown = address if one is address else f"{address}, which leads to {one},"
            if _within(one, self._refuse):
                raise InputError(f"{shown} is in a network that is to be left alone")
            kind = None if _within(one, self._allow) else _special(one)
            if kind is not None:
                raise InputError(f"{shown} is not a public address ({kind})")


def embedded_ipv4(address: Address) -> IPv4Address | None:
    """The IPv4 address that a translator or tunnel takes out of an IPv6 one: mapped, NAT64, 6to4, Teredo, ISATAP."""
    if isinstance(address, IPv4Address):
        return None
    number = int(address)
    if address in _MAPPED or address in _NAT64 or (number >> 32) & 0xFFFF_FFFF in _ISATAP:
        return IPv4Address(number & 0xFFFF_FFFF)
    return address.sixtofour or (address.teredo or (None, None))[1]


def _special(address: Address) -> str | None:
    """What keeps an address from being public, or None."""
    if isinstance(address, IPv4Address):
        return next((name for block, name in _SPECIAL_IPV4 if address in block), None)
    if address in _NAT64:
        return None
    if address not in _IPV6_UNICAST:
        return "no global unicast"
    return next((name for block, name in _SPECIAL_IPV6 if address in block), None)


def _within(address: Address, networks: tuple[Network, ...]) -> bool:
    return any(address.version == network.version and address in network for network in networks)
