"""Follows a log and believes nothing: every entry is read, and the tree computed anew from them.

The rules, for each round:
 * the checkpoint is signed by the log's key and has not fewer entries than the last one;
 * it extends the last one (consistency by the log's own tiles); then it is remembered, before anything else is read;
 * every new entry is in its bundle, its leaf hash in its level-0 tile, each tile's root in the tile above, and the
   root of what was read is the checkpoint's;
 * with a policy of witnesses, its quorum has cosigned, not too long ago; without, an age may be asked of the entries.
What fails is an alarm: evidence is kept, and the next round starts before what failed.

Progress is saved every so many bundles, so that a round that is broken off goes on where it was. Memory holds one
bundle and the right edge of the tree. Format: docs/formats/log.md.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from heldout.checkpoint import MAX_NOTE_SIZE, Checkpoint, Verifier, open_checkpoint, to_base64
from heldout.download import Downloads
from heldout.errors import InputError, NotFoundError, VerificationError
from heldout.layout import CHECKPOINT_PATH, TILE_WIDTH, WITNESSED_PATH, Tile, tile_width
from heldout.leaves import format_at, parse_leaf
from heldout.merkle import EMPTY_ROOT, HASH_SIZE, leaf_hash, verify_consistency
from heldout.monitor_state import MonitorState, keep_evidence
from heldout.tiles import MAX_ENTRY_SIZE, TileReader, TreeGrower, format_bundle
from heldout.watching import Happened, Watches, describe
from heldout.witnesses import Witnessed, WitnessPolicy

SAVE_EVERY: Final = 32
"""Bundles between two saves of progress: 8,192 entries."""
MAX_BUNDLE_BYTES: Final = TILE_WIDTH * (2 + MAX_ENTRY_SIZE)
MAX_TILE_BYTES: Final = TILE_WIDTH * HASH_SIZE

Tell = Callable[[Happened], None]


class LogAlarm(VerificationError):  # noqa: N818 - what it is to whoever watches
    """The log misbehaved, or what it serves is damaged. What shows it is in a folder."""

    def __init__(self, kind: str, message: str, evidence: Path) -> None:
        super().__init__(f"ALARM ({kind}): {message}. Evidence is in {evidence}")
        self.kind = kind
        self.evidence = evidence


@dataclass
class Round:
    """What one round saw."""

    origin: str
    old_size: int
    """Entries under the checkpoint of the round before."""
    size: int = 0
    n_read: int = 0
    n_by_type: Counter[str] = field(default_factory=Counter)
    """Of the entries read; `unknown` are those of a version newer than this program."""
    newest_at: datetime | None = None
    """The newest time any entry tells."""
    witnessed: Witnessed | None = None
    """What the policy's witnesses said; None without a policy."""


@dataclass(frozen=True)
class Monitor:
    """Follows one log. One at a time per state file: the caller holds a lock."""

    url: str
    """The site's base address; the log is at `log/` below it."""
    verifier: Verifier
    """The log's key."""
    downloads: Downloads
    state_path: Path
    """Made at the first round."""
    watches: Watches = field(default_factory=Watches)
    """What to tell about."""
    policy: WitnessPolicy | None = None
    """Witnesses, of which a quorum must have signed."""
    max_age: timedelta | None = None
    """Of the newest cosignature, or without a policy of the newest entry; None asks for none."""

    def round(self, tell: Tell, *, now: datetime) -> Round:
        """Follow the log to its newest checkpoint.

        Args:
            tell: told of each entry about what is watched, in order; of one twice only if the round before died.
            now: the time.

        Raises:
            LogAlarm: the log forked, shrank, went stale, or what it serves is damaged.
            InputError: the state is damaged, or of another log.
            UnavailableError, NotFoundError: the server or the disk failed; the next round goes on.
        """
        state = MonitorState.load(self.state_path) or MonitorState(self.verifier.vkey)
        if state.vkey != self.verifier.vkey:
            raise InputError(
                f"{self.state_path} follows the log of {state.vkey}, the key given is {self.verifier.vkey}: "
                "a log never changes its key; use another --state for another log"
            )
        held = {"old-checkpoint": state.checkpoint.encode()} if state.checkpoint else {}
        try:
            return _Round(self, state, tell).run(now)
        except _WrongError as wrong:
            folder = keep_evidence(self.state_path, wrong.kind, str(wrong), held | wrong.files, now)
            raise LogAlarm(wrong.kind, str(wrong), folder) from wrong


class _WrongError(Exception):
    """Becomes a LogAlarm, once what shows it is stored."""

    def __init__(self, kind: str, message: str, files: dict[str, bytes]) -> None:
        super().__init__(message)
        self.kind = kind
        self.files = files


