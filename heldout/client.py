"""A server's HTTP API from Python: search, opt out, fetch receipts. The transport can be given, as tests do.

What comes back is the server's word; a receipt is proof, once `heldout.receipts.verify_receipt` has checked it.
Lists are fetched by `heldout.pull`.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Final, Self, TypedDict, TypeVar, Unpack
from urllib.parse import quote

import httpx
from pydantic import TypeAdapter, ValidationError

from heldout import __version__
from heldout.errors import AccessError, ConflictError, HeldoutError, InputError, NotFoundError, UnavailableError
from heldout.lookup_records import LookupRequest, LookupResult, RangeFacts
from heldout.records import (
    CheckResult,
    Claim,
    ClaimPage,
    ClaimPreview,
    ClaimRequest,
    DatasetInfo,
    Sample,
    SearchFilters,
    SearchResult,
)

TIMEOUT_S: Final = 60.0
"""For connecting, and between two bytes: a large search takes seconds."""

MAX_ASKED: Final = 100
"""Samples named in one request for a check; a server checks fewer at a time."""

_T = TypeVar("_T")

_BY_STATUS: Final[dict[int, type[HeldoutError]]] = {
    401: AccessError,
    403: AccessError,
    404: NotFoundError,
    405: NotFoundError,  # as file servers answer questions
    501: NotFoundError,
    409: ConflictError,
    429: UnavailableError,
}


class SearchOptions(TypedDict, total=False):
    """As the arguments of `Client.search`."""

    k: int | None
    datasets: Sequence[str]
    filters: SearchFilters | None
    cursor: str | None


class Client:
    """One server.

    Every method raises:
        InputError: the server could not use what was given (as 413, 422), or the address cannot be asked.
        AccessError, NotFoundError, ConflictError: as the server says (401 and 403; 404, 405 and 501; 409).
        UnavailableError: no answer, an error of the server's own, or an answer that is none of heldout's.
    """

    def __init__(self, base_url: str, *, key: str | None = None, transport: httpx.BaseTransport | None = None) -> None:
        """Ask the server at `base_url`, with an account's API key if there is one (`heldout_...`)."""
        self._base_url = base_url.rstrip("/")
        headers = {"User-Agent": f"heldout/{__version__}", "Accept": "application/json"}
        if key is not None:
            if not (key.isascii() and key.isprintable()):
                raise InputError("the key holds characters that no key has: give it as the account's page showed it")
            headers["Authorization"] = f"Bearer {key}"
        self._http = httpx.Client(
            transport=transport,
            timeout=TIMEOUT_S,
            follow_redirects=True,
            headers=headers,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of connections."""
        self._http.close()

    def datasets(self) -> list[DatasetInfo]:
        """Data sets that can be searched."""
        return self._get("/v1/datasets", TypeAdapter(list[DatasetInfo]))

    def search(
        self,
        door: str,
        question: str | bytes,
        *,
        k: int | None = None,
        datasets: Sequence[str] = (),
        filters: SearchFilters | None = None,
        cursor: str | None = None,
    ) -> SearchResult:
        """One page of an answer.

        Args:
            door: `text`, `url`, `site`, `caption` or `image`.
            question: words or an address; for `image` the file's bytes, or an address that the server fetches it from.
            k: groups a page; the server's default when left out.
            datasets: only these; all by default.
            filters: which hits the answer is to have.
            cursor: `next_cursor` of the page before, asked with all else the same.
        """
        params = _params(k, datasets, filters or SearchFilters(), cursor)
        answer = TypeAdapter(SearchResult)
        if door == "image":
            return self._ask("POST", "/v1/search", answer, params=params, files=_form(question))
        if isinstance(question, bytes):
            raise InputError(f"the door {door!r} takes words: give a picture's bytes to 'image'")
        return self._get("/v1/search", answer, params=[(door, question), *params])

    def search_text(self, text: str, **options: Unpack[SearchOptions]) -> SearchResult:
        """What the picture shows, or a name."""
        return self.search("text", text, **options)

    def search_url(self, url: str, **options: Unpack[SearchOptions]) -> SearchResult:
        """A picture's address, however written."""
        return self.search("url", url, **options)

    def search_site(self, site: str, **options: Unpack[SearchOptions]) -> SearchResult:
        """A host with its subdomains, or a profile's path."""
        return self.search("site", site, **options)

    def search_caption(self, caption: str, **options: Unpack[SearchOptions]) -> SearchResult:
        """Words of the caption."""
        return self.search("caption", caption, **options)

    def search_picture(self, picture: str | bytes, **options: Unpack[SearchOptions]) -> SearchResult:
        """Copies of a picture, exact and near, then what looks alike. The server does not keep it."""
        return self.search("image", picture, **options)

    def check(self, picture: str | bytes, samples: Sequence[Sample], *, generations: Mapping[str, int]) -> CheckResult:
        """Which of an answer's `unverified` hits are copies: the server fetches just these, some at a time.

        Args:
            picture: what was searched with.
            samples: those of the hits. The answer has the first of them; ask again for the rest.
            generations: the answer's.
        """
        picks = [
            (f"{quote(each.dataset, safe='')}@{generations[each.dataset]}:{each.id}") for each in samples[:MAX_ASKED]
        ]
        files = [*_form(picture), *(("pick", (None, pick)) for pick in picks)]
        return self._ask("POST", "/v1/search/check", TypeAdapter(CheckResult), files=files)

    def submit(self, request: ClaimRequest, *, idempotency_key: str | None = None) -> Claim:
        """Opt works out.

        Args:
            request: what, and in which role.
            idempotency_key: any text of one's own; sent again with the same request, it makes no second claim.
        """
        headers = {"Content-Type": "application/json"}
        if idempotency_key is not None:
            headers["Idempotency-Key"] = idempotency_key
        content = request.model_dump_json().encode()
        return self._ask("POST", "/v1/claims", TypeAdapter(Claim), content=content, headers=headers)

    def preview(self, request: ClaimRequest) -> ClaimPreview:
        """What a claim would hold, what it says twice, and what it cannot hold. Nothing is stored."""
        headers = {"Content-Type": "application/json"}
        content = request.model_dump_json().encode()
        return self._ask("POST", "/v1/claims/preview", TypeAdapter(ClaimPreview), content=content, headers=headers)

    def claims(self, *, cursor: str | None = None) -> ClaimPage:
        """A page of the claims of the key's account, newest first."""
        params = {} if cursor is None else {"cursor": cursor}
        return self._get("/v1/claims", TypeAdapter(ClaimPage), params=params)

    def withdraw(self, claim_id: str, *, secret: str | None = None) -> Claim:
        """Take a claim back: with its account's key or, if it belongs to none, with its secret."""
        path = f"/v1/claims/{_segment(claim_id)}/withdraw"
        return self._ask("POST", path, TypeAdapter(Claim), json={"secret": secret})

    def claim(self, claim_id: str) -> Claim:
        """A claim as it stands."""
        return self._get(f"/v1/claims/{_segment(claim_id)}", TypeAdapter(Claim))

    def receipt(self, claim_id: str) -> dict[str, Any]:
        """A claim's receipt, unverified."""
        return self._get(f"/v1/receipts/{_segment(claim_id)}", TypeAdapter(dict[str, Any]))

    def look_up(self, request: LookupRequest) -> LookupResult:
        """What the server's list says. The server learns what is asked; `heldout.private_lookups` asks otherwise."""
        headers = {"Content-Type": "application/json"}
        content = request.model_dump_json().encode("utf-8", "backslashreplace")
        return self._ask("POST", "/v1/check", TypeAdapter(LookupResult), content=content, headers=headers)

    def range_facts(self) -> RangeFacts:
        """How to look up privately."""
        return self._get("/v1/range", TypeAdapter(RangeFacts))

    def read(self, path: str, max_bytes: int) -> bytes:
        """What is at a path of the server. Raises UnavailableError besides: it is longer than `max_bytes`."""
        url = self._base_url + path
        data = bytearray()
        with _translated(url), self._http.stream("GET", url, headers={"Accept": "*/*"}) as response:
            if not response.is_success:
                response.read()
                raise _error(response)
            for chunk in response.iter_bytes():
                data += chunk
                if len(data) > max_bytes:
                    raise UnavailableError(f"{url} is longer than the {max_bytes} bytes it may have: check the address")
        return bytes(data)

    def _get(self, path: str, answer: TypeAdapter[_T], **options: Any) -> _T:  # noqa: ANN401 - httpx's own
        return self._ask("GET", path, answer, **options)

    def _ask(self, method: str, path: str, answer: TypeAdapter[_T], **options: Any) -> _T:  # noqa: ANN401
        url = self._base_url + path
        with _translated(url):
            response = self._http.request(method, url, **options)
        if not response.is_success:
            raise _error(response)
        try:
            return answer.validate_json(response.content)
        except ValidationError as error:
            raise UnavailableError(
                f"{url} did not answer as a heldout server of this version does: check the address, update heldout"
            ) from error


@contextmanager
def _translated(url: str) -> Iterator[None]:
    """Failures to ask as errors of ours."""
    try:
        yield
    except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
        raise InputError(f"{url} cannot be asked ({error}): give the server's http or https address") from error
    except httpx.HTTPError as error:
        reason = str(error) or type(error).__name__
        raise UnavailableError(f"{url} did not answer ({reason}): check the address and the connection") from error


def _params(
    k: int | None, datasets: Sequence[str], filters: SearchFilters, cursor: str | None
) -> list[tuple[str, str]]:
    given: list[tuple[str, object]] = [
        ("k", k),
        *(("dataset", name) for name in datasets),
        *(("host", host) for host in filters.hosts),
        ("min_width", filters.min_width),
        ("min_height", filters.min_height),
        *(("label", label) for label in filters.labels),
        ("safety", None if filters.safety == "any" else filters.safety),
        ("not_opted_out", "true" if filters.not_opted_out else None),
        ("cursor", cursor),
    ]
    return [(name, str(value)) for name, value in given if value is not None]


def _form(picture: str | bytes) -> list[tuple[str, Any]]:
    """A picture's bytes, or its address, as the fields of a form."""
    if isinstance(picture, str):
        return [("picture_url", (None, picture))]
    return [("picture", ("picture", picture, "application/octet-stream"))]


def _segment(text: str) -> str:
    if not text.isalnum() or not text.isascii():
        raise InputError(f"{text!r:.80} is not a claim's id: give the letters and digits from the receipt")
    return text


def _error(response: httpx.Response) -> HeldoutError:
    """The server's problem+json as the error it is."""
    try:
        problem = response.json()
    except ValueError:
        problem = None
    detail = problem.get("detail") if isinstance(problem, dict) else None
    reason = detail if isinstance(detail, str) else f"status {response.status_code}"
    fallback = InputError if 400 <= response.status_code < 500 else UnavailableError
    kind = _BY_STATUS.get(response.status_code, fallback)
    return kind(f"{response.url.host} says: {reason}")
