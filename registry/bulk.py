"""Many addresses in one question, as fast as the kernel: lines of text in, JSON in Spawning's words or bits out.

A line end separates addresses: n - 1 of them make n lines, of which each has its answer, in order, whatever it holds.
Bytes are looked up as they came; nothing is made of an address but its answer. docs/online.md.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa

from heldout.errors import InputError
from heldout.exclusion import Matches, Rules
from heldout.records import ASSURANCES, Assurance

MAX_JSON_LINES: Final = 10_000
"""What Spawning's API takes and datadiligence sends."""
MAX_BITMAP_LINES: Final = 100_000

_LINE_END: Final = 0x0A
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Answered:
    """The answer to a body of lines."""

    content: bytes
    n_lines: int
    n_unreadable: int
    """Lines that are no address that could be looked up: nobody knows of those."""


def count_lines(body: bytes, limit: int) -> int:
    """Number of lines of a body.

    Raises:
        InputError: there are more than `limit`.
    """
    n = body.count(b"\n") + 1
    if n > limit:
        raise TooManyLinesError(f"{n:,} lines are too many for one request: send up to {limit:,}, and more requests")
    return n


class TooManyLinesError(InputError):
    """A body has more lines than one request may have."""

    http_status = 413


def answer_json(exclusions: Rules, grants: Rules, body: bytes, min_assurance: Assurance) -> Answered:
    """`{"urls": [{"url", "optOut", "optIn"}, ...]}` as Spawning's API words it; `url` is the line, byte for byte.

    An address that could not be looked up has `"unreadable": true` besides.

    Raises:
        InputError: the body is not UTF-8, which JSON could not repeat.
    """
    try:
        lines = body.decode().split("\n")
    except UnicodeDecodeError as error:
        raise InputError(
            f"the body is not UTF-8 (byte {error.start:,}): send addresses as UTF-8, one a line"
        ) from error
    column = split_lines(body)
    opted_out, unreadable = found_of(exclusions, column, min_assurance)
    granted = found_of(grants, column, min_assurance)[0] if any(grants.counts.values()) else np.zeros_like(opted_out)
    told: list[dict[str, object]] = [
        {"url": line, "optOut": is_out, "optIn": is_in}
        for line, is_out, is_in in zip(lines, opted_out.tolist(), granted.tolist(), strict=True)
    ]
    rows = np.flatnonzero(unreadable).tolist()
    for row in rows:
        told[row]["unreadable"] = True
    return Answered(orjson.dumps({"urls": told}), len(lines), len(rows))


def answer_bitmap(exclusions: Rules, body: bytes, min_assurance: Assurance) -> Answered:
    """One bit a line, 1 where it is opted out: that of line i is bit i % 8, counted from the lowest, of byte i // 8."""
    opted_out, unreadable = found_of(exclusions, split_lines(body), min_assurance)
    bits = np.packbits(opted_out, bitorder="little")
    return Answered(bits.tobytes(), len(opted_out), int(np.count_nonzero(unreadable)))


def split_lines(body: bytes) -> pa.Array:
    """The lines of a body as Arrow strings, which need not be UTF-8: they are not copied one by one."""
    ends = np.flatnonzero(np.frombuffer(body, np.uint8) == _LINE_END)
    offsets = np.empty(len(ends) + 2, np.int32)
    offsets[0] = 0
    offsets[1:-1] = ends - np.arange(len(ends))
    offsets[-1] = len(body) - len(ends)
    joined = body.replace(b"\n", b"")
    return pa.Array.from_buffers(pa.string(), len(offsets) - 1, [None, pa.py_buffer(offsets), pa.py_buffer(joined)])


def found_of(rules: Rules, column: pa.Array, min_assurance: Assurance) -> tuple[Mask, Mask]:
    """(n,) where an entry of at least this assurance is met, and (n,) where there is no address to look up."""
    least = ASSURANCES.index(min_assurance)
    found = np.zeros(len(column), np.bool_)
    answers: list[Matches] = list(rules.lookup_urls(column).values())
    for matches in answers:
        found |= matches.found if least == 0 else matches.found & (matches.assurance >= least)
    return found, answers[0].unreadable
