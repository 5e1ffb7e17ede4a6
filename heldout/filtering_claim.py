"""Whose an output folder is: one run's at a time, and nothing in it is replaced that no run has written.

    OUT/.heldout/lock        held by the run that is at work
    OUT/.heldout/workers     held by each of its workers, which outlive a run that was killed by a moment
    OUT/.heldout/run.json    what runs here write, and under which names; there before the first of them is

The system lets go of a lock when its process ends, however it ends: a run that was killed stands in nobody's way.
"""

import json
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from heldout.durable import locked, remove_parts, write_durably
from heldout.errors import ConflictError, InputError
from heldout.filtering_emit import STATE
from heldout.filtering_options import Writes

_RECORD: Final = "run.json"


@contextmanager
def claimed(out: Path, names: Collection[str], writes: Writes | None) -> Iterator[None]:
    """Have an output folder to oneself, for files of these names below it; `writes` is None for a dry run.

    Raises:
        ConflictError: another run is at work there.
        InputError: one of the files is there and no run wrote it; or runs there write something else. Nothing was
            written then.
    """
    _check(out, names, writes)
    state = out / STATE
    state.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(state / "lock"))
        except ConflictError as error:
            raise ConflictError(
                f"another heldout filter is at work in {out}: wait for it, or give another folder with -o"
            ) from error
        with locked(state / "workers", wait=True):
            earlier = _check(out, names, writes)
            record = {"writes": writes or earlier.writes, "names": sorted({*names, *earlier.names})}
            remove_parts(state / _RECORD)
            write_durably(state / _RECORD, json.dumps(record).encode())
        yield


@contextmanager
def working_in(out: Path) -> Iterator[None]:
    """Be one of the workers of the run that has claimed a folder: the next one waits until the block ends."""
    with locked(out / STATE / "workers", wait=True, shared=True):
        yield


class _Earlier(NamedTuple):
    """What runs have written here so far."""

    writes: Writes | None
    names: list[str]


def _check(out: Path, names: Collection[str], writes: Writes | None) -> _Earlier:
    record = out / STATE / _RECORD
    earlier = _Earlier(None, [])
    try:
        fields = json.loads(record.read_bytes())
        earlier = _Earlier(fields["writes"], list(map(str, fields["names"])))
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{record} cannot be read ({error}): give another folder with -o") from error
    if earlier.writes not in {None, writes} and writes is not None:
        raise InputError(f"{out} holds the {earlier.writes} that an earlier run wrote: give another folder with -o")
    foreign = sorted(name for name in set(names).difference(earlier.names) if (out / name).exists())
    if foreign:
        more = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
        raise InputError(
            f"{out / foreign[0]}{more} would be replaced, and no run of heldout filter wrote it: give another folder "
            "with -o, or move it away"
        )
    return earlier
