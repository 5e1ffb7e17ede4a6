"""The sheet of evidence: what it says, on a page and as a PDF, and that it names nobody."""

import io

import pytest
from fastapi.testclient import TestClient
from pypdf import PdfReader

from registry.service import Registry
from tests.web.html import read_page
from tests.web.test_claim_pages import HTML, confirm_form, fields, page_of, post, tick
from web.settings import Settings

pytestmark = pytest.mark.opts_out


@pytest.fixture
def claim(site: TestClient) -> str:
    """The address of a claim's page: Jane's most copied work, with an e-mail that nobody is to see."""
    form = confirm_form(site, tick(site, "/search?q=https://jane.example/art/0.png"))
    place = post(site, "/opt-out", fields(form, contact="jane@mail.example", acting_as="estate")).headers["location"]
    return place.partition("/done")[0]


def pdf_text(site: TestClient, claim: str, **headers: str) -> str:
    answer = site.get(f"{claim}/evidence.pdf", headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/pdf"
    return "\n".join(page.extract_text() for page in PdfReader(io.BytesIO(answer.content)).pages)


def rows_of(site: TestClient, claim: str) -> dict[str, str]:
    page = page_of(site.get(f"{claim}/evidence", headers=HTML))
    return {row.one("dt").text: row.one("dd").text for row in page.one("dl", class_="facts").all("div")}


def publish(settings: Settings) -> int:
    with Registry(settings.state_dir) as registry:
        return registry.publish().version


def test_the_sheet_says_what_was_claimed_when_and_where_that_is_proved(
    site: TestClient, claim: str, settings: Settings
) -> None:
    version = publish(settings)
    page, rows = page_of(site.get(f"{claim}/evidence", headers=HTML)), rows_of(site, claim)
    receipt = site.get(f"/v1/receipts/{claim.rpartition('/')[2]}").json()
    assert rows["Made by"].startswith("the artist\u2019s estate or heir")
    assert "nobody has checked" in rows["Made by"]
    assert rows["In the exclusion list"].startswith(f"In every version from {version} ")
    assert rows["SHA-256 of the receipt"] == receipt["sha256"]
    assert rows["Root of the log"] in receipt["checkpoint"]
    assert page.one("pre", aria_label="The signed checkpoint").text.split() == receipt["checkpoint"].split()
    text = pdf_text(site, claim)
    for said in (rows["Number"], rows["Received"], rows["Root of the log"], rows["SHA-256 of the receipt"]):
        assert said in text.replace("\n", "") or said in text
    assert "heldout verify" in text


def test_it_shows_the_pictures_that_the_data_sets_have(site: TestClient, claim: str) -> None:
    page = page_of(site.get(f"{claim}/evidence", headers=HTML))
    (thumb,) = page.one("ul", class_="thumbs").all("img")  # five files are one picture
    assert site.get(thumb.attributes["src"]).headers["content-type"] == "image/webp"
    assert len(page_of(site.get(claim, headers=HTML)).one("ul", class_="thumbs").all("img")) == 1
    sheets = PdfReader(io.BytesIO(site.get(f"{claim}/evidence.pdf").content))
    assert len(sheets.pages[0].images) == 1
    assert str(sheets.root_object["/Lang"]) == "en"


def test_a_place_or_an_address_alone_has_a_sheet_without_pictures(site: TestClient) -> None:
    subjects = [{"kind": "url", "url": "https://jane.example/holiday.jpg"}, {"kind": "host", "host": "jane.example"}]
    number = site.post("/v1/claims", json={"subjects": subjects}).json()["id"]
    page = page_of(site.get(f"/claims/{number}/evidence", headers=HTML))
    assert page.all("ul", class_="thumbs") == []
    assert "1 address; 1 site" in page.text
    assert "1 address; 1 site" in pdf_text(site, f"/claims/{number}")


def test_it_names_nobody_and_no_address(site: TestClient, claim: str) -> None:
    for text in (site.get(f"{claim}/evidence").text, pdf_text(site, claim)):
        assert "mail.example" not in text
        assert "jane.example/art" not in text
        assert "secret=" not in text


def test_a_claim_that_was_taken_back_names_the_versions_it_was_in(
    site: TestClient, claim: str, settings: Settings
) -> None:
    assert "Not in a published list yet." in site.get(f"{claim}/evidence").text
    version = publish(settings)
    with Registry(settings.state_dir) as registry:
        registry.withdraw(claim.rpartition("/")[2], reason="by-claimant")
    publish(settings)
    page = page_of(site.get(f"{claim}/evidence", headers=HTML))
    assert f"In version {version} (" in page.text
    assert "It was taken back since, and no longer counts." in page.text
    assert "It was taken back since" in pdf_text(site, claim)


def test_a_claim_that_was_taken_back_before_any_list_is_in_none(
    site: TestClient, claim: str, settings: Settings
) -> None:
    with Registry(settings.state_dir) as registry:
        registry.withdraw(claim.rpartition("/")[2], reason="by-claimant")
    publish(settings)
    assert rows_of(site, claim)["In the exclusion list"] == "In no published list."


def test_what_waits_for_proof_is_in_no_list_until_it_is_proved(site: TestClient, settings: Settings) -> None:
    number = site.post("/v1/claims", json={"subjects": [{"kind": "host", "host": "jane.example"}]}).json()["id"]
    publish(settings)
    assert rows_of(site, f"/claims/{number}")["In the exclusion list"] == "Not in a published list yet."
    assert "It does not count yet: it waits for proof." in site.get(f"/claims/{number}/evidence").text
    with Registry(settings.state_dir) as registry:
        registry.raise_assurance(number, "host", reason="dns-txt")
    version = publish(settings)
    assert rows_of(site, f"/claims/{number}")["In the exclusion list"].startswith(f"In every version from {version} ")


def test_a_list_with_a_part_of_a_claim_is_not_said_to_have_all_of_it(site: TestClient, settings: Settings) -> None:
    subjects = [{"kind": "url", "url": "https://jane.example/holiday.jpg"}, {"kind": "host", "host": "jane.example"}]
    number = site.post("/v1/claims", json={"subjects": subjects}).json()["id"]
    version = publish(settings)
    said = f"A part of it only. In every version from {version} "
    assert rows_of(site, f"/claims/{number}")["In the exclusion list"].startswith(said)
    with Registry(settings.state_dir) as registry:
        registry.raise_assurance(number, "host", reason="dns-txt")
    publish(settings)
    assert rows_of(site, f"/claims/{number}")["In the exclusion list"].startswith(said)


def test_it_is_in_the_readers_language(site: TestClient, claim: str) -> None:
    answer = site.get(f"{claim}/evidence.pdf", headers={"accept-language": "es"})
    assert str(PdfReader(io.BytesIO(answer.content)).root_object["/Lang"]) == "es"


def test_a_claim_outside_the_log_has_no_evidence_yet(site: TestClient, settings: Settings) -> None:
    in_the_way = settings.state_dir / "public" / "log" / "tile"
    in_the_way.parent.mkdir(parents=True, exist_ok=True)
    in_the_way.write_text("")
    number = site.post("/v1/claims", json={"subjects": [{"kind": "url", "url": "https://a.example/1"}]}).json()["id"]
    for path in ("evidence", "evidence.pdf"):
        answer = site.get(f"/claims/{number}/{path}", headers=HTML)
        assert answer.status_code == 404
        assert "not in the public log yet" in read_page(answer.text).text
    assert site.get("/claims/nothing/evidence.pdf").status_code == 404
