"""The registry as one object: opens database, keys and folders, joins the modules. Web app and commands use it.

<state_dir>/keys/                       `registry.keys`
<state_dir>/public/log/, public/list/   served as they are
<state_dir>/witnesses.policy            `registry.witnessing`, if the log has witnesses
<state_dir>/effective.arrow              `registry.effective`; may go at any time
<state_dir>/registry.db                 SQLite, unless another database is named
"""

import logging
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from heldout.checkpoint import Checkpoint, Verifier
from heldout.errors import HeldoutError, InputError
from heldout.leaves import ImageDigest
from heldout.receipts import receipt_to_json
from heldout.records import Assurance, Claim, ClaimPage, ClaimPreview, ClaimRequest, Sample
from registry import claims, transitions, versions
from registry.accounts import Accounts
from registry.admission import admit
from registry.baskets import Baskets
from registry.claim_secrets import ClaimSecrets
from registry.claim_versions import InLists, SizeOf, versions_of
from registry.coverage import Coverage, CoverageIndex
from registry.db import fold_write_ahead_log, make_engine, make_sessions, transaction
from registry.disputing import Disputing
from registry.keys import keygen, load_keys
from registry.limits import Limits
from registry.log import Sequencer
from registry.metadata import Validity
from registry.migrate import upgrade
from registry.proving import Proving
from registry.publish import Published, Publisher
from registry.rebuild import Rebuilt, rebuild
from registry.receipts import make_receipt
from registry.reviewing import Reviewing
from registry.storage import FileCheckpointStore, FileStore
from registry.versions import LoggedVersion
from registry.witnessing import POLICY_FILE, WitnessClient, WitnessReport

logger = logging.getLogger(__name__)

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)


def default_database_url(state_dir: Path) -> str:
    """SQLite in the state folder."""
    return f"sqlite:///{state_dir.resolve() / 'registry.db'}"


