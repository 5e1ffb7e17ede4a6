"""Asks witnesses to cosign the checkpoint: the log's side of C2SP tlog-witness, `add-checkpoint`.

Which witnesses, where they are and how many are wanted is `<state_dir>/witnesses.policy`, a C2SP tlog-policy file. What
goes wrong out there is told, not raised: a list is published though a witness sleeps. A witness that has seen another
history of this log is told as an alarm: the log was rolled back, or someone else signs with its key.

Source: https://c2sp.org/tlog-witness. Nothing is remembered: a witness says itself (409) how far it has followed.
"""

import logging
import re
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

from heldout import __version__
from heldout.checkpoint import split_note, to_base64
from heldout.cosignatures import Cosignature, verify_cosignatures
from heldout.errors import ConflictError, HeldoutError, NotFoundError
from heldout.tiles import TileReader
from heldout.witnesses import Witness, WitnessPolicy
from registry.log import Sequencer

POLICY_FILE: Final = "witnesses.policy"
TIMEOUT_S: Final = 10.0
"""For connecting, and between two bytes."""
TOTAL_S = 30.0
"""For all of an answer: publishing waits for it."""
MAX_ANSWER_BYTES: Final = 100_000
"""16 ML-DSA-44 cosignatures have some 55 kB."""

_ATTEMPTS = 3
_SIZE = re.compile(r"(0|[1-9][0-9]{0,19})\n?", re.ASCII)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Asked:
    """What came of asking one witness."""

    name: str
    problem: str | None
    """None if it cosigned."""
    is_alarm: bool = False
    """The witness has seen another history of this log."""


@dataclass(frozen=True)
class WitnessReport:
    """What came of asking all of them."""

    size: int
    """Entries under the checkpoint they were asked about."""
    asked: tuple[Asked, ...]
    is_enough: bool
    """Whether the policy's quorum has cosigned the published checkpoint."""
    problem: str | None = None
    """What kept us from asking, or from publishing what they answered."""

    @property
    def is_alarm(self) -> bool:
        """Whether a witness contradicts the log."""
        return any(asked.is_alarm for asked in self.asked)

    def lines(self) -> list[str]:
        """What a person should know, a line each; empty if all went well."""
        problems = [f"witness {asked.name}: {asked.problem}" for asked in self.asked if asked.problem]
        if self.problem:
            problems.append(self.problem)
        if problems and not self.is_enough:
            problems.append("the checkpoint is not cosigned by the quorum of witnesses; the next run asks again")
        return problems


class WitnessClient:
    """Asks the witnesses of one log. The policy is read anew each time."""

    def __init__(self, policy_path: Path, sequencer: Sequencer) -> None:
        self._policy_path = policy_path
        self._sequencer = sequencer

    def policy(self) -> WitnessPolicy | None:
        """The witnesses, if any are configured. Raises InputError: the file is damaged."""
        return WitnessPolicy.load(self._policy_path) if self._policy_path.exists() else None

    def cosign(self) -> WitnessReport | None:
        """Ask every witness with a URL about the published checkpoint, and publish what they sign with it.

        A checkpoint that moves meanwhile keeps its place: the cosigned one is kept beside it
        (`Sequencer.keep_witnessed`), and the next run asks about the newer one.

        Returns:
            None if no witnesses are configured.
        """
        try:
            policy = self.policy()
            if policy is None:
                return None
            note, reader = self._sequencer.reader()
            report = self._ask_all(policy, note, reader)
        except HeldoutError as error:
            report = WitnessReport(0, (), is_enough=False, problem=f"witnesses were not asked: {error}")
        for line in report.lines():
            logger.log(logging.ERROR if report.is_alarm else logging.WARNING, "witness_problem", extra={"line": line})
        logger.info("log_witnessed", extra={"size": report.size, "is_enough": report.is_enough})
        return report

    def _ask_all(self, policy: WitnessPolicy, note: str, reader: TileReader) -> WitnessReport:
        bare = _without_cosignatures(note, policy)
        reachable = [witness for witness in policy.witnesses.values() if witness.url is not None]
        headers = {"User-Agent": f"heldout/{__version__}", "Content-Type": "text/plain; charset=utf-8"}
        with httpx.Client(timeout=TIMEOUT_S, headers=headers) as client:
            exchange = _Exchange(client, bare, reader)
            with ThreadPoolExecutor(max_workers=16) as pool:
                answers = list(pool.map(exchange.ask, reachable))
        given = {witness.name: answer for witness, answer in zip(reachable, answers, strict=True)}
        signed = {name: answer for name, answer in given.items() if isinstance(answer, Cosignature)}
        asked = tuple(
            Asked(name, None) if isinstance(answer, Cosignature) else answer for name, answer in given.items()
        )
        cosigned = _with_cosignatures(note, bare, policy, signed)
        witnessed = policy.witnessed(cosigned)
        if witnessed.is_enough and witnessed.cosignatures:
            self._sequencer.keep_witnessed(cosigned)
        problem = None
        if cosigned != note:
            try:
                self._sequencer.replace_signatures(note, cosigned)
            except ConflictError:
                problem = f"the log grew over the {reader.size} entries that the witnesses were asked about"
        return WitnessReport(reader.size, asked, witnessed.is_enough, problem)


