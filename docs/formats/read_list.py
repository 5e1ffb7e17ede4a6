"""Read a pulled exclusion list and look up addresses: written from exclusion-list.md, with no module of heldout.

    python read_list.py LIST KEY...        KEY: a canonical key, as "art.example/1.jpg" (url-canonicalisation.md)

Checks what needs no signature (the files against the manifest, the manifest against its log entry and proof), then
prints a line per key. Verify the signatures with `heldout verify LIST`, or any TUF client. Needs pyarrow.
"""

import base64
import hashlib
import json
import sys
from bisect import bisect_left
from pathlib import Path

import pyarrow.parquet as pq

ASSURANCES = ("declared", "account", "host", "credential", "reviewed")


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


def main(folder: Path, keys: list[str]) -> None:
    """Check, read, look up, print."""
    version = folder / "versions" / (folder / "CURRENT").read_text().strip()
    manifest = (version / "manifest.json").read_bytes()
    check_log_proof(manifest, (version / "manifest.tlog-proof").read_text())
    fields = json.loads(manifest)
    require(fields["format"] == "heldout-exclusion-list/2")
    require(fields["canonicalisation"] == "heldout-url/1")
    columns: dict[str, list[int]] = {"key": [], "preference": [], "assurance": []}
    since = []
    for name, file in sorted(fields["files"].items()):
        path = folder / "files" / f"{file['sha256']}.parquet"
        require(hashlib.sha256(path.read_bytes()).hexdigest() == file["sha256"])
        table = pq.read_table(path)
        require(table.num_rows == file["count"])
        if name.startswith("urls/"):
            for column in columns:
                columns[column] += table[column].to_pylist()
            since += table["since"].to_pylist()
    print(f"version {fields['version']}, {fields['counts']}")
    for key in keys:
        wanted = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")
        at = bisect_left(columns["key"], wanted)
        if at < len(columns["key"]) and columns["key"][at] == wanted and columns["preference"][at] == 0:
            print(f"excluded since {since[at]} ({ASSURANCES[columns['assurance'][at]]}): {key}")
        else:
            print(f"not listed: {key}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
