import json
from collections.abc import Callable

import httpx
import pytest

from heldout.client import Client
from heldout.errors import AccessError, ConflictError, HeldoutError, InputError, NotFoundError, UnavailableError
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


def test_a_key_goes_out_with_every_request_and_is_needed_for_ones_own() -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={"claims": [CLAIM], "next_cursor": "1-a"})

    client = Client("http://registry.example", key="heldout_a_b", transport=httpx.MockTransport(answer))
    with client:
        assert [claim.id for claim in client.claims(cursor="2-b").claims] == [CLAIM["id"]]
    assert seen[0].headers["authorization"] == "Bearer heldout_a_b"
    assert seen[0].url.params["cursor"] == "2-b"
    with pytest.raises(InputError, match="key"):
        Client("http://registry.example", key="heldout_\n")


def test_a_claim_is_taken_back_with_its_secret() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert request.url.path == f"/v1/claims/{CLAIM['id']}/withdraw"
        assert json.loads(request.content) == {"secret": "mine"}
        return httpx.Response(200, json=CLAIM | {"state": "withdrawn"})

    with client_of(answer) as client:
        assert client.withdraw(str(CLAIM["id"]), secret="mine").state == "withdrawn"


@pytest.mark.parametrize("status", [401, 403])
def test_what_is_not_ones_own_is_an_error_of_its_own(status: int) -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(status, json={"detail": "Not yours."})

    with client_of(answer) as client, pytest.raises(AccessError, match=r"registry\.example says: Not yours\."):
        client.claims()
