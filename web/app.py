"""The application: joins the parts' routes, maps errors, serves the public files. Nothing else."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from fastapi import FastAPI, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from starlette.concurrency import run_in_threadpool

import heldout
from heldout.addresses import AddressGuard
from heldout.fetching import Fetcher, FetchLimits
from indexer.encoder import Encoder
from registry import api as registry_api
from registry import disputes_api, evidence_api
from registry.evidence_checks import Prober
from registry.mail import Mailer, open_mailer
from registry.online import OnlineLists
from registry.resolvers import parse_servers
from search import api as search_api
from search import knn as search_knn
from search.picture import MAX_PICTURE_BYTES
from web import (
    account_pages,
    basket_pages,
    claim_pages,
    dispute_pages,
    evidence_pages,
    lab_pages,
    log_pages,
    online_api,
    portfolio_pages,
    prove_pages,
    research_pages,
    review_pages,
    search_pages,
    sign_in_pages,
)
from web.background import Refresher
from web.cors import OpenToAnyOrigin
from web.deps import ConditionsDep, EngineDep, RegistryDep, get_engine, get_fetcher, get_prober, get_registry
from web.dispute_mail import DisputeClerk
from web.middleware import BodyLimit, RequestLog, SecurityHeaders
from web.online import ListKeeper
from web.pages import STATIC_DIR, Pages
from web.parts import Parts
from web.problems import add_problem_handlers
from web.publishing import AutoPublisher
from web.quarantine import PictureWatch
from web.rates import Allowances
from web.rechecking import Rechecker
from web.research import Research
from web.settings import Settings
from web.static_files import ListFiles, LogFiles, SiteFiles
from web.surveying import Surveyor
from web.visitors import get_client
from web.words import Languages

PICTURE_LIMITS = FetchLimits(max_bytes=MAX_PICTURE_BYTES, connect_s=5, read_s=5, total_s=15, concurrency=32, per_host=4)
"""For pictures that somebody waits for."""

Job = Refresher | AutoPublisher | Rechecker | ListKeeper | DisputeClerk | PictureWatch | Surveyor

log = logging.getLogger(__name__)


def create_app(settings: Settings, *, encoder: Encoder | None = None, parts: Parts | None = None) -> FastAPI:
    """The service on these settings. Its parts are opened when it starts, and closed when it ends.

    `parts`, when given, are open already. `encoder`, when given, is used instead of the one that the settings name.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        opened = await asyncio.to_thread(Parts.open, settings, encoder) if parts is None else parts
        app.state.registry, app.state.engine = opened.registry, opened.engine
        app.state.suggestions = opened.suggestions
        keeper = ListKeeper(app.state.lists)
        await keeper.look()
        jobs = [keeper, *_jobs(settings, opened, app.state.mailer)]
        guard = AddressGuard(allow=settings.allowed_networks)
        try:
            async with (
                Fetcher(guard=guard, limits=PICTURE_LIMITS) as fetcher,
                Prober(parse_servers(settings.resolvers), guard=guard) as prober,
            ):
                app.state.fetcher, app.state.prober = fetcher, prober
                if settings.recheck == "auto":
                    jobs.append(Rechecker(opened.registry, prober))
                app.state.conditions = [job.condition for job in jobs]
                async with _running(jobs):
                    yield
        finally:
            opened.close()

    app = FastAPI(
        title="heldout",
        version=heldout.__version__,
        summary="The open do-not-train registry and dataset search engine.",
        lifespan=lifespan,
        docs_url=None,  # both load scripts from elsewhere
        redoc_url=None,
        openapi_url="/v1/openapi.json",
    )
    app.state.settings = settings
    app.state.mailer = _mailer(settings)
    app.state.pages = pages = Pages()
    public = settings.state_dir / "public"
    app.state.lists = OnlineLists(public / "list")
    app.state.research = Research(settings.research_dir)
    app.state.allowances = Allowances(settings.checks_per_minute) if settings.checks_per_minute else None
    add_problem_handlers(app)
    # The last one added is the first one entered.
    app.add_middleware(BodyLimit, max_bytes=settings.max_body_bytes)
    app.add_middleware(OpenToAnyOrigin, paths=online_api.OPEN_PATHS, headers=online_api.OPEN_HEADERS)
    app.add_middleware(RequestLog)
    app.add_middleware(SecurityHeaders, is_https=settings.base_url.startswith("https://"))
    app.add_middleware(Languages, is_https=settings.base_url.startswith("https://"))
    app.include_router(online_api.routes)  # first: labs ask millions of questions, and routes are tried in turn
    app.include_router(search_api.router(get_engine, get_fetcher))
    app.include_router(search_knn.router(get_engine, get_fetcher))
    app.include_router(registry_api.router(get_registry, get_client))
    app.include_router(disputes_api.router(get_registry, get_client))
    app.include_router(evidence_api.router(get_registry, get_prober))
    for module in (
        search_pages,
        basket_pages,
        portfolio_pages,
        claim_pages,
        evidence_pages,
        account_pages,
        prove_pages,
        sign_in_pages,
        lab_pages,
        log_pages,
        research_pages,
        dispute_pages,
        review_pages,
    ):
        app.include_router(module.routes)
    _add_robots(app)
    _add_health(app)
    app.mount("/list", ListFiles(public / "list"))
    app.mount("/log", LogFiles(public / "log"))
    app.mount("/static", SiteFiles(STATIC_DIR, pages.versions))
    return app