class Registry:
    """One registry, migrated and with keys (`prepare` sees to both). Thread-safe; close it after use."""

    def __init__(
        self,
        state_dir: Path,
        database_url: str | None = None,
        *,
        origin: str | None = None,
        clock: Clock = utc_now,
        validity: Validity | None = None,
        limits: Limits | None = None,
    ) -> None:
        """Open what is there, and sweep what a power cut left half written among the public files.

        Args:
            state_dir: folder of keys and public files.
            database_url: `sqlite:////path` or `postgresql+psycopg://...`; SQLite in `state_dir` if left out.
            origin: the log's name, checked against the key's if given.
            clock: aware time.
            validity: of the list's metadata.
            limits: of what one account or network address claims and disputes in a day.

        Raises:
            NotFoundError: there are no keys.
            InputError: the keys are damaged, or of a log of another name.
            UnavailableError: the disk failed.
        """
        self.state_dir = state_dir
        self.public_dir = state_dir / "public"
        """Serve its `log/` and `list/` as they are."""
        keys = load_keys(state_dir / "keys")
        if origin is not None and origin != keys.log.name:
            raise InputError(
                f"the log in {state_dir} is {keys.log.name!r}, not {origin!r}: a log never changes its name"
            )
        self.vkey = keys.log.verifier.vkey
        """The log's public key."""
        self._clock = clock
        self._secrets = ClaimSecrets(keys.log)
        self._engine = make_engine(database_url or default_database_url(state_dir))
        self._sessions = make_sessions(self._engine)
        self._reading = make_sessions(self._engine, read_only=True)
        self._log_store = FileStore(self.public_dir / "log")
        self._checkpoints = FileCheckpointStore(self.public_dir / "log", state_dir / "checkpoint.lock")
        self._sequencer = Sequencer(self._sessions, self._log_store, self._checkpoints, keys.log)
        self._witnesses = WitnessClient(state_dir / POLICY_FILE, self._sequencer)
        self._publisher = Publisher(
            self._sessions,
            self._sequencer,
            FileStore(self.public_dir / "list"),
            keys,
            lock_path=state_dir / "publish.lock",
            effective_path=state_dir / "effective.arrow",
            validity=validity,
            witnesses=self._witnesses,
        )
        self._coverage = CoverageIndex(self._reading)
        self.accounts = Accounts(self._sessions, self._reading, clock)
        """Who signs in, and their keys."""
        self.baskets = Baskets(self._sessions, self._reading, clock)
        """What browsers have put together to opt out."""
        self.proving = Proving(self._sessions, self._reading, clock, state_dir=state_dir, on_change=self._try_sequence)
        """Evidence that something is a claimant's."""
        self._limits = limits or Limits()
        self.disputing = Disputing(
            self._sessions,
            self._reading,
            clock,
            secrets=self._secrets,
            limits=self._limits,
            on_change=self._try_sequence,
        )
        """Counter-claims, for their two sides."""
        self.reviewing = Reviewing(self._sessions, self._reading, clock, on_change=self._try_sequence)
        """What reviewers see and decide."""
        n_swept = FileStore(self.public_dir).sweep()
        if n_swept:
            logger.warning("leftovers_swept", extra={"n_files": n_swept})

    @classmethod
    def prepare(
        cls,
        state_dir: Path,
        database_url: str | None = None,
        *,
        origin: str,
        clock: Clock = utc_now,
        validity: Validity | None = None,
        limits: Limits | None = None,
    ) -> Self:
        """Migrate the database, make keys if there are none at all, and open. For a demo or a first start."""
        state_dir.mkdir(parents=True, exist_ok=True)
        migrate(database_url or default_database_url(state_dir))
        if not (state_dir / "keys").exists():
            keygen(state_dir / "keys", origin, now=clock())
        return cls(state_dir, database_url, origin=origin, clock=clock, validity=validity, limits=limits)

    def submit(
        self,
        request: ClaimRequest,
        *,
        idempotency_key: str | None = None,
        account_id: str | None = None,
        client: bytes | None = None,
    ) -> Claim:
        """Store a claim, in force as far as it can be, and, if the log can be written, put it into the log.

        A claim that was stored is never lost: if sequencing fails now, `log_indices` is empty and a later run does it.

        Returns:
            The claim; with its secret if it belongs to no account.

        Raises:
            InputError, ConflictError, TooOftenError: as `registry.admission.admit`. Nothing was stored.
        """
        with transaction(self._sessions) as session:
            claim = admit(
                session,
                request,
                now=self._clock(),
                limits=self._limits,
                idempotency_key=idempotency_key,
                account_id=account_id,
                client=client,
            )
        secret = self._secrets.of(claim.id) if account_id is None else None
        return self._sequenced(claim).model_copy(update={"secret": secret})

    def preview(self, request: ClaimRequest) -> ClaimPreview:
        """What `submit` would make of a request. Stores nothing. Raises as `registry.claims.preview`."""
        return claims.preview(request)

    def withdraw(self, claim_id: str, *, reason: str) -> Claim:
        """Take a claim out of force, as `registry.claims.withdraw`, and into the log as `submit`."""
        with transaction(self._sessions) as session:
            claim = claims.withdraw(session, claim_id, reason=reason, now=self._clock())
        return self._sequenced(claim)

    def withdraw_own(self, claim_id: str, *, account_id: str | None = None, secret: str | None = None) -> Claim:
        """The claimant takes it back. Raises NotFoundError, AccessError as `registry.claims.check_may_change`."""
        has_secret = self._secrets.is_of(claim_id, secret)
        with transaction(self._sessions) as session:
            claims.check_may_change(session, claim_id, account_id=account_id, has_secret=has_secret)
            claim = claims.withdraw(session, claim_id, reason="by-claimant", now=self._clock())
        return self._sequenced(claim)

    def adopt(self, claim_id: str, account_id: str, *, secret: str) -> Claim:
        """Move a claim made without an account into one. Raises as `registry.claims.adopt`."""
        with transaction(self._sessions) as session:
            return claims.adopt(session, claim_id, account_id, has_secret=self._secrets.is_of(claim_id, secret))

    def may_change(self, claim_id: str, *, account_id: str | None = None, secret: str | None = None) -> bool:
        """Whether these let somebody change a claim. Raises NotFoundError."""
        has_secret = self._secrets.is_of(claim_id, secret)
        with transaction(self._reading) as session:
            return claims.may_change(session, claim_id, account_id=account_id, has_secret=has_secret)

    def claim(self, claim_id: str) -> Claim:
        """A claim as it stands. Raises NotFoundError."""
        with transaction(self._reading) as session:
            return claims.get_claim(session, claim_id)

    def claims_of(self, account_id: str, *, cursor: str | None = None, limit: int = claims.MAX_PAGE) -> ClaimPage:
        """An account's claims. Raises as `registry.claims.list_claims`."""
        with transaction(self._reading) as session:
            return claims.list_claims(session, account_id, cursor=cursor, limit=limit)

    def raise_assurance(
        self, claim_id: str, assurance: Assurance, *, reason: str, positions: Collection[int] | None = None
    ) -> Claim:
        """As `registry.transitions.raise_assurance`, and into the log as `submit`."""
        with transaction(self._sessions) as session:
            transitions.raise_assurance(
                session, claim_id, assurance, reason=reason, now=self._clock(), positions=positions
            )
            claim = claims.get_claim(session, claim_id)
        return self._sequenced(claim)

    def receipt(self, claim_id: str) -> dict[str, Any]:
        """Receipt as JSON (heldout-receipt/1). Raises NotFoundError: no such claim, or not in the log yet."""
        with transaction(self._reading) as session:
            return receipt_to_json(make_receipt(session, self._sequencer, claim_id))

    def erase_personal_data(self, claim_id: str) -> None:
        """As `registry.claims.erase_personal_data`."""
        with transaction(self._sessions) as session:
            claims.erase_personal_data(session, claim_id)
        fold_write_ahead_log(self._engine)

    def delete_account(self, account_id: str, *, withdraw_claims: bool) -> None:
        """As `registry.accounts.Accounts.delete`, and withdrawals into the log as `submit`."""
        self.accounts.delete(account_id, withdraw_claims=withdraw_claims)
        self._try_sequence()
        fold_write_ahead_log(self._engine)

    def opted_out(self, samples: Sequence[Sample]) -> list[Coverage | None]:
        """For each sample, the claims in force that cover it, or None."""
        return self._coverage.covering(samples)

    def sequence(self) -> Checkpoint:
        """Put pending events into the log. Raises as `Sequencer.sequence`."""
        return self._sequencer.sequence()

    def publish(self) -> Published:
        """Publish the exclusion list. Raises as `Publisher.publish`."""
        return self._publisher.publish(now=self._clock())

    def list_versions(self, *, newest: int, limit: int) -> list[LoggedVersion]:
        """As `registry.versions.list_versions`."""
        with transaction(self._reading) as session:
            return versions.list_versions(session, newest=newest, limit=limit)

    def log_index_of_list(self, log_size: int) -> int | None:
        """As `registry.versions.log_index_of`."""
        with transaction(self._reading) as session:
            return versions.log_index_of(session, log_size)

    def versions_of_claim(self, claim_id: str, size_of: SizeOf) -> InLists | None:
        """As `registry.claim_versions.versions_of`."""
        with transaction(self._reading) as session:
            return versions_of(session, claim_id, size_of)

    def pictures_of_claim(self, claim_id: str, *, limit: int) -> list[ImageDigest]:
        """The first pictures of a claim, as the log has them: anybody may know. Raises NotFoundError."""
        with transaction(self._reading) as session:
            return claims.pictures_of(session, claim_id, limit=limit)

    def ask_witnesses(self) -> WitnessReport | None:
        """Have the checkpoint cosigned, as `WitnessClient.cosign`."""
        return self._witnesses.cosign()

    def rebuild(self) -> Rebuilt:
        """Fill the empty database from the log's folder. Raises as `registry.rebuild.rebuild`."""
        return rebuild(self._sessions, self._log_store, self._checkpoints, Verifier.parse(self.vkey))

    @property
    def root_json(self) -> Path:
        """The list's first signed root: what labs are given to trust."""
        return self.state_dir / "keys" / "1.root.json"

    def close(self) -> None:
        """Close the database's connections."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _sequenced(self, claim: Claim) -> Claim:
        self._try_sequence(claim=claim.id)
        return self.claim(claim.id)

    def _try_sequence(self, **fields: str) -> None:
        try:
            self.sequence()
        except HeldoutError as error:  # what was stored holds; the operator must look, the claimant need not
            logger.exception("sequencing_failed", extra={"error": type(error).__name__, **fields})


def migrate(database_url: str) -> None:
    """Bring a database to the newest schema."""
    engine = make_engine(database_url)
    try:
        upgrade(engine)
    finally:
        engine.dispose()
