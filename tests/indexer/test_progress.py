"""The bar on a terminal and the lines elsewhere."""

import io
import json
import logging

from indexer.logs import JsonLines
from indexer.progress import Bar, NoProgress, make_progress


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_a_bar_that_cleans_up() -> None:
    stream = _Terminal()
    bar = make_progress(stream)
    bar.start("00000", 200)
    bar.advance(50)
    bar.stop()
    assert isinstance(bar, Bar)
    assert "00000 [" in stream.getvalue()
    assert "/200" in stream.getvalue()
    assert stream.getvalue().endswith("\r\x1b[K")


def test_a_file_gets_no_bar() -> None:
    stream = io.StringIO()
    assert isinstance(make_progress(stream), NoProgress)
    assert stream.getvalue() == ""


def test_an_empty_shard_draws_no_nonsense() -> None:
    stream = _Terminal()
    bar = Bar(stream)
    bar.start("empty", 0)
    bar.stop()
    assert "0/0" in stream.getvalue()


def test_events_are_json_with_their_fields() -> None:
    record = logging.makeLogRecord({"msg": "shard_ingested", "levelname": "INFO", "shard": "0", "samples": 3})
    assert json.loads(JsonLines().format(record)) == {
        "event": "shard_ingested",
        "level": "info",
        "shard": "0",
        "samples": 3,
    }
