"""Pages of searching: the first page, and results for words, an address, a site, a name or a picture."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.concurrency import run_in_threadpool

from heldout.records import SearchResult
from search.engine import SearchEngine
from search.uploads import read_picture
from web.contexts import DatasetLine, ResultsPage, SearchBox, SearchPage
from web.deps import SAME_ORIGIN, EngineDep, PagesDep, RegistryDep, SettingsDep, SuggestionsDep
from web.opted_out import opted_out_in
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
    question, result = answer(engine, understand(q, reading), dataset=dataset, cursor=cursor, k=settings.cards_per_page)
    same = {"q": q, "as": question.reading, "dataset": dataset}
    page = results_page(
        search_box(engine, settings.max_body_bytes, words=q, dataset=dataset),
        asked_words(question, result),
        result,
        registry_refs=opted_out_in(registry, result),
        ways_on=readings(question, dataset, main_site(result) if question.reading == "caption" else None),
        first_href=href(same) if cursor else None,
        next_href=href(same | {"cursor": result.next_cursor}) if result.next_cursor else None,
    )
    return pages.render(request, "results.html", page)


@routes.post("/search", dependencies=SAME_ORIGIN)
async def results_for_picture(
    *,
    request: Request,
    pages: PagesDep,
    engine: EngineDep,
    registry: RegistryDep,
    settings: SettingsDep,
    dataset: str = "",
) -> HTMLResponse:
    """Results for an uploaded picture. It is neither stored nor logged."""
    data = await read_picture(request)

    def search() -> ResultsPage:
        result = engine.search_picture(data, k=settings.cards_per_page, datasets=[dataset] if dataset else None)
        return results_page(
            search_box(engine, settings.max_body_bytes, dataset=dataset),
            asked_picture(data, result),
            result,
            registry_refs=opted_out_in(registry, result),
        )

    return pages.render(request, "results.html", await run_in_threadpool(search))


def search_box(engine: SearchEngine, max_picture_bytes: int, *, words: str = "", dataset: str = "") -> SearchBox:
    """The box, as it was left."""
    lines = [DatasetLine(info.name, info.n_samples, info.name == dataset) for info in engine.datasets()]
    return SearchBox(words=words, dataset=dataset, datasets=lines, max_picture_bytes=max_picture_bytes)


def answer(
    engine: SearchEngine, question: Question, *, dataset: str, cursor: str, k: int
) -> tuple[Question, SearchResult]:
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
    datasets, place = [dataset] if dataset else None, cursor or None
    result = door[question.reading](question.words, k=k, datasets=datasets, cursor=place)
    if question.reading == "text" and not question.certain and is_name(result):
        question = Question(question.words, "caption", certain=False)
        result = engine.search_caption(question.words, k=k, datasets=datasets, cursor=place)
    return question, result


def is_name(result: SearchResult) -> bool:
    """Whether a text search took the words for a name: it raises the scores of captions that credit it by 1."""
    return any(hit.score >= 1 for hit in result.hits[:1])
