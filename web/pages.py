"""Rendering: a page's dataclass into its template, and addresses of the site's own files. No look-ups."""

import hashlib
from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, Protocol

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from starlette.templating import Jinja2Templates

HERE = Path(__file__).parent
STATIC_DIR = HERE / "static"
TEMPLATES_DIR = HERE / "templates"


class PageContext(Protocol):
    """Any dataclass of `web.contexts`."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


class Pages:
    """Templates, ready to render."""

    def __init__(self) -> None:
        self._versions = {path.name: _digest(path) for path in sorted(STATIC_DIR.iterdir())}
        environment = Environment(
            loader=FileSystemLoader(TEMPLATES_DIR),
            autoescape=select_autoescape(default=True),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.globals["asset"] = self.asset
        environment.filters.update(count=_count, size=_size, day_time=_day_time)
        self.environment = environment
        self._templates = Jinja2Templates(env=environment)

    @property
    def versions(self) -> Mapping[str, str]:
        """File of the site -> the version its address carries."""
        return self._versions

    def asset(self, name: str) -> str:
        """Address of one of the site's own files; another one when the file changes."""
        return f"/static/{name}?v={self._versions[name]}"

    def render(self, request: Request, template: str, context: PageContext, *, status: int = 200) -> HTMLResponse:
        """A page. The template sees the dataclass's fields, and nothing else of the application."""
        names = {field.name: getattr(context, field.name) for field in fields(context)}
        # Pages show what somebody searched for, and change with each opt-out. Going back may still show them again.
        headers = {"cache-control": "private, no-cache"}
        response: HTMLResponse = self._templates.TemplateResponse(request, template, names, status, headers)
        return response


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]


def _count(n: int) -> str:
    return f"{n:,}"


def _size(n_bytes: int) -> str:
    for unit, scale in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if n_bytes >= scale:
            return f"{n_bytes / scale:.1f} {unit}"
    return f"{n_bytes} bytes"


def _day_time(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%-d %B %Y, %H:%M UTC")
