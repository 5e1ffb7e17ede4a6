"""A site's published list and log in memory, made from the formats' documents alone, and served as a transport.

Change a field or a file, publish, serve it, and watch the client accept or refuse. Nothing of the registry is used,
so that the two sides of the formats are written twice.
"""

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from securesystemslib.signer import CryptoSigner  # type: ignore[attr-defined]
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp

from heldout.checkpoint import Checkpoint, Signer, format_checkpoint, sign_note, to_base64
from heldout.delta_files import format_delta, make_delta
from heldout.layout import iter_new_tiles
from heldout.leaves import ListLeaf, format_leaf
from heldout.list_tables import SCHEMAS, TableName
from heldout.manifest import PreviousVersion
from heldout.merkle import inclusion_proof, leaf_hash, root_of
from heldout.records import ASSURANCES, Assurance
from heldout.urls import canonical_key, key_digest
from tests.heldout.cosigning import Witness

ROLES = ("root", "targets", "snapshot", "timestamp")
BASE_URL = "http://registry.example"


def new_key() -> CryptoSigner:
    return CryptoSigner.generate_ed25519()


@dataclass(frozen=True)
class UrlRule:
    url: str
    assurance: Assurance = "declared"
    preference: int = 0
    since: date = date(2026, 11, 1)


@dataclass(frozen=True)
class ImageRule:
    pdq: bytes
    quality: int = 100
    sha256: bytes | None = None
    assurance: Assurance = "declared"
    preference: int = 0
    since: date = date(2026, 11, 2)


@dataclass(frozen=True)
class PlaceRule:
    """Of a host, or of a folder if there is a slash."""

    place: str
    assurance: Assurance = "host"
    preference: int = 0
    since: date = date(2026, 11, 3)


def standings(rules: Sequence[UrlRule | ImageRule | PlaceRule]) -> dict[str, list[object]]:
    """The columns that every table has."""
    return {
        "preference": [rule.preference for rule in rules],
        "assurance": [ASSURANCES.index(rule.assurance) for rule in rules],
        "since": [rule.since for rule in rules],
    }


def url_table(rules: list[UrlRule]) -> pa.Table:
    rows = sorted({int.from_bytes(key_digest(canonical_key(rule.url))[:8]): rule for rule in rules}.items())
    return pa.table(
        {
            "key": [key for key, _ in rows],
            **standings([rule for _, rule in rows]),
        },
        schema=SCHEMAS["url"],
    )


def image_table(rules: list[ImageRule]) -> pa.Table:
    rules = sorted(rules, key=lambda rule: (rule.pdq, rule.sha256 or b""))
    return pa.table(
        {
            "pdq": [rule.pdq for rule in rules],
            "quality": [rule.quality for rule in rules],
            "sha256": [rule.sha256 for rule in rules],
            **standings(rules),
        },
        schema=SCHEMAS["image"],
    )


def place_table(rules: list[PlaceRule], name: Literal["prefix", "host"]) -> pa.Table:
    rules = sorted((rule for rule in rules if ("/" in rule.place) == (name == "prefix")), key=lambda rule: rule.place)
    return pa.table(
        {
            name: [rule.place for rule in rules],
            **standings(rules),
        },
        schema=SCHEMAS[name],
    )


