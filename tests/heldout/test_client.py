import json
from collections.abc import Callable

import httpx
import pytest

from heldout.client import Client
from heldout.errors import ConflictError, HeldoutError, InputError, NotFoundError, UnavailableError
from heldout.records import ClaimRequest, SearchResult, UrlSubject

CLAIM = {
    "id": "0123456789abcdef",
    "state": "in_force",
    "preference": "train-ai=n",
    "assurance": "declared",
    "acting_as": "artist",
    "received_at": "2026-11-22T00:00:00Z",
    "n_subjects": 1,
    "n_url_subjects": 1,
    "n_image_subjects": 0,
    "log_indices": [0],
}

Answer = Callable[[httpx.Request], httpx.Response]


def client_of(answer: Answer) -> Client:
    return Client("http://registry.example/", transport=httpx.MockTransport(answer))


def test_questions_are_asked_as_the_api_takes_them() -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        request.read()
        seen.append(request)
        return httpx.Response(200, json={"hits": []})

    with client_of(answer) as client:
        for method, name in (
            (client.search_text, "text"),
            (client.search_url, "url"),
            (client.search_site, "site"),
            (client.search_caption, "caption"),
        ):
            assert method("a & b", k=7, datasets=["x", "y"]) == SearchResult(hits=[])
            assert seen[-1].url.path == "/v1/search"
            params = seen[-1].url.params
            assert (params[name], params["k"], params.get_list("dataset")) == ("a & b", "7", ["x", "y"])
        client.search_picture(b"bytes of a picture")
    assert seen[-1].method == "POST"
    assert b'name="picture"' in seen[-1].content
    assert b"bytes of a picture" in seen[-1].content


def test_claim_goes_out_and_comes_back() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert request.headers["idempotency-key"] == "mine"
        assert json.loads(request.content)["subjects"] == [{"kind": "url", "url": "https://art.example/1.jpg"}]
        return httpx.Response(201, json=CLAIM)

    request = ClaimRequest(subjects=[UrlSubject(url="https://art.example/1.jpg")])
    claim = client_of(answer).submit(request, idempotency_key="mine")
    assert claim.id == CLAIM["id"]


def test_claim_and_receipt_are_fetched_by_id() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=CLAIM if "claims" in request.url.path else {"format": "heldout-receipt/1"})

    client = client_of(answer)
    assert client.claim("0123456789abcdef").state == "in_force"
    assert client.receipt("0123456789abcdef") == {"format": "heldout-receipt/1"}
    with pytest.raises(InputError, match="claim's id"):
        client.receipt("../datasets")


def test_datasets_are_listed() -> None:
    assert client_of(lambda _: httpx.Response(200, json=[])).datasets() == []


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (404, NotFoundError),
        (409, ConflictError),
        (413, InputError),
        (422, InputError),
        (429, UnavailableError),
        (500, UnavailableError),
        (503, UnavailableError),
    ],
)
def test_problems_are_raised_as_what_they_are_with_the_servers_words(status: int, kind: type[HeldoutError]) -> None:
    problem = {"type": "about:blank", "status": status, "detail": "the words"}
    with pytest.raises(kind, match=r"registry\.example says: the words"):
        client_of(lambda _: httpx.Response(status, json=problem)).search_text("x")


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"detail": 7}', b"\xff"])
def test_errors_that_are_no_problem_json_still_say_the_status(body: bytes) -> None:
    with pytest.raises(UnavailableError, match="status 502"):
        client_of(lambda _: httpx.Response(502, content=body)).search_text("x")


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"hits": 7}', b"\xff"])
def test_answers_that_are_none_of_heldouts_are_refused(body: bytes) -> None:
    with pytest.raises(UnavailableError, match="heldout server"):
        client_of(lambda _: httpx.Response(200, content=body)).search_text("x")


def test_silence_and_bad_addresses_are_told_apart() -> None:
    def silence(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectTimeout("")

    with pytest.raises(UnavailableError, match="ConnectTimeout"):
        client_of(silence).datasets()
    with pytest.raises(InputError, match="address"):
        Client("registry.example").datasets()
