"""The image index against exact search."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from indexer.image_index import ImageIndex
from indexer.tuning import GOALS, tune
from indexer.vectors import (
    factory_string,
    n_lists,
    train_centroids,
    unit_rows,
    widen,
    write_image_index,
)

N, D, N_QUERIES = 20_000, 64, 200


def _unit(rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


@pytest.fixture(scope="module")
def rows() -> npt.NDArray[np.float16]:
    """Clusters under a common mean with a decaying spectrum, as CLIP embeddings have."""
    rng = np.random.default_rng(11)
    spectrum = (1 + np.arange(D)) ** -0.45
    mean = rng.standard_normal(D)
    centres = rng.standard_normal((300, D)) * spectrum
    labels = rng.integers(0, 300, N)
    noise = rng.standard_normal((N, D)) * spectrum
    return _unit(mean / np.linalg.norm(mean) + centres[labels] + 0.6 * noise).astype(np.float16)


@pytest.fixture(scope="module")
def queries(rows: npt.NDArray[np.float16]) -> npt.NDArray[np.float32]:
    """Near-copies at a cosine of about 0.9."""
    rng = np.random.default_rng(12)
    near = rows[rng.choice(N, N_QUERIES, replace=False)].astype(np.float64)
    return _unit(near + 0.48 * _unit(rng.standard_normal((N_QUERIES, D))))


@pytest.fixture(scope="module")
def large(rows: npt.NDArray[np.float16], tmp_path_factory: pytest.TempPathFactory) -> ImageIndex:
    folder = tmp_path_factory.mktemp("index")
    write_image_index(rows, folder, factory_string(len(rows)), centroids=train_centroids(rows, n_lists(len(rows))))
    return ImageIndex(folder, rows)


def _exact(rows: npt.NDArray[np.float16], queries: npt.NDArray[np.float32], k: int) -> npt.NDArray[np.int64]:
    cosines = queries @ unit_rows(rows).T
    return np.argsort(-cosines, axis=1, kind="stable")[:, :k]


def test_the_factory_follows_the_size() -> None:
    assert factory_string(0) == "Flat"
    assert factory_string(10_000) == "Flat"
    assert factory_string(1_000_000) == "IVF4000(SQfp16),RaBitQ"
    assert factory_string(10_000_000) == "IVF65536_HNSW32,RaBitQ"
    assert factory_string(400_000_000) == "IVF262144_HNSW32,RaBitQ"
    assert factory_string(20_000) == "IVF512(SQfp16),RaBitQ"


def test_a_small_index_is_exact(
    rows: npt.NDArray[np.float16], queries: npt.NDArray[np.float32], tmp_path: Path
) -> None:
    few = rows[:5000]
    write_image_index(few, tmp_path, factory_string(len(few)))
    scores, positions = ImageIndex(tmp_path, few).search(queries, 10)
    np.testing.assert_array_equal(positions, _exact(few, queries, 10))
    np.testing.assert_allclose(scores[:, 0], (queries * unit_rows(few[positions[:, 0]])).sum(1), atol=1e-5)


def test_a_large_index_keeps_its_recall(
    large: ImageIndex, rows: npt.NDArray[np.float16], queries: npt.NDArray[np.float32]
) -> None:
    assert not large.exact
    truth = _exact(rows, queries, 10)
    _, found = large.search(queries, 10)
    recall = np.mean([len(set(found[row]) & set(truth[row])) / 10 for row in range(N_QUERIES)])
    assert recall >= 0.95
    assert np.mean(found[:, 0] == truth[:, 0]) >= 0.99


def test_searching_more_lists_and_candidates_finds_no_less(
    large: ImageIndex, rows: npt.NDArray[np.float16], queries: npt.NDArray[np.float32]
) -> None:
    truth = _exact(rows, queries, 10)

    def recall(nprobe: int, rerank: int) -> float:
        _, found = large.search(queries, 10, nprobe=nprobe, rerank=rerank)
        return float(np.mean([len(set(found[row]) & set(truth[row])) / 10 for row in range(N_QUERIES)]))

    assert recall(2, 20) < recall(32, 160) <= recall(512, 2000)
    assert recall(512, 2000) >= 0.999


def test_however_many_are_wanted_are_found(large: ImageIndex, queries: npt.NDArray[np.float32]) -> None:
    scores, positions = large.search(queries[:2], N - 3, nprobe=1, rerank=10)
    assert (positions >= 0).all()
    assert len(set(positions[0].tolist())) == N - 3
    assert (np.diff(scores[0]) <= 0).all()


def test_reranked_scores_are_true_cosines(
    large: ImageIndex, rows: npt.NDArray[np.float16], queries: npt.NDArray[np.float32]
) -> None:
    scores, found = large.search(queries[:5], 10)
    for row in range(5):
        np.testing.assert_allclose(scores[row], unit_rows(rows[found[row]]) @ queries[row], atol=1e-6)
        assert (np.diff(scores[row]) <= 0).all()


@pytest.mark.parametrize("n", [0, 3])
def test_short_answers_are_padded(rows: npt.NDArray[np.float16], n: int, tmp_path: Path) -> None:
    write_image_index(rows[:n], tmp_path, factory_string(n))
    scores, positions = ImageIndex(tmp_path, rows[:n]).search(rows[:2].astype(np.float32), 5)
    assert (positions[:, n:] == -1).all()
    assert np.isneginf(scores[:, n:]).all()
    assert (np.sort(positions[:, :n]) == np.arange(n)).all()


def test_an_index_larger_than_memory_is_merged_on_disk(
    large: ImageIndex, rows: npt.NDArray[np.float16], queries: npt.NDArray[np.float32], tmp_path: Path
) -> None:
    build, target = tmp_path / ".1.partial", tmp_path / "1"
    build.mkdir()
    centroids = train_centroids(rows, 64)
    many = np.concatenate([rows] * 4)  # more than one block of the smallest size
    write_image_index(many, build, factory_string(len(many), lists=64), centroids=centroids, memory_bytes=0)
    assert sorted(path.name for path in build.iterdir()) == ["image.faiss", "image.lists"]
    build.rename(target)  # as a finished generation is
    index = ImageIndex(target, many)
    assert len(index) == 4 * N
    scores, positions = index.search(queries, 4, nprobe=64, rerank=640)
    np.testing.assert_allclose(scores[:, 0], large.search(queries, 1, nprobe=512, rerank=640)[0][:, 0], atol=1e-6)
    assert (np.sort(positions % N, axis=1) == positions[:, :1] % N).all()


def test_codes_are_carried_over_to_where_their_rows_are_now(
    rows: npt.NDArray[np.float16], queries: npt.NDArray[np.float32], tmp_path: Path
) -> None:
    old, carried, fresh = (tmp_path / name for name in ("old", "carried", "fresh"))
    for folder in (old, carried, fresh):
        folder.mkdir()
    centroids = train_centroids(rows, 128)
    factory = factory_string(N, lists=128)
    before = np.concatenate([rows[:6000], rows[9000:15_000]])
    now = np.concatenate([rows[5000:6000], rows[6000:9000], rows[9000:15_000], rows[15_000:]])
    positions = np.full(len(before), -1)
    positions[5000:6000] = np.arange(1000)
    positions[6000:] = np.arange(4000, 10_000)
    write_image_index(before, old, factory, centroids=centroids)
    write_image_index(now, carried, factory, centroids=centroids, carried=(old, positions))
    write_image_index(now, fresh, factory, centroids=centroids)
    ours, theirs = (ImageIndex(folder, now) for folder in (carried, fresh))
    assert len(ours) == len(theirs) == len(now)
    for nprobe in (4, 128):
        np.testing.assert_array_equal(
            ours.search(queries, 10, nprobe=nprobe)[1], theirs.search(queries, 10, nprobe=nprobe)[1]
        )


def test_centroids_found_in_two_levels_serve_as_well(
    rows: npt.NDArray[np.float16], queries: npt.NDArray[np.float32], tmp_path: Path
) -> None:
    truth = _exact(rows, queries, 10)
    found = []
    for two_levels_from in (100, 1000):
        folder = tmp_path / str(two_levels_from)
        folder.mkdir()
        centroids = train_centroids(rows, 200, two_levels_from=two_levels_from)
        assert centroids.shape == (200, D)
        write_image_index(rows, folder, factory_string(N, lists=200), centroids=centroids)
        positions = ImageIndex(folder, rows).search(queries, 10, nprobe=12, rerank=320)[1]
        found.append(np.mean([len(set(positions[row]) & set(truth[row])) / 10 for row in range(N_QUERIES)]))
    assert found[0] >= found[1] - 0.02


def test_centroids_behind_a_graph_answer_alike(
    large: ImageIndex, rows: npt.NDArray[np.float16], queries: npt.NDArray[np.float32], tmp_path: Path
) -> None:
    write_image_index(rows, tmp_path, "IVF512_HNSW32,RaBitQ", centroids=train_centroids(rows, 512))
    ours = ImageIndex(tmp_path, rows).search(queries, 10, nprobe=32, rerank=320)[1]
    theirs = large.search(queries, 10, nprobe=32, rerank=320)[1]
    assert np.mean([len(set(one) & set(other)) / 10 for one, other in zip(ours, theirs, strict=True)]) >= 0.97


def test_a_build_measures_how_widely_to_search(
    large: ImageIndex, rows: npt.NDArray[np.float16], queries: npt.NDArray[np.float32], tmp_path: Path
) -> None:
    write_image_index(rows, tmp_path, factory_string(N), centroids=train_centroids(rows, n_lists(N)))
    tuned = tune(large, rows)
    index = ImageIndex(tmp_path, rows, tuned.widths)
    truth = _exact(rows, queries, 10)
    found = index.search(queries, 10)[1]
    recall = np.mean([len(set(found[row]) & set(truth[row])) / 10 for row in range(N_QUERIES)])
    assert abs(recall - tuned.recall["image"]) <= 0.04
    assert np.mean(found[:, 0] == truth[:, 0]) >= 0.99
    image, text = tuned.widths["image"], tuned.widths["text"]
    assert (text.nprobe, text.rerank) != (image.nprobe, image.rerank)
    assert tuned.recall["image"] >= GOALS["image"]
    assert tuned.recall["text"] >= GOALS["text"]


def test_what_cannot_be_reached_is_approached(tmp_path: Path) -> None:
    """Random vectors have no clusters: the setting that finds most is taken."""
    rows = _unit(np.random.default_rng(0).standard_normal((2000, 128))).astype(np.float16)
    write_image_index(rows, tmp_path, factory_string(2000, exact_up_to=0), centroids=train_centroids(rows, 51))
    tuned = tune(ImageIndex(tmp_path, rows), rows)
    assert tuned == tune(ImageIndex(tmp_path, rows), rows), "seeded"
    assert tuned.widths["text"].nprobe >= 48


def test_every_finite_half_is_widened_exactly() -> None:
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    rows = halves[np.isfinite(halves)].reshape(-1, 512)
    assert rows.size == 63_488
    np.testing.assert_array_equal(widen(rows).view(np.uint32), rows.astype(np.float32).view(np.uint32))
    assert widen(rows[:0]).shape == (0, 512)
