"""Every error as RFC 9457 problem+json, or the same words on a page when a browser asks for HTML. The one mapping.

`HeldoutError.http_status` decides the status of our own errors; their messages are written for people and name what to
do. What is our own fault (500 and up) gets a fixed text, and goes to the log: an unexpected error's message could hold
what somebody searched for, and that of a database or a disk which does not answer names hosts and paths.
"""

import logging
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from heldout.errors import HeldoutError, TooOftenError
from web.boxes import search_box
from web.contexts import ErrorPage, SearchBox
from web.deps import get_pages
from web.logs import describe
from web.questions import MAX_CHARS
from web.said import in_english, said
from web.words import SOURCE, gettext, gettext_noop, language

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"

_TITLES = {
    401: gettext_noop("Sign in first"),
    403: gettext_noop("That is not yours to do"),
    404: gettext_noop("There is nothing here"),
    405: gettext_noop("That cannot be done here"),
    409: gettext_noop("Something has changed"),
    413: gettext_noop("That is too large"),
    422: gettext_noop("We could not use that"),
    429: gettext_noop("That was asked too often"),
    500: gettext_noop("Something broke on our side"),
    503: gettext_noop("Something we need is not answering"),
}
_DETAILS = {
    404: gettext_noop("The address is wrong, or what was here is gone."),
    405: gettext_noop("This address does not take that kind of request."),
    500: gettext_noop(
        "It is our fault, and was noted without what you searched for. Try again; if it stays, tell the operator."
    ),
    503: gettext_noop(
        "Something this site needs is not answering. Try again in half a minute; if it stays, tell the operator."
    ),
}
_UNFIT = gettext_noop("The request does not fit: %(what)s.")


def problem(
    request: Request,
    status: int,
    detail: str,
    *,
    headers: dict[str, str] | None = None,
    errors: list[dict[str, Any]] | None = None,
) -> Response:
    """One error, in the form the caller asks for."""
    if "text/html" in request.headers.get("accept", ""):
        title = gettext(_TITLES.get(status, HTTPStatus(status).phrase))
        in_words = said(detail)
        page = ErrorPage(
            status=status,
            title=title,
            detail=in_words or detail,
            detail_language=language() if in_words else SOURCE,
            box=_box(request),
        )
        response = get_pages(request).render(request, "error.html", page, status=status)
        response.headers.update(headers or {})
        return response
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
    }
    if errors is not None:
        body["errors"] = errors
    return JSONResponse(body, status, headers=headers, media_type=MEDIA_TYPE)


def _box(request: Request) -> SearchBox | None:
    """The box with the words that were asked, so that they need not be typed again."""
    engine = getattr(request.app.state, "engine", None) if "app" in request.scope else None
    if engine is None or not request.url.path.startswith("/search"):
        return None
    words = request.query_params.get("q", "")
    return search_box(engine, request.app.state.settings.max_body_bytes, words=words[:MAX_CHARS])


def add_problem_handlers(app: FastAPI) -> None:
    """Map every error of the application."""

    @app.exception_handler(HeldoutError)
    async def heldout_error(request: Request, error: HeldoutError) -> Response:
        if error.http_status < HTTPStatus.INTERNAL_SERVER_ERROR:
            wait = {"Retry-After": str(error.retry_after_s)} if isinstance(error, TooOftenError) else None
            return problem(request, error.http_status, in_english(str(error)), headers=wait)
        log.error("request_failed", extra=describe(error))
        headers = {"Retry-After": "30"} if error.http_status == HTTPStatus.SERVICE_UNAVAILABLE else None
        return problem(request, error.http_status, _DETAILS[error.http_status], headers=headers)

    @app.exception_handler(HTTPException)
    async def http_exception(request: Request, error: HTTPException) -> Response:
        is_bare = error.detail == HTTPStatus(error.status_code).phrase
        detail = _DETAILS.get(error.status_code, error.detail) if is_bare else error.detail
        return problem(request, error.status_code, detail, headers=dict(error.headers or {}))

    @app.exception_handler(RequestValidationError)
    async def invalid_request(request: Request, error: RequestValidationError) -> Response:
        errors = [{"where": ".".join(map(str, each["loc"])), "what": each["msg"]} for each in error.errors()]
        first = f"{errors[0]['where']}: {errors[0]['what']}" if errors else "?"
        return problem(request, 422, _UNFIT % {"what": first}, errors=errors)


def unexpected(request: Request) -> Response:
    """The answer to an error nobody foresaw."""
    return problem(request, 500, _DETAILS[500])
