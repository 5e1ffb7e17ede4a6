"""The application: opens the parts, joins their routes, maps errors, serves the public files. Nothing else."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from fastapi import FastAPI, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from starlette.concurrency import run_in_threadpool

import heldout
from heldout.errors import HeldoutError
from indexer.encoder import Encoder, load_encoder
from registry import api as registry_api
from registry.service import Registry
from search import api as search_api
from search import knn as search_knn
from search.engine import SearchEngine
from web import claim_pages, lab_pages, search_pages
from web.deps import EngineDep, RegistryDep, get_engine, get_registry
from web.middleware import BodyLimit, RequestLog, SecurityHeaders
from web.pages import STATIC_DIR, Pages
from web.problems import add_problem_handlers
from web.publishing import AutoPublisher
from web.settings import Settings
from web.static_files import ListFiles, LogFiles, SiteFiles
from web.suggestions import Suggestions, read_queries

log = logging.getLogger(__name__)

REFRESH_S = 5.0
"""Seconds between looks for a new index generation: one small file per data set."""


def create_app(settings: Settings, *, encoder: Encoder | None = None) -> FastAPI:
    """The service on these settings. Files and databases are opened when it starts, and closed when it ends.

    `encoder`, when given, is used instead of the one that the settings name.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        try:
            queries = read_queries(settings.suggestions)
            app.state.registry = registry = await asyncio.to_thread(_open_registry, settings)
            app.state.engine = engine = await asyncio.to_thread(_open_engine, settings, encoder)
        except HeldoutError as error:
            app.state.start_error = error  # for `web.__main__`: a server only says that it did not start
            raise
        app.state.suggestions = Suggestions(queries)
        tasks = [asyncio.create_task(_refresh(engine))]
        if settings.publish == "auto":
            tasks.append(asyncio.create_task(AutoPublisher(registry, delay_s=settings.publish_delay_s).run()))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
            registry.close()
            engine.close()

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
    app.state.pages = pages = Pages()
    add_problem_handlers(app)
    # The last one added is the first one entered.
    app.add_middleware(BodyLimit, max_bytes=settings.max_body_bytes)
    app.add_middleware(RequestLog)
    app.add_middleware(SecurityHeaders, is_https=settings.base_url.startswith("https://"))
    app.include_router(search_api.router(get_engine))
    app.include_router(search_knn.router(get_engine))
    app.include_router(registry_api.router(get_registry))
    for module in (search_pages, claim_pages, lab_pages):
        app.include_router(module.routes)
    _add_robots(app)
    _add_health(app)
    public = settings.state_dir / "public"
    app.mount("/list", ListFiles(public / "list"))
    app.mount("/log", LogFiles(public / "log"))
    app.mount("/static", SiteFiles(STATIC_DIR, pages.versions))
    return app


def _add_robots(app: FastAPI) -> None:
    @app.get("/robots.txt", include_in_schema=False)
    async def robots() -> PlainTextResponse:
        """Crawlers may read what is about the site, not what people look for or opt out."""
        return PlainTextResponse("User-agent: *\nDisallow: /search\nDisallow: /claims/\nDisallow: /v1/\n")


def _add_health(app: FastAPI) -> None:
    @app.get("/healthz", tags=["operation"], summary="The process answers")
    async def alive() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/readyz", tags=["operation"], summary="Database and indexes answer")
    async def ready(engine: EngineDep, registry: RegistryDep) -> Response:
        def ask() -> dict[str, Any]:
            registry.opted_out([])  # asks the database
            return {"datasets": len(engine.datasets())}

        try:
            facts = await run_in_threadpool(ask)
        except Exception as error:  # noqa: BLE001 - whatever it is, it makes the service not ready
            log.warning("not_ready", extra={"error": type(error).__name__})
            return JSONResponse({"status": "not ready"}, 503)
        return JSONResponse({"status": "ok", **facts})


def _open_engine(settings: Settings, encoder: Encoder | None) -> SearchEngine:
    return SearchEngine.open(settings.datasets_dir, encoder or load_encoder(settings.encoder))


def _open_registry(settings: Settings) -> Registry:
    """The registry. Only development makes its own keys and database: in production they are decisions."""
    if settings.environment == "development" and not (settings.state_dir / "keys").exists():
        return Registry.prepare(settings.state_dir, settings.database_url, origin=settings.origin_of_new_log)
    return Registry(settings.state_dir, settings.database_url, origin=settings.origin)


async def _refresh(engine: SearchEngine) -> None:
    """Take up new generations while serving. One that is refused is logged once, and the old one goes on."""
    refused: dict[str, str] = {}
    while True:
        await asyncio.sleep(REFRESH_S)
        found = {name: str(error) for name, error in (await asyncio.to_thread(engine.refresh)).items()}
        for name in found.keys() - {name for name in refused if refused[name] == found.get(name)}:
            log.error("generation_refused", extra={"dataset": name, "reason": found[name]})
        refused = found
