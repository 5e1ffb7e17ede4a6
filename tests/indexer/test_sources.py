"""A done shard and its source files: what changed is noticed, what did not is not read again."""

import os
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from heldout.errors import ConflictError, InputError
from indexer.ingest import ingest
from indexer.onnx_encoder import OnnxEncoder
from indexer.planning import plan_shards
from indexer.shards import read_done
from indexer.sources import SEEN_FILE, record_sources, stamp


@pytest.fixture
def tar(tmp_path: Path, make: Any, encoder: OnnxEncoder) -> Path:
    """A tar with its parquet, ingested."""
    path: Path = make.tar(tmp_path / "0.tar", make.rows(5))
    ingest([path], release=tmp_path / "release", encoder=encoder, workers=0)
    return path


def _change(path: Path) -> None:
    """One byte, same size, later time."""
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(data)
    _touch(path)


def _touch(path: Path) -> None:
    at = path.stat().st_mtime_ns + 1_000_000_000
    os.utime(path, ns=(at, at))


@pytest.mark.parametrize("name", ["0.tar", "0.parquet"])
def test_a_changed_file_of_equal_size_is_refused(name: str, tar: Path, encoder: OnnxEncoder) -> None:
    _change(tar.with_name(name))
    with pytest.raises(ConflictError, match=r"0\.tar of .* and 0\.parquet of .*: remove .*release/shards/0"):
        ingest([tar], release=tar.parent / "release", encoder=encoder, workers=0)


def test_a_parquet_that_came_or_went_is_refused(tar: Path, encoder: OnnxEncoder) -> None:
    tar.with_suffix(".parquet").unlink()
    with pytest.raises(ConflictError, match="remove"):
        ingest([tar], release=tar.parent / "release", encoder=encoder, workers=0)


def test_the_way_out_that_the_message_names_works(tar: Path, make: Any, encoder: OnnxEncoder) -> None:
    make.tar(tar, make.rows(8))
    folder = tar.parent / "release" / "shards" / "0"
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    assert ingest([tar], release=tar.parent / "release", encoder=encoder, workers=0).ingested == ["0"]
    assert pq.read_metadata(folder / "samples.parquet").num_rows == 8


def test_a_copy_with_a_new_time_is_hashed_once_and_the_marker_stays(tar: Path, encoder: OnnxEncoder) -> None:
    folder = tar.parent / "release" / "shards" / "0"
    marker, seen = (folder / "done.json").read_bytes(), (folder / SEEN_FILE).read_bytes()
    _touch(tar)
    report = ingest([tar], release=tar.parent / "release", encoder=encoder, workers=0)
    assert report.skipped == ["0"]
    assert (folder / "done.json").read_bytes() == marker  # generations hold its digest
    assert (folder / SEEN_FILE).read_bytes() != seen
    # Now trusted by size and time: a change that keeps both shows that the file was not read.
    at = tar.stat().st_mtime_ns
    _change(tar)
    os.utime(tar, ns=(at, at))
    assert ingest([tar], release=tar.parent / "release", encoder=encoder, workers=0).skipped == ["0"]
    (folder / SEEN_FILE).write_bytes(b"damaged")
    with pytest.raises(ConflictError, match="SHA-256"):
        ingest([tar], release=tar.parent / "release", encoder=encoder, workers=0)


def test_equal_sources_give_equal_markers_whatever_their_times(tar: Path, encoder: OnnxEncoder) -> None:
    _touch(tar)
    ingest([tar], release=tar.parent / "second", encoder=encoder, workers=0)
    first, second = (tar.parent / name / "shards" / "0" for name in ("release", "second"))
    assert (first / "done.json").read_bytes() == (second / "done.json").read_bytes()
    assert [one["name"] for one in read_done(first)["sources"]] == ["0.tar", "0.parquet"]


def test_a_file_that_changes_while_it_is_read_is_refused(tar: Path, tmp_path: Path) -> None:
    (shard,) = plan_shards([tar])
    before = stamp(shard)
    _change(tar.with_suffix(".parquet"))
    with pytest.raises(InputError, match="changed while it was read"):
        record_sources(shard, shard, before, tmp_path)
    assert not (tmp_path / SEEN_FILE).exists()