def content_of(table: pa.Table, name: str) -> str:
    """The content digest, a row and a value at a time."""
    digest = hashlib.sha256(b"%s %d\n" % (name.encode(), table.num_rows))
    for column, values in table.to_pydict().items():
        kind = table.schema.field(column).type
        if column == "sha256":
            digest.update(bytes(value is not None for value in values))
        for value in values:
            match value:
                case None:
                    pass
                case str():
                    digest.update(value.encode() + b"\n")
                case bytes():
                    digest.update(value)
                case date():
                    digest.update((value - date(1970, 1, 1)).days.to_bytes(4, "little", signed=True))
                case _:
                    digest.update(value.to_bytes(kind.bit_width // 8, "little"))
    return digest.hexdigest()


@dataclass
class Site:
    """What a server publishes, and the keys behind it."""

    cosigners: list[Witness] = field(default_factory=list)
    log_signer: Signer = field(default_factory=lambda: Signer.generate("registry.example/log"))
    keys: dict[str, CryptoSigner] = field(default_factory=lambda: {role: new_key() for role in ROLES})
    files: dict[str, bytes] = field(default_factory=dict)
    """Path below the base URL -> content, of everything published so far."""
    leaves: list[bytes] = field(default_factory=list)
    version: int = 0
    tuf_version: int = 0
    root_version: int = 0
    expires: datetime = field(default_factory=lambda: datetime.now(UTC).replace(microsecond=0) + timedelta(days=7))
    canonicalisation: str = "heldout-url/1"
    manifest: bytes = b""
    proof: bytes = b""
    requests: list[str] = field(default_factory=list)
    redirects: dict[str, str] = field(default_factory=dict)
    has_deltas: bool = False
    serves_parts: bool = True
    tables: dict[TableName, pa.Table] = field(default_factory=dict)
    """Of the last version."""

    def publish(
        self,
        urls: list[UrlRule] | None = None,
        images: list[ImageRule] | None = None,
        places: list[PlaceRule] | None = None,
        *,
        n_other_leaves: int = 3,
        claimed_size: int | None = None,
        claimed_count: int | None = None,
        lie_about_root: bool = False,
        vkey: str | None = None,
        prefix_bits: int = 0,
    ) -> "Site":
        """One more version, in the order the real publisher follows."""
        if not self.root_version:
            self.rotate_root()
        self.leaves += [b"entry %d" % (len(self.leaves) + i) for i in range(n_other_leaves)]
        size = len(self.leaves) if claimed_size is None else claimed_size
        root = root_of([leaf_hash(leaf) for leaf in self.leaves[:size]])
        url_rules, image_rules = url_table(urls or []), image_table(images or [])
        named = {"images.parquet": image_rules, **_by_prefix(url_rules, prefix_bits)}
        named["prefixes.parquet"] = place_table(places or [], "prefix")
        named["hosts.parquet"] = place_table(places or [], "host")
        subjects = {"images.parquet": "image", "prefixes.parquet": "prefix", "hosts.parquet": "host"}
        data = {name: _parquet(table) for name, table in named.items()}
        counts = {name: table.num_rows for name, table in named.items()}
        if claimed_count is not None:
            counts["urls/000.parquet"] = claimed_count
        previous = {"version": self.version, "sha256": hashlib.sha256(self.manifest).hexdigest()}
        delta = self._delta(
            {
                "url": url_rules,
                "prefix": named["prefixes.parquet"],
                "host": named["hosts.parquet"],
                "image": image_rules,
            }
        )
        fields = {
            "format": "heldout-exclusion-list/2",
            "version": self.version + 1,
            "as_of": "2026-11-22T01:02:03Z",
            "canonicalisation": self.canonicalisation,
            "log": {
                "origin": self.log_signer.name,
                "vkey": vkey or self.log_signer.verifier.vkey,
                "size": size,
                "root": to_base64(bytes(32) if lie_about_root else root),
            },
            "prefix_bits": prefix_bits,
            "files": {
                name: {
                    "sha256": hashlib.sha256(content).hexdigest(),
                    "size": len(content),
                    "count": counts[name],
                    "content": content_of(named[name], subjects.get(name, "url")),
                }
                for name, content in data.items()
            },
            "counts": {
                subject: sum(n for name, n in counts.items() if subjects.get(name, "url") == subject)
                for subject in ("url", "prefix", "host", "image")
            },
            "delta": delta,
            "previous": previous if self.version else None,
        }
        self.version += 1
        self.manifest = json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()
        self.log_manifest()
        for content in data.values():
            self.files[f"list/files/{hashlib.sha256(content).hexdigest()}.parquet"] = content
        return self.sign()

    def _delta(self, tables: dict[TableName, pa.Table]) -> dict[str, object] | None:
        """Publish what changed, if this site does; as the manifest names it."""
        before, self.tables = self.tables, tables
        if not (self.has_deltas and self.version):
            return None
        base = PreviousVersion(self.version, hashlib.sha256(self.manifest).digest())
        data = format_delta(make_delta(base, before, tables))
        digest = hashlib.sha256(data).hexdigest()
        self.files[f"list/files/{digest}.delta"] = data
        return {"sha256": digest, "size": len(data)}

    def log_manifest(self) -> None:
        """Append the manifest's entry to the log; new tiles, then the proof."""
        old_size = len(self.leaves)
        leaf = format_leaf(
            ListLeaf(datetime(2026, 11, 22, 1, 2, 4, tzinfo=UTC), self.version, hashlib.sha256(self.manifest).digest())
        )
        self.leaves.append(leaf)
        hashes = [leaf_hash(entry) for entry in self.leaves]
        for tile in iter_new_tiles(0, len(hashes)):
            span = 256**tile.level if tile.level else 1
            first = tile.index * 256
            nodes = [root_of(hashes[i * span : (i + 1) * span]) for i in range(first, first + tile.width)]
            self.files[f"log/{tile.path}"] = b"".join(nodes)
        checkpoint = Checkpoint(self.log_signer.name, len(hashes), root_of(hashes))
        note = sign_note(format_checkpoint(checkpoint), [self.log_signer])
        note += "".join(witness.cosign(note, 1_790_000_000) for witness in self.cosigners)
        self.files["log/checkpoint"] = note.encode()
        path = "".join(f"{to_base64(node)}\n" for node in inclusion_proof(hashes, old_size))
        extra = to_base64(leaf)
        self.proof = f"c2sp.org/tlog-proof@v1\nextra {extra}\nindex {old_size}\n{path}\n{note}".encode()

    def rotate_root(self, *, new_keys: dict[str, CryptoSigner] | None = None) -> None:
        """A next root, signed by the old root key and the new one."""
        signers = {id(self.keys["root"]): self.keys["root"]}
        self.keys = self.keys | (new_keys or {})
        signers[id(self.keys["root"])] = self.keys["root"]
        self.root_version += 1
        root = Root(version=self.root_version, expires=self.expires + timedelta(days=365), consistent_snapshot=True)
        for role in ROLES:
            root.add_key(self.keys[role].public_key, role)
        metadata = Metadata(root)
        for signer in signers.values():
            metadata.sign(signer, append=True)
        data = metadata.to_bytes()
        self.files[f"list/metadata/{self.root_version}.root.json"] = self.files["list/metadata/root.json"] = data

    def sign(self, *, omit: str | None = None) -> "Site":
        """Targets, snapshot, timestamp last; `omit` leaves one target out."""
        self.tuf_version += 1
        version = self.tuf_version
        targets = {}
        for name, data in (("manifest.json", self.manifest), ("manifest.tlog-proof", self.proof)):
            if name == omit:
                continue
            targets[name] = TargetFile.from_data(name, data, ["sha256"])
            self.files[f"list/targets/{hashlib.sha256(data).hexdigest()}.{name}"] = data
        signed = Metadata(Targets(version=version, expires=self.expires, targets=targets))
        targets_data = self._signed("targets", signed)
        snapshot = Snapshot(version=version, expires=self.expires)
        snapshot.meta["targets.json"] = MetaFile.from_data(version, targets_data, ["sha256"])
        snapshot_data = self._signed("snapshot", Metadata(snapshot))
        timestamp = Timestamp(version=version, expires=self.expires)
        timestamp.snapshot_meta = MetaFile.from_data(version, snapshot_data, ["sha256"])
        self.files[f"list/metadata/{version}.targets.json"] = targets_data
        self.files[f"list/metadata/{version}.snapshot.json"] = snapshot_data
        self.files["list/metadata/timestamp.json"] = self._signed("timestamp", Metadata(timestamp))
        return self

    def _signed(self, role: str, metadata: "Metadata[Targets] | Metadata[Snapshot] | Metadata[Timestamp]") -> bytes:
        metadata.sign(self.keys[role])
        return metadata.to_bytes()

    @property
    def root(self) -> bytes:
        """The first root: what a lab was given."""
        return self.files["list/metadata/1.root.json"]

    def write_root(self, folder: Path) -> Path:
        path = folder / "trusted-root.json"
        path.write_bytes(self.root)
        return path

    def transport(self) -> httpx.MockTransport:
        return httpx.MockTransport(self._answer)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        path = urlsplit(str(request.url)).path.lstrip("/")
        self.requests.append(path)
        if path in self.redirects:
            return httpx.Response(302, headers={"Location": self.redirects[path]})
        if path not in self.files:
            return httpx.Response(404)
        data = self.files[path]
        asked = request.headers.get("Range")
        if asked is None or not self.serves_parts:
            return httpx.Response(200, content=data)
        start = int(asked.removeprefix("bytes=").removesuffix("-"))
        if start >= len(data):
            return httpx.Response(416)
        said = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}
        return httpx.Response(206, content=data[start:], headers=said)


def some_pdq(seed: int) -> bytes:
    return np.random.default_rng(seed).integers(0, 256, 32, dtype=np.uint8).tobytes()


def _by_prefix(table: pa.Table, bits: int) -> dict[str, pa.Table]:
    prefixes = [key >> (64 - bits) if bits else 0 for key in table["key"].to_pylist()]
    return {
        f"urls/{prefix:03x}.parquet": table.filter(pa.array([of == prefix for of in prefixes], pa.bool_()))
        for prefix in range(1 << bits)
    }


def _parquet(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()
