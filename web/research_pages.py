"""Pages for researchers: every data set, counted; tables to take along; addresses that can be cited."""

from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, HTMLResponse

from heldout.audit_page import say_fact
from heldout.audit_words import FACTS
from web import words
from web.deps import PagesDep, RegistryDep, ResearchDep, SettingsDep
from web.published import current_list
from web.research import Research, Result
from web.research_contexts import (
    DatasetCounted,
    DatasetPage,
    FactLine,
    FileLink,
    ListCited,
    ResearchPage,
    SharedLine,
)
from web.static_files import FOR_EVER
from web.survey import VOICE

routes = APIRouter(include_in_schema=False)

_TYPES = {".csv": "text/csv; charset=utf-8", ".parquet": "application/vnd.apache.parquet"}


@routes.get("/research")
def overview(
    request: Request, pages: PagesDep, research: ResearchDep, registry: RegistryDep, settings: SettingsDep
) -> HTMLResponse:
    """All data sets."""
    current = research.current()
    counted = [research.newest(name) for name in current.get("wanted", {}).get("generations", {})]
    facts = current_list(registry.public_dir / "list")
    page = ResearchPage(
        datasets=[_line(result) for result in counted],
        failed=list(current.get("failed", {})),
        shared=_shared(current),
        exclusion_list=_cited(counted[0]) if counted else None,
        base_url=settings.base_url,
        is_behind=facts is not None and facts.version != current.get("wanted", {}).get("list_version"),
    )
    return pages.render(request, "research.html", page)


@routes.get("/research/{dataset}")
def newest(
    dataset: str, request: Request, pages: PagesDep, research: ResearchDep, settings: SettingsDep
) -> HTMLResponse:
    """A data set as it was counted last."""
    page = _page(research, research.newest(dataset), settings.base_url, is_cited=False)
    return pages.render(request, "research_dataset.html", page)


@routes.get("/research/{dataset}/{name}")
def cited(
    *, dataset: str, name: str, request: Request, pages: PagesDep, research: ResearchDep, settings: SettingsDep
) -> HTMLResponse:
    """A data set as one generation of its index and one version of the list have it: the same for ever."""
    page = _page(research, research.result(dataset, name), settings.base_url, is_cited=True)
    return pages.render(request, "research_dataset.html", page)


@routes.get("/research/{dataset}/{name}/{file}")
def table(dataset: str, name: str, file: str, research: ResearchDep) -> FileResponse:
    """One table, whole."""
    path = research.table(dataset, name, file)
    headers = {"cache-control": FOR_EVER, "access-control-allow-origin": "*"}
    return FileResponse(path, media_type=_TYPES[path.suffix], headers=headers, filename=f"{dataset}-{name}-{file}")


def _page(research: Research, result: Result, base_url: str, *, is_cited: bool) -> DatasetPage:
    current = research.current()
    newest_name = research.newest(result.dataset).name if _is_current(current, result.dataset) else ""
    here = _href(result)
    facts = [
        FactLine(words.gettext(fact.words), say_fact(result.totals, fact.key, fact.of, VOICE))
        for fact in FACTS
        if not fact.key.startswith("n_signal") or result.totals["n_with_signals"]
    ]
    files = {
        name: FileLink(
            name,
            n_rows,
            f"{here}/{name}.parquet" if result.has_tables else "",
            f"{here}/{name}.csv" if result.has_tables else "",
        )
        for name, n_rows in result.rows.items()
    }
    return DatasetPage(
        name=result.dataset,
        generation=result.generation,
        exclusion_list=_cited(result),
        made_at=result.made_at,
        facts=facts,
        sections=result.sections(words.language()),
        files=files,
        shared=[line for line in _shared(current) if result.dataset in {line.left, line.right}],
        cite_url=f"{base_url}{here}",
        is_cited=is_cited,
        is_newest=result.name == newest_name,
        others=research.others(result),
    )


def _is_current(current: dict[str, Any], dataset: str) -> bool:
    return dataset in current.get("wanted", {}).get("generations", {})


def _href(result: Result) -> str:
    return f"/research/{quote(result.dataset, safe='')}/{result.name}"


def _line(result: Result) -> DatasetCounted:
    totals = result.totals
    return DatasetCounted(
        name=result.dataset,
        href=f"/research/{quote(result.dataset, safe='')}",
        n_samples=totals["n_samples"],
        n_sites=totals["n_domains"],
        n_opted_out=totals["n_opted_out"],
        share=100 * totals["n_opted_out"] / max(1, totals["n_samples"]),
        n_signalling=totals["n_signalling"],
    )


def _cited(result: Result) -> ListCited:
    manifest = result.list["manifest_sha256"]
    return ListCited(
        result.list["version"], result.list["as_of"] or "", manifest, f"/list/targets/{manifest}.manifest.json"
    )


def _shared(current: dict[str, Any]) -> list[SharedLine]:
    return [
        SharedLine(each["left"], each["right"], each["n_keys"], each["n_files"]) for each in current.get("shared", [])
    ]
