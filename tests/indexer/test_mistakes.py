"""What an operator gets wrong is told before anything is done, and leaves nothing behind."""

import fcntl
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from heldout.errors import InputError, NotFoundError, VerificationError
from indexer.__main__ import main
from indexer.build import build
from indexer.encoder import load_encoder
from indexer.generation import Generation
from indexer.ingest import ingest
from indexer.planning import plan_shards
from indexer.precomputed import PrecomputedModel
from indexer.progress import NoProgress
from indexer.stages import Options, Stopped, ingest_shard, open_stages

MODEL = PrecomputedModel("ViT-B-32/openai")


def _write_embeddings(folder: Path, number: int, d: int) -> Path:
    (folder / "img_emb").mkdir(parents=True)
    (folder / "metadata").mkdir()
    np.save(folder / "img_emb" / f"img_emb_{number}.npy", np.eye(3, d, dtype=np.float16))
    pq.write_table(pa.table({"caption": ["a", "b", "c"]}), folder / "metadata" / f"metadata_{number}.parquet")
    return folder


def test_a_mistyped_name_of_a_data_set_makes_no_folder(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="has no finished shard"):
        build(tmp_path / "mistyped")
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_role_ends_the_run_before_any_shard_is_set_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pq.write_table(pa.table({"url": ["https://example.org/"]}), tmp_path / "list.parquet")
    line = f"ingest {tmp_path} --dataset list --datasets-dir {tmp_path / 'sets'} --model ViT-B-32/openai --columns"
    monkeypatch.setattr(sys, "argv", ["indexer", *line.split(), "ulr=url"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "unknown role 'ulr': known are url, caption" in capsys.readouterr().err
    assert not (tmp_path / "sets").exists()


@pytest.mark.parametrize("spec", ["/nowhere/encoder", "./nowhere"])
def test_a_folder_that_is_not_there_is_not_taken_for_a_tag(spec: str) -> None:
    with pytest.raises(InputError, match="does not exist: give an exported encoder's folder"):
        load_encoder(spec)


def test_embeddings_of_another_length_do_not_get_into_a_release(tmp_path: Path) -> None:
    release = tmp_path / "release"
    ingest([_write_embeddings(tmp_path / "wide", 0, 8)], release=release, encoder=MODEL, workers=0)
    report = ingest([_write_embeddings(tmp_path / "narrow", 1, 4)], release=release, encoder=MODEL, workers=0)
    assert list(report.set_aside) == ["1"]
    assert "brings embeddings of 4 dimensions, and shard 0" in report.set_aside["1"]
    assert build(release) == 1


def test_a_run_that_is_to_end_does_not_read_a_list_to_its_end(tmp_path: Path) -> None:
    pq.write_table(pa.table({"url": ["https://example.org/"], "text": ["a"]}), tmp_path / "list.parquet")
    (shard,) = plan_shards([tmp_path / "list.parquet"])
    with open_stages(MODEL, Options(workers=0)) as stages:
        stages.stop.set()
        with pytest.raises(Stopped):
            ingest_shard(shard, tmp_path / "release", stages, NoProgress())
    assert list((tmp_path / "release" / "shards").iterdir()) == []


def test_a_large_file_that_is_damaged_inside_is_refused_as_damaged(release: Path, tmp_path: Path) -> None:
    damaged = shutil.copytree(release, tmp_path / release.name)
    folder = damaged / "generations" / str(build(damaged))
    (folder / "image.faiss").write_bytes(b"\xff" * (folder / "image.faiss").stat().st_size)
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["files"]["image.faiss"]["sha256"]  # as of files that are too large to digest at every start
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(VerificationError, match=r"cannot be opened .*: build the index again"):
        Generation.open(damaged)


def test_a_generation_that_is_being_removed_is_not_opened(release: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(release, tmp_path / release.name)
    with (copy / "generations" / str(build(copy)) / "manifest.json").open() as manifest:
        fcntl.flock(manifest, fcntl.LOCK_EX)
        with pytest.raises(NotFoundError, match="is being removed"):
            Generation.open(copy)
    Generation.open(copy).close()


@pytest.mark.parametrize("name", ["samples.parquet", "embeddings.npy", "thumbnails.arrow"])
@pytest.mark.parametrize("damage", [lambda data: data[:-40], lambda data: bytes(len(data))], ids=["short", "zeroed"])
def test_a_damaged_shard_is_named_and_nothing_is_built(
    release: Path, tmp_path: Path, name: str, damage: Callable[[bytes], bytes]
) -> None:
    copy = shutil.copytree(release, tmp_path / "small", ignore=shutil.ignore_patterns("generations", "CURRENT"))
    path = next(copy.glob(f"shards/*/{name}"))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match=rf"{name} is damaged: .*; remove .* and ingest it again"):
        build(copy)
    assert not (copy / "CURRENT").exists()
    assert not list((copy / "generations").iterdir())
