"""What browsers check the log with (log.js), in Chromium, against the published vectors; and the explorer's buttons."""

import json
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from heldout.records import ClaimRequest, UrlSubject
from tests.web.conftest import served
from tests.web.serving import EVERYTHING, IN_CHROMIUM
from web.pages import STATIC_DIR

pytestmark = IN_CHROMIUM

VECTORS = json.loads((Path(__file__).parents[2] / "docs" / "formats" / "log-vectors.json").read_text())
DROP = """([name, type, bytes]) => {
  const files = new DataTransfer();
  files.items.add(new File([new Uint8Array(bytes)], name, {type}));
  const event = new DragEvent("drop", {bubbles: true, cancelable: true, dataTransfer: files});
  document.querySelector("[data-check=receipt]").dispatchEvent(event);
}"""
PREPARE = """
  const log = await import("/log.js");
  const { log: tree, key, receipt } = vectors;
  const unhex = (text) => Uint8Array.from(text.match(/../g) ?? [], (pair) => parseInt(pair, 16));
  const refused = (promise) => promise.then(() => "accepted", (error) => error.code ?? `${error}`);
  const utf8 = new TextEncoder();
"""


@pytest.fixture(scope="module")
def bench(browser: Browser) -> Iterator[Page]:
    """An empty page of a site that has log.js and nothing else."""
    page = browser.new_context().new_page()

    def answer(route: Route) -> None:
        if route.request.url.endswith("/log.js"):
            route.fulfill(body=(STATIC_DIR / "log.js").read_text(), content_type="text/javascript")
        else:
            route.fulfill(body="<!doctype html><title>bench</title>", content_type="text/html")

    page.route("https://log.example/**", answer)
    page.goto("https://log.example/")
    yield page
    page.context.close()


def run(bench: Page, script: str) -> Any:
    return bench.evaluate(f"async (vectors) => {{ {PREPARE} {script} }}", VECTORS)


def test_leaf_hashes_and_paths_are_those_of_the_vectors(bench: Page) -> None:
    hashes = run(
        bench,
        """const found = {};
        for (const [name, { leaf }] of Object.entries(vectors.leaves))
          found[name] = log.hex(await log.leafHash(utf8.encode(leaf)));
        return found;""",
    )
    assert hashes == {name: each["leaf_hash"] for name, each in VECTORS["leaves"].items()}
    paths = run(bench, "return vectors.paths.map(({ level, index, width }) => log.tilePath(level, index, width));")
    assert paths == [each["path"] for each in VECTORS["paths"]]


def test_inclusion_proofs_hold_and_no_changed_one_does(bench: Page) -> None:
    answers = run(
        bench,
        """const answers = [];
        const bundle = Object.values(tree.bundles)[0];
        const last = log.treeOf(300, async () => log.fromBase64(bundle));
        const known = Object.values(vectors.leaves);
        for (const { index, size, proof } of tree.inclusion) {
          const root = unhex(tree.roots[size]);
          const hash = (tree.tiles["tile/0/000"] + tree.tiles["tile/0/001.p/44"]).slice(index * 64, index * 64 + 64);
          const leaf = known.find(({ leaf_hash }) => leaf_hash === hash)?.leaf;
          const entry = leaf ? utf8.encode(leaf) : await last.entry(index);
          const verify = (hashes, at = index) => refused(log.fromProof(hashes.map(unhex), (sibling) =>
            log.verifyInclusion(entry, at, { size, root }, sibling)));
          answers.push([await verify(proof)]);
          if (size > 1) answers.push([await verify(proof, (index + 1) % size)]);
          for (let i = 0; i < proof.length; i += 1) {
            const changed = proof.with(i, proof[i].replace(/^./, (digit) => (digit === "0" ? "1" : "0")));
            answers.push([await verify(changed), await verify(proof.toSpliced(i, 1))]);
            answers.push([await verify([...proof, proof[i]])]);
          }
        }
        return answers;""",
    )
    whole = [answer for answer in answers if answer == ["accepted"]]
    assert len(whole) == len(VECTORS["log"]["inclusion"])
    assert {code for answer in answers for code in answer if answer != ["accepted"]} == {"wrong-proof"}


