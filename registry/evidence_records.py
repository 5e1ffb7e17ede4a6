"""From a row of evidence to what the API says of it, with what a claimant is to put where."""

from typing import Final

from heldout.records import Instruction, Proof
from registry.evidence import positions_of
from registry.evidence_pictures import LABEL
from registry.evidence_reading import META_NAME
from registry.evidence_targets import DNS_LABEL, WELL_KNOWN_PATH, gives
from registry.tables import EvidenceRow

TTL: Final = "300"
"""Of a record, in seconds: mistakes are over soon."""


def proof_record(row: EvidenceRow) -> Proof:
    """A row as a wire record."""
    return Proof.model_validate(
        {
            "id": row.id,
            "claim": row.claim_id,
            "method": row.method,
            "target": row.target,
            "token": row.token,
            "put": instructions(row.method, row.target, row.token),
            "state": row.state,
            "gives": gives(row.method, row.target),  # type: ignore[arg-type] # the schema allows no other method
            "n_subjects": len(positions_of(row)),
            "code": row.code,
            "result": row.result,
            "created_at": row.created_at,
            "checked_at": row.checked_at,
            "proved_at": row.proved_at,
            "failing_since": row.failing_since,
            "next_check_at": row.due_at,
        }
    )


def instructions(method: str, target: str, token: str) -> list[Instruction]:
    """What to copy, in order."""
    if method == "dns":
        parts = [
            ("Name of the record", f"{DNS_LABEL}.{target}"),
            ("Type", "TXT"),
            ("Value", f"token={token} expiry=never"),
            ("Time to live, in seconds", TTL),
        ]
    elif method == "well-known":
        parts = [("Address of the file", f"https://{target}{WELL_KNOWN_PATH}"), ("A line in it", f"token={token}")]
    elif method == "meta":
        parts = [("Page", target), ("In its head", f'<meta name="{META_NAME}" content="{token}">')]
    elif method == "account":
        parts = [("Profile", target), ("In its description", token)]
    else:
        parts = [("Label of the assertion", LABEL), ("Its data, as JSON", f'{{"token": "{token}"}}')]
    return [Instruction(label=label, text=text) for label, text in parts]
