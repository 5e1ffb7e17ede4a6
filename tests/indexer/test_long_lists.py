from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heldout.errors import ConflictError, InputError
from indexer.ingest import ingest
from indexer.parquet_rows import iter_tables, open_parquet
from indexer.planning import ROWS_PER_SHARD, Kind, RowPart, plan_shards
from indexer.precomputed import PrecomputedModel
from indexer.readers import open_shard
from indexer.shards import iter_done, shards_dir

N = 2 * ROWS_PER_SHARD + 1


@pytest.fixture(scope="module")
def long_list(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lists") / "part-00000.parquet"
    urls = np.char.add("https://example.org/", np.arange(N).astype(str))
    pq.write_table(pa.table({"URL": urls, "TEXT": pa.nulls(N, pa.string())}), path, row_group_size=ROWS_PER_SHARD // 3)
    return path


def test_a_long_list_is_cut_into_shards_that_hold_each_row_once_by_its_number_in_the_file(long_list: Path) -> None:
    shards = plan_shards([long_list.parent])
    assert [shard.name for shard in shards] == ["part-00000.00000", "part-00000.00001", "part-00000.00002"]
    readers = [open_shard(shard) for shard in shards]
    assert [reader.n_rows for reader in readers] == [ROWS_PER_SHARD, ROWS_PER_SHARD, 1]
    rows, urls = [], []
    for reader in readers:
        for batch in reader.batches():
            rows.append(batch.table["row"].to_numpy())
            urls.append(batch.table["url"])
            assert batch.table["key"][0].as_py() == f"part-00000:{rows[-1][0]}"
    assert (np.concatenate(rows) == np.arange(N)).all()
    found = pa.chunked_array([chunk for column in urls for chunk in column.chunks])
    assert found.equals(pq.read_table(long_list)["URL"])


def test_a_list_of_one_shards_rows_is_not_cut(tmp_path: Path) -> None:
    pq.write_table(pa.table({"url": pa.nulls(ROWS_PER_SHARD, pa.string())}), tmp_path / "list.parquet")
    (shard,) = plan_shards([tmp_path])
    assert (shard.name, shard.kind, shard.part) == ("list", Kind.PARQUET, None)


def test_a_list_that_changed_since_it_was_cut_is_refused(long_list: Path, tmp_path: Path) -> None:
    path = tmp_path / "part-00000.parquet"
    path.write_bytes(long_list.read_bytes())
    *_, last = plan_shards([tmp_path])
    assert isinstance(last.part, RowPart)
    pq.write_table(pa.table({"URL": ["https://example.org/"], "TEXT": ["other"]}), path)
    with pytest.raises(InputError, match="had 200,001 rows and has 1"):
        open_shard(last)


def test_a_list_is_not_ingested_whole_and_in_parts(long_list: Path, tmp_path: Path) -> None:
    model = PrecomputedModel("ViT-B-32/openai")
    release = tmp_path / "lists"
    ingest([long_list], release=release, encoder=model, workers=0)
    assert [done["n_samples"] for _, done in iter_done(release)] == [ROWS_PER_SHARD, ROWS_PER_SHARD, 1]
    assert ingest([long_list], release=release, encoder=model, workers=0).n_samples == 0
    whole = tmp_path / "short" / "part-00000.parquet"
    whole.parent.mkdir()
    pq.write_table(pa.table({"URL": ["https://example.org/"], "TEXT": ["short"]}), whole)
    with pytest.raises(ConflictError, match=r"was ingested as shard part-00000\.00000"):
        ingest([whole], release=release, encoder=model, workers=0)
    other = tmp_path / "other"
    ingest([whole], release=other, encoder=model, workers=0)
    with pytest.raises(ConflictError, match="was ingested as shard part-00000 of"):
        ingest([long_list], release=other, encoder=model, workers=0)
    assert [folder.name for folder in shards_dir(other).iterdir()] == ["part-00000"]


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(0, 60),
    group=st.integers(1, 25),
    max_rows=st.integers(1, 30),
    first=st.integers(0, 60),
    wanted=st.integers(0, 60),
)
def test_any_run_of_rows_is_read_across_row_groups(  # noqa: PLR0917 - drawn
    tmp_path_factory: pytest.TempPathFactory, n: int, group: int, max_rows: int, first: int, wanted: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "runs.parquet"
    pq.write_table(pa.table({"a": pa.array(range(n), pa.int64())}), path, row_group_size=group)
    with open_parquet(path) as file:
        tables = list(iter_tables(file, path, max_rows=max_rows, first=first, n=wanted))
    assert all(0 < len(table) <= max_rows for table in tables)
    assert [row for table in tables for row in table["a"].to_pylist()] == list(range(n))[first : first + wanted]