def test_consistency_proofs_hold_and_no_changed_one_does(bench: Page) -> None:
    answers = run(
        bench,
        """const answers = [];
        for (const { old, new: size, proof } of tree.consistency) {
          const [older, newer] = [old, size].map((n) => ({ size: n, root: unhex(tree.roots[n]) }));
          const verify = (hashes, one = older, other = newer) => refused(log.fromProof(hashes.map(unhex), (sibling) =>
            log.verifyConsistency(one, other, sibling)));
          const another = { ...older, root: unhex(tree.roots[300].replace(/^./, "0")) };
          const answer = { right: await verify(proof), wrong: [await verify(proof, another)] };
          if (old < size) answer.wrong.push(await verify(proof, newer, older));
          for (let i = 0; i < proof.length; i += 1) {
            const changed = proof.with(i, proof[i].replace(/^./, (digit) => (digit === "0" ? "1" : "0")));
            answer.wrong.push(await verify(changed), await verify(proof.toSpliced(i, 1)));
            answer.wrong.push(await verify([...proof, proof[i]]));
          }
          answers.push(answer);
        }
        return answers;""",
    )
    assert len(answers) == len(VECTORS["log"]["consistency"])
    assert {answer["right"] for answer in answers} == {"accepted"}
    assert {code for answer in answers for code in answer["wrong"]} <= {"wrong-proof", "inconsistent"}


def test_a_tree_is_read_from_raw_tiles_also_after_partial_ones_became_full(bench: Page) -> None:
    found = run(
        bench,
        """const reader = (files) => async (path) => {
          asked.push(path);
          if (path in tree.bundles) return log.fromBase64(tree.bundles[path]);
          return path in files ? unhex(files[path]) : null;
        };
        const asked = [];
        const whole = log.treeOf(300, reader(tree.tiles));
        const full = { ...tree.tiles, "tile/0/001": tree.tiles["tile/0/001.p/44"] + "00".repeat(32 * 212) };
        delete full["tile/0/001.p/44"];
        const grown = log.treeOf(300, reader(full));
        const root = unhex(tree.roots[300]);
        const last = await whole.entry(299);
        const roots = [await whole.hash(0, 300), await whole.hash(0, 256), await grown.hash(0, 300)];
        return {
          roots: roots.map(log.hex),
          included: await refused(log.verifyInclusion(last, 299, { size: 300, root }, grown.hash)),
          elsewhere: await refused(log.verifyInclusion(last, 298, { size: 300, root }, whole.hash)),
          extends: await Promise.all([1, 2, 5, 255, 256, 257, 300].map((size) =>
            refused(log.verifyConsistency({ size, root: unhex(tree.roots[size]) }, { size: 300, root }, whole.hash)))),
          missing: await refused(log.treeOf(300, async () => null).hash(0, 300)),
          short: await refused(log.treeOf(300, async () => new Uint8Array(64)).hash(0, 300)),
        };""",
    )
    roots = VECTORS["log"]["roots"]
    assert found["roots"] == [roots["300"], roots["256"], roots["300"]]
    assert found["included"] == "accepted"
    assert found["elsewhere"] == "wrong-proof"
    assert set(found["extends"]) == {"accepted"}
    assert (found["missing"], found["short"]) == ("missing", "damaged")


