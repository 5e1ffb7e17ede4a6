"""The log's explorer: entries, one entry and its proof, checkpoints and their consistency, receipts.

Everything is computed here as anybody could from the static files below `/log/`. The pages' scripts compute it
again in the visitor's browser, by keys of the visitor's choice.
"""

import json
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import HTMLResponse

from heldout.checkpoint import Checkpoint, Verifier, open_checkpoint, to_base64
from heldout.errors import HeldoutError, InputError, NotFoundError
from heldout.leaves import Leaf, ListLeaf, OptOutLeaf, parse_leaf
from heldout.merkle import verify_consistency
from heldout.receipts import receipt_from_json, verify_receipt
from registry.service import Registry
from web import log_words
from web.deps import SAME_ORIGIN, PagesDep, RegistryDep, SettingsDep
from web.log_contexts import (
    CheckpointsPage,
    CheckReceiptPage,
    Compared,
    EntryLine,
    EntryPage,
    ExplorePage,
    KindLink,
    ListLine,
    ReceiptStep,
)
from web.log_reading import LogView
from web.said import sentence
from web.words import gettext

routes = APIRouter(include_in_schema=False)

PER_PAGE = 40
MAX_SUBJECTS_SHOWN = 100
MAX_NOTE_CHARS = 200_000
MAX_RECEIPT_CHARS = 5_000_000

KeysForm = Annotated[str, Form(max_length=20_000)]
NoteForm = Annotated[str, Form(max_length=MAX_NOTE_CHARS)]


@routes.get("/explore")
def explore(
    *,
    request: Request,
    pages: PagesDep,
    registry: RegistryDep,
    before: Annotated[int | None, Query(ge=0)] = None,
    kind: str = "",
) -> HTMLResponse:
    """Entries, newest first."""
    if kind not in {"", *log_words.KIND_WORDS}:
        raise NotFoundError(f"the log has no entries of the kind {kind!r:.40}: choose what the page offers")
    log = _open(registry)
    end = log.checkpoint.size if before is None else min(before, log.checkpoint.size)
    found, rest = log.before(end, kind, PER_PAGE)
    page = ExplorePage(
        name=log.checkpoint.origin,
        size=log.checkpoint.size,
        root=to_base64(log.checkpoint.root),
        note=log.note,
        keys=_keys(registry, log),
        kinds=[
            KindLink(gettext(words), _href(kind=code), current=code == kind)
            for code, words in {"": gettext("Everything"), **log_words.KIND_WORDS}.items()
        ],
        entries=[_line(index, parse_leaf(data)) for index, data in found],
        newer_href=_href(kind=kind) if end < log.checkpoint.size else None,
        older_href=_href(kind=kind, before=rest) if rest else None,
        is_cut=bool(rest) and len(found) < PER_PAGE,
    )
    return pages.render(request, "explore.html", page)


@routes.get("/explore/entries/{index}")
def entry(request: Request, index: int, pages: PagesDep, registry: RegistryDep, settings: SettingsDep) -> HTMLResponse:
    """One entry: in words, as it is, and where."""
    log = _open(registry)
    found = log.entry(index)
    leaf = parse_leaf(found.data)
    subjects = leaf.subjects if isinstance(leaf, OptOutLeaf) else ()
    page = EntryPage(
        index=index,
        size=log.checkpoint.size,
        at=leaf.at,
        title=log_words.title(leaf),
        words=log_words.words(leaf),
        subjects=[log_words.subject(each) for each in subjects[:MAX_SUBJECTS_SHOWN]],
        n_more_subjects=max(0, len(subjects) - MAX_SUBJECTS_SHOWN),
        claim="" if isinstance(leaf, ListLeaf) else leaf.claim,
        manifest_sha256=leaf.manifest_sha256.hex() if isinstance(leaf, ListLeaf) else "",
        text=found.data.decode(),
        n_bytes=len(found.data),
        leaf_hash=found.leaf_hash.hex(),
        bundle=f"/log/{found.bundle.path}",
        place=found.place,
        root=to_base64(log.checkpoint.root),
        proof=[to_base64(node) for node in found.proof],
        keys=_keys(registry, log),
        base_url=settings.base_url,
        verification_key=registry.vkey,
        newer_href=f"/explore/entries/{index + 1}" if index + 1 < log.checkpoint.size else None,
        older_href=f"/explore/entries/{index - 1}" if index else None,
    )
    return pages.render(request, "entry.html", page)


@routes.get("/explore/checkpoints")
def checkpoints(
    *, request: Request, pages: PagesDep, registry: RegistryDep, settings: SettingsDep, version: int | None = None
) -> HTMLResponse:
    """The newest checkpoint, those of published lists, and a form to compare two."""
    page = _checkpoints_page(_open(registry), registry, settings.base_url, version=version)
    return pages.render(request, "checkpoints.html", page)


