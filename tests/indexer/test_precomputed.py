"""Embeddings that a source brings, and indexes made by clip-retrieval: served without a model, row for row."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import faiss
import h5py
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from heldout.errors import InputError
from indexer import import_index
from indexer.build import build
from indexer.embeddings_source import NO_DIRECTION
from indexer.generation import Generation
from indexer.import_index import QUANTISED, find_embeddings
from indexer.ingest import ingest
from indexer.onnx_encoder import OnnxEncoder
from indexer.outcome import IngestReport
from indexer.planning import Kind, plan, plan_shards
from indexer.precomputed import PrecomputedModel, tag_of
from indexer.shards import read_done
from tests.indexer.releases import samples_of

D = 16
TAG = "ViT-B-32/openai"


def _vectors(n: int, seed: int = 0) -> npt.NDArray[np.float32]:
    rows = np.random.default_rng(seed).standard_normal((n, D), dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def _metadata(first: int, n: int) -> pa.Table:
    """The columns of LAION's embedding sets."""
    ids = range(first, first + n)
    return pa.table(
        {
            "image_path": [f"{one:09d}" for one in ids],
            "caption": [f"Caption {one} by Ärtist" if one % 5 else None for one in ids],
            "NSFW": ["NSFW" if one % 7 == 0 else "UNLIKELY" for one in ids],
            "similarity": [0.25] * n,
            "LICENSE": ["?"] * n,
            "url": [f"https://a.example/{one}.jpg" for one in ids],
            "key": [f"{one:09d}" for one in ids],
            "status": ["success"] * n,
            "error_message": pa.nulls(n),
            "width": [256] * n,
            "height": [192] * n,
            "original_width": [800] * n,
            "original_height": [600] * n,
            "exif": ["{}"] * n,
            "md5": ["d41d8cd98f00b204e9800998ecf8427e"] * n,
        }
    )


