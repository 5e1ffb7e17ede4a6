"""Any table becomes samples with nothing lost; any damage to a file is an InputError, never a crash."""

import io
import json
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from heldout.errors import InputError
from indexer.import_index import plan_index
from indexer.planning import Shard, plan_shards
from indexer.readers import ShardReader, open_shard
from indexer.samples import FIXED_SCHEMA, ColumnMapping, kept_names

TEXTS = (
    st.none()
    | st.text(max_size=20)
    | st.sampled_from(["", "a" * 13_000, "\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16"), "\x00"])
)
KINDS: dict[str, tuple[pa.DataType, st.SearchStrategy[Any]]] = {
    "text": (pa.string(), TEXTS),
    "large text": (pa.large_string(), TEXTS),
    "int": (pa.int32(), st.none() | st.integers(-(2**31), 2**31 - 1)),
    "long": (pa.int64(), st.none() | st.integers(-(2**63), 2**63 - 1)),
    "float": (pa.float32(), st.none() | st.floats(width=32)),
    "double": (pa.float64(), st.none() | st.floats()),
    "bool": (pa.bool_(), st.none() | st.booleans()),
    "list": (pa.list_(pa.float64()), st.none() | st.lists(st.floats(allow_nan=False), max_size=3)),
    "null": (pa.null(), st.none()),
}
NAMES = st.sampled_from(
    [
        *("url", "URL", "Url", "caption", "TEXT", "text", "top_caption", "key", "uid", "SAMPLE_ID", "id", "image_path"),
        *("width", "WIDTH", "original_width", "height", "status", "error_message", "sha256", "NSFW", "punsafe"),
        *("pdq", "row", "shard", "reason", "signals", "source_WIDTH", "__index_level_0__", "jpg", "image", "LICENSE"),
    ]
) | st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=6)


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    names = draw(st.lists(NAMES, min_size=1, max_size=12, unique=True))
    n = draw(st.integers(0, 5))
    columns = []
    for _ in names:
        kind, values = KINDS[draw(st.sampled_from(sorted(KINDS)))]
        columns.append(pa.array(draw(st.lists(values, min_size=n, max_size=n)), kind))
    return pa.table(columns, names=names)


def _read(reader: ShardReader) -> tuple[pa.Table, ColumnMapping]:
    return pa.concat_tables(batch.table for batch in reader.batches()), reader.mapping


def _equal(one: object, other: object) -> bool:
    return one == other or (one != one and other != other)  # noqa: PLR0124 - not a number


@settings(max_examples=150, deadline=None)
@given(table=tables(), row_group=st.integers(1, 4))
def test_any_table_becomes_samples_with_nothing_lost(table: pa.Table, row_group: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "t.parquet")
        pq.write_table(table, path, row_group_size=row_group)
        (shard,) = plan_shards([path])
        reader = open_shard(shard, overrides=_without(table))
        batches = list(reader.batches())
    rows = [row for batch in batches for row in batch.table.to_pylist()]
    source = table.to_pylist()
    assert reader.n_rows == len(rows) == len(source)
    assert [row["row"] for row in rows] == list(range(len(rows)))
    roles, kept = reader.mapping.roles, kept_names(reader.mapping.kept)
    stray = {"__index_level_0__"}
    assert {*roles.values(), *kept, *stray} >= set(table.column_names)
    assert len(set(kept.values())) == len(kept)
    assert not set(kept.values()) & set(FIXED_SCHEMA.names)
    for given_row, row in zip(source, rows, strict=True):
        for column, new in kept.items():
            assert _equal(row[new], given_row[column])
        for role in ("url", "caption"):
            if role in roles and table.schema.field(roles[role]).type in {pa.string(), pa.large_string()}:
                assert row[role] == given_row[roles[role]]
        if "key" not in roles or given_row[roles["key"]] is None:
            assert row["key"] == f"t:{row['row']}"
        assert row["status"]


def _without(table: pa.Table) -> dict[str, str]:
    """What the user says of columns that are not there: that they are not."""
    lower = {name.lower() for name in table.column_names}
    names = {"url": {"url", "image_url", "img_url"}, "caption": {"caption", "text", "alt_text", "alttext", "alt"}}
    return {role: "" for role, known in names.items() if not known & lower}


def _tar() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in (
            ("0.jpg", b"picture"),
            ("0.json", json.dumps({"url": "https://a.example", "caption": "a", "width": 3}).encode()),
            ("1.jpg", b"another"),
            ("1.txt", "ärt".encode()),
        ):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return out.getvalue()


