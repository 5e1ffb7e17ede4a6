"""A built generation answers by id, refuses what does not fit, and is swapped in atomically."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from heldout.errors import InputError, NotFoundError, VerificationError
from heldout.pictures import fingerprint
from heldout.urls import canonical_key, surt_key, surt_range
from indexer import tables
from indexer.build import build
from indexer.generation import Generation, current_generation
from indexer.ingest import ingest
from indexer.onnx_encoder import OnnxEncoder

N_FIRST, N_SECOND = 30, 19  # the tar without a parquet does not know its failed sample


@pytest.fixture(scope="module")
def built(release: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built") / "small"
    shutil.copytree(release, folder)
    assert build(folder) == 1
    return folder


@pytest.fixture(scope="module")
def generation(built: Path) -> Generation:
    return Generation.open(built)


def test_ids_run_over_the_shards_in_name_order(generation: Generation, make: Any) -> None:
    assert generation.n == N_FIRST + N_SECOND + 3
    keys = [sample.key for sample in generation.samples(range(generation.n))]
    expected = [row.key for row in make.rows(30)]
    expected += [row.key for row in make.rows(20, first=100) if row.data is not None]
    assert keys == [*expected, "urls:0", "urls:1", "urls:2"]


def test_a_sample_is_told_whole(generation: Generation, make: Any) -> None:
    row, (sample,) = make.rows(30)[4], generation.samples([4])
    known = fingerprint(row.data)
    assert sample.dataset == "small"
    assert (sample.id, sample.key, sample.url, sample.caption) == (4, row.key, row.url, row.caption)
    assert (sample.host, sample.status, sample.width, sample.height) == ("artist1.example", "ok", 960, known.height)
    assert (sample.sha256, sample.pdq) == (known.sha256.hex(), known.pdq[0].tobytes().hex())
    assert generation.samples([generation.n - 2])[0].unsafe


def test_unknown_ids_are_refused(generation: Generation) -> None:
    for sample_id in (-1, generation.n):
        with pytest.raises(NotFoundError, match=str(sample_id)):
            generation.samples([0, sample_id])
        with pytest.raises(NotFoundError, match=str(sample_id)):
            generation.thumbnail(sample_id)


def test_a_picture_finds_itself(generation: Generation, make: Any, encoder: OnnxEncoder) -> None:
    drawn = encoder.embed_images([make.draw(3), make.draw(105)])
    # The random-weight encoder tells pictures apart by little: the row as stored is the sharper query.
    rows = generation.embeddings([3, N_FIRST + 5])
    assert ((drawn * rows).sum(1) > 0.999).all()
    scores, ids = generation.search_embedding(rows, 5)
    assert ids[:, 0].tolist() == [3, N_FIRST + 5]
    assert (scores[:, 0] > 0.999).all()
    assert generation.samples(ids[0])[0].id == 3


def test_asking_for_more_than_there_is_pads(generation: Generation) -> None:
    scores, ids = generation.search_embedding(np.eye(1, generation.d, dtype=np.float32), 500)
    n = generation.manifest.n_embeddings
    assert (ids[0, n:] == -1).all()
    assert len(set(ids[0, :n].tolist())) == n
    assert np.isneginf(scores[0, n:]).all()


def test_queries_of_another_length_are_refused(generation: Generation) -> None:
    with pytest.raises(InputError, match=str(generation.d)):
        generation.search_embedding(np.ones((1, generation.d + 1), dtype=np.float32), 5)
    with pytest.raises(InputError, match="uint8"):
        generation.search_pdq(np.zeros((1, 31), dtype=np.uint8))


def test_a_hash_and_a_digest_find_their_sample(generation: Generation) -> None:
    (sample,) = generation.samples([7])
    assert sample.pdq is not None
    assert sample.sha256 is not None
    ids, near = generation.search_pdq(np.frombuffer(bytes.fromhex(sample.pdq), dtype=np.uint8)[None])[0]
    assert (ids[0], near[0]) == (7, 0)
    assert generation.sha256_lookup(bytes.fromhex(sample.sha256)).tolist() == [7]
    assert generation.sha256_lookup(bytes(32)).tolist() == []


def test_addresses_are_found_by_url_and_by_site(generation: Generation) -> None:
    key = surt_key(canonical_key("http://ARTIST1.example/art/4.png"))
    assert generation.url_range(key, key + "\0", limit=10).tolist() == [4]
    low, high = surt_range("artist1.example")
    ids = generation.url_range(low, high, limit=1000).tolist()
    assert set(ids) == {
        sample.id for sample in generation.samples(range(generation.n)) if sample.host == "artist1.example"
    }
    keys = [surt_key(canonical_key(sample.url or "")) for sample in generation.samples(ids)]
    assert keys == sorted(keys)
    paged: list[int] = []
    while page := generation.url_range(low, high, limit=4, after=paged[-1] if paged else None).tolist():
        paged += page
    assert paged == ids


def test_filters_read_columns_of_all_samples(generation: Generation) -> None:
    samples = generation.samples(range(generation.n))
    assert generation.column("width").tolist() == [sample.width or 0 for sample in samples]
    assert generation.column("height").tolist() == [sample.height or 0 for sample in samples]
    assert generation.column("unsafe").tolist() == [sample.unsafe for sample in samples]
    assert generation.column("pdq_quality").tolist() == [sample.pdq_quality or 0 for sample in samples]
    hosts = generation.column("host_ids")
    assert [None if host < 0 else generation.host_name(host) for host in hosts] == [sample.host for sample in samples]
    for site in ("artist1.example", "example", "nowhere.example"):
        low, high = generation.host_span(site)
        found = np.flatnonzero((low <= hosts) & (hosts < high)).tolist()
        assert found == sorted(generation.url_range(*surt_range(site), limit=1000).tolist())
    with pytest.raises(InputError, match="no column"):
        generation.column("caption")


def test_copies_are_grouped_when_the_index_is_built(tmp_path: Path, make: Any, encoder: OnnxEncoder) -> None:
    picture = make.draw(1)
    turned = make.encode(picture.transpose(Image.Transpose.ROTATE_90))
    flat = make.encode(Image.new("RGB", (64, 64), "white"))
    almost_flat = make.encode(Image.new("RGB", (64, 64), (255, 255, 254)))
    data = [make.encode(picture), make.encode(make.draw(2)), turned, make.encode(picture), flat, almost_flat, flat]
    rows = [make.Row(f"{n:09d}", each, f"https://a{n}.example/", "x") for n, each in enumerate(data)]
    ingest([make.tar(tmp_path / "0.tar", rows)], release=tmp_path / "small", encoder=encoder, workers=0)
    build(tmp_path / "small")
    generation = Generation.open(tmp_path / "small")
    # Flat pictures have no meaningful hash: only the same bytes prove anything of them.
    assert generation.groups(range(generation.n)).tolist() == [0, 1, 0, 0, 4, 5, 4]
    assert generation.manifest.n_groups == 2
    assert [generation.group_members(group).tolist() for group in (0, 1, 4)] == [[0, 2, 3], [1], [4, 6]]


def test_paging_goes_on_only_from_an_address(generation: Generation) -> None:
    with pytest.raises(NotFoundError, match="no address"):
        generation.url_range("a", "b", limit=1, after=generation.n - 1)


def test_captions_are_found_by_the_artists_name(generation: Generation) -> None:
    _, ids = generation.search_caption("artist 2", 100)
    samples = generation.samples(ids)
    assert samples
    assert all(
        (sample.caption or "").endswith("Ärtist 2") or "number 2" in (sample.caption or "") for sample in samples
    )


def test_embeddings_come_by_id(generation: Generation, make: Any, encoder: OnnxEncoder) -> None:
    rows = generation.embeddings([N_FIRST, 29, 0, N_FIRST])
    assert np.isnan(rows[1]).all()
    np.testing.assert_array_equal(rows[0], rows[3])
    assert rows[2] @ encoder.embed_images([make.draw(0)])[0] > 0.999


def test_thumbnails_come_by_id(generation: Generation) -> None:
    for sample in generation.samples(range(generation.n)):
        webp = generation.thumbnail(sample.id)
        assert (webp is not None) == (sample.status == "ok")


def test_building_again_changes_nothing_without_new_shards(built: Path) -> None:
    assert build(built) == 1
    assert [path.name for path in (built / "generations").iterdir()] == ["1"]


def test_new_shards_make_a_new_generation_and_old_ones_stay_open(
    built: Path, tmp_path: Path, make: Any, encoder: OnnxEncoder
) -> None:
    folder = shutil.copytree(built, tmp_path / "small")
    old = Generation.open(folder)
    ingest([make.tar(tmp_path / "00002.tar", make.rows(6, first=500))], release=folder, encoder=encoder, workers=0)
    assert build(folder) == 2
    new = Generation.open(folder)
    assert (current_generation(folder), new.number, new.n) == (2, 2, old.n + 6)
    assert old.samples([3]) == Generation.open(folder, 1).samples([3])
    added = N_FIRST + N_SECOND
    assert new.samples([added])[0].key == "000000500"
    assert new.search_embedding(new.embeddings([added]), 1)[1][0][0] == added
    old.close()
    new.close()


def test_a_large_release_answers_like_a_small_one(built: Path, tmp_path: Path, make: Any, encoder: OnnxEncoder) -> None:
    folder = shutil.copytree(built, tmp_path / "small")
    shutil.rmtree(folder / "generations")
    (folder / "CURRENT").unlink()
    build(folder, exact_up_to=10, flat_up_to=10)
    large, small = Generation.open(folder), Generation.open(built)
    assert large.manifest.image_index.endswith("RaBitQ")
    assert large.manifest.pdq_index == "multi-hash 16/1"
    queries = encoder.embed_images([make.draw(3), make.draw(9)])
    np.testing.assert_array_equal(
        large.search_embedding(queries, 3)[1][:, 0], small.search_embedding(queries, 3)[1][:, 0]
    )
    pdq = np.frombuffer(bytes.fromhex(small.samples([5])[0].pdq or ""), dtype=np.uint8)[None]
    assert large.search_pdq(pdq)[0][0][0] == 5


def test_a_release_of_addresses_only_is_searchable(tmp_path: Path, encoder: OnnxEncoder) -> None:
    pq.write_table(pa.table({"URL": ["https://a.example/"], "TEXT": ["hello"]}), tmp_path / "0.parquet")
    ingest([tmp_path / "0.parquet"], release=tmp_path / "urls", encoder=encoder, workers=0)
    build(tmp_path / "urls")
    generation = Generation.open(tmp_path / "urls")
    assert generation.search_caption("hello", 5)[1].tolist() == [0]
    assert generation.search_embedding(encoder.embed_texts(["hello"]), 5)[1].tolist() == [[-1] * 5]
    assert np.isnan(generation.embeddings([0])).all()
    assert generation.thumbnail(0) is None


def test_a_build_that_fails_leaves_the_current_generation(
    built: Path, tmp_path: Path, make: Any, encoder: OnnxEncoder
) -> None:
    folder = shutil.copytree(built, tmp_path / "small")
    ingest([make.tar(tmp_path / "00002.tar", make.rows(6, first=500))], release=folder, encoder=encoder, workers=0)
    path = folder / "shards" / "00002" / "embeddings.npy"
    np.save(path, np.load(path)[:-1])
    with pytest.raises(InputError, match=r"00002 holds embeddings of shape \(3, 24\) for 4 pictures"):
        build(folder)
    assert current_generation(folder) == 1
    assert [path.name for path in (folder / "generations").iterdir()] == ["1"]
    Generation.open(folder).close()


def test_batches_of_samples_join_seamlessly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "BATCH", 7)
    schema, keys = tables.SAMPLE_SCHEMA, [str(n) for n in range(24)]
    empty = {field.name: pa.nulls(24, field.type) for field in schema}
    filled = {"key": pa.array(keys), "status": pa.array(["ok"] * 24), "unsafe": pa.array([False] * 24)}
    whole = pa.table({**empty, **filled}, schema=schema)
    writer = tables.SampleWriter(tmp_path / "s.arrow")
    for start, stop in ((0, 1), (1, 15), (15, 24)):
        writer.append(whole.slice(start, stop - start))
    writer.close()
    table = tables.SampleTable(tmp_path / "s.arrow", "x")
    assert [table.sample(n).key for n in range(table.n)] == keys


class TestRefusal:
    @pytest.fixture
    def copy(self, built: Path, tmp_path: Path) -> Path:
        return shutil.copytree(built, tmp_path / "small")

    def test_nothing_built_is_not_found(self, release: Path, tmp_path: Path, copy: Path) -> None:
        with pytest.raises(NotFoundError, match="indexer build"):
            Generation.open(release)
        with pytest.raises(NotFoundError, match="indexer ingest"):
            build(tmp_path / "nothing")
        with pytest.raises(NotFoundError, match="generation 9"):
            Generation.open(copy, 9)

    @pytest.mark.parametrize(
        "name", ["image.faiss", "samples.arrow", "urls.arrow", "embedding_ids.npy", "pdq.npy", "groups.npy"]
    )
    @pytest.mark.parametrize("harm", ["flip", "cut", "remove"])
    def test_a_file_that_does_not_fit_is_refused(self, copy: Path, name: str, harm: str) -> None:
        path = copy / "generations" / "1" / name
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        if harm == "remove":
            path.unlink()
        else:
            path.write_bytes(data if harm == "flip" else data[:-1])
        with pytest.raises(VerificationError, match=name.replace(".", r"\.")):
            Generation.open(copy)

    @pytest.mark.parametrize(
        ("field", "value"),
        [("format", "heldout-index/0"), ("n_embeddings", 3), ("n_samples", 3), ("d", 7), ("number", 5)],
    )
    def test_a_manifest_that_does_not_fit_is_refused(self, copy: Path, field: str, value: object) -> None:
        path = copy / "generations" / "1" / "manifest.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
        with pytest.raises(VerificationError):
            Generation.open(copy)

    def test_a_shard_ingested_again_is_refused_until_built(self, copy: Path) -> None:
        path = copy / "shards" / "00000" / "done.json"
        path.write_text(path.read_text() + " ")
        with pytest.raises(VerificationError, match="00000"):
            Generation.open(copy)
        assert build(copy) == 2
        Generation.open(copy)

    def test_mixed_models_are_refused(self, copy: Path) -> None:
        path = copy / "shards" / "00001" / "done.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"model_tag": "other"}))
        with pytest.raises(InputError, match="mixes models"):
            build(copy)
