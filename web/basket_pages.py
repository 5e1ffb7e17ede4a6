"""Pages of opting out: put together what is yours, see what exactly it means, confirm. With an account or without."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from pydantic import ValidationError

from heldout.errors import ConflictError, InputError, TooOftenError
from heldout.records import ClaimRequest, HostSubject, Sample, Subject
from registry.service import Registry
from registry.subjects import read_subjects
from search.engine import SearchEngine
from web.basket import Contents, Problem, Wanted, Work, wanted_of, work_of_sample, works_of
from web.basket_contexts import BadLine, BasketAddress, BasketPage, BasketPlace, BasketWork, SiteOffer
from web.browser_basket import BasketDep
from web.cards import thumbnail_address
from web.claim_pages import claim_href, publishing_words
from web.deps import SAME_ORIGIN, EngineDep, PagesDep, RegistryDep, SettingsDep
from web.forms import Fields, FieldsDep, all_of, first_of, is_contact
from web.said import said, sentence
from web.seals import check_seal, seal
from web.selection import parse_selection
from web.settings import Settings
from web.visitors import VisitorDep, client_digest
from web.words import gettext as _

routes = APIRouter(include_in_schema=False)

PER_PAGE: Final = 120
"""Pictures shown at once."""
MAX_ADDRESSES_SHOWN: Final = 200
MAX_SITES: Final = 5
SITE_PAGE: Final = 500
MAX_OF_A_SITE: Final = 4_000
"""Pictures taken from one site at once; each may have an address too, and one opt-out takes 10,000 of both."""


@routes.get("/basket")
def show(
    *,
    request: Request,
    pages: PagesDep,
    engine: EngineDep,
    registry: RegistryDep,
    settings: SettingsDep,
    basket: BasketDep,
    start: Annotated[int, Query(alias="from", ge=0, le=1_000_000)] = 0,
) -> HTMLResponse:
    """What exactly will be excluded, before it is."""
    page = basket_page(basket.read(), engine, registry, settings, now=datetime.now(UTC), start=start)
    return pages.render(request, "basket.html", page)


@routes.get("/opt-out")
def start_over() -> RedirectResponse:
    """Somebody opened the address of a form's answer."""
    return RedirectResponse("/basket", status_code=303)


@routes.post("/basket", dependencies=SAME_ORIGIN)
def put_in(*, request: Request, fields: FieldsDep, engine: EngineDep, basket: BasketDep) -> Response:
    """Put in what was ticked, or everything that is known of a site; then show the basket, or say its size."""
    site = first_of(fields, "site").strip()
    if site:
        works, n_unusable = works_of_site(engine, site, first_of(fields, "dataset")), 0
    else:
        selection = parse_selection(fields)
        generations = {pick.dataset: pick.generation for pick in selection.picks}
        works, n_unusable = works_of(selection, engine.picked(selection.picks), generations)
    if not works:
        raise InputError(
            "What you ticked has neither an address nor a picture we can use, so there is nothing to exclude."
        )
    changed = basket.change(lambda held: held.with_problems([]).with_works(works))
    n = len(changed.works)
    if "application/json" in request.headers.get("accept", ""):
        response: Response = JSONResponse({"n": n, "n_unusable": n_unusable})
    else:
        response = RedirectResponse("/basket", status_code=303)
    basket.give(response, n)
    return response


@routes.post("/basket/remove", dependencies=SAME_ORIGIN)
def take_out(fields: FieldsDep, basket: BasketDep) -> Response:
    """Take some of it out again, or all."""
    keys = set(all_of(fields, "remove"))
    is_all = first_of(fields, "everything") == "1"
    changed = basket.change(lambda held: Contents(done=held.done) if is_all else held.without(keys))
    response = RedirectResponse("/basket", status_code=303)
    basket.give(response, len(changed.works))
    return response


