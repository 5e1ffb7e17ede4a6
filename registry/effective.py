"""The log's claims as rows of what counts, kept from one publication to the next.

Publishing a million opt-outs by reading a million entries takes a minute and gigabytes, each time. A claim's rows
follow from its own entries alone, so after new entries only the claims they are about are replayed, and their rows
replaced. What is kept is a file that may go at any time: it is used only if it was made by this very code, for the
beginning of this very log.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from itertools import islice
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

import heldout.leaves
import heldout.records
import heldout.replay
import heldout.states
from heldout.durable import replacing
from heldout.errors import VerificationError
from heldout.leaves import (
    PREFERENCES,
    HostRule,
    ImageDigest,
    Leaf,
    ListLeaf,
    OptOutLeaf,
    PrefixRule,
    UrlDigest,
    format_at,
    kind_of,
    parse_at,
    parse_leaf,
)
from heldout.merkle import EMPTY_ROOT, leaf_hash
from heldout.records import ASSURANCES
from heldout.replay import LoggedClaim, replay
from heldout.tiles import TileReader, TreeGrower
from registry import standings
from registry.standings import CODES, SCHEMA

ENTRIES_AT_ONCE: Final = 20_000
"""Entries that are held as objects at a time: some 50 MB."""

_EPOCH = date(1970, 1, 1).toordinal()
_META = b"heldout"

History = Callable[[set[str], int], Iterable[tuple[int, bytes]]]
"""(claims, n) -> index and payload of every entry about them among the log's first n, in order."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class EffectiveLog:
    """What the first `size` entries of a log amount to, as far as the list is concerned."""

    rows: pa.Table
    """Of `registry.standings.SCHEMA`, in no order."""
    size: int = 0
    root: bytes = EMPTY_ROOT
    as_of: datetime | None = None
    """The last entry's time."""
    last_list: int = 0
    """The newest list version that the log tells of."""

    @classmethod
    def empty(cls) -> "EffectiveLog":
        """Of a log without entries."""
        return cls(SCHEMA.empty_table())

    @classmethod
    def load(cls, path: Path) -> "EffectiveLog":
        """What was kept; the empty one if there is nothing, or it is damaged or of other code. Told in the log."""
        try:
            with pa.OSFile(str(path)) as file, pa.ipc.open_file(file) as reader:
                table = reader.read_all()
            meta = json.loads((table.schema.metadata or {})[_META])
            if meta["code"] != _code_digest() or not table.schema.equals(SCHEMA):
                return cls.empty()
            as_of = None if meta["as_of"] is None else parse_at(meta["as_of"])
            return cls(
                table.replace_schema_metadata(), meta["size"], bytes.fromhex(meta["root"]), as_of, meta["last_list"]
            )
        except FileNotFoundError:
            return cls.empty()
        except (OSError, pa.ArrowException, ValueError, KeyError, TypeError, VerificationError) as error:
            logger.warning("effective_log_dropped", extra={"reason": str(error)})
            return cls.empty()

    def save(self, path: Path) -> None:
        """Keep it, atomically. A disk that refuses is told in the log: the next run reads more, no worse."""
        meta = {
            "code": _code_digest(),
            "size": self.size,
            "root": self.root.hex(),
            "as_of": None if self.as_of is None else format_at(self.as_of),
            "last_list": self.last_list,
        }
        table = self.rows.replace_schema_metadata({_META: json.dumps(meta).encode()})
        try:
            with replacing(path) as file, pa.ipc.new_file(file, table.schema) as writer:
                writer.write_table(table)
        except OSError as error:
            logger.warning("effective_log_not_kept", extra={"reason": str(error)})

    def grown(self, entries: Iterable[bytes], tree: TileReader, history: History) -> "EffectiveLog":
        """What the log amounts to after these further entries.

        Args:
            entries: all those of the tree from `size` on.
            tree: of the log, at the size it will have.
            history: older entries about claims that something happened to.

        Raises:
            VerificationError: the entries are not the tree's, or make no history.
            ForeignLogError: this is not the beginning of that tree.
        """
        grower = TreeGrower.at(tree, min(self.size, tree.size))
        if grower.root() != self.root:
            logger.warning("effective_log_dropped", extra={"reason": "it is not the beginning of this log"})
            raise ForeignLogError
        result, iterator = self, iter(entries)
        parts = [self.rows]
        failure: VerificationError | None = None
        while payloads := list(islice(iterator, ENTRIES_AT_ONCE)):
            for payload in payloads:
                grower.add(leaf_hash(payload))
            if failure is None:
                try:
                    result, parts = result._grown_once(list(map(parse_leaf, payloads)), parts, tree, history)
                except VerificationError as error:  # most likely because they are not the log's: see below
                    failure = error
        if grower.size != tree.size or grower.root() != tree.root():
            raise VerificationError(
                "the database's events are not the log's entries: one of them was edited"
            ) from failure
        if failure is not None:
            raise failure
        return replace(result, rows=pa.concat_tables(parts).combine_chunks(), root=grower.root())

    def _grown_once(
        self, leaves: list[Leaf], parts: list[pa.Table], tree: TileReader, history: History
    ) -> tuple["EffectiveLog", list[pa.Table]]:
        """After some entries, of which `parts` has no rows yet."""
        begun = {leaf.claim for leaf in leaves if isinstance(leaf, OptOutLeaf) and leaf.part == 1}
        old = {leaf.claim for leaf in leaves if not isinstance(leaf, ListLeaf)} - begun
        before = list(_checked(history(old, self.size), tree)) if old else []
        state = replay([*before, *leaves])
        versions = [leaf.version for leaf in leaves if isinstance(leaf, ListLeaf)]
        if versions and min(versions) <= self.last_list:
            raise VerificationError(f"the log holds list version {min(versions)} twice: it is damaged")
        if old:
            known = pa.array(sorted(old), pa.string())
            parts = [part.filter(pc.invert(pc.is_in(part["claim"], value_set=known))) for part in parts]
        grown = replace(
            self,
            size=self.size + len(leaves),
            as_of=leaves[-1].at,
            last_list=max([self.last_list, *versions]),
        )
        return grown, [*parts, effective_rows(state.claims)]


