"""RFC 6962 trees, against the Certificate Transparency reference tree and by properties."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heldout.errors import InputError, VerificationError
from heldout.merkle import (
    EMPTY_ROOT,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    node_hash,
    root_from_inclusion,
    root_of,
    split_point,
    verify_consistency,
    verify_inclusion,
)

# The reference tree of the Certificate Transparency project: its eight leaves, and the root at each size.
REFERENCE_LEAVES = [
    bytes.fromhex(leaf)
    for leaf in ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
]
REFERENCE_ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
LEAF_HASHES = [leaf_hash(leaf) for leaf in REFERENCE_LEAVES]


@st.composite
def trees(draw: st.DrawFn, *, min_size: int = 1) -> list[bytes]:
    n = draw(st.integers(min_size, 70))
    return [leaf_hash(bytes([i % 256, draw(st.integers(0, 255))])) for i in range(n)]


def naive_root(leaf_hashes: list[bytes]) -> bytes:
    """RFC 6962 §2.1 as it is written."""
    if not leaf_hashes:
        return EMPTY_ROOT
    if len(leaf_hashes) == 1:
        return leaf_hashes[0]
    k = max(1 << i for i in range(20) if 1 << i < len(leaf_hashes))
    return node_hash(naive_root(leaf_hashes[:k]), naive_root(leaf_hashes[k:]))


@pytest.mark.parametrize("size", range(9))
def test_reference_roots(size: int) -> None:
    assert root_of(LEAF_HASHES[:size]).hex() == REFERENCE_ROOTS[size]


@pytest.mark.parametrize(
    ("index", "size", "expected"),
    [
        (0, 1, []),
        (
            0,
            8,
            [
                "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
            ],
        ),
        (
            5,
            8,
            [
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
                "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            ],
        ),
        (2, 3, ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]),
    ],
)
def test_reference_inclusion_proofs(index: int, size: int, expected: list[str]) -> None:
    proof = inclusion_proof(LEAF_HASHES[:size], index)
    assert [node.hex() for node in proof] == expected
    verify_inclusion(LEAF_HASHES[index], index, size, proof, bytes.fromhex(REFERENCE_ROOTS[size]))


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (1, 1, []),
        (
            2,
            5,
            [
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            ],
        ),
        (
            6,
            8,
            [
                "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
                "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            ],
        ),
    ],
)
def test_reference_consistency_proofs(old: int, new: int, expected: list[str]) -> None:
    proof = consistency_proof(LEAF_HASHES[:new], old)
    assert [node.hex() for node in proof] == expected
    roots = [bytes.fromhex(root) for root in REFERENCE_ROOTS]
    verify_consistency(old, roots[old], new, roots[new], proof)


@given(trees(min_size=0))
def test_root_agrees_with_the_recursive_definition(leaf_hashes: list[bytes]) -> None:
    assert root_of(leaf_hashes) == naive_root(leaf_hashes)


@given(trees(), st.data())
def test_any_inclusion_proof_verifies_and_any_change_fails(leaf_hashes: list[bytes], data: st.DataObject) -> None:
    size = len(leaf_hashes)
    index = data.draw(st.integers(0, size - 1))
    root = root_of(leaf_hashes)
    proof = inclusion_proof(leaf_hashes, index)
    verify_inclusion(leaf_hashes[index], index, size, proof, root)

    parts = [leaf_hashes[index], root, *proof]
    which = data.draw(st.integers(0, len(parts) - 1))
    bit = data.draw(st.integers(0, 255))
    parts[which] = (int.from_bytes(parts[which], "big") ^ (1 << bit)).to_bytes(32, "big")
    with pytest.raises(VerificationError):
        verify_inclusion(parts[0], index, size, parts[2:], parts[1])
    for wrong in (proof[:-1] if proof else [root], [*proof, root]):
        with pytest.raises(VerificationError):
            verify_inclusion(leaf_hashes[index], index, size, wrong, root)


@given(trees(min_size=2), st.data())
def test_inclusion_proof_for_another_index_fails(leaf_hashes: list[bytes], data: st.DataObject) -> None:
    size = len(leaf_hashes)
    index, other = data.draw(st.permutations(range(size)))[:2]
    with pytest.raises(VerificationError):
        verify_inclusion(leaf_hashes[index], other, size, inclusion_proof(leaf_hashes, index), root_of(leaf_hashes))
    with pytest.raises(VerificationError):
        verify_inclusion(leaf_hashes[index], size, size, inclusion_proof(leaf_hashes, index), root_of(leaf_hashes))


@given(trees(), st.data())
def test_any_consistency_proof_verifies_and_any_change_fails(leaf_hashes: list[bytes], data: st.DataObject) -> None:
    new = len(leaf_hashes)
    old = data.draw(st.integers(0, new))
    old_root, new_root = root_of(leaf_hashes[:old]), root_of(leaf_hashes)
    proof = consistency_proof(leaf_hashes, old)
    verify_consistency(old, old_root, new, new_root, proof)

    parts = [old_root, new_root, *proof]
    which = data.draw(st.integers(0, len(parts) - 1) if old else st.just(0))  # from nothing, any new root will do
    bit = data.draw(st.integers(0, 255))
    parts[which] = (int.from_bytes(parts[which], "big") ^ (1 << bit)).to_bytes(32, "big")
    with pytest.raises(VerificationError):
        verify_consistency(old, parts[0], new, parts[1], parts[2:])
    for wrong in (proof[:-1] if proof else [new_root], [*proof, new_root]):
        with pytest.raises(VerificationError):
            verify_consistency(old, old_root, new, new_root, wrong)


@given(trees(min_size=2), st.data())
def test_a_rewritten_log_has_no_consistency_proof(leaf_hashes: list[bytes], data: st.DataObject) -> None:
    old = data.draw(st.integers(1, len(leaf_hashes) - 1))
    rewritten = [leaf_hash(b"another"), *leaf_hashes[1:]]
    with pytest.raises(VerificationError):
        verify_consistency(
            old, root_of(leaf_hashes[:old]), len(rewritten), root_of(rewritten), consistency_proof(rewritten, old)
        )


def test_an_empty_consistency_proof_is_refused_where_one_is_needed() -> None:
    with pytest.raises(VerificationError, match="is empty"):
        verify_consistency(3, root_of(LEAF_HASHES[:3]), 5, root_of(LEAF_HASHES[:5]), [])


def test_a_rolled_back_log_is_refused() -> None:
    with pytest.raises(VerificationError, match="rolled back"):
        verify_consistency(5, root_of(LEAF_HASHES[:5]), 4, root_of(LEAF_HASHES[:4]), [])


def test_two_logs_of_equal_size_must_be_equal() -> None:
    verify_consistency(3, root_of(LEAF_HASHES[:3]), 3, root_of(LEAF_HASHES[:3]), [])
    with pytest.raises(VerificationError, match="two different logs"):
        verify_consistency(3, root_of(LEAF_HASHES[:3]), 3, root_of(LEAF_HASHES[1:4]), [])


def test_hashes_of_the_wrong_length_are_refused() -> None:
    with pytest.raises(VerificationError, match="31 bytes"):
        root_from_inclusion(LEAF_HASHES[0], 0, 2, [b"x" * 31])


@pytest.mark.parametrize(("index", "size"), [(0, 0), (3, 3), (-1, 3)])
def test_no_proof_for_a_leaf_that_is_not_there(index: int, size: int) -> None:
    with pytest.raises(InputError, match="no leaf"):
        inclusion_proof(LEAF_HASHES[:size], index)


def test_no_consistency_proof_backwards() -> None:
    with pytest.raises(InputError, match="does not extend"):
        consistency_proof(LEAF_HASHES[:3], 4)


def test_split_points() -> None:
    assert [split_point(n) for n in range(2, 10)] == [1, 2, 2, 4, 4, 4, 4, 8]
