"""A real name server on loopback whose records a test changes, and web hosts beside it."""

import asyncio
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

from tests.hostile import Answer, Request, ok

Records = dict[str, list[str]]


@dataclass
class Zone:
    """Name -> kind of record -> values. A name that is not there does not exist; one in `silent` cannot be told."""

    names: dict[str, Records] = field(default_factory=dict)
    silent: set[str] = field(default_factory=set)
    address: str = ""

    def answer(self, data: bytes) -> bytes:
        query = dns.message.from_wire(data)
        question = query.question[0]
        name, kind = question.name.to_text(omit_final_dot=True).lower(), dns.rdatatype.to_text(question.rdtype)
        response = dns.message.make_response(query)
        response.flags |= dns.flags.RA
        if name in self.silent:
            response.set_rcode(dns.rcode.SERVFAIL)
            return response.to_wire()
        owner = question.name
        while cname := self.names.get(name, {}).get("CNAME"):
            response.answer.append(dns.rrset.from_text(owner, 0, "IN", "CNAME", f"{cname[0]}."))
            name, owner = cname[0], dns.name.from_text(cname[0])
        records = self.names.get(name)
        if records is None:
            response.set_rcode(dns.rcode.NXDOMAIN)
        elif kind in records:
            response.answer.append(dns.rrset.from_text(owner, 0, "IN", kind, *records[kind]))
        return response.to_wire()


@contextmanager
def serving_zone(zone: Zone) -> Iterator[Zone]:
    """Answer over UDP until the block ends."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind(("127.0.0.1", 0))
        zone.address = f"127.0.0.1:{listening.getsockname()[1]}"

        def serve() -> None:
            while True:
                data, client = listening.recvfrom(4096)
                if data == b"end":
                    return
                listening.sendto(zone.answer(data), client)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield zone
        finally:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ending:
                ending.sendto(b"end", listening.getsockname())
            thread.join()


def by_host(answers: Mapping[str, Answer]) -> Answer:
    """Another answer for each host, as one server of many sites gives."""

    async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
        host = request.headers["host"].partition(":")[0]
        await answers.get(host, ok(b"", status="404 Not Found"))(request, writer)

    return answer
