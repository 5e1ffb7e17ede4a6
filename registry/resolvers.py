"""Several name servers asked for the same: what one of them alone says, poisoned or late, is not believed.

All of them must show the code. DNSSEC is not asked for: most artists' names have none, and a resolver that validates
refuses by itself what does not fit (SERVFAIL, "cannot tell").
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from heldout.errors import InputError
from heldout.resolving import NameServerResolver, NoSuchNameError

DEFAULT_RESOLVERS: Final = ("9.9.9.9", "1.1.1.1", "8.8.8.8")
"""Three operators, three networks. They learn which hosts are being proved; the public log names those anyway."""
TIMEOUT_S: Final = 5.0


@dataclass(frozen=True)
class Texts:
    """What one name server said."""

    server: str
    texts: tuple[str, ...] = ()
    is_unknown_name: bool = False
    problem: str | None = None
    """Why there is no answer, where there is none."""


class ResolverPanel:
    """Name servers that must agree.

    Args:
        servers: each an IP address, or address:port.

    Raises:
        InputError: there is none, one twice, or one that is no address.
    """

    def __init__(self, servers: Sequence[str] = DEFAULT_RESOLVERS, *, timeout_s: float = TIMEOUT_S) -> None:
        if not servers or len(set(servers)) < len(servers):
            raise InputError("give at least one name server, and none twice: 9.9.9.9,1.1.1.1")
        self._resolvers = {server: NameServerResolver(server, timeout_s=timeout_s) for server in servers}
        self.first = next(iter(self._resolvers.values()))
        """Gives the addresses of hosts that are fetched from; there TLS says whether it is the right one."""

    async def texts(self, name: str) -> list[Texts]:
        """The TXT records of a name by each server, in the order given."""
        return list(await asyncio.gather(*(_ask(server, each, name) for server, each in self._resolvers.items())))


def parse_servers(text: str) -> list[str]:
    """Name servers as settings name them: addresses separated by commas."""
    return [part.strip() for part in text.split(",") if part.strip()]


async def _ask(server: str, resolver: NameServerResolver, name: str) -> Texts:
    try:
        return Texts(server, tuple(await resolver.texts(name)))
    except NoSuchNameError:
        return Texts(server, is_unknown_name=True)
    except OSError as error:
        return Texts(server, problem=str(error))
