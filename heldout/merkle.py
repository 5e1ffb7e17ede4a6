"""RFC 6962 Merkle trees: hashes, roots, inclusion and consistency proofs. Pure functions on bytes.

Making proofs follows RFC 6962 §2.1; checking them follows the iterative algorithms of RFC 9162 §2.1.3.2 and §2.1.4.2,
which describe the same tree. Proofs are made through a `subtree` callable, so that a caller holding tiles
(`heldout.tiles`) needs only the hashes on the path, and one holding every leaf hash passes those.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence

from heldout.errors import InputError, VerificationError

HASH_SIZE = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()

Subtree = Callable[[int, int], bytes]
"""(start, end) -> Merkle tree hash of the leaves [start, end); end > start."""


def leaf_hash(leaf: bytes) -> bytes:
    """Hash of one log entry: SHA-256(0x00 || entry)."""
    return hashlib.sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of an inner node: SHA-256(0x01 || left || right)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def split_point(n: int) -> int:
    """Largest power of two smaller than n (n >= 2): where RFC 6962 splits n leaves."""
    return 1 << ((n - 1).bit_length() - 1)


def root_of(leaf_hashes: Sequence[bytes]) -> bytes:
    """Root of the tree over these leaf hashes; SHA-256 of nothing for an empty tree."""
    if not leaf_hashes:
        return EMPTY_ROOT
    stack: list[tuple[int, bytes]] = []  # (height, hash) of complete subtrees, largest first
    for hashed in leaf_hashes:
        height, node = 0, hashed
        while stack and stack[-1][0] == height:
            node = node_hash(stack.pop()[1], node)
            height += 1
        stack.append((height, node))
    _, root = stack.pop()
    while stack:
        root = node_hash(stack.pop()[1], root)
    return root


def inclusion_path(index: int, size: int, subtree: Subtree) -> list[bytes]:
    """Inclusion proof of leaf `index` in the tree of `size` leaves, from the leaf's sibling up.

    Raises:
        InputError: there is no such leaf.
    """
    if not 0 <= index < size:
        raise InputError(f"no leaf {index} in a tree of {size} leaves: ask for 0 to {size - 1}")
    path: list[bytes] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + split_point(end - start)
        if index < middle:
            path.append(subtree(middle, end))
            end = middle
        else:
            path.append(subtree(start, middle))
            start = middle
    return path[::-1]


def consistency_path(old_size: int, new_size: int, subtree: Subtree) -> list[bytes]:
    """Consistency proof between two sizes of one tree; empty if they are equal or the old tree is empty.

    Raises:
        InputError: `old_size` is larger than `new_size`, or negative.
    """
    if not 0 <= old_size <= new_size:
        raise InputError(f"a tree of {new_size} leaves does not extend one of {old_size}: swap them")
    if old_size in {0, new_size}:
        return []
    path: list[bytes] = []
    start, end = 0, new_size
    while end != old_size:
        middle = start + split_point(end - start)
        if old_size <= middle:
            path.append(subtree(middle, end))
            end = middle
        else:
            path.append(subtree(start, middle))
            start = middle
    if start > 0:  # the verifier knows the old root only where the walk ended at the whole old tree
        path.append(subtree(start, end))
    return path[::-1]


def inclusion_proof(leaf_hashes: Sequence[bytes], index: int) -> list[bytes]:
    """`inclusion_path` for a caller that holds every leaf hash."""
    return inclusion_path(index, len(leaf_hashes), lambda start, end: root_of(leaf_hashes[start:end]))


def consistency_proof(leaf_hashes: Sequence[bytes], old_size: int) -> list[bytes]:
    """`consistency_path` for a caller that holds every leaf hash."""
    return consistency_path(old_size, len(leaf_hashes), lambda start, end: root_of(leaf_hashes[start:end]))


def root_from_inclusion(hashed: bytes, index: int, size: int, proof: Sequence[bytes]) -> bytes:
    """Root that the proof leads to (RFC 9162 §2.1.3.2).

    Raises:
        VerificationError: the proof has the wrong length for this index and size, or a hash of the wrong size.
    """
    _check_hashes([hashed, *proof])
    if not 0 <= index < size:
        raise VerificationError(f"inclusion proof names leaf {index} of a tree of {size} leaves: it cannot be there")
    node = hashed
    for sibling, is_left in _climb(index, size - 1, proof):
        node = node_hash(sibling, node) if is_left else node_hash(node, sibling)
    return node


def verify_inclusion(hashed: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Check that the leaf hash is leaf `index` of the tree with this size and root.

    Raises:
        VerificationError: it is not, or the proof is malformed.
    """
    if root_from_inclusion(hashed, index, size, proof) != root:
        raise VerificationError(
            f"inclusion proof of leaf {index} does not lead to the root of the tree of {size} leaves: "
            "the entry, the proof or the checkpoint was changed"
        )


def verify_consistency(old_size: int, old_root: bytes, new_size: int, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Check that the new tree extends the old one (RFC 9162 §2.1.4.2).

    Raises:
        VerificationError: it does not, or the proof is malformed.
    """
    _check_hashes([old_root, new_root, *proof])
    if not 0 <= old_size <= new_size:
        raise VerificationError(f"a log of {new_size} entries does not extend one of {old_size}: it was rolled back")
    if old_size in {0, new_size}:
        expected_old = EMPTY_ROOT if old_size == 0 else new_root
        if proof or old_root != expected_old:
            raise VerificationError(f"two different logs of {old_size} entries were shown: the log was rewritten")
        return
    path = list(proof)
    if old_size & (old_size - 1) == 0:  # the old tree is one complete subtree: its root is the first hash
        path.insert(0, old_root)
    if not path:
        raise VerificationError(f"consistency proof from {old_size} to {new_size} is empty: get it again")
    node_index, last_index = old_size - 1, new_size - 1
    while node_index & 1:
        node_index >>= 1
        last_index >>= 1
    old_node = new_node = path[0]
    for sibling, is_left in _climb(node_index, last_index, path[1:]):
        if is_left:
            old_node = node_hash(sibling, old_node)
        new_node = node_hash(sibling, new_node) if is_left else node_hash(new_node, sibling)
    if old_node != old_root or new_node != new_root:
        raise VerificationError(
            f"the log of {new_size} entries does not extend the log of {old_size}: one of them or the proof was changed"
        )


def _climb(index: int, last_index: int, proof: Sequence[bytes]) -> Iterator[tuple[bytes, bool]]:
    """From a node to the root: each sibling, and whether it is on the left. Raises if the proof has another length."""
    for sibling in proof:
        if last_index == 0:
            raise VerificationError("the proof has too many hashes for these tree sizes: get it again")
        is_left = bool(index & 1) or index == last_index
        yield sibling, is_left
        if is_left:
            while not index & 1 and index:
                index >>= 1
                last_index >>= 1
        index >>= 1
        last_index >>= 1
    if last_index:
        raise VerificationError("the proof has too few hashes for these tree sizes: get it again")


def _check_hashes(hashes: Sequence[bytes]) -> None:
    for hashed in hashes:
        if len(hashed) != HASH_SIZE:
            raise VerificationError(
                f"a hash of {len(hashed)} bytes where SHA-256 has {HASH_SIZE}: the proof is damaged"
            )
