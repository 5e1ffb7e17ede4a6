"""What researchers are shown of the data sets: counted once for each index generation and list version, kept on disk.

    OUT/current.json                    which results belong to what is served now, and what data sets share
    OUT/DATASET/g3-l12/result.json      totals, and the page's sections in each language, charts and all
    OUT/DATASET/g3-l12/tables/          every table as Parquet and CSV

`g3-l12` is generation 3 of the index and version 12 of the exclusion list; what it holds never changes, so its address
can be cited. Who is opted out is decided by the published list with the library's code (`heldout.audit`), as a lab
would. Made beside the service, in a process of its own (`web.surveying`).
"""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from heldout.audit import TABLES_FOLDER, shown_tables
from heldout.audit_samples import Hosts, SampleNotes
from heldout.audit_sections import Voice, make_sections
from heldout.audit_shards import SHARD_SCHEMA
from heldout.audit_tables import AuditTables
from heldout.durable import locked, write_durably
from heldout.errors import HeldoutError
from heldout.exclusion import ExclusionList, Kind, Matches
from heldout.filtering_decision import Decision, decide
from heldout.fingerprints import PDQ_BYTES
from heldout.report import describe_list
from indexer.build_tables import SAMPLES_FILE
from indexer.generation import GENERATIONS_FOLDER, current_generation
from indexer.manifest import load_manifest, verify_files
from indexer.orientations import orientations
from indexer.pruning import Hold
from web import words
from web.published import current_list

FORMAT: Final = "heldout-research/1"
CURRENT_NAME: Final = "current.json"
RESULT_NAME: Final = "result.json"
KEPT_WITH_TABLES: Final = 20
"""Of a data set's results: the tables of older ones are removed, what their pages show is kept."""
MEMORY: Final = "1GB"

VOICE: Final = Voice(words.gettext, words.count, lambda share: f"{words.decimal(100 * share, 2)} %")
"""In the language of the moment."""

Told = Callable[[str], None]


@dataclass(frozen=True)
class Wanted:
    """What is served at a moment."""

    list_version: int
    manifest_sha256: str
    generations: Mapping[str, int]
    """By data set."""

    def result(self, dataset: str) -> str:
        """Name of a data set's result."""
        return f"g{self.generations[dataset]}-l{self.list_version}"

    def to_json(self) -> dict[str, Any]:
        """As `current.json` has it."""
        return {
            "list_version": self.list_version,
            "manifest_sha256": self.manifest_sha256,
            "generations": dict(self.generations),
        }


def wanted(datasets_dir: Path, list_dir: Path) -> Wanted | None:
    """What is served now; None before the first list. Reads a few small files."""
    facts = current_list(list_dir)
    if facts is None:
        return None
    generations = {path.parent.name: current_generation(path.parent) for path in sorted(datasets_dir.glob("*/CURRENT"))}
    return Wanted(facts.version, facts.manifest_sha256, generations)


def made(out: Path) -> dict[str, Any]:
    """What was counted last; empty before the first time.

    `seen` is what was served then, `wanted` that part of it that was counted, `failed` why the rest was not, `shared`
    what each two data sets have in common.
    """
    try:
        found: dict[str, Any] = json.loads((out / CURRENT_NAME).read_bytes())
    except FileNotFoundError:
        return {}
    return found


def survey(datasets_dir: Path, list_dir: Path, out: Path, tell: Told = lambda _: None) -> bool:
    """Count what is new; whether anything was. A data set that is damaged is told of and left out.

    Raises:
        ConflictError: another process is at it.
        HeldoutError: the list is damaged.
    """
    out.mkdir(parents=True, exist_ok=True)
    with locked(out / ".lock"):
        now, before = wanted(datasets_dir, list_dir), made(out)
        if now is None or before.get("seen") == now.to_json():
            return False
        exclusions = ExclusionList.from_published(list_dir)
        if exclusions.version.manifest.version != now.list_version:  # published in this very moment
            return False
        is_regenerated = before.get("seen", {}).get("generations") != dict(now.generations)
        failed = {} if is_regenerated else before["failed"]
        with _work(out) as work:
            for dataset, number in now.generations.items():
                target = out / dataset / now.result(dataset)
                if dataset in failed or not (is_regenerated or not (target / RESULT_NAME).is_file()):
                    continue
                tell(f"{dataset}: generation {number}, list version {now.list_version}")
                try:
                    counted = _count(datasets_dir / dataset, number, exclusions, work)
                except (HeldoutError, pa.ArrowException) as error:
                    failed[dataset] = str(error)
                    continue
                if not (target / RESULT_NAME).is_file():
                    _keep(counted, target)
            good = [dataset for dataset in now.generations if dataset not in failed]
            shared = _shared(work, good) if is_regenerated else before["shared"]
        counted_now = Wanted(now.list_version, now.manifest_sha256, {name: now.generations[name] for name in good})
        said = {"seen": now.to_json(), "wanted": counted_now.to_json(), "failed": failed, "shared": shared}
        write_durably(out / CURRENT_NAME, json.dumps({"format": FORMAT, **said}, indent=1).encode())
        for dataset in good:
            _prune(out / dataset)
        return True


