"""The pages for labs: what they say is what is published, and what they print can be run."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from fastapi.testclient import TestClient

from heldout.leaves import ListLeaf, parse_at, parse_leaf
from heldout.manifest import parse_manifest
from heldout.records import UrlSubject
from heldout.trust import read_published
from registry.service import Registry
from tests.registry.builders import request
from tests.web.accounts import HTML, page
from tests.web.conftest import make_settings, running
from tests.web.lists import fill
from web.settings import Settings
from web.version_feed import to_atom, to_json

ATOM = "{http://www.w3.org/2005/Atom}"
N_VERSIONS = 22
"""More than a page."""


@pytest.fixture(scope="module")
def filled(datasets_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A registry with a history: a full list, then one address more or less each time."""
    made = make_settings(datasets_dir, tmp_path_factory.mktemp("labs"))
    with Registry.prepare(made.state_dir, origin=made.origin_of_new_log) as registry:
        fill(registry)
        for number in range(N_VERSIONS - 1):
            registry.submit(request(UrlSubject(url=f"https://jane.example/{number}.jpg")))
            registry.publish()
    return made


@pytest.fixture(scope="module")
def site(filled: Settings) -> Iterator[TestClient]:
    with running(filled) as client:
        yield client


def test_the_page_says_what_is_published(site: TestClient, filled: Settings) -> None:
    public = filled.state_dir / "public"
    text = page(site, "/labs").text
    facts = read_published(public / "list" / "metadata")
    digest = facts.targets["manifest.json"].hashes["sha256"]
    manifest = parse_manifest((public / "list" / "targets" / f"{digest}.manifest.json").read_bytes())
    assert manifest.version == N_VERSIONS
    root = json.loads((public / "list" / "metadata" / "root.json").read_bytes())["signed"]
    key_ids = {key for role in root["roles"].values() for key in role["keyids"]}
    first_root = hashlib.sha256((public / "list" / "metadata" / "1.root.json").read_bytes()).hexdigest()
    for told in (digest, first_root, site.app.state.registry.vkey, *key_ids, f"{facts.expires_at:%H:%M} UTC"):  # type: ignore[attr-defined]
        assert told in text
    for name, count in (("Addresses", N_VERSIONS + 3), ("Pictures", 1), ("Sites", 1), ("Folders", 1)):
        assert f"{name} {count} " in text


def test_every_link_and_file_that_the_pages_name_is_there(site: TestClient) -> None:
    for path in ("/labs", "/labs/versions"):
        for link in page(site, path).all("a"):
            href = link.attributes["href"].partition("#")[0]
            if href and not href.startswith("/account"):
                assert site.get(href).status_code == 200, href
    site.cookies.clear()  # of the language that was tried


def test_before_the_first_list_the_pages_say_so(own_site: TestClient) -> None:
    assert "No list has been published here yet" in page(own_site, "/labs").text
    assert "No list has been published here yet" in page(own_site, "/labs/versions").text
    assert own_site.get("/labs/versions.json").json() == {
        "format": "heldout-list-versions/1",
        "versions": [],
        "next": None,
    }
    assert len(ET.fromstring(own_site.get("/labs/versions.atom").content).findall(f"{ATOM}entry")) == 0  # noqa: S314


def test_all_versions_are_told_once_newest_first_over_pages(site: TestClient) -> None:
    seen, url = [], "/labs/versions.json"
    while url:
        answer = site.get(url)
        assert answer.headers["access-control-allow-origin"] == "*"
        body = answer.json()
        seen += body["versions"]
        url = body["next"]
    assert [each["version"] for each in seen] == list(range(N_VERSIONS, 0, -1))
    for each, older in zip(seen, [*seen[1:], None], strict=True):
        data = site.get(each["manifest"]).content
        assert hashlib.sha256(data).hexdigest() == each["manifest_sha256"]
        manifest = parse_manifest(data)
        assert (each["n_addresses"], each["log_size"]) == (manifest.counts["url"], manifest.log.size)
        assert each["size_bytes"] == sum(file.size for file in manifest.files.values())
        assert parse_at(each["at"]).year >= 2026
        leaf = parse_leaf(site.get(f"/explore/entries/{each['log_index']}").context["text"].encode())  # type: ignore[attr-defined]
        assert isinstance(leaf, ListLeaf)
        assert leaf.manifest_sha256.hex() == each["manifest_sha256"]
        if older is not None and each["n_added"] is not None:
            known = [
                sum(version[f"n_{kind}"] for kind in ("addresses", "pictures", "places")) for version in (each, older)
            ]
            assert known[0] - known[1] == each["n_added"] - each["n_removed"]


