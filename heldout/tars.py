"""Tars read strictly: every byte is a member's, lies between members, or is a zero after the last.

`tarfile` ends without a word at a damaged header, which would lose the samples behind it. Headers come from strangers,
so what one of them may make `tarfile` read into memory is bounded; members' data is left to the caller.
"""

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import IO, Final, cast

from heldout.errors import InputError

MAX_HEADER_BYTES: Final = 1024 * 1024
"""Bytes of one extended header; a path has a few thousand at most, and `tarfile` holds it in memory whole."""
_BLOCK_BYTES: Final = 4 * 1024 * 1024


@dataclass(frozen=True)
class Part:
    """Bytes `start` to `end` of a tar: a member with its headers, or what lies between two (`member` is None)."""

    start: int
    end: int
    member: tarfile.TarInfo | None


def iter_parts(archive: BufferedReader, source: Path) -> Iterator[Part]:
    """Parts of an open tar, in order and without a gap up to the end mark. The caller may move `archive` meanwhile.

    The data of the member given last may be cut off: that is raised when the next one is asked for.

    Raises:
        InputError: not an uncompressed tar, truncated, damaged, or with a member no data set has; names the place.
    """
    position = 0
    try:
        with tarfile.open(fileobj=cast("IO[bytes]", _Headers(archive, source)), mode="r:") as tar:
            while (member := tar.next()) is not None:
                if member.issparse():
                    raise InputError(f"{source}: {member.name} is a sparse file, as no webdataset has: pack it anew")
                if member.size < 0 or tar.offset <= member.offset:  # would send tarfile back, round and round
                    raise InputError(f"{source} has a damaged header at byte {member.offset}: get it again")
                if member.offset > position:
                    yield Part(position, member.offset, None)
                position = tar.offset
                yield Part(member.offset, position, member)
                tar.members.clear()  # type: ignore[attr-defined] # tarfile would keep every header in memory
    except (tarfile.TarError, ValueError, OverflowError, RecursionError) as error:
        if position == 0:
            raise InputError(
                f"{source} is not an uncompressed tar ({error}): get it again, or unpack it if it is a .tar.gz"
            ) from error
        raise InputError(f"{source} is truncated or damaged near byte {position} ({error}): get it again") from error
    _check_end(archive, source, position)


def _check_end(archive: BufferedReader, source: Path, position: int) -> None:
    """The rest of the file must be zeros, a block of them at least."""
    archive.seek(position)
    n_left, is_zero = 0, True
    while is_zero and (block := archive.read(_BLOCK_BYTES)):
        n_left += len(block)
        is_zero = not block.strip(b"\0")
    if n_left < tarfile.BLOCKSIZE:
        raise InputError(f"{source} is truncated at byte {position + n_left}, before its end mark: get it again")
    if not is_zero:
        raise InputError(f"{source} has a damaged header, or an early end, at byte {position}: get it again")


class _Headers:
    """The file as `tarfile` sees it: reads of headers only, none longer than `MAX_HEADER_BYTES`."""

    def __init__(self, archive: BufferedReader, source: Path) -> None:
        self._archive = archive
        self._source = source
        self.tell = archive.tell
        self.seek = archive.seek

    def read(self, n: int) -> bytes:
        if n > MAX_HEADER_BYTES:
            raise InputError(
                f"{self._source} has a header of {n:,} bytes before byte {self.tell()}, over the limit of "
                f"{MAX_HEADER_BYTES:,}: it is damaged or hostile; get it again"
            )
        return self._archive.read(n)
