"""In which versions of the exclusion list a claim is, as the log tells. Takes a Session; reads only."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from heldout.errors import HeldoutError
from heldout.leaves import Leaf, ListLeaf, OptOutLeaf, StateLeaf, WithdrawLeaf, kind_of, parse_leaf
from heldout.states import EFFECTIVE, first_state
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
    is_whole: bool
    """Whether all of the claim was in each of them; else a part of it was, such as its pictures without its site."""
    is_open: bool
    """Whether the versions to come have it too."""


@dataclass(frozen=True)
class _Span:
    """Of the log, from the entry that made something of a claim count to the one that ended it (None: it counts)."""

    start: int
    end: int | None
    is_whole: bool


def versions_of(session: Session, claim_id: str, size_of: SizeOf) -> InLists | None:
    """The versions since something of a claim has counted, or from when it last did; None before the first of them.

    What waits for proof, is held for review or was rejected counts in no version.
    """
    events = session.execute(
        select(EventRow.log_index, EventRow.payload).where(EventRow.claim_id == claim_id).order_by(EventRow.log_index)
    )
    span = _last_span((log_index, parse_leaf(payload)) for log_index, payload in events if log_index is not None)
    if span is None:
        return None
    listed = select(EventRow.payload).where(EventRow.kind == "list", EventRow.log_index > span.start)
    if span.end is not None:
        listed = listed.where(EventRow.log_index < span.end)
    oldest = session.scalars(listed.order_by(EventRow.log_index).limit(_LOOKED_AT))
    first = next((each for each in map(_version, oldest) if each is not None and _has(each, span.start, size_of)), None)
    newest = next(map(_version, session.scalars(listed.order_by(EventRow.log_index.desc()).limit(1))), None)
    return None if first is None or newest is None else InLists(first, newest, span.is_whole, span.end is None)


def _last_span(events: Iterable[tuple[int, Leaf]]) -> _Span | None:
    span: _Span | None = None
    counts: list[bool] = []
    for log_index, leaf in events:
        before = counts.copy()
        match leaf:
            case OptOutLeaf():
                counts += [first_state(kind_of(subject), leaf.assurance) in EFFECTIVE for subject in leaf.subjects]
                if leaf.part < leaf.n_parts:
                    continue
                before = []
            case StateLeaf():
                for position in range(len(counts)) if leaf.positions is None else leaf.positions:
                    counts[position] = leaf.state in EFFECTIVE
            case WithdrawLeaf():
                counts = [False] * len(counts)
        if counts == before:
            continue
        if not any(counts):
            span = span and _Span(span.start, log_index, span.is_whole)
        elif any(before):
            span = span and _Span(span.start, None, is_whole=False)
        else:
            span = _Span(log_index, None, all(counts))
    return span


def _has(version: LoggedVersion, log_index: int, size_of: SizeOf) -> bool:
    size = size_of(version.manifest_sha256)
    return size is None or size > log_index


def _version(payload: bytes) -> LoggedVersion | None:
    try:
        leaf = parse_leaf(payload)
    except HeldoutError:
        return None
    return LoggedVersion(leaf.version, leaf.manifest_sha256, leaf.at) if isinstance(leaf, ListLeaf) else None
