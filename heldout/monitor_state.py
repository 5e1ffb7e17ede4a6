"""What a monitor remembers between runs, and the evidence it keeps when a log misbehaves.

The state is one small JSON file, replaced as a whole. Evidence is a folder beside it, one for each alarm, with what
the log's key signed: anybody with the key can see from the two checkpoints alone that they contradict each other.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from heldout.checkpoint import from_base64, to_base64
from heldout.durable import make_folders, write_durably
from heldout.errors import InputError, UnavailableError, VerificationError
from heldout.leaves import format_at, parse_at
from heldout.merkle import EMPTY_ROOT, HASH_SIZE
from heldout.watching import WatchedClaims

STATE_FORMAT: Final = "heldout-monitor/1"


@dataclass
class MonitorState:
    """All of it."""

    vkey: str
    """The log's key: another is another log."""
    checkpoint: str | None = None
    """The newest note that was accepted: well signed, and consistent with all before."""
    size: int = 0
    """Entries that were read and found to be those under the checkpoint; at most the checkpoint's."""
    root: bytes = EMPTY_ROOT
    """Of the tree of `size` entries, as computed from the entries themselves."""
    newest_at: datetime | None = None
    """The newest time that an entry read so far tells."""
    floors: dict[str, int] = field(default_factory=dict)
    """By name of what is watched: entries below were looked through for it."""
    claims: WatchedClaims = field(default_factory=WatchedClaims)

    @classmethod
    def load(cls, path: Path) -> "MonitorState | None":
        """From a file; None if there is none.

        Raises:
            InputError: it is no such file, or damaged.
            UnavailableError: it cannot be read.
        """
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise UnavailableError(f"{path} cannot be read ({error.strerror}): check the disk") from error
        try:
            return _from_json(json.loads(data))
        except (ValueError, RecursionError, VerificationError) as error:
            raise InputError(
                f"{path} is not a monitor's state ({error}): move it away to follow the log anew"
            ) from error

    def save(self, path: Path) -> None:
        """Replace the file, durably. Raises UnavailableError: the disk failed; the file is as it was."""
        value = {
            "format": STATE_FORMAT,
            "vkey": self.vkey,
            "checkpoint": self.checkpoint,
            "size": self.size,
            "root": to_base64(self.root),
            "newest_at": None if self.newest_at is None else format_at(self.newest_at),
            "floors": self.floors,
            "positions": self.claims.positions,
            "n_seen": self.claims.n_seen,
        }
        try:
            make_folders(path.parent.absolute())
            write_durably(path, json.dumps(value, indent=1).encode())
        except OSError as error:
            raise UnavailableError(f"{path} cannot be written ({error.strerror}): check the disk") from error


def _from_json(value: object) -> MonitorState:
    match value:
        case {
            "format": "heldout-monitor/1",
            "vkey": str(vkey),
            "checkpoint": str() | None as checkpoint,
            "size": int(size),
            "root": str(root),
            "newest_at": str() | None as newest_at,
            "floors": dict(floors),
            "positions": dict(positions),
            "n_seen": dict(n_seen),
        } if len(from_base64(root)) == HASH_SIZE and size >= 0:
            at = None if newest_at is None else parse_at(newest_at)
            claims = WatchedClaims(_positions(positions), _counts(n_seen))
            return MonitorState(vkey, checkpoint, size, from_base64(root), at, _counts(floors), claims)
    raise VerificationError("it lacks a field, or one is malformed")


def _counts(value: Mapping[Any, Any]) -> dict[str, int]:
    if not all(isinstance(name, str) and type(n) is int and n >= 0 for name, n in value.items()):
        raise VerificationError("a count is malformed")
    return dict(value)


def _positions(value: Mapping[Any, Any]) -> dict[str, dict[str, list[int]]]:
    for held in value.values():
        if not isinstance(held, dict) or not all(isinstance(positions, list) for positions in held.values()):
            raise VerificationError("a claim is malformed")
    return {claim: {name: list(positions) for name, positions in held.items()} for claim, held in value.items()}


def keep_evidence(state_path: Path, kind: str, what: str, files: Mapping[str, bytes], now: datetime) -> Path:
    """Write what shows that a log misbehaved into a new folder `<state>.evidence/<time>-<kind>`; the folder.

    Args:
        state_path: of the monitor's state.
        kind: a word.
        what: a sentence, kept beside the files.
        files: by name.
        now: the time of the alarm.
    """
    stamp = now.astimezone(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    folder = state_path.with_name(f"{state_path.name}.evidence") / f"{stamp}-{kind}"
    try:
        make_folders(folder.absolute())
        for name, data in {**files, "alarm.txt": f"{format_at(now)} {kind}: {what}\n".encode()}.items():
            write_durably(folder / name, data)
    except OSError as error:
        raise UnavailableError(f"evidence against the log ({what}) cannot be written to {folder}: {error}") from error
    return folder
