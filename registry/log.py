"""The sequencer: gives events their place in the log and moves the checkpoint over them.

Order of one run, each step durable before the next: log indices in the database; tiles and entry bundles; the root in
the database (a size is never signed with two roots); the checkpoint, by compare-and-swap. Tiles follow from the
indices alone, so a run that died anywhere is finished by the next one with the same bytes, and two sequencers at once
write the same files and one of them moves the checkpoint. Format: C2SP tlog-tiles, docs/formats/log.md.
"""

import logging
import threading
from collections.abc import Mapping, Sequence

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from heldout.checkpoint import Checkpoint, Signer, open_checkpoint, sign_checkpoint
from heldout.errors import ConflictError, NotFoundError, UnavailableError, VerificationError
from heldout.layout import TILE_WIDTH, WITNESSED_PATH, Tile, iter_new_bundles, iter_new_tiles, tile_width
from heldout.merkle import EMPTY_ROOT, leaf_hash, root_of
from heldout.tiles import TileReader, format_bundle
from registry.db import Sessions, transaction
from registry.storage import CheckpointStore, ObjectStore
from registry.tables import CheckpointRow, EventRow, SequencerRow

BATCH_SIZE = 4096
"""Entries sequenced under one checkpoint; some 200 MB of memory if every one is as large as can be."""
_ATTEMPTS = 10

logger = logging.getLogger(__name__)


class Sequencer:
    """Appends pending events to the log. Safe to run twice at once; the second waits or finds nothing to do."""

    def __init__(self, sessions: Sessions, store: ObjectStore, checkpoints: CheckpointStore, signer: Signer) -> None:
        self._sessions = sessions
        self._store = store
        self._checkpoints = checkpoints
        self._signer = signer
        self._lock = threading.Lock()  # threads of one process need not race for the checkpoint

    def sequence(self) -> Checkpoint:
        """Sequence everything that was pending on entry, and return the checkpoint that covers it.

        Makes the checkpoint of the empty log if there is none yet. Idempotent.

        Raises:
            VerificationError: the checkpoint is of another key, or database and files are not of one history (one of
                them was restored from a backup or edited). Nothing is signed.
            UnavailableError: the disk failed; run it again.
        """
        with self._lock:
            for _ in range(_ATTEMPTS):
                try:
                    checkpoint = self._step()
                    while self._has_work(checkpoint):
                        checkpoint = self._step()
                except ConflictError as error:  # another sequencer moved the checkpoint: continue from there
                    logger.info("sequencer_retries", extra={"reason": str(error)})
                else:
                    return checkpoint
        raise UnavailableError(f"other sequencers moved the checkpoint {_ATTEMPTS} times meanwhile: run it again")

    def reader(self) -> tuple[str, TileReader]:
        """The published checkpoint's note, and the tree under it.

        Raises:
            NotFoundError: nothing was sequenced yet.
            VerificationError: another key signed it.
        """
        note = self._checkpoints.load()
        if note is None:
            raise NotFoundError("the log has no checkpoint yet: run python -m registry sequence")
        checkpoint = open_checkpoint(note, self._signer.verifier)
        return note.decode(), TileReader(self._store.read, checkpoint.size)

    def tree(self, size: int) -> TileReader:
        """The tree of so many entries, of which a checkpoint was published."""
        return TileReader(self._store.read, size)

    def replace_signatures(self, note: str, cosigned: str) -> None:
        """Publish the same checkpoint with witnesses' signatures under it.

        Raises:
            VerificationError: `cosigned` is another checkpoint, or another key's.
            ConflictError: the published note is not `note` any more.
        """
        old, new = (open_checkpoint(text, self._signer.verifier) for text in (note, cosigned))
        if old != new:
            raise VerificationError(f"a cosigned checkpoint of {new.size} entries cannot replace one of {old.size}")
        self._checkpoints.compare_and_swap(note.encode(), cosigned.encode())

    def keep_witnessed(self, cosigned: str) -> None:
        """Keep a checkpoint that enough witnesses signed beside the newest, which soon outgrows it."""
        open_checkpoint(cosigned, self._signer.verifier)
        self._store.replace(WITNESSED_PATH, cosigned.encode())

    def witnessed_reader(self, size: int) -> tuple[str, TileReader]:
        """As `reader`, but the last checkpoint that enough witnesses signed, if it has `size` entries or more.

        Raises:
            NotFoundError, VerificationError: as `reader`.
        """
        try:
            note = self._store.read(WITNESSED_PATH)
            witnessed = open_checkpoint(note, self._signer.verifier)
        except NotFoundError:
            return self.reader()
        return (
            (note.decode(), TileReader(self._store.read, witnessed.size)) if witnessed.size >= size else self.reader()
        )

    def _has_work(self, checkpoint: Checkpoint) -> bool:
        with transaction(self._sessions) as session:
            is_pending = select(EventRow.id).where(EventRow.log_index.is_(None)).limit(1)
            next_index = session.scalars(select(SequencerRow.next_index)).one()
            return next_index > checkpoint.size or session.scalar(is_pending) is not None

    def _step(self) -> Checkpoint:
        note = self._checkpoints.load()
        if note is None:
            return self._start()
        old = open_checkpoint(note, self._signer.verifier)
        first = old.size // TILE_WIDTH * TILE_WIDTH  # entries of the partial bundle are written again, wider
        with transaction(self._sessions) as session:
            size = _assign_indices(session, old.size)
            entries = _entries(session, first, size)
        if size == old.size:
            return old
        self._verify_same_history(old, entries[: old.size - first])
        tiles = _build_tiles(TileReader(self._store.read, old.size), old.size, size, entries, first)
        for path, data in tiles.items():
            self._store.write(path, data)
        new = Checkpoint(old.origin, size, _root(self._store, tiles, size))
        with transaction(self._sessions) as session:
            _remember_root(session, new)
        self._checkpoints.compare_and_swap(note, sign_checkpoint(new, self._signer).encode())
        self._drop_partial_tiles(old.size, size)
        logger.info("log_sequenced", extra={"size": size, "n_new": size - old.size})
        return new

    def _start(self) -> Checkpoint:
        """Publish the empty log, of which nothing is recorded: any record means that there was a checkpoint."""
        with transaction(self._sessions) as session:
            if session.scalar(select(CheckpointRow.size).limit(1)) is not None:
                raise VerificationError(
                    "the database knows signed checkpoints, the log's folder has none: restore the folder, "
                    "or the log would be rewritten"
                )
        empty = Checkpoint(self._signer.name, 0, EMPTY_ROOT)
        self._checkpoints.compare_and_swap(None, sign_checkpoint(empty, self._signer).encode())
        return empty

    def _verify_same_history(self, old: Checkpoint, entries: Sequence[bytes]) -> None:
        """The files give the signed root, and the database has the same last entries."""
        reader = TileReader(self._store.read, old.size)
        try:
            is_whole = reader.root() == old.root
            first = old.size - len(entries)
            hashes = [reader.leaf_hash(first + i) for i in range(len(entries))]
        except NotFoundError as error:
            raise VerificationError(f"the log's folder lacks a tile of its checkpoint ({error}): restore it") from error
        if not is_whole:
            raise VerificationError(f"the log's tiles do not give the root signed for {old.size} entries: restore them")
        if hashes != [leaf_hash(entry) for entry in entries]:
            raise VerificationError(
                f"the database's entries before {old.size} are not the log's: one of them was restored or edited"
            )

    def _drop_partial_tiles(self, old_size: int, size: int) -> None:
        """Partial tiles whose full one is there now may go (tlog-tiles, "Partial Tiles"); readers fall back to that.

        Only the tiles in which the old tree ended can have partial ones.
        """
        for tile in [*iter_new_tiles(old_size, size), *iter_new_bundles(old_size, size)]:
            if tile.width == TILE_WIDTH and tile_width(tile.level or 0, tile.index, old_size) > 0:
                for width in range(1, TILE_WIDTH):
                    self._store.discard(Tile(tile.level, tile.index, width).path)


