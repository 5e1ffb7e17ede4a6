"""The documents of the formats, against what is written."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from heldout.delta_files import DELTA_FORMAT
from heldout.filtering import FilterOptions, filter_shards
from heldout.fingerprints import MATCH_DISTANCE, MIN_QUALITY
from heldout.list_tables import SCHEMAS
from heldout.report import PREDICATE_TYPE
from heldout.urls import canonical_key
from tests.heldout.conftest import URLS
from tests.heldout.published import Site

FORMATS = Path(__file__).parents[2] / "docs" / "formats"


def read_list(pulled: Path, *keys: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, str(FORMATS / "read_list.py"), str(pulled), *keys]
    return subprocess.run(line, capture_output=True, text=True, check=False)  # noqa: S603 - our own script


def test_independent_reader_finds_what_we_find(pulled: Path) -> None:
    done = read_list(pulled, *(canonical_key(rule.url) for rule in URLS), "else.example/")
    assert done.stdout.splitlines() == [
        "version 1, {'host': 0, 'image': 2, 'prefix': 0, 'url': 2}",
        "excluded by url since 2026-11-01 (declared): art.example/1.jpg",
        "excluded by url since 2026-11-01 (host): art.example/2.jpg?w=1",
        "not listed: else.example/",
    ]


def test_independent_reader_refuses_a_changed_proof(pulled: Path) -> None:
    (proof,) = pulled.glob("versions/*/manifest.tlog-proof")
    index = proof.read_text().split("index ")[1].split("\n")[0]
    proof.write_text(proof.read_text().replace(f"index {index}", f"index {int(index) - 1}"))
    assert read_list(pulled).returncode != 0


def test_list_document_names_every_field_and_column(site: Site) -> None:
    text = (FORMATS / "exclusion-list.md").read_text()
    manifest = json.loads(site.manifest)
    columns = {column for schema in SCHEMAS.values() for column in schema.names}
    for name in {*manifest, *manifest["log"], *manifest["files"]["images.parquet"], *columns}:
        assert f"`{name}`" in text, name
    assert f"at most {MATCH_DISTANCE} of 256 bits, and both qualities are at least {MIN_QUALITY}" in text
    assert json.dumps(manifest["format"]) in text
    assert json.dumps(DELTA_FORMAT) in text


def test_report_document_names_every_field(pulled: Path, tmp_path: Path) -> None:
    shard = tmp_path / "00000.parquet"
    pq.write_table(pa.table({"url": [URLS[0].url]}), shard)
    filter_shards([shard], tmp_path / "out", FilterOptions(pulled))
    statement = json.loads((tmp_path / "out" / "report.json").read_bytes())
    text = (FORMATS / "filter-report.md").read_text()
    assert f'"{PREDICATE_TYPE}"' in text
    words = set(re.findall(r"[a-z0-9_]+", text))
    assert _names(statement["predicate"]) - {"declared"} <= words


def _names(value: object) -> set[str]:
    if isinstance(value, dict):
        return set(value).union(*map(_names, value.values()))
    if isinstance(value, list):
        return set().union(*map(_names, value))
    return set()


@pytest.mark.parametrize("path", sorted(FORMATS.glob("*.md")), ids=lambda path: path.name)
def test_links_between_the_documents_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text()):
        assert (path.parent / target).exists(), target
