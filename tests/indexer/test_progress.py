"""The bar on a terminal and the lines elsewhere."""

import fcntl
import io
import json
import logging
import os
import pty
import struct
import termios
from collections import Counter

from indexer.logs import JsonLines
from indexer.outcome import IngestReport, Outcome, short_reason
from indexer.progress import Bar, NoProgress, Progress, make_progress


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Told:
    """A `Progress` that keeps what it is told."""

    def __init__(self) -> None:
        self.n_shards = 0
        self.samples: Counter[str] = Counter()
        self.closed: list[str] = []

    def start(self, n_shards: int) -> None:
        self.n_shards = n_shards

    def open(self, shard: str, n_samples: int) -> None:
        assert n_samples >= 0
        self.samples[shard] = 0

    def advance(self, shard: str, n: int) -> None:
        self.samples[shard] += n

    def close(self, shard: str) -> None:
        self.closed.append(shard)

    def stop(self) -> None:
        pass


def _drawn(progress: Progress) -> None:
    progress.start(4)
    progress.open("00000", 200)
    progress.open("00001", 200)
    progress.advance("00000", 50)
    progress.close("00002")  # was set aside before it was opened
    progress.close("00001")
    progress.stop()


def test_a_terminal_gets_a_bar_that_cleans_up() -> None:
    stream = _Terminal()
    bar = make_progress(stream)
    assert isinstance(bar, Bar)
    _drawn(bar)
    frames = stream.getvalue().split("\r\x1b[K")
    assert any(frame.startswith("00000 00001 [") for frame in frames)
    assert "2/4 shards  50 samples" in frames[-2]
    assert frames[-2].startswith("00000 [#############...........]")  # two shards and a quarter, of four
    assert frames[-2].endswith(" left")
    assert frames[-1] == ""


def test_a_file_gets_no_bar() -> None:
    stream = io.StringIO()
    progress = make_progress(stream)
    assert isinstance(progress, NoProgress)
    _drawn(progress)
    assert stream.getvalue() == ""


def test_an_empty_shard_draws_no_nonsense() -> None:
    stream = _Terminal()
    bar = Bar(stream)
    bar.start(0)
    bar.open("empty", 0)
    bar.stop()
    assert "0/0 shards" in stream.getvalue()


def test_events_are_json_with_their_fields() -> None:
    record = logging.makeLogRecord({"msg": "shard_ingested", "levelname": "INFO", "shard": "0", "samples": 3})
    assert json.loads(JsonLines().format(record)) == {
        "event": "shard_ingested",
        "level": "info",
        "shard": "0",
        "samples": 3,
    }


def test_a_summary_counts_failures_by_reason() -> None:
    report = IngestReport()
    damaged = [
        "0/a is damaged (image file is truncated (27 bytes not processed)): give an intact file",
        "0/b is damaged (image file is truncated (1,003 bytes not processed)): give an intact file",
        "0/c is empty (0 bytes): give a JPEG",
    ]
    first, second = Outcome("0"), Outcome("1", set_aside="1.tar is truncated")
    first.statuses.update({"ok": 5, "corrupt": 3, "http_404": 2, "not_fetched": 1})
    first.reasons.update(("corrupt", short_reason(reason, "corrupt")) for reason in damaged)
    first.reasons.update({("http_404", ""): 2, ("not_fetched", ""): 1})
    for outcome in (first, second):
        report.add(outcome)
    report.seconds = 1.0
    lines = list(report.lines())
    assert lines[1] == "11 samples of 1 shards in 1.0 s (11/s)"
    assert [line.split(maxsplit=1) for line in lines[2:]] == [
        ["5", "ok"],
        ["3", "corrupt"],
        ["2", "damaged (image file is truncated (N bytes not processed))"],
        ["1", "empty (N bytes)"],
        ["2", "http_404"],
        ["1", "not_fetched"],
    ]
    assert report.set_aside == {"1": "1.tar is truncated"}
    assert report.to_json()["n_samples"] == 11
    json.dumps(report.to_json())


def test_reasons_without_number_are_counted_together() -> None:
    report = IngestReport()
    for number in range(300):
        outcome = Outcome(str(number))
        outcome.statuses["failed"] = 1
        outcome.reasons["failed", f"reason {number}"] = 1
        report.add(outcome)
    assert report.reasons["failed", "other reasons"] == 200
    assert report.reasons.total() == 300


def test_the_bar_keeps_to_one_line_of_the_terminal() -> None:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    name = "part-00000-5b54c5d5-bbcf-484d-a2ce-0d6f73df1a36-c000.snappy"
    with os.fdopen(theirs, "w") as terminal:
        bar = Bar(terminal)
        bar.start(2)
        for number in range(2):
            bar.open(f"{name}.{number:05d}", 100_000)
        bar.stop()
        read = b""
        while read.count(b"\r\x1b[K") < 3:  # one drawing after the other reaches the terminal
            read += os.read(ours, 10_000)
    os.close(ours)
    _, *drawn, _ = read.decode().split("\r\x1b[K")
    assert [len(line) for line in drawn] == [79, 79]
    assert drawn[1].startswith("...")
    assert ".00001 [...." in drawn[1]
