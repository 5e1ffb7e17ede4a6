"""The site over a small real world: drawn pictures with copies, indexed by the indexer, and a registry with keys."""

import base64
import hashlib
import io
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient
from PIL import Image, ImageDraw, ImageOps
from playwright.sync_api import Browser, Page, expect, sync_playwright

from indexer.preprocess import Preprocess
from registry.service import Registry
from tests.web.serving import address_of, free_socket, launch, open_context, serving
from web.app import create_app
from web.settings import Settings

COLOURS = {"red": (220, 30, 30), "green": (30, 180, 50), "blue": (40, 60, 220)}
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)> \u202eelttac \u0000 by \"Mallory' & Co"


SQUASH = Preprocess((64, 64), (0.0,) * 3, (1.0,) * 3, "bicubic", "squash", 0)


class ColourEncoder:
    """A picture's 4 x 4 mean colours, and a text's colour words on every patch: an encoder that needs no weights."""

    tag = "colours/4x4"
    d = 48
    precision = "float32"
    preprocess = SQUASH
    batch = threads = 4

    def claim_thread(self) -> None:
        """Nothing to claim."""

    def embed_images(self, images: Sequence[Image.Image]) -> npt.NDArray[np.float32]:
        """(n, 48) float32 unit rows."""
        return self.embed_fitted(self.preprocess.stack(images))

    def embed_fitted(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """(n, 48) float32 unit rows."""
        return _unit(pixels.reshape(len(pixels), 4, 16, 4, 16, 3).mean((2, 4)).reshape(len(pixels), self.d))

    def embed_texts(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """(n, 48) float32 unit rows."""
        colours = [[COLOURS[word] for word in text.lower().split() if word in COLOURS] for text in texts]
        rows = [np.tile(np.mean(found or [(200, 200, 200)], axis=0), 16) for found in colours]
        return _unit(np.array(rows, np.float32).reshape(len(rows), self.d))


def _unit(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    centred = rows - 110
    unit: npt.NDArray[np.float32] = (centred / np.linalg.norm(centred, axis=1, keepdims=True)).astype(np.float32)
    return unit


def draw(seed: int, colour: tuple[int, int, int]) -> Image.Image:
    """A busy picture without symmetry, mostly of one colour."""
    rng = random.Random(seed)  # noqa: S311 - not a secret
    image = Image.new("RGB", (200, 160), colour)
    pen = ImageDraw.Draw(image)
    for _ in range(45):
        x, y, wide, high = rng.randrange(200), rng.randrange(160), rng.randrange(8, 60), rng.randrange(8, 60)
        shade = tuple(min(255, max(0, part + rng.randrange(-110, 110))) for part in colour)
        rng.choice((pen.ellipse, pen.rectangle))((x - wide, y - high, x + wide, y + high), fill=shade)
    return image


def file_of(image: Image.Image, kind: str = "PNG", **options: int) -> bytes:
    """File bytes of a picture."""
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


COPY = base64.b64encode(file_of(draw(0, COLOURS["red"]).resize((100, 80)))).decode()
"""A small copy of a picture, as forms of the site carry it."""


def shard_rows() -> list[dict[str, object]]:
    """Twenty works of Jane Doe and Ota Novak, one of them widely copied; and what real data sets have besides."""
    names = list(COLOURS)
    rows: list[dict[str, object]] = []
    for number in range(20):
        artist = ("Jane Doe", "Ota Novak")[number % 2]
        picture = file_of(draw(number, COLOURS[names[number % 3]]))
        host = artist.split()[0].lower()
        caption = f"{names[number % 3]} shapes {number} by {artist}"
        rows.append(row(f"https://{host}.example/art/{number}.png", caption, picture))
    work = draw(0, COLOURS["red"])
    rows += [
        row("https://pins.example/a.png", "pinned", file_of(work)),
        row("https://pins.example/b.jpg", "pinned again", file_of(work, "JPEG", quality=40)),
        row("https://wall.example/c.jpg", "", file_of(work.resize((120, 96)), "JPEG", quality=80)),
        row("https://wall.example/m.png", "mirrored", file_of(ImageOps.mirror(work))),
        row("https://jane.example/lost.png", "lost castle by Jane Doe", None),
        row("https://mallory.example/x.png", HOSTILE, file_of(draw(99, COLOURS["green"]))),
        row("https://night.example/n.png", "night", file_of(draw(98, COLOURS["blue"])), nsfw="NSFW"),
        row("https://plain.example/white.png", "blank page", file_of(Image.new("RGB", (64, 64), "white"))),
    ]
    return rows


def row(url: str, caption: str, data: bytes | None, *, nsfw: str = "UNLIKELY") -> dict[str, object]:
    """One row of an img2dataset shard in parquet."""
    return {
        "url": url,
        "caption": caption,
        "status": "success" if data else "failed_to_download",
        "jpg": data,
        "width": 200 if data else None,
        "height": 160 if data else None,
        "sha256": hashlib.sha256(data).hexdigest() if data else None,
        "NSFW": nsfw,
    }


def build_dataset(datasets_dir: Path, name: str, rows: list[dict[str, object]]) -> None:
    """Ingest and index rows as a data set, with the indexer's own code."""
    (datasets_dir.parent / f"{name}-shards").mkdir()
    add_shard(datasets_dir, name, rows)


def add_shard(datasets_dir: Path, name: str, rows: list[dict[str, object]]) -> None:
    """Ingest more rows into a data set, and make its next generation."""
    from indexer.build import build
    from indexer.ingest import ingest

    shards = datasets_dir.parent / f"{name}-shards"
    pq.write_table(pa.Table.from_pylist(rows), shards / f"{len(list(shards.iterdir())):05}.parquet")
    ingest([shards], release=datasets_dir / name, encoder=ColourEncoder(), workers=0)
    build(datasets_dir / name)


@pytest.fixture(scope="session")
def datasets_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data set `shapes`, read only."""
    folder = tmp_path_factory.mktemp("web") / "datasets"
    folder.mkdir()
    build_dataset(folder, "shapes", shard_rows())
    return folder


def make_settings(datasets_dir: Path, folder: Path) -> Settings:
    """Settings of a fresh registry, in `folder`, over the data set."""
    suggestions = folder / "queries.json"
    suggestions.write_text('["red shapes", "Jane Doe", "!"]')
    return Settings(
        state_dir=folder / "state",
        datasets_dir=datasets_dir,
        base_url="http://testserver",
        suggestions=suggestions,
        publish_delay_s=0.05,
        research="off",
        quarantine="off",
    )


@contextmanager
def running(settings: Settings) -> Iterator[TestClient]:
    """The site on these settings."""
    with TestClient(create_app(settings, encoder=ColourEncoder()), follow_redirects=False) as client:
        yield client


@contextmanager
def served(datasets_dir: Path, folder: Path, **changes: object) -> Iterator[str]:
    """A site on a port of its own."""
    bound = free_socket()
    settings = make_settings(datasets_dir, folder).model_copy(update={"base_url": address_of(bound), **changes})
    with serving(create_app(settings, encoder=ColourEncoder()), bound) as base:
        yield base


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One Chromium for a module's tests: no longer, for Playwright keeps an event loop running in this thread."""
    expect.set_options(timeout=30_000)  # machines may be busy; what is there already is not waited for
    with sync_playwright() as playwright:
        opened = launch(playwright)
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """A page of the module's fixture `address`, with JavaScript. The browser must have nothing to complain about."""
    context, page, complaints = open_context(browser, address)
    yield page
    context.close()
    assert complaints == []


@pytest.fixture(scope="session")
def shared_site(datasets_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A site where nobody opts anything out."""
    with running(make_settings(datasets_dir, tmp_path_factory.mktemp("site"))) as client:
        yield client


@pytest.fixture
def site(request: pytest.FixtureRequest) -> TestClient:
    """The site that all tests share; in a module marked `opts_out`, one of the test's own."""
    is_own = request.node.get_closest_marker("opts_out") is not None
    found: TestClient = request.getfixturevalue("own_site" if is_own else "shared_site")
    return found


@pytest.fixture
def settings(datasets_dir: Path, tmp_path: Path) -> Settings:
    """Settings of a fresh registry over the data set."""
    return make_settings(datasets_dir, tmp_path)


@pytest.fixture
def open_site() -> Iterator[Callable[[Settings], TestClient]]:
    """Opens a site on settings; it is closed after the test."""
    with ExitStack() as stack:
        yield lambda settings: stack.enter_context(running(settings))


@pytest.fixture
def own_site(settings: Settings, open_site: Callable[[Settings], TestClient]) -> TestClient:
    """A site with a fresh registry, on the fixture `settings`."""
    return open_site(settings)


@pytest.fixture
def registry(site: TestClient) -> Registry:
    """The registry of the fixture `site`, as the module has it."""
    found: Registry = site.app.state.registry  # type: ignore[attr-defined]
    return found


@pytest.fixture
def picture() -> bytes:
    """The widely copied work, as its artist has it."""
    return file_of(draw(0, COLOURS["red"]))


@pytest.fixture
def unknown_picture() -> bytes:
    """A picture that no data set has."""
    return file_of(draw(12_345, (120, 90, 200)))
