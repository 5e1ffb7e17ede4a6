"""The site's languages: which one a visitor reads, its sentences from a gettext catalogue, its numbers and dates.

The source of every sentence is English, in the code; `locale/<language>/LC_MESSAGES/messages.po` has the others, and is
compiled in memory when the first page asks for it: no build step. What a request is answered in is a context variable,
set by `Languages`; outside of a request, and for the API, it is English. docs/translating.md is the manual.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import cache
from gettext import GNUTranslations, NullTranslations
from io import BytesIO
from pathlib import Path
from typing import Final

from babel import Locale
from babel.dates import format_date
from babel.lists import format_list
from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.numbers import format_decimal
from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOCALE_DIR: Final = Path(__file__).parent / "locale"
SOURCE: Final = "en"
"""The language of the sentences in the code."""
NAMES: Final[Mapping[str, str]] = {SOURCE: "English", "es": "Español"}
"""The site's languages, each by its own name."""
COOKIE: Final = "lang"
COOKIE_AGE_S: Final = 365 * 86_400
_MAX_HEADER_CHARS: Final = 500
_LOCALES: Final = {SOURCE: Locale("en", "GB"), "es": Locale("es", "ES")}

_language: ContextVar[str] = ContextVar("language", default=SOURCE)


def language() -> str:
    """The language of what is being answered."""
    return _language.get()


@contextmanager
def in_language(code: str) -> Iterator[None]:
    """Say everything within in this language, one of `NAMES`."""
    token = _language.set(code)
    try:
        yield
    finally:
        _language.reset(token)


def gettext(text: str, /, **values: object) -> str:
    """A sentence in the visitor's language; `%(name)s` in it stands for a value."""
    said = _catalogue(language()).gettext(text) if text else ""  # a catalogue keeps its head under the empty text
    return said % values if values else said


def ngettext(one: str, many: str, n: int, /, **values: object) -> str:
    """A sentence that depends on a number; `%(n)s` in it is the number, as the language writes it."""
    return plural(one, many, n) % ({"n": count(n)} | values)


def plural(one: str, many: str, n: int) -> str:
    """The form of a sentence that goes with a number, its `%(n)s` still in it."""
    return _catalogue(language()).ngettext(one, many, n)


def pgettext(context: str, text: str, /, **values: object) -> str:
    """A word that means several things in English: `context` says which."""
    said = _catalogue(language()).pgettext(context, text)
    return said % values if values else said


def gettext_noop(text: str) -> str:
    """The text as it is, marked for translation: for constants, which `gettext` gets when they are shown."""
    return text


def count(n: int) -> str:
    """A number as the language groups its digits."""
    return format_decimal(n, locale=_LOCALES[language()])


def decimal(value: float, digits: int) -> str:
    """A number with this many decimals."""
    return format_decimal(round(value, digits), format=f"#,##0.{'0' * digits}", locale=_LOCALES[language()])


def listed(parts: Sequence[str]) -> str:
    """Things one after another: `a, b and c`."""
    return format_list(parts, locale=_LOCALES[language()])


def size(n_bytes: int) -> str:
    """A size of a file: `1.3 MB`."""
    for unit, scale in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if n_bytes >= scale:
            return f"{decimal(n_bytes / scale, 1)} {unit}"
    return ngettext("%(n)s byte", "%(n)s bytes", n_bytes)


def day(at: datetime) -> str:
    """A date, in UTC: `22 November 2026`."""
    return format_date(at.astimezone(UTC).date(), "long", locale=_LOCALES[language()])


def day_time(at: datetime) -> str:
    """A date and time, in UTC: `22 November 2026, 08:00 UTC`."""
    return f"{day(at)}, {at.astimezone(UTC):%H:%M} UTC"


@cache
def _catalogue(code: str) -> NullTranslations:
    if code == SOURCE:
        return NullTranslations()
    compiled = BytesIO()
    write_mo(compiled, read_catalogue(code))  # leaves out what is marked as fuzzy, as `msgfmt` does
    compiled.seek(0)
    return GNUTranslations(compiled)


def read_catalogue(code: str) -> Catalog:
    """The source of a language's catalogue.

    Raises:
        PoFileError: it is not well formed.
    """
    with (LOCALE_DIR / code / "LC_MESSAGES" / "messages.po").open("rb") as source:
        return read_po(source, abort_invalid=True)


class Languages:
    """Middleware: chooses the language of each request, and remembers one that was asked for by `?lang=`.

    It is the one asked for, else that of the cookie, else the one that `Accept-Language` likes best, else English.
    """

    def __init__(self, app: ASGIApp, *, is_https: bool) -> None:
        self._app = app
        self._attributes = f"Path=/; Max-Age={COOKIE_AGE_S}; HttpOnly; SameSite=lax{'; Secure' if is_https else ''}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, in a language."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        asked = HTTPConnection(scope).query_params.get("lang", "")
        chosen = negotiate(scope)

        async def send_and_remember(message: Message) -> None:
            if message["type"] == "http.response.start" and asked == chosen:
                MutableHeaders(scope=message).append("set-cookie", f"{COOKIE}={chosen}; {self._attributes}")
            await send(message)

        with in_language(chosen):
            await self._app(scope, receive, send_and_remember)


def negotiate(scope: Scope) -> str:
    """The language to answer a request in."""
    connection = HTTPConnection(scope)
    for wish in (connection.query_params.get("lang", ""), connection.cookies.get(COOKIE, "")):
        if wish in NAMES:
            return wish
    return accepted(connection.headers.get("accept-language", ""))


def accepted(header: str) -> str:
    """The one of our languages that an `Accept-Language` header (RFC 9110 §12.5.4) likes best; English if none.

    `es-MX` is Spanish here; a language with `q=0` is never chosen; of equals, the first named. What does not parse is
    passed over.
    """
    best, most = SOURCE, 0.0
    for part in header[:_MAX_HEADER_CHARS].split(","):
        tag, *parameters = (piece.strip().lower() for piece in part.split(";"))
        code = SOURCE if tag == "*" else tag.partition("-")[0]
        weight = _weight(parameters)
        if code in NAMES and weight > most:
            best, most = code, weight
    return best


def _weight(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                weight = float(value)
            except ValueError:
                return 0.0
            return weight if 0 <= weight <= 1 else 0.0
    return 1.0
