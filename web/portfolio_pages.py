"""A whole portfolio at once: a list, a table, pictures or a site into the basket, where it is seen before it counts."""

from collections.abc import Iterable, Sequence
from typing import Final

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.concurrency import run_in_threadpool

from heldout.errors import HeldoutError, InputError
from heldout.records import MAX_SUBJECTS, Subject
from heldout.subject_files import Line, fingerprint_line, host_line, prefix_line, read_text
from registry.subjects import read_subjects
from search.engine import SearchEngine
from search.uploads import Form, SentFile, read_form
from web.basket import Problem, Work, work_of_subject
from web.basket_contexts import PortfolioPage
from web.basket_pages import works_of_site
from web.browser_basket import BasketDep
from web.deps import SAME_ORIGIN, EngineDep, PagesDep, SettingsDep
from web.said import sentence
from web.settings import Settings
from web.words import gettext as _

routes = APIRouter(include_in_schema=False)

MAX_FILES: Final = 200


@routes.get("/portfolio")
def show(request: Request, pages: PagesDep, settings: SettingsDep) -> HTMLResponse:
    """Where to hand it in."""
    return pages.render(request, "portfolio.html", _page(settings))


@routes.post("/portfolio", dependencies=SAME_ORIGIN)
async def read(
    *, request: Request, pages: PagesDep, engine: EngineDep, settings: SettingsDep, basket: BasketDep
) -> Response:
    """Put what was understood into the basket, and show it there with what was not."""
    form = await read_form(request, max_files=MAX_FILES)

    def work() -> Response:
        try:
            works, problems = understood(form, engine)
            changed = basket.change(lambda held: held.with_works(works).with_problems(problems))
        except HeldoutError as error:
            page = _page(settings, form, problem=sentence(str(error)))
            return pages.render(request, "portfolio.html", page, status=error.http_status)
        response = RedirectResponse("/basket", status_code=303)
        basket.give(response, len(changed.works))
        return response

    return await run_in_threadpool(work)


def understood(form: Form, engine: SearchEngine) -> tuple[list[Work], list[Problem]]:
    """What a form hands in, and the lines of it that could not be used.

    Raises:
        InputError: it is empty, nothing of it can be used, or a file is no list.
    """
    lines = [*_typed(form.one("addresses")), *_tables(form.files.get("table", ()))]
    lines += [fingerprint_line(each.name, each.data) for each in form.files.get("pictures", ()) if each.data]
    site = form.one("site")
    works: list[Work] = []
    problems: list[Problem] = []
    if site:
        if form.one("whole"):
            lines.append(_place_line(site))
        if form.one("known"):
            try:
                works = works_of_site(engine, site)
            except InputError as error:
                if not lines and _place_line(site).subject is not None:
                    raise InputError(
                        f"Nothing from {site[:80]} is in what is searched here. You can opt out the whole of it all "
                        "the same: tick “all of it”, and show afterwards that it is yours."
                    ) from error
                problems.append(Problem(site, str(error)))
    elif not lines:
        raise InputError("There was nothing to read: paste addresses, choose a file or name your site.")
    if len(lines) > MAX_SUBJECTS:
        raise InputError(
            f"That is {len(lines):,} lines, and one opt-out takes {MAX_SUBJECTS:,}: give them in several parts."
        )
    from_lines, refused = _read(lines)
    if not (works or from_lines):
        first = next(iter([*problems, *refused]), None)
        if first is None:
            raise InputError("There was nothing to read: paste addresses, choose a file or name your site.")
        what = first.what.removesuffix(".")
        raise InputError(f"Nothing of that can be opted out ({first.where}: {what}): correct it and try again.")
    return works + from_lines, problems + refused


def _read(lines: Sequence[Line]) -> tuple[list[Work], list[Problem]]:
    """What a claim can hold of the lines, and why it cannot hold the others. What is said twice is no mistake."""
    given: list[tuple[Line, Subject]] = [(line, line.subject) for line in lines if line.subject is not None]
    unusable = {each.index: each.reason for each in read_subjects([subject for _line, subject in given]).unusable}
    problems = [Problem(line.where, line.problem) for line in lines if line.subject is None]
    problems += [Problem(given[index][0].where, reason) for index, reason in unusable.items()]
    works = [work_of_subject(subject) for at, (_line, subject) in enumerate(given) if at not in unusable]
    return works, problems


def _typed(text: str) -> list[Line]:
    """Lines of the text field; one that lacks https:// gets it."""
    listed = "\n".join(_with_scheme(line.strip()) for line in text.splitlines())
    return [
        Line(_("line %(number)s", number=line.where.rpartition(":")[2]), line.subject, line.problem)
        for line in read_text("typed.txt", listed)
    ]


def _with_scheme(line: str) -> str:
    looks_like_one = "." in line.partition("/")[0] and "://" not in line and not line.startswith("#")
    return f"https://{line}" if looks_like_one else line


def _tables(files: Iterable[SentFile]) -> list[Line]:
    lines: list[Line] = []
    for file in files:
        if not file.data:
            continue
        try:
            text = file.data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise InputError(
                f"{file.name[:80]} is not text in UTF-8: save it anew, in a spreadsheet as “CSV UTF-8”, elsewhere "
                "as .txt."
            ) from error
        lines += read_text(file.name or "list.txt", text)
    return lines


def _place_line(site: str) -> Line:
    """A site, or a profile where a path follows."""
    bare = site.partition("://")[2] if "://" in site else site
    host, slash, path = bare.partition("/")
    return prefix_line(f"https://{host}{slash}{path}") if path else host_line(host)


def _page(settings: Settings, form: Form | None = None, *, problem: str = "") -> PortfolioPage:
    return PortfolioPage(
        problem=problem,
        addresses=form.one("addresses") if form else "",
        site=form.one("site") if form else "",
        most=MAX_SUBJECTS,
        max_megabytes=settings.max_body_bytes // 1_000_000,
        base_url=settings.base_url,
    )
