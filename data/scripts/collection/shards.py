"""The two forms of the same samples: img2dataset's webdataset shards, and the URL list a lab downloads first.

Shards are as img2dataset 1.4x writes them with `--disable_all_reencoding`, sha256 on: per sample `<key>.<ext>`,
`<key>.txt`, `<key>.json`; beside each tar a parquet of the same rows, failures included, and a stats file.
"""

import hashlib
import io
import json
import tarfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from samples import Sample, shard_size

LIST_PARTS = 2

_TEXT, _SIZE = pa.string(), pa.int32()
IMG2DATASET_SCHEMA = pa.schema(
    [
        ("url", _TEXT),
        ("caption", _TEXT),
        ("creator", _TEXT),
        ("key", _TEXT),
        ("status", _TEXT),
        ("error_message", _TEXT),
        ("width", _SIZE),
        ("height", _SIZE),
        ("original_width", _SIZE),
        ("original_height", _SIZE),
        ("exif", _TEXT),
        ("sha256", _TEXT),
    ]
)
LIST_SCHEMA = pa.schema(
    [
        ("url", _TEXT),
        ("caption", _TEXT),
        ("key", _TEXT),
        ("width", _SIZE),
        ("height", _SIZE),
        ("sha256", _TEXT),
        ("creator", _TEXT),
    ]
)


def sha256_of(sample: Sample) -> str | None:
    """Digest of the file as downloaded, None when there is none."""
    return None if sample.data is None else hashlib.sha256(sample.data).hexdigest()


def write_webdataset(samples: Sequence[Sample], folder: Path) -> None:
    """`00000.tar`, `00000.parquet`, `00000_stats.json`, and so on."""
    folder.mkdir(parents=True)
    size = shard_size(len(samples))
    for number, start in enumerate(range(0, len(samples), size)):
        shard, name = samples[start : start + size], f"{number:05}"
        rows = [_img2dataset_row(sample) for sample in shard]
        with tarfile.open(folder / f"{name}.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
            for sample, row in zip(shard, rows, strict=True):
                if sample.data is None:
                    continue
                _add(tar, f"{sample.key}.{sample.extension}", sample.data)
                _add(tar, f"{sample.key}.txt", sample.caption.encode())
                _add(tar, f"{sample.key}.json", json.dumps(row, ensure_ascii=False, indent=4).encode())
        _write_parquet(rows, IMG2DATASET_SCHEMA, folder / f"{name}.parquet")
        (folder / f"{name}_stats.json").write_text(json.dumps(_stats(rows), indent=4), encoding="utf-8")


def write_list(samples: Sequence[Sample], folder: Path) -> None:
    """`part-00000.parquet` and so on: addresses, no pictures."""
    folder.mkdir(parents=True)
    rows = [
        {
            "url": sample.url,
            "caption": sample.caption,
            "key": sample.key,
            "width": sample.width,
            "height": sample.height,
            "sha256": sha256_of(sample),
            "creator": sample.creator,
        }
        for sample in samples
    ]
    size = -(-len(rows) // LIST_PARTS)
    for part in range(LIST_PARTS):
        _write_parquet(rows[part * size : (part + 1) * size], LIST_SCHEMA, folder / f"part-{part:05}.parquet")


def _img2dataset_row(sample: Sample) -> dict[str, object]:
    downloaded = sample.data is not None
    return {
        "url": sample.url,
        "caption": sample.caption,
        "creator": sample.creator,
        "key": sample.key,
        "status": "success" if downloaded else "failed_to_download",
        "error_message": sample.error_message,
        "width": sample.width if downloaded else None,
        "height": sample.height if downloaded else None,
        "original_width": sample.width if downloaded else None,
        "original_height": sample.height if downloaded else None,
        "exif": "{}" if downloaded else None,
        "sha256": sha256_of(sample),
    }


def _stats(rows: Sequence[dict[str, object]]) -> dict[str, object]:
    """img2dataset's counters; times are zero, because a clock would make the bytes differ from run to run."""
    statuses = Counter(row["status"] for row in rows)
    messages = Counter(str(row["error_message"] or "success") for row in rows)
    return {
        "count": len(rows),
        "successes": statuses["success"],
        "failed_to_download": statuses["failed_to_download"],
        "failed_to_resize": 0,
        "duration": 0.0,
        "start_time": 0.0,
        "end_time": 0.0,
        "status_dict": dict(sorted(messages.items())),
    }


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)  # mtime, uid and gid are 0, names empty
    member.size, member.mode = len(data), 0o644
    tar.addfile(member, io.BytesIO(data))


def _write_parquet(rows: Sequence[dict[str, object]], schema: pa.Schema, path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(list(rows), schema=schema), path, compression="zstd")
