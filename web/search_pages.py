"""Pages of searching: the first page, and results for words, an address, a site, a name or a picture."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.concurrency import run_in_threadpool

from heldout.records import SearchResult
from search.checking import check_copies, query_of
from search.engine import PageOptions, SearchEngine
from search.remote import picture_of
from search.turns import in_turn
from search.uploads import read_upload
from web.boxes import search_box
from web.checks import checked_page, offer_check, read_check
from web.comparing import compare_page
from web.contexts import ResultsPage, SearchPage
from web.deps import SAME_ORIGIN, EngineDep, FetcherDep, PagesDep, RegistryDep, SettingsDep, SuggestionsDep
from web.forms import FieldsDep, first_of
from web.narrowing import read_narrowing
from web.opted_out import opted_out_in, opted_out_of
from web.questions import Question, understand
from web.results import asked_picture, asked_words, href, main_site, readings, results_page

routes = APIRouter(include_in_schema=False)


@routes.get("/")
def first_page(
    request: Request, pages: PagesDep, engine: EngineDep, settings: SettingsDep, suggestions: SuggestionsDep
) -> HTMLResponse:
    """The box."""
    box, offer = search_box(engine, settings.max_body_bytes), suggestions.current(engine)
    page = SearchPage(
        box=box,
        suggestions=offer.suggestions,
        wall=offer.wall,
        n_samples=sum(line.n_samples for line in box.datasets),
    )
    return pages.render(request, "search.html", page)


@routes.get("/search")
def results_for_words(
    *,
    request: Request,
    pages: PagesDep,
    engine: EngineDep,
    registry: RegistryDep,
    settings: SettingsDep,
    q: str = "",
    reading: Annotated[str, Query(alias="as")] = "",
    dataset: str = "",
    cursor: str = "",
) -> Response:
    """Results for what was typed."""
    if not q.strip():
        return RedirectResponse("/", status_code=303)
    narrowing = read_narrowing(lambda name: request.query_params.get(name, ""))
    options = PageOptions(
        k=settings.cards_per_page,
        datasets=[dataset] if dataset else None,
        cursor=cursor or None,
        filters=narrowing.filters,
    )
    question, result = answer(engine, understand(q, reading), options)
    plain = {"q": q, "as": question.reading, "dataset": dataset}
    same = plain | narrowing.fields
    page = results_page(
        search_box(engine, settings.max_body_bytes, words=q, dataset=dataset, narrowing=narrowing),
        asked_words(question, result),
        result,
        registry_refs=opted_out_in(registry, result),
        ways_on=readings(
            question,
            {"dataset": dataset} | narrowing.fields,
            main_site(result) if question.reading == "caption" else None,
        ),
        first_href=href(same) if cursor else None,
        next_href=href(same | {"cursor": result.next_cursor}) if result.next_cursor else None,
        wide_href=href(plain) if narrowing.is_used else None,
        fetch_url=question.words if question.reading == "url" else "",
    )
    return pages.render(request, "results.html", page)


@routes.post("/search", dependencies=SAME_ORIGIN)
async def results_for_picture(
    *,
    request: Request,
    pages: PagesDep,
    engine: EngineDep,
    fetcher: FetcherDep,
    registry: RegistryDep,
    settings: SettingsDep,
    dataset: str = "",
) -> HTMLResponse:
    """Results for an uploaded picture, or for the one at an address. It is neither stored nor logged."""
    upload = await read_upload(request)
    data = await picture_of(upload, fetcher)
    narrowing = read_narrowing(upload.one)
    chosen = upload.one("dataset") or dataset

    def search() -> ResultsPage:
        result = engine.search_picture(
            data, k=settings.cards_per_page, datasets=[chosen] if chosen else None, filters=narrowing.filters
        )
        query = query_of(data)
        return results_page(
            search_box(engine, settings.max_body_bytes, dataset=chosen, narrowing=narrowing),
            asked_picture(query, result),
            result,
            registry_refs=opted_out_in(registry, result),
            check=offer_check(query, result),
        )

    return pages.render(request, "results.html", await in_turn(search))


@routes.post("/search/check", dependencies=SAME_ORIGIN)
async def results_of_check(
    *,
    request: Request,
    pages: PagesDep,
    engine: EngineDep,
    fetcher: FetcherDep,
    registry: RegistryDep,
    settings: SettingsDep,
) -> HTMLResponse:
    """What of that which looked alike is a copy. The picture comes along, small, in the form; nothing is kept."""
    upload = await read_upload(request)
    question = await in_turn(lambda: read_check(upload))
    result = await check_copies(engine, fetcher, question.query, question.picks)

    def show() -> ResultsPage:
        samples = [check.sample for check in result.checks]
        box = search_box(engine, settings.max_body_bytes)
        return checked_page(box, question, result, opted_out_of(registry, samples))

    return pages.render(request, "results.html", await run_in_threadpool(show))


@routes.post("/search/compare", dependencies=SAME_ORIGIN)
def compare(*, request: Request, fields: FieldsDep, pages: PagesDep, engine: EngineDep) -> HTMLResponse:
    """The picture searched with beside one that was found. It came along, small, in the form; nothing is kept."""
    page = compare_page(engine, first_of(fields, "with"), first_of(fields, "seen"))
    return pages.render(request, "compare.html", page)


def answer(engine: SearchEngine, question: Question, options: PageOptions) -> tuple[Question, SearchResult]:
    """Ask the engine; words that captions credit somebody by are asked again, as a name.

    Raises:
        InputError: the engine cannot use the words or the cursor.
        NotFoundError: no such data set.
        ConflictError: the cursor is of an index that is gone.
    """
    door = {
        "text": engine.search_text,
        "caption": engine.search_caption,
        "url": engine.search_url,
        "site": engine.search_site,
    }
    result = door[question.reading](question.words, **options)
    if question.reading == "text" and not question.certain and is_name(result):
        question = Question(question.words, "caption", certain=False)
        result = engine.search_caption(question.words, **options)
    return question, result


def is_name(result: SearchResult) -> bool:
    """Whether a text search took the words for a name: it raises the scores of captions that credit it by 1."""
    return any(hit.score >= 1 for hit in result.hits[:1])
