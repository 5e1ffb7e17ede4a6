"""The log's explorer as the server makes it: entries, proofs, checkpoints, receipts; also without JavaScript."""

import json

from fastapi.testclient import TestClient

from heldout.checkpoint import Verifier, from_base64, open_checkpoint
from heldout.leaves import format_leaf, parse_leaf
from heldout.merkle import leaf_hash, verify_inclusion
from heldout.records import ClaimRequest, ImageSubject, UrlSubject
from registry.service import Registry
from tests.heldout.cosigning import Witness
from tests.web.html import Element, read_page
from web.log_reading import LogView, kind_of
from web.pages import STATIC_DIR

HTML = {"accept": "text/html"}


def opt_out(site: TestClient, *urls: str) -> str:
    request = ClaimRequest(subjects=[UrlSubject(url=url) for url in urls])
    number: str = site.post("/v1/claims", json=request.model_dump(mode="json")).json()["id"]
    return number


def get(site: TestClient, path: str, status: int = 200) -> Element:
    answer = site.get(path, headers=HTML)
    assert answer.status_code == status, answer.text
    return read_page(answer.text)


def registry_of(site: TestClient) -> Registry:
    found: Registry = site.app.state.registry  # type: ignore[attr-defined]
    return found


def newest_note(site: TestClient) -> str:
    return site.get("/log/checkpoint").text


def test_entries_are_listed_newest_first_by_kind_and_in_pages(own_site: TestClient) -> None:
    claims = [opt_out(own_site, f"https://jane.example/{i}.png") for i in range(43)]
    registry_of(own_site).withdraw(claims[0], reason="by-operator")
    page = get(own_site, "/explore")
    shown = page.one("ol", class_="entries").all("li")
    assert [each.attributes["value"] for each in shown] == [str(index) for index in range(43, 3, -1)]
    assert "Taken back" in shown[0].text
    (older,) = page.all("a", rel="next")
    rest = get(own_site, older.attributes["href"])
    assert [each.attributes["value"] for each in rest.one("ol", class_="entries").all("li")] == ["3", "2", "1", "0"]
    assert rest.all("a", href="/explore", rel="next") == []
    only = get(own_site, "/explore?kind=withdraw").one("ol", class_="entries").all("li")
    assert [each.attributes["value"] for each in only] == ["43"]
    assert "There are none of these." in get(own_site, "/explore?kind=list").text
    get(own_site, "/explore?kind=nonsense", status=404)


def test_a_rare_kind_is_looked_for_in_a_bounded_part_and_one_can_go_on(own_site: TestClient) -> None:
    registry = registry_of(own_site)
    first = opt_out(own_site, "https://jane.example/first.png")
    registry.withdraw(first, reason="by-operator")
    for i in range(260):
        registry.submit(ClaimRequest(subjects=[UrlSubject(url=f"https://jane.example/{i}.png")]))
    log = LogView(registry.state_dir, registry.vkey)
    assert log.before(log.checkpoint.size, "withdraw", 40, max_bundles=1) == ([], 256)
    found, rest = log.before(256, "withdraw", 40, max_bundles=1)
    assert ([index for index, _ in found], rest) == ([1], 0)
    assert len(get(own_site, "/explore?kind=withdraw").one("ol", class_="entries").all("li")) == 1


def test_an_entry_is_shown_with_a_proof_that_verifies(own_site: TestClient) -> None:
    claim = opt_out(own_site, "https://jane.example/0.png")
    opt_out(own_site, "https://jane.example/1.png", "https://jane.example/2.png")
    page = get(own_site, "/explore/entries/0")
    main = page.one("main")
    assert main.one("a", href=f"/claims/{claim}").text == claim
    text = main.one("pre", class_="raw").text
    assert format_leaf(parse_leaf(text.encode())) == text.encode()
    checkpoint = open_checkpoint(newest_note(own_site), Verifier.parse(registry_of(own_site).vkey))
    hashes = page.one("pre", aria_label="Hashes of the proof").text.split(" Root:")[0].split()
    verify_inclusion(
        leaf_hash(text.encode()), 0, checkpoint.size, [from_base64(node) for node in hashes], checkpoint.root
    )
    raw = main.all("a", href="/log/tile/entries/000.p/2")
    assert raw
    assert text.encode() in own_site.get(raw[0].attributes["href"]).content


def test_a_list_and_a_part_of_a_claim_are_told_in_words(own_site: TestClient) -> None:
    subjects = [ImageSubject(pdq=f"{i:064x}", quality=90, sha256=f"{i:064x}") for i in range(301)]
    own_site.post("/v1/claims", json=ClaimRequest(subjects=subjects).model_dump(mode="json"))
    registry_of(own_site).publish()
    first = get(own_site, "/explore/entries/0").one("main").text
    assert "300 pictures must not be used for training" in first
    assert "Part 1 of 2." in first
    assert "and 200 more" in first
    listed = get(own_site, "/explore/entries/2").one("main").text
    assert "Version 1 of the exclusion list was published." in listed


