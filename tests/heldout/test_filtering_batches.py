"""The list as a function of batches, in this process and in others."""

import json
import multiprocessing
import pickle
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from heldout.errors import InputError, NotFoundError, VerificationError
from heldout.filtering import Filter
from heldout.pictures import fingerprint
from tests.heldout.conftest import IMAGES, URLS, PullSite
from tests.heldout.published import ImageRule, Site
from tests.heldout.test_filtering_tar import drawing, encoded

CLEAN = "https://else.example/1.jpg"
SHA256 = IMAGES[1].sha256 or b""
ROWS: list[dict[str, Any]] = [
    {"URL": CLEAN, "sha256": None, "n": 0},
    {"URL": "http://ART.example/1.jpg", "sha256": "0" * 64, "n": 1},
    {"URL": None, "sha256": None, "n": 2},
    {"URL": CLEAN, "sha256": SHA256.hex(), "n": 3},
    {"URL": "no url", "sha256": "no digest", "n": 4},
]
MASK = [True, False, True, False, True]


@pytest.mark.parametrize(
    "batch",
    [
        ROWS,
        {name: [row[name] for row in ROWS] for name in ROWS[0]},
        {name: np.array([row[name] for row in ROWS], dtype=object) for name in ROWS[0]},
        pa.Table.from_pylist(ROWS),
        pa.RecordBatch.from_pylist(ROWS),
    ],
    ids=["rows", "columns", "arrays", "table", "record batch"],
)
def test_every_form_of_batch_gets_the_same_answer(pulled: Path, batch: pa.Table) -> None:
    mask = Filter(pulled).keep(batch)
    assert mask.dtype == np.bool_
    assert mask.tolist() == MASK


@pytest.mark.parametrize("batch", [[], {"url": []}, pa.table({"url": pa.array([], pa.string())})])
def test_empty_batches_are_answered(pulled: Path, batch: pa.Table) -> None:
    assert Filter(pulled).keep(batch).tolist() == []


@pytest.mark.parametrize(
    "batch",
    [
        [{"link": CLEAN}],
        [{"url": CLEAN}, {"link": CLEAN}],
        [{"url": 1}],
        {"link": [CLEAN]},
        {"url": [CLEAN], "URL": [CLEAN, CLEAN]},
        pa.table({"link": [CLEAN]}),
        pa.table({"url": [1]}),
        {"url": ["https://else.example/"], "sha256": [np.arange(32, dtype=np.uint8)]},
        [{"url": "https://else.example/", "SHA256": bytearray(32)}],
    ],
)
def test_batches_that_cannot_be_checked_are_errors(pulled: Path, batch: pa.Table) -> None:
    with pytest.raises(InputError):
        Filter(pulled).keep(batch)


def test_options_are_those_of_the_command(pulled: Path) -> None:
    rows = [{"link": rule.url, "url": CLEAN} for rule in URLS]
    assert Filter(pulled, url_column="link").keep(rows).tolist() == [False, False]
    assert Filter(pulled, url_column="link", min_assurance="host").keep(rows).tolist() == [True, False]
    assert Filter(pulled, url_column="link", as_of=date(2026, 10, 31)).keep(rows).tolist() == [True, True]


def test_list_that_is_missing_or_changed_is_refused(pulled: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        Filter(tmp_path / "nothing")
    copy = pickle.dumps(Filter(pulled))
    for path in (pulled / "files").iterdir():
        path.write_bytes(b"changed")
    with pytest.raises(VerificationError):
        Filter(pulled, min_assurance="account")
    done = subprocess.run(  # noqa: S603 - our own code, in a process that has not opened the list
        [sys.executable, "-c", f"import pickle; pickle.loads({copy!r}).keep([])"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "VerificationError" in done.stderr


def test_other_processes_apply_the_version_that_was_opened(pulled: Path, site: Site, pull_site: PullSite) -> None:
    filter_ = Filter(pulled)
    site.publish([], [])
    pull_site()
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        (mask,) = pool.map(filter_.keep, [ROWS])
    assert mask.tolist() == MASK


def test_list_that_has_gone_stale_is_said_to_be(pulled: Path) -> None:
    filter_ = Filter(pulled)
    assert not filter_.is_stale(datetime.now(UTC))
    assert filter_.is_stale(datetime.now(UTC) + timedelta(days=8))


def test_record_batches_are_given_with_what_is_kept_of_them(pulled: Path) -> None:
    batches = [pa.RecordBatch.from_pylist(ROWS), pa.RecordBatch.from_pylist(ROWS[1:2])]
    kept = list(Filter(pulled).kept(batches))
    assert [batch["n"].to_pylist() for batch in kept] == [[0, 2, 4], []]
    assert [batch.schema for batch in kept] == [batch.schema for batch in batches]


def test_pickled_filter_does_not_hold_the_list(pulled: Path) -> None:
    assert len(pickle.dumps(Filter(pulled))) < 1000


# --- webdataset samples -------------------------------------------------------------------------------------------


def test_webdataset_samples_go_by_address_bytes_and_copies(pulled: Path, site: Site, pull_site: PullSite) -> None:
    mark = fingerprint(encoded(drawing(1)))
    site.publish(URLS, [ImageRule(mark.pdq[0].tobytes(), mark.quality), *IMAGES])
    pull_site()
    filter_ = Filter(pulled)
    other, copy = encoded(drawing(2)), encoded(drawing(1).rotate(90), "JPEG", quality=60)
    fields = {"url": URLS[0].url}
    assert filter_.keep_webdataset({"__key__": "0", "jpg": other, "json": json.dumps({"url": CLEAN}).encode()})
    assert not filter_.keep_webdataset({"__key__": "0", "jpg": copy, "json": {"url": CLEAN}})
    assert not filter_.keep_webdataset({"__key__": "0", "png": other, "json": fields})
    assert not filter_.keep_webdataset({"__key__": "0", "jpg": other, "json": json.dumps(fields).encode()})
    assert not filter_.keep_webdataset({"__key__": "0", "jpg": other, "json": {"url": CLEAN, "sha256": SHA256.hex()}})


@pytest.mark.parametrize("fields", [{}, {"txt": b"a caption"}, {"jpg": np.zeros(3)}, {"jpg": b"", "json": 1}])
def test_webdataset_samples_that_cannot_be_checked_are_errors(pulled: Path, fields: dict[str, object]) -> None:
    with pytest.raises(InputError, match="0"):
        Filter(pulled).keep_webdataset({"__key__": "0", **fields})