def _write_set(folder: Path, sizes: tuple[int, ...] = (30, 20), dtype: str = "float16") -> npt.NDArray[np.float32]:
    """An embedding set as `clip-retrieval inference` writes it; its rows."""
    rows, first = _vectors(sum(sizes)), 0
    for name in ("img_emb", "text_emb", "metadata"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for number, n in enumerate(sizes):
        part = rows[first : first + n] * (3 if dtype == "float32" else 1)  # lengths are the model's own
        np.save(folder / "img_emb" / f"img_emb_{number}.npy", part.astype(dtype))
        np.save(folder / "text_emb" / f"text_emb_{number}.npy", part.astype(dtype))
        pq.write_table(_metadata(first, n), folder / "metadata" / f"metadata_{number}.parquet")
        first += n
    return rows


def _ingest(folder: Path, release: Path) -> IngestReport:
    return ingest([folder], release=release, encoder=PrecomputedModel(TAG), workers=0)


def _check_served(release: Path, rows: npt.NDArray[np.float32]) -> None:
    """Every row finds its own sample, which is the one of its number."""
    build(release)
    generation = Generation.open(release)
    assert (generation.model_tag, generation.n, generation.d) == (TAG, len(rows), D)
    scores, ids = generation.search_embedding(rows, 1)
    assert ids[:, 0].tolist() == list(range(len(rows)))
    assert scores[:, 0].min() > 0.99
    samples = generation.samples(range(len(rows)))
    assert [sample.key for sample in samples] == [f"{one:09d}" for one in range(len(rows))]
    assert samples[3].url == "https://a.example/3.jpg"
    assert (samples[3].caption, samples[3].status, samples[3].unsafe) == ("Caption 3 by Ärtist", "not_fetched", False)
    assert samples[7].unsafe
    assert generation.thumbnail(3) is None


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_an_embedding_set_is_served_row_for_row(dtype: str, tmp_path: Path) -> None:
    rows = _write_set(tmp_path / "set", dtype=dtype)
    assert [(shard.name, shard.kind) for shard in plan_shards([tmp_path / "set"])] == [
        ("0", Kind.EMBEDDINGS),
        ("1", Kind.EMBEDDINGS),
    ]
    report = _ingest(tmp_path / "set", tmp_path / "release")
    assert report.statuses == {"not_fetched": 50}
    assert report.notes["no caption"] == 10
    stored = np.load(tmp_path / "release" / "shards" / "0" / "embeddings.npy")
    assert np.abs(np.linalg.norm(stored.astype(np.float32), axis=1) - 1).max() < 2e-3
    done = read_done(tmp_path / "release" / "shards" / "0")
    assert (done["model_tag"], done["d"], done["precision"]) == (TAG, D, "precomputed")
    _check_served(tmp_path / "release", rows)
    assert _ingest(tmp_path / "set", tmp_path / "release").skipped == ["0", "1"]


@pytest.mark.parametrize(
    ("embeddings", "metadata"),
    [
        ("img_emb", "metadata"),
        ("images", "metadata"),  # LAION-400M
        ("img_emb", "laion2B-en-metadata"),  # LAION-5B
        (".", "."),
        ("downloads", "downloads"),
    ],
)
def test_all_published_layouts_are_found(embeddings: str, metadata: str, tmp_path: Path) -> None:
    _write_set(tmp_path / "written")
    for source, name, pattern in (("img_emb", embeddings, "*.npy"), ("metadata", metadata, "*.parquet")):
        (tmp_path / "set" / name).mkdir(parents=True, exist_ok=True)
        for path in (tmp_path / "written" / source).glob(pattern):
            shutil.move(path, tmp_path / "set" / name / path.name)
    prefix = "downloads__" if embeddings == "downloads" else ""
    shards = plan_shards([tmp_path / "set"])
    assert [(shard.name, shard.kind) for shard in shards] == [
        (f"{prefix}{number}", Kind.EMBEDDINGS) for number in range(2)
    ]
    assert [[path.name for path in shard.paths] for shard in shards] == [
        [f"img_emb_{number}.npy", f"metadata_{number}.parquet"] for number in range(2)
    ]


def test_subsets_of_one_set_keep_apart(tmp_path: Path) -> None:
    for subset in ("laion1B-nolang", "laion2B-en"):
        _write_set(tmp_path / subset, (4,))
    assert [shard.name for shard in plan_shards([tmp_path])] == ["laion1B-nolang__0", "laion2B-en__0"]


def test_metadata_may_lack_addresses_or_captions(tmp_path: Path) -> None:
    _write_set(tmp_path / "set", (10,))
    path = tmp_path / "set" / "metadata" / "metadata_0.parquet"
    pq.write_table(pa.table({"image_path": [f"img/{one}.jpg" for one in range(10)]}), path)
    report = _ingest(tmp_path / "set", tmp_path / "release")
    assert list(report.mappings) == ["key <- image_path, no url, no caption; kept: nothing else"]
    samples = samples_of(tmp_path / "release")
    assert [sample["key"] for sample in samples] == [f"img/{one}.jpg" for one in range(10)]
    assert [sample["embedding_row"] for sample in samples] == list(range(10))


def test_rows_without_a_direction_are_samples_without_an_embedding(tmp_path: Path) -> None:
    rows = _write_set(tmp_path / "set", (10,), "float32")
    rows[2], rows[5, 3], rows[7, 0] = 0, np.nan, np.inf
    np.save(tmp_path / "set" / "img_emb" / "img_emb_0.npy", rows)
    report = _ingest(tmp_path / "set", tmp_path / "release")
    assert report.notes[NO_DIRECTION] == 3
    samples = samples_of(tmp_path / "release")
    assert [sample["embedding_row"] for sample in samples] == [0, 1, None, 2, 3, None, 4, None, 5, 6]
    assert [sample["reason"] for sample in samples][5] == NO_DIRECTION
    build(tmp_path / "release")
    assert Generation.open(tmp_path / "release").search_embedding(_vectors(10), 1)[1][[3, 9], 0].tolist() == [3, 9]


def _cut(folder: Path) -> str:
    path = folder / "img_emb" / "img_emb_1.npy"
    path.write_bytes(path.read_bytes()[:-100])
    return "is not an .npy file, or is truncated"


def _shorten(folder: Path) -> str:
    pq.write_table(_metadata(30, 19), folder / "metadata" / "metadata_1.parquet")
    return "img_emb_1.npy has 20 rows and metadata_1.parquet 19: they do not belong together"


def _lose(folder: Path) -> str:
    (folder / "metadata" / "metadata_1.parquet").unlink()
    return "has no metadata/metadata_N.parquet of its number beside it"


def _lose_embeddings(folder: Path) -> str:
    (folder / "img_emb" / "img_emb_1.npy").unlink()
    return "has no img_emb/img_emb_N.npy of its number beside it"


def _pickle(folder: Path) -> str:
    np.save(folder / "img_emb" / "img_emb_1.npy", np.array([{}] * 20), allow_pickle=True)
    return "is not an .npy file"


def _flatten(folder: Path) -> str:
    np.save(folder / "img_emb" / "img_emb_1.npy", np.zeros((20, D), np.int32))
    return "holds int32 of shape (20, 16): embeddings are float16 or float32"


def _double(folder: Path) -> str:
    pq.write_table(_metadata(30, 20), folder / "metadata" / "other_1.parquet")
    return "img_emb_1.npy has 2 metadata files of its number"


@pytest.mark.parametrize("harm", [_double, _cut, _shorten, _lose, _lose_embeddings, _pickle, _flatten])
def test_a_bad_pair_is_set_aside_with_the_reason_and_the_rest_ingested(harm: Any, tmp_path: Path) -> None:
    _write_set(tmp_path / "set")
    reason = harm(tmp_path / "set")
    report = _ingest(tmp_path / "set", tmp_path / "release")
    assert report.ingested == ["0"]
    assert reason in report.set_aside["1"]
    noted = json.loads((tmp_path / "release" / "set_aside" / "1.json").read_text())
    assert noted == {"shard": "1", "reason": report.set_aside["1"]}


def test_no_rows_are_a_shard_too(tmp_path: Path) -> None:
    _write_set(tmp_path / "set", (0, 4))
    report = _ingest(tmp_path / "set", tmp_path / "release")
    assert (report.ingested, report.n_samples) == (["0", "1"], 4)


def test_pictures_cannot_be_ingested_with_a_models_name_alone(tmp_path: Path, make: Any) -> None:
    make.tar(tmp_path / "0.tar", make.rows(4))
    report = _ingest(tmp_path / "0.tar", tmp_path / "release")
    assert "only the name of a model" in report.set_aside["0"]


def test_embeddings_of_another_length_than_the_models_are_set_aside(tmp_path: Path, encoder: OnnxEncoder) -> None:
    _write_set(tmp_path / "set", (4,))
    report = ingest([tmp_path / "set"], release=tmp_path / "release", encoder=encoder, workers=0)
    assert "brings embeddings of 16 dimensions" in report.set_aside["0"]


def test_a_models_names_are_understood(onnx_folder: Path, encoder: OnnxEncoder) -> None:
    assert tag_of("ViT-L/14@336px") == "ViT-L-14-336/openai"
    assert tag_of("ViT-B/32") == "ViT-B-32/openai"
    assert tag_of("open_clip:ViT-H-14/laion2b_s32b_b79k") == "ViT-H-14/laion2b_s32b_b79k"
    assert tag_of("ViT-B-32/laion2b_s34b_b79k") == "ViT-B-32/laion2b_s34b_b79k"
    assert tag_of(str(onnx_folder)) == encoder.tag


def _write_index(folder: Path, rows: npt.NDArray[np.float32], factory: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    index = faiss.index_factory(D, factory, faiss.METRIC_INNER_PRODUCT)
    index.train(rows)
    index.add(rows)
    faiss.write_index(index, str(folder / "image.index"))


def _run(command: str, folder: Path, datasets: Path) -> "subprocess.CompletedProcess[str]":
    options = ["--dataset", "old", "--model", "ViT-B/32", "--datasets-dir", str(datasets)]
    return subprocess.run(  # noqa: S603 - our own command
        [sys.executable, "-m", "indexer", command, str(folder), *options], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("factory", ["Flat", "HNSW15", "IVF8,Flat", "RR16,IVF8,PQ16x4"])
def test_an_index_alone_gives_its_vectors_back(factory: str, tmp_path: Path) -> None:
    sizes = (300, 200)
    rows = _write_set(tmp_path / "set", sizes)
    _write_index(tmp_path / "index", rows, factory)
    shutil.copytree(tmp_path / "set" / "metadata", tmp_path / "index" / "metadata")
    report = _ingest(tmp_path / "index", tmp_path / "release")
    assert report.ingested == ["00000", "00001"]
    quantised = "PQ" in factory
    assert report.notes[QUANTISED] == (sum(sizes) if quantised else 0)
    if not quantised:
        _check_served(tmp_path / "release", rows)
        return
    build(tmp_path / "release")
    generation = Generation.open(tmp_path / "release")
    original = faiss.read_index(str(tmp_path / "index" / "image.index"))
    faiss.extract_index_ivf(original).nprobe = 8
    _, ours = generation.search_embedding(rows, 10)
    _, theirs = original.search(rows, 10)
    shared = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(ours.tolist(), theirs.tolist(), strict=True)])
    assert shared > 0.8  # theirs estimates inner products of rows of other lengths than one
    recall_ours, recall_theirs = (np.mean(found[:, 0] == np.arange(len(rows))) for found in (ours, theirs))
    assert recall_ours >= recall_theirs - 0.02


def test_import_serves_a_folder_in_one_command(tmp_path: Path) -> None:
    rows = _write_set(tmp_path / "set")
    _write_index(tmp_path / "index", rows, "Flat")
    shutil.copytree(tmp_path / "set" / "metadata", tmp_path / "index" / "metadata")
    done = _run("import", tmp_path / "index", tmp_path / "datasets")
    assert done.returncode == 0, done.stderr
    assert "generation 1 of old: 50 samples, 50 pictures" in done.stdout
    _check_served(tmp_path / "datasets" / "old", rows)


def test_ingest_loads_no_model_for_embeddings(tmp_path: Path) -> None:
    _write_set(tmp_path / "set")
    done = _run("ingest", tmp_path / "set", tmp_path / "datasets")  # there are no such weights on this machine
    assert done.returncode == 0, done.stderr
    assert "50 samples of 2 shards" in done.stdout
    assert "rows: no caption" in done.stdout
    assert read_done(tmp_path / "datasets" / "old" / "shards" / "0")["model_tag"] == TAG


def test_import_takes_the_embeddings_where_they_lie_beside_the_index(tmp_path: Path) -> None:
    out = tmp_path / "out"
    rows = _write_set(out / "embeddings")
    _write_index(out / "index", np.roll(rows, 1, axis=0), "Flat")  # so that the index would give itself away
    shutil.copytree(out / "embeddings" / "metadata", out / "index" / "metadata")
    assert find_embeddings(out / "index") == out / "embeddings"
    _ingest(Path(find_embeddings(out / "index")), tmp_path / "release")
    _check_served(tmp_path / "release", rows)
    assert {shard.kind for shard in plan([out]).shards} == {Kind.EMBEDDINGS}
    shutil.move(out / "index" / "image.index", out / "embeddings" / "image.index")
    assert {shard.kind for shard in plan([out / "embeddings"]).shards} == {Kind.EMBEDDINGS}


def test_arrow_metadata_is_read_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_index, "ROWS_PER_SHARD", 20)
    folder, rows = tmp_path / "index", _vectors(50)
    _write_index(folder, rows, "Flat")
    (folder / "metadata").mkdir()
    table = _metadata(0, 50).drop_columns(["error_message"])
    for name, part in (("0.arrow", table.slice(0, 45)), ("1.arrow", table.slice(45))):
        with pa.OSFile(str(folder / "metadata" / name), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(part, max_chunksize=7)
    assert [shard.part for shard in plan_shards([folder])] == [
        (0, 0, 20, 50),
        (20, 20, 20, 50),
        (40, 40, 5, 50),
        (45, 0, 5, 50),
    ]
    _ingest(folder, tmp_path / "release")
    _check_served(tmp_path / "release", rows)


@pytest.mark.parametrize("reordered", [False, True])
def test_hdf5_metadata_is_read_in_its_own_order(reordered: bool, tmp_path: Path) -> None:
    folder, rows = tmp_path / "index", _vectors(50)
    order = np.random.default_rng(3).permutation(50) if reordered else np.arange(50)
    _write_index(folder, rows[order], "Flat")  # row j of the index is sample order[j]
    table = _metadata(0, 50)
    name = "metadata_reordered.hdf5" if reordered else "metadata.hdf5"
    with h5py.File(folder / name, "w") as file:
        group = file.create_group("dataset")
        for column in ("url", "caption", "NSFW", "key", "width"):
            values = [value if value is not None else "" for value in table[column].to_pylist()]
            group.create_dataset(column, data=values, maxshape=(None,), compression="gzip")
    if reordered:
        order.astype(np.int64).tofile(folder / "ivf_old_to_new_mapping.npy")
    _ingest(folder, tmp_path / "release")
    _check_served(tmp_path / "release", rows)


def test_what_is_wrong_with_an_index_folder_is_said(tmp_path: Path) -> None:
    rows = _write_set(tmp_path / "set")
    _write_index(tmp_path / "index", rows, "Flat")
    done = _run("import", tmp_path / "index", tmp_path / "datasets")
    assert (done.returncode, "has an index and no metadata" in done.stderr) == (2, True)
    (tmp_path / "index" / "metadata").mkdir()
    pq.write_table(_metadata(0, 49), tmp_path / "index" / "metadata" / "0.parquet")
    done = _run("import", tmp_path / "index", tmp_path / "datasets")
    assert done.returncode == 2
    assert "image.index has 50 vectors and its metadata 49 rows" in done.stderr
    assert not (tmp_path / "datasets" / "old" / "CURRENT").exists()
    path = tmp_path / "index" / "image.index"
    path.write_bytes(path.read_bytes()[:200])
    report = _ingest(tmp_path / "index", tmp_path / "release")
    assert "is not a FAISS index that can be read, or is truncated" in report.set_aside["00000"]


def test_import_refuses_what_brings_no_embeddings(tmp_path: Path, make: Any) -> None:
    make.tar(tmp_path / "0.tar", make.rows(4))
    with pytest.raises(InputError, match="use `python -m indexer ingest`"):
        find_embeddings(tmp_path)
