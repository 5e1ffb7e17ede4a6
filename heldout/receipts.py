"""Proofs a person keeps: a claimant's receipt (JSON), the C2SP tlog-proof file. Checked offline with the log's key.

A receipt holds every log entry about one claim, each with its inclusion proof, under one checkpoint.
Formats: docs/formats/log.md; https://c2sp.org/tlog-proof.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from heldout.checkpoint import Checkpoint, Verifier, from_base64, open_checkpoint, to_base64
from heldout.errors import VerificationError
from heldout.leaves import Leaf, ListLeaf, OptOutLeaf, canonical_json, parse_leaf
from heldout.merkle import HASH_SIZE, leaf_hash, verify_inclusion
from heldout.replay import replay

RECEIPT_FORMAT = "heldout-receipt/1"
PROOF_HEADER = "c2sp.org/tlog-proof@v1"
_INDEX = re.compile(r"index (0|[1-9][0-9]{0,19})", re.ASCII)


@dataclass(frozen=True)
class ReceiptEntry:
    """One log entry, where it is, and its inclusion proof."""

    index: int
    leaf: bytes
    proof: tuple[bytes, ...]


@dataclass(frozen=True)
class Receipt:
    """Every log entry about one claim, under one checkpoint."""

    claim: str
    checkpoint: str
    """The signed note."""
    entries: tuple[ReceiptEntry, ...]


@dataclass(frozen=True)
class TlogProof:
    """A C2SP tlog-proof: one entry's index and inclusion proof, with the checkpoint."""

    index: int
    proof: tuple[bytes, ...]
    checkpoint: str
    """The signed note, verbatim."""
    extra: bytes | None = None
    """Not authenticated."""


def receipt_to_json(receipt: Receipt) -> dict[str, Any]:
    """The receipt as the API returns it; `json.dumps` it in any layout."""
    members: dict[str, Any] = {
        "format": RECEIPT_FORMAT,
        "claim": receipt.claim,
        "checkpoint": receipt.checkpoint,
        "entries": [
            {"index": entry.index, "leaf": to_base64(entry.leaf), "proof": [to_base64(node) for node in entry.proof]}
            for entry in receipt.entries
        ],
    }
    return members | {"sha256": _members_sha256(members)}


def receipt_from_json(value: object) -> Receipt:
    """Inverse of `receipt_to_json`.

    Raises:
        VerificationError: not a receipt of this format.
    """
    match value:
        case {
            "format": "heldout-receipt/1",
            "claim": str(claim),
            "checkpoint": str(note),
            "entries": list(entries),
            **rest,
        }:
            _check_undamaged(value, rest)
            return Receipt(claim, note, tuple(_entry_from_json(entry) for entry in entries))
    raise VerificationError(f"this is not a {RECEIPT_FORMAT}: give the receipt's JSON file, unchanged")


def verify_receipt(receipt: object, vkey: str) -> list[Leaf]:
    """Leaves of a claim's entries, proved to be in the log that this key signs.

    Args:
        receipt: the parsed JSON (dict), or a `Receipt`.
        vkey: the log's verifier key, got from somewhere other than the receipt.

    Returns:
        The claim's opt-out parts in order, then what happened to it. `heldout.replay.replay` says what they amount to.

    Raises:
        InputError: the key is not a verifier key.
        VerificationError: malformed, wrong signature or proof, of another claim, or a part of the claim is missing.
    """
    verifier = Verifier.parse(vkey)
    parsed = receipt if isinstance(receipt, Receipt) else receipt_from_json(receipt)
    checkpoint = open_checkpoint(parsed.checkpoint, verifier)
    if any(one.index >= other.index for one, other in pairwise(parsed.entries)):
        raise VerificationError(
            f"the receipt of claim {parsed.claim!r:.80} has its entries out of the log's order or twice: get it again"
        )
    leaves: list[Leaf] = []
    for entry in parsed.entries:
        verify_inclusion(leaf_hash(entry.leaf), entry.index, checkpoint.size, entry.proof, checkpoint.root)
        leaves.append(parse_leaf(entry.leaf))
    _check_whole(parsed.claim, leaves)
    return leaves


def format_tlog_proof(proof: TlogProof) -> str:
    """Text of a tlog-proof file."""
    extra = [] if proof.extra is None else [f"extra {to_base64(proof.extra)}"]
    nodes = [to_base64(node) for node in proof.proof]
    return "\n".join([PROOF_HEADER, *extra, f"index {proof.index}", *nodes, "", proof.checkpoint])


