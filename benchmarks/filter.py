"""How fast `heldout filter` drops rows, beside reading and writing the same file; the same rows dropped by SQL.

    python -m benchmarks.filter --rows 2000000 --rounds 5              # ratios
    python -m benchmarks.filter --rows 10000000 --rounds 0 --sql       # the same rows as DuckDB, a shard at a time

Data: LAION-like rows (URL of about 85 characters, TEXT of 9 words out of 30,000, WIDTH, HEIGHT, similarity; snappy;
groups of 200,000), in shards of at most 2,000,000. A tenth of the addresses has a query, a hundredth characters
outside ASCII, a hundredth is written otherwise than its canonical form (upper case, port, fragment, tracking
parameters). List: `--entries` addresses, `--hosts` hosts, `--prefixes` folders; of the rows, shares of 2.5 %, 4 % and
0.5 % are covered by each. Ways take turns in one process, each with pyarrow's own threads, so that noise hits all;
ratios are of wall time, and beside them of processor time, which counts what all threads do:

- passthrough: pyarrow reads each row group and writes it again, same options;
- ahead: the same, reading the next row group by a second thread while one is written, as the filter does;
- filter: `heldout.filtering_parquet.filter_parquet`, list verified and loaded before;
- mask: the same without writing the rows: a keep-mask;
- reference: filter with the pure-Python fallback, on the first `--reference-rows` rows only (it is slow).

The SQL is written from the formats' documents: canonical keys for the addresses that these data have (no dot segments,
no credentials, no IDN), SHA-256, and a join per kind of rule, with no function of ours.
"""

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import NamedTuple

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from heldout import kernel
from heldout.exclusion import ExclusionList
from heldout.filtering_masks import writing_mask
from heldout.filtering_parquet import filter_parquet
from heldout.places import host_rule, prefix_rule
from heldout.pull import pull
from tests.heldout.published import BASE_URL, PlaceRule, Site, UrlRule

ROW_GROUP = 200_000
SHARD_ROWS = 2_000_000
N_WORDS = 30_000
N_SHOPS = 60_000
Mask = npt.NDArray[np.bool_]


def make_urls(rng: np.random.Generator, n: int) -> list[str]:
    """Addresses as shops, content networks and blogs have them."""
    shop, a, b, c = (rng.integers(0, high, n).tolist() for high in (N_SHOPS, 10_000, 10**6, 10**9))
    kind = rng.random(n)
    urls = [
        f"https://cdn{s % 9}.shop-{s}.example/media/catalog/{x}/{y:06d}/product-image-{z}-large.jpg"
        for s, x, y, z in zip(shop, a, b, c, strict=True)
    ]
    for i in np.flatnonzero(kind < 0.1):
        urls[i] += "?w=640&h=480"
    for i in np.flatnonzero(kind > 0.99):
        urls[i] = urls[i].replace("media", "médias")
    for i in np.flatnonzero((kind > 0.98) & (kind < 0.99)):
        urls[i] = urls[i].replace("https://cdn", "HTTP://CDN").replace(".example/", ".Example:443/")
        urls[i] += "?utm_source=feed&id=7&gclid=%7Ex#top"
    return urls


def write_shard(path: Path, urls: list[str], rng: np.random.Generator) -> None:
    """The LAION-like file."""
    n = len(urls)
    letters = rng.integers(ord("a"), ord("z") + 1, (N_WORDS, 9), dtype=np.uint8)
    words = [row.tobytes().decode()[: 2 + i % 8] for i, row in enumerate(letters)]
    picks = rng.integers(0, N_WORDS, (n, 9))
    table = pa.table(
        {
            "URL": urls,
            "TEXT": [" ".join([words[w] for w in row]) for row in picks.tolist()],
            "WIDTH": rng.integers(200, 3000, n).astype(np.int32),
            "HEIGHT": rng.integers(200, 3000, n).astype(np.int32),
            "similarity": rng.random(n),
        }
    )
    pq.write_table(table, path, row_group_size=ROW_GROUP, compression="snappy")


