"""`python -m tests.web.screenshots`: every page of the site over the bundled collection, as PNG files.

At 360 and 1280 px, light and dark, in English, and in the light in Spanish too (`-es`). The index is made once, below
`var/`, and made anew when pictures or model change. The way through the pages is `tests.web.walk`.
"""

import argparse
import hashlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from tests.web.serving import address_of, free_socket, launch, serving
from tests.web.walk import Walk, reviewer_of
from web.app import create_app
from web.demo import COLLECTION, DATASET, FORMATS, INPUTS, MODEL
from web.settings import Settings

ROOT = Path(__file__).parents[2]
WIDTHS = {360: 740, 1280: 900}
"""Width to height of the window, in CSS pixels."""
SCHEMES = ("light", "dark")
LANGUAGES = {"en": SCHEMES, "es": ("light",)}
KINDS = [(language, width, scheme) for language, schemes in LANGUAGES.items() for width in WIDTHS for scheme in schemes]
PLENTY = 100_000
"""Of what is limited by the day: all visitors here come from one address."""


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
            reviewers=",".join(reviewer_of(name_of(*kind)) for kind in KINDS),
            research_every_s=0,
            daily_claims=PLENTY,
            daily_subjects=PLENTY,
            daily_disputes=PLENTY,
        )
        with serving(create_app(settings), bound) as address:
            browser = launch(playwright)
            only = set(filter(None, options.only.split(",")))
            for path in take_all(browser, address, Path(state), options.out, only):
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


def take_all(browser: Browser, address: str, state_dir: Path, out: Path, only: set[str]) -> Iterator[Path]:
    """Walk through the site at each width, in each scheme and language, taking every page, or those that are named."""
    for language, width, scheme in KINDS:
        context = browser.new_context(
            base_url=address,
            viewport={"width": width, "height": WIDTHS[width]},
            color_scheme="dark" if scheme == "dark" else "light",
            reduced_motion="reduce",
            locale=language,
        )
        page = context.new_page()
        for name, step in Walk(state_dir, name_of(language, width, scheme)).steps().items():
            step(page)
            if not only or name in only:
                path = out / f"{name}-{width}-{scheme}{'' if language == 'en' else f'-{language}'}.png"
                settle(page)
                is_covered = page.locator("dialog[open]").count() > 0  # a dialog covers the window alone
                page.screenshot(path=path, full_page=not is_covered)
                yield path
        context.close()


def name_of(language: str, width: int, scheme: str) -> str:
    """Whose walk it is."""
    return f"jane-{language}-{width}-{scheme}"


def settle(page: Page) -> None:
    """Wait until all pictures are there, the ones below the window too, and nothing sticks over the middle."""
    page.evaluate("document.querySelectorAll('img').forEach(image => image.loading = 'eager')")
    page.wait_for_load_state("networkidle")
    page.evaluate("Promise.all([...document.images].map(image => image.decode().catch(() => null)))")
    page.evaluate("document.querySelectorAll('.tray').forEach(tray => tray.style.position = 'static')")


if __name__ == "__main__":
    sys.exit(main())