@routes.post("/explore/checkpoints", dependencies=SAME_ORIGIN)
def compare(
    *,
    request: Request,
    pages: PagesDep,
    registry: RegistryDep,
    settings: SettingsDep,
    older: NoteForm = "",
    newer: NoteForm = "",
    keys: KeysForm = "",
) -> HTMLResponse:
    """Whether one checkpoint extends the other, as computed here."""
    log = _open(registry)
    compared = _compare(log, older, newer, keys)
    page = _checkpoints_page(log, registry, settings.base_url, older=older, newer=newer, keys=keys, compared=compared)
    fields = [("older", older), ("newer", newer), ("keys", keys)]
    status = 422 if compared.problem else 200
    return pages.render(request, "checkpoints.html", page, status=status, repeated=fields)


@routes.get("/explore/receipt")
def bring_receipt(request: Request, pages: PagesDep, registry: RegistryDep) -> HTMLResponse:
    """A place to drop a receipt."""
    return pages.render(request, "check_receipt.html", CheckReceiptPage(_keys(registry, _open(registry))))


@routes.post("/explore/receipt", dependencies=SAME_ORIGIN)
def check_receipt(
    *,
    request: Request,
    pages: PagesDep,
    receipt: Annotated[str, Form(max_length=MAX_RECEIPT_CHARS)] = "",
    keys: KeysForm = "",
) -> HTMLResponse:
    """A receipt that was pasted, checked here."""
    try:
        key = _key_of(keys)
        parsed = receipt_from_json(_json(receipt))
        leaves = verify_receipt(parsed, key.vkey)
        size = open_checkpoint(parsed.checkpoint, key).size
    except HeldoutError as error:
        page = CheckReceiptPage(keys, receipt, sentence(str(error)))
    else:
        steps = [
            ReceiptStep(each.index, leaf.at, log_words.title(leaf), log_words.words(leaf))
            for each, leaf in zip(parsed.entries, leaves, strict=True)
        ]
        page = CheckReceiptPage(keys, receipt, claim=parsed.claim, size=size, steps=steps)
    return pages.render(
        request,
        "check_receipt.html",
        page,
        status=422 if page.problem else 200,
        repeated=[("receipt", receipt), ("keys", keys)],
    )


def _open(registry: Registry) -> LogView:
    return LogView(registry.state_dir, registry.vkey)


def _keys(registry: Registry, log: LogView) -> str:
    return "\n".join([registry.vkey, *log.witness_keys()])


def _line(index: int, leaf: Leaf) -> EntryLine:
    return EntryLine(index, leaf.at, log_words.title(leaf), log_words.words(leaf))


def _href(*, kind: str, before: int | None = None) -> str:
    query = {name: value for name, value in (("kind", kind), ("before", before)) if value}
    return f"/explore?{urlencode(query)}" if query else "/explore"


def _checkpoints_page(
    log: LogView,
    registry: Registry,
    base_url: str,
    *,
    version: int | None = None,
    older: str = "",
    newer: str = "",
    keys: str = "",
    compared: Compared | None = None,
) -> CheckpointsPage:
    verifier, lists = Verifier.parse(registry.vkey), log.lists()
    return CheckpointsPage(
        name=log.checkpoint.origin,
        size=log.checkpoint.size,
        root=to_base64(log.checkpoint.root),
        note=log.note,
        witnesses=log.witnesses(),
        lists=[
            ListLine(
                each.leaf.version,
                each.leaf.at,
                each.index,
                each.leaf.manifest_sha256.hex(),
                open_checkpoint(each.note, verifier).size,
            )
            for each in lists
        ],
        keys=keys or _keys(registry, log),
        older=older or next((each.note for each in lists if each.leaf.version == version), ""),
        newer=newer or log.note,
        compared=compared,
        base_url=base_url,
        verification_key=registry.vkey,
    )


def _compare(log: LogView, older: str, newer: str, keys: str) -> Compared:
    try:
        key = _key_of(keys)
        old, new = (_checkpoint(note, key) for note in (older, newer))
        if new.size > log.checkpoint.size:
            raise InputError("the newer checkpoint has more entries than this log: it is of another one, or of later")
        proof = log.tree_of(new.size).consistency_proof(old.size) if old.size <= new.size else []
        verify_consistency(old.size, old.root, new.size, new.root, proof)
    except HeldoutError as error:
        return Compared(sentence(str(error)))
    return Compared("", old.size, new.size, [to_base64(node) for node in proof])


def _key_of(keys: str) -> Verifier:
    """The log's key: the first of those in the field."""
    return Verifier.parse(next(iter(keys.split()), ""))


def _checkpoint(note: str, key: Verifier) -> Checkpoint:
    # Forms send lines that end in CR and LF, and a pasted note often lacks its last newline.
    return open_checkpoint(note.replace("\r\n", "\n").strip() + "\n", key)


def _json(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError("this is not a receipt: give the receipt's JSON file, unchanged") from error
