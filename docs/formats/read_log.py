"""Read a whole log, check all of it, and say what became of its claims: written from log.md, with no module of heldout.

    python read_log.py LOG VKEY [--witness VKEY]... [--older CHECKPOINT] [--receipt FILE]

LOG: the folder that a log serves, downloaded. VKEY: the log's key, from elsewhere. Checks the checkpoint's signature
and cosignatures by the witnesses given; computes the tree from the entries alone, and holds every tile and the root
against it; checks that it extends an older checkpoint, and holds a receipt's entries. Needs `cryptography`.
"""

import argparse
import base64
import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

NEEDED = {"url": 0, "image": 0, "prefix": 1, "host": 2}
ASSURANCES = ("declared", "account", "host", "credential", "reviewed")
STATES = ("in_force", "disputed", "quarantined", "pending", "rejected", "withdrawn")


def require(condition: object, what: str) -> None:
    """End here, where the log is not what it says it is."""
    if not condition:
        raise SystemExit(f"the log does not verify: {what}")


def sha256(*parts: bytes) -> bytes:
    """Digest of the parts, joined."""
    return hashlib.sha256(b"".join(parts)).digest()


def root_of(hashes: list[bytes]) -> bytes:
    """RFC 6962, section 2.1."""
    if not hashes:
        return sha256()
    if len(hashes) == 1:
        return hashes[0]
    middle = 1
    while middle * 2 < len(hashes):
        middle *= 2
    return sha256(b"\1", root_of(hashes[:middle]), root_of(hashes[middle:]))


def signed_by(note: str, vkey: str) -> bool:
    """Whether the note has a signature of this key, which must then be right. Log keys (0x01) and witnesses (0x04)."""
    text, _, lines = note.rpartition("\n\n")
    text += "\n"
    name, key_id, material = vkey.split("+", 2)
    kind, key = base64.b64decode(material)[:1], base64.b64decode(material)[1:]
    require(sha256(name.encode(), b"\n", kind, key)[:4].hex() == key_id, "a key is not its id's")
    for line in lines.splitlines():
        dash, signer, blob = line.split(" ")
        data = base64.b64decode(blob)
        if (dash, signer, data[:4].hex()) != ("\u2014", name, key_id):
            continue
        message, signature = text.encode(), data[4:]
        if kind == b"\x04":
            at = int.from_bytes(signature[:8], "big")
            message, signature = f"cosignature/v1\ntime {at}\n{text}".encode(), signature[8:]
        try:
            Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
        except InvalidSignature:
            raise SystemExit(f"the log does not verify: the signature of {name} is wrong") from None
        return True
    return False


def opened(note: str, vkey: str) -> tuple[int, bytes]:
    """Size and root of a checkpoint that the log's key signed."""
    require(signed_by(note, vkey), "the checkpoint is not the log's")
    origin, size, root = note.split("\n")[:3]
    require(origin == vkey.partition("+")[0], "the checkpoint is another log's")
    return int(size), base64.b64decode(root)


