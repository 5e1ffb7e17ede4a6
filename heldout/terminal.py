"""What commands say to a person or a script: plain lines, JSON, doubts and progress on stderr."""

import json
import sys
from collections.abc import Callable, Sequence


class progress:  # noqa: N801 - used like a function
    """Progress on stderr while the block lasts, if somebody is watching."""

    def __init__(self, unit: str) -> None:
        self._unit = unit
        self._shown = False

    def __enter__(self) -> Callable[[int, int], None] | None:
        return self._show if sys.stderr.isatty() else None

    def __exit__(self, *_: object) -> None:
        if self._shown:
            print(file=sys.stderr)

    def _show(self, n_done: int, n_total: int) -> None:
        self._shown = True
        print(f"\r{n_done:,} of {n_total:,} {self._unit}", end="", file=sys.stderr, flush=True)


def tell_doubts(doubts: Sequence[str]) -> None:
    """Say on stderr why an answer should not be trusted."""
    for doubt in doubts:
        complain(f"NOT VERIFIED: {doubt}")


def complain(message: str) -> None:
    """Say on stderr, for people."""
    print(f"heldout: {plain(message)}", file=sys.stderr)


def print_json(value: object) -> None:
    """Print for a script."""
    print(json.dumps(value, indent=1, ensure_ascii=False))


def format_counts(counts: dict[str, int]) -> str:
    """A list's entries, in words."""
    return f"{counts.get('url', 0)} URLs and {counts.get('image', 0)} pictures"


def format_kinds(dropped: dict[str, dict[str, int]], n_not_granted: int = 0) -> str:
    """Dropped samples by rule kind, in words; empty if there are none."""
    parts = [f"{sum(by_assurance.values())} by {kind}" for kind, by_assurance in dropped.items()]
    if n_not_granted:
        parts.append(f"{n_not_granted} not granted")
    return f" ({', '.join(parts)})" if parts else ""


def plain(text: str) -> str:
    """What strangers wrote must not steer a terminal."""
    return "".join(c if c.isprintable() else " " for c in text)