class ForeignLogError(Exception):
    """What was kept is of another log, or of one that was rewritten: start from the empty one."""


def effective_rows(claims: Mapping[str, LoggedClaim]) -> pa.Table:
    """The rows of these claims, of `registry.standings.SCHEMA`."""
    columns: dict[str, list[object]] = {name: [] for name in SCHEMA.names}
    for claim_id, claim in claims.items():
        preference = PREFERENCES.index(claim.preference)
        since = claim.received_at.date().toordinal() - _EPOCH
        for subject, assurance in claim.effective():
            what: tuple[bytes | None, str | None, bytes | None, int]
            match subject:
                case UrlDigest(key):
                    what = (key, None, None, 0)
                case ImageDigest(pdq, quality, sha256):
                    what = (pdq, None, sha256, quality)
                case PrefixRule(place) | HostRule(place):
                    what = (None, place, None, 0)
            row = (claim_id, CODES[kind_of(subject)], *what, preference, ASSURANCES.index(assurance), since)
            for column, value in zip(columns.values(), row, strict=True):
                column.append(value)
    return pa.table(columns, schema=SCHEMA)


def _checked(entries: Iterable[tuple[int, bytes]], tree: TileReader) -> Iterator[Leaf]:
    """Older entries, each held against the log."""
    for index, payload in entries:
        if leaf_hash(payload) != tree.leaf_hash(index):
            raise VerificationError(f"the database's event at {index} is not the log's entry: it was edited")
        yield parse_leaf(payload)


def _code_digest() -> str:
    """Of all the code that decides what the rows are."""
    digest = hashlib.sha256()
    for module in (heldout.leaves, heldout.records, heldout.replay, heldout.states, standings):
        digest.update(Path(module.__file__ or "").read_bytes())
    digest.update(Path(__file__).read_bytes())
    return digest.hexdigest()
