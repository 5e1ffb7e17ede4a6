"""Looking for codes where claimants put them: name servers and web servers asked, safely. Reads no database.

Whatever the outside world does is a `Finding`, with one honest line for the claimant. Web servers are asked by https
alone, so that a poisoned name leads nowhere; redirects are followed one by one here, and only where the policy says.
"""

import asyncio
import re
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self
from urllib.parse import urljoin, urlsplit

from heldout.addresses import AddressGuard
from heldout.errors import InputError
from heldout.fetching import PAGES, USER_AGENT, Fetched, Fetcher, FetchLimits
from heldout.urls import canonical_key, host_of
from registry.evidence_reading import PageReading, codes_in_file, codes_in_record, read_page
from registry.evidence_targets import DNS_LABEL, WELL_KNOWN_PATH, Method, has_port
from registry.resolvers import DEFAULT_RESOLVERS, ResolverPanel, Texts

MAX_REDIRECTS: Final = 4
LIMITS: Final = FetchLimits(
    max_bytes=1024 * 1024,
    max_redirects=0,  # each is judged here
    connect_s=8,
    read_s=8,
    total_s=15,
    concurrency=16,
    per_host=2,
    min_host_interval_s=0.2,
    max_retries=0,
)
"""Of one answer; a page's head and description come first."""
TEXT: Final = "text/plain,*/*;q=0.8"

_REDIRECTED: Final = "too_many_redirects"
_CHARSET: Final = re.compile(r"charset=[\"']?([A-Za-z0-9._-]{1,40})", re.IGNORECASE)
_GONE_STATUSES: Final = frozenset({"http_404", "http_410", "empty"})


@dataclass(frozen=True)
class Finding:
    """What a check found."""

    code: str
    """`found`, or a short word of what is wrong."""
    words: str
    """One line for the claimant."""
    is_found: bool = False
    is_gone: bool = True
    """Where it was not found: whether somebody answered that it is not there; False: nobody answered."""
    links: frozenset[str] = frozenset()
    """Canonical keys of what the page links."""


class Prober:
    """Asks name servers and web servers; an async context manager, for one event loop.

    Args:
        resolvers: name servers, all of which must show a record.
        guard: which IP addresses may be asked; public ones by default.
        tls: trust for https; the system's authorities by default.
        https_port: 443, but for tests.
    """

    def __init__(
        self,
        resolvers: Sequence[str] = DEFAULT_RESOLVERS,
        *,
        guard: AddressGuard | None = None,
        tls: ssl.SSLContext | None = None,
        https_port: int = 443,
        user_agent: str = USER_AGENT,
        limits: FetchLimits = LIMITS,
    ) -> None:
        self._panel = ResolverPanel(resolvers)
        self._port = https_port
        self._fetcher = Fetcher(guard=guard, limits=limits, user_agent=user_agent, resolver=self._panel.first, tls=tls)

    async def __aenter__(self) -> Self:
        await self._fetcher.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._fetcher.__aexit__(kind, error, traceback)

    async def look(self, method: Method, target: str, token: str) -> Finding:
        """Look for a code. `target` as `registry.evidence_targets.Target.text`; not for pictures."""
        if method == "dns":
            return judge_texts(target, token, await self._panel.texts(f"{DNS_LABEL}.{target}"))
        if method == "well-known":
            address = f"https://{target}{WELL_KNOWN_PATH}"
            return judge_file(address, token, await self._get(address, TEXT))
        fetched = await self._get(target, PAGES)
        return await asyncio.to_thread(judge_page, method, target, token, fetched)

    async def _get(self, address: str, accept: str) -> "Fetched | Finding":
        """What is at an address, behind redirects that stay with its owner."""
        at = address
        for _ in range(MAX_REDIRECTS + 1):
            fetched = await self._fetcher.get(self._with_port(at), accept=accept)
            location = fetched.header("location")
            if fetched.status != _REDIRECTED or location is None:
                return fetched
            leads_to = self._without_port(urljoin(self._with_port(at), location.strip()))
            if not stays(address, leads_to):
                return Finding(
                    "redirect_away",
                    f"{address} leads to {_shown(leads_to)}: a proof must be served by the address itself, without "
                    "a redirect to another site or page",
                )
            at = leads_to
        return Finding("too_many_redirects", f"{address} leads from one address to the next without end")

    def _with_port(self, address: str) -> str:
        if self._port == 443:
            return address
        host, slash, path = address.removeprefix("https://").partition("/")
        return f"https://{host}:{self._port}{slash}{path}" if ":" not in host else address

    def _without_port(self, address: str) -> str:
        return address if self._port == 443 else address.replace(f":{self._port}/", "/", 1)


