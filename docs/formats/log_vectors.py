"""Writes log-vectors.json: examples for the formats of log.md, made by the library. Run it from the checkout."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from heldout.checkpoint import Checkpoint, NoteSignature, Signer, sign_checkpoint, split_note, to_base64
from heldout.cosignatures import COSIGNATURE_ED25519, Cosigner, ed25519_message
from heldout.layout import Tile, iter_new_bundles, iter_new_tiles
from heldout.leaves import (
    AssuranceLeaf,
    HostRule,
    ImageDigest,
    Leaf,
    ListLeaf,
    OptOutLeaf,
    PrefixRule,
    StateLeaf,
    UrlDigest,
    WithdrawLeaf,
    format_leaf,
)
from heldout.merkle import consistency_proof, inclusion_proof, leaf_hash, root_of
from heldout.receipts import Receipt, ReceiptEntry, TlogProof, format_tlog_proof, receipt_to_json
from heldout.replay import replay
from heldout.tiles import format_bundle
from heldout.urls import key_digest

PATH = Path(__file__).with_name("log-vectors.json")
AT = datetime(2026, 11, 22, 1, 2, 3, tzinfo=UTC)
SIGNER = Signer("registry.example/log", bytes(range(32)))
WITNESSES = [Signer("w0.example", bytes(range(32, 64))), Signer("w1.example", bytes(range(64, 96)))]
"""They sign as witnesses do, which `Signer` does not."""
COSIGNED_AT = 1_790_000_000
CLAIM = "aaaaaaaaaaaaaaaaaaaaaaaaaa"
OTHER = "bbbbbbbbbbbbbbbbbbbbbbbbbb"
PICTURE = ImageDigest(bytes(range(32)), 87, bytes(range(32, 64)))
LEAVES: dict[str, Leaf] = {
    "a URL": OptOutLeaf(AT, OTHER, "declared", "train-ai=n", (UrlDigest(key_digest("art.example/jane.jpg?w=640")),)),
    "a URL and two pictures, first of two parts": OptOutLeaf(
        AT,
        CLAIM,
        "declared",
        "train-ai=n",
        (UrlDigest(key_digest("jane.example/a.jpg")), PICTURE, ImageDigest(bytes(32), 12)),
        part=1,
        n_parts=2,
    ),
    "second of two parts": OptOutLeaf(
        AT, CLAIM, "declared", "train-ai=n", (UrlDigest(key_digest("jane.example/b.jpg")),), part=2, n_parts=2
    ),
    "a list": ListLeaf(AT, 1, bytes.fromhex("97" * 32)),
    "a grant": OptOutLeaf(AT, "cccccccccccccccccccccccccc", "account", "train-ai=y", (PICTURE,)),
    "a withdrawal": WithdrawLeaf(AT, CLAIM, "by-claimant"),
}
PLACES = OptOutLeaf(
    AT,
    CLAIM,
    "declared",
    "train-ai=n",
    (HostRule("jane.example"), PrefixRule("art.example/jane/"), UrlDigest(key_digest("pins.example/1.jpg"))),
)
LEAVES_2: dict[str, Leaf] = {
    "two places and a URL": PLACES,
    "proof of one subject": AssuranceLeaf(AT, CLAIM, "host", "dns-txt", (0,)),
    "proof of all": AssuranceLeaf(AT, CLAIM, "reviewed", "review"),
    "one subject comes into force": StateLeaf(AT, CLAIM, "in_force", "evidence", (0,)),
    "two subjects are disputed": StateLeaf(AT, CLAIM, "disputed", "counter-claim", (0, 2)),
}
"""Of version 2; those of version 1 and their log stay as they were."""
HISTORIES: dict[str, list[Leaf]] = {
    "places wait for proof": [PLACES],
    "proof comes and goes": [
        PLACES,
        AssuranceLeaf(AT, CLAIM, "host", "dns-txt", (0,)),
        StateLeaf(AT, CLAIM, "in_force", "evidence", (0,)),
        AssuranceLeaf(AT, CLAIM, "account", "profile", (1,)),
        StateLeaf(AT, CLAIM, "in_force", "evidence", (1,)),
        AssuranceLeaf(AT, CLAIM, "declared", "dns-txt-gone", (0,)),
        StateLeaf(AT, CLAIM, "pending", "evidence-lost", (0,)),
    ],
    "a dispute about one subject is upheld, then reversed": [
        PLACES,
        StateLeaf(AT, CLAIM, "disputed", "counter-claim", (2,)),
        StateLeaf(AT, CLAIM, "rejected", "dispute-upheld", (2,)),
        StateLeaf(AT, CLAIM, "in_force", "review", (2,)),
    ],
    "a withdrawal takes everything": [
        PLACES,
        StateLeaf(AT, CLAIM, "quarantined", "review", (2,)),
        WithdrawLeaf(AT, CLAIM, "by-claimant"),
    ],
}
REFUSED_HISTORIES: dict[str, list[Leaf]] = {
    "a state before the claim": [StateLeaf(AT, CLAIM, "rejected", "review")],
    "a state after the withdrawal": [
        PLACES,
        WithdrawLeaf(AT, CLAIM, "by-claimant"),
        StateLeaf(AT, CLAIM, "in_force", "review"),
    ],
    "a passage that is not in the table": [PLACES, StateLeaf(AT, CLAIM, "disputed", "counter-claim", (0,))],
    "a subject that is not there": [PLACES, StateLeaf(AT, CLAIM, "disputed", "counter-claim", (3,))],
    "a change that changes nothing": [PLACES, AssuranceLeaf(AT, CLAIM, "declared", "review")],
    "a withdrawal before the last part": [
        OptOutLeaf(AT, CLAIM, "declared", "train-ai=n", (PICTURE,), part=1, n_parts=2),
        WithdrawLeaf(AT, CLAIM, "by-claimant"),
    ],
}
COVERED = {
    "host jane.example": {
        "covers": ["jane.example/", "www.jane.example/a.jpg?w=1", "a.b.jane.example:8080/"],
        "does not cover": ["notjane.example/", "example/", "jane.example.other.example/"],
    },
    "prefix art.example/jane/": {
        "covers": ["art.example/jane", "art.example/jane/", "art.example/jane?a=b", "art.example/jane/b/c.jpg?d"],
        "does not cover": ["art.example/janet", "art.example/", "www.art.example/jane/", "art.example:81/jane/"],
    },
}
N_LOG = 300
"""Entries of the example log: the six above, then lists numbered from 2."""
PATHS = [
    Tile(0, 0), Tile(0, 1234067), Tile(0, 273, 112), Tile(1, 1, 17), Tile(2, 0, 1), Tile(63, 999),
    Tile(None, 0, 5), Tile(None, 1000), Tile(None, 1234067, 255),
]  # fmt: skip


def refused_leaves() -> dict[str, str]:
    """Texts that look like leaves and are not."""
    good = format_leaf(LEAVES["a URL"]).decode()
    digest = key_digest("art.example/jane.jpg?w=640").hex()
    withdrawal = format_leaf(LEAVES["a withdrawal"]).decode()
    return {
        "spaces": good.replace(":", ": ", 1),
        "keys not sorted": '{"v":1,' + good.removeprefix("{").replace(',"v":1}', "}"),
        "needless escape": good.replace("train", "\\u0074rain"),
        "a newline at the end": good + "\n",
        "another version": good.replace('"v":1', '"v":3'),
        "version 2 for what version 1 can say": good.replace('"v":1', '"v":2'),
        "version 1 for a place": format_leaf(PLACES).decode().replace('"v":2', '"v":1'),
        "a host in upper case": format_leaf(PLACES).decode().replace("jane.example", "Jane.example"),
        "a folder without its slash": format_leaf(PLACES).decode().replace("/jane/", "/jane"),
        "positions out of order": format_leaf(LEAVES_2["two subjects are disputed"]).decode().replace("0,2", "2,0"),
        "withdrawn by a state": format_leaf(LEAVES_2["two subjects are disputed"])
        .decode()
        .replace("disputed", "withdrawn"),
        "a number that is no integer": good.replace('"v":1', '"v":1.0'),
        "a field more": good.replace('"claim":', '"artist":"Jane","claim":'),
        "upper-case hex": good.replace(digest, digest.upper()),
        "an unknown kind of subject": good.replace('"kind":"url"', '"kind":"URL"'),
        "part 0": good.replace("[1,1]", "[0,1]"),
        "a time that never was": good.replace("2026-11-22", "2026-02-30"),
        "free text as a reason": withdrawal.replace("by-claimant", "Jane asked"),
        "an unknown type": withdrawal.replace('"type":"withdraw"', '"type":"erase"'),
    }


def cosigner_of(witness: Signer) -> Cosigner:
    """The public half of a witness."""
    return Cosigner(witness.name, COSIGNATURE_ED25519, witness.verifier.public_key)


def cosignature(witness: Signer, note: str) -> str:
    """A witness's signature line over a checkpoint, with newline."""
    text = split_note(note)[0]
    signature = Ed25519PrivateKey.from_private_bytes(witness.seed).sign(ed25519_message(text, COSIGNED_AT))
    signed = NoteSignature(witness.name, cosigner_of(witness).key_id, COSIGNED_AT.to_bytes(8, "big") + signature)
    return f"{signed.line}\n"