def test_a_checkpoint_opens_with_its_log_key_and_tells_its_witnesses(bench: Page) -> None:
    found = run(
        bench,
        """const { vkeys, checkpoint } = vectors.cosignatures;
        const [mine, w0, w1] = await Promise.all([key.vkey, ...Object.values(vkeys)].map(log.parseKey));
        const opened = await log.openCheckpoint(checkpoint, [mine, w0, w1]);
        const damaged = checkpoint.replace("VpCBVAAAAABqsTuA", "VpCBVAAAAABqsTuB");
        const other = await log.parseKey(Object.values(vkeys)[0]);
        const wrong = ["", "a+b+c", key.vkey.slice(0, -1), key.vkey.replace("952bc5e7", "952bc5e8"), key.skey];
        return {
          size: opened.size,
          root: log.hex(opened.root),
          witnesses: opened.witnesses.map(({ key, at }) => [key.name, at.getTime() / 1000]),
          refused: [
            await refused(log.openCheckpoint(damaged, [mine, w0])),
            await refused(log.openCheckpoint(checkpoint.replace("\\n300\\n", "\\n301\\n"), [mine])),
            await refused(log.openCheckpoint(checkpoint, [other])),
            await refused(log.openCheckpoint("", [mine])),
            await refused(log.openCheckpoint(checkpoint, [{ ...mine, name: "another.example/log" }])),
          ],
          keys: await Promise.all(wrong.map((text) => refused(log.parseKey(text)))),
        };""",
    )
    at = VECTORS["cosignatures"]["at"]
    assert (found["size"], found["root"]) == (300, VECTORS["log"]["roots"]["300"])
    assert found["witnesses"] == [["w0.example", at], ["w1.example", at]]
    assert found["refused"] == ["wrong-signature", "wrong-signature", "not-signed", "damaged", "not-signed"]
    assert set(found["keys"]) <= {"no-key", "damaged"}


def test_a_receipt_holds_and_every_refused_one_is_refused(bench: Page) -> None:
    found = run(
        bench,
        """const keys = [await log.parseKey(key.vkey)];
        const { sha256, ...plain } = receipt;
        const verify = (value) => refused(log.verifyReceipt(JSON.stringify(value), keys));
        const entries = (await log.verifyReceipt(JSON.stringify(receipt, null, 2), keys)).entries;
        const refusals = {};
        for (const [name, each] of Object.entries(vectors.refused_receipts)) refusals[name] = await verify(each);
        return {
          claim: entries.map(({ claim }) => claim),
          plain: await verify(plain),
          refusals,
          odd: await Promise.all([null, 7, [], {}, { ...plain, entries: [] }, { ...plain, entries: [{}] },
            { ...plain, entries: plain.entries.map((each) => ({ ...each, index: `${each.index}` })) }].map(verify)),
        };""",
    )
    assert set(found["claim"]) == {VECTORS["receipt"]["claim"]}
    assert found["plain"] == "accepted"
    assert set(found["refusals"]) == set(VECTORS["refused_receipts"])
    assert "accepted" not in [*found["refusals"].values(), *found["odd"]]


def test_a_receipt_with_any_byte_flipped_is_refused(bench: Page) -> None:
    accepted = run(
        bench,
        """const keys = [await log.parseKey(key.vkey)];
        const bytes = utf8.encode(JSON.stringify(receipt));
        const accepted = [];
        for (let i = 0; i < bytes.length; i += 1) {
          const flipped = bytes.slice();
          flipped[i] ^= 1 << (i % 7);
          const answer = await refused(log.verifyReceipt(new TextDecoder().decode(flipped), keys));
          if (answer === "accepted") accepted.push(i);
        }
        return { accepted, n: bytes.length };""",
    )
    assert accepted["n"] > 1_000
    assert accepted["accepted"] == []


