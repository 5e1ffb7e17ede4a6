"""The evaluation tells good from bad: of models, of indexes, of wrong arguments."""

import json
import shutil
import sys
from dataclasses import astuple
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageChops

from heldout.errors import ConflictError, InputError
from indexer.__main__ import main
from indexer.build import build
from indexer.evaluate import evaluate, needs_model
from indexer.figures import format_table
from indexer.ingest import ingest
from indexer.onnx_encoder import OnnxEncoder
from indexer.plots import save_plot
from indexer.precomputed import PrecomputedModel
from indexer.transforms import TRANSFORMS


@pytest.fixture(scope="module")
def world(make: Any, encoder: OnnxEncoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release with the shards it was made from, queries and a truth table beside it."""
    folder = tmp_path_factory.mktemp("world")
    make.tar(folder / "source" / "0.tar", make.rows(40))
    ingest([folder / "source"], release=folder / "small", encoder=encoder, workers=0)
    build(folder / "small")
    queries = {"picture": [f"{n:09d}" for n in range(38)], "number 7": ["000000007"], "nothing": []}
    (folder / "queries.json").write_text(json.dumps(queries))
    (folder / "truth.csv").write_text("key,original_key\n000000001,000000000\n")
    return folder


def test_all_figures_are_measured(world: Path, tmp_path: Path, encoder: OnnxEncoder) -> None:
    result = evaluate(
        world / "small",
        encoder,
        pictures=[world / "source"],
        queries=world / "queries.json",
        truth=world / "truth.csv",
        n_queries=12,
    )
    assert (result.n_pictures, result.n_queries) == (37, 12)
    assert [row.transform for row in result.copies] == list(TRANSFORMS)
    assert all(0 <= value <= 1 for row in result.copies for value in astuple(row)[1:])
    by_name = {row.transform: row for row in result.copies}
    assert by_name["JPEG q30"].pdq_match == 1.0
    assert by_name["horizontal flip"].pdq_match < by_name["horizontal flip"].pdq_match_any == 1.0
    assert all(row.either >= max(row.clip_r1, row.pdq_match_any) for row in result.copies)
    assert all(row.clip_r5 >= row.clip_r1 for row in result.copies)
    assert set(result.index_recall) == {"image", "near-copy", "text"}
    for recall in result.index_recall.values():
        assert recall == {"recall@1": 1.0, "recall@10": 1.0}  # a small index is exact
    assert result.concepts is not None
    rows = {row["query"]: row for row in result.concepts["queries"]}
    assert (rows["picture"]["caption"], rows["picture"]["attainable"]) == (1.0, 1.0)
    assert rows["number 7"]["caption"] == rows["number 7"]["attainable"] == 0.1
    assert json.loads(result.to_json())["n_queries"] == 12
    assert "horizontal flip" in format_table(result)
    save_plot(result, tmp_path / "figures.svg")
    save_plot(result, tmp_path / "figures.png")
    drawn = (tmp_path / "figures.svg").read_text()
    assert all(said in drawn for said in ("horizontal flip", "near-copy", "either", result.image_index))
    with Image.open(tmp_path / "figures.png") as image:
        assert image.width > 500
    with pytest.raises(InputError, match=r"\.jpg"):
        save_plot(result, tmp_path / "figures.jpg")


def test_figures_repeat_but_for_the_clock(world: Path, encoder: OnnxEncoder) -> None:
    first, second = (evaluate(world / "small", encoder, n_queries=6, seed=3) for _ in range(2))
    assert first.copies == second.copies
    assert first.concepts is None


def test_an_approximate_index_is_held_against_exact_search(world: Path, tmp_path: Path, encoder: OnnxEncoder) -> None:
    folder = shutil.copytree(
        world / "small", tmp_path / "small", ignore=shutil.ignore_patterns("generations", "CURRENT")
    )
    build(folder, exact_up_to=5)
    result = evaluate(folder, encoder, n_queries=6)
    assert result.image_index.endswith("RaBitQ")
    assert 0.9 <= result.index_recall["near-copy"]["recall@10"] <= 1.0


class _Other:
    tag = "other"
    d = 3


def test_what_does_not_belong_to_the_release_is_refused(
    world: Path, tmp_path: Path, make: Any, encoder: OnnxEncoder
) -> None:
    release = world / "small"
    with pytest.raises(ConflictError, match="not other"):
        evaluate(release, _Other())  # type: ignore[arg-type]
    foreign = make.tar(tmp_path / "9.tar", make.rows(5))
    with pytest.raises(InputError, match=r"9\.tar"):
        evaluate(release, encoder, pictures=[foreign])
    changed = make.tar(tmp_path / "0.tar", make.rows(40, first=2000))
    with pytest.raises(InputError, match="out of place"):
        evaluate(release, encoder, pictures=[changed])
    (tmp_path / "bad.json").write_text("[]")
    with pytest.raises(InputError, match=r"bad\.json"):
        evaluate(release, encoder, queries=tmp_path / "bad.json", n_queries=1)
    (tmp_path / "bad.csv").write_text("a,b\n")
    with pytest.raises(InputError, match=r"bad\.csv"):
        evaluate(release, encoder, truth=tmp_path / "bad.csv")


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms_change_a_picture_the_same_way_each_time(name: str, make: Any) -> None:
    image = make.draw(1, (120, 90))
    first, second = (TRANSFORMS[name](image, Random(4)) for _ in range(2))  # noqa: S311 - not a secret
    assert first.mode == "RGB"
    assert first.size == second.size
    assert ImageChops.difference(first, second).getbbox() is None
    assert first.size != image.size or ImageChops.difference(first, image).getbbox() is not None


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms_take_the_smallest_pictures(name: str) -> None:
    small = Image.fromarray(np.arange(8 * 9 * 3, dtype=np.uint8).reshape(8, 9, 3))
    assert min(TRANSFORMS[name](small, Random(1)).size) >= 1  # noqa: S311


def test_embeddings_without_pictures_are_held_against_exact_search_without_a_model(tmp_path: Path) -> None:
    for name in ("img_emb", "metadata"):
        (tmp_path / "brought" / name).mkdir(parents=True)
    rows = np.random.default_rng(7).standard_normal((40, 16))
    np.save(tmp_path / "brought" / "img_emb" / "img_emb_0.npy", rows.astype(np.float16))
    captions = pa.table({"caption": [f"number {row}" for row in range(40)]})
    pq.write_table(captions, tmp_path / "brought" / "metadata" / "metadata_0.parquet")
    release, model = tmp_path / "release", PrecomputedModel("ViT-B-32/openai")
    ingest([tmp_path / "brought"], release=release, encoder=model, workers=0)
    build(release)
    assert not needs_model(release, queries=None)
    result = evaluate(release, model)
    assert (result.copies, result.n_queries) == ([], 0)
    assert result.index_recall == {"image": {"recall@1": 1.0, "recall@10": 1.0}}
    assert set(result.latency_ms) == {"search_embedding", "search_embedding_cpu"}
    assert "no copies were made" in format_table(result)
    save_plot(result, tmp_path / "plot.svg")
    assert "Index against exact search" in (tmp_path / "plot.svg").read_text(encoding="utf-8")


def test_a_file_that_cannot_be_written_is_refused_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = f"evaluate --dataset none --datasets-dir {tmp_path} --model ViT-B-32/openai -o {tmp_path / 'no' / 'f.json'}"
    monkeypatch.setattr(sys, "argv", ["indexer", *line.split()])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "would lie in a folder that does not exist: make it first" in capsys.readouterr().err
