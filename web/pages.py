"""Rendering: a page's dataclass into its template, and addresses of the site's own files. No look-ups."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Protocol
from urllib.parse import urlencode

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from starlette.templating import Jinja2Templates

from web import words
from web.basket_cookie import basket_count

HERE = Path(__file__).parent
STATIC_DIR = HERE / "static"
TEMPLATES_DIR = HERE / "templates"


class PageContext(Protocol):
    """Any dataclass of `web.contexts`."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


@dataclass(frozen=True)
class LanguageSwitch:
    """The way to the same page in another language."""

    code: str
    name: str
    """By its own name: whoever looks for it may read no other."""
    href: str
    repeated: Sequence[tuple[str, str]] | None
    """Fields of the form that made this page, to be sent again; None where a link does."""
    is_elsewhere: bool
    """Whether it leads to the first page: what made this page cannot be sent again, so this one must stay open."""


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
            extensions=["jinja2.ext.i18n"],
        )
        environment.policies["ext.i18n.trimmed"] = True
        environment.install_gettext_callables(  # type: ignore[attr-defined] # the extension adds it
            words.gettext, words.plural, newstyle=True, pgettext=words.pgettext
        )
        environment.globals.update(
            asset=self.asset, for_script=words.gettext, language=words.language, language_switches=language_switches
        )
        environment.globals["basket_count"] = basket_count
        environment.filters.update(
            count=words.count, decimal=words.decimal, size=words.size, day=words.day, day_time=words.day_time
        )
        self.environment = environment
        self._templates = Jinja2Templates(env=environment)

    @property
    def versions(self) -> Mapping[str, str]:
        """File of the site -> the version its address carries."""
        return self._versions

    def asset(self, name: str) -> str:
        """Address of one of the site's own files; another one when the file changes."""
        return f"/static/{name}?v={self._versions[name]}"

    def render(
        self,
        request: Request,
        template: str,
        context: PageContext,
        *,
        status: int = 200,
        repeated: Sequence[tuple[str, str]] | None = None,
    ) -> HTMLResponse:
        """A page. The template sees the dataclass's fields, and nothing else of the application.

        `repeated`: the form that made this page, where sending it again makes the page again and changes nothing.
        """
        names = {field.name: getattr(context, field.name) for field in fields(context)}
        request.state.repeated = repeated
        headers = {
            # Pages show what somebody searched for, and change with each opt-out. Going back may still show them again.
            "cache-control": "private, no-cache",
            "content-language": words.language(),
        }
        if request.method in {"GET", "HEAD"}:
            # A form's answer goes by its fields. Were it to vary by cookies, going back to it after one was set, as a
            # basket's is, would ask to send the form again, picture and all.
            headers["vary"] = "Accept-Language, Cookie"
        response: HTMLResponse = self._templates.TemplateResponse(request, template, names, status, headers)
        return response


def language_switches(request: Request) -> list[LanguageSwitch]:
    """The other languages, each with the way to this very page in it.

    A page made by a form has no address to come back to. Its fields are sent again where that is safe; where it is not,
    or they hold a file, the first page opens beside it in the other language, and nothing is lost.
    """
    asked = [(name, value) for name, value in request.query_params.multi_items() if name != "lang"]
    repeated: Sequence[tuple[str, str]] | None = getattr(request.state, "repeated", None)
    is_elsewhere = request.method not in {"GET", "HEAD"} and repeated is None
    switches = []
    for code, name in words.NAMES.items():
        if code != words.language():
            query = urlencode([("lang", code)] if is_elsewhere else [*asked, ("lang", code)])
            # In full, path and all: an address that begins with two slashes would be another site's.
            path = "/" if is_elsewhere else "/" + request.url.path.lstrip("/")
            switches.append(LanguageSwitch(code, name, f"{path}?{query}", repeated, is_elsewhere))
    return switches


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]
