"""Logs as JSON lines on stderr: an event's name and its fields. No personal data and no query text goes in."""

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import Any

from heldout.errors import HeldoutError

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}


class JsonLines(logging.Formatter):
    """One record, one line."""

    def format(self, record: logging.LogRecord) -> str:
        """The record's event, its `extra` fields, and the type of an exception."""
        line = {
            "at": datetime.fromtimestamp(record.created, tz=UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        }
        line.update({name: value for name, value in vars(record).items() if name not in _STANDARD})
        if record.exc_info and record.exc_info[0] is not None:
            line["exception"] = record.exc_info[0].__name__
        return json.dumps(line, default=str)


def describe(error: Exception) -> dict[str, Any]:
    """Fields that say what failed: its type, the code it passed, the words of our own errors and of the disk.

    Others may quote what they were given: a row of the database, what somebody searched for.
    """
    frames = [f"{each.filename}:{each.lineno}" for each in traceback.extract_tb(error.__traceback__)]
    reason = {"reason": str(error)} if isinstance(error, HeldoutError | OSError) else {}
    return {"error": type(error).__name__, **reason, "frames": frames[-12:]}


def set_up_logs(level: str) -> None:
    """Send everything through `JsonLines`; called once, by a program's entry."""
    out = logging.StreamHandler(sys.stderr)
    out.setFormatter(JsonLines())
    logging.basicConfig(level=level, handlers=[out], force=True)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = name != "uvicorn.access"  # it would log addresses as asked, and with them what was searched
