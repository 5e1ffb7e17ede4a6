"""Receipts and tlog-proofs: what verifies, and that no change does."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heldout.checkpoint import Checkpoint, Signer, sign_checkpoint
from heldout.errors import InputError, VerificationError
from heldout.leaves import Leaf, ListLeaf, OptOutLeaf, UrlDigest, WithdrawLeaf, format_leaf
from heldout.merkle import inclusion_proof, leaf_hash, root_of
from heldout.receipts import (
    Receipt,
    ReceiptEntry,
    TlogProof,
    format_tlog_proof,
    parse_tlog_proof,
    receipt_from_json,
    receipt_to_json,
    verify_receipt,
    verify_tlog_proof,
)

AT = datetime(2026, 11, 22, 1, 2, 3, tzinfo=UTC)
SIGNER = Signer("registry.example/log", b"\x07" * 32)
VKEY = SIGNER.verifier.vkey


def opt_out(claim: str, part: int, n_parts: int) -> OptOutLeaf:
    return OptOutLeaf(AT, claim, "declared", "train-ai=n", (UrlDigest(bytes([part]) * 32),), part, n_parts)


LOG: list[Leaf] = [
    opt_out("claim0000", 1, 1),
    opt_out("claim0001", 1, 2),
    opt_out("claim0001", 2, 2),
    ListLeaf(AT, 1, b"\x01" * 32),
    WithdrawLeaf(AT, "claim0001", "by-claimant"),
]
ENTRIES = [format_leaf(leaf) for leaf in LOG]
HASHES = [leaf_hash(entry) for entry in ENTRIES]
NOTE = sign_checkpoint(Checkpoint(SIGNER.name, len(HASHES), root_of(HASHES)), SIGNER)


def receipt(claim: str, *indices: int) -> Receipt:
    entries = tuple(ReceiptEntry(i, ENTRIES[i], tuple(inclusion_proof(HASHES, i))) for i in indices)
    return Receipt(claim, NOTE, entries)


WHOLE = receipt("claim0001", 1, 2, 4)


def test_a_receipt_gives_the_leaves_it_proves() -> None:
    assert verify_receipt(WHOLE, VKEY) == [LOG[1], LOG[2], LOG[4]]
    assert verify_receipt(receipt("claim0000", 0), VKEY) == [LOG[0]]


def test_a_receipt_survives_json_in_any_layout() -> None:
    text = json.dumps(receipt_to_json(WHOLE), indent=3)
    assert receipt_from_json(json.loads(text)) == WHOLE
    assert verify_receipt(json.loads(text), VKEY) == [LOG[1], LOG[2], LOG[4]]


def test_a_receipt_is_refused_under_another_key() -> None:
    with pytest.raises(VerificationError, match="not signed by"):
        verify_receipt(WHOLE, Signer(SIGNER.name, b"\x08" * 32).verifier.vkey)
    with pytest.raises(InputError):
        verify_receipt(WHOLE, "no key")


@pytest.mark.parametrize(
    "incomplete",
    [
        receipt("claim0001", 1),
        receipt("claim0001", 2),
        receipt("claim0001", 2, 1),
        receipt("claim0001", 1, 2, 2),
        receipt("claim0001", 4),
        receipt("claim0001", 1, 4, 2),
        receipt("claim0001", 1, 2, 4, 4),
        receipt("claim0001", 1, 2, 3),
        receipt("claim0001"),
        receipt("claim0000", 1, 2),
        receipt("claim0000", 0, 4),
    ],
)
def test_a_receipt_that_lacks_or_mixes_entries_is_refused(incomplete: Receipt) -> None:
    with pytest.raises(VerificationError, match="receipt"):
        verify_receipt(incomplete, VKEY)


@given(st.data())
def test_a_changed_receipt_is_refused(data: st.DataObject) -> None:
    which = data.draw(st.integers(0, 2))
    entry = WHOLE.entries[which]
    changed = data.draw(
        st.sampled_from(
            [
                replace(entry, index=entry.index ^ 1),
                replace(entry, leaf=entry.leaf.replace(b"n", b"y", 1)),
                replace(entry, proof=entry.proof[1:]),
                replace(entry, proof=(*entry.proof, b"\0" * 32)),
                replace(entry, proof=(bytes(32), *entry.proof[1:])),
            ]
        )
    )
    entries = (*WHOLE.entries[:which], changed, *WHOLE.entries[which + 1 :])
    with pytest.raises(VerificationError):
        verify_receipt(replace(WHOLE, entries=entries), VKEY)


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        {"format": "heldout-receipt/2", "claim": "a", "checkpoint": "b", "entries": []},
        {"format": "heldout-receipt/1", "claim": 1, "checkpoint": "b", "entries": []},
        receipt_to_json(WHOLE) | {"entries": [{"index": 1}]},
        receipt_to_json(WHOLE) | {"entries": [{"index": True, "leaf": "", "proof": []}]},
        receipt_to_json(WHOLE) | {"entries": [{"index": 1, "leaf": "", "proof": [1]}]},
        receipt_to_json(WHOLE) | {"entries": [{"index": 1, "leaf": "", "proof": ["AAAA"]}]},
        receipt_to_json(WHOLE) | {"entries": [{"index": 1, "leaf": "=", "proof": []}]},
    ],
)
def test_what_is_not_a_receipt_is_refused(value: object) -> None:
    with pytest.raises(VerificationError):
        verify_receipt(value, VKEY)


@given(
    st.integers(0, 2**63), st.lists(st.binary(min_size=32, max_size=32), max_size=5), st.none() | st.binary(max_size=40)
)
def test_parsing_a_formatted_tlog_proof_gives_it_back(index: int, nodes: list[bytes], extra: bytes | None) -> None:
    proof = TlogProof(index, tuple(nodes), NOTE, extra)
    assert parse_tlog_proof(format_tlog_proof(proof).encode()) == proof


def test_a_tlog_proof_is_laid_out_as_specified() -> None:
    text = format_tlog_proof(TlogProof(3, tuple(inclusion_proof(HASHES, 3)), NOTE, b"more"))
    lines = text.split("\n")
    assert lines[:3] == ["c2sp.org/tlog-proof@v1", "extra bW9yZQ==", "index 3"]
    assert lines[3 + len(inclusion_proof(HASHES, 3))] == ""
    assert text.endswith("\n\n" + NOTE)


def test_a_tlog_proof_proves_its_entry_and_no_other() -> None:
    proof = TlogProof(3, tuple(inclusion_proof(HASHES, 3)), NOTE)
    assert verify_tlog_proof(proof, ENTRIES[3], SIGNER.verifier).size == 5
    with pytest.raises(VerificationError):
        verify_tlog_proof(proof, ENTRIES[2], SIGNER.verifier)
    with pytest.raises(VerificationError):
        verify_tlog_proof(replace(proof, index=2), ENTRIES[3], SIGNER.verifier)
    with pytest.raises(VerificationError):
        verify_tlog_proof(replace(proof, checkpoint=NOTE.replace("\n5\n", "\n6\n")), ENTRIES[3], SIGNER.verifier)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "c2sp.org/tlog-proof@v2\nindex 0\n\n" + NOTE,
        "c2sp.org/tlog-proof@v1\n\n" + NOTE,
        "c2sp.org/tlog-proof@v1\nindex 00\n\n" + NOTE,
        "c2sp.org/tlog-proof@v1\nindex -1\n\n" + NOTE,
        "c2sp.org/tlog-proof@v1\nextra AA==\n\n" + NOTE,
        "c2sp.org/tlog-proof@v1\nindex 0\nAAAA\n\n" + NOTE,
        "c2sp.org/tlog-proof@v1\nindex 0\n",
    ],
)
def test_what_is_not_a_tlog_proof_is_refused(text: str) -> None:
    with pytest.raises(VerificationError):
        parse_tlog_proof(text)


def test_a_tlog_proof_that_is_not_text_is_refused() -> None:
    with pytest.raises(VerificationError, match="UTF-8"):
        parse_tlog_proof(b"\xff")