@routes.post("/opt-out", dependencies=SAME_ORIGIN)
def opt_out(
    *,
    request: Request,
    fields: FieldsDep,
    pages: PagesDep,
    engine: EngineDep,
    registry: RegistryDep,
    settings: SettingsDep,
    visitor: VisitorDep,
    basket: BasketDep,
) -> Response:
    """Record the opt-out; the receipt is there at once."""
    now, contents, once = datetime.now(UTC), basket.read(), _once(fields)
    given = first_of(fields, "seal")
    if contents.done is not None and contents.done[1] == once:
        return RedirectResponse(contents.done[2], status_code=303)
    try:
        _check_is_shown(contents, given, settings, now=now)
        wanted = claim_request(fields, wanted_of(contents))
        claim = registry.submit(
            wanted,
            idempotency_key=once,
            account_id=visitor.account.id if visitor else None,
            client=client_digest(request, settings),
        )
    except (InputError, ConflictError, TooOftenError) as error:
        page = replace(
            basket_page(contents, engine, registry, settings, now=now, chosen_sites=all_of(fields, "site")),
            problem=sentence(str(error)),
            bad_contact=not is_contact(first_of(fields, "contact").strip()),
            scopes=all_of(fields, "scope"),
            acting_as=first_of(fields, "acting_as"),
            contact=first_of(fields, "contact"),
        )
        return pages.render(request, "basket.html", page, status=error.http_status)
    href = claim_href(claim.id, "done", claim.secret)
    # What was put in meanwhile, in another tab, stays.
    changed = basket.change(lambda held: replace(held.without(contents.works), done=(given, once, href)))
    response = RedirectResponse(href, status_code=303)
    basket.give(response, len(changed.works))
    return response


def works_of_site(engine: SearchEngine, site: str, dataset: str = "") -> list[Work]:
    """Everything of a site that is known here, as far as one basket can hold it.

    Raises:
        InputError: it is no site, or nothing is known of it.
        NotFoundError: no such data set.
    """
    works: list[Work] = []
    cursor = None
    while len(works) < MAX_OF_A_SITE:
        result = engine.search_site(site, k=SITE_PAGE, cursor=cursor, datasets=[dataset] if dataset else None)
        found = (work_of_sample(hit.sample, result.generations[hit.sample.dataset]) for hit in result.hits)
        works += [work for work in found if work is not None]
        cursor = result.next_cursor
        if cursor is None:
            break
    if not works:
        raise InputError(f"Nothing from {site[:80]} is in what is searched here, so there is nothing to put in.")
    return works[:MAX_OF_A_SITE]


def basket_page(
    contents: Contents,
    engine: SearchEngine,
    registry: Registry,
    settings: Settings,
    *,
    now: datetime,
    start: int = 0,
    chosen_sites: Iterable[str] = (),
) -> BasketPage:
    """A basket in words and pictures."""
    wanted = wanted_of(contents)
    generations = {info.name: info.generation for info in engine.datasets()}
    works = list(contents.works.items())
    pictures = [(key, work) for key, work in works if work.picture is not None]
    addressed = [
        BasketAddress(key, work.url, is_alone=work.picture is None) for key, work in works if work.url is not None
    ]
    addressed.sort(key=lambda line: not line.is_alone)
    shown = pictures[start : start + PER_PAGE]
    end = start + len(shown)
    chosen = {site.lower() for site in chosen_sites}
    return BasketPage(
        seal=seal(settings.secret.get_secret_value(), contents.digest, now=now),
        n_works=len(works),
        thumbs=[_basket_work(key, work, generations) for key, work in shown],
        first_href="/basket" if start else None,
        next_href=f"/basket?from={end}" if end < len(pictures) else None,
        n_left=len(pictures) - end,
        addresses=addressed[:MAX_ADDRESSES_SHOWN],
        n_addresses=len(wanted.addresses),
        places=[_basket_place(key, work) for key, work in works if work.place is not None],
        n_pictures=wanted.n_pictures,
        n_plain=wanted.n_plain,
        n_already=_n_already(registry, contents.works.values()),
        sites=_site_offers(contents.works.values(), chosen),
        next_list=publishing_words(settings.publish),
        problem="",
        bad_contact=False,
        scopes=["picture", "address", "place"],
        acting_as="artist",
        contact="",
        problems=[_bad_line(each) for each in contents.problems],
        n_problems=contents.n_problems,
    )


