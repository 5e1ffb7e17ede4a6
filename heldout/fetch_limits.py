"""What a fetch may cost us, and what it may cost a host."""

from dataclasses import dataclass

from heldout.errors import InputError


@dataclass(frozen=True)
class FetchLimits:
    """What one fetch may cost, and what one host is asked to bear.

    Raises:
        InputError: a limit is not positive.
    """

    max_bytes: int = 32 * 1024 * 1024
    """Of a body, as sent and again when decoded."""
    max_redirects: int = 5
    connect_s: float = 10.0
    """For a name's address, and for a connection with its TLS."""
    read_s: float = 15.0
    """Between two pieces of an answer."""
    total_s: float = 60.0
    """Of one try with its redirects; waiting for a host's turn does not count."""
    concurrency: int = 128
    """Requests in the air."""
    per_host: int = 4
    """Of them to one host."""
    min_host_interval_s: float = 0.05
    """Between the starts of two requests to one host."""
    max_retries: int = 2
    """After "not now" (429, 503) and broken connections."""
    backoff_s: float = 1.0
    """Rest of a host before the first of them, without `Retry-After`; doubles each time."""
    max_wait_s: float = 30.0
    """Longest `Retry-After` that is waited for."""
    max_failures: int = 5
    """Of a host in a row; then it is left alone for `rest_s`."""
    rest_s: float = 120.0

    def __post_init__(self) -> None:
        for name in ("max_bytes", "connect_s", "read_s", "total_s", "concurrency", "per_host", "max_failures"):
            if not getattr(self, name) > 0:
                raise InputError(f"the limit {name} is {getattr(self, name)}: give a positive number")
        for name in ("max_redirects", "min_host_interval_s", "max_retries", "backoff_s", "max_wait_s", "rest_s"):
            if not getattr(self, name) >= 0:
                raise InputError(f"the limit {name} is {getattr(self, name)}: give zero or more")