@contextmanager
def _work(out: Path) -> Iterator[Path]:
    """A folder for what is thrown away; what a killed run left in it goes first."""
    work = out / ".work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _count(release: Path, number: int, exclusions: ExclusionList, work: Path) -> Path:
    """A data set's result, in the work folder."""
    dataset = release.name
    folder = work / dataset
    (folder / "made" / TABLES_FOLDER).mkdir(parents=True)
    notes = folder / "notes.parquet"
    n_no_picture = _note(release, number, exclusions, notes, folder / "files.parquet")
    with AuditTables(folder, memory=MEMORY) as tables:
        tables.load([notes], SHARD_SCHEMA.empty_table())
        n_rows = tables.write(folder / "made" / TABLES_FOLDER)
        totals = tables.totals()
        shown = shown_tables(tables, n_rows)
    for name in ("shards.parquet", "shards.csv"):  # of whoever ingested it, of no use to others
        (folder / "made" / TABLES_FOLDER / name).unlink()
    totals |= {
        "n_unreadable_urls": totals["n_samples"] - totals["n_with_url"],
        "n_unreadable_pictures": n_no_picture if exclusions.has_pdq else 0,
    }
    sections = {}
    for code in words.NAMES:
        with words.in_language(code):
            sections[code] = [asdict(section) for section in make_sections(shown, totals["n_samples"], VOICE)]
    result = {
        "format": FORMAT,
        "dataset": dataset,
        "generation": number,
        "list": describe_list(exclusions.version),
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "totals": totals,
        "rows": {name: n for name, n in n_rows.items() if name != "shards"},
        "sections": sections,
    }
    (folder / "made" / RESULT_NAME).write_text(json.dumps(result, ensure_ascii=False), encoding="utf-8")
    return folder / "made"


def _note(release: Path, number: int, exclusions: ExclusionList, notes: Path, files: Path) -> int:
    """Write the notes on all samples, and apart the first bits of their SHA-256.

    Returns:
        How many have no picture that could be compared.
    """
    folder = release / GENERATIONS_FOLDER / str(number)
    n_no_picture = 0
    verify_files(folder, load_manifest(folder), None)
    schema = pa.schema({"file": pa.uint64()})
    with (
        Hold(folder),
        pa.memory_map(str(folder / SAMPLES_FILE)) as mapped,
        SampleNotes(notes, 0, Hosts()) as noted,
        pq.ParquetWriter(files, schema) as writer,
    ):
        reader = pa.ipc.open_file(mapped)
        for at in range(reader.num_record_batches):
            table = pa.table(reader.get_batch(at))
            noted.take(table.select(_TOLD), _decide(table, exclusions))
            writer.write_table(pa.table({"file": _first_bits(table["sha256"])}, schema=schema))
            n_no_picture += table["pdq"].null_count
    return n_no_picture


_TOLD: Final = ["url", "caption", "width", "height", "status", "signals"]


def _decide(table: pa.Table, exclusions: ExclusionList) -> Decision:
    """By address, by bytes, and by the stored fingerprint and those of its turns, which are worked out from it."""
    n = table.num_rows
    answers: dict[Kind, Matches] = dict(exclusions.lookup_urls(table["url"]))
    answers["sha256"] = exclusions.lookup_sha256(table["sha256"].to_pylist())
    if exclusions.has_pdq:
        owners = np.flatnonzero(table["pdq"].is_valid().to_numpy())
        hashes = np.frombuffer(b"".join(table["pdq"].drop_null().to_pylist()), np.uint8).reshape(-1, PDQ_BYTES)
        quality = table["pdq_quality"].fill_null(0).to_numpy()[owners]
        answers["pdq"] = exclusions.lookup_pdq(orientations(hashes), quality).grouped(owners.tolist(), n)
    return decide(answers, n)


def _first_bits(digests: pa.ChunkedArray) -> pa.Array:
    has = digests.is_valid().to_numpy()
    words_: npt.NDArray[np.uint64] = np.zeros(len(digests), np.uint64)
    joined = b"".join(digest[:8] for digest in digests.drop_null().to_pylist())
    words_[has] = np.frombuffer(joined, ">u8")
    return pa.array(words_, mask=~has)


def _shared(work: Path, datasets: list[str]) -> list[dict[str, Any]]:
    """What each two data sets have in common: addresses, and pictures' files."""
    import duckdb  # the service reads what is here and has no use for it

    columns = {"key": "notes", "file": "files"}
    shared = []
    with duckdb.connect(work / "shared.db", config={"memory_limit": MEMORY, "temp_directory": str(work)}) as db:
        for at, name in enumerate(datasets):
            for column, file in columns.items():
                db.from_parquet(str(work / name / f"{file}.parquet")).create_view(f"{column}_{at}")
        for left, right in combinations(range(len(datasets)), 2):
            counts = {}
            for column in columns:
                both = f"SELECT {column} FROM {column}_{left} INTERSECT SELECT {column} FROM {column}_{right}"  # noqa: S608
                found = db.execute(f"SELECT count({column}) FROM ({both})").fetchall()  # noqa: S608 - names of ours
                counts[f"n_{column}s"] = int(found[0][0])
            shared.append({"left": datasets[left], "right": datasets[right], **counts})
    return shared


def _keep(folder: Path, target: Path) -> None:
    target.parent.mkdir(exist_ok=True)
    shutil.rmtree(target, ignore_errors=True)
    folder.rename(target)


def _prune(folder: Path) -> None:
    for old in results(folder)[KEPT_WITH_TABLES:]:
        shutil.rmtree(folder / old / TABLES_FOLDER, ignore_errors=True)


def results(folder: Path) -> list[str]:
    """Names of a data set's results, the newest first."""
    found = []
    for path in folder.glob(f"*/{RESULT_NAME}"):
        generation, _, version = path.parent.name.removeprefix("g").partition("-l")
        if generation.isdecimal() and version.isdecimal():
            found.append((int(generation), int(version), path.parent.name))
    return [name for *_, name in sorted(found, reverse=True)]
