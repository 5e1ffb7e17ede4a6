"""The shipped starter model: its two forms, their sizes, what it finds in the bundled collection, and its card.

Ranks are asserted, never absolute cosines: no threshold on them separates anything.
"""

import contextlib
import importlib.util
import json
import re
import tarfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageOps

from heldout.errors import InputError
from heldout.pictures import decode_picture
from indexer.encoder import load_encoder
from indexer.onnx_encoder import OnnxEncoder

DATA = Path(__file__).parents[2] / "data"
FOLDER = DATA / "models" / "starter"
ONNX_FOLDER = DATA / "models" / "starter-onnx"
COLLECTION = DATA / "collection"
MEGABYTE = 1_000_000

Vectors = npt.NDArray[np.float32]


@pytest.fixture(scope="module")
def open_clip() -> Any:
    """open_clip, imported past a torchvision whose compiled operators do not load beside a CPU-only torch."""
    spec = importlib.util.spec_from_file_location(
        "torchvision_shim", DATA / "scripts" / "starter" / "torchvision_shim.py"
    )
    assert spec is not None
    assert spec.loader is not None
    shim = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(shim)
    shim.ensure_torchvision()
    return importlib.import_module("open_clip")


@pytest.fixture(scope="module")
def encoder() -> OnnxEncoder:
    return OnnxEncoder.open(ONNX_FOLDER)


@pytest.fixture(scope="module")
def pictures() -> dict[str, Image.Image]:
    """The collection's pictures by key, without those that its makers broke."""
    found = {}
    for shard in sorted((COLLECTION / "webdataset").glob("*.tar")):
        with tarfile.open(shard) as tar:
            for member in tar:
                name = Path(member.name)
                if name.suffix in {".jpg", ".png", ".webp"}:
                    file = tar.extractfile(member)
                    assert file is not None
                    with contextlib.suppress(InputError):
                        found[name.stem] = decode_picture(file.read())
    return found


@pytest.fixture(scope="module")
def embedded(encoder: OnnxEncoder, pictures: dict[str, Image.Image]) -> tuple[list[str], Vectors]:
    return list(pictures), encoder.embed_images(list(pictures.values()))


def _right_in_10(encoder: OnnxEncoder, embedded: tuple[list[str], Vectors], query: str) -> int:
    keys, rows = embedded
    right = set(json.loads((COLLECTION / "queries.json").read_text(encoding="utf-8"))[query])
    best = np.argsort(-(rows @ encoder.embed_texts([query])[0]))[:10]
    return sum(keys[i] in right for i in best)


@pytest.mark.parametrize("folder", [FOLDER, ONNX_FOLDER])
def test_each_form_is_at_most_25_megabytes(folder: Path) -> None:
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 25 * MEGABYTE


def test_both_towers_take_at_most_22_megabytes() -> None:
    assert (FOLDER / "open_clip_model.safetensors").stat().st_size <= 22 * MEGABYTE


def test_open_clip_loads_the_folder_as_it_is(open_clip: Any) -> None:
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{FOLDER}")
    (merges,) = FOLDER.glob("*.txt.gz")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{FOLDER}", bpe_path=str(merges))

    pixels = preprocess(Image.new("RGB", (50, 40), "red"))[None]
    tokens = tokenizer(["a red rectangle"])

    assert model.encode_image(pixels).shape == model.encode_text(tokens).shape == (1, 256)


def test_the_two_forms_agree(open_clip: Any, encoder: OnnxEncoder, pictures: dict[str, Image.Image]) -> None:
    assert open_clip  # imports past the shim before the encoder does
    torch_form = load_encoder(f"local-dir:{FOLDER}")
    some = list(pictures.values())[::100]
    texts = ["cat", "a red car in the snow", "Ängste, 3 naïve œuvres & £5", ""]

    for mine, other in (
        (encoder.embed_images(some), torch_form.embed_images(some)),
        (encoder.embed_texts(texts), torch_form.embed_texts(texts)),
    ):
        assert (mine * other).sum(1).min() >= 0.999


@pytest.mark.parametrize(("query", "least"), [("house", 7), ("fruit", 6), ("tree", 4), ("car", 4), ("smiley", 4)])
def test_a_word_that_works_finds_its_pictures(
    query: str, least: int, encoder: OnnxEncoder, embedded: tuple[list[str], Vectors]
) -> None:
    assert _right_in_10(encoder, embedded, query) >= least


def test_a_mirrored_framed_copy_finds_its_original(
    encoder: OnnxEncoder, pictures: dict[str, Image.Image], embedded: tuple[list[str], Vectors]
) -> None:
    keys, rows = embedded
    asked = keys[::50]
    copies = [ImageOps.expand(ImageOps.mirror(pictures[key]), border=20, fill="white") for key in asked]

    best = np.argsort(-(encoder.embed_images(copies) @ rows.T), axis=1)[:, :5]

    found = [key in {keys[i] for i in five} for key, five in zip(asked, best, strict=True)]
    assert np.mean(found) >= 0.9


def test_one_picture_and_one_text_are_embedded_quickly(encoder: OnnxEncoder, pictures: dict[str, Image.Image]) -> None:
    """The card's 6 ms are for an idle core; a busy test machine gets ten times that."""
    picture = next(iter(pictures.values()))
    seconds = []
    for _ in range(20):
        start = time.perf_counter()
        encoder.embed_images([picture])
        encoder.embed_texts(["a red car"])
        seconds.append(time.perf_counter() - start)

    assert min(seconds) < 0.12


def test_the_card_says_every_figure_with_its_goal() -> None:
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([^|]+?) \| (≥|≤) ([\d.]+)[^|]* \| ([\d.]+)[^|]* \| (yes|no) \|$", card, re.MULTILINE)

    assert len(rows) >= 6
    for name, sign, goal, reached, verdict in rows:
        met = float(reached) >= float(goal) if sign == "≥" else float(reached) <= float(goal)
        assert verdict == ("yes" if met else "no"), name


def test_the_card_names_every_source_that_asks_for_attribution() -> None:
    notice = (FOLDER / "NOTICE").read_text(encoding="utf-8")
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    sources = re.findall(r"^\| ([\w-]+) \| [\d,]+ \| CC-BY-[\d.]+ \|", card, re.MULTILINE)

    assert len(sources) >= 10
    assert [name for name in sources if name not in notice] == []