class _Round:
    """One round at work."""

    def __init__(self, monitor: Monitor, state: MonitorState, tell: Tell) -> None:
        self._monitor = monitor
        self._base = f"{monitor.url.rstrip('/')}/log"
        self._watches = monitor.watches
        self._state = state
        self._tell = tell
        self._note = ""  # the newest, as evidence

    def run(self, now: datetime) -> Round:
        state = self._state
        held = None if state.checkpoint is None else open_checkpoint(state.checkpoint, self._monitor.verifier)
        self._note, checkpoint = self._fetch_checkpoint(CHECKPOINT_PATH)
        reader = TileReader(self._read_path, checkpoint.size)
        try:
            if held is not None:
                self._check_extends(held, checkpoint, reader)
            seen = Round(checkpoint.origin, 0 if held is None else held.size, checkpoint.size)
            state.checkpoint = self._note
            self._start_over_for_new_watches()
            self._save()
            try:
                self._read_entries(checkpoint, reader, seen)
            finally:
                self._save()  # what was read stays read, whatever went wrong
            seen.newest_at = state.newest_at
            self._check_fresh(seen, checkpoint, reader, now)
        except VerificationError as error:  # a tile of the wrong size, an endless file
            raise self._wrong("damaged", str(error)) from error
        except NotFoundError as error:
            raise self._wrong("incomplete", f"the log lacks what its checkpoint needs ({error})") from error
        return seen

    def _wrong(self, kind: str, message: str, **files: bytes) -> _WrongError:
        named = {name.replace("_", "-"): data for name, data in files.items()}
        return _WrongError(kind, message, {"new-checkpoint": self._note.encode(), **named})

    def _fetch_checkpoint(self, path: str) -> tuple[str, Checkpoint]:
        url = f"{self._base}/{path}"
        data = b""
        try:
            data = self._monitor.downloads.read(url, MAX_NOTE_SIZE)
            return data.decode(errors="strict"), open_checkpoint(data, self._monitor.verifier)
        except (VerificationError, UnicodeDecodeError) as error:
            raise self._wrong("unsigned", f"{url}: {error}", new_checkpoint=data) from error

    def _check_extends(self, old: Checkpoint, new: Checkpoint, reader: TileReader) -> None:
        """The old checkpoint's tree is the beginning of the new one's."""
        if new.size < old.size:
            raise self._wrong(
                "shrunk",
                f"the log shows {new.size} entries, it had {old.size}: it was rolled back, or this is a stale copy",
            )
        if new.size == old.size and new.root != old.root:
            raise self._wrong(
                "forked",
                f"two roots were signed for {old.size} entries: the log shows different histories to different people, "
                "or was rewritten",
            )
        if 0 < old.size < new.size:
            theirs, proof = self._proved_subtree(old.size, new, reader)
            if theirs != old.root:
                raise self._wrong(
                    "forked",
                    f"the log of {new.size} entries does not extend that of {old.size}: it shows different histories "
                    "to different people, or was rewritten",
                    consistency_proof=proof,
                )

    def _proved_subtree(self, size: int, tree: Checkpoint, reader: TileReader) -> tuple[bytes, bytes]:
        """Root of the tree's first `size` leaves, proved by the tree's root; and the evidence, a hash a line.

        The root comes first, then the consistency proof: with it anybody can see that this is what the tree holds.
        """
        root, proof = reader.subtree(0, size), reader.consistency_proof(size)
        try:
            verify_consistency(size, root, tree.size, tree.root, proof)
        except VerificationError as error:
            raise self._wrong("damaged", f"the log's tiles do not lead to its checkpoint ({error})") from error
        return root, "".join(f"{to_base64(node)}\n" for node in [root, *proof]).encode()

    def _start_over_for_new_watches(self) -> None:
        """What is watched for the first time is looked for from the first entry on."""
        state = self._state
        new = self._watches.names - set(state.floors)
        state.floors |= dict.fromkeys(new, 0)
        if new and state.size:
            state.size, state.root = 0, EMPTY_ROOT
            state.claims.n_seen = {}

    def _read_entries(self, checkpoint: Checkpoint, reader: TileReader, seen: Round) -> None:
        state = self._state
        if 0 < state.size < checkpoint.size:
            root, _ = self._proved_subtree(state.size, checkpoint, reader)
            if root != state.root:
                raise self._wrong("damaged", f"the first {state.size} entries are not those that were read before")
        grower = TreeGrower.at(reader, state.size)
        first = state.size // TILE_WIDTH
        for index in range(first, -(-checkpoint.size // TILE_WIDTH)):
            self._read_bundle(index, reader, grower, seen)
            if (index + 1 - first) % SAVE_EVERY == 0:
                self._save()
        for tile, data in grower.partial():
            self._check_tile(tile, data, reader)
        if grower.root() != checkpoint.root:
            raise self._wrong(
                "damaged", f"the log's {checkpoint.size} entries do not give the root that was signed for them"
            )

    def _read_bundle(self, index: int, reader: TileReader, grower: TreeGrower, seen: Round) -> None:
        """Read a bundle from where the tree ends. The state moves only if all of it is good."""
        bundle = Tile(None, index, tile_width(0, index, reader.size))
        entries = reader.entries(index)
        hashes = [leaf_hash(entry) for entry in entries]
        leaf_tile = Tile(0, index, bundle.width)
        served = reader.tile_bytes(leaf_tile)
        n_held = len(grower.leaves)
        if hashes[:n_held] != grower.leaves or b"".join(hashes) != served:
            raise self._wrong(
                "damaged",
                f"the entries of {bundle.path} are not those of {leaf_tile.path}",
                bundle=format_bundle(entries),
                tile=served,
            )
        start = grower.size
        for hashed in hashes[n_held:]:
            for tile, data in grower.add(hashed):
                if tile.level:
                    self._check_tile(tile, data, reader)
        for offset, entry in enumerate(entries[n_held:]):
            self._read_entry(start + offset, entry, seen)
        seen.n_read += len(entries) - n_held
        state = self._state
        state.size, state.root = grower.size, grower.root()
        for name in self._watches.names:
            state.floors[name] = max(state.floors[name], state.size)

    def _read_entry(self, index: int, entry: bytes, seen: Round) -> None:
        try:
            leaf = parse_leaf(entry)
        except VerificationError:  # of a version newer than this program; in the log all the same
            seen.n_by_type["unknown"] += 1
            return
        kind, at = describe(leaf)
        seen.n_by_type[kind] += 1
        self._state.newest_at = max(at, self._state.newest_at or at)
        happened = self._state.claims.read(index, leaf, self._watches, self._state.floors)
        if happened is not None:
            self._tell(happened)

    def _check_tile(self, tile: Tile, data: bytes, reader: TileReader) -> None:
        """The served tile is the one that was computed."""
        served = reader.tile_bytes(tile)
        if served != data:
            raise self._wrong(
                "damaged", f"{tile.path} is not what the log's entries give", tile=served, tile_computed=data
            )

    def _read_path(self, path: str) -> bytes:
        limit = MAX_BUNDLE_BYTES if path.startswith("tile/entries/") else MAX_TILE_BYTES
        return self._monitor.downloads.read(f"{self._base}/{path}", limit)

    def _check_fresh(self, seen: Round, checkpoint: Checkpoint, reader: TileReader, now: datetime) -> None:
        policy, max_age = self._monitor.policy, self._monitor.max_age
        fresh_at, whose = seen.newest_at, "entry"
        if policy is not None:
            seen.witnessed = self._witnessed(policy, checkpoint, reader)
            fresh_at, whose = (
                (seen.witnessed.at if seen.witnessed.is_enough else None),
                "cosignature by enough witnesses",
            )
        if max_age is not None and (fresh_at is None or now - fresh_at > max_age):
            since = "there is none" if fresh_at is None else f"it is of {format_at(fresh_at)}"
            raise self._wrong(
                "stale",
                f"the log's newest {whose} is older than {max_age} ({since}): it stopped, or is kept from you",
            )

    def _witnessed(self, policy: WitnessPolicy, checkpoint: Checkpoint, reader: TileReader) -> Witnessed:
        """Of the newest checkpoint, or of the last one that the log keeps because enough witnesses signed it."""
        newest = policy.witnessed(self._note)
        if newest.is_enough:
            return newest
        try:
            kept, older = self._fetch_checkpoint(WITNESSED_PATH)
        except NotFoundError:
            return newest
        if older.size > checkpoint.size:
            raise self._wrong(
                "shrunk",
                f"witnesses signed {older.size} entries, the log shows {checkpoint.size}",
                witnessed_checkpoint=kept.encode(),
            )
        root, proof = checkpoint.root, b""
        if 0 < older.size < checkpoint.size:
            root, proof = self._proved_subtree(older.size, checkpoint, reader)
        if root != older.root and older.size:
            raise self._wrong(
                "forked",
                f"witnesses signed another history of the first {older.size} entries",
                witnessed_checkpoint=kept.encode(),
                consistency_proof=proof,
            )
        return policy.witnessed(kept)

    def _save(self) -> None:
        self._state.save(self._monitor.state_path)
