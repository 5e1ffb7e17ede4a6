"""What each method of proof is about, and which subjects of a claim it binds. Pure; ADR 0019 gives the reasons.

- `dns`: a TXT record at `_heldout-challenge.<host>` binds the host and everything below it of the same owner: `host`.
- `well-known`: `https://<host>/.well-known/heldout.txt` binds that host alone: `host`.
- `meta`: a tag in a page's head binds, on the front page, that host alone: `host`; else the page's path: `account`.
- `account`: the code in a profile's description binds the profile's path and linked works of its platform: `account`.
- `credential`: a picture signed together with the code binds that picture: `credential`.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

from heldout.errors import InputError
from heldout.leaves import MAX_HOST_BYTES
from heldout.places import host_rule, hosts_covering, prefix_rule
from heldout.records import Assurance
from heldout.urls import canonical_key, host_of, key_digest
from registry.subjects import check_is_of_one_owner, public_suffixes

Method = Literal["dns", "well-known", "meta", "account", "credential"]
METHODS: Final[tuple[Method, ...]] = ("dns", "well-known", "meta", "account", "credential")

DNS_LABEL: Final = "_heldout-challenge"
"""Of draft-ietf-dnsop-domain-verification-techniques §6.2: `_<provider>-challenge`."""
WELL_KNOWN_PATH: Final = "/.well-known/heldout.txt"
"""RFC 8615."""
MAX_DNS_HOST: Final = MAX_HOST_BYTES - len(DNS_LABEL) - 1

CODES: Final[Mapping[Method, str]] = MappingProxyType(
    {"dns": "dns-txt", "well-known": "well-known", "meta": "meta-tag", "account": "profile", "credential": "c2pa"}
)
"""Method -> reason in the log."""


@dataclass(frozen=True)
class SubjectFacts:
    """Of a claim's subject, what deciding needs."""

    position: int
    kind: str
    digest: bytes | None
    url: str | None
    """Canonical key of an address; None where it was erased."""
    rule: str | None
    pdq: bytes | None


@dataclass(frozen=True)
class Target:
    """What a method is to be tried on."""

    text: str
    """In one spelling: a host, an https address, or a PDQ as hex."""
    host: str
    """That is asked; empty for a picture."""


def parse_method(text: str) -> Method:
    """The method of this name. Raises InputError: there is none."""
    for method in METHODS:
        if text == method:
            return method
    raise InputError(f"{text[:40]!r} is no way to prove anything: give one of {', '.join(METHODS)}")


def parse_target(method: Method, text: str) -> Target:
    """Read what a claimant wants to prove.

    Raises:
        InputError: it does not fit the method, or the host is everybody's.
    """
    if method == "credential":
        return _picture(text)
    if method in {"dns", "well-known"}:
        host = host_rule(text).host
        check_is_of_one_owner(host)
        if method == "dns" and len(host) > MAX_DNS_HOST:
            raise InputError(f"{host[:80]!r} is too long for a record beneath it: use another method")
        return Target(host, host)
    return _page(method, text)


def _picture(text: str) -> Target:
    bare = text.strip().lower()
    if len(bare) != 64 or not all(char in "0123456789abcdef" for char in bare):
        raise InputError(f"{text[:80]!r} is no PDQ fingerprint: give the 64 hex digits that the claim has")
    return Target(bare, "")


def _page(method: Method, text: str) -> Target:
    key = canonical_key(text)
    host = host_of(key)
    host_rule(host)  # no IP addresses, no names without a dot
    if "?" in key:
        raise InputError(f"{text[:200]!a} has a query: give the page's plain address")
    is_front = key == f"{host}/"
    if not is_front:
        prefix_rule(f"https://{key}")
    elif method == "account":
        raise InputError(f"{text[:200]!a} is a whole site: prove it by DNS, the file or the tag, not as a profile")
    else:
        check_is_of_one_owner(host)
    return Target(f"https://{key}", host)


