"""Asking a server without telling it what: by ranges of digests, and by the parts of the list that are fetched whole.

Addresses and files are asked for by the first digits of their digest, and compared here. Hosts and folders are names in
public files, which are fetched whole, as are fingerprints when copies of a picture are looked for: near fingerprints
share no prefix, so that nothing shorter would do. The answers are the server's own word; whoever wants proof pulls the
list. docs/online.md says what a server can still guess.
"""

import hashlib
from collections.abc import Iterable
from datetime import date
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from heldout.client import Client
from heldout.errors import InputError, UnavailableError
from heldout.exclusion import Rules
from heldout.list_tables import SCHEMAS, TableName, read_table, table_of
from heldout.lookup_records import (
    GRANTED,
    OPTED_OUT,
    ListRule,
    Lookup,
    LookupRequest,
    LookupResult,
    RangeFacts,
    RangeSpaceFacts,
    RuleKind,
)
from heldout.lookups import answers
from heldout.manifest import Manifest, parse_manifest
from heldout.records import ASSURANCES
from heldout.stored import check_canonicalisation
from heldout.urls import canonical_key, key_digest

MAX_FETCHED_BYTES: Final = 200_000_000
"""Of the files that are fetched whole. Beyond it, pulling the list is the better way."""
MAX_MANIFEST_BYTES: Final = 16_000_000
MAX_RANGE_BYTES: Final = 4_000_000

Line = tuple[int, date]
"""Code and day of a line that is no padding."""


def look_up_privately(server: Client, request: LookupRequest) -> LookupResult:
    """Answer by what the server cannot tell from other questions.

    Raises:
        InputError: an address that cannot be looked up; a list that is too large for this, or of newer rules.
        UnavailableError: the server does not answer, or not as a heldout server does.
    """
    digests = [key_digest(canonical_key(url)).hex()[:16] for url in request.urls]
    facts = server.range_facts()
    manifest = _manifest(server, facts)
    wanted: set[TableName] = set()
    if request.urls:
        wanted |= {"prefix", "host"}
    if request.pdq:
        wanted.add("image")
    tables = _fetch_tables(server, facts, manifest, wanted)
    excluding, granting = (
        Rules({name: table.filter(pc.equal(table["preference"], code)) for name, table in tables.items()})
        for code in (0, 1)
    )
    told = answers(excluding, granting, request)
    least = ASSURANCES.index(request.min_assurance)
    if request.urls:
        lines = _ask(server, facts.url, digests)
        told["urls"] = [
            _combined(lines.get(digest), "url", least, place)
            for digest, place in zip(digests, told["urls"], strict=True)
        ]
    if request.sha256:
        lines = _ask(server, facts.sha256, request.sha256)
        told["sha256"] = [_combined(lines.get(digest), "sha256", least, None) for digest in request.sha256]
    return LookupResult(exclusion_list=facts.exclusion_list, **told)


def _combined(line: Line | None, kind: RuleKind, least: int, otherwise: Lookup | None) -> Lookup:
    """What a line says, or else what is known otherwise."""
    known = otherwise or Lookup(is_opted_out=False)
    if line is None:
        return known
    code, since = line
    codes = GRANTED if code in GRANTED else OPTED_OUT
    if code - codes.start < least:
        return known
    if codes is GRANTED:
        return known.model_copy(update={"is_granted": True})
    rule = ListRule(kind=kind, assurance=ASSURANCES[code - codes.start], since=since)
    return Lookup(is_opted_out=True, rule=rule, is_granted=known.is_granted)


def _ask(server: Client, space: RangeSpaceFacts, digests: Iterable[str]) -> dict[str, Line]:
    """Lines of all ranges that these digests lie in, by whole digest. Each range is asked for once."""
    found: dict[str, Line] = {}
    for prefix in sorted({digest[: space.prefix_chars] for digest in digests}):
        where = f"{space.path}{prefix}"
        try:
            for line in server.read(where, MAX_RANGE_BYTES).decode("ascii").splitlines():
                suffix, code, day = line.split(":")
                if int(code, 16) in (*OPTED_OUT, *GRANTED):
                    found[prefix + suffix] = (int(code, 16), date.fromisoformat(day))
        except ValueError as error:
            raise UnavailableError(f"{where} did not answer as a heldout server does: check the address") from error
    return found


def _manifest(server: Client, facts: RangeFacts) -> Manifest:
    data = server.read(facts.manifest_path, MAX_MANIFEST_BYTES)
    _check_digest(data, facts.exclusion_list.manifest_sha256, facts.manifest_path)
    manifest = parse_manifest(data)
    check_canonicalisation(manifest)
    return manifest


def _fetch_tables(
    server: Client, facts: RangeFacts, manifest: Manifest, wanted: set[TableName]
) -> dict[TableName, pa.Table]:
    """The tables that are wanted; the others empty."""
    tables = {name: schema.empty_table() for name, schema in SCHEMAS.items()}
    files = {name: file for name, file in manifest.files.items() if table_of(name) in wanted}
    n_bytes = sum(file.size for file in files.values())
    if n_bytes > MAX_FETCHED_BYTES:
        raise InputError(
            f"asking privately would fetch {n_bytes:,} bytes each time: heldout pull the list, and give --list LIST"
        )
    for name, file in files.items():
        path = facts.files.get(name)
        if path is None:
            raise UnavailableError(f"the server does not say where {name} is: ask it again, or pull its list")
        data = server.read(path, file.size)
        _check_digest(data, file.sha256.hex(), path)
        tables[table_of(name)] = read_table(data, table_of(name), name)
    return tables


def _check_digest(data: bytes, sha256: str, path: str) -> None:
    if hashlib.sha256(data).hexdigest() != sha256:
        raise UnavailableError(f"{path} is not the file that the server named: ask again, or pull its list")
