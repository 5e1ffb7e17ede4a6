"""Which samples are opted out, by which claims: for showing beside search results. Reads the tables, so it is current.

A picture is compared by its upright PDQ alone, all a sample has; `heldout filter`, which has the pixels, also finds
rotated and mirrored copies.
"""

import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

import numpy as np
import numpy.typing as npt
from sqlalchemy import ColumnElement, Row, func, select
from sqlalchemy.orm import Session

from heldout.errors import InputError
from heldout.fingerprints import MATCH_DISTANCE, MIN_QUALITY, PDQ_BYTES, distances
from heldout.places import hosts_covering, prefixes_covering
from heldout.records import Sample
from heldout.states import EFFECTIVE
from heldout.urls import canonical_key, key_digest
from registry.claims import rule_digest
from registry.db import Sessions, transaction
from registry.tables import ClaimRow, EventRow, SequencerRow, SubjectRow

_IN_CLAUSE = 500
"""Values per query; well under SQLite's and PostgreSQL's limits on parameters."""

Way = Literal["url", "prefix", "host", "sha256", "pdq"]


@dataclass(frozen=True)
class Coverage:
    """The claims with `train-ai=n` that cover a sample by a subject that counts."""

    claims: tuple[str, ...]
    """Claim ids, oldest first."""
    since: datetime
    """When the oldest was received."""
    ways: frozenset[Way]
    """How they cover it."""


@dataclass
class _Found:
    claims: dict[str, datetime] = field(default_factory=dict)
    ways: set[Way] = field(default_factory=set)


@dataclass(frozen=True)
class _Pictures:
    """PDQ hashes of the claims in force, as of so many events."""

    n_events: int
    """Every commit that changes a claim raises it. The highest id would not do: ids are not in the order of commits."""
    pdq: npt.NDArray[np.uint8]
    """(n, 32) uint8."""
    claims: list[tuple[str, datetime]]


class CoverageIndex:
    """Answers for batches of samples. Thread-safe; keeps the claims' PDQ hashes in memory until the next event."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._lock = threading.Lock()
        self._pictures = _Pictures(-1, np.empty((0, PDQ_BYTES), np.uint8), [])

    def covering(self, samples: Sequence[Sample]) -> list[Coverage | None]:
        """For each sample, the claims that cover it, or None."""
        found: dict[int, _Found] = defaultdict(_Found)
        keys = [_key(sample.url) for sample in samples]
        self._by_digest(found, "url", [[] if key is None else [key_digest(key)] for key in keys])
        ways: list[tuple[Way, Callable[[str], list[str]]]] = [("host", hosts_covering), ("prefix", prefixes_covering)]
        for way, places_covering in ways:
            rules = [[] if key is None else places_covering(key) for key in keys]
            self._by_digest(found, way, [[rule_digest(rule) for rule in of_one] for of_one in rules])
        sha256s = [[] if sample.sha256 is None else [bytes.fromhex(sample.sha256)] for sample in samples]
        self._by_digest(found, "sha256", sha256s)
        self._by_pdq(found, samples)
        return [_coverage(found[position]) if position in found else None for position in range(len(samples))]

    def _by_digest(self, found: dict[int, _Found], way: Way, values: list[list[bytes]]) -> None:
        """Note the claims that have one of a sample's values, each sample's at its position."""
        column = SubjectRow.sha256 if way == "sha256" else SubjectRow.digest
        positions: dict[bytes, list[int]] = defaultdict(list)
        for position, of_one in enumerate(values):
            for value in of_one:
                positions[value].append(position)
        wanted = list(positions)
        with transaction(self._sessions) as session:
            for start in range(0, len(wanted), _IN_CLAUSE):
                query = (
                    select(column, ClaimRow.id, ClaimRow.received_at)
                    .join(ClaimRow, ClaimRow.id == SubjectRow.claim_id)
                    .where(column.in_(wanted[start : start + _IN_CLAUSE]), *_opted_out())
                )
                if way != "sha256":
                    query = query.where(SubjectRow.kind == way)
                for digest, claim, received_at in session.execute(query):
                    for position in positions[digest or b""]:
                        _add(found[position], way, [(claim, received_at)])

    def _by_pdq(self, found: dict[int, _Found], samples: Sequence[Sample]) -> None:
        pictures = self._current_pictures()
        usable = [
            (position, bytes.fromhex(sample.pdq))
            for position, sample in enumerate(samples)
            if sample.pdq is not None and (sample.pdq_quality or 0) >= MIN_QUALITY
        ]
        if not usable or not pictures.claims:
            return
        queries = np.frombuffer(b"".join(pdq for _, pdq in usable), np.uint8).reshape(-1, PDQ_BYTES)
        for (position, _), row in zip(usable, distances(queries, pictures.pdq), strict=True):
            near = np.flatnonzero(row <= MATCH_DISTANCE)
            if len(near):
                _add(found[position], "pdq", [pictures.claims[i] for i in near])

    def _current_pictures(self) -> _Pictures:
        with transaction(self._sessions) as session:
            n_events = _count_events(session)
            held = self._pictures
            if n_events == held.n_events:
                return held
            query = (
                select(SubjectRow.pdq, ClaimRow.id, ClaimRow.received_at)
                .join(ClaimRow, ClaimRow.id == SubjectRow.claim_id)
                .where(SubjectRow.pdq.is_not(None), SubjectRow.quality >= MIN_QUALITY, *_opted_out())
                .order_by(SubjectRow.id)
            )
            rows: list[Row[tuple[bytes | None, str, datetime]]] = list(session.execute(query))
        pdq = np.frombuffer(b"".join(row.pdq or b"" for row in rows), np.uint8).reshape(-1, PDQ_BYTES)
        pictures = _Pictures(n_events, pdq, [(row.id, row.received_at) for row in rows])
        with self._lock:
            if pictures.n_events > self._pictures.n_events:
                self._pictures = pictures
        return pictures


def _count_events(session: Session) -> int:
    """How many events are committed. Those in the log need no counting; one statement, so one state of the database."""
    pending = select(func.count()).where(EventRow.log_index.is_(None)).select_from(EventRow).scalar_subquery()
    return session.scalars(select(SequencerRow.next_index + pending)).one()


def _opted_out() -> list[ColumnElement[bool]]:
    return [SubjectRow.state.in_(EFFECTIVE), ClaimRow.preference == "train-ai=n"]


def _key(url: str | None) -> str | None:
    """None for what is no URL: data sets hold all sorts."""
    try:
        return None if url is None else canonical_key(url)
    except InputError:
        return None


def _add(found: _Found, way: Way, claims: Iterable[tuple[str, datetime]]) -> None:
    found.claims.update(claims)
    found.ways.add(way)


def _coverage(found: _Found) -> Coverage:
    oldest_first = sorted(found.claims, key=lambda claim: (found.claims[claim], claim))
    return Coverage(tuple(oldest_first), found.claims[oldest_first[0]], frozenset(found.ways))