def path_of(folder: Path, kind: str, index: int, width: int) -> Path:
    """A full tile or bundle, or the partial one of this width."""
    digits = str(index).zfill(-(-len(str(index)) // 3) * 3)
    groups = [digits[i : i + 3] for i in range(0, len(digits), 3)]
    full = folder / "tile" / kind / "/".join([*(f"x{group}" for group in groups[:-1]), groups[-1]])
    partial = full.with_name(f"{full.name}.p") / str(width)
    return full if width == 256 or not partial.exists() else partial


def read_entries(folder: Path, size: int) -> list[bytes]:
    """Every entry, from the bundles."""
    entries: list[bytes] = []
    for index in range(-(-size // 256)):
        width = min(256, size - index * 256)
        data, here = path_of(folder, "entries", index, width).read_bytes(), 0
        for _ in range(width):
            end = here + 2 + int.from_bytes(data[here : here + 2], "big")
            require(end <= len(data), "a bundle ends inside an entry")
            entries.append(data[here + 2 : end])
            here = end
    return entries


def check_tiles(folder: Path, hashes: list[bytes]) -> None:
    """Every tile holds what the entries give."""
    level = 0
    while hashes:
        for start in range(0, len(hashes), 256):
            part = hashes[start : start + 256]
            data = path_of(folder, str(level), start // 256, len(part)).read_bytes()
            require(data[: len(part) * 32] == b"".join(part), f"tile {start // 256} of level {level} is another")
        hashes = [root_of(hashes[start : start + 256]) for start in range(0, len(hashes) // 256 * 256, 256)]
        level += 1


def claims_of(entries: list[bytes]) -> dict[str, list[str]]:
    """What the entries amount to (section 4): the state of each subject, by claim."""
    claims: dict[str, list[str]] = {}
    for entry in entries:
        fields = json.loads(entry)
        canonical = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
        require(entry == canonical and fields["v"] in {1, 2}, "an entry is not canonical, or of a later version")
        if fields["type"] == "opt-out":
            shown = ASSURANCES.index(fields["assurance"])
            claims.setdefault(fields["claim"], []).extend(
                "in_force" if shown >= NEEDED[subject["kind"]] else "pending" for subject in fields["subjects"]
            )
        elif fields["type"] in {"state", "withdraw"}:
            states = claims[fields["claim"]]
            for position in fields.get("subjects", range(len(states))):
                states[position] = fields.get("state", "withdrawn")
    return claims


def check_receipt(receipt: dict[str, Any], vkey: str, entries: list[bytes], hashes: list[bytes]) -> None:
    """Its checkpoint is one of this log, its entries are in the log where it says."""
    size, root = opened(receipt["checkpoint"], vkey)
    require(size <= len(hashes) and root_of(hashes[:size]) == root, "the receipt is of another log")
    indices = [entry["index"] for entry in receipt["entries"]]
    require(indices == sorted(set(indices)), "the receipt's entries are not in the log's order")
    for entry in receipt["entries"]:
        require(entries[entry["index"]] == base64.b64decode(entry["leaf"]), "the receipt's entry is not the log's")
    digest = receipt.pop("sha256", None)
    members = json.dumps(receipt, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    require(digest in {None, sha256(members).hex()}, "the receipt is damaged")


def main() -> None:
    """Check, then tell."""
    parser = argparse.ArgumentParser()
    parser.add_argument("log", type=Path)
    parser.add_argument("vkey")
    parser.add_argument("--witness", action="append", default=[])
    parser.add_argument("--older", type=Path)
    parser.add_argument("--receipt", type=Path)
    options = parser.parse_args()
    note = (options.log / "checkpoint").read_text(encoding="utf-8")
    size, root = opened(note, options.vkey)
    entries = read_entries(options.log, size)
    hashes = [sha256(b"\0", entry) for entry in entries]
    require(root_of(hashes) == root, "the entries do not give the root that was signed")
    check_tiles(options.log, hashes)
    print(f"{size} entries, root {root.hex()}")
    for witness in options.witness:
        print(f"{'cosigned' if signed_by(note, witness) else 'not cosigned'} by {witness.partition('+')[0]}")
    if options.older:
        old_size, old_root = opened(options.older.read_text(encoding="utf-8"), options.vkey)
        require(old_size <= size and root_of(hashes[:old_size]) == old_root, "it does not extend the older checkpoint")
        print(f"extends the checkpoint of {old_size} entries")
    if options.receipt:
        receipt = json.loads(options.receipt.read_bytes())
        check_receipt(receipt, options.vkey, entries, hashes)
        print(f"holds the receipt of claim {receipt['claim']}")
    claims = claims_of(entries)
    counted = Counter(min(states, key=STATES.index) for states in claims.values())
    print(f"{len(claims)} claims: {', '.join(f'{counted[state]} {state}' for state in STATES if counted[state])}")


if __name__ == "__main__":
    main()
