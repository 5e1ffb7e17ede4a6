"""The page for AI labs, and the one about the site and its limits."""

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from web.contexts import AboutPage, DatasetLine, LabsPage
from web.deps import EngineDep, PagesDep, RegistryDep, SettingsDep
from web.published import TRUSTED_ROOT, current_list, trusted_root_sha256

routes = APIRouter(include_in_schema=False)


@routes.get("/labs")
def labs(request: Request, pages: PagesDep, registry: RegistryDep, settings: SettingsDep) -> HTMLResponse:
    """Take the list, apply it, verify it."""
    list_dir = registry.public_dir / "list"
    sha256 = trusted_root_sha256(list_dir)
    page = LabsPage(
        base_url=settings.base_url,
        exclusion_list=current_list(list_dir),
        verification_key=registry.vkey,
        trusted_root_href=f"/list/{TRUSTED_ROOT}" if sha256 else None,
        trusted_root_sha256=sha256,
    )
    return pages.render(request, "labs.html", page)


@routes.get("/about")
def about(request: Request, pages: PagesDep, engine: EngineDep, settings: SettingsDep) -> HTMLResponse:
    """What this is, and what an opt-out cannot do."""
    lines = [DatasetLine(info.name, info.n_samples) for info in engine.datasets()]
    return pages.render(request, "about.html", AboutPage(lines, settings.contact))
