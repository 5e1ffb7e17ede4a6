"""Publish the exclusion list: build it from the log, log its manifest, sign it.

Order, each step durable before the next: pending events into the log (size N); data files and manifest made from the
first N entries, under their digests, where nothing refers to them yet; the `list` entry with the manifest's digest into
the log; witnesses asked about the checkpoint, which may fail; the entry's tlog-proof; TUF targets, snapshot, timestamp;
then what is no longer needed goes (`registry.pruning`). A reader follows these from the end, so it never sees a
reference to what is not there, and a run that died anywhere is finished by running again.
"""

import hashlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pyarrow as pa
from sqlalchemy import select
from sqlalchemy.orm import Session

from heldout.checkpoint import Checkpoint
from heldout.durable import locked
from heldout.errors import HeldoutError, NotFoundError, VerificationError
from heldout.leaves import ListLeaf, format_leaf, parse_leaf
from heldout.list_tables import SCHEMAS, TableName, read_table, table_of
from heldout.manifest import LogState, PreviousVersion, manifest_sha256, parse_manifest
from heldout.receipts import TlogProof, format_tlog_proof, parse_tlog_proof
from heldout.stored import check_content
from heldout.tiles import TileReader
from registry.db import Sessions, transaction
from registry.effective import EffectiveLog, ForeignLogError
from registry.keys import Keys
from registry.listing import Before, build_version
from registry.log import Sequencer
from registry.metadata import TARGETS, MetadataRepository, Validity
from registry.pruning import Pruner, Retention
from registry.storage import ObjectStore
from registry.tables import EventRow, ListRow
from registry.witnessing import WitnessClient, WitnessReport

MANIFEST = "manifest.json"
PROOF = "manifest.tlog-proof"
FILES = "files"

_CLAIMS_PER_QUERY = 500

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Published:
    """What a run left published."""

    version: int
    manifest_sha256: bytes
    is_new: bool
    """False if nothing had changed and only expiry times moved."""
    witnesses: WitnessReport | None
    """What the log's witnesses answered; None if it has none."""
    root_expires_at: datetime
    """The root must be renewed before (`keygen --renew-root`), or every lab refuses the list."""


@dataclass(frozen=True)
class _LoggedList:
    """The newest version that the log tells of."""

    index: int
    payload: bytes
    leaf: ListLeaf
    manifest: bytes


