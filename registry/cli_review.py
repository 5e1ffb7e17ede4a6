"""`python -m registry review`: what waits for a decision, all about a case, the decision. Prints, nothing else."""

import json
from dataclasses import asdict
from typing import Annotated, Any, cast, get_args

import typer

from heldout.errors import InputError, NotFoundError
from heldout.records import DisputeState
from registry.options import DEFAULT_STATE_DIR, AsJson, DatabaseUrl, StateDir
from registry.review_queue import Case, Waiting, parse_kind
from registry.reviewing import parse_claim_outcome, parse_dispute_outcome
from registry.reviews import ClaimOutcome, DisputeOutcome
from registry.service import Registry

OUTCOMES = (*get_args(DisputeOutcome), *get_args(ClaimOutcome))

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Decide disputes and what is held.")


@app.command("list")
def list_waiting(
    state_dir: StateDir = DEFAULT_STATE_DIR,
    database_url: DatabaseUrl = None,
    kind: Annotated[str, typer.Option(help="dispute, held, left-over or rejected; else all that wait.")] = "",
    *,
    as_json: AsJson = False,
) -> None:
    """What waits for a decision, the most urgent first."""
    with Registry(state_dir, database_url) as registry:
        found = registry.reviewing.queue(parse_kind(kind))
    if as_json:
        typer.echo(json.dumps([_plain(each) for each in found]))
        return
    for each in found:
        typer.echo(_line(each))
    typer.echo(f"{len(found)} to decide." if found else "Nothing waits.")