@asynccontextmanager
async def _running(jobs: Sequence[Job]) -> AsyncIterator[None]:
    """Jobs beside the requests, ended before what they use is closed."""
    tasks = [asyncio.create_task(job.run()) for job in jobs]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


def _jobs(settings: Settings, opened: Parts, mailer: Mailer | None) -> list[Job]:
    """What runs beside the requests."""
    jobs: list[Job] = [
        Refresher(opened.engine.refresh),
        DisputeClerk(opened.registry, mailer, settings.base_url),
    ]
    if settings.quarantine == "auto":
        jobs.append(PictureWatch(opened.registry, opened.engine, settings.thresholds))
    if settings.publish == "auto":
        jobs.append(AutoPublisher(opened.registry, delay_s=settings.publish_delay_s))
    if settings.research == "auto":
        folders = (settings.datasets_dir, settings.state_dir / "public" / "list", settings.research_dir)
        jobs.append(Surveyor(*folders, every_s=settings.research_every_s))
    return jobs


def _mailer(settings: Settings) -> Mailer | None:
    url = settings.mail_url
    return None if url is None else open_mailer(url, sender=settings.mail_from, outbox=settings.state_dir / "outbox")


def _add_robots(app: FastAPI) -> None:
    @app.get("/robots.txt", include_in_schema=False)
    async def robots() -> PlainTextResponse:
        """Crawlers may read what is about the site, not what people look for or opt out."""
        paths = ("/search", "/claims/", "/sign-in", "/account", "/disputes", "/review", "/v1/")
        return PlainTextResponse("\n".join(["User-agent: *", *(f"Disallow: {path}" for path in paths), ""]))


def _add_health(app: FastAPI) -> None:
    @app.get("/healthz", tags=["operation"], summary="The process answers")
    async def alive() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/readyz", tags=["operation"], summary="Database and indexes answer; background jobs")
    async def ready(engine: EngineDep, registry: RegistryDep, conditions: ConditionsDep) -> Response:
        def ask() -> dict[str, Any]:
            registry.opted_out([])  # asks the database
            return {"datasets": len(engine.datasets())}

        try:
            facts = await run_in_threadpool(ask)
        except Exception as error:  # noqa: BLE001 - whatever it is, it makes the service not ready
            log.warning("not_ready", extra={"error": type(error).__name__})
            return JSONResponse({"status": "not ready"}, 503)
        failing = {each.job: each.failing_since.isoformat("T", "seconds") for each in conditions if each.failing_since}
        if failing:  # still 200: what is open is served, and no other process would do better
            return JSONResponse({"status": "degraded", **facts, "failing_since": failing})
        return JSONResponse({"status": "ok", **facts})
