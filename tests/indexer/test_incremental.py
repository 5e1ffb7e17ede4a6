"""New shards become a new generation that takes over what the one before had worked out; old ones are pruned."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from heldout.errors import InputError, VerificationError
from indexer.build import build
from indexer.generation import Generation, current_generation
from indexer.ingest import ingest
from indexer.onnx_encoder import OnnxEncoder

FACTORY: dict[str, Any] = {"exact_up_to": 10, "flat_up_to": 10}


@pytest.fixture(scope="module")
def grown(make: Any, encoder: OnnxEncoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards b, then a and c, of which c repeats pictures of b."""
    folder = tmp_path_factory.mktemp("grown")
    ingest([make.tar(folder / "b.tar", make.rows(130))], release=folder / "small", encoder=encoder, workers=0)
    build(folder / "small", **FACTORY)
    make.tar(folder / "more" / "a.tar", make.rows(20, first=500))
    make.tar(folder / "more" / "c.tar", make.rows(30, first=40))
    ingest([folder / "more"], release=folder / "small", encoder=encoder, workers=0)
    return folder / "small"


def _fresh(release: Path, folder: Path, **options: Any) -> Generation:
    """The same shards built without anything to go on from."""
    shutil.copytree(release, folder, ignore=shutil.ignore_patterns("generations", "CURRENT"))
    build(folder, **{**FACTORY, **options})
    return Generation.open(folder)


def test_an_added_generation_answers_like_one_built_anew(grown: Path, tmp_path: Path) -> None:
    release = shutil.copytree(grown, tmp_path / "small")
    centroids = np.load(release / "generations" / "1" / "centroids.npy")
    assert build(release, **FACTORY) == 2
    np.testing.assert_array_equal(np.load(release / "generations" / "2" / "centroids.npy"), centroids)
    ours = Generation.open(release)
    theirs = _fresh(grown, tmp_path / "anew", centroids=release / "generations" / "1" / "centroids.npy")
    assert (ours.n, ours.manifest.image_index) == (theirs.n, theirs.manifest.image_index)
    assert ours.manifest.trained_for == 128
    assert ours.groups(range(ours.n)).tolist() == theirs.groups(range(theirs.n)).tolist()
    assert ours.manifest.n_groups == theirs.manifest.n_groups == 29  # files that are no picture are copies, too
    rows = ours.embeddings(range(0, ours.n, 7))
    rows = rows[~np.isnan(rows[:, 0])]
    np.testing.assert_array_equal(ours.search_embedding(rows, 5)[1], theirs.search_embedding(rows, 5)[1])
    assert ours.samples(range(ours.n)) == [
        sample.model_copy(update={"dataset": "small"}) for sample in theirs.samples(range(theirs.n))
    ]


def test_a_shard_that_went_takes_its_proofs_with_it(grown: Path, tmp_path: Path) -> None:
    release = shutil.copytree(grown, tmp_path / "small")
    build(release, **FACTORY)
    shutil.rmtree(release / "shards" / "b")
    assert build(release, **FACTORY) == 3
    ours, theirs = Generation.open(release), _fresh(release, tmp_path / "anew")
    assert ours.n == 50
    assert ours.groups(range(ours.n)).tolist() == theirs.groups(range(theirs.n)).tolist()


def test_centroids_are_trained_again_when_there_are_many_more(make: Any, encoder: OnnxEncoder, tmp_path: Path) -> None:
    ingest([make.tar(tmp_path / "a.tar", make.rows(42))], release=tmp_path / "small", encoder=encoder, workers=0)
    build(tmp_path / "small", **FACTORY)
    ingest(
        [make.tar(tmp_path / "b.tar", make.rows(170, first=100))],
        release=tmp_path / "small",
        encoder=encoder,
        workers=0,
    )
    build(tmp_path / "small", **FACTORY)
    first, second = (Generation.open(tmp_path / "small", number).manifest for number in (1, 2))
    assert (first.trained_for, second.trained_for) == (40, 208)
    assert (first.image_index, second.image_index) == ("IVF1(SQfp16),RaBitQ", "IVF5(SQfp16),RaBitQ")


def test_centroids_that_do_not_fit_are_refused(grown: Path, tmp_path: Path) -> None:
    release = shutil.copytree(grown, tmp_path / "small")
    np.save(tmp_path / "short.npy", np.zeros((4, 7), np.float32))
    (tmp_path / "text.npy").write_text("no array")
    for name in ("short.npy", "text.npy", "missing.npy"):
        with pytest.raises(InputError, match=name.replace(".", r"\.")):
            build(release, centroids=tmp_path / name, **FACTORY)
    assert current_generation(release) == 1


