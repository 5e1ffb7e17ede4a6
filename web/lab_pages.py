"""The pages for AI labs: the list, its versions, the documents of its formats; and the page about the site's limits."""

from pathlib import Path as FilePath
from typing import Annotated, Final

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, Response

from heldout.errors import NotFoundError
from web.contexts import AboutPage, DatasetLine
from web.deps import EngineDep, PagesDep, RegistryDep, SettingsDep
from web.lab_contexts import LabsPage, VersionsPage
from web.published import TRUSTED_ROOT, current_list, published_versions, trusted_root_sha256
from web.version_feed import ATOM, to_atom, to_json

routes = APIRouter(include_in_schema=False)

FORMATS_DIR: Final = FilePath(__file__).parent.parent / "docs" / "formats"
VERSIONS: Final = "/labs/versions"
PER_PAGE: Final = 20
SHOWN_AT_ONCE: Final = 5
_OPEN: Final = {"access-control-allow-origin": "*", "cache-control": "no-cache"}

Newest = Annotated[int | None, Query(ge=1, le=2**62)]


@routes.get("/labs")
def labs(request: Request, pages: PagesDep, registry: RegistryDep, settings: SettingsDep) -> HTMLResponse:
    """Take the list, apply it, verify it; ask online; mirror it."""
    list_dir = registry.public_dir / "list"
    sha256 = trusted_root_sha256(list_dir)
    page = LabsPage(
        base_url=settings.base_url,
        exclusion_list=current_list(list_dir),
        verification_key=registry.vkey,
        trusted_root_href=f"/list/{TRUSTED_ROOT}" if sha256 else None,
        trusted_root_sha256=sha256,
        versions=published_versions(registry, limit=SHOWN_AT_ONCE)[0],
        per_minute=settings.checks_per_minute,
        rsync_url=settings.rsync_url,
    )
    return pages.render(request, "labs.html", page)


@routes.get(VERSIONS)
def versions(request: Request, pages: PagesDep, registry: RegistryDep, newest: Newest = None) -> HTMLResponse:
    """Every version of the list, newest first."""
    lines, older = published_versions(registry, limit=PER_PAGE, newest=newest)
    page = VersionsPage(
        versions=lines,
        older_href=None if older is None else f"{VERSIONS}?newest={older}",
        newest_href=None if newest is None else VERSIONS,
    )
    return pages.render(request, "versions.html", page)


@routes.get(f"{VERSIONS}.json")
def versions_json(registry: RegistryDep, settings: SettingsDep, newest: Newest = None) -> JSONResponse:
    """The same for programs."""
    lines, older = published_versions(registry, limit=PER_PAGE, newest=newest)
    return JSONResponse(to_json(lines, older, base_url=settings.base_url), headers=_OPEN)


@routes.get(f"{VERSIONS}.atom")
def versions_atom(registry: RegistryDep, settings: SettingsDep) -> Response:
    """The newest versions as a feed."""
    lines, _ = published_versions(registry, limit=PER_PAGE)
    return Response(to_atom(lines, base_url=settings.base_url), media_type=ATOM, headers=_OPEN)


@routes.get("/labs/formats/{name}")
def format_document(name: Annotated[str, Path(max_length=100)]) -> FileResponse:
    """A document of the formats, or a program that was written from one."""
    documents = {path.name: path for path in FORMATS_DIR.iterdir() if path.is_file()} if FORMATS_DIR.is_dir() else {}
    if name not in documents:
        raise NotFoundError("there is no such document of the formats: the page for labs names them")
    return FileResponse(documents[name], media_type="text/plain; charset=utf-8", headers=_OPEN)


@routes.get("/about")
def about(request: Request, pages: PagesDep, engine: EngineDep, settings: SettingsDep) -> HTMLResponse:
    """What this is, and what an opt-out cannot do."""
    lines = [DatasetLine(info.name, info.n_samples) for info in engine.datasets()]
    return pages.render(request, "about.html", AboutPage(lines, settings.contact))