@pytest.fixture(scope="module")
def address(datasets_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served(datasets_dir, tmp_path_factory.mktemp("explorer"), publish="auto") as base:
        yield base


@pytest.fixture
def claim(page: Page) -> str:
    """An opt-out in the log of the site."""
    request = ClaimRequest(subjects=[UrlSubject(url="https://jane.example/art/0.png")])
    answer = page.request.post("/v1/claims", data=request.model_dump(mode="json"))
    assert answer.ok
    number: str = answer.json()["id"]
    return number


def told(page: Page) -> Any:
    return page.locator("[data-told] li")


def test_an_entry_is_checked_from_the_raw_tiles(page: Page, claim: str) -> None:
    page.goto("/explore?kind=opt-out")
    page.locator(".entries a").first.click()
    expect(page.get_by_role("link", name=claim)).to_be_visible()
    page.get_by_role("button", name="Check it in this browser").click()
    expect(told(page).last).to_have_text("Everything checked out.")
    expect(page.get_by_text("This is what the entry says:")).to_contain_text(claim)
    page.request.post(  # the log grows: the next look starts from what this browser has seen
        "/v1/claims",
        data=ClaimRequest(subjects=[UrlSubject(url="https://jane.example/art/1.png")]).model_dump(mode="json"),
    )
    page.get_by_role("button", name="Check it in this browser").click()
    expect(page.get_by_text("that this browser checked before")).to_be_visible()


@pytest.mark.parametrize("what", ["tile/0/", "tile/entries/"])
def test_a_changed_file_of_the_log_is_told_of(page: Page, claim: str, what: str) -> None:
    assert claim

    def tamper(route: Route) -> None:
        answer = route.fetch()
        body = bytearray(answer.body())
        body[-1] ^= 1
        body[3] ^= 1
        route.fulfill(response=answer, body=bytes(body))

    page.goto("/explore/entries/0")
    page.route(f"**/log/{what}**", tamper)
    page.get_by_role("button", name="Check it in this browser").click()
    expect(told(page).last).to_have_class("is-bad")
    expect(told(page).last).to_contain_text("does not lead to the signed root")


def test_another_key_than_the_logs_is_told_of(page: Page, claim: str) -> None:
    assert claim
    page.goto("/explore/entries/0")
    page.get_by_label("With these keys").fill(VECTORS["key"]["vkey"])
    page.get_by_role("button", name="Check it in this browser").click()
    expect(told(page).last).to_contain_text("not signed with the key of registry.example/log")
    page.get_by_label("With these keys").fill("nonsense")
    page.get_by_role("button", name="Check it in this browser").click()
    expect(told(page).last).to_contain_text("no public key")


def test_a_browser_that_cannot_check_signatures_says_so(page: Page, claim: str) -> None:
    assert claim
    page.add_init_script("crypto.subtle.importKey = () => Promise.reject(new DOMException('no', 'NotSupportedError'))")
    page.goto("/explore/entries/0")
    page.get_by_role("button", name="Check it in this browser").click()
    expect(told(page).last).to_contain_text("cannot check Ed25519")


def test_a_receipt_that_is_dropped_is_checked_and_a_changed_one_is_not(page: Page, claim: str, tmp_path: Path) -> None:
    receipt = page.request.get(f"/v1/receipts/{claim}").text()
    page.goto("/explore/receipt")
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    good.write_text(receipt)
    bad.write_text(receipt.replace('"index":', '"index":1', 1))
    page.locator("#receipt-file").set_input_files(good)
    expect(told(page).last).to_have_text("Everything checked out.")
    expect(page.get_by_text(f"All parts of opt-out {claim} are there.")).to_be_visible()
    page.evaluate(DROP, ["bad.json", "application/json", list(bad.read_bytes())])
    expect(told(page).last).to_have_class("is-bad")


def test_two_checkpoints_are_compared(page: Page, claim: str) -> None:
    older = page.request.get("/log/checkpoint").text()
    page.request.post(
        "/v1/claims",
        data=ClaimRequest(subjects=[UrlSubject(url="https://jane.example/art/2.png")]).model_dump(mode="json"),
    )
    assert claim
    page.goto("/explore/checkpoints")
    page.get_by_label("Older checkpoint").fill(older)
    page.get_by_role("button", name="Compare them in this browser").click()
    expect(told(page).last).to_have_text("Everything checked out.")
    newer = page.get_by_label("Newer checkpoint").input_value()
    page.get_by_label("Older checkpoint").fill(newer)
    page.get_by_label("Newer checkpoint").fill(older)
    page.get_by_role("button", name="Compare them in this browser").click()
    expect(told(page).last).to_contain_text("does not extend the other")


@pytest.mark.parametrize("path", ["/explore", "/explore/entries/0", "/explore/checkpoints", "/explore/receipt"])
@pytest.mark.parametrize("language", ["en", "es"])
def test_axe_has_nothing_to_say_and_nothing_is_wider_than_a_phone(
    page: Page, claim: str, path: str, language: str
) -> None:
    assert claim
    page.set_viewport_size({"width": 360, "height": 740})
    page.goto(f"{path}?lang={language}")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.evaluate(files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8"))
    found = page.evaluate("run => axe.run(document, {runOnly: run})", EVERYTHING)
    assert [(each["id"], [node["html"] for node in each["nodes"]]) for each in found["violations"]] == []
