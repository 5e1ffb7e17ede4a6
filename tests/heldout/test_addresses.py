from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from heldout.addresses import LOOPBACK, Address, AddressGuard, Network, embedded_ipv4
from heldout.errors import InputError

GUARD = AddressGuard()

# Every block of the IANA IPv4 and IPv6 Special-Purpose Address Registries, and multicast.
REGISTRY: tuple[Network, ...] = tuple(
    ip_network(block)
    for block in (
        *("0.0.0.0/8", "0.0.0.0/32", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
        *("192.0.0.0/24", "192.0.0.0/29", "192.0.0.8/32", "192.0.0.9/32", "192.0.0.10/32", "192.0.0.170/32"),
        *("192.0.0.171/32", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.88.99.2/32"),
        *("192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4"),
        *("255.255.255.255/32", "224.0.0.0/4"),
        *("::1/128", "::/128", "::ffff:0.0.0.0/104", "64:ff9b:1::/48", "100::/64", "100:0:0:1::/64", "2001::/23"),
        *("2001::/32", "2001:1::1/128", "2001:1::2/128", "2001:1::3/128", "2001:2::/48", "2001:3::/32"),
        *("2001:4:112::/48", "2001:10::/28", "2001:20::/28", "2001:30::/28", "2001:db8::/32", "2002::/16"),
        *("2620:4f:8000::/48", "3fff::/20", "5f00::/16", "fc00::/7", "fe80::/10", "ff00::/8"),
        # not in the registries: site-local (deprecated), IPv4-compatible, IPv4-translated
        *("fec0::/10", "::/96", "::ffff:0:0:0/96"),
    )
)

PUBLIC = (
    *("1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255"),
    *("128.0.0.0", "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0", "192.0.1.0", "192.167.255.255"),
    *("192.169.0.0", "198.17.255.255", "198.20.0.0", "223.255.255.255"),
    *("2001:200::", "2001:4860:4860::8888", "2606:4700:4700::1111", "2a00:1450::1", "3ffe::", "3fff:1000::"),
    *("64:ff9b::1.1.1.1", "::ffff:8.8.8.8", "2003::1"),
)


def passes(address: str | Address, guard: AddressGuard = GUARD) -> bool:
    try:
        guard.check(address)
    except InputError:
        return False
    return True


def members(network: Network) -> st.SearchStrategy[Address]:
    return st.ip_addresses(network=network)


@pytest.mark.parametrize("network", REGISTRY, ids=str)
def test_nothing_of_a_special_block_passes(network: Network) -> None:
    @given(members(network))
    @example(network[0])
    @example(network[-1])
    def check(address: Address) -> None:
        assert not passes(address)
        assert not passes(str(address))

    check()


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_pass(address: str) -> None:
    GUARD.check(address)


@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6), st.ip_addresses(network="2000::/3")))
def test_what_passes_is_public_for_python_too(address: Address) -> None:
    if passes(address):
        inner = embedded_ipv4(address)
        assert (address if inner is None else inner).is_global
        assert not address.is_multicast


@given(st.ip_addresses(v=4))
def test_what_python_calls_public_passes(address: Address) -> None:
    anycast = any(address in block for block in REGISTRY) or address == IPv4Address("168.63.129.16")
    assume(address.is_global and not anycast)
    GUARD.check(address)


def embed(prefix: str, inner: IPv4Address, shift: int = 0) -> IPv6Address:
    return IPv6Address(int(IPv6Address(prefix)) | int(inner) << shift)


@given(st.ip_addresses(v=4))
@example(IPv4Address("169.254.169.254"))
@example(IPv4Address("127.0.0.1"))
@example(IPv4Address("8.8.8.8"))
def test_an_address_within_an_address_must_pass_by_itself(inner: Address) -> None:
    assert isinstance(inner, IPv4Address)
    public = passes(inner)
    forms = {
        "mapped": embed("::ffff:0:0", inner),
        "nat64": embed("64:ff9b::", inner),
        "isatap": embed("2606:4700::5efe:0:0", inner),
        "isatap, unique": embed("2606:4700::200:5efe:0:0", inner),
        "6to4": embed("2002::", inner, 80),
        "teredo": embed("2001:0:808:808::", IPv4Address(~int(inner) & 0xFFFF_FFFF)),
    }
    for form, address in forms.items():
        assert embedded_ipv4(address) == inner, form
        assert passes(address) == (public and form not in {"6to4", "teredo"}), form


@pytest.mark.parametrize(
    "address",
    [
        *("169.254.169.254", "fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "192.0.0.192", "168.63.129.16"),
        *("::ffff:169.254.169.254", "64:ff9b::169.254.169.254", "64:ff9b:1::a9fe:a9fe", "2002:a9fe:a9fe::"),
    ],
)
def test_no_cloud_tells_its_secrets(address: str) -> None:
    assert not passes(address)


@pytest.mark.parametrize(
    "text", ["", "localhost", "127.1", "2130706433", "0x7f.0.0.1", "0177.0.0.1", "1.1.1.1.", "1.1.1.1 ", "[::1]", "½"]
)
def test_what_is_no_address_does_not_pass(text: str) -> None:
    with pytest.raises(InputError, match="no IP address"):
        GUARD.check(text)


@given(st.text())
def test_any_text_is_judged_without_another_error(text: str) -> None:
    passes(text)


@pytest.mark.parametrize("address", ["fe80::1%eth0", "2606:4700::1%1"])
def test_a_zone_is_never_public(address: str) -> None:
    with pytest.raises(InputError, match="zone"):
        AddressGuard(allow=[IPv6Network("::/0")]).check(address)


def test_what_is_opened_passes_and_nothing_beside_it() -> None:
    guard = AddressGuard(allow=LOOPBACK)
    for address in ("127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "1.1.1.1"):
        guard.check(address)
    for address in ("10.0.0.1", "::2", "169.254.169.254"):
        assert not passes(address, guard)


def test_what_is_closed_never_passes() -> None:
    own = IPv4Network("193.0.0.0/16")
    guard = AddressGuard(allow=[own], refuse=[own, IPv6Network("2001:67c:2e8::/48")])
    for address in ("193.0.6.139", "::ffff:193.0.6.139", "64:ff9b::193.0.6.139", "2001:67c:2e8:22::c100:68b"):
        with pytest.raises(InputError, match="left alone"):
            guard.check(address)
    guard.check("193.1.0.0")


def test_a_refusal_says_why() -> None:
    with pytest.raises(InputError, match=r"10\.0\.0\.1 is not a public address \(private\)"):
        GUARD.check(ip_address("10.0.0.1"))
    with pytest.raises(InputError, match=r"64:ff9b::a00:1, which leads to 10\.0\.0\.1, is not"):
        GUARD.check("64:ff9b::10.0.0.1")