def is_front_page(target: str) -> bool:
    """Whether a page's address is that of a site's front page."""
    key = target.removeprefix("https://")
    return key == f"{host_of(key)}/"


def gives(method: Method, target: str) -> Assurance:
    """What is shown where the proof is found."""
    if method == "credential":
        return "credential"
    if method == "account" or (method == "meta" and not is_front_page(target)):
        return "account"
    return "host"


def bound_by(
    method: Method,
    target: str,
    subjects: Iterable[SubjectFacts],
    *,
    links: Collection[str] = (),
    is_grant: bool = False,
) -> list[int]:
    """Positions of the subjects that a proof binds.

    Args:
        method: how.
        target: as `Target.text`.
        subjects: of the claim.
        links: canonical keys of what a profile page links.
        is_grant: whether the claim allows training; then nothing is bound by a link alone, for a page may link works
            of others, and a grant that is better proved than their opt-out would lift it.
    """
    linked = frozenset() if is_grant or method != "account" else _same_owner_digests(target, links)
    return [
        each.position
        for each in subjects
        if _is_bound(method, target, each) or (each.kind == "url" and each.digest in linked)
    ]


def _is_bound(method: Method, target: str, subject: SubjectFacts) -> bool:
    if method == "credential":
        return subject.kind == "image" and subject.pdq is not None and subject.pdq.hex() == target
    key = subject.rule if subject.rule is not None else subject.url
    if subject.kind == "image" or key is None:
        return False
    if method in {"dns", "well-known"} or (method == "meta" and is_front_page(target)):
        host = target if method != "meta" else host_of(target.removeprefix("https://"))
        if method != "dns" and has_port(key):
            return False  # another server than the one that was asked
        return _is_on(key if subject.kind == "host" else host_of(key), host, is_below=method == "dns")
    rule = prefix_rule(target).prefix
    return subject.kind != "host" and (key.startswith(rule) or key.partition("?")[0] == rule.rstrip("/"))


def has_port(key: str) -> bool:
    """Whether a canonical key names a port."""
    return ":" in key.partition("/")[0].rpartition("]")[2]


def _is_on(host: str, proved: str, *, is_below: bool) -> bool:
    """Whether a host is the proved one or, for DNS, below it with nobody else's in between (`bucket.cloud.example`)."""
    if host == proved:
        return True
    return is_below and host.endswith(f".{proved}") and owner_of(host) == owner_of(proved)


def owner_of(host: str) -> str | None:
    """The registrable name a host belongs to, by the Public Suffix List; None for a public suffix itself."""
    return public_suffixes().privatesuffix(host)


def _same_owner_digests(target: str, links: Collection[str]) -> frozenset[bytes]:
    """Of what a page links, the works on hosts of the page's own platform: others are not the page's to bind."""
    owner = owner_of(host_of(target.removeprefix("https://")))
    if owner is None:
        return frozenset()
    return frozenset(key_digest(key) for key in links if owner_of(host_of(key)) == owner)


def targets_for(subject: SubjectFacts) -> Sequence[tuple[Method, Target]]:
    """The ways to prove one subject that need nothing more from the claimant; the plainest first."""
    if subject.kind == "host" and subject.rule is not None:
        host = subject.rule
        return [
            ("well-known", Target(host, host)),
            ("meta", Target(f"https://{host}/", host)),
            *(("dns", Target(each, each)) for each in _dns_hosts(host)),
        ]
    if subject.kind == "prefix" and subject.rule is not None:
        page = f"https://{subject.rule}"
        host = host_of(subject.rule)
        return [("account", Target(page, host)), ("meta", Target(page, host))]
    if subject.pdq is not None:
        return [("credential", Target(subject.pdq.hex(), ""))]
    return []


def _dns_hosts(host: str) -> list[str]:
    """The host, and the registrable name above it."""
    owner = owner_of(host)
    return [each for each in hosts_covering(f"{host}/") if each in {host, owner} and len(each) <= MAX_DNS_HOST]
