"""One contract for both encoders, and their agreement."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from heldout.errors import ConflictError, InputError, VerificationError
from indexer.encoder import PRECISIONS, Encoder, load_encoder
from indexer.export import export_encoder
from indexer.openclip import OpenClipEncoder
from indexer.precision import AGREEMENT, MAX_BATCH, size_batch
from indexer.preprocess import Preprocess

TEXTS = [
    "red car",
    "a castle on a hill by Müller",
    "",
    "日本語 & <b>",
    "x" * 500,
    "\u017f '\u017f don't",
    "<end_of_text> tail",
]


class EncoderContract:
    """What every encoder promises; a new one inherits this class."""

    @pytest.fixture
    def encoder(self) -> Encoder:
        raise NotImplementedError

    def test_rows_are_unit_float32_of_length_d(self, encoder: Encoder, pictures: list[Image.Image]) -> None:
        for rows, n in ((encoder.embed_images(pictures), len(pictures)), (encoder.embed_texts(TEXTS), len(TEXTS))):
            assert rows.shape == (n, encoder.d)
            assert rows.dtype == np.float32
            np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1.0, atol=1e-5)

    def test_nothing_gives_no_rows(self, encoder: Encoder) -> None:
        assert encoder.embed_images([]).shape == (0, encoder.d)
        assert encoder.embed_texts([]).shape == (0, encoder.d)

    def test_a_row_does_not_depend_on_its_batch(self, encoder: Encoder, pictures: list[Image.Image]) -> None:
        many = encoder.embed_images(pictures * 12)
        for row, picture in enumerate(pictures):
            np.testing.assert_allclose(encoder.embed_images([picture])[0], many[row], atol=2e-5)
        texts = encoder.embed_texts(TEXTS * 12)
        for row, text in enumerate(TEXTS):
            np.testing.assert_allclose(encoder.embed_texts([text])[0], texts[row], atol=2e-5)

    def test_fitted_pictures_give_the_rows_of_the_pictures(self, encoder: Encoder, pictures: list[Image.Image]) -> None:
        whole = encoder.embed_images(pictures)
        fitted = encoder.preprocess.stack(pictures)
        assert fitted.shape == (len(pictures), *encoder.preprocess.size, 3)
        assert fitted.dtype == np.uint8
        with ThreadPoolExecutor(2, initializer=encoder.claim_thread) as threads:
            at_once = list(threads.map(encoder.embed_fitted, [fitted] * 4))
        for rows in at_once:
            assert np.array_equal(rows, at_once[0])
            np.testing.assert_allclose(rows, whole, atol=2e-5)
        assert encoder.embed_fitted(fitted[:0]).shape == (0, encoder.d)
        assert encoder.batch >= len(pictures)
        assert encoder.threads >= 1

    def test_different_inputs_give_different_rows(self, encoder: Encoder, pictures: list[Image.Image]) -> None:
        images, texts = encoder.embed_images(pictures[:2]), encoder.embed_texts(TEXTS[:2])
        assert images[0] @ images[1] < 0.99999
        assert texts[0] @ texts[1] < 0.99999

    def test_the_tag_is_stable_and_tells_no_path(self, encoder: Encoder) -> None:
        assert encoder.tag
        assert "/" not in encoder.tag


class TestOpenClipEncoder(EncoderContract):
    @pytest.fixture
    def encoder(self, resnet_folder: Path) -> Encoder:
        return load_encoder(f"local-dir:{resnet_folder}")


class TestOpenClipVitEncoder(EncoderContract):
    @pytest.fixture
    def encoder(self, vit_folder: Path) -> Encoder:
        return load_encoder(f"local-dir:{vit_folder}")


class TestOnnxEncoder(EncoderContract):
    @pytest.fixture
    def encoder(self, onnx_folder: Path) -> Encoder:
        return load_encoder(str(onnx_folder))


@pytest.mark.parametrize("precision", ["bfloat16", "float16", "auto"])
@pytest.mark.parametrize("kind", ["resnet_folder", "vit_folder"])
def test_precisions_agree(
    kind: str, precision: str, request: pytest.FixtureRequest, pictures: list[Image.Image]
) -> None:
    folder = f"local-dir:{request.getfixturevalue(kind)}"
    exact, other = load_encoder(folder), load_encoder(folder, precision=precision)
    assert exact.precision == "float32"
    assert other.precision in ({precision} if precision != "auto" else set(PRECISIONS))
    assert other.tag == exact.tag
    assert (exact.embed_images(pictures) * other.embed_images(pictures)).sum(1).min() >= AGREEMENT
    assert (exact.embed_texts(TEXTS) * other.embed_texts(TEXTS)).sum(1).min() >= AGREEMENT


def test_a_forward_pass_is_sized_by_the_model(open_clip: Any) -> None:
    import torch

    config = {"width": 32, "head_width": 16, "patch_size": 8, "layers": 1}
    text = {"context_length": 12, "vocab_size": 100, "width": 32, "heads": 2, "layers": 1}
    batches = []
    for size in (32, 512):
        model = open_clip.CLIP(embed_dim=8, vision_cfg={**config, "image_size": size}, text_cfg=text)
        batch, threads = size_batch(torch, model.eval(), (size, size), "cpu")
        assert batch & (batch - 1) == 0
        assert threads >= 1
        batches.append(batch)
    assert MAX_BATCH == batches[0] > batches[1] >= 1


def test_a_thread_that_claims_a_core_leaves_others_theirs(vit_folder: Path) -> None:
    import torch

    encoder, before = load_encoder(f"local-dir:{vit_folder}"), torch.get_num_threads()
    with ThreadPoolExecutor(1, initializer=encoder.claim_thread) as threads:
        assert threads.submit(torch.get_num_threads).result() == 1
    assert torch.get_num_threads() == before


def test_precisions_that_cannot_be_are_refused(vit_folder: Path, onnx_folder: Path) -> None:
    with pytest.raises(InputError, match="no precision 'float8': known are auto, float32"):
        load_encoder(f"local-dir:{vit_folder}", precision="float8")
    with pytest.raises(InputError, match="computes in float32"):
        load_encoder(str(onnx_folder), precision="bfloat16")


@pytest.mark.parametrize("kind", ["resnet_folder", "vit_folder"])
def test_an_exported_model_gives_the_same_rows(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, pictures: list[Image.Image]
) -> None:
    source = OpenClipEncoder.load(f"local-dir:{request.getfixturevalue(kind)}")
    export_encoder(source, tmp_path / "onnx")
    exported = load_encoder(str(tmp_path / "onnx"))
    assert exported.tag == source.tag
    assert (source.embed_images(pictures) * exported.embed_images(pictures)).sum(1).min() >= 0.999
    assert (source.embed_texts(TEXTS) * exported.embed_texts(TEXTS)).sum(1).min() >= 0.999


@pytest.mark.parametrize("mode", ["longest", "shortest", "squash"])
@pytest.mark.parametrize("size", [(32, 32), (24, 40)])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_preprocess_equals_open_clips_transform(
    open_clip: Any, pictures: list[Image.Image], mode: str, size: tuple[int, int], interpolation: str
) -> None:
    config = {
        "size": list(size),
        "mean": [0.75, 0.73, 0.71],
        "std": [0.33, 0.33, 0.35],
        "interpolation": interpolation,
        "resize_mode": mode,
        "fill_color": 200,
    }
    if mode == "shortest" and size[0] != size[1]:
        config["interpolation"] = "bicubic"  # open_clip ignores the setting here
    transform = open_clip.transform.image_transform_v2(open_clip.transform.PreprocessCfg(**config), is_train=False)
    preprocess = Preprocess.from_config(config)
    # A side that rounds to zero makes open_clip fail; ours keeps one pixel, as the next test says.
    for picture in [one for one in pictures if min(one.size) > 1]:
        np.testing.assert_allclose(preprocess([picture])[0], transform(picture).numpy(), atol=1e-6)


def test_a_line_of_pixels_is_preprocessed() -> None:
    preprocess = Preprocess((32, 32), (0.5,) * 3, (0.5,) * 3, "bicubic", "longest", 255)
    assert preprocess([Image.new("RGB", (4000, 1)), Image.new("RGB", (1, 4000))]).shape == (2, 3, 32, 32)


def test_preprocess_settings_survive_the_json() -> None:
    preprocess = Preprocess((24, 40), (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), "bilinear", "longest", 7)
    assert Preprocess.from_config(json.loads(json.dumps(preprocess.to_config()))) == preprocess


def test_unknown_preprocess_settings_are_refused() -> None:
    with pytest.raises(InputError, match="random"):
        Preprocess.from_config({"size": 8, "mean": [0] * 3, "std": [1] * 3, "interpolation": "random"})
    with pytest.raises(InputError, match="mean"):
        Preprocess.from_config({"size": 8, "std": [1] * 3})


def test_exporting_twice_gives_the_same_bytes(onnx_folder: Path, resnet_folder: Path, tmp_path: Path) -> None:
    export_encoder(OpenClipEncoder.load(f"local-dir:{resnet_folder}"), tmp_path / "again")
    for path in onnx_folder.iterdir():
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes(), path.name


def test_export_does_not_replace_a_foreign_folder(resnet_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("precious")
    with pytest.raises(ConflictError, match="mine"):
        export_encoder(OpenClipEncoder.load(f"local-dir:{resnet_folder}"), tmp_path / "mine")
    assert (tmp_path / "mine" / "file").read_text() == "precious"


def test_a_changed_file_is_refused(onnx_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(onnx_folder, tmp_path / "changed")
    with (folder / "text.onnx").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(VerificationError, match=r"text\.onnx"):
        load_encoder(str(folder))


@pytest.mark.parametrize("name", ["image.onnx", "tokenizer.json"])
def test_a_missing_file_is_named(onnx_folder: Path, tmp_path: Path, name: str) -> None:
    folder = shutil.copytree(onnx_folder, tmp_path / "lacking")
    (folder / name).unlink()
    with pytest.raises(InputError, match=name):
        load_encoder(str(folder))


def test_a_foreign_description_is_refused(onnx_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(onnx_folder, tmp_path / "foreign")
    (folder / "encoder.json").write_text('{"format": "other/1"}')
    with pytest.raises(InputError, match="heldout-encoder/1"):
        load_encoder(str(folder))


def test_wrong_specs_say_what_to_do(resnet_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="local-dir:"):
        load_encoder(str(resnet_folder))
    with pytest.raises(InputError, match=r"open_clip_config\.json"):
        load_encoder(f"local-dir:{tmp_path}")
    with pytest.raises(InputError, match="MODEL/WEIGHTS"):
        load_encoder("ViT-B-32")
    with pytest.raises(InputError, match="no-such-model"):
        load_encoder("no-such-model/weights")
