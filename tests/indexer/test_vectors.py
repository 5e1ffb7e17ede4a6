"""The image index against exact search."""

from pathlib import Path

import faiss
import numpy as np
import numpy.typing as npt
import pytest

from indexer.vectors import ImageIndex, build_image_index, factory_string, unit_rows

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
    path = tmp_path_factory.mktemp("index") / "image.faiss"
    faiss.write_index(build_image_index(rows, factory_string(len(rows))), str(path))
    return ImageIndex(path, rows)


def _exact(rows: npt.NDArray[np.float16], queries: npt.NDArray[np.float32], k: int) -> npt.NDArray[np.int64]:
    cosines = queries @ unit_rows(rows).T
    return np.argsort(-cosines, axis=1, kind="stable")[:, :k]


def test_the_factory_follows_the_size() -> None:
    assert factory_string(0) == "Flat"
    assert factory_string(10_000) == "Flat"
    assert factory_string(1_000_000) == "IVF4000,RaBitQ"
    assert factory_string(20_000) == "IVF512,RaBitQ"


def test_a_small_index_is_exact(
    rows: npt.NDArray[np.float16], queries: npt.NDArray[np.float32], tmp_path: Path
) -> None:
    few = rows[:5000]
    faiss.write_index(build_image_index(few, factory_string(len(few))), str(tmp_path / "i"))
    scores, positions = ImageIndex(tmp_path / "i", few).search(queries, 10)
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


def test_reranked_scores_are_true_cosines(
    large: ImageIndex, rows: npt.NDArray[np.float16], queries: npt.NDArray[np.float32]
) -> None:
    scores, found = large.search(queries[:5], 10)
    for row in range(5):
        np.testing.assert_allclose(scores[row], unit_rows(rows[found[row]]) @ queries[row], atol=1e-6)
        assert (np.diff(scores[row]) <= 0).all()


@pytest.mark.parametrize("n", [0, 3])
def test_short_answers_are_padded(rows: npt.NDArray[np.float16], n: int, tmp_path: Path) -> None:
    faiss.write_index(build_image_index(rows[:n], factory_string(n)), str(tmp_path / "i"))
    scores, positions = ImageIndex(tmp_path / "i", rows[:n]).search(rows[:2].astype(np.float32), 5)
    assert (positions[:, n:] == -1).all()
    assert np.isneginf(scores[:, n:]).all()
    assert (np.sort(positions[:, :n]) == np.arange(n)).all()
