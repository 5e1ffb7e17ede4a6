"""A claim as evidence, to send to a lab or a lawyer: a page, and the same as a PDF."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response

from heldout.checkpoint import Verifier, open_checkpoint, to_base64
from heldout.errors import HeldoutError, NotFoundError
from heldout.manifest import parse_manifest
from heldout.receipts import receipt_from_json, receipt_to_json, verify_receipt
from heldout.records import Claim, ClaimState
from heldout.states import CLOSED
from registry.claim_versions import InLists
from registry.service import Registry
from search.engine import SearchEngine
from search.turns import in_turn
from web.claim_pages import claim_facts, notes_in_words
from web.claim_pictures import pictures_of_claim, samples_of_claim
from web.contexts import EvidencePage
from web.deps import EngineDep, PagesDep, RegistryDep, SettingsDep
from web.evidence_pdf import Picture, make_pdf
from web.settings import Settings
from web.words import count, day, gettext, ngettext

routes = APIRouter(include_in_schema=False)

MAX_FINGERPRINTS: Final = 100
MAX_PICTURES_IN_PDF: Final = 12


@routes.get("/claims/{claim_id}/evidence")
def show(
    *,
    request: Request,
    claim_id: str,
    pages: PagesDep,
    engine: EngineDep,
    registry: RegistryDep,
    settings: SettingsDep,
) -> HTMLResponse:
    """What was claimed, when, where that is proved, and how to check it."""
    page = evidence_page(registry, settings, claim_id)
    shown = replace(page, pictures=pictures_of_claim(registry, engine, claim_id))
    return pages.render(request, "evidence.html", shown)


@routes.get("/claims/{claim_id}/evidence.pdf")
async def download(claim_id: str, engine: EngineDep, registry: RegistryDep, settings: SettingsDep) -> Response:
    """The same, to print or to attach."""

    def make() -> bytes:
        page = evidence_page(registry, settings, claim_id)
        return make_pdf(page, _files(registry, engine, claim_id), now=datetime.now(UTC))

    name = f"heldout-evidence-{claim_id[:8]}.pdf"
    headers = {"content-disposition": f'inline; filename="{name}"', "cache-control": "private, no-cache"}
    return Response(await in_turn(make), media_type="application/pdf", headers=headers)


def evidence_page(registry: Registry, settings: Settings, claim_id: str) -> EvidencePage:
    """A claim, its receipt checked as a stranger would, and its way into the list. Its pictures are not looked up.

    Raises:
        NotFoundError: no such claim, or it is not in the public log yet.
        VerificationError: the log or the receipt is damaged.
    """
    claim = registry.claim(claim_id)
    try:
        receipt = receipt_from_json(registry.receipt(claim_id))
    except NotFoundError as error:
        raise NotFoundError(
            "This opt-out is not in the public log yet, so there is nothing to prove it by: try again in a moment."
        ) from error
    verify_receipt(receipt, registry.vkey)
    checkpoint = open_checkpoint(receipt.checkpoint, Verifier.parse(registry.vkey))
    return EvidencePage(
        claim=claim_facts(claim, is_logged=True),
        standing=_standing(claim.state),
        meaning=_meaning(claim.assurance),
        notes=notes_in_words(claim),
        in_lists=_in_lists(registry, claim),
        pictures=[],
        fingerprints=[
            (each.pdq.hex(), each.quality) for each in registry.pictures_of_claim(claim_id, limit=MAX_FINGERPRINTS)
        ],
        n_fingerprints=claim.n_image_subjects,
        origin=checkpoint.origin,
        tree_size=checkpoint.size,
        root_hash=to_base64(checkpoint.root),
        checkpoint=receipt.checkpoint,
        verification_key=registry.vkey,
        receipt_sha256=str(receipt_to_json(receipt)["sha256"]),
        page_url=f"{settings.base_url}/claims/{claim.id}",
        pdf_href=f"/claims/{claim.id}/evidence.pdf",
    )


def _standing(state: ClaimState) -> str:
    """What whoever reads of the declaration must know at once: that it does not count, or not yet."""
    return {
        "pending": gettext("It does not count yet: it waits for proof."),
        "in_force": "",
        "disputed": "",
        "quarantined": gettext("It does not count for now: it is held for review."),
        "rejected": gettext("It was rejected since, and no longer counts."),
        "withdrawn": gettext("It was taken back since, and no longer counts."),
    }[state]


def _meaning(assurance: str) -> str:
    """What is known of who spoke."""
    return {
        "declared": gettext("Whoever made it declared this; nobody has checked who they are."),
        "account": gettext("Whoever made it controls the profile that shows the works."),
        "host": gettext("Whoever made it controls the site that shows the works."),
        "credential": gettext("Whoever made it signed a picture with Content Credentials."),
        "reviewed": gettext("A reviewer has looked at it."),
    }[assurance]


def _in_lists(registry: Registry, claim: Claim) -> str:
    found = registry.versions_of_claim(claim.id, lambda sha256: _log_size(registry, sha256))
    if found is None:
        return gettext("In no published list.") if claim.state in CLOSED else gettext("Not in a published list yet.")
    said = _versions_in_words(found)
    return said if found.is_whole else gettext("A part of it only. %(versions)s", versions=said)


def _versions_in_words(found: InLists) -> str:
    first, last = found.first, found.last
    if found.is_open:
        return gettext(
            "In every version from %(first)s (%(day)s) on; the newest is %(last)s (%(last_day)s).",
            first=count(first.version),
            day=day(first.at),
            last=count(last.version),
            last_day=day(last.at),
        )
    return ngettext(
        "In version %(first)s (%(day)s) alone.",
        "In versions %(first)s (%(day)s) to %(last)s (%(last_day)s).",
        last.version - first.version + 1,
        first=count(first.version),
        day=day(first.at),
        last=count(last.version),
        last_day=day(last.at),
    )


def _log_size(registry: Registry, sha256: bytes) -> int | None:
    path = registry.public_dir / "list" / "targets" / f"{sha256.hex()}.manifest.json"
    try:
        return parse_manifest(path.read_bytes()).log.size
    except (OSError, HeldoutError):  # pruned, or of an older format
        return None


def _files(registry: Registry, engine: SearchEngine, claim_id: str) -> list[Picture]:
    """Thumbnails as files; what is marked as unsafe is left out of a sheet that others open."""
    files = []
    for sample, generations in samples_of_claim(registry, engine, claim_id)[:MAX_PICTURES_IN_PDF]:
        if not sample.unsafe:
            webp, _ = engine.thumbnail(sample.dataset, sample.id, generation=generations[sample.dataset])
            files.append(Picture(webp, sample.caption or ""))
    return files