def claim_request(fields: Fields, wanted: Wanted) -> ClaimRequest:
    """The request that a confirmed form makes.

    Raises:
        InputError: nothing is left to exclude, or a field does not fit. The message is for the form.
    """
    sites = all_of(fields, "site")[:MAX_SITES]
    chosen: list[Subject] = wanted.chosen(all_of(fields, "scope"))
    if not chosen and not sites:
        raise InputError("Nothing would be excluded: tick at least one box under \u201cWhat will be excluded\u201d.")
    contact = first_of(fields, "contact").strip()
    if not is_contact(contact):
        raise InputError(f"{contact[:80]!r} is not an e-mail address: correct it, or leave it empty.")
    try:
        chosen += [HostSubject(host=site) for site in sites]
        return ClaimRequest.model_validate(
            {"subjects": chosen, "acting_as": first_of(fields, "acting_as") or "artist", "contact": contact or None}
        )
    except ValidationError as error:
        where = ", ".join(".".join(map(str, each["loc"])) for each in error.errors()[:3])
        raise InputError(f"Something in the form does not fit ({where}): load the page again.") from error


def _check_is_shown(contents: Contents, given: str, settings: Settings, *, now: datetime) -> None:
    if contents.done is not None and contents.done[0] == given:
        raise ConflictError(
            "this was opted out already, as the form said then: if something in it was wrong, take it back and do it "
            "again"
        )
    check_seal(settings.secret.get_secret_value(), contents.digest, given, now=now)


def _once(fields: Fields) -> str:
    """The same for a form sent twice, another for a form changed in between and for everybody else's.

    The seal stands for the basket, and its random part keeps the contact from being guessed out of the digest.
    """
    chosen = [(name, value) for name, value in fields if name in {"seal", "scope", "site", "acting_as", "contact"}]
    return hashlib.sha256(json.dumps(chosen).encode()).hexdigest()


def _basket_work(key: str, work: Work, generations: dict[str, int]) -> BasketWork:
    seen, src = work.seen, None
    if seen is not None and generations.get(seen.dataset) == seen.generation:
        src = thumbnail_address(seen.dataset, seen.id, seen.generation)
    return BasketWork(key, src, _(work.alt) if work.seen is None else work.alt, work.unsafe, work.host)


def _basket_place(key: str, work: Work) -> BasketPlace:
    kind, text = work.place or ("host", "")
    if kind == "host":
        return BasketPlace(key, text, _("the whole site, and what is below it"), is_site=True)
    return BasketPlace(key, text, _("everything below this address"), is_site=False)


def _bad_line(problem: Problem) -> BadLine:
    in_words = said(problem.what)
    return BadLine(problem.where, in_words or problem.what, is_english=in_words is None)


def _n_already(registry: Registry, works: Iterable[Work]) -> int:
    covered = registry.opted_out([_as_sample(work) for work in works if work.place is None])
    return sum(coverage is not None for coverage in covered)


def _as_sample(work: Work) -> Sample:
    """A work as the registry is asked about it."""
    picture = work.picture
    return Sample(
        dataset="",
        id=0,
        key="",
        url=work.url,
        host=work.host or None,
        caption=None,
        width=None,
        height=None,
        status="ok",
        sha256=picture.sha256 if picture else None,
        pdq=picture.pdq if picture else None,
        pdq_quality=picture.quality if picture else None,
    )


def _site_offers(works: Iterable[Work], chosen: set[str]) -> list[SiteOffer]:
    """Sites that several works are from and that may be one person's; the fullest first."""
    held = list(works)
    claimed = {work.host for work in held if work.place is not None}
    counts = Counter(work.host.removeprefix("www.") for work in held if work.host and work.place is None)
    offers = []
    for host, n in counts.most_common():
        if (n > 1 or host in chosen) and host not in claimed and not _is_shared(host):
            offers.append(SiteOffer(host, n, host in chosen))
        if len(offers) == MAX_SITES:
            break
    return offers


def _is_shared(host: str) -> bool:
    with suppress(ValidationError):
        return bool(read_subjects([HostSubject(host=host)]).unusable)
    return True