def test_there_is_no_entry_beyond_the_log(own_site: TestClient) -> None:
    opt_out(own_site, "https://jane.example/0.png")
    assert "no entry 1" in get(own_site, "/explore/entries/1", status=404).text
    get(own_site, "/explore/entries/-1", status=404)


def test_checkpoints_are_compared_without_scripts(own_site: TestClient) -> None:
    opt_out(own_site, "https://jane.example/0.png")
    older = newest_note(own_site)
    registry_of(own_site).publish()
    opt_out(own_site, "https://jane.example/1.png")
    page = get(own_site, "/explore/checkpoints?version=1")
    fields = {"keys": page.one("textarea", name="keys").text, "newer": newest_note(own_site)}
    (of_list,) = page.one("textarea", name="older").children
    assert isinstance(of_list, str)
    for note in (older.replace("\n", "\r\n"), of_list):
        answer = own_site.post("/explore/checkpoints", data={**fields, "older": note}, headers=HTML)
        assert answer.status_code == 200, read_page(answer.text).text
        assert "The tree of 3 entries extends that of" in answer.text
    swapped = {"older": fields["newer"], "newer": older, "keys": fields["keys"]}
    answer = own_site.post("/explore/checkpoints", data=swapped, headers=HTML)
    assert (answer.status_code, "rolled back" in answer.text) == (422, True)
    answer = own_site.post("/explore/checkpoints", data={**fields, "older": "nonsense"}, headers=HTML)
    assert answer.status_code == 422


def test_witnesses_are_shown_and_browsers_are_given_the_keys_they_can_use(own_site: TestClient) -> None:
    opt_out(own_site, "https://jane.example/0.png")
    registry, note = registry_of(own_site), newest_note(own_site)
    signed, silent, other = (
        Witness("w0.example", b"0" * 32),
        Witness("w1.example", b"1" * 32),
        Witness("q.example", b"2" * 32, 6),
    )
    lines = "".join(
        f"witness {name} {each.vkey}\n" for name, each in (("ada", signed), ("bert", silent), ("quin", other))
    )
    (registry.state_dir / "witnesses.policy").write_text(f"{lines}quorum none\n")
    registry._sequencer.replace_signatures(note, note + signed.cosign(note, 1_790_000_000))
    page = get(own_site, "/explore/checkpoints")
    facts = {fact.one("dt").text: fact.one("dd").text for fact in page.one("aside").all("div") if fact.all("dt")}
    assert facts["ada"].startswith("cosigned it on 21 September 2026, 14:13 UTC")
    assert facts["bert"].startswith("has not cosigned this one yet")
    assert page.one("textarea", name="keys").text.split() == [registry.vkey, signed.vkey, silent.vkey]
    damaged = registry.public_dir / "log" / "checkpoint"
    damaged.write_text(damaged.read_text()[:-6] + "AA==\n")
    get(own_site, "/explore/checkpoints", status=500)


def test_a_receipt_is_checked_without_scripts(own_site: TestClient) -> None:
    claim = opt_out(own_site, "https://jane.example/0.png")
    receipt = own_site.get(f"/v1/receipts/{claim}").json()
    keys = get(own_site, "/explore/receipt").one("textarea", name="keys").text
    answer = own_site.post("/explore/receipt", data={"receipt": json.dumps(receipt), "keys": keys}, headers=HTML)
    assert "The receipt is right" in answer.text
    assert read_page(answer.text).one("main").all("a", href=f"/claims/{claim}")
    receipt["entries"][0]["index"] = 7
    del receipt["sha256"]
    answer = own_site.post("/explore/receipt", data={"receipt": json.dumps(receipt), "keys": keys}, headers=HTML)
    assert answer.status_code == 422
    assert read_page(answer.text).one("p", class_="problem").text
    for wrong in ({"receipt": "{", "keys": keys}, {"receipt": "{}", "keys": "nonsense"}):
        assert own_site.post("/explore/receipt", data=wrong, headers=HTML).status_code == 422


def test_the_log_before_its_first_entry_says_so(own_site: TestClient) -> None:
    assert "Nothing is in the log yet" in get(own_site, "/explore", status=404).text
    registry_of(own_site).sequence()
    assert "Nothing is in the log yet." in get(own_site, "/explore").text


def test_kinds_are_told_from_the_end_of_an_entry(own_site: TestClient) -> None:
    opt_out(own_site, "https://jane.example/0.png")
    registry_of(own_site).publish()
    registry = registry_of(own_site)
    found, rest = LogView(registry.state_dir, registry.vkey).before(99, "", 10)
    assert rest == 0
    assert [kind_of(data) for _, data in found] == ["list", "opt-out"]
    assert all(format_leaf(parse_leaf(data)) == data for _, data in found)


def test_the_sites_own_scripts_are_under_30_kb_together() -> None:
    assert sum(path.stat().st_size for path in STATIC_DIR.glob("*.js")) < 30_000
