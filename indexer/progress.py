"""A progress bar on a terminal, silence elsewhere: there the log has one line per shard."""

import os
import sys
import threading
import time
from typing import Protocol, TextIO

WIDTH = 24
EVERY_S = 0.1
COLUMNS = 120
"""Of a terminal that does not say."""


class Progress(Protocol):
    """Told what a long run does. Several shards may be open at once, from several threads."""

    def start(self, n_shards: int) -> None:
        """A run of so many shards begins."""
        ...

    def open(self, shard: str, n_samples: int) -> None:
        """A shard of so many samples begins."""
        ...

    def advance(self, shard: str, n: int) -> None:
        """`n` more of its samples are done."""
        ...

    def close(self, shard: str) -> None:
        """The shard has ended, in one way or another; it need not have been opened."""
        ...

    def stop(self) -> None:
        """The run has ended."""
        ...


class NoProgress:
    """Says nothing."""

    def start(self, n_shards: int) -> None:
        """As `Progress.start`."""

    def open(self, shard: str, n_samples: int) -> None:
        """As `Progress.open`."""

    def advance(self, shard: str, n: int) -> None:
        """As `Progress.advance`."""

    def close(self, shard: str) -> None:
        """As `Progress.close`."""

    def stop(self) -> None:
        """As `Progress.stop`."""


class Bar:
    """One line, redrawn: open shards, bar, shards, samples, rate, time left.

    How many samples there are is not known before all shards were opened, so the bar and the time left count shards,
    open ones by the share that is done.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._open: dict[str, tuple[int, int]] = {}
        """Shard -> samples done, samples."""
        self._n_shards = self._n_closed = self._n_samples = 0
        self._began = self._drawn = 0.0

    def start(self, n_shards: int) -> None:
        """As `Progress.start`."""
        self._n_shards, self._n_closed, self._n_samples = n_shards, 0, 0
        self._began = time.monotonic()

    def open(self, shard: str, n_samples: int) -> None:
        """As `Progress.open`."""
        with self._lock:
            self._open[shard] = (0, n_samples)
            self._draw()

    def advance(self, shard: str, n: int) -> None:
        """As `Progress.advance`."""
        with self._lock:
            done, total = self._open[shard]
            self._open[shard] = (done + n, total)
            self._n_samples += n
            if time.monotonic() - self._drawn >= EVERY_S:
                self._draw()

    def close(self, shard: str) -> None:
        """As `Progress.close`."""
        with self._lock:
            self._open.pop(shard, None)
            self._n_closed += 1
            self._draw()

    def stop(self) -> None:
        """As `Progress.stop`."""
        with self._lock:
            self._stream.write("\r\x1b[K")
            self._stream.flush()

    def _draw(self) -> None:
        self._drawn = time.monotonic()
        seconds = max(self._drawn - self._began, 1e-9)
        done = self._n_closed + sum(part / max(whole, 1) for part, whole in self._open.values())
        share = min(1.0, done / max(self._n_shards, 1))
        filled = int(WIDTH * share)
        bar = "#" * filled + "." * (WIDTH - filled)
        left = f"  {_duration(seconds * (1 - share) / share)} left" if share > 0 else ""
        said = (
            f"[{bar}] {self._n_closed:,}/{self._n_shards:,} shards  "
            f"{self._n_samples:,} samples  {self._n_samples / seconds:,.0f}/s{left}"
        )
        names = _fitted(" ".join(sorted(self._open)) or "-", _columns(self._stream) - len(said) - 2)
        self._stream.write(f"\r\x1b[K{names} {said}" if names else f"\r\x1b[K{said}")
        self._stream.flush()


def _columns(stream: TextIO) -> int:
    """Width of the terminal: a line that is longer could not be drawn over."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or COLUMNS
    except OSError:
        return COLUMNS


def _fitted(names: str, room: int) -> str:
    """The end of the names, which tells parts of a list apart, where they do not fit."""
    if len(names) <= room:
        return names
    return f"...{names[3 - room :]}" if room > 3 else ""


def _duration(seconds: float) -> str:
    """`45 s`, `12:30`, `3:07:05`."""
    whole = round(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    if whole < 60:
        return f"{whole} s"
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"


def make_progress(stream: TextIO = sys.stderr) -> Progress:
    """A bar where `stream` is a terminal."""
    return Bar(stream) if stream.isatty() else NoProgress()