def test_a_damaged_generation_is_not_built_upon(grown: Path, tmp_path: Path) -> None:
    release = shutil.copytree(grown, tmp_path / "small")
    index = release / "generations" / "1" / "image.faiss"
    index.write_bytes(b"\0" * index.stat().st_size)
    assert build(release, **FACTORY) == 2
    generation = Generation.open(release)
    rows = generation.embeddings([0, 30])
    assert generation.search_embedding(rows, 1)[1][:, 0].tolist() == [0, 30]


def _numbers(release: Path) -> list[str]:
    return sorted(path.name for path in (release / "generations").iterdir())


def _touch(release: Path, times: int) -> None:
    """A shard ingested again in the same way: what makes a build build."""
    marker = next((release / "shards").iterdir()) / "done.json"
    for _ in range(times):
        marker.write_text(marker.read_text() + " ")
        build(release)


def test_old_generations_go_but_not_those_that_somebody_reads(grown: Path, tmp_path: Path) -> None:
    release = shutil.copytree(grown, tmp_path / "small")
    Generation.open(release, 1).close()
    build(release)
    reader = Generation.open(release)
    assert reader.number == 2
    (release / "generations" / ".9.removed").mkdir()  # of a run that was killed
    _touch(release, 3)
    assert _numbers(release) == ["2", "4", "5"]
    assert reader.search_embedding(reader.embeddings([0]), 1)[1].tolist() == [[0]]
    assert reader.search_caption("picture", 3)[1].size == 3
    reader.close()
    _touch(release, 1)
    assert _numbers(release) == ["5", "6"]
    marker = next((release / "shards").iterdir()) / "done.json"
    marker.write_text(marker.read_text() + " ")
    build(release, keep=1)
    assert _numbers(release) == ["7"]


def test_a_reader_in_another_process_keeps_its_generation(grown: Path, tmp_path: Path) -> None:
    release = shutil.copytree(grown, tmp_path / "small")
    program = (
        "import sys; from pathlib import Path; from indexer.generation import Generation\n"
        "generation = Generation.open(Path(sys.argv[1])); print('open', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(  # noqa: S603
        [sys.executable, "-c", program, str(release)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "open\n"
        _touch(release, 3)
        assert _numbers(release) == ["1", "3", "4"]
        reader.communicate("")
    _touch(release, 1)
    assert _numbers(release) == ["4", "5"]


CRASHES = ("write_tables", "write_embeddings", "build_image", "save_manifest", "write_durably", "prune")


@pytest.mark.parametrize("step", CRASHES)
def test_a_build_killed_before_any_step_leaves_a_generation_that_serves(grown: Path, tmp_path: Path, step: str) -> None:
    release = shutil.copytree(grown, tmp_path / "small")
    program = f"""
import os, sys
from pathlib import Path
import indexer.build as steps
steps.{step} = lambda *_, **__: os.kill(os.getpid(), 9)
steps.build(Path(sys.argv[1]), exact_up_to=10, flat_up_to=10)
"""
    done = subprocess.run([sys.executable, "-c", program, str(release)], check=False, capture_output=True)  # noqa: S603
    assert done.returncode == -9, done.stderr
    generation = Generation.open(release)
    assert generation.number == (2 if step == "prune" else 1)
    assert generation.search_caption("picture", 3)[1].size == 3
    generation.close()
    number = build(release, **FACTORY)
    generation = Generation.open(release)
    assert generation.number == number
    assert generation.n == 180
    assert not [path for path in (release / "generations").iterdir() if path.name.startswith(".")]
    assert json.loads((release / "generations" / str(number) / "manifest.json").read_text())["n_samples"] == 180


def test_other_centroids_make_a_new_generation_of_the_same_shards(grown: Path, tmp_path: Path) -> None:
    release = shutil.copytree(grown, tmp_path / "small")
    number = build(release, **FACTORY)
    own = release / "generations" / str(number) / "centroids.npy"
    assert build(release, centroids=own, **FACTORY) == number
    np.save(tmp_path / "other.npy", np.load(own)[::-1].copy())
    assert build(release, centroids=tmp_path / "other.npy", **FACTORY) == number + 1
    (tmp_path / "none.npy").write_bytes(b"none")
    with pytest.raises(InputError, match="holds no centroids"):
        build(release, centroids=tmp_path / "none.npy", **FACTORY)


@pytest.mark.parametrize("name", ["groups.npy", "image.faiss"])
def test_a_damaged_generation_is_built_anew_from_the_same_shards(grown: Path, tmp_path: Path, name: str) -> None:
    release = shutil.copytree(grown, tmp_path / "small")
    number = build(release, **FACTORY)
    folder = release / "generations" / str(number)
    (folder / name).write_bytes(b"\xff" * (folder / name).stat().st_size)
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["files"][name]["sha256"]  # as of files that are too large to digest at every start
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(VerificationError, match="build the index again"):
        Generation.open(release)
    assert build(release, **FACTORY) == number + 1
    Generation.open(release).close()
