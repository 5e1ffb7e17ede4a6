"""`python -m tests.web.screenshots`: every page of the site over the bundled collection, as PNG files.

At 360 and 1280 px, light and dark. The index is made once, below `var/`, and made anew when pictures or model change.
"""

import argparse
import hashlib
import io
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from tests.web.serving import address_of, free_socket, launch, serving
from web.app import create_app
from web.demo import COLLECTION, DATASET, FORMATS, INPUTS, MODEL
from web.settings import Settings

ROOT = Path(__file__).parents[2]
WIDTHS = {360: 740, 1280: 900}
"""Width to height of the window, in CSS pixels."""
SCHEMES = ("light", "dark")
QUERY = "castle"
ARTIST = "Jose+Hevia"

Step = Callable[[Page], None]


def main() -> int:
    """Write the pictures."""
    parser = argparse.ArgumentParser(prog="python -m tests.web.screenshots", description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("screenshots"), help="folder to write to")
    parser.add_argument("--model", type=Path, default=MODEL, help="encoder folder")
    parser.add_argument("--only", default="", help="names of pages, by comma; all if left out")
    options = parser.parse_args()
    if not (options.model / "encoder.json").is_file():
        print(f"{options.model} is not an encoder's folder: give one with --model", file=sys.stderr)  # noqa: T201
        return 2
    options.out.mkdir(parents=True, exist_ok=True)
    datasets = index_collection(options.model)
    with tempfile.TemporaryDirectory() as state, sync_playwright() as playwright:
        bound = free_socket()
        settings = Settings(
            state_dir=Path(state),
            datasets_dir=datasets,
            encoder=str(options.model),
            base_url=address_of(bound),
            publish="auto",
            publish_delay_s=0.1,
            suggestions=COLLECTION / "queries.json",
        )
        with serving(create_app(settings), bound) as address:
            browser = launch(playwright)
            for path in take_all(browser, address, options.out, set(filter(None, options.only.split(",")))):
                print(path)  # noqa: T201 - a command
            browser.close()
    return 0


def index_collection(model: Path) -> Path:
    """Folder of the indexed collection."""
    inputs = (INPUTS[0], model / "encoder.json", *FORMATS)
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in inputs)).hexdigest()
    datasets = ROOT / "var" / "screenshots" / digest[:12]
    if not (datasets / DATASET / "CURRENT").exists():
        where = ["--dataset", DATASET, "--datasets-dir", str(datasets)]
        for command in (["ingest", str(COLLECTION / "webdataset"), *where, "--model", str(model)], ["build", *where]):
            subprocess.run([sys.executable, "-m", "indexer", *command], cwd=ROOT, check=True)  # noqa: S603
    return datasets


def take_all(browser: Browser, address: str, out: Path, only: set[str]) -> list[Path]:
    """Walk the artist's way at each width and in each scheme, taking every page."""
    taken = []
    for width, height in WIDTHS.items():
        for scheme in SCHEMES:
            context = browser.new_context(
                base_url=address,
                viewport={"width": width, "height": height},
                color_scheme="dark" if scheme == "dark" else "light",
                reduced_motion="reduce",
            )
            page = context.new_page()
            for name, step in steps().items():
                step(page)
                if not only or name in only:
                    path = out / f"{name}-{width}-{scheme}.png"
                    settle(page)
                    page.screenshot(path=path, full_page=True)
                    taken.append(path)
            context.close()
    return taken


def settle(page: Page) -> None:
    """Wait until all pictures are there, the ones below the window too, and nothing sticks over the middle."""
    page.evaluate("document.querySelectorAll('img').forEach(image => image.loading = 'eager')")
    page.wait_for_load_state("networkidle")
    page.evaluate("Promise.all([...document.images].map(image => image.decode().catch(() => null)))")
    page.evaluate("document.querySelectorAll('.tray').forEach(tray => tray.style.position = 'static')")


def steps() -> dict[str, Step]:
    """Pages by name, in an order in which each can be reached from the one before."""
    return {
        "search": lambda page: visit(page, "/"),
        "results-words": lambda page: visit(page, f"/search?q={QUERY}"),
        "results-name": lambda page: visit(page, f"/search?q={ARTIST}"),
        "results-picture": search_with_a_picture,
        "confirm": tick_and_check,
        "done": lambda page: page.get_by_role("button", name="Opt them out").click(),
        "claim": lambda page: page.get_by_role("link", name="/claims/").first.click(),
        "results-opted-out": search_with_a_picture,
        "results-empty": lambda page: visit(page, "/search?q=https://nowhere.example/castle.png"),
        "results-narrowed": lambda page: visit(page, f"/search?q={QUERY}&side=256&kind=similar&left=1"),
        "error-search": lambda page: visit(page, f"/search?q={QUERY}&side=7"),
        "labs": lambda page: visit(page, "/labs"),
        "about": lambda page: visit(page, "/about"),
        "error": lambda page: visit(page, "/nowhere"),
    }


def visit(page: Page, path: str) -> None:
    """Open a page of the site."""
    page.goto(path)


def search_with_a_picture(page: Page) -> None:
    """Search with the most copied picture on a page of results, as its artist may have it: larger, and a JPEG."""
    page.goto(f"/search?q={QUERY}")
    most = page.evaluate(
        """() => [...document.querySelectorAll("article")]
        .map(card => [card.querySelectorAll("[data-copy]").length, card.querySelector(".take img")?.src])
        .filter(([, src]) => src).sort((a, b) => b[0] - a[0])[0][1]"""
    )
    picture = Image.open(io.BytesIO(page.request.get(most).body())).convert("RGB")
    file = io.BytesIO()
    picture.resize((picture.width * 2, picture.height * 2), Image.Resampling.LANCZOS).save(file, "JPEG", quality=90)
    page.goto("/")
    page.locator("#picture").set_input_files({"name": "mine.jpg", "mimeType": "image/jpeg", "buffer": file.getvalue()})
    page.get_by_role("heading", name="Your picture").wait_for()


def tick_and_check(page: Page) -> None:
    """Tick what is surely the picture, and go on."""
    for button in page.get_by_role("region").get_by_role("button", name="Select").all()[:1]:
        button.click()
    page.get_by_role("button", name="Opt out what I ticked").click()
    page.get_by_role("heading", name="Check, then opt out").wait_for()


if __name__ == "__main__":
    sys.exit(main())
