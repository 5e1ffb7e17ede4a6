"""A new claim let in: stored, and held for review as far as it is too much at once or nobody's own work.

Takes a Session whose transaction the caller opened. Being held is an event like any other; a claim is never lost here.
"""

from collections.abc import Callable
from datetime import datetime

from sqlalchemy.orm import Session

from heldout.records import Claim, ClaimRequest
from registry.claims import get_claim, new_claim_id, submit
from registry.disputes import in_states
from registry.idempotency import earlier_claim
from registry.limits import Limits, check_claim
from registry.quarantine import held_at_claim
from registry.transitions import change_state


def admit(
    session: Session,
    request: ClaimRequest,
    *,
    now: datetime,
    limits: Limits,
    idempotency_key: str | None = None,
    account_id: str | None = None,
    client: bytes | None = None,
    new_id: Callable[[], str] = new_claim_id,
) -> Claim:
    """Store a claim. Works in it that exceed a limit, and fingerprints that are nobody's, are quarantined.

    Places wait for proof anyway, and proof lifts what a limit has held.

    Args:
        session: in a transaction.
        request: what is claimed.
        now: goes into the log.
        limits: of a day.
        idempotency_key: sent again with the same request, it gives the first claim, and nothing is counted.
        account_id: whose claim it is to be.
        client: keyed digest of the network address; None: not counted, as for the operator.
        new_id: makes ids.

    Raises:
        TooOftenError: as `registry.limits.check_claim`.
        InputError, ConflictError, AccessError: as `registry.claims.submit`.
    """
    if idempotency_key is not None:
        earlier = earlier_claim(session, request, idempotency_key, account_id)
        if earlier is not None:
            return get_claim(session, earlier)
    claim_id = new_id()
    claim = submit(
        session,
        request,
        now=now,
        idempotency_key=idempotency_key,
        account_id=account_id,
        new_id=lambda: claim_id,
    )
    if claim.id != claim_id:  # somebody was faster with this key
        return claim
    verdict = check_claim(
        session, account_id=account_id, client=client, n_subjects=claim.n_subjects, now=now, limits=limits
    )
    for reason, positions in held_at_claim(session, claim_id).items():
        change_state(session, claim_id, "quarantined", reason=reason, now=now, positions=positions)
    if verdict == "held":
        works = in_states(session, claim_id, {"in_force"})
        if works:
            change_state(session, claim_id, "quarantined", reason="over-limit", now=now, positions=works)
    return get_claim(session, claim_id)
