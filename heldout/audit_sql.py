"""The tables of an audit, as DuckDB makes them from the notes on its samples.

`samples` and, where another version of the data set is compared, `other_samples` have the columns of
`heldout.audit_samples.SAMPLE_SCHEMA`; `shards` has a row per shard, `host_domains` a registered domain per host, and
`kinds` and `assurances` the order of their names. What the columns mean: docs/audit.md.

Every table is in an order that leaves nothing open, so that the same samples give the same bytes.
"""

from collections.abc import Mapping
from typing import Final

STEPS: Final[Mapping[str, str]] = {
    "addresses": """
        SELECT key, min(host) AS host, count(*) AS n_samples, count(kind) AS n_opted_out
        FROM samples WHERE key IS NOT NULL GROUP BY key
    """,
    "host_counts": """
        SELECT host, count(*) AS n_urls, sum(n_samples)::BIGINT AS n_samples, sum(n_opted_out)::BIGINT AS n_opted_out
        FROM addresses GROUP BY host
    """,
}
"""Made first, for those below; not kept."""

OTHER_STEPS: Final[Mapping[str, str]] = {
    "other_addresses": """
        SELECT key, min(host) AS host, count(kind) AS n_opted_out
        FROM other_samples WHERE key IS NOT NULL GROUP BY key
    """,
    "matched": """
        SELECT coalesce(new.host, old.host) AS host, old.key IS NULL AS is_added, new.key IS NULL AS is_removed,
            coalesce(new.n_opted_out, old.n_opted_out) > 0 AS is_opted_out
        FROM addresses new FULL JOIN other_addresses old ON new.key = old.key
    """,
}

TABLES: Final[Mapping[str, str]] = {
    "shards": "SELECT * FROM shards ORDER BY shard",
    "domains": """
        SELECT domain, count(*) AS n_hosts, sum(n_urls)::BIGINT AS n_urls, sum(n_samples)::BIGINT AS n_samples,
            sum(n_opted_out)::BIGINT AS n_opted_out, sum(n_opted_out) / sum(n_samples) AS rate
        FROM host_counts JOIN host_domains USING (host) GROUP BY domain ORDER BY n_samples DESC, domain
    """,
    "hosts": """
        SELECT host, domain, n_urls, n_samples, n_opted_out, n_opted_out / n_samples AS rate
        FROM host_counts JOIN host_domains USING (host) ORDER BY n_samples DESC, host
    """,
    "opt_outs": """
        SELECT kind, assurance, count(*) AS n_samples, count(*) / (SELECT count(*) FROM samples) AS share
        FROM samples WHERE kind IS NOT NULL GROUP BY kind, assurance
        ORDER BY list_position((SELECT names FROM kinds), kind),
            list_position((SELECT names FROM assurances), assurance)
    """,
    "since": """
        SELECT date_trunc('month', since)::DATE AS month, assurance, count(*) AS n_samples
        FROM samples WHERE kind IS NOT NULL GROUP BY month, assurance
        ORDER BY month, list_position((SELECT names FROM assurances), assurance)
    """,
    "scripts": """
        SELECT script, count(*) AS n_samples, count(kind) AS n_opted_out, count(kind) / count(*) AS rate
        FROM samples GROUP BY script ORDER BY n_samples DESC, script NULLS LAST
    """,
    "languages": """
        SELECT language, count(*) AS n_samples, count(kind) AS n_opted_out, count(kind) / count(*) AS rate
        FROM samples GROUP BY language ORDER BY n_samples DESC, language NULLS LAST
    """,
    "sizes": """
        SELECT CASE WHEN shorter < 64 THEN 1
                WHEN shorter >= 64 THEN 64 * pow(2, least(floor(log2(shorter / 64)), 6))::INTEGER END AS shorter_from,
            count(*) AS n_samples, count(kind) AS n_opted_out, count(kind) / count(*) AS rate
        FROM (
            SELECT CASE WHEN width IS NOT NULL AND height IS NOT NULL THEN least(width, height) END AS shorter, kind
            FROM samples
        )
        GROUP BY shorter_from ORDER BY shorter_from NULLS LAST
    """,
    "statuses": """
        SELECT status, count(*) AS n_samples, count(kind) AS n_opted_out, count(kind) / count(*) AS rate
        FROM samples GROUP BY status ORDER BY n_samples DESC, status NULLS LAST
    """,
    "signals": """
        SELECT signal, count(*) AS n_samples, count(kind) AS n_opted_out, count(kind) / count(*) AS rate
        FROM (SELECT unnest(list_distinct(signals)) AS signal, kind FROM samples)
        GROUP BY signal ORDER BY n_samples DESC, signal
    """,
    "copies": """
        SELECT n_samples AS n_copies, count(*) AS n_urls, sum(n_samples)::BIGINT AS n_samples,
            sum(n_opted_out)::BIGINT AS n_opted_out
        FROM addresses GROUP BY n_copies ORDER BY n_copies
    """,
    "repeated": """
        SELECT printf('%016x', key) AS key, host, n_samples, n_opted_out
        FROM addresses WHERE n_samples > 1 ORDER BY n_samples DESC, key
    """,
}

OTHER_TABLES: Final[Mapping[str, str]] = {
    "changes": """
        SELECT domain, count(*) FILTER (is_added) AS n_added, count(*) FILTER (is_removed) AS n_removed,
            count(*) FILTER (NOT is_added AND NOT is_removed) AS n_kept,
            count(*) FILTER (is_added AND is_opted_out) AS n_added_opted_out,
            count(*) FILTER (is_removed AND is_opted_out) AS n_removed_opted_out,
            count(*) FILTER (NOT is_added AND NOT is_removed AND is_opted_out) AS n_kept_opted_out
        FROM matched JOIN host_domains USING (host) GROUP BY domain
        ORDER BY n_added + n_removed DESC, n_kept DESC, domain
    """,
    "added_opted_out": """
        SELECT shards.name AS shard, row, printf('%016x', samples.key) AS key, samples.host, domain, kind, assurance,
            since
        FROM samples ANTI JOIN other_addresses USING (key) JOIN shards ON shards.shard = samples.shard
            JOIN host_domains ON host_domains.host = samples.host
        WHERE kind IS NOT NULL AND samples.key IS NOT NULL ORDER BY shards.shard, row
    """,
}
"""Besides, where another version is compared."""

TOTALS: Final = """
    SELECT count(*) AS n_samples, count(kind) AS n_opted_out, count(key) AS n_with_url,
        count(DISTINCT language) AS n_languages, count(script) AS n_with_caption, count(signals) AS n_with_signals,
        count(*) FILTER (len(signals) > 0) AS n_signalling,
        count(*) FILTER (len(signals) > 0 AND kind IS NULL) AS n_signalling_not_opted_out,
        count(*) FILTER (width IS NOT NULL AND height IS NOT NULL) AS n_with_size,
        count(DISTINCT status) AS n_statuses
    FROM samples
"""
"""One row."""
