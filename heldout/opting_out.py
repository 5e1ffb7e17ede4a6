"""Opting many works out at once: parts of a size a claim can have, a preview, sending that survives a lost answer.

A folder keeps what a run must not forget. Before a claim is sent, its idempotency key is there, durable; sent again
after a lost answer, it makes no second claim. Afterwards the claim's id, its secret and its receipt are there.
"""

import hashlib
import json
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from heldout.client import Client
from heldout.durable import locked, make_folders, write_durably
from heldout.errors import InputError, NotFoundError
from heldout.leaves import canonical_json
from heldout.records import MAX_SUBJECTS, Claim, ClaimPreview, ClaimRequest, Subject
from heldout.subject_files import Line

STATE_FORMAT: Final = "heldout-opt-out/1"
MAX_REQUEST_BYTES: Final = 8_000_000
"""Of one claim's subjects; a server takes at least that much."""


@dataclass
class Part:
    """What one claim is to hold, and what was found wrong with it."""

    lines: list[Line]
    """Those with a subject that can be used, each subject once."""
    preview: ClaimPreview
    duplicates: list[Line] = field(default_factory=list)
    unusable: list[Line] = field(default_factory=list)

    @property
    def subjects(self) -> list[Subject]:
        """What is to be opted out."""
        return [line.subject for line in self.lines if line.subject is not None]


@dataclass(frozen=True)
class OptedOut:
    """A claim that was made, and where its papers are."""

    claim: Claim
    receipt: Path | None
    """None while the server's log has not taken it in: run again later."""
    state: Path
    """Its secret, for whoever may change it."""
    is_new: bool
    """False if an earlier run made it."""


def preview_parts(client: Client, lines: Sequence[Line], **options: Any) -> list[Part]:  # noqa: ANN401 - ClaimRequest's
    """Ask the server about all of them; nothing is stored there.

    Args:
        client: of the server.
        lines: in order; those without a subject are passed over.
        options: further fields of `ClaimRequest`.
    """
    parts = []
    for some in _split(line for line in lines if line.subject is not None):
        subjects = [line.subject for line in some if line.subject is not None]
        preview = client.preview(ClaimRequest(subjects=subjects, **options))
        bad = {each.index: Line(some[each.index].where, None, each.reason) for each in preview.unusable}
        twice = {
            each.index: Line(some[each.index].where, None, f"the same as {some[each.same_as or 0].where}")
            for each in preview.duplicates
        }
        good = [line for index, line in enumerate(some) if index not in bad and index not in twice]
        parts.append(Part(good, preview, list(twice.values()), list(bad.values())))
    return parts


def opt_out(client: Client, server: str, folder: Path, subjects: list[Subject], **options: Any) -> OptedOut:  # noqa: ANN401
    """Make the claim, or find that an earlier run has made it; its receipt is in `folder` afterwards.

    Raises:
        InputError: the folder cannot be written, or holds a state that is none.
        HeldoutError: as `Client.submit`. Run again: it makes no second claim.
    """
    request = ClaimRequest(subjects=subjects, **options)
    digest = hashlib.sha256(canonical_json([server, request.model_dump(mode="json")])).hexdigest()
    path = folder / f"opt-out-{digest[:20]}.json"
    try:
        make_folders(folder)
        with locked(folder / ".lock", wait=True):
            state = _load(path) or _begin(path, server, digest)
            is_new = state["claim"] is None
            claim = _finish(client, path, state, request)
            return OptedOut(claim, _save_receipt(client, folder, claim), path, is_new)
    except OSError as error:
        raise InputError(f"{folder} cannot be written ({error.strerror}): give another folder with --out") from error


def _split(lines: Iterable[Line]) -> list[list[Line]]:
    parts: list[list[Line]] = []
    size = 0
    for line in lines:
        n_bytes = 0 if line.subject is None else len(line.subject.model_dump_json()) + 1
        if not parts or len(parts[-1]) == MAX_SUBJECTS or size + n_bytes > MAX_REQUEST_BYTES:
            parts.append([])
            size = 0
        parts[-1].append(line)
        size += n_bytes
    return parts


def _begin(path: Path, server: str, digest: str) -> dict[str, Any]:
    """The key is there before it is used."""
    state = {
        "format": STATE_FORMAT,
        "server": server,
        "request_sha256": digest,
        "idempotency_key": secrets.token_urlsafe(24),
        "claim": None,
        "secret": None,
        "manage": None,
    }
    _save(path, state)
    return state


def _finish(client: Client, path: Path, state: dict[str, Any], request: ClaimRequest) -> Claim:
    if state["claim"] is not None:
        return client.claim(state["claim"])
    claim = client.submit(request, idempotency_key=state["idempotency_key"])
    manage = f"{state['server']}/claims/{claim.id}/manage"
    private = {"secret": claim.secret, "manage": manage if claim.secret is None else f"{manage}?secret={claim.secret}"}
    _save(path, state | {"claim": claim.id} | private)
    return claim


def _save_receipt(client: Client, folder: Path, claim: Claim) -> Path | None:
    path = folder / f"receipt-{claim.id}.json"
    if path.exists():
        return path
    try:
        receipt = client.receipt(claim.id)
    except NotFoundError:  # not in the log yet
        return None
    write_durably(path, (json.dumps(receipt, indent=1) + "\n").encode())
    return path


def _save(path: Path, state: dict[str, Any]) -> None:
    """Readable by its owner alone: who has the secret can take the claim back."""
    write_durably(path, (json.dumps(state, indent=1) + "\n").encode(), mode=0o600)


def _load(path: Path) -> dict[str, Any] | None:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        state = json.loads(data)
    except ValueError:
        state = None
    if not isinstance(state, dict) or state.get("format") != STATE_FORMAT:
        raise InputError(f"{path} is not what heldout opt-out wrote: move it away, or give another folder with --out")
    return state
