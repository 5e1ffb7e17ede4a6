"""The people of a dispute: a claimant without an account, and accounts that dispute and review."""

from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy import select

from heldout.leaves import parse_leaf
from heldout.records import Claim, Dispute, DisputeRequest, Subject
from heldout.replay import replay
from registry.db import transaction
from registry.service import Registry
from registry.tables import EventRow, SubjectRow
from tests.registry.builders import image, request, tables, url

STATEMENT = "I painted this in 2019 and published it under my own name."
ANSWER = "She licensed it to me, and the contract says that I decide."
REASON = "The contract that was shown covers it."


def account(registry: Registry, email: str) -> str:
    """An account of this address."""
    token = registry.accounts.link_token(email, client=bytes(32), next_path="/")
    assert token is not None
    return registry.accounts.use_link(token).account_id


def claimed(registry: Registry, *subjects: Subject, **fields: object) -> Claim:
    """A claim of two addresses and a picture, unless other subjects are given."""
    return registry.submit(request(*(subjects or (url("a"), url("b"), image("c"))), **fields))


def disputed(
    registry: Registry, claim: Claim, by: str, *, subjects: Sequence[Subject] | None = None, **options: object
) -> Dispute:
    """A dispute about a claim, or about some of it."""
    wanted = DisputeRequest(claim=claim.id, basis="mine", statement=STATEMENT, subjects=subjects and list(subjects))
    return registry.disputing.file(wanted, by, **options)  # type: ignore[arg-type]


def states(registry: Registry, claim: Claim) -> list[str]:
    """State of each of a claim's subjects."""
    with transaction(registry._sessions) as session:
        query = select(SubjectRow.state).where(SubjectRow.claim_id == claim.id).order_by(SubjectRow.position)
        return list(session.scalars(query))


def codes(registry: Registry, claim: Claim) -> list[str]:
    """Reason codes of what happened to a claim, in order."""
    with transaction(registry._sessions) as session:
        query = select(EventRow.payload).where(EventRow.claim_id == claim.id).order_by(EventRow.id)
        leaves = [parse_leaf(payload) for payload in session.scalars(query)]
    return [leaf.reason for leaf in leaves if hasattr(leaf, "reason")]


def check_replay(registry: Registry) -> None:
    """The tables are what the events amount to."""
    with transaction(registry._sessions) as session:
        payloads = session.scalars(select(EventRow.payload).order_by(EventRow.id))
        assert replay(map(parse_leaf, payloads)) == tables(session)


def at(year: int, month: int, day: int) -> datetime:
    """Noon of a day."""
    return datetime(year, month, day, 12, tzinfo=UTC)