def _assign_indices(session: Session, published_size: int) -> int:
    """Give pending events the next indices, in the order of their ids; the size the log then has."""
    next_index = session.scalars(select(SequencerRow.next_index).with_for_update()).one()
    if next_index < published_size:
        raise VerificationError(
            f"the published log has {published_size} entries, the database {next_index}: "
            "it was restored from an old backup; use the newest"
        )
    pending = session.scalars(
        select(EventRow.id).where(EventRow.log_index.is_(None)).order_by(EventRow.id).limit(BATCH_SIZE)
    ).all()
    if next_index == published_size and pending:  # else first finish the run that died
        session.execute(
            update(EventRow), [{"id": event, "log_index": next_index + i} for i, event in enumerate(pending)]
        )
        next_index += len(pending)
        session.execute(update(SequencerRow).values(next_index=next_index))
    return next_index


def _entries(session: Session, start: int, end: int) -> list[bytes]:
    rows = session.execute(
        select(EventRow.log_index, EventRow.payload)
        .where(EventRow.log_index >= start, EventRow.log_index < end)
        .order_by(EventRow.log_index)
    ).all()
    if [index for index, _ in rows] != list(range(start, end)):
        raise VerificationError(f"the database lacks some of the log's entries {start} to {end}: use the right one")
    return [payload for _, payload in rows]


def _build_tiles(
    reader: TileReader, old_size: int, size: int, entries: Sequence[bytes], first: int
) -> dict[str, bytes]:
    """Bundles and tiles that a log of `size` has and one of `old_size` had not; `entries` start at `first`."""
    made = {
        bundle.path: format_bundle(entries[bundle.index * TILE_WIDTH - first :][: bundle.width])
        for bundle in iter_new_bundles(old_size, size)
    }
    added = {0: [leaf_hash(entry) for entry in entries[old_size - first :]]}  # by level: hashes the old size had not
    for tile in iter_new_tiles(old_size, size):
        level = tile.level or 0
        n_old = old_size >> (8 * level)
        start = tile.index * TILE_WIDTH
        kept = reader.tile(level, tile.index)[: n_old - start] if start < n_old else []
        new_start = max(0, start - n_old)
        hashes = kept + added[level][new_start : new_start + tile.width - len(kept)]
        made[tile.path] = b"".join(hashes)
        if tile.width == TILE_WIDTH:
            added.setdefault(level + 1, []).append(root_of(hashes))
    return made


def _root(store: ObjectStore, tiles: Mapping[str, bytes], size: int) -> bytes:
    return TileReader(lambda path: tiles[path] if path in tiles else store.read(path), size).root()


def _remember_root(session: Session, checkpoint: Checkpoint) -> None:
    """Record a root before it is signed, once per size."""
    session.scalars(select(SequencerRow.next_index).with_for_update()).one()  # one sequencer at a time
    row = session.get(CheckpointRow, checkpoint.size)
    if row is None:
        session.add(CheckpointRow(size=checkpoint.size, root=checkpoint.root))
        session.flush()
    elif row.root != checkpoint.root:
        raise VerificationError(
            f"another root was signed for {checkpoint.size} entries before: the database was edited or restored; "
            "signing this one would show two logs"
        )