def parse_tlog_proof(data: bytes | str) -> TlogProof:
    """Inverse of `format_tlog_proof`.

    Raises:
        VerificationError: not a tlog-proof.
    """
    try:
        text = data if isinstance(data, str) else data.decode()
    except UnicodeDecodeError as error:
        raise VerificationError("the tlog-proof is not UTF-8: it is damaged") from error
    head, separator, checkpoint = text.partition("\n\n")
    lines = head.split("\n")
    if not separator or lines.pop(0) != PROOF_HEADER or not lines:
        raise VerificationError(f"the file does not begin as a tlog-proof ({PROOF_HEADER}): give the .tlog-proof file")
    extra = from_base64(lines.pop(0).removeprefix("extra ")) if lines[0].startswith("extra ") else None
    index = _INDEX.fullmatch(lines.pop(0)) if lines else None
    if not index:
        raise VerificationError("the tlog-proof has no index line: it is damaged")
    return TlogProof(int(index[1]), tuple(_node(line) for line in lines), checkpoint, extra)


def verify_tlog_proof(proof: TlogProof, leaf: bytes, verifier: Verifier) -> Checkpoint:
    """Check that this entry is in the log that this key signs; the checkpoint that says so.

    Raises:
        VerificationError: wrong signature, origin or proof.
    """
    checkpoint = open_checkpoint(proof.checkpoint, verifier)
    verify_inclusion(leaf_hash(leaf), proof.index, checkpoint.size, proof.proof, checkpoint.root)
    return checkpoint


def _check_undamaged(value: Any, rest: Any) -> None:  # noqa: ANN401 - what a JSON parser gave
    """Nothing more in it, and its digest, if it has one, is right.

    The digest proves nothing. It shows damage where no proof reaches: in a cosignature whose key the reader lacks.
    """
    if set(rest) - {"sha256"}:
        raise VerificationError(f"the receipt has a member {min(rest)!r:.40} that it should not have: it was changed")
    members = {name: member for name, member in value.items() if name != "sha256"}
    if rest and rest["sha256"] != _members_sha256(members):
        raise VerificationError("the receipt is not what its digest says: it is damaged, get it again")


def _members_sha256(members: dict[str, Any]) -> str:
    try:
        return hashlib.sha256(canonical_json(members)).hexdigest()
    except (ValueError, RecursionError) as error:  # a lone surrogate, a number that is none
        raise VerificationError(f"the receipt holds what JSON should not ({error}): it is damaged") from error


def _entry_from_json(value: object) -> ReceiptEntry:
    match value:
        case {"index": int(index), "leaf": str(leaf), "proof": list(proof)} if type(index) is int and _fits(index):
            return ReceiptEntry(index, from_base64(leaf), tuple(_node(node) for node in proof))
    raise VerificationError("an entry of the receipt lacks its index, leaf or proof: the receipt is damaged")


def _fits(index: int) -> bool:
    return index.bit_length() <= 64  # a larger one may be too long to print


def _node(text: object) -> bytes:
    if not isinstance(text, str):
        raise VerificationError("a hash of the proof is not text: the file is damaged")
    data = from_base64(text)
    if len(data) != HASH_SIZE:
        raise VerificationError(
            f"a hash of the proof has {len(data)} bytes instead of {HASH_SIZE}: the file is damaged"
        )
    return data


def _check_whole(claim: str, leaves: Sequence[Leaf]) -> None:
    """The entries are parts 1 to n of this one claim, then what happened to it, in an order that can be."""
    opt_outs = [leaf for leaf in leaves if isinstance(leaf, OptOutLeaf)]
    if list(leaves[: len(opt_outs)]) != opt_outs or not opt_outs:
        raise VerificationError(
            f"the receipt of claim {claim!r:.80} does not hold its opt-out entries in order: get it again"
        )
    n_parts = opt_outs[0].n_parts
    if [(leaf.part, leaf.n_parts) for leaf in opt_outs] != [(i, n_parts) for i in range(1, n_parts + 1)]:
        raise VerificationError(f"the receipt of claim {claim!r:.80} lacks some of its {n_parts} parts: get it again")
    if any(isinstance(leaf, ListLeaf) or leaf.claim != claim for leaf in leaves):
        raise VerificationError(
            f"the receipt names claim {claim!r:.80}, its entries another: it was put together wrongly"
        )
    try:
        replay(leaves)
    except VerificationError as error:
        raise VerificationError(f"the receipt of claim {claim!r:.80} lacks an entry ({error}): get it again") from error
