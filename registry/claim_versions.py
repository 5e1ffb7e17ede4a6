"""In which versions of the exclusion list a claim is, as the log tells. Takes a Session; reads only."""

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from heldout.errors import HeldoutError
from heldout.leaves import ListLeaf, parse_leaf
from registry.tables import EventRow
from registry.versions import LoggedVersion

_LOOKED_AT = 5
"""Versions whose manifest is asked: one that was being made while the claim came in may lack it, the next has it."""

SizeOf = Callable[[bytes], int | None]
"""Size of the log that a version was made from, by the SHA-256 of its manifest; None where the manifest is gone."""


@dataclass(frozen=True)
class InLists:
    """Versions from `first` to `last`, both included."""

    first: LoggedVersion
    last: LoggedVersion


def versions_of(session: Session, claim_id: str, size_of: SizeOf) -> InLists | None:
    """The versions made since a claim was in the log and until it was taken back; None before the first of them."""
    kinds = dict(
        session.execute(
            select(EventRow.kind, func.max(EventRow.log_index))
            .where(EventRow.claim_id == claim_id)
            .group_by(EventRow.kind)
        ).all()
    )
    made, ended = kinds.get("opt-out"), kinds.get("withdraw")
    if made is None:
        return None
    listed = select(EventRow.payload).where(EventRow.kind == "list", EventRow.log_index > made)
    if ended is not None:
        listed = listed.where(EventRow.log_index < ended)
    oldest = session.scalars(listed.order_by(EventRow.log_index).limit(_LOOKED_AT))
    first = next((each for each in map(_version, oldest) if each is not None and _has(each, made, size_of)), None)
    newest = next(map(_version, session.scalars(listed.order_by(EventRow.log_index.desc()).limit(1))), None)
    return None if first is None or newest is None else InLists(first, newest)


def _has(version: LoggedVersion, log_index: int, size_of: SizeOf) -> bool:
    size = size_of(version.manifest_sha256)
    return size is None or size > log_index


def _version(payload: bytes) -> LoggedVersion | None:
    try:
        leaf = parse_leaf(payload)
    except HeldoutError:
        return None
    return LoggedVersion(leaf.version, leaf.manifest_sha256, leaf.at) if isinstance(leaf, ListLeaf) else None
