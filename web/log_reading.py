"""The log as its explorer reads it: from its own static files, as anybody could. No database."""

import json
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from heldout.checkpoint import Checkpoint, Verifier, open_checkpoint
from heldout.cosignatures import COSIGNATURE_ED25519
from heldout.errors import NotFoundError
from heldout.layout import CHECKPOINT_PATH, TILE_WIDTH, Tile, tile_width
from heldout.leaves import ListLeaf, parse_leaf
from heldout.merkle import leaf_hash
from heldout.receipts import parse_tlog_proof
from heldout.tiles import TileReader
from heldout.witnesses import WitnessPolicy
from registry.storage import FileStore
from registry.witnessing import POLICY_FILE
from web.log_contexts import WitnessLine

MAX_BUNDLES: Final = 20
"""Looked through for one page of entries: 5,120 entries. The next page goes on from there."""
MAX_LISTS: Final = 20
_KIND: Final = re.compile(rb'"type":"([a-z-]+)","v":[0-9]+(?:,"version":[0-9]+)?\}\Z')
"""How an entry ends: its members are sorted by name."""


@dataclass(frozen=True)
class EntryAt:
    """One entry where it is."""

    index: int
    data: bytes
    bundle: Tile
    proof: list[bytes]
    """Under the newest checkpoint, from the leaf's sibling up."""

    @property
    def place(self) -> int:
        """Its place in the bundle, from 1."""
        return self.index % TILE_WIDTH + 1

    @property
    def leaf_hash(self) -> bytes:
        """RFC 6962's."""
        return leaf_hash(self.data)


@dataclass(frozen=True)
class PublishedList:
    """A version of the list, and the checkpoint that its proof has."""

    index: int
    leaf: ListLeaf
    note: str


class LogView:
    """The log under its newest checkpoint."""

    def __init__(self, state_dir: Path, vkey: str) -> None:
        """Read the checkpoint.

        Raises:
            NotFoundError: there is none yet.
            VerificationError: another key signed it.
        """
        self._state_dir = state_dir
        self._store = FileStore(state_dir / "public" / "log")
        try:
            self.note = self._store.read(CHECKPOINT_PATH).decode()
        except NotFoundError as error:
            raise NotFoundError(
                "nothing is in the log yet: its first checkpoint comes with the first opt-out"
            ) from error
        self.checkpoint: Checkpoint = open_checkpoint(self.note, Verifier.parse(vkey))

    @property
    def tree(self) -> TileReader:
        """The newest tree."""
        return self.tree_of(self.checkpoint.size)

    def tree_of(self, size: int) -> TileReader:
        """The tree of so many entries, which must be there."""
        return TileReader(self._store.read, size)

    def entry(self, index: int) -> EntryAt:
        """One entry and its proof.

        Raises:
            NotFoundError: the log has no such entry.
        """
        size = self.checkpoint.size
        if not 0 <= index < size:
            raise NotFoundError(f"the log has no entry {index}: its entries are 0 to {size - 1}")
        bundle, tree = index // TILE_WIDTH, self.tree
        data = tree.entries(bundle)[index % TILE_WIDTH]
        return EntryAt(index, data, Tile(None, bundle, tile_width(0, bundle, size)), tree.inclusion_proof(index))

    def before(
        self, end: int, kind: str, limit: int, *, max_bundles: int = MAX_BUNDLES
    ) -> tuple[list[tuple[int, bytes]], int]:
        """Entries before `end`, newest first, of one kind or of all; and where to go on, 0 at the log's beginning."""
        tree, found = self.tree, list[tuple[int, bytes]]()
        end = min(end, self.checkpoint.size)
        for _ in range(max_bundles):
            if end <= 0:
                break
            bundle = (end - 1) // TILE_WIDTH
            entries = tree.entries(bundle)
            for index in range(end - 1, bundle * TILE_WIDTH - 1, -1):
                end = index
                data = entries[index % TILE_WIDTH]
                if kind in {"", kind_of(data)}:
                    found.append((index, data))
                    if len(found) == limit:
                        return found, end
        return found, end

    def witnesses(self) -> list[WitnessLine]:
        """Who of the operator's witnesses cosigned the newest checkpoint, and when.

        Raises:
            VerificationError: one of their signatures is wrong.
        """
        policy = self._policy
        if policy is None:
            return []
        signed = policy.witnessed(self.note).cosignatures
        return [
            WitnessLine(name, witness.key.vkey, signed[name].at if name in signed else None)
            for name, witness in policy.witnesses.items()
        ]

    def witness_keys(self) -> list[str]:
        """Keys of the operator's witnesses, those that browsers can check with (Ed25519)."""
        policy = self._policy
        keys = [witness.key for witness in policy.witnesses.values()] if policy else []
        return [key.vkey for key in keys if key.kind == COSIGNATURE_ED25519]

    @cached_property
    def _policy(self) -> WitnessPolicy | None:
        path = self._state_dir / POLICY_FILE
        return WitnessPolicy.load(path) if path.exists() else None

    def lists(self) -> list[PublishedList]:
        """The versions of the list that are still published, newest first."""
        folder = self._state_dir / "public" / "list" / "targets"
        paths = sorted(folder.glob("*.manifest.tlog-proof"), key=lambda path: path.stat().st_mtime, reverse=True)
        found = []
        for path in paths[:MAX_LISTS]:
            proof = parse_tlog_proof(path.read_bytes())
            leaf = parse_leaf(proof.extra or b"")
            if isinstance(leaf, ListLeaf):
                found.append(PublishedList(proof.index, leaf, proof.checkpoint))
        return sorted(found, key=lambda each: each.leaf.version, reverse=True)


def kind_of(data: bytes) -> str:
    """The kind of an entry, without reading all of it."""
    match = _KIND.search(data)
    return match[1].decode() if match else str(json.loads(data).get("type"))
