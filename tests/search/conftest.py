"""A small real world: drawn pictures with planted copies in img2dataset shards, indexed by the indexer's own code."""

import hashlib
import io
import json
import random
import tarfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import JSONResponse
from hypothesis import settings
from PIL import Image, ImageDraw, ImageOps

from heldout.addresses import LOOPBACK, AddressGuard
from heldout.errors import HeldoutError
from heldout.fetching import Fetcher, FetchLimits
from heldout.pictures import pdq_orientations
from indexer.build import build
from indexer.ingest import ingest
from indexer.preprocess import Preprocess
from search.engine import SearchEngine
from tests.file_server import serve_files

settings.register_profile("search", deadline=None)  # times vary too much on a busy machine
settings.load_profile("search")

COLOURS = {
    "red": (220, 30, 30),
    "green": (30, 180, 50),
    "blue": (40, 60, 220),
    "yellow": (235, 215, 40),
}
ARTISTS = ("Jane Doe", "Ota Novák", "Mika Sato")


class PatchEncoder:
    """A picture's 4 x 4 mean colours, and a text's colour words on every patch: an encoder that needs no weights."""

    def __init__(self, tag: str = "patches/4x4") -> None:
        self.tag = tag
        self.d = 48
        self.precision = "float32"
        self.preprocess = Preprocess((64, 64), (0.0,) * 3, (1.0,) * 3, "bicubic", "squash", 0)
        self.batch = self.threads = 4

    def claim_thread(self) -> None:
        """Nothing to claim."""

    def embed_images(self, images: Sequence[Image.Image]) -> npt.NDArray[np.float32]:
        """(n, 48) float32 unit rows."""
        return self.embed_fitted(self.preprocess.stack(images))

    def embed_fitted(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """(n, 48) float32 unit rows."""
        return _unit(pixels.reshape(len(pixels), 4, 16, 4, 16, 3).mean((2, 4)).reshape(len(pixels), 48) - 110.0)

    def embed_texts(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """(n, 48) float32 unit rows."""
        rows = [
            np.sum(
                [np.tile(COLOURS[word], 16) for word in text.lower().split() if word in COLOURS] or [np.ones(48)],
                axis=0,
            )
            for text in texts
        ]
        return _unit(np.array(rows, dtype=np.float32).reshape(len(rows), 48) - 110.0)


def _unit(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    out: npt.NDArray[np.float32] = np.divide(rows, np.where(lengths == 0, 1, lengths), dtype=np.float32)
    return out


@dataclass
class Row:
    """One sample as the shards hold it."""

    key: str
    url: str
    caption: str
    data: bytes | None
    """File bytes, or None where the download failed."""


@dataclass
class World:
    """What was planted, to hold answers against."""

    rows: list[Row] = field(default_factory=list)
    works: list[str] = field(default_factory=list)
    """Keys of the originals."""
    copies: dict[str, dict[str, str]] = field(default_factory=dict)
    """Key of an original -> kind of copy -> key of the copy."""

    def row(self, key: str) -> Row:
        """The row of a key."""
        return next(row for row in self.rows if row.key == key)

    def picture(self, key: str) -> bytes:
        """The file bytes of a key that has them."""
        data = self.row(key).data
        assert data is not None
        return data

    def add(self, url: str, caption: str, data: bytes | None) -> str:
        """Add a sample; its key, in img2dataset's way."""
        key = f"{len(self.rows):09d}"
        self.rows.append(Row(key, url, caption, data))
        return key


def draw(seed: int, colour: tuple[int, int, int]) -> Image.Image:
    """A picture without symmetry, mostly of one colour, busy enough for PDQ."""
    rng = random.Random(seed)  # noqa: S311 - not a secret
    while True:
        image = Image.new("RGB", (200, 160), colour)
        pen = ImageDraw.Draw(image)
        for _ in range(45):
            x, y, wide, high = rng.randrange(200), rng.randrange(160), rng.randrange(8, 60), rng.randrange(8, 60)
            shade = tuple(min(255, max(0, part + rng.randrange(-110, 110))) for part in colour)
            rng.choice((pen.ellipse, pen.rectangle))((x - wide, y - high, x + wide, y + high), fill=shade)
        if pdq_orientations(image)[1] >= 70:
            return image


def encode(image: Image.Image, kind: str = "PNG", **options: int) -> bytes:
    """File bytes of a picture."""
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def plant(seed: int, n_works: int) -> World:
    """A world of `n_works` pictures; every third has copies, besides dead, plain and multiply listed samples."""
    world = World()
    names = list(COLOURS)
    for number in range(n_works):
        colour, artist = names[number % len(names)], ARTISTS[number % len(ARTISTS)]
        image = draw(seed * 1000 + number, COLOURS[colour])
        host = artist.split()[0].lower()
        credit = f" by {artist}" if number % 2 else ""
        key = world.add(
            f"https://{host}.example/art/{number:03d}.png", f"{colour} shapes number {number}{credit}", encode(image)
        )
        world.works.append(key)
        if number % 3 == 0:
            pins = f"https://cdn{number}.pins.example/p/{number}"
            world.copies[key] = {
                "bytes": world.add(f"{pins}.png", "pinned", encode(image)),
                "jpeg": world.add(f"{pins}-q30.jpg", "pinned again", encode(image, "JPEG", quality=30)),
                "half": world.add(f"{pins}-half.jpg", "", encode(image.resize((100, 80)), "JPEG", quality=85)),
                "mirror": world.add(f"{pins}-m.png", "mirrored", encode(ImageOps.mirror(image))),
                "turned": world.add(f"{pins}-t.png", "turned", encode(image.transpose(Image.Transpose.ROTATE_90))),
            }
    world.add("https://jane.example/art/lost.png", "a lost castle by Jane Doe", None)
    world.add("https://mika.example/art/kuruma.png", "海辺の赤い車の絵", None)
    world.add("https://plain.example/white.png", "nothing at all", encode(Image.new("RGB", (64, 64), "white")))
    world.add("https://plain.example/cream.png", "nearly nothing", encode(Image.new("RGB", (64, 64), (255, 255, 250))))
    world.add("https://jane.example/art/000.png?utm_source=feed", "the same address again", None)
    return world


def write_shards(world: World, folder: Path, *, per_shard: int = 40, first: int = 0) -> Path:
    """Write a world as img2dataset does: tars of picture, caption and metadata, each with a parquet of all its rows."""
    folder.mkdir(parents=True)
    for start in range(0, len(world.rows), per_shard):
        rows, stem = world.rows[start : start + per_shard], folder / f"{first + start // per_shard:05d}"
        table = [_metadata(row) for row in rows]
        pq.write_table(pa.Table.from_pylist(table), stem.with_suffix(".parquet"))
        with tarfile.open(stem.with_suffix(".tar"), "w") as tar:
            for row, metadata in zip(rows, table, strict=True):
                if row.data is not None:
                    suffix = "jpg" if row.data.startswith(b"\xff\xd8") else "png"
                    _add(tar, f"{row.key}.{suffix}", row.data)
                    _add(tar, f"{row.key}.txt", row.caption.encode())
                    _add(tar, f"{row.key}.json", json.dumps(metadata).encode())
    return folder


def _metadata(row: Row) -> dict[str, str | None]:
    return {
        "url": row.url,
        "caption": row.caption,
        "key": row.key,
        "status": "failed_to_download" if row.data is None else "success",
        "error_message": "HTTP Error 404: Not Found" if row.data is None else None,
        "sha256": None if row.data is None else hashlib.sha256(row.data).hexdigest(),
    }


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def build_release(world: World, release: Path, encoder: PatchEncoder) -> Path:
    """Ingest and build a world; its shards are left in `source` beside the release's own folders."""
    ingest([write_shards(world, release / "source")], release=release, encoder=encoder, workers=0)
    build(release)
    return release


@pytest.fixture(scope="session")
def encoder() -> PatchEncoder:
    """The encoder of queries and indexes."""
    return PatchEncoder()


@pytest.fixture(scope="session")
def world() -> World:
    """What data set `art` holds."""
    return plant(seed=1, n_works=60)


@pytest.fixture(scope="session")
def other_world(world: World) -> World:
    """What data set `more` holds: other pictures, and one of `art` again."""
    other = plant(seed=2, n_works=12)
    again = other.add("https://elsewhere.example/again.png", "seen elsewhere", world.picture(world.works[0]))
    other.copies["art"] = {"bytes": again}
    return other


@pytest.fixture(scope="session")
def datasets_dir(
    world: World, other_world: World, encoder: PatchEncoder, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Two built releases, read only."""
    folder = tmp_path_factory.mktemp("datasets")
    build_release(world, folder / "art", encoder)
    build_release(other_world, folder / "more", encoder)
    return folder


@pytest.fixture(scope="session")
def engine(datasets_dir: Path, encoder: PatchEncoder) -> Iterator[SearchEngine]:
    """An engine over both data sets."""
    opened = SearchEngine.open(datasets_dir, encoder)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def drawing() -> Callable[[int, str], Image.Image]:
    """Draws a picture that is in no data set."""
    return lambda seed, colour: draw(900_000 + seed, COLOURS[colour])


@pytest.fixture(scope="session")
def other_encoder() -> PatchEncoder:
    """An encoder of another name."""
    return PatchEncoder("patches/other")


@pytest.fixture(scope="session")
def grow() -> Callable[[Path, PatchEncoder], None]:
    """Gives a release one more shard of one more sample, and builds the next generation."""

    def grow(release: Path, encoder: PatchEncoder) -> None:
        more = World()
        number = sum(1 for _ in (release / "shards").iterdir())
        more.add(
            f"https://late.example/{number}.png", "a late green arrival", encode(draw(5_000 + number, COLOURS["green"]))
        )
        source = write_shards(more, release / f"late-{number}", first=100 + number)
        ingest([source], release=release, encoder=encoder, workers=0)
        build(release)

    return grow


@pytest.fixture(scope="session")
def build_more(other_world: World) -> Callable[[Path, PatchEncoder], Path]:
    """Builds what data set `more` holds in a new folder, by an encoder."""
    return lambda release, encoder: build_release(other_world, release, encoder)


@pytest.fixture(scope="session")
def app_of() -> Callable[..., FastAPI]:
    """Makes an application of routers, with errors as JSON."""

    def app_of(engine: SearchEngine, *routers: Callable[..., APIRouter]) -> FastAPI:
        @asynccontextmanager
        async def lifespan(app: FastAPI) -> AsyncIterator[None]:
            async with Fetcher(guard=AddressGuard(allow=LOOPBACK), limits=FetchLimits(total_s=10)) as fetcher:
                app.state.fetcher = fetcher
                yield

        def get_fetcher(request: Request) -> Fetcher:
            fetcher: Fetcher = request.app.state.fetcher
            return fetcher

        app = FastAPI(lifespan=lifespan)
        for router in routers:
            app.include_router(router(lambda: engine, get_fetcher))

        @app.exception_handler(HeldoutError)
        def problem(_: Request, error: HeldoutError) -> JSONResponse:
            return JSONResponse({"detail": str(error)}, status_code=error.http_status)

        return app

    return app_of


@pytest.fixture
def web_of() -> Iterator[Callable[[dict[str, bytes]], str]]:
    """Starts a web server on loopback that has files by path; its address. Everything else is a 404."""
    with ExitStack() as stack:
        yield lambda files: stack.enter_context(serve_files(files))
