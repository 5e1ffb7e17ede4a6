"""Audits: what is in a data set, and how much of it an exclusion list excludes; told in numbers that can be checked.

A folder is written: `audit.json` (the summary), `audit.html` (one page), `tables/` (every table as Parquet and CSV),
`samples/` (a row per sample) and `audit.sql` (views over them, to go on in DuckDB). docs/audit.md describes it.

Who is excluded is decided by the code of `heldout filter`, so both count the same. Memory holds the list, a row group
and what DuckDB is given; the rest spills. The same shards, list and versions give the same bytes.
"""

import json
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from heldout import __version__
from heldout.audit_page import make_page
from heldout.audit_sections import SHOWN, Found, Voice, make_sections
from heldout.audit_shards import AuditedShard, ShardReader, shard_table
from heldout.audit_sql import OTHER_TABLES, TABLES
from heldout.audit_tables import DEFAULT_MEMORY, AuditTables, check_extra
from heldout.audit_words import TITLES
from heldout.durable import PART_LIFE_S, sync_folder, write_durably
from heldout.errors import HeldoutError, InputError, UnavailableError
from heldout.exclusion import ExclusionList
from heldout.filtering_options import FilterOptions, open_list
from heldout.filtering_plan import plan_jobs
from heldout.report import describe_list, sha256_file

FORMAT: Final = "heldout-audit/1"
SUMMARY_NAME: Final = "audit.json"
PAGE_NAME: Final = "audit.html"
SQL_NAME: Final = "audit.sql"
TABLES_FOLDER: Final = "tables"
_MADE: Final = re.compile(
    rf"audit\.(json|html|sql)|{TABLES_FOLDER}(/({'|'.join({**TABLES, **OTHER_TABLES})})\.(parquet|csv))?"
    r"|samples(/[0-9]+\.parquet)?"
)
"""Paths that an audit writes: what an earlier one may have left, and nothing else, makes way for the next."""
_MONTHS: Final = 1_000
"""Rows of opt-outs by month and assurance that a chart adds up: all there are in 16 years."""

Progress = Callable[[int, int], None]
"""(shards done, shards in all)."""


@dataclass(frozen=True)
class AuditResult:
    """What came of an audit."""

    summary: dict[str, Any]
    """As `audit.json` has it."""
    failures: dict[str, HeldoutError]
    """By shard name."""
    doubts: tuple[str, ...]
    """Why the list should not be trusted; empty unless that was allowed."""


def audit(
    inputs: Sequence[Path],
    out: Path,
    options: FilterOptions,
    *,
    against: Sequence[Path] = (),
    memory: str = DEFAULT_MEMORY,
    progress: Progress | None = None,
) -> AuditResult:
    """Audit a data set. `out` takes its place when all of it is written; what an earlier audit left there goes.

    A shard that cannot be read whole is in no number, and is named.

    Args:
        inputs: shards, and folders that are searched for them, as `heldout.filtering.filter_shards` takes them.
        out: folder of the audit.
        options: the list and how to apply it.
        against: another version of the data set, an earlier one as a rule: what was added and removed since.
        memory: for DuckDB, besides the list and a row group of a shard.
        progress: told after each shard.

    Raises:
        InputError: there is nothing to audit, `out` holds something else, or the extra heldout[audit] is missing.
        VerificationError: the list does not prove itself; nothing was written.
        UnavailableError: nothing could be read, or the folder cannot be written.
    """
    check_extra()
    _check_out(out)
    exclusions = open_list(options)
    plans = [plan_jobs(paths, out) for paths in (inputs, against) if paths]
    n_done, n_total = 0, sum(len(job.sources) for jobs in plans for job in jobs)
    failures: dict[str, HeldoutError] = {}
    read: list[list[AuditedShard]] = []
    try:
        _sweep(out)
        out.parent.mkdir(parents=True, exist_ok=True)
        part = out.with_name(f".{out.name}.{secrets.token_hex(4)}.part")
        part.mkdir()
        try:
            made, work = part / "made", part / "work"
            for folder in (made / "samples", made / TABLES_FOLDER, work / "other"):
                folder.mkdir(parents=True)
            for jobs, folder in zip(plans, (made / "samples", work / "other"), strict=False):
                shards: list[AuditedShard] = []
                for job, outcome in ShardReader(folder, exclusions, options).read(jobs):
                    if isinstance(outcome, HeldoutError):
                        failures |= {source.name: outcome for source in job.sources}
                    else:
                        shards += outcome
                    n_done += len(job.sources)
                    if progress is not None:
                        progress(n_done, n_total)
                read.append(shards)
            if not all(read):
                raise next(iter(failures.values()))
            summary = _write(part, read, sorted(failures), exclusions, options, memory=memory)
            _replace(out, made)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    except OSError as error:
        raise UnavailableError(
            f"{error.filename or out} cannot be written ({error.strerror}): check the disk"
        ) from error
    return AuditResult(summary, failures, exclusions.doubts)


