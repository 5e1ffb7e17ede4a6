"""An empty database filled from the public log: events, claims, subjects and lists as the log tells them.

For the day the database is lost and the log is not. What the log never held is gone: names, contacts, accounts and the
text of addresses; each claim is of an unknown claimant (`artist`, the commonest, stands for it).
"""

import json
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import insert, select, update
from sqlalchemy.orm import Session

from heldout.checkpoint import Verifier, open_checkpoint
from heldout.errors import ConflictError, NotFoundError, VerificationError
from heldout.leaves import parse_leaf
from heldout.merkle import leaf_hash
from heldout.replay import LogState, replay
from heldout.tiles import TileReader, TreeGrower
from registry.claims import subject_columns
from registry.db import Sessions, transaction
from registry.storage import CheckpointStore, ObjectStore
from registry.tables import CheckpointRow, ClaimantRow, ClaimRow, EventRow, ListRow, SequencerRow, SubjectRow

ROWS_PER_STATEMENT = 5_000

_T = TypeVar("_T")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rebuilt:
    """What was put into the database."""

    n_events: int
    n_claims: int
    n_lists: int


def rebuild(sessions: Sessions, store: ObjectStore, checkpoints: CheckpointStore, verifier: Verifier) -> Rebuilt:
    """Fill an empty, migrated database from the log's files; all of it or nothing.

    Raises:
        ConflictError: the database is not empty.
        NotFoundError: there is no log, or it lacks a bundle.
        VerificationError: the files are not those that the log's key signed for, or make no history.
    """
    note = checkpoints.load()
    if note is None:
        raise NotFoundError("the log's folder has no checkpoint: restore the folder first")
    checkpoint = open_checkpoint(note, verifier)
    reader = TileReader(store.read, checkpoint.size)
    with transaction(sessions) as session:
        if any(session.scalar(select(table).limit(1)) for table in (EventRow.id, ClaimRow.id, CheckpointRow.size)):
            raise ConflictError("the database is not empty: give a new one, after python -m registry migrate")
        grower = TreeGrower()
        state = replay(map(parse_leaf, _grown(reader, grower)))
        if grower.root() != checkpoint.root:
            raise VerificationError(
                f"the log's bundles do not give the root that was signed for {checkpoint.size} entries: restore them"
            )
        _insert_claims(session, state)
        _insert(session, EventRow, _event_rows(reader))
        session.add(CheckpointRow(size=checkpoint.size, root=checkpoint.root))
        session.execute(update(SequencerRow).values(next_index=checkpoint.size))
    logger.info("database_rebuilt", extra={"size": checkpoint.size, "n_claims": len(state.claims)})
    return Rebuilt(checkpoint.size, len(state.claims), len(state.lists))


def _grown(reader: TileReader, grower: TreeGrower) -> Iterator[bytes]:
    """The log's entries, from which the tree grows on the way."""
    for entry in reader.iter_entries():
        grower.add(leaf_hash(entry))
        yield entry


def _insert_claims(session: Session, state: LogState) -> None:
    _insert(
        session,
        ClaimRow,
        (
            {
                "id": claim_id,
                "state": claim.state,
                "preference": claim.preference,
                "assurance": claim.assurance,
                "received_at": claim.received_at,
            }
            for claim_id, claim in state.claims.items()
        ),
    )
    _insert(session, ClaimantRow, ({"claim_id": claim_id, "acting_as": "artist"} for claim_id in state.claims))
    _insert(
        session,
        SubjectRow,
        (
            {"claim_id": claim_id, "position": position, "state": subject_state, "assurance": assurance}
            | subject_columns(subject, None)
            for claim_id, claim in state.claims.items()
            for position, (subject, subject_state, assurance) in enumerate(
                zip(claim.subjects, claim.states, claim.assurances, strict=True)
            )
        ),
    )
    _insert(
        session,
        ListRow,
        (
            {"version": version, "manifest_sha256": leaf.manifest_sha256, "published_at": leaf.at}
            for version, leaf in state.lists.items()
        ),
    )


def _event_rows(reader: TileReader) -> Iterator[dict[str, Any]]:
    """Read again, so that not all are held at once; they were parsed and found to be the log's above."""
    for index, payload in enumerate(reader.iter_entries()):
        fields = json.loads(payload)
        yield {"kind": fields["type"], "claim_id": fields.get("claim"), "payload": payload, "log_index": index}


def _insert(session: Session, table: type[Any], rows: Iterable[dict[str, Any]]) -> None:
    for part in _batches(rows):
        session.execute(insert(table), part)


def _batches(rows: Iterable[_T]) -> Iterator[list[_T]]:
    iterator = iter(rows)
    while part := list(islice(iterator, ROWS_PER_STATEMENT)):
        yield part
