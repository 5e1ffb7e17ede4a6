"""One line per event on stderr: JSON where a machine reads it."""

import json
import logging
import sys
from typing import TextIO

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonLines(logging.Formatter):
    """`{"event": ..., "level": ..., ...}` with the record's extra fields."""

    def format(self, record: logging.LogRecord) -> str:
        """As `logging.Formatter.format`."""
        # Names with an underscore are of other programs' record factories (Ray's).
        extra = {name: value for name, value in vars(record).items() if name not in _STANDARD and name[0] != "_"}
        return json.dumps({"event": record.getMessage(), "level": record.levelname.lower(), **extra}, default=str)


def configure_logging(stream: TextIO = sys.stderr) -> None:
    """Log the indexer's events to `stream`, unless a person watches a progress bar there."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines())
    logger = logging.getLogger("indexer")
    logger.handlers = [handler]
    logger.setLevel(logging.WARNING if stream.isatty() else logging.INFO)