def _parquet() -> bytes:
    out = io.BytesIO()
    table = pa.table(
        {"url": ["a", "b", None], "caption": ["ä", None, "c" * 50], "width": [1.0, None, 3.0], "jpg": [b"x"] * 3}
    )
    pq.write_table(table, out, row_group_size=2)
    return out.getvalue()


def _npy() -> bytes:
    out = io.BytesIO()
    np.save(out, np.eye(3, 8, dtype=np.float16))
    return out.getvalue()


def _arrow() -> bytes:
    out = io.BytesIO()
    table = pa.table({"url": ["a", "b", None], "caption": ["ä", None, "c"]})
    with pa.ipc.new_file(out, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    return out.getvalue()


def _index() -> bytes:
    index = faiss.IndexFlatIP(2)
    index.add(np.eye(3, 2, dtype=np.float32))
    return bytes(faiss.serialize_index(index).tobytes())


INDEX = _index()
SOUND = {"tar": _tar(), "parquet": _parquet(), "npy": _npy(), "list": _parquet(), "metadata": _parquet()}


@st.composite
def damaged(draw: st.DrawFn) -> tuple[str, bytes]:
    """A kind of file, and one of it with bytes changed, cut off or put in."""
    kind = draw(st.sampled_from(sorted(SOUND)))
    data = bytearray(SOUND[kind])
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        match draw(st.integers(0, 3)):
            case 0:
                data[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
            case 1:
                del data[at:]
            case 2:
                data[at:at] = draw(st.binary(min_size=1, max_size=8))
            case _:
                del data[at : at + draw(st.integers(1, 600))]
    return kind, bytes(data)


def _shard(kind: str, data: bytes, folder: Path) -> Shard:
    """A shard with one damaged file, the others sound."""
    files = {
        "tar": ("0.tar",),
        "parquet": ("0.parquet",),
        "list": ("0.tar", "0.parquet"),
        "npy": ("img_emb/img_emb_0.npy", "metadata/metadata_0.parquet"),
        "metadata": ("img_emb/img_emb_0.npy", "metadata/metadata_0.parquet"),
    }[kind]
    for name in files:
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(SOUND[path.suffix[1:]])
    (folder / files[-1 if kind in {"list", "metadata"} else 0]).write_bytes(data)
    (shard,) = plan_shards([folder])
    return shard


@settings(max_examples=300, deadline=None)
@given(damage=damaged())
def test_a_damaged_file_is_read_or_refused_but_never_crashes(damage: tuple[str, bytes]) -> None:
    kind, data = damage
    with tempfile.TemporaryDirectory() as name:
        try:
            reader = open_shard(
                _shard(kind, data, Path(name)), overrides={"key": "caption"} if kind == "list" else None
            )
            batches = list(reader.batches())
        except InputError as error:
            assert name in str(error)  # noqa: PT017 - or it is read: either is right, if it names the file
        else:
            for batch in batches:
                batch.table.validate(full=True)
                assert len(batch.pictures) == len(batch.table)


@settings(max_examples=100, deadline=None)
@example(at=8324, byte=0, cut=False)  # a batch of fewer than no rows
@given(at=st.integers(0, 10_000), byte=st.integers(0, 255), cut=st.booleans())
def test_damaged_arrow_metadata_is_read_or_refused(at: int, byte: int, cut: bool) -> None:
    data = bytearray(_arrow())
    at %= len(data)
    if cut:
        del data[at:]
    else:
        data[at] = byte
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "metadata").mkdir()
        (folder / "metadata" / "0.arrow").write_bytes(data)
        (folder / "image.index").write_bytes(INDEX)
        try:
            for shard in plan_index(folder, prefix=""):
                for batch in open_shard(shard).batches():
                    batch.table.validate(full=True)
        except InputError as error:
            assert "0.arrow" in str(error) or "its metadata" in str(error)  # noqa: PT017 - as above


@pytest.mark.parametrize("kind", sorted(SOUND))
def test_the_undamaged_files_are_read(kind: str, tmp_path: Path) -> None:
    reader = open_shard(_shard(kind, SOUND[kind], tmp_path), overrides={"key": "caption"} if kind == "list" else None)
    table, mapping = _read(reader)
    assert len(table) in {2, 3, 5}
    assert mapping.roles["url"] == "url"
