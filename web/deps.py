"""What routes are given, as annotated dependencies; the objects themselves are opened in `web.app`'s lifespan."""

from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, Request
from starlette.exceptions import HTTPException

from heldout.fetching import Fetcher
from registry.evidence_checks import Prober
from registry.mail import Mailer
from registry.service import Registry
from search.engine import SearchEngine
from web.background import Condition
from web.pages import Pages
from web.research import Research
from web.settings import Settings
from web.suggestions import Suggestions


def get_engine(request: Request) -> SearchEngine:
    """The search engine."""
    engine: SearchEngine = request.app.state.engine
    return engine


def get_fetcher(request: Request) -> Fetcher:
    """What fetches pictures that strangers name."""
    fetcher: Fetcher = request.app.state.fetcher
    return fetcher


def get_prober(request: Request) -> Prober:
    """What looks for claimants' codes."""
    prober: Prober = request.app.state.prober
    return prober


def get_registry(request: Request) -> Registry:
    """The registry."""
    registry: Registry = request.app.state.registry
    return registry


def get_settings(request: Request) -> Settings:
    """The settings."""
    settings: Settings = request.app.state.settings
    return settings


def get_pages(request: Request) -> Pages:
    """The templates."""
    pages: Pages = request.app.state.pages
    return pages


def get_suggestions(request: Request) -> Suggestions:
    """The first page's suggestions."""
    suggestions: Suggestions = request.app.state.suggestions
    return suggestions


def get_research(request: Request) -> Research:
    """What was counted for researchers."""
    research: Research = request.app.state.research
    return research


def get_mailer(request: Request) -> Mailer | None:
    """What sends mail; None where the site sends none."""
    mailer: Mailer | None = request.app.state.mailer
    return mailer


def get_conditions(request: Request) -> list[Condition]:
    """How the background jobs fare."""
    conditions: list[Condition] = request.app.state.conditions
    return conditions


EngineDep = Annotated[SearchEngine, Depends(get_engine)]
FetcherDep = Annotated[Fetcher, Depends(get_fetcher)]
ProberDep = Annotated[Prober, Depends(get_prober)]
RegistryDep = Annotated[Registry, Depends(get_registry)]
MailerDep = Annotated[Mailer | None, Depends(get_mailer)]
SettingsDep = Annotated[Settings, Depends(get_settings)]
PagesDep = Annotated[Pages, Depends(get_pages)]
ConditionsDep = Annotated[list[Condition], Depends(get_conditions)]
ResearchDep = Annotated[Research, Depends(get_research)]
SuggestionsDep = Annotated[Suggestions, Depends(get_suggestions)]


def same_origin(request: Request) -> None:
    """Refuse a form that another site sent through somebody's browser.

    Browsers say where a form comes from in `Sec-Fetch-Site`, older ones in `Origin`; pages cannot forge either. A
    request with neither is no browser's, and has nobody's cookie. What a cookie allows asks for a token besides
    (`web.visitors`).

    Raises:
        HTTPException: 403, it came from elsewhere.
    """
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is not None:
        is_ours = site in {"same-origin", "none"}
    elif origin is not None:
        settings: Settings = request.app.state.settings
        ours = {request.headers.get("host", ""), urlsplit(settings.base_url).netloc}
        is_ours = urlsplit(origin).netloc in ours
    else:
        is_ours = True
    if not is_ours:
        raise HTTPException(403, "This form was sent by another site. Open this site itself and start again.")


SAME_ORIGIN = [Depends(same_origin)]
