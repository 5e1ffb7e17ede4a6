"""A progress bar on a terminal, silence elsewhere: there the log has one line per shard."""

import sys
import time
from typing import Protocol, TextIO

WIDTH = 24
EVERY_S = 0.1


class Progress(Protocol):
    """Told what a long run does."""

    def start(self, name: str, total: int) -> None:
        """A piece of work of `total` samples begins."""
        ...

    def advance(self, n: int) -> None:
        """`n` more samples are done."""
        ...

    def stop(self) -> None:
        """The piece of work has ended."""
        ...


class NoProgress:
    """Says nothing."""

    def start(self, name: str, total: int) -> None:
        """As `Progress.start`."""

    def advance(self, n: int) -> None:
        """As `Progress.advance`."""

    def stop(self) -> None:
        """As `Progress.stop`."""


class Bar:
    """One line, redrawn: name, bar, count, rate, time left."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._name = ""
        self._total = 0
        self._done = 0
        self._began = self._drawn = 0.0

    def start(self, name: str, total: int) -> None:
        """As `Progress.start`."""
        self._name, self._total, self._done = name, total, 0
        self._began = time.monotonic()
        self._draw()

    def advance(self, n: int) -> None:
        """As `Progress.advance`."""
        self._done += n
        if time.monotonic() - self._drawn >= EVERY_S:
            self._draw()

    def stop(self) -> None:
        """As `Progress.stop`."""
        self._stream.write("\r\x1b[K")
        self._stream.flush()

    def _draw(self) -> None:
        self._drawn = time.monotonic()
        rate = self._done / max(self._drawn - self._began, 1e-9)
        filled = WIDTH * self._done // max(self._total, 1)
        left = f"{(self._total - self._done) / rate:,.0f} s left" if rate > 0 else ""
        bar = "#" * filled + "." * (WIDTH - filled)
        self._stream.write(f"\r\x1b[K{self._name} [{bar}] {self._done:,}/{self._total:,}  {rate:,.0f}/s  {left}")
        self._stream.flush()


def make_progress(stream: TextIO = sys.stderr) -> Progress:
    """A bar where `stream` is a terminal."""
    return Bar(stream) if stream.isatty() else NoProgress()
