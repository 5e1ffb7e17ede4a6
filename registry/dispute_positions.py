"""Which subjects of a claim disputes are about, and what somebody's words for them stand for."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Final

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from heldout.errors import InputError
from heldout.fingerprints import MATCH_DISTANCE, PDQ_BYTES, distances
from heldout.leaves import HostRule, ImageDigest, LoggedSubject, PrefixRule, UrlDigest
from heldout.places import hosts_covering, prefixes_covering
from heldout.records import DisputeState, Subject
from heldout.states import EFFECTIVE
from registry.dispute_records import positions_of
from registry.subjects import read_subjects, require_usable
from registry.tables import DisputeRow, SubjectRow

_OPEN: Final[frozenset[DisputeState]] = frozenset({"open"})


def disputed_positions(session: Session, claim_id: str, *, states: Collection[DisputeState] = _OPEN) -> set[int]:
    """Subjects of a claim that its disputes in these states are about."""
    query = select(DisputeRow).where(DisputeRow.claim_id == claim_id, DisputeRow.state.in_(states))
    return {at for row in session.scalars(query) for at in positions_of(row)}


def disputable(session: Session, claim_id: str, given: Sequence[Subject] | None) -> list[int]:
    """Positions that a dispute names: subjects of the claim that count, all of them or those that are meant.

    A picture means every subject that it would match; an address that the claim does not hold, the place it is on.

    Raises:
        InputError: what is named is unusable or no part of the claim, or nothing of it counts.
    """
    rows = session.scalars(
        select(SubjectRow).where(SubjectRow.claim_id == claim_id).order_by(SubjectRow.position)
    ).all()
    meant = set(range(len(rows))) if given is None else _meant(claim_id, rows, given)
    positions = [row.position for row in rows if row.position in meant and row.state in EFFECTIVE]
    if not positions:
        raise InputError(f"nothing of what you name in claim {claim_id} is in force: there is nothing to dispute")
    return positions


def _meant(claim_id: str, rows: Sequence[SubjectRow], given: Sequence[Subject]) -> set[int]:
    reading = read_subjects(given)
    require_usable(reading)
    named: dict[tuple[str, object], list[int]] = defaultdict(list)
    for row in rows:
        named[row.kind, row.rule or row.digest].append(row.position)
    pictures = [row for row in rows if row.pdq is not None]
    hashes = np.frombuffer(b"".join(row.pdq or b"" for row in pictures), np.uint8).reshape(-1, PDQ_BYTES)
    meant: set[int] = set()
    for number, (subject, url) in enumerate(reading.subjects.items(), start=1):
        found: set[int] = set()
        if isinstance(subject, ImageDigest):
            near = distances(np.frombuffer(subject.pdq, np.uint8).reshape(1, -1), hashes)[0] <= MATCH_DISTANCE
            is_same_file = [subject.sha256 is not None and row.sha256 == subject.sha256 for row in pictures]
            found.update(pictures[at].position for at in np.flatnonzero(near | np.array(is_same_file, bool)))
        else:
            names = [_name(subject), *_places(subject, url)]
            found.update(next((named[name] for name in names if name in named), []))
        if not found:
            raise InputError(f"subject {number} is no part of claim {claim_id}: leave it out, or look at the claim")
        meant |= found
    return meant


def _name(subject: LoggedSubject) -> tuple[str, object]:
    """Kind and rule or digest, as rows have them."""
    match subject:
        case UrlDigest(key):
            return "url", key
        case PrefixRule(rule):
            return "prefix", rule
        case HostRule(rule):
            return "host", rule
        case ImageDigest(pdq):
            return "image", pdq


def _places(subject: LoggedSubject, url: str | None) -> list[tuple[str, object]]:
    """What an address stands for where a claim does not hold it itself: the narrowest place it is on."""
    if not isinstance(subject, UrlDigest) or url is None:
        return []
    narrow_first = reversed(prefixes_covering(url))
    return [*(("prefix", rule) for rule in narrow_first), *(("host", rule) for rule in hosts_covering(url))]
