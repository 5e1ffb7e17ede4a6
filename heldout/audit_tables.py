"""The tables of an audit, made by DuckDB out of the notes on its samples; it spills to disk what memory cannot hold.

with AuditTables(work, memory="1GB") as tables:
    tables.load(samples, shards)
    tables.write(out / "tables")
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

import pyarrow as pa
import pyarrow.parquet as pq

from heldout.audit_samples import SAMPLE_SCHEMA
from heldout.audit_sql import OTHER_STEPS, OTHER_TABLES, STEPS, TABLES, TOTALS
from heldout.errors import InputError, UnavailableError
from heldout.filtering_decision import KINDS
from heldout.records import ASSURANCES

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

DEFAULT_MEMORY: Final = "1GB"
_BATCH: Final = 100_000
_HOST_DOMAINS: Final = pa.schema({"host": pa.string(), "domain": pa.string()})


def check_extra() -> None:
    """Make sure that an audit can be made.

    Raises:
        InputError: the extra heldout[audit] is not installed.
    """
    try:
        import altair as alt
        import duckdb
        import publicsuffixlist
        import vl_convert
    except ImportError as error:
        raise InputError(
            f"an audit needs {error.name}, of the extra heldout[audit]: pip install 'heldout[audit]'"
        ) from error
    del alt, duckdb, publicsuffixlist, vl_convert


class AuditTables:
    """A database of one audit, in a folder that is thrown away after it."""

    def __init__(self, work: Path, *, memory: str = DEFAULT_MEMORY) -> None:
        """Work in the folder `work`, with this much memory for DuckDB, as `1GB`.

        Raises:
            InputError: `memory` is no size.
        """
        import duckdb

        self._errors = (duckdb.OutOfMemoryException, duckdb.IOException)
        config = {
            "temp_directory": str(work / "spill"),
            "autoinstall_known_extensions": "false",  # nothing is fetched
            "autoload_known_extensions": "false",
        }
        try:
            self._db: DuckDBPyConnection = duckdb.connect(work / "audit.db", config={**config, "memory_limit": memory})
        except duckdb.Error as error:
            raise InputError(f"{memory!r} is no size of memory ({error}): give one such as 1GB") from error
        self._compares = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._db.close()
        if isinstance(error, self._errors):
            raise UnavailableError(
                f"DuckDB could not make the tables ({str(error).splitlines()[0]}): give it more --memory, or the "
                "folder of the output more room"
            ) from error

    @property
    def names(self) -> tuple[str, ...]:
        """Of the tables that there are."""
        return (*TABLES, *(OTHER_TABLES if self._compares else ()))

    def load(self, samples: Sequence[Path], shards: pa.Table, other: Sequence[Path] | None = None) -> None:
        """Make all tables from files of notes; `other` are those on another version of the data set."""
        db = self._db
        self._compares = other is not None
        self._view("samples", samples)
        db.register("shards_given", shards)
        db.execute("CREATE TABLE shards AS SELECT * FROM shards_given")
        for name, order in (("kinds", KINDS), ("assurances", ASSURANCES)):
            db.execute(f"CREATE TABLE {name} AS SELECT ?::VARCHAR[] AS names", [list(order)])
        steps = dict(STEPS)
        if other is not None:
            self._view("other_samples", other)
            steps |= OTHER_STEPS
        for name, sql in steps.items():
            db.execute(f"CREATE TABLE {name} AS {sql}")
        self._name_domains()

    def _view(self, name: str, paths: Sequence[Path]) -> None:
        if paths:
            self._db.from_parquet([str(path) for path in paths]).create_view(name)
        else:
            self._db.register(name, SAMPLE_SCHEMA.empty_table())

    def _name_domains(self) -> None:
        """The registered domain of each host: what somebody can own. A host that is a public suffix is its own."""
        from publicsuffixlist import PublicSuffixList

        suffixes = PublicSuffixList(only_icann=False)
        db = self._db
        db.execute("CREATE TABLE host_domains (host VARCHAR, domain VARCHAR)")
        tables = ["host_counts", *(["matched"] if self._compares else [])]
        union = " UNION ".join(f"SELECT host FROM {name}" for name in tables)  # noqa: S608 - names of ours
        cursor = db.cursor()
        found = cursor.execute(union)
        while rows := found.fetchmany(_BATCH):
            hosts = [str(host) for (host,) in rows]
            named = pa.table([hosts, [suffixes.privatesuffix(host) or host for host in hosts]], schema=_HOST_DOMAINS)
            db.register("named", named)
            db.execute("INSERT INTO host_domains SELECT * FROM named")
            db.unregister("named")
        cursor.close()

    def write(self, folder: Path) -> dict[str, int]:
        """Write every table as `NAME.parquet` and `NAME.csv`; rows by name."""
        rows: dict[str, int] = {}
        for name in self.names:
            parquet, csv = folder / f"{name}.parquet", folder / f"{name}.csv"
            query = {**TABLES, **OTHER_TABLES}[name]
            self._db.execute(f"COPY ({query}) TO {_quoted(parquet)} (FORMAT parquet, COMPRESSION zstd)")
            self._db.from_parquet(str(parquet)).create_view(_made(name))
            self._db.execute(f"COPY {_made(name)} TO {_quoted(csv)} (FORMAT csv, HEADER)")
            with pq.ParquetFile(parquet) as written:
                rows[name] = written.metadata.num_rows
        return rows

    def totals(self) -> dict[str, int]:
        """Counts over all samples, `heldout.audit_sql.TOTALS`, and of what they are on."""
        (totals,) = self.rows_of(TOTALS)
        for name, sql in {
            "n_urls": "SELECT count(*) FROM addresses",
            "n_urls_opted_out": "SELECT count(*) FILTER (n_opted_out > 0) FROM addresses",
            "n_urls_repeated": "SELECT count(*) FILTER (n_samples > 1) FROM addresses",
            "n_hosts": "SELECT count(*) FROM host_counts",
            "n_domains": "SELECT count(DISTINCT domain) FROM host_counts JOIN host_domains USING (host)",
        }.items():
            totals[name] = self._db.execute(sql).fetchall()[0][0]
        return totals

    def changes(self) -> dict[str, int]:
        """Counts of addresses, over all domains. After `write`."""
        names = ("n_added", "n_removed", "n_kept", "n_added_opted_out", "n_removed_opted_out", "n_kept_opted_out")
        sums = ", ".join(f"coalesce(sum({name}), 0)::BIGINT AS {name}" for name in names)
        (counts,) = self.rows_of(f"SELECT {sums} FROM {_made('changes')}")  # noqa: S608 - names of ours
        others = "SELECT count(*) AS n_samples, count(key) AS n_with_url FROM other_samples"
        return counts | {f"other_{name}": n for name, n in next(self.rows_of(others)).items()}

    def top(self, name: str, n: int, *, by: str | None = None) -> list[dict[str, Any]]:
        """The first rows of a written table; `by` a column of `domains`, the highest first, above 0 alone."""
        where = "" if by is None else f" WHERE {by} > 0 ORDER BY {by} DESC, domain"
        return list(self.rows_of(f"FROM {_made(name)}{where} LIMIT {n}"))

    def count(self, name: str, column: str) -> int:
        """Rows of a written table where a column is above 0."""
        (row,) = self.rows_of(f"SELECT count(*) AS n FROM {_made(name)} WHERE {column} > 0")  # noqa: S608 - names of ours
        return int(row["n"])

    def rows_of(self, sql: str) -> Iterator[dict[str, Any]]:
        """Rows of a query."""
        found = self._db.execute(sql)
        names = [column[0] for column in found.description or ()]
        for row in found.fetchall():
            yield dict(zip(names, row, strict=True))


def _made(name: str) -> str:
    return f"made_{name}"


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"
