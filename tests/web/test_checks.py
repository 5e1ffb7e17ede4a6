"""Check these, and a picture by its address, on the site without JavaScript."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient

from heldout.pictures import decode_picture
from indexer.build import build
from indexer.ingest import ingest
from tests.file_server import serve_files
from tests.web.conftest import ColourEncoder, file_of
from tests.web.html import Element, read_page
from web.settings import Settings

HTML = {"accept": "text/html"}


@pytest.fixture
def files(picture: bytes, unknown_picture: bytes) -> dict[str, bytes]:
    half = file_of(decode_picture(picture).resize((120, 96)), "JPEG", quality=80)
    return {"/same.png": picture, "/half.jpg": half, "/other.png": unknown_picture}


@pytest.fixture
def elsewhere(files: dict[str, bytes]) -> Iterator[str]:
    """A web server that has the files; its address."""
    with serve_files(files) as address:
        yield address


@pytest.fixture
def checking_site(  # noqa: PLR0917 - fixtures
    settings: Settings,
    open_site: Callable[[Settings], TestClient],
    files: dict[str, bytes],
    elsewhere: str,
    picture: bytes,
    tmp_path: Path,
) -> TestClient:
    """A site over a data set of addresses and embeddings alone, that may fetch from loopback."""
    folder = tmp_path / "set"
    (folder / "img_emb").mkdir(parents=True)
    (folder / "metadata").mkdir()
    urls = [elsewhere + path for path in (*files, "/gone.png")]
    row = ColourEncoder().embed_images([decode_picture(picture)])
    np.save(folder / "img_emb" / "img_emb_0.npy", np.repeat(row, len(urls), axis=0).astype(np.float16))
    table = pa.table({"url": urls, "caption": [f"pinned {number}" for number in range(len(urls))]})
    pq.write_table(table, folder / "metadata" / "metadata_0.parquet")
    datasets = tmp_path / "own-datasets"
    ingest([folder], release=datasets / "links", encoder=ColourEncoder(), workers=0)
    build(datasets / "links")
    return open_site(settings.model_copy(update={"datasets_dir": datasets, "fetch_networks": "127.0.0.0/8"}))


def search(site: TestClient, picture: bytes) -> Element:
    answer = site.post("/search", files={"picture": ("castle.png", picture)}, headers=HTML)
    assert answer.status_code == 200, answer.text
    return read_page(answer.text)


def titles(page: Element) -> dict[str, list[str]]:
    return {
        section.attributes["aria-labelledby"].removeprefix("found-"): [
            sample.text for sample in section.all("p", class_="why")
        ]
        for section in page.all("section", class_="found")
    }


def test_what_is_known_by_address_only_can_be_checked_by_one_button(checking_site: TestClient, picture: bytes) -> None:
    page = search(checking_site, picture)
    assert titles(page).keys() == {"similar"}
    assert "unverified" in page.all("article")[0].text
    form = page.one("form", action="/search/check")
    assert "4 of what looks alike are known here by address only" in form.text
    assert form.one("button").text == "Check these"
    answer = checking_site.post(
        "/search/check", files=[(name, (None, value)) for name, value in form.fields()], headers=HTML
    )
    assert answer.status_code == 200, answer.text
    checked = read_page(answer.text)
    assert checked.one("p", role="status").text == "We checked 4 pictures: 2 are copies."
    assert titles(checked) == {
        "exact": ["The same file, byte for byte"],
        "different": ["No proof that it is a copy"],
        "not_fetched": ["Its server answered with status 404"],
    }
    assert "2 copies" in checked.all("article")[0].text
    assert not checked.all("form", action="/search/check")
    assert checked.one("form", action="/basket").all("input", name="pick")
    mine = checked.one("span", class_="mat asked-picture").one("img")
    assert mine.attributes["src"].startswith("data:image/webp;base64,")


def test_a_form_this_site_did_not_make_is_refused(checking_site: TestClient) -> None:
    pixel, hexes = "00" * 32, "ab" * 32
    for fields in (
        {},
        {"picture": f"{pixel}.90.{hexes}"},
        {"picture": f"{pixel}.90.{hexes}", "seen": "!!!", "pick": "links@1:0"},
        {"picture": f"{pixel}.90.{hexes}", "seen": "aGVsbG8=", "pick": "links@1:0"},
        {"picture": f"{pixel}.90.{hexes}", "seen": "\N{LATIN SMALL LETTER E WITH ACUTE}", "pick": "links@1:0"},
        {"picture": "x", "seen": "", "pick": "links@1:0"},
    ):
        files = [(name, (None, value)) for name, value in fields.items()] or [("other", (None, "1"))]
        answer = checking_site.post("/search/check", files=files, headers=HTML)
        assert answer.status_code == 422, fields
        assert read_page(answer.text).all("input", id="q"), "the box is there to try again"
    assert checking_site.post("/search/check", headers={"origin": "https://evil.example"}).status_code == 403


def test_an_address_leads_to_the_picture_at_it(checking_site: TestClient, elsewhere: str) -> None:
    page = read_page(checking_site.get("/search", params={"q": f"{elsewhere}/unlisted.png"}, headers=HTML).text)
    form = page.one("form", class_="fetch")
    assert form.fields() == [("picture_url", f"{elsewhere}/unlisted.png")]
    fields = [("picture_url", (None, f"{elsewhere}/half.jpg"))]
    found = read_page(checking_site.post("/search", files=fields, headers=HTML).text)
    assert found.one("h1").text == "Your picture"
    missing = checking_site.post("/search", files=[("picture_url", (None, f"{elsewhere}/none.png"))], headers=HTML)
    assert missing.status_code == 422
    assert "status 404" in read_page(missing.text).one("main").text


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/a.png", "http://10.1.2.3/a.png", "http://[::1]/", "file:///etc/passwd"]
)
def test_private_addresses_are_refused_alike_for_people_and_programs(site: TestClient, url: str) -> None:
    fields = [("picture_url", (None, url))]
    page = site.post("/search", files=fields, headers=HTML)
    problem = site.post("/v1/search", files=fields)
    assert (page.status_code, problem.status_code) == (422, 422)
    assert problem.headers["content-type"] == "application/problem+json"
    assert problem.json()["detail"] in read_page(page.text).one("main").text