def _write(
    part: Path,
    read: Sequence[Sequence[AuditedShard]],
    failed: Sequence[str],
    exclusions: ExclusionList,
    options: FilterOptions,
    *,
    memory: str,
) -> dict[str, Any]:
    made = part / "made"
    shards, *others = read
    with AuditTables(part / "work", memory=memory) as tables:
        other = [shard.notes for shard in others[0] if shard.notes is not None] if others else None
        tables.load([shard.notes for shard in shards if shard.notes is not None], shard_table(shards), other)
        n_rows = tables.write(made / TABLES_FOLDER)
        totals = tables.totals() | unreadable(shards)
        changes = tables.changes() if others else None
        shown = shown_tables(tables, n_rows)
    summary = {
        "format": FORMAT,
        "tool": {"heldout": __version__, "pyarrow": pa.__version__, "duckdb": _duckdb_version()},
        "list": {**describe_list(exclusions.version), "is_verified": not exclusions.doubts},
        "options": {
            "min_assurance": exclusions.min_assurance,
            "as_of": None if exclusions.as_of is None else exclusions.as_of.isoformat(),
            "url_column": options.url_column,
        },
        "shards": [shard.name for shard in shards],
        "other_shards": [shard.name for shard in others[0]] if others else [],
        "failed": list(failed),
        "totals": totals,
        "changes": changes,
        "tables": {
            f"{name}.{suffix}": {"rows": n, "sha256": sha256_file(made / TABLES_FOLDER / f"{name}.{suffix}")}
            for name, n in n_rows.items()
            for suffix in ("parquet", "csv")
        },
    }
    voice = Voice()
    page = make_page(summary, make_sections(shown, totals["n_samples"], voice), voice)
    for name, text in {
        SUMMARY_NAME: json.dumps(summary, indent=1, sort_keys=True, ensure_ascii=False) + "\n",
        PAGE_NAME: page,
        SQL_NAME: views(n_rows),
    }.items():
        write_durably(made / name, text.encode())
    return summary


def unreadable(shards: Sequence[AuditedShard]) -> dict[str, int]:
    """Counts of what could not be looked up; each sample once."""
    siblings = {shard.name: shard for shard in shards}
    pictures = [siblings[shard.sibling] if shard.sibling else shard for shard in shards if shard.notes is not None]
    return {
        "n_unreadable_urls": sum(shard.tally.n_unreadable_urls for shard in shards if shard.notes is not None),
        "n_unreadable_pictures": sum(shard.tally.n_unreadable_pictures for shard in pictures),
    }


def shown_tables(tables: AuditTables, n_rows: dict[str, int]) -> dict[str, Found]:
    """The rows that people look at, of each table."""
    shown = {
        name: Found(tables.top(name, _MONTHS if name == "since" else SHOWN), n_rows[name])
        for name in TITLES
        if name in n_rows
    }
    shown["opted_out_domains"] = Found(
        tables.top("domains", SHOWN, by="n_opted_out"), tables.count("domains", "n_opted_out")
    )
    return shown


def views(names: Iterable[str]) -> str:
    """`audit.sql`: views over the folder's files, to be run within it."""
    lines = ["-- Views over this audit's files. Within its folder: duckdb -init audit.sql\n"]
    lines += [f"CREATE VIEW {name} AS FROM read_parquet('tables/{name}.parquet');\n" for name in names]
    lines.append("CREATE VIEW samples AS FROM read_parquet('samples/*.parquet');\n")
    return "".join(lines)


def _duckdb_version() -> str:
    import duckdb

    return duckdb.__version__


def _check_out(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file: give a folder with -o")
    strangers = sorted(name for name in _held(out) if not _MADE.fullmatch(name))
    if strangers:
        raise InputError(
            f"{out} holds something that is no audit, such as {strangers[0]}, which would be lost: give another folder "
            "with -o, or move it away"
        )


def _held(out: Path) -> list[str]:
    """What lies in a folder, by path below it; folders only if they are empty."""
    paths = list(out.rglob("*")) if out.is_dir() else []
    full = {path.parent for path in paths}
    return [path.relative_to(out).as_posix() for path in paths if path not in full]


def _replace(out: Path, made: Path) -> None:
    """Put a finished audit in the place of an earlier one, or of nothing."""
    if out.exists():
        out.rename(made.with_name("before"))
    made.rename(out)
    sync_folder(out.parent)


def _sweep(out: Path) -> None:
    """Remove what audits of this name left half made when they were killed."""
    for part in out.parent.glob("*.part"):
        is_ours = re.fullmatch(rf"\.{re.escape(out.name)}\.[0-9a-f]{{8}}\.part", part.name)
        if is_ours and time.time() - part.stat().st_mtime > PART_LIFE_S:
            shutil.rmtree(part, ignore_errors=True)
