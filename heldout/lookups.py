"""Answers to single questions from a list in memory: which rule, how well proved, since when.

Of several rules the first in the order of `heldout.filtering_decision.KINDS` is told, as in a filter's report.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from heldout.errors import InputError
from heldout.exclusion import ExclusionList, Kind, Matches, Rules
from heldout.filtering_decision import KINDS
from heldout.fingerprints import N_ORIENTATIONS, PDQ_BYTES
from heldout.leaves import format_at
from heldout.lookup_records import ListFacts, ListRule, Lookup, LookupRequest, LookupResult, PictureMark
from heldout.records import ASSURANCES
from heldout.stored import StoredVersion
from heldout.urls import canonical_key

_PLACES: Final = ("prefix", "host")
"""Kinds of rule that have a name: the name of their table, and of its column."""


def look_up(exclusions: ExclusionList, request: LookupRequest) -> LookupResult:
    """Answer from a list."""
    return LookupResult(
        exclusion_list=list_facts(exclusions.version), **answers(exclusions, exclusions.grants, request)
    )


def answers(exclusions: Rules, grants: Rules, request: LookupRequest) -> dict[str, list[Lookup]]:
    """The answers to each kind of question, by the names of `LookupResult`."""
    least = ASSURANCES.index(request.min_assurance)
    told: dict[str, list[Lookup]] = {}
    if request.urls:
        excluding = exclusions.lookup_urls(request.urls)
        told["urls"] = _told(
            _first_rules(exclusions, excluding, len(request.urls), least),
            _first_rules(grants, grants.lookup_urls(request.urls), len(request.urls), least),
        )
        for row in np.flatnonzero(excluding["url"].unreadable).tolist():
            told["urls"][row] = Lookup(is_opted_out=False, problem=_why_unreadable(request.urls[row]))
    if request.sha256:
        digests = [bytes.fromhex(text) for text in request.sha256]
        told["sha256"] = _told(
            *(
                _first_rules(rules, {"sha256": rules.lookup_sha256(digests)}, len(digests), least)
                for rules in (exclusions, grants)
            )
        )
    if request.pdq:
        told["pdq"] = _told(
            *(
                _first_rules(rules, {"pdq": _lookup_pdq(rules, request.pdq)}, len(request.pdq), least)
                for rules in (exclusions, grants)
            )
        )
    return told


def list_facts(version: StoredVersion) -> ListFacts:
    """What is told of the list that answers."""
    manifest = version.manifest
    return ListFacts(
        version=manifest.version,
        manifest_sha256=version.manifest_sha256.hex(),
        as_of=None if manifest.as_of is None else format_at(manifest.as_of),
        log_size=manifest.log.size,
    )


def _first_rules(rules: Rules, found: Mapping[Kind, Matches], n: int, least: int) -> list[ListRule | None]:
    told: list[ListRule | None] = [None] * n
    for kind in KINDS:
        if kind not in found:
            continue
        matches = found[kind]
        for row in np.flatnonzero(matches.found & (matches.assurance >= least)).tolist():
            told[row] = told[row] or ListRule(
                kind=kind,
                assurance=ASSURANCES[matches.assurance[row]],
                since=matches.since_date(row),
                place=rules.tables[kind][kind][int(matches.rule[row])].as_py() if kind in _PLACES else None,
            )
    return told


def _told(excluding: Sequence[ListRule | None], granting: Sequence[ListRule | None]) -> list[Lookup]:
    return [
        Lookup(is_opted_out=rule is not None, rule=rule, is_granted=grant is not None)
        for rule, grant in zip(excluding, granting, strict=True)
    ]


def _lookup_pdq(rules: Rules, marks: Sequence[PictureMark]) -> Matches:
    """Those with fewer orientations are asked with their first one repeated, which changes nothing."""
    hashes = b"".join(
        bytes.fromhex("".join(mark.pdq) + mark.pdq[0] * (N_ORIENTATIONS - len(mark.pdq))) for mark in marks
    )
    pdq = np.frombuffer(hashes, np.uint8).reshape(len(marks), N_ORIENTATIONS, PDQ_BYTES)
    return rules.lookup_pdq(pdq, np.array([mark.quality for mark in marks], np.uint8))


def _why_unreadable(url: str) -> str:
    try:
        canonical_key(url)
    except InputError as error:
        return str(error)
    return "it cannot be looked up"