class _Exchange:
    """One checkpoint, put to witness after witness."""

    def __init__(self, client: httpx.Client, note: str, reader: TileReader) -> None:
        self._client = client
        self._note = note
        self._reader = reader

    def ask(self, witness: Witness) -> Cosignature | Asked:
        old_size = 0
        for _ in range(_ATTEMPTS):
            try:
                status, answer = self._post(f"{(witness.url or '').rstrip('/')}/add-checkpoint", old_size)
            except (httpx.HTTPError, httpx.InvalidURL, NotFoundError) as error:
                return Asked(witness.name, f"could not be asked ({str(error) or type(error).__name__})")
            if status != 409:
                break
            seen = _SIZE.fullmatch(answer)
            if seen is None:
                return Asked(witness.name, f"answered 409 without the size it knows: {_shown(answer)}")
            old_size = int(seen[1])
            if old_size > self._reader.size:
                return Asked(
                    witness.name,
                    f"ALARM: it has seen {old_size} entries of this log, which has {self._reader.size}: the log was "
                    "rolled back, or something else signs with its key",
                    is_alarm=True,
                )
        if status == 200:
            return self._cosignature(witness, answer)
        if status == 422 and old_size:
            return Asked(
                witness.name,
                f"ALARM: it has seen another history of this log up to entry {old_size} ({_shown(answer)}): the log "
                "was rewritten, or something else signs with its key",
                is_alarm=True,
            )
        return Asked(witness.name, f"answered {status}: {_shown(answer)}")

    def _cosignature(self, witness: Witness, answer: str) -> Cosignature | Asked:
        try:
            found = verify_cosignatures(self._note + answer, [witness.key])
        except HeldoutError as error:
            return Asked(witness.name, f"gave no cosignature that verifies ({error})")
        return (
            found[0] if found else Asked(witness.name, f"signed with another key than the policy's: {_shown(answer)}")
        )

    def _post(self, url: str, old_size: int) -> tuple[int, str]:
        """Status and text of the answer; of an endless one, its beginning."""
        proof = "".join(f"{to_base64(node)}\n" for node in self._reader.consistency_proof(old_size))
        body = f"old {old_size}\n{proof}\n{self._note}".encode()
        data = bytearray()
        deadline = time.monotonic() + TOTAL_S
        with self._client.stream("POST", url, content=body) as response:
            for chunk in response.iter_bytes():
                if time.monotonic() > deadline:
                    raise httpx.ReadTimeout(f"its answer took more than {TOTAL_S:.0f} s")
                data += chunk
                if len(data) > MAX_ANSWER_BYTES:
                    break
        return response.status_code, data[:MAX_ANSWER_BYTES].decode("utf-8", "replace")


def _without_cosignatures(note: str, policy: WitnessPolicy) -> str:
    """The note with the log's own signatures only: what a witness is shown."""
    text, signatures = split_note(note)
    witnesses = {(witness.key.name, witness.key.key_id) for witness in policy.witnesses.values()}
    own = [signed.line for signed in signatures if (signed.name, signed.key_id) not in witnesses]
    return text + "\n" + "".join(f"{line}\n" for line in own)


def _with_cosignatures(note: str, bare: str, policy: WitnessPolicy, new: Mapping[str, Cosignature]) -> str:
    """The note with one cosignature of each witness: the new one, else the one it had."""
    held = {**policy.witnessed(note).cosignatures, **new}
    return bare + "".join(f"{held[name].line}\n" for name in policy.witnesses if name in held)


def _shown(text: str) -> str:
    """What a stranger answered, fit for a log line."""
    return repr(text[:200].strip())
