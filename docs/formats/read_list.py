"""Read a pulled exclusion list and look up addresses: written from exclusion-list.md, with no module of heldout.

    python read_list.py LIST KEY...        KEY: a canonical key, as "art.example/1.jpg" (url-canonicalisation.md)

Checks what needs no signature (the files against the manifest, the manifest against its log entry and proof), then
prints a line per key. Verify the signatures with `heldout verify LIST`, or any TUF client. Needs pyarrow.
"""

import base64
import hashlib
import json
import re
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pyarrow.parquet as pq

ASSURANCES = ("declared", "account", "host", "credential", "reviewed")
OTHERS = {"prefixes.parquet": "prefix", "hosts.parquet": "host", "images.parquet": "image"}


def require(condition: object) -> None:
    """End here, where the list is not what it says it is."""
    if not condition:
        raise SystemExit("the list does not verify")


def check_log_proof(manifest: bytes, proof: str) -> None:
    """The manifest's entry leads, by RFC 6962, to the root that the checkpoint names."""
    head, _, checkpoint = proof.partition("\n\n")
    header, extra, index_line, *nodes = head.split("\n")
    entry = base64.b64decode(extra.removeprefix("extra "))
    index = int(index_line.removeprefix("index "))
    origin, size_line, root = checkpoint.split("\n")[:3]
    fields = json.loads(entry)
    require(header == "c2sp.org/tlog-proof@v1")
    require(fields["type"] == "list")
    require(fields["manifest_sha256"] == hashlib.sha256(manifest).hexdigest())
    require(origin == json.loads(manifest)["log"]["origin"])
    node, number, last = hashlib.sha256(b"\0" + entry).digest(), index, int(size_line) - 1
    for sibling in map(base64.b64decode, nodes):
        if number % 2 or number == last:
            node = hashlib.sha256(b"\1" + sibling + node).digest()
            while number and not number % 2:
                number, last = number // 2, last // 2
        else:
            node = hashlib.sha256(b"\1" + node + sibling).digest()
        number, last = number // 2, last // 2
    require(last == 0)
    require(node == base64.b64decode(root))


def octets(column: str, value: object) -> bytes:
    """A value as the content digest sees it."""
    match value:
        case str():
            return value.encode() + b"\n"
        case int():
            return value.to_bytes(8 if column == "key" else 1, "little")
        case date():
            return (value - date(1970, 1, 1)).days.to_bytes(4, "little", signed=True)
        case bytes():
            return value
    return b""


def read_files(folder: Path, files: dict[str, dict[str, object]]) -> Iterator[tuple[str, list[dict[str, object]]]]:
    """Kind and rows of each data file, its content checked."""
    for name, file in sorted(files.items()):
        kind = OTHERS.get(name, "url")
        rows = pq.read_table(folder / "files" / f"{file['content']}.parquet").to_pylist()
        digest = hashlib.sha256(f"{kind} {len(rows)}\n".encode())
        for column in rows[0] if rows else ():
            if column == "sha256":
                digest.update(bytes(row[column] is not None for row in rows))
            digest.update(b"".join(octets(column, row[column]) for row in rows))
        require(len(rows) == file["count"])
        require(digest.hexdigest() == file["content"])
        yield kind, rows


def questions(key: str) -> Iterator[tuple[str, object]]:
    """What may stand in the list of an address, as (kind, value): in order of precedence, then the longest first."""
    yield "url", int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")
    path = key.partition("?")[0]
    ends = [match.end() for match in re.finditer("[^/]+", path)][1:]
    yield from (("prefix", path[:end] + "/") for end in reversed(ends))
    host = re.sub(r":[0-9]+$", "", key.partition("/")[0])
    if not re.fullmatch(r"[0-9.]+|\[.*\]", host):
        labels = host.split(".")
        yield from (("host", ".".join(labels[start:])) for start in range(len(labels) - 1))


def main(folder: Path, keys: list[str]) -> None:
    """Check, read, look up, print."""
    version = folder / "versions" / (folder / "CURRENT").read_text().strip()
    manifest = (version / "manifest.json").read_bytes()
    check_log_proof(manifest, (version / "manifest.tlog-proof").read_text())
    fields = json.loads(manifest)
    require(fields["format"] == "heldout-exclusion-list/2")
    require(fields["canonicalisation"] == "heldout-url/1")
    names = {f"urls/{number:03x}.parquet" for number in range(1 << fields["prefix_bits"])}
    require(fields["files"].keys() == names | OTHERS.keys())
    entries: dict[tuple[int, str, object], dict[str, object]] = {}
    for kind, rows in read_files(folder, fields["files"]):
        if kind != "image":
            column = "key" if kind == "url" else kind
            entries |= {(row["preference"], kind, row[column]): row for row in rows}
    print(f"version {fields['version']}, {fields['counts']}")
    for key in keys:
        excluding = [(kind, entries[0, kind, value]) for kind, value in questions(key) if (0, kind, value) in entries]
        if excluding:
            of_kind = [entry for kind, entry in excluding if kind == excluding[0][0]]
            entry = max(of_kind, key=lambda entry: entry["assurance"])
            print(f"excluded by {excluding[0][0]} since {entry['since']} ({ASSURANCES[entry['assurance']]}): {key}")
        elif any((1, kind, value) in entries for kind, value in questions(key)):
            print(f"granted: {key}")
        else:
            print(f"not listed: {key}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
