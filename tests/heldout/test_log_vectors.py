"""The vectors beside docs/formats/log.md: what a second implementer tests against must be what we do."""

import json
from typing import Any

import pytest

from heldout.checkpoint import Signer, Verifier, from_base64, open_checkpoint
from heldout.cosignatures import Cosigner, verify_cosignatures
from heldout.errors import VerificationError
from heldout.layout import Tile, parse_path
from heldout.leaves import format_leaf, parse_leaf
from heldout.merkle import EMPTY_ROOT, leaf_hash, verify_consistency, verify_inclusion
from heldout.places import hosts_covering, prefixes_covering
from heldout.receipts import parse_tlog_proof, verify_receipt, verify_tlog_proof
from heldout.replay import replay
from heldout.tiles import TileReader, parse_bundle
from heldout.witnesses import WitnessPolicy
from tests.heldout.format_scripts import FOLDER, load_script

VECTORS: dict[str, Any] = json.loads((FOLDER / "log-vectors.json").read_text(encoding="utf-8"))
LOG = VECTORS["log"]
VERIFIER = Verifier.parse(VECTORS["key"]["vkey"])


def root(size: int) -> bytes:
    return bytes.fromhex(LOG["roots"][str(size)])


def test_the_file_is_what_its_script_writes() -> None:
    assert load_script("log_vectors").make_vectors() == VECTORS


def test_keys_belong_together() -> None:
    assert Signer.parse(VECTORS["key"]["skey"]).verifier == VERIFIER


@pytest.mark.parametrize("name", VECTORS["leaves"])
def test_leaves(name: str) -> None:
    vector = VECTORS["leaves"][name]
    data = vector["leaf"].encode()
    assert format_leaf(parse_leaf(data)) == data
    assert leaf_hash(data).hex() == vector["leaf_hash"]


@pytest.mark.parametrize("name", VECTORS["refused_leaves"])
def test_refused_leaves(name: str) -> None:
    with pytest.raises(VerificationError):
        parse_leaf(VECTORS["refused_leaves"][name].encode())


@pytest.mark.parametrize("vector", VECTORS["paths"])
def test_paths(vector: dict[str, Any]) -> None:
    assert parse_path(vector["path"]) == Tile(vector["level"], vector["index"], vector["width"])


def test_proofs() -> None:
    hashes = [bytes.fromhex(LOG["tiles"]["tile/0/000"])[i : i + 32] for i in range(0, 8192, 32)]
    hashes += [bytes.fromhex(LOG["tiles"]["tile/0/001.p/44"])[i : i + 32] for i in range(0, 44 * 32, 32)]
    for vector in LOG["inclusion"]:
        index, size = vector["index"], vector["size"]
        verify_inclusion(hashes[index], index, size, [bytes.fromhex(node) for node in vector["proof"]], root(size))
    assert root(0) == EMPTY_ROOT
    for vector in LOG["consistency"]:
        old, new = vector["old"], vector["new"]
        verify_consistency(old, root(old), new, root(new), [bytes.fromhex(node) for node in vector["proof"]])


def test_tiles_bundles_and_checkpoint_are_one_log() -> None:
    checkpoint = open_checkpoint(LOG["checkpoint"], VERIFIER)
    reader = TileReader(lambda path: bytes.fromhex(LOG["tiles"][path]), checkpoint.size)
    assert reader.root() == checkpoint.root == root(LOG["size"])
    for path, text in LOG["bundles"].items():
        bundle = parse_path(path)
        assert bundle.level is None
        for i, entry in enumerate(parse_bundle(from_base64(text))):
            assert leaf_hash(entry) == reader.leaf_hash(bundle.index * 256 + i)


def test_the_receipt() -> None:
    leaves = verify_receipt(VECTORS["receipt"], VERIFIER.vkey)
    assert [format_leaf(leaf).decode() for leaf in leaves] == [
        VECTORS["leaves"][name]["leaf"]
        for name in ("a URL and two pictures, first of two parts", "second of two parts", "a withdrawal")
    ]


@pytest.mark.parametrize("name", VECTORS["refused_receipts"])
def test_refused_receipts(name: str) -> None:
    with pytest.raises(VerificationError):
        verify_receipt(VECTORS["refused_receipts"][name], VERIFIER.vkey)


def test_the_tlog_proof() -> None:
    vector = VECTORS["tlog_proof"]
    proof = parse_tlog_proof(vector["text"])
    assert proof.extra == vector["leaf"].encode()
    assert verify_tlog_proof(proof, vector["leaf"].encode(), VERIFIER).size == LOG["size"]


@pytest.mark.parametrize("name", VECTORS["histories"])
def test_histories(name: str) -> None:
    vector = VECTORS["histories"][name]
    (claim,) = replay(parse_leaf(leaf.encode()) for leaf in vector["leaves"]).claims.values()
    found = [[state, assurance] for state, assurance in zip(claim.states, claim.assurances, strict=True)]
    expected = vector["amounts_to"]
    assert (claim.state, claim.assurance, found) == (expected["state"], expected["assurance"], expected["subjects"])


@pytest.mark.parametrize("name", VECTORS["refused_histories"])
def test_refused_histories(name: str) -> None:
    leaves = [parse_leaf(leaf.encode()) for leaf in VECTORS["refused_histories"][name]]
    with pytest.raises(VerificationError):
        replay(leaves)


@pytest.mark.parametrize("name", VECTORS["places"])
def test_places(name: str) -> None:
    kind, _, place = name.partition(" ")
    covering = {"host": hosts_covering, "prefix": prefixes_covering}[kind]
    for key in VECTORS["places"][name]["covers"]:
        assert place in covering(key), key
    for key in VECTORS["places"][name]["does not cover"]:
        assert place not in covering(key), key


def test_cosignatures() -> None:
    vectors = VECTORS["cosignatures"]
    cosigners = [Cosigner.parse(vkey) for vkey in vectors["vkeys"].values()]
    found = verify_cosignatures(vectors["checkpoint"], cosigners)
    assert [(each.cosigner.name, each.at.timestamp()) for each in found] == [
        (name, vectors["at"]) for name in vectors["vkeys"]
    ]
    policy = WitnessPolicy.parse(vectors["policy"].encode())
    assert policy.verify(vectors["checkpoint"]).is_enough
    assert not policy.witnessed(LOG["checkpoint"]).is_enough
    assert open_checkpoint(vectors["checkpoint"], VERIFIER) == open_checkpoint(LOG["checkpoint"], VERIFIER)
