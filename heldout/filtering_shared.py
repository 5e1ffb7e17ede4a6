"""One copy of a list in memory for all processes of a run.

A list is numpy arrays for the most part. Pickled with protocol 5, their contents are handed over apart, and are put one
after the other into a file in memory, or where the system has none such, into a temporary file. Whoever opens that
maps it: its pages are the same for all. The pickle is our own and goes to our own workers alone.
"""

import mmap
import os
import pickle
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from heldout.exclusion import ExclusionList

_ALIGNMENT = 64


@dataclass(frozen=True)
class SharedList:
    """Where other processes of this machine find a list, for as long as whoever made it keeps it there. Picklable."""

    path: Path
    head: bytes
    """The pickle without its arrays."""
    spans: tuple[tuple[int, int], ...]
    """Start and length of each array in the file."""

    def open(self) -> ExclusionList:
        """The list, its arrays mapped."""
        buffers: list[memoryview] = []
        if self.spans:
            with self.path.open("rb") as file:
                view = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
            buffers = [view[start : start + length] for start, length in self.spans]
        exclusions = pickle.loads(self.head, buffers=buffers)  # noqa: S301 - `sharing` wrote it
        if not isinstance(exclusions, ExclusionList):
            raise TypeError(type(exclusions))
        return exclusions


@contextmanager
def sharing(exclusions: ExclusionList) -> Iterator[SharedList]:
    """Have a list where other processes find it, for the length of the block."""
    buffers: list[pickle.PickleBuffer] = []
    head = pickle.dumps(exclusions, protocol=5, buffer_callback=buffers.append)
    spans = []
    with ExitStack() as stack:
        if sys.platform == "linux":
            handle = os.memfd_create("heldout-list")
            file = stack.enter_context(os.fdopen(handle, "wb"))
            path = Path(f"/proc/{os.getpid()}/fd/{handle}")
        else:
            file = stack.enter_context(tempfile.NamedTemporaryFile(prefix="heldout-list-"))
            path = Path(file.name)
        del exclusions  # the caller may have let go of it too: then each array goes as soon as it is written
        written: dict[tuple[int, int], tuple[int, int]] = {}
        buffers.reverse()
        while buffers:
            buffer = buffers.pop()
            with buffer.raw() as data:
                place = np.frombuffer(data, np.uint8).__array_interface__["data"][0], data.nbytes
                if place not in written:  # a table and its index share columns
                    file.write(bytes(-file.tell() % _ALIGNMENT))
                    written[place] = file.tell(), data.nbytes
                    file.write(data)
            spans.append(written[place])
            buffer.release()
            del buffer
            pa.default_memory_pool().release_unused()
        file.flush()
        yield SharedList(path, head, tuple(spans))
