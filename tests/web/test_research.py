"""The researchers' pages: counted over a real index and a published list, and read without JavaScript."""

import asyncio
import csv
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from importlib.resources import files
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient
from playwright.sync_api import sync_playwright

from heldout.audit_words import SCRIPT_WORDS, TITLES
from heldout.durable import locked
from heldout.errors import ConflictError
from heldout.pictures import fingerprint
from heldout.records import ClaimRequest, ImageSubject, UrlSubject
from tests.web.conftest import COLOURS, ColourEncoder, build_dataset, draw, file_of, make_settings, row, running
from tests.web.html import Element, read_page
from tests.web.serving import CHROMIUM, free_socket, launch, serving
from web.app import create_app
from web.settings import Settings
from web.survey import made, results, survey
from web.surveying import Surveyor

GRANTED = "https://ota.example/art/1.png"


@pytest.fixture(scope="module")
def two_datasets(datasets_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`shapes`, and `sketches`, which shares an address and a file with it."""
    folder = tmp_path_factory.mktemp("research") / "datasets"
    shutil.copytree(datasets_dir, folder)
    works = [
        row(GRANTED, "the same address", file_of(draw(77, COLOURS["red"]))),
        row("https://else.example/copy.png", "красный замок", file_of(draw(0, COLOURS["red"]))),
        row("https://else.example/own.png", "赤い城", file_of(draw(78, COLOURS["blue"]))),
    ]
    build_dataset(folder, "sketches", works)
    return folder


@pytest.fixture(scope="module")
def world(two_datasets: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TestClient, Settings]]:
    """A site with opt-outs, published and counted."""
    settings = make_settings(two_datasets, tmp_path_factory.mktemp("counted"))
    with running(settings) as client:
        opt_out(client, UrlSubject(url="https://jane.example/art/2.png"))
        opt_out(client, picture_subject(0))
        publish(client)
        assert survey(two_datasets, list_dir(settings), settings.research_dir)
        yield client, settings


def opt_out(client: TestClient, *subjects: UrlSubject | ImageSubject) -> None:
    request = ClaimRequest(subjects=list(subjects))
    assert client.post("/v1/claims", json=request.model_dump(mode="json")).status_code == 201


def picture_subject(seed: int) -> ImageSubject:
    found = fingerprint(file_of(draw(seed, COLOURS["red"])))
    return ImageSubject(pdq=found.pdq[0].tobytes().hex(), quality=found.quality)


def publish(client: TestClient) -> None:
    client.app.state.registry.publish()  # type: ignore[attr-defined]


def list_dir(settings: Settings) -> Path:
    return settings.state_dir / "public" / "list"


def page_of(client: TestClient, path: str, **headers: str) -> Element:
    answer = client.get(path, headers={"accept": "text/html", **headers})
    assert answer.status_code == 200, answer.text[:500]
    return read_page(answer.text.partition("\n")[2])


def tables(page: Element, within: str) -> list[list[str]]:
    (section,) = page.all("section", aria_labelledby=within)
    return [[cell.text for cell in line.all("td")] for line in section.one("tbody").all("tr")]


def test_all_data_sets_are_counted_and_compared(world: tuple[TestClient, Settings]) -> None:
    client, _ = world
    page = page_of(client, "/research")
    lines = {line.one("th").text: [cell.text for cell in line.all("td")] for line in page.all("tr") if line.all("td")}
    assert lines["shapes"][:1] == ["28"]
    assert lines["sketches"] == ["3", "2", "1", "33.33 %", "0"]
    assert lines["shapes · sketches"] == ["1", "1"]
    links = {link.attributes["href"] for link in page.all("a")}
    assert {"/research/shapes", "/research/sketches"} <= links


def test_a_data_sets_page_says_who_is_opted_out_and_how(world: tuple[TestClient, Settings]) -> None:
    client, _ = world
    page = page_of(client, "/research/shapes")
    rules = {line[0]: line[2] for line in tables(page, "opt_outs")}
    assert rules["Address"] == "1"
    copies = int(rules["Copy of a picture"])
    assert copies == 5  # the work, and its four copies, one of them mirrored
    assert page.one("dl", class_="totals").text.startswith("Samples 28 Samples opted out 6 of 28 (21.43 %)")
    sites = {line[0]: line for line in tables(page, "domains")}
    assert sites["jane.example"] == ["jane.example", "11", "2", "18.18 %", "11", "1"]
    for section in page.all("section"):
        assert section.all("svg")[0].attributes["role"] == "img"
        assert section.all("table")


def test_scripts_and_not_languages_are_told(world: tuple[TestClient, Settings]) -> None:
    page = page_of(world[0], "/research/sketches")
    assert sorted(line[:2] for line in tables(page, "scripts")) == [
        ["Cyrillic", "1"],
        ["Japanese", "1"],
        ["Latin", "1"],
    ]
    assert not page.all("section", aria_labelledby="languages")


def test_every_table_is_there_to_take_along(world: tuple[TestClient, Settings]) -> None:
    client, _ = world
    page = page_of(client, "/research/shapes")
    hrefs = sorted({link.attributes["href"] for link in page.all("a") if "download" in link.attributes})
    assert len(hrefs) == 2 * 11
    for href in hrefs:
        answer = client.get(href)
        assert answer.status_code == 200, href
        assert "immutable" in answer.headers["cache-control"]
    (domains,) = [href for href in hrefs if href.endswith("/domains.csv")]
    lines = list(csv.DictReader(io.StringIO(client.get(domains).text)))
    table = pq.read_table(io.BytesIO(client.get(domains.replace(".csv", ".parquet")).content)).to_pylist()
    assert [line["domain"] for line in lines] == [line["domain"] for line in table]
    assert sum(int(line["n_samples"]) for line in lines) == 28


def test_a_citation_stays_as_it_was(two_datasets: Path, tmp_path: Path) -> None:
    settings = make_settings(two_datasets, tmp_path)
    with running(settings) as client:
        assert "Nothing has been counted here yet" in page_of(client, "/research").text
        assert client.get("/research/shapes").status_code == 404
        publish(client)
        survey(two_datasets, list_dir(settings), settings.research_dir)
        first = page_of(client, "/research/sketches")
        cited = first.all("pre", class_="cite")[0].text.split()[-1].removeprefix(settings.base_url)
        before = page_of(client, cited).one("dl", class_="totals").text
        assert "0 of 3 (0.00 %)" in before
        opt_out(client, UrlSubject(url=GRANTED))
        publish(client)
        assert "There is a newer version of the list" in page_of(client, "/research").text
        assert survey(two_datasets, list_dir(settings), settings.research_dir)
        assert not survey(two_datasets, list_dir(settings), settings.research_dir)
        assert page_of(client, cited).one("dl", class_="totals").text == before
        assert "This is an older count" in page_of(client, cited).text
        newest = page_of(client, "/research/sketches")
        assert "1 of 3 (33.33 %)" in newest.one("dl", class_="totals").text
        assert [link.attributes["href"] for link in newest.one("ul", class_="counts").all("a")] == [cited]
        assert made(settings.research_dir)["shared"] == [
            {"left": "shapes", "right": "sketches", "n_keys": 1, "n_files": 1}
        ]
        assert "rows" in newest.text
        shutil.rmtree(settings.research_dir / "sketches" / cited.rpartition("/")[2] / "tables")
        assert "The files of so old a count are not kept" in page_of(client, cited).text
        assert client.get(f"{cited}/domains.csv").status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        "/research/nothing",
        "/research/..%2f..%2fkeys",
        "/research/shapes/g0-l999",
        "/research/shapes/current.json",
        "/research/shapes/..%2f..",
        "/research/shapes/{name}/nothing.csv",
        "/research/shapes/{name}/..%2fresult.json",
        "/research/shapes/{name}/result.json",
        "/research/%2e%2e/{name}",
    ],
)
def test_what_was_not_counted_is_not_found(path: str, world: tuple[TestClient, Settings]) -> None:
    client, settings = world
    (name,) = results(settings.research_dir / "shapes")
    answer = client.get(path.format(name=name), headers={"accept": "text/html"})
    assert answer.status_code == 404
    assert "Traceback" not in answer.text


def test_pages_are_in_the_visitors_language(world: tuple[TestClient, Settings]) -> None:
    client, settings = world
    page = page_of(client, "/research/shapes?lang=es")
    assert "21,43 %" in page.text
    (name,) = results(settings.research_dir / "shapes")
    said = json.loads((settings.research_dir / "shapes" / name / "result.json").read_bytes())
    assert [each["id"] for each in said["sections"]["es"]] == [each["id"] for each in said["sections"]["en"]]
    assert {each["id"] for each in said["sections"]["en"]} <= TITLES.keys()
    assert "Cyrl" in SCRIPT_WORDS


def test_only_one_process_counts_and_a_killed_one_leaves_nothing(
    world: tuple[TestClient, Settings], tmp_path: Path
) -> None:
    client, settings = world
    out = tmp_path / "research"
    out.mkdir()
    (out / ".work" / "shapes").mkdir(parents=True)
    (out / ".work" / "shapes" / "notes.parquet").write_bytes(b"half")
    with locked(out / ".lock"), pytest.raises(ConflictError):
        survey(settings.datasets_dir, list_dir(settings), out)
    assert survey(settings.datasets_dir, list_dir(settings), out)
    assert not (out / ".work").exists()
    del client


def test_command_counts_what_the_settings_name(world: tuple[TestClient, Settings], tmp_path: Path) -> None:
    _, settings = world
    state = tmp_path / "state"
    shutil.copytree(settings.state_dir / "public", state / "public")
    environment = os.environ | {"HELDOUT_STATE_DIR": str(state), "HELDOUT_DATASETS_DIR": str(settings.datasets_dir)}
    command = [sys.executable, "-m", "web.surveying"]
    for expected in ("shapes: generation", "nothing is new"):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)  # noqa: S603
        assert expected in done.stdout
    for file in (settings.datasets_dir / "shapes").glob("generations/*/samples.arrow"):
        assert file.is_file()
    assert made(state / "research")["wanted"]["list_version"] == 1


def test_the_service_counts_by_itself(world: tuple[TestClient, Settings], tmp_path: Path) -> None:
    _, settings = world

    async def count() -> Surveyor:
        surveyor = Surveyor(settings.datasets_dir, list_dir(settings), tmp_path / "research", every_s=0, look_s=0.05)
        task = asyncio.create_task(surveyor.run())
        for _ in range(1_200):
            if made(tmp_path / "research"):
                break
            await asyncio.sleep(0.05)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        return surveyor

    surveyor = asyncio.run(count())
    assert surveyor.condition.failing_since is None
    assert made(tmp_path / "research")["wanted"]["generations"].keys() == {"shapes", "sketches"}


def test_a_damaged_data_set_is_told_of_and_the_others_are_counted(
    world: tuple[TestClient, Settings], tmp_path: Path
) -> None:
    _, settings = world
    datasets, state = tmp_path / "datasets", tmp_path / "state"
    shutil.copytree(settings.datasets_dir, datasets)
    for path in datasets.glob("shapes/generations/*/samples.arrow"):
        path.write_bytes(path.read_bytes()[:100])
    command = [sys.executable, "-m", "web.surveying", str(datasets), str(list_dir(settings)), str(state / "research")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 3
    assert "shapes could not be counted: " in done.stderr
    assert "build the index again" in done.stderr or "build again" in done.stderr
    assert subprocess.run(command, check=True, capture_output=True).stdout == b"nothing is new\n"  # noqa: S603
    with running(make_settings(settings.datasets_dir, tmp_path)) as client:
        assert "shapes could not be counted" in page_of(client, "/research").text
        assert client.get("/research/sketches").status_code == 200
        assert client.get("/research/shapes").status_code == 404


@pytest.mark.browser
@pytest.mark.skipif(not CHROMIUM.exists(), reason="needs Debian's package chromium")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_charts_are_accessible_and_fit_a_phone(world: tuple[TestClient, Settings], scheme: str) -> None:
    _, settings = world
    axe = files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
    (name,) = results(settings.research_dir / "shapes")
    app = create_app(settings, encoder=ColourEncoder())
    complaints: list[str] = []
    addresses: set[str] = set()
    faults, wide = {}, []
    with serving(app, free_socket()) as address, sync_playwright() as playwright:
        browser = launch(playwright)
        for width in (360, 1280):
            context = browser.new_context(
                base_url=address,
                viewport={"width": width, "height": 800},
                color_scheme="dark" if scheme == "dark" else "light",
                bypass_csp=width == 360,
            )
            page = context.new_page()
            page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
            page.on("request", lambda request: addresses.add(request.url))
            for path in ("/research", "/research/shapes", f"/research/sketches/{name}"):
                page.goto(path)
                for summary in page.locator("summary").all():
                    summary.click()
                if page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"):
                    wide.append((path, width))
                assert page.locator("svg[role=img]").count() == page.locator("section.chart").count()
                if width == 360:
                    page.evaluate(axe)
                    found = page.evaluate("axe.run(document)")["violations"]
                    faults[path] = [(each["id"], [node["target"] for node in each["nodes"]]) for each in found]
            context.close()
        browser.close()
    assert {path: found for path, found in faults.items() if found} == {}
    assert wide == []
    assert complaints == []
    assert [url for url in addresses if not url.startswith(address)] == []