def make_list(folder: Path, first: list[str], options: argparse.Namespace) -> tuple[float, ExclusionList]:
    """A published, pulled and opened list, and the seconds that opening took."""
    rng = np.random.default_rng(3)
    n_hit = int(options.rows * 0.025)
    picked = [first[i] for i in rng.choice(len(first), min(n_hit, len(first) // 40), replace=False)]
    others = make_urls(np.random.default_rng(2), max(0, options.entries - len(picked)))
    shops = rng.choice(N_SHOPS, N_SHOPS // 25, replace=False)  # 4 % of the rows
    hosts = [f"shop-{shop}.example" for shop in shops]
    hosts += [f"studio-{n}.example" for n in range(options.hosts - len(hosts))]
    folders = {first[i].partition("?")[0].rsplit("/", 2)[0] for i in rng.choice(len(first), len(first) // 200)}
    folders |= {f"https://art-{n % 50}.example/people/{n}" for n in range(options.prefixes - len(folders))}
    places = [PlaceRule(host_rule(host).host, "host") for host in hosts]
    places += [PlaceRule(prefix, "account") for prefix in {prefix_rule(folder).prefix for folder in folders}]
    site = Site().publish([UrlRule(url) for url in [*picked, *others]], [], places)
    pull(BASE_URL, folder / "list", root=site.write_root(folder), transport=site.transport())
    start = time.perf_counter()
    exclusions = ExclusionList.open(folder / "list")
    return time.perf_counter() - start, exclusions


def passthrough(source: Path, target: Path) -> None:
    """The yardstick."""
    shard = pq.ParquetFile(source)
    with target.open("wb") as stream, pq.ParquetWriter(stream, shard.schema_arrow, compression="snappy") as writer:
        for number in range(shard.num_row_groups):
            writer.write_table(shard.read_row_group(number), row_group_size=ROW_GROUP)


def ahead(source: Path, target: Path) -> None:
    """The yardstick by as many threads as the filter has."""
    shard = pq.ParquetFile(source)
    with (
        ThreadPoolExecutor(1) as pool,
        target.open("wb") as stream,
        pq.ParquetWriter(stream, shard.schema_arrow, compression="snappy") as writer,
    ):
        task = pool.submit(shard.read_row_group, 0)
        for number in range(1, shard.num_row_groups + 1):
            group = task.result()
            if number < shard.num_row_groups:
                task = pool.submit(shard.read_row_group, number)
            writer.write_table(group, row_group_size=ROW_GROUP)


def filtered(source: Path, target: Path, exclusions: ExclusionList) -> None:
    """Rows written again."""
    with target.open("w+b") as stream:
        filter_parquet(source, stream, exclusions)


def masked(source: Path, target: Path, exclusions: ExclusionList) -> None:
    """A keep-mask."""
    with writing_mask(target, has_keys=False, shard_sha256="", manifest_sha256="") as mask:
        filter_parquet(source, None, exclusions, mask=mask)


@contextmanager
def reference_only() -> Iterator[None]:
    """Without the native kernel."""
    native, kernel._kernel = kernel._kernel, None  # noqa: SLF001 - a benchmark may
    try:
        yield
    finally:
        kernel._kernel = native  # noqa: SLF001


class Times(NamedTuple):
    """Seconds."""

    wall: float
    processor: float
    """Of all threads."""


def timed(action: Callable[..., None], *args: object) -> Times:
    """Do it, and say how long it took."""
    wall, processor = time.perf_counter(), time.process_time()
    action(*args)
    return Times(time.perf_counter() - wall, time.process_time() - processor)


KEPT = r"""
WITH split AS (
    SELECT file_row_number AS row, regexp_extract("URL", '^(?i:https?)://([^/?#]+)([^?#]*)(\?[^#]*)?',
                                                  ['authority', 'path', 'query']) AS part
    FROM read_parquet($shard, file_row_number = true)
), cut AS (
    SELECT row, regexp_replace(lower(part.authority), ':(80|443)$', '') AS host,
           CASE WHEN part.path = '' THEN '/' ELSE part.path END AS path,
           list_filter(string_split(substr(part.query, 2), '&'), lambda piece: piece <> '' AND NOT regexp_matches(
               lower(split_part(piece, '=', 1)),
               '^(utm_.*|mtm_.*|pk_.*|gclid|fbclid|dclid|msclkid|yclid|igshid|mc_cid|mc_eid|srsltid)$')) AS pieces
    FROM split
), keyed AS (
    SELECT row, host, host || CASE WHEN regexp_full_match(path, '[A-Za-z0-9._~!*''()$&+,;=:@/-]*') THEN path
        ELSE array_to_string(list_transform(string_split(path, ''), lambda c:
            CASE WHEN regexp_full_match(c, '[A-Za-z0-9._~!*''()$&+,;=:@/-]') THEN c ELSE url_encode(c) END), '') END
        AS place, CASE WHEN len(pieces) > 0 THEN '?' || array_to_string(pieces, '&') ELSE '' END AS query
    FROM cut
), by_url AS (
    SELECT row FROM keyed WHERE ('0x' || substr(sha256(place || query), 1, 16))::UBIGINT IN (SELECT key FROM urls)
), labelled AS (
    SELECT row, string_split(host, '.') AS labels, string_split(place, '/') AS folders FROM keyed
), by_host AS (
    SELECT row FROM (SELECT row, labels, unnest(range(1, len(labels))) AS k FROM labelled)
    WHERE array_to_string(list_slice(labels, k, len(labels)), '.') IN (SELECT host FROM hosts)
), by_prefix AS (
    SELECT row FROM (SELECT row, folders, unnest(range(2, len(folders) + 1)) AS k FROM labelled)
    WHERE array_to_string(list_slice(folders, 1, k), '/') || '/' IN (SELECT prefix FROM prefixes)
)
SELECT row FROM by_url UNION SELECT row FROM by_host UNION SELECT row FROM by_prefix
"""


def open_sql(folder: Path) -> duckdb.DuckDBPyConnection:
    """The list's own files as tables, as any engine reads them."""
    connection = duckdb.connect()
    files = [str(path) for path in (folder / "list" / "files").glob("*.parquet")]
    for name, column in (("urls", "key"), ("hosts", "host"), ("prefixes", "prefix")):
        chosen = [path for path in files if column in pq.read_schema(path).names]
        connection.execute(
            f"CREATE TABLE {name} AS SELECT {column} FROM read_parquet($files) WHERE preference = 0",  # noqa: S608
            {"files": chosen},
        )
    return connection


def kept_by_sql(connection: duckdb.DuckDBPyConnection, shard: Path) -> Mask:
    """(n,) which rows the SQL keeps."""
    dropped = connection.execute(KEPT, {"shard": str(shard)}).fetchnumpy()["row"]
    kept = np.ones(pq.read_metadata(shard).num_rows, np.bool_)
    kept[np.asarray(dropped, np.int64)] = False
    return kept


def agree(source: Path, urls: list[str], exclusions: ExclusionList, sql: duckdb.DuckDBPyConnection) -> int:
    """Rows of a shard that are dropped: by the mask, by the file that is written, and by SQL."""
    mask, output = source.with_name("mask.parquet"), source.with_name("kept.parquet")
    masked(source, mask, exclusions)
    filtered(source, output, exclusions)
    kept = pq.read_table(mask)["keep"].to_numpy()
    expected = kept_by_sql(sql, source)
    assert (kept == expected).all(), [urls[i] for i in np.flatnonzero(kept != expected)[:5]]
    assert pq.read_metadata(output).num_rows == kept.sum()
    return int((~kept).sum())


def measure(source: Path, exclusions: ExclusionList, n_rounds: int) -> dict[str, list[Times]]:
    """Each way, in turns."""
    ways: dict[str, Callable[[Path], None]] = {
        "passthrough": lambda target: passthrough(source, target),
        "ahead": lambda target: ahead(source, target),
        "filter": lambda target: filtered(source, target, exclusions),
        "mask": lambda target: masked(source, target, exclusions),
    }
    times: dict[str, list[Times]] = {name: [] for name in ways}
    for _ in range(n_rounds):
        for name, way in ways.items():
            times[name].append(timed(way, source.with_name("out.parquet")))
    return times


def main() -> None:
    """Print a table and a JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--hosts", type=int, default=20_000)
    parser.add_argument("--prefixes", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--reference-rows", type=int, default=200_000)
    parser.add_argument("--sql", action="store_true", help="compare with DuckDB, row by row")
    options = parser.parse_args()
    result: dict[str, object] = {"rows": options.rows, "kernel": kernel.IMPLEMENTATION}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rng = np.random.default_rng(1)
        urls = make_urls(rng, min(options.rows, SHARD_ROWS))
        load_s, exclusions = make_list(folder, urls, options)
        result |= {"entries": exclusions.counts, "load_s": round(load_s, 2)}
        source, n_dropped = folder / "in.parquet", 0
        for start in range(0, options.rows, SHARD_ROWS):
            if start:
                urls = make_urls(rng, min(options.rows - start, SHARD_ROWS))
            write_shard(source, urls, rng)
            if options.sql:
                n_dropped += agree(source, urls, exclusions, open_sql(folder))
                print(f"{start + len(urls):,} rows: {n_dropped:,} dropped, the same by SQL", flush=True)
        if options.rounds:
            times = measure(source, exclusions, options.rounds)
            plain = times["passthrough"]
            for what, taken in times.items():
                ratio = median(a.wall / b.wall for a, b in zip(plain, taken, strict=True))
                of_work = median(a.processor / b.processor for a, b in zip(plain, taken, strict=True))
                result |= {f"{what}_ratio": round(ratio, 3), f"{what}_processor_ratio": round(of_work, 3)}
                rate = len(urls) / median(t.wall for t in taken) / 1e6
                print(f"{what:12} {rate:6.2f} M rows/s, {ratio:.2f} of passthrough, {of_work:.2f} in processor time")
            write_shard(folder / "small.parquet", urls[: options.reference_rows], rng)
            with reference_only():
                slow_list = ExclusionList.open(folder / "list")
                slow = timed(filtered, folder / "small.parquet", folder / "kept.parquet", slow_list)
            result["reference_ratio"] = round(
                options.reference_rows / slow.wall / (len(urls) / median(t.wall for t in plain)), 3
            )
    result["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps(result))


if __name__ == "__main__":
    main()
