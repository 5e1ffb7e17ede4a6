"""A server's HTTP API from Python: search, opt out, fetch receipts. The transport can be given, as tests do.

What comes back is the server's word; a receipt is proof, once `heldout.receipts.verify_receipt` has checked it.
Lists are fetched by `heldout.pull`.
"""

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import httpx
from pydantic import TypeAdapter, ValidationError

from heldout import __version__
from heldout.errors import ConflictError, HeldoutError, InputError, NotFoundError, UnavailableError
from heldout.records import Claim, ClaimRequest, DatasetInfo, SearchResult

TIMEOUT_S: Final = 60.0
"""For connecting, and between two bytes: a large search takes seconds."""

_T = TypeVar("_T")

_BY_STATUS: Final[dict[int, type[HeldoutError]]] = {
    404: NotFoundError,
    409: ConflictError,
    429: UnavailableError,
}


class Client:
    """One server.

    Every method raises:
        InputError: the server could not use what was given (as 413, 422), or the address cannot be asked.
        NotFoundError, ConflictError: as the server says (404, 409).
        UnavailableError: no answer, an error of the server's own, or an answer that is none of heldout's.
    """

    def __init__(self, base_url: str, *, transport: httpx.BaseTransport | None = None) -> None:
        self._base_url = base_url.rstrip("/")
        self._http = httpx.Client(
            transport=transport,
            timeout=TIMEOUT_S,
            follow_redirects=True,
            headers={"User-Agent": f"heldout/{__version__}", "Accept": "application/json"},
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

    def search_text(self, text: str, *, k: int | None = None, datasets: Sequence[str] = ()) -> SearchResult:
        """What the picture shows, or a name."""
        return self._search({"text": text}, k, datasets)

    def search_url(self, url: str, *, k: int | None = None, datasets: Sequence[str] = ()) -> SearchResult:
        """A picture's address, however written."""
        return self._search({"url": url}, k, datasets)

    def search_site(self, site: str, *, k: int | None = None, datasets: Sequence[str] = ()) -> SearchResult:
        """A host with its subdomains, or a profile's path."""
        return self._search({"site": site}, k, datasets)

    def search_caption(self, caption: str, *, k: int | None = None, datasets: Sequence[str] = ()) -> SearchResult:
        """Words of the caption."""
        return self._search({"caption": caption}, k, datasets)

    def search_picture(self, data: bytes, *, k: int | None = None, datasets: Sequence[str] = ()) -> SearchResult:
        """Copies of a picture, exact and near, then what looks alike. The server does not keep it."""
        files = {"picture": ("picture", data, "application/octet-stream")}
        return self._ask("POST", "/v1/search", TypeAdapter(SearchResult), params=_params({}, k, datasets), files=files)

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

    def claim(self, claim_id: str) -> Claim:
        """A claim as it stands."""
        return self._get(f"/v1/claims/{_segment(claim_id)}", TypeAdapter(Claim))

    def receipt(self, claim_id: str) -> dict[str, Any]:
        """A claim's receipt, unverified."""
        return self._get(f"/v1/receipts/{_segment(claim_id)}", TypeAdapter(dict[str, Any]))

    def _search(self, question: Mapping[str, str], k: int | None, datasets: Sequence[str]) -> SearchResult:
        return self._get("/v1/search", TypeAdapter(SearchResult), params=_params(question, k, datasets))

    def _get(self, path: str, answer: TypeAdapter[_T], **options: Any) -> _T:  # noqa: ANN401 - httpx's own
        return self._ask("GET", path, answer, **options)

    def _ask(self, method: str, path: str, answer: TypeAdapter[_T], **options: Any) -> _T:  # noqa: ANN401
        url = self._base_url + path
        try:
            response = self._http.request(method, url, **options)
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            raise InputError(f"{url} cannot be asked ({error}): give the server's http or https address") from error
        except httpx.HTTPError as error:
            reason = str(error) or type(error).__name__
            raise UnavailableError(f"{url} did not answer ({reason}): check the address and the connection") from error
        if not response.is_success:
            raise _error(response)
        try:
            return answer.validate_json(response.content)
        except ValidationError as error:
            raise UnavailableError(
                f"{url} did not answer as a heldout server of this version does: check the address, update heldout"
            ) from error


def _params(question: Mapping[str, str], k: int | None, datasets: Sequence[str]) -> list[tuple[str, str]]:
    limit = [] if k is None else [("k", str(k))]
    return [*question.items(), *limit, *(("dataset", name) for name in datasets)]


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
