"""Where a page of a list ends: a cursor names the last thing shown, by its time in whole seconds and its id."""

import re
from datetime import UTC, datetime
from typing import Final

from sqlalchemy import ColumnElement, tuple_
from sqlalchemy.orm import InstrumentedAttribute

from heldout.errors import InputError

_CURSOR: Final = re.compile(r"([0-9]{1,11})-([0-9a-z]{1,64})", re.ASCII)  # 11 digits: up to the year 5138


def cursor_of(at: datetime, row_id: str) -> str:
    """The cursor that goes on after this row."""
    return f"{int(at.timestamp())}-{row_id}"


def is_past(
    cursor: str, at: InstrumentedAttribute[datetime], row_id: InstrumentedAttribute[str]
) -> ColumnElement[bool]:
    """The rows that a list with the newest first has after a cursor.

    Raises:
        InputError: not a cursor of ours.
    """
    match = _CURSOR.fullmatch(cursor)
    if match is None:
        raise InputError(f"{cursor!r:.80} is not a cursor: give back the next_cursor of a page, unchanged")
    return tuple_(at, row_id) < (datetime.fromtimestamp(int(match[1]), UTC), match[2])