class Publisher:
    """Publishes one registry's list. Runs at once, even of several processes of a machine, wait for each other."""

    def __init__(
        self,
        sessions: Sessions,
        sequencer: Sequencer,
        lists: ObjectStore,
        keys: Keys,
        *,
        lock_path: Path,
        effective_path: Path,
        validity: Validity | None = None,
        witnesses: WitnessClient | None = None,
        retention: Retention | None = None,
    ) -> None:
        self._sessions = sessions
        self._sequencer = sequencer
        self._lists = lists
        self._keys = keys
        self._lock_path = lock_path
        self._effective_path = effective_path
        self._witnesses = witnesses
        self._pruner = Pruner(lists, retention or Retention())
        self._metadata = MetadataRepository(lists, keys.roles, validity or Validity())

    def publish(self, *, now: datetime) -> Published:
        """Publish a new version if the log has news, else only sign the last one anew.

        Raises:
            VerificationError: database, log and published files are not of one history. Nothing was signed.
            UnavailableError: the disk failed; run it again.
        """
        with locked(self._lock_path, wait=True):
            checkpoint = self._sequencer.sequence()
            logged = self._last_logged()
            if logged is None or self._has_news(parse_manifest(logged.manifest).log.size):
                self._append_version(checkpoint, logged, now)
                self._sequencer.sequence()
                logged = self._last_logged()
            if logged is None:
                raise VerificationError("the list's log entry is gone from the database: use the right one")
            report = self._witnesses.cosign() if self._witnesses is not None else None
            proof = self._published_proof(logged)
            is_new = proof is None
            if proof is None or (report and report.is_enough and not self._is_witnessed(proof)):
                proof = self._make_proof(logged)
                self._lists.write(_target_path(PROOF, proof), proof)
            self._metadata.publish({MANIFEST: logged.manifest, PROOF: proof}, self._keys.roots, now=now)
            self._prune(now)
        logger.info("list_signed", extra={"version": logged.leaf.version, "is_new": is_new})
        return Published(logged.leaf.version, logged.leaf.manifest_sha256, is_new, report, self._keys.root_expires_at)

    def _last_logged(self) -> _LoggedList | None:
        with transaction(self._sessions) as session:
            row = session.execute(
                select(EventRow.log_index, EventRow.payload)
                .where(EventRow.kind == "list", EventRow.log_index.is_not(None))
                .order_by(EventRow.log_index.desc())
                .limit(1)
            ).first()
        if row is None:
            return None
        leaf = parse_leaf(row.payload)
        if not isinstance(leaf, ListLeaf):
            raise VerificationError(f"the database's event at {row.log_index} is no list: it was edited")
        path = f"{TARGETS}/{leaf.manifest_sha256.hex()}.{MANIFEST}"
        try:
            return _LoggedList(row.log_index, row.payload, leaf, self._lists.read(path))
        except NotFoundError as error:
            raise VerificationError(f"the log tells of {path}, which is gone ({error}): restore the folder") from error

    def _has_news(self, size: int) -> bool:
        """Whether the log's entries from `size` on change the list."""
        with transaction(self._sessions) as session:
            news = select(EventRow.id).where(EventRow.log_index >= size, EventRow.kind != "list").limit(1)
            return session.scalar(news) is not None

    def _append_version(self, checkpoint: Checkpoint, previous: _LoggedList | None, now: datetime) -> None:
        """Build the list of the log's first `checkpoint.size` entries, store it, and append its log entry."""
        tree = self._sequencer.tree(checkpoint.size)
        effective = self._effective(EffectiveLog.load(self._effective_path), tree)
        if effective.root != checkpoint.root:
            raise VerificationError("the log's tiles do not give the root that was signed: restore the folder")
        effective.save(self._effective_path)
        log = LogState(checkpoint.origin, self._keys.log.verifier.vkey, checkpoint.size, checkpoint.root)
        version = build_version(effective, log, self._before(previous) if previous else None)
        for file in version.files.values():
            self._lists.write(f"{FILES}/{file.entry.sha256.hex()}.parquet", file.data)
        if version.delta is not None:
            self._lists.write(f"{FILES}/{hashlib.sha256(version.delta).hexdigest()}.delta", version.delta)
        self._lists.write(_target_path(MANIFEST, version.manifest), version.manifest)
        leaf = ListLeaf(now.replace(microsecond=0), version.number, manifest_sha256(version.manifest))
        with transaction(self._sessions) as session:
            session.add(EventRow(kind="list", payload=format_leaf(leaf)))
            session.add(ListRow(version=leaf.version, manifest_sha256=leaf.manifest_sha256, published_at=leaf.at))

    def _before(self, logged: _LoggedList) -> Before:
        """The last version, to say what changed since."""
        manifest = parse_manifest(logged.manifest)
        parts: dict[TableName, list[pa.Table]] = {name: [schema.empty_table()] for name, schema in SCHEMAS.items()}
        version = PreviousVersion(logged.leaf.version, logged.leaf.manifest_sha256)
        content = frozenset(file.content for file in manifest.files.values())
        try:
            for name, file in sorted(manifest.files.items()):
                path = f"{FILES}/{file.sha256.hex()}.parquet"
                table = read_table(self._lists.read(path), table_of(name), path)
                check_content(table, name, file, path)
                parts[table_of(name)].append(table)
        except (NotFoundError, VerificationError) as error:
            logger.warning("list_delta_left_out", extra={"reason": str(error)})
            return Before(version, None, content)
        return Before(version, {name: pa.concat_tables(part) for name, part in parts.items()}, content)

    def _prune(self, now: datetime) -> None:
        """A list is published whether or not what is old could be removed."""
        signed = self._metadata.load()
        if signed is None:
            return
        try:
            self._pruner.prune(signed.snapshot.version, signed.targets.version, now=now)
        except HeldoutError as error:
            logger.warning("list_not_pruned", extra={"reason": str(error)})

    def _effective(self, kept: EffectiveLog, tree: TileReader) -> EffectiveLog:
        """What the log amounts to, from what was kept on or from the beginning."""
        with transaction(self._sessions) as session:

            def grown(known: EffectiveLog) -> EffectiveLog:
                entries = _iter_payloads(session, known.size, tree.size)
                return known.grown(entries, tree, lambda claims, size: _history(session, claims, size))

            try:
                return grown(kept)
            except ForeignLogError:
                return grown(EffectiveLog.empty())

    def _published_proof(self, logged: _LoggedList) -> bytes | None:
        """The proof that is published with this version; None if the version is not published yet."""
        signed = self._metadata.load()
        targets = signed.targets.targets if signed else {}
        if MANIFEST not in targets or targets[MANIFEST].hashes["sha256"] != logged.leaf.manifest_sha256.hex():
            return None
        return self._lists.read(f"{TARGETS}/{targets[PROOF].hashes['sha256']}.{PROOF}")

    def _is_witnessed(self, proof: bytes) -> bool:
        """Whether a published proof's checkpoint already has the witnesses' signatures that are wanted."""
        policy = self._witnesses.policy() if self._witnesses is not None else None
        return policy is None or policy.witnessed(parse_tlog_proof(proof).checkpoint).is_enough

    def _make_proof(self, logged: _LoggedList) -> bytes:
        """The tlog-proof of a version's log entry, witnessed if it is; `extra` is the entry itself."""
        note, reader = self._sequencer.witnessed_reader(logged.index + 1)
        path = tuple(reader.inclusion_proof(logged.index))
        return format_tlog_proof(TlogProof(logged.index, path, note, logged.payload)).encode()


def _target_path(name: str, data: bytes) -> str:
    return f"{TARGETS}/{hashlib.sha256(data).hexdigest()}.{name}"


def _iter_payloads(session: Session, start: int, end: int) -> Iterator[bytes]:
    """Entries of the log from `start` to `end`."""
    query = select(EventRow.payload).where(EventRow.log_index >= start, EventRow.log_index < end)
    yield from session.scalars(query.order_by(EventRow.log_index).execution_options(yield_per=1000))


def _history(session: Session, claims: set[str], size: int) -> Iterator[tuple[int, bytes]]:
    """Entries about these claims among the log's first `size`."""
    ids = sorted(claims)
    for start in range(0, len(ids), _CLAIMS_PER_QUERY):
        query = select(EventRow.log_index, EventRow.payload).where(
            EventRow.claim_id.in_(ids[start : start + _CLAIMS_PER_QUERY]), EventRow.log_index < size
        )
        for row in session.execute(query.order_by(EventRow.log_index)):
            yield row.log_index, row.payload