@app.command()
def show(
    item_id: Annotated[str, typer.Argument(help="Id of a dispute or a claim.")],
    state_dir: StateDir = DEFAULT_STATE_DIR,
    database_url: DatabaseUrl = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Everything about a case: subjects, both statements, what happened, earlier decisions."""
    with Registry(state_dir, database_url) as registry:
        case = registry.reviewing.case(item_id)
    typer.echo(json.dumps(_case_json(case)) if as_json else "\n".join(_case_lines(case)))


@app.command()
def decide(
    item_id: Annotated[str, typer.Argument(help="Id of a dispute or a claim.")],
    outcome: Annotated[str, typer.Option(help=f"One of {', '.join(OUTCOMES)}; the first two are of disputes.")],
    reason: Annotated[str, typer.Option(help="In words; the two sides read it. Never in the log.")],
    state_dir: StateDir = DEFAULT_STATE_DIR,
    database_url: DatabaseUrl = None,
    *,
    seen: Annotated[
        str, typer.Option(help="State of the dispute that you decide anew: upheld, refused or expired.")
    ] = "open",
    subjects: Annotated[
        str, typer.Option(help="Positions of a claim's subjects, as 0,3; else all it can be about.")
    ] = "",
) -> None:
    """Decide a dispute (uphold, refuse), or about a claim (release, reject, quarantine, assure, unassure)."""
    if seen not in get_args(DisputeState):
        raise InputError(f"{seen!r:.40} is no state of a dispute: give one of {', '.join(get_args(DisputeState))}")
    with Registry(state_dir, database_url) as registry:
        if outcome in get_args(DisputeOutcome):
            if subjects:
                raise InputError("a dispute is decided as a whole: leave --subjects out, or decide about the claim")
            registry.reviewing.decide_dispute(
                item_id, parse_dispute_outcome(outcome), reason=reason, seen=cast("DisputeState", seen)
            )
            claim_id = registry.disputing.get(item_id).claim
        else:
            claim_id = _claim_of(registry, item_id)
            registry.reviewing.decide_claim(
                claim_id, parse_claim_outcome(outcome), reason=reason, positions=_positions(subjects)
            )
        claim = registry.claim(claim_id)
    states = ", ".join(f"{n:,} {state.replace('_', ' ')}" for state, n in claim.subject_states.items())
    typer.echo(f"Decided. Claim {claim.id}: {states}; assurance {claim.assurance}.")


@app.command()
def due(state_dir: StateDir = DEFAULT_STATE_DIR, database_url: DatabaseUrl = None, *, as_json: AsJson = False) -> None:
    """End disputes whose time has run out. Run it daily unless `python -m web` runs, which does it."""
    with Registry(state_dir, database_url) as registry:
        n_ended = registry.disputing.expire_due()
    typer.echo(json.dumps({"n_ended": n_ended}) if as_json else f"{n_ended} disputes ended by themselves.")


def _claim_of(registry: Registry, item_id: str) -> str:
    try:
        return registry.claim(item_id).id
    except NotFoundError:
        return registry.reviewing.case(item_id).claim.id


def _positions(text: str) -> list[int] | None:
    if not text:
        return None
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise InputError(f"{text!r:.80} names no subjects: give positions such as 0,3")
    return [int(part) for part in parts]


def _line(each: Waiting) -> str:
    reasons = ", ".join(f"{n:,} {reason or 'no reason'}" for reason, n in each.reasons.items())
    due = "" if each.due_at is None else f", decide by {each.due_at:%Y-%m-%d}"
    wait = "" if each.is_ready else ", the claimant may still answer"
    return f"{each.kind:9} {each.dispute_id or each.claim_id}  {reasons}, since {each.since:%Y-%m-%d}{due}{wait}"


def _case_lines(case: Case) -> list[str]:
    claim = case.claim
    account = " with an account" if case.has_account else ""
    stands = f"{claim.state.replace('_', ' ')}, {claim.preference}, {claim.assurance}"
    lines = [f"Claim {claim.id}: {stands}, by {claim.acting_as}{account}, since {claim.received_at:%Y-%m-%d}"]
    for subject in case.subjects:
        why = f" ({subject.reason})" if subject.reason else ""
        what = f"{subject.position}: {subject.kind} {subject.text or '(erased)'}"
        lines.append(f"  {what}: {subject.state.replace('_', ' ')}{why}, {subject.assurance}")
    if claim.n_subjects > len(case.subjects):
        lines.append(f"  and {claim.n_subjects - len(case.subjects):,} more")
    for dispute in case.disputes:
        until = f"to answer by {dispute.answer_due_at:%Y-%m-%d}, to decide by {dispute.decide_due_at:%Y-%m-%d}"
        about = f"{dispute.basis}, about {dispute.n_subjects:,} subjects, filed {dispute.filed_at:%Y-%m-%d}, {until}"
        lines += [
            f"Dispute {dispute.id}: {dispute.state}, {about}",
            f"  Filed: {dispute.statement or '(erased)'}",
            f"  Answer: {dispute.answer or ('(erased)' if dispute.answered_at else '(none)')}",
        ]
    lines += [
        f"{event.at:%Y-%m-%d %H:%M} {event.what}: {event.became} {event.reason}".rstrip() for event in case.events
    ]
    lines += [
        f"{each.at:%Y-%m-%d %H:%M} decided {each.outcome}: {each.reason or '(erased)'}" for each in case.decisions
    ]
    return lines


def _case_json(case: Case) -> dict[str, Any]:
    return {
        "claim": case.claim.model_dump(mode="json", exclude={"secret"}),
        "contact": case.contact,
        "subjects": [_plain(each) for each in case.subjects],
        "disputes": [each.model_dump(mode="json") for each in case.disputes],
        "events": [_plain(each) for each in case.events],
        "decisions": [_plain(each) for each in case.decisions],
    }


def _plain(record: Any) -> dict[str, Any]:  # noqa: ANN401 - any of the dataclasses shown here
    """A dataclass as JSON has it."""

    def value(of: object) -> object:
        if isinstance(of, bytes):
            return of.hex()
        return of.isoformat() if hasattr(of, "isoformat") else of

    return {name: value(of) for name, of in asdict(record).items()}
