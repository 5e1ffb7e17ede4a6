"""A small Internet on loopback for the tests of evidence: two name servers that agree, and https hosts."""

import asyncio
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from heldout.addresses import AddressGuard
from heldout.fetching import FetchLimits
from heldout.records import Proof
from registry.evidence_checks import Prober
from registry.proving import Rechecked
from registry.service import Registry
from tests.hostile import ALLOWED, HostileServer, make_authority
from tests.registry.zone import Records, Zone, serving_zone

HOSTS = ("jane.example", "www.jane.example", "shop.jane.example", "art.example", "cdn.art.example", "mallory.example")
LIMITS = FetchLimits(
    max_bytes=1024 * 1024, max_redirects=0, max_retries=0, total_s=3, min_host_interval_s=0, max_failures=1000
)


@dataclass
class World:
    """What claimants change and registries look at."""

    zones: tuple[Zone, Zone]
    web: HostileServer
    tls: ssl.SSLContext

    def set_records(self, name: str, records: Records | None, *, only: int | None = None) -> None:
        """Give a name records, or take it away (None), at both servers or at one."""
        for number, zone in enumerate(self.zones):
            if only in {None, number}:
                if records is None:
                    zone.names.pop(name, None)
                else:
                    zone.names[name] = records

    def put_txt(self, host: str, *texts: str, only: int | None = None) -> None:
        self.set_records(f"_heldout-challenge.{host}", {"TXT": [f'"{each}"' for each in texts]}, only=only)

    def prober(self) -> Prober:
        return Prober(
            [zone.address for zone in self.zones],
            guard=AddressGuard(allow=[ALLOWED]),
            tls=self.tls,
            https_port=self.web.port,
            limits=LIMITS,
        )

    def check(self, registry: Registry, proof_id: str) -> Proof:
        """As a claimant who presses the button."""

        async def run() -> Proof:
            async with self.prober() as prober:
                return await registry.proving.check(proof_id, prober)

        return asyncio.run(run())

    def recheck(self, registry: Registry) -> Rechecked:
        """As the hourly chore."""

        async def run() -> Rechecked:
            async with self.prober() as prober:
                return await registry.proving.recheck(prober)

        return asyncio.run(run())


@contextmanager
def open_world(folder: Path) -> Iterator[World]:
    server_tls, client_tls = make_authority(folder, *HOSTS)
    zones = Zone(), Zone()
    with serving_zone(zones[0]), serving_zone(zones[1]), HostileServer({}, tls=server_tls) as web:
        world = World(zones, web, client_tls)
        for host in HOSTS:
            world.set_records(host, {"A": ["127.0.0.1"]})
        yield world


def page(head: str = "", body: str = "") -> bytes:
    """A web page."""
    return f"<!doctype html><html><head><title>Jane</title>{head}</head><body>{body}</body></html>".encode()