def make_vectors() -> dict[str, Any]:
    """The whole file's content."""
    lists = [ListLeaf(AT, version, bytes([version % 256]) * 32) for version in range(2, N_LOG - len(LEAVES) + 2)]
    entries = [format_leaf(leaf) for leaf in [*LEAVES.values(), *lists]]
    hashes = [leaf_hash(entry) for entry in entries]
    level_1 = [root_of(hashes[:256])]
    tiles = {
        tile.path: b"".join((level_1 if tile.level else hashes)[tile.index * 256 :][: tile.width]).hex()
        for tile in iter_new_tiles(0, N_LOG)
    }
    bundles = {
        bundle.path: to_base64(format_bundle(entries[bundle.index * 256 :][: bundle.width]))
        for bundle in iter_new_bundles(0, N_LOG)
        if bundle.width < 256
    }
    note = sign_checkpoint(Checkpoint(SIGNER.name, N_LOG, root_of(hashes)), SIGNER)
    receipt = receipt_to_json(
        Receipt(
            CLAIM,
            note,
            tuple(ReceiptEntry(i, entries[i], tuple(inclusion_proof(hashes, i))) for i in (1, 2, 5)),
        )
    )
    bare = {name: value for name, value in receipt.items() if name != "sha256"}
    cosigned = {
        "vkeys": {witness.name: cosigner_of(witness).vkey for witness in WITNESSES},
        "checkpoint": note + "".join(cosignature(witness, note) for witness in WITNESSES),
        "at": COSIGNED_AT,
        "policy": f"log {SIGNER.verifier.vkey}\n"
        + "".join(f"witness w{i} {cosigner_of(witness).vkey}\n" for i, witness in enumerate(WITNESSES))
        + "group both all w0 w1\nquorum both\n",
    }
    return {
        "about": "Vectors of docs/formats/log.md. The key is for these examples alone.",
        "key": {"skey": SIGNER.skey, "vkey": SIGNER.verifier.vkey},
        "leaves": {name: {"leaf": entries[i].decode(), "leaf_hash": hashes[i].hex()} for i, name in enumerate(LEAVES)}
        | {
            name: {"leaf": format_leaf(leaf).decode(), "leaf_hash": leaf_hash(format_leaf(leaf)).hex()}
            for name, leaf in LEAVES_2.items()
        },
        "refused_leaves": refused_leaves(),
        "paths": [{"level": t.level, "index": t.index, "width": t.width, "path": t.path} for t in PATHS],
        "log": {
            "size": N_LOG,
            "roots": {str(n): root_of(hashes[:n]).hex() for n in (0, 1, 2, 3, 4, 5, 6, 255, 256, 257, N_LOG)},
            "inclusion": [
                {"index": i, "size": n, "proof": [node.hex() for node in inclusion_proof(hashes[:n], i)]}
                for i, n in ((0, 1), (0, 6), (5, 6), (2, 257), (256, 257), (299, 300))
            ],
            "consistency": [
                {"old": m, "new": n, "proof": [node.hex() for node in consistency_proof(hashes[:n], m)]}
                for m, n in ((0, 6), (1, 6), (4, 6), (5, 6), (6, 6), (255, 257), (256, 300))
            ],
            "tiles": tiles,
            "bundles": bundles,
            "checkpoint": note,
        },
        "receipt": receipt,
        "refused_receipts": {
            "the second part is missing": bare | {"entries": [receipt["entries"][0], receipt["entries"][2]]},
            "parts out of order": bare | {"entries": receipt["entries"][1::-1]},
            "of another claim": bare | {"claim": OTHER},
            "another format": bare | {"format": "heldout-receipt/2"},
            "a changed root": bare | {"checkpoint": note.replace("\n300\n", "\n301\n")},
            "a changed index": bare | {"entries": [{**receipt["entries"][0], "index": 0}, *receipt["entries"][1:]]},
            "a wrong digest": receipt | {"sha256": "0" * 64},
            "a member more": receipt | {"note": "mine"},
        },
        "cosignatures": cosigned,
        "tlog_proof": {
            "text": format_tlog_proof(TlogProof(3, tuple(inclusion_proof(hashes, 3)), note, entries[3])),
            "leaf": entries[3].decode(),
        },
        "histories": {
            name: {"leaves": [format_leaf(leaf).decode() for leaf in leaves], "amounts_to": amounts_to(leaves)}
            for name, leaves in HISTORIES.items()
        },
        "refused_histories": {
            name: [format_leaf(leaf).decode() for leaf in leaves] for name, leaves in REFUSED_HISTORIES.items()
        },
        "places": COVERED,
    }


def amounts_to(leaves: list[Leaf]) -> dict[str, Any]:
    """State and assurance of the one claim, then of each of its subjects."""
    (claim,) = replay(leaves).claims.values()
    subjects = [[state, assurance] for state, assurance in zip(claim.states, claim.assurances, strict=True)]
    return {"state": claim.state, "assurance": claim.assurance, "subjects": subjects}


def main() -> None:
    """Write the file."""
    PATH.write_text(json.dumps(make_vectors(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