def stays(address: str, leads_to: str) -> bool:
    """Whether a redirect stays where it proves the same.

    By https, on the same host or from or to its `www.`, at the same path.
    """
    try:
        old, new = canonical_key(address), canonical_key(leads_to)
    except InputError:
        return False
    if urlsplit(leads_to).scheme != "https" or _bare(host_of(old)) != _bare(host_of(new)):
        return False
    old_path, new_path = (key.partition("/")[2].partition("?")[0].rstrip("/") for key in (old, new))
    return not has_port(old) and not has_port(new) and old_path == new_path


def judge_texts(host: str, token: str, said: Sequence[Texts]) -> Finding:
    """What several name servers' records show together."""
    name = f"{DNS_LABEL}.{host}"
    seen = [each for each in said if any(codes_in_record(text) == token for text in each.texts)]
    if len(seen) == len(said):
        return Finding("found", f"the record at {name} has the code, by {_servers(said)}", is_found=True)
    silent = [each for each in said if each.problem is not None]
    others = [each for each in said if each.problem is None and each not in seen]
    if seen and others:
        return Finding(
            "resolvers_disagree",
            f"name servers disagree about {name}: {_servers(seen)} see the code, {_servers(others)} not yet; a new "
            "record needs some minutes, sometimes an hour",
            is_gone=False,
        )
    if silent:
        return Finding(
            "dns_silent",
            f"{_servers(silent)} could not tell what is at {name} ({silent[0].problem}); all name servers must see it",
            is_gone=False,
        )
    texts = sorted({text for each in others for text in each.texts})
    if texts:
        return Finding("wrong_token", f"the record at {name} says {_shown(texts[0])}, not the code: correct it")
    if all(each.is_unknown_name for each in others):
        return Finding("no_such_name", f"there is no name {name} (NXDOMAIN): add the record, or wait some minutes")
    return Finding("no_record", f"the name {name} has no TXT record: add one, or wait some minutes")


def judge_file(address: str, token: str, fetched: "Fetched | Finding") -> Finding:
    """What a well-known file shows."""
    if isinstance(fetched, Finding):
        return fetched
    if not fetched.ok:
        return _not_fetched(address, fetched)
    try:
        codes = codes_in_file(fetched.body)
    except InputError as error:
        return Finding("bad_file", f"{address}: {error}")
    if token in codes:
        return Finding("found", f"{address} has the code", is_found=True)
    if codes:
        return Finding("wrong_token", f"{address} has another code, {_shown(codes[0])}: add a line with yours")
    return Finding("no_token", f"{address} has no line token=...: put the line there as shown")


def judge_page(method: Method, address: str, token: str, fetched: "Fetched | Finding") -> Finding:
    """What a page shows."""
    if isinstance(fetched, Finding):
        return fetched
    if not fetched.ok:
        return _not_fetched(address, fetched)
    reading = read_page(fetched.body, _charset(fetched))
    if method == "meta":
        return _judge_meta(address, token, reading)
    if reading.says(token):
        links = frozenset(reading.link_keys(address))
        return Finding("found", f"the profile at {address} has the code", is_found=True, links=links)
    if reading.has_anywhere(token):
        return Finding(
            "code_elsewhere",
            f"the code is on {address}, but where visitors may write too: put it into the profile's own description "
            "(what the page's description says), or into a link of the profile",
        )
    return Finding("no_token", f"the code is not in the description of {address}: put it there, and save")


def _judge_meta(address: str, token: str, reading: PageReading) -> Finding:
    if token in reading.metas:
        return Finding("found", f"the head of {address} has the tag", is_found=True)
    if reading.metas:
        return Finding("wrong_token", f"the tag at {address} has another code, {_shown(reading.metas[0])}: correct it")
    if reading.has_anywhere(token):
        return Finding("code_elsewhere", f"the code is on {address}, but not in a tag in the page's head: put it there")
    return Finding("no_token", f"the head of {address} has no such tag: add it before </head>")


def _not_fetched(address: str, fetched: Fetched) -> Finding:
    is_gone = fetched.status in _GONE_STATUSES
    code = fetched.status if fetched.status != _REDIRECTED else "bad_redirect"
    return Finding(code, f"{address} could not be read: {fetched.reason}", is_gone=is_gone)


def _charset(fetched: Fetched) -> str:
    match = _CHARSET.search(fetched.header("content-type") or "")
    return match[1] if match else "utf-8"


def _bare(host: str) -> str:
    return host.removeprefix("www.")


def _servers(said: Sequence[Texts]) -> str:
    return " and ".join(each.server for each in said)


def _shown(text: str) -> str:
    """What a stranger's server said, in a line."""
    return "".join(char if char.isprintable() else "?" for char in text[:100])