def test_pages_of_versions_lead_to_each_other_without_javascript(site: TestClient) -> None:
    first = page(site, "/labs/versions")
    (older,) = [link for link in first.all("a") if link.attributes.get("rel") == "next"]
    second = page(site, older.attributes["href"])
    assert "Version 1 " in second.text
    assert not [link for link in second.all("a") if link.attributes.get("rel") == "next"]
    assert [link for link in second.all("a") if link.attributes["href"] == "/labs/versions"]
    for query in ("newest=0", "newest=-1", "newest=x", f"newest={2**63}"):
        assert site.get(f"/labs/versions?{query}", headers=HTML).status_code == 422
    assert f"Version {N_VERSIONS} " in page(site, "/labs/versions?newest=9999").text


def test_the_feed_is_atom(site: TestClient, filled: Settings) -> None:
    answer = site.get("/labs/versions.atom")
    assert answer.headers["content-type"] == "application/atom+xml; charset=utf-8"
    feed = ET.fromstring(answer.content)  # noqa: S314 - our own
    assert feed.tag == f"{ATOM}feed"
    for name in ("id", "title", "updated"):
        assert feed.findtext(f"{ATOM}{name}")
    assert feed.findtext(f"{ATOM}author/{ATOM}name")
    entries = feed.findall(f"{ATOM}entry")
    assert len({entry.findtext(f"{ATOM}id") for entry in entries}) == len(entries) == 20
    assert feed.findtext(f"{ATOM}updated") == entries[0].findtext(f"{ATOM}updated")
    assert entries[0].findtext(f"{ATOM}title") == f"Version {N_VERSIONS}"
    for entry in entries:
        assert parse_at(entry.findtext(f"{ATOM}updated") or "").year >= 2026
        (link,) = entry.findall(f"{ATOM}link")
        assert link.attrib["href"].startswith(filled.base_url)


def test_a_version_whose_files_were_removed_is_still_told(datasets_dir: Path, tmp_path: Path) -> None:
    made = make_settings(datasets_dir, tmp_path)
    with Registry.prepare(made.state_dir, origin=made.origin_of_new_log) as registry:
        fill(registry)
        registry.submit(request(UrlSubject(url="https://jane.example/more.jpg")))
        registry.publish()
        first = registry.list_versions(newest=1, limit=1)[0].manifest_sha256.hex()
        (registry.public_dir / "list" / "targets" / f"{first}.manifest.json").unlink()
    with running(made) as site:
        newest, oldest = site.get("/labs/versions.json").json()["versions"]
        assert (oldest["manifest_sha256"], oldest["manifest"], oldest["n_addresses"]) == (first, None, None)
        assert newest["n_addresses"] == 5
        assert "Its files were removed here since" in page(site, "/labs").text
        assert first in page(site, "/labs/versions").text
        assert first in site.get("/labs/versions.atom").text


def test_documents_of_the_formats_are_served_and_nothing_else(site: TestClient) -> None:
    answer = site.get("/labs/formats/read_list.py")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.content == (Path(__file__).parents[2] / "docs" / "formats" / "read_list.py").read_bytes()
    for name in ("nothing.md", "%2e%2e", "%2e%2e%2fbenchmarks.md", "", "read_list.py%00"):
        assert site.get(f"/labs/formats/{name}").status_code == 404


def test_what_is_shown_depends_on_what_the_operator_offers(filled: Settings) -> None:
    with running(filled.model_copy(update={"checks_per_minute": 0, "rsync_url": "rsync://mirror.example/x"})) as site:
        text = page(site, "/labs").text
        assert "To ask online you need one here" in text
        assert "rsync -a --delete-after rsync://mirror.example/x/ mirror/" in text


def test_a_page_says_it_in_spanish_too_and_feeds_do_not(site: TestClient) -> None:
    spanish = site.get("/labs", headers={"accept-language": "es", **HTML})
    assert spanish.headers["content-language"] == "es"
    assert (
        f"Version {N_VERSIONS}".encode() in site.get("/labs/versions.atom", headers={"accept-language": "es"}).content
    )


def test_nothing_known_is_null() -> None:
    assert to_json([], 7, base_url="https://heldout.example")["next"].endswith("?newest=7")
    assert ET.fromstring(to_atom([], base_url="https://heldout.example")).tag == f"{ATOM}feed"  # noqa: S314
