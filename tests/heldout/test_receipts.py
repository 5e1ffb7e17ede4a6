"""Receipts and tlog-proofs: what verifies, and that no change does."""

import json
import sys
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from heldout.checkpoint import Checkpoint, Signer, sign_checkpoint, to_base64
from heldout.errors import InputError, VerificationError
from heldout.leaves import Leaf, ListLeaf, OptOutLeaf, StateLeaf, UrlDigest, WithdrawLeaf, format_leaf
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
from tests.heldout.cosigning import Witness

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
    opt_out("claim0002", 1, 1),
    StateLeaf(AT, "claim0002", "disputed", "counter-claim"),
    StateLeaf(AT, "claim0002", "in_force", "dispute-refused"),
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


def test_a_receipt_that_tells_the_log_in_another_order_is_refused() -> None:
    """Each entry is proved, and one can follow the other: but a dispute that was refused would seem open again."""
    assert verify_receipt(receipt("claim0002", 5, 6, 7), VKEY) == LOG[5:]
    with pytest.raises(VerificationError, match="out of the log's order or twice"):
        verify_receipt(receipt("claim0002", 5, 6, 7, 6), VKEY)


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


TEXT = st.text(st.characters() | st.characters(categories=["Cs"]), max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
"""Anything a JSON parser gives, lone surrogates and numbers that are none included."""
SHAPED = st.fixed_dictionaries(
    {
        "format": st.just("heldout-receipt/1"),
        "claim": TEXT | JSON,
        "checkpoint": st.just(NOTE) | TEXT | JSON,
        "entries": st.lists(
            st.fixed_dictionaries(
                {
                    "index": st.integers() | JSON,
                    "leaf": st.binary().map(to_base64) | JSON.map(lambda value: to_base64(json.dumps(value).encode())),
                    "proof": st.lists(st.binary(min_size=32, max_size=32).map(to_base64) | JSON, max_size=4) | JSON,
                }
            ),
            max_size=3,
        )
        | JSON,
    }
)
PLACES: list[tuple[str | int, ...]] = [
    ("claim",),
    ("checkpoint",),
    ("entries",),
    ("entries", 1),
    ("entries", 1, "index"),
    ("entries", 1, "leaf"),
    ("entries", 1, "proof"),
    ("entries", 1, "proof", 0),
]


@given(JSON | SHAPED)
def test_any_json_as_a_receipt_is_refused_in_order(value: object) -> None:
    with pytest.raises(VerificationError):
        verify_receipt(value, VKEY)


@given(st.sampled_from(PLACES), JSON | TEXT)
def test_a_receipt_with_any_json_in_one_place_is_refused_in_order(place: tuple[str | int, ...], value: object) -> None:
    made: Any = receipt_to_json(WHOLE)
    inner = made
    for step in place[:-1]:
        inner = inner[step]
    assume(inner[place[-1]] != value)
    inner[place[-1]] = value
    with pytest.raises(VerificationError):
        verify_receipt(made, VKEY)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("checkpoint", "\ud800"),
        ("checkpoint", NOTE.replace("registry", "\udcff")),
        ("claim", "\ud800" * 100_000),
        ("entries", [{"index": 10**5000, "leaf": to_base64(ENTRIES[1]), "proof": []}]),
        ("entries", [{"index": -1, "leaf": to_base64(ENTRIES[1]), "proof": []}]),
    ],
    ids=["surrogate", "surrogate inside a note", "endless claim", "huge index", "negative index"],
)
def test_a_hostile_receipt_is_refused_in_few_words(place: str, value: object) -> None:
    with pytest.raises(VerificationError) as refused:
        verify_receipt(receipt_to_json(WHOLE) | {place: value}, VKEY)
    assert len(str(refused.value)) < 400


def test_an_entry_nested_too_deep_to_print_is_refused() -> None:
    """An entry of a log gone bad: its proof is right, so that it is parsed."""
    for depth in (*range(sys.getrecursionlimit() - 200, sys.getrecursionlimit(), 3), 20_000):
        for entry in (b"[" * depth + b"]" * depth, b'{"type":"list","v":' + b"[" * depth + b"]" * depth + b"}"):
            note = sign_checkpoint(Checkpoint(SIGNER.name, 1, leaf_hash(entry)), SIGNER)
            with pytest.raises(VerificationError):
                verify_receipt(Receipt("claim0000", note, (ReceiptEntry(0, entry, ()),)), VKEY)


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
    assert verify_tlog_proof(proof, ENTRIES[3], SIGNER.verifier).size == len(LOG)
    with pytest.raises(VerificationError):
        verify_tlog_proof(proof, ENTRIES[2], SIGNER.verifier)
    with pytest.raises(VerificationError):
        verify_tlog_proof(replace(proof, index=2), ENTRIES[3], SIGNER.verifier)
    other = NOTE.replace(f"\n{len(LOG)}\n", "\n6\n")
    with pytest.raises(VerificationError):
        verify_tlog_proof(replace(proof, checkpoint=other), ENTRIES[3], SIGNER.verifier)


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


@pytest.mark.parametrize("with_digest", [True, False])
def test_flipping_any_bit_of_a_receipts_file_makes_it_fail(with_digest: bool) -> None:
    """Every bit of every byte of the file as the API gives it, with the public key alone; the digest is no help."""
    made = receipt_to_json(WHOLE)
    if not with_digest:
        del made["sha256"]
    data = json.dumps(made, separators=(",", ":"), ensure_ascii=False).encode()
    assert verify_receipt(json.loads(data), VKEY)
    survivors = []
    for position in range(len(data)):
        for bit in range(8):
            changed = bytearray(data)
            changed[position] ^= 1 << bit
            try:
                verify_receipt(json.loads(bytes(changed)), VKEY)
            except (VerificationError, ValueError):
                continue
            survivors.append((position, bit))
    assert survivors == []


COSIGNED = replace(WHOLE, checkpoint=NOTE + Witness("w.example", b"\x02" * 32).cosign(NOTE, 1_790_000_000))


@given(st.data())
def test_changing_any_byte_of_a_cosigned_receipt_makes_it_fail_though_the_witness_is_unknown(
    data: st.DataObject,
) -> None:
    text = json.dumps(receipt_to_json(COSIGNED), separators=(",", ":"), ensure_ascii=False).encode()
    assert verify_receipt(json.loads(text), VKEY)
    position = data.draw(st.integers(0, len(text) - 1))
    changed = bytearray(text)
    changed[position] ^= data.draw(st.integers(1, 255))
    with pytest.raises((VerificationError, ValueError)):
        verify_receipt(json.loads(bytes(changed)), VKEY)


def test_a_receipt_from_before_digests_still_verifies() -> None:
    made = receipt_to_json(WHOLE)
    del made["sha256"]
    assert verify_receipt(made, VKEY) == [LOG[1], LOG[2], LOG[4]]


@pytest.mark.parametrize("more", [{"note": "mine"}, {"sha256": None}, {"sha256": "0" * 64}, {"sha256": []}])
def test_a_receipt_with_another_member_or_digest_is_refused(more: dict[str, object]) -> None:
    with pytest.raises(VerificationError):
        verify_receipt(receipt_to_json(WHOLE) | more, VKEY)
