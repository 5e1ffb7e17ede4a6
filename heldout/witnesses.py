"""Whose word about a log counts, and how many of them it takes: a C2SP tlog-policy file.

    log      <vkey> [<url>]
    witness  <name> <vkey> [<url>]
    group    <name> all|any|<k> <name>...
    quorum   <name>|none

Source: https://c2sp.org/tlog-policy.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from heldout.checkpoint import Verifier
from heldout.cosignatures import Cosignature, Cosigner, verify_cosignatures
from heldout.errors import InputError, VerificationError
from heldout.receipts import parse_tlog_proof

_NONE = "none"
_FORBIDDEN = re.compile(rb"[^\t\n\x20-\x7e\x80-\xff]")
_COUNT = re.compile(r"[1-9][0-9]{0,3}", re.ASCII)


@dataclass(frozen=True)
class Witness:
    """A witness as the policy names it."""

    name: str
    """Of the policy; the key has a name of its own."""
    key: Cosigner
    url: str | None
    """Where its protocol is served (tlog-witness: the submission prefix), if the policy says."""


@dataclass(frozen=True)
class Group:
    """So many of its members, witnesses or groups, must have signed."""

    threshold: int
    members: tuple[str, ...]


@dataclass(frozen=True)
class Witnessed:
    """What the policy's witnesses said about one checkpoint."""

    cosignatures: Mapping[str, Cosignature]
    """By the policy's name of the witness."""
    is_enough: bool
    """Whether the policy's quorum signed."""
    at: datetime | None
    """Since when: a quorum signed then or later. None if it is not enough, or nobody was needed."""


@dataclass(frozen=True)
class WitnessPolicy:
    """A policy file."""

    logs: tuple[Verifier, ...]
    witnesses: Mapping[str, Witness]
    groups: Mapping[str, Group]
    quorum: str

    @classmethod
    def parse(cls, data: bytes) -> "WitnessPolicy":
        """From a policy file's content.

        Raises:
            InputError: not such a file; the message names the line.
        """
        return _Parser().parse(data)

    @classmethod
    def load(cls, path: Path) -> "WitnessPolicy":
        """From a policy file. Raises InputError: it cannot be read, or as `parse`."""
        try:
            return cls.parse(path.read_bytes())
        except OSError as error:
            raise InputError(f"{path} cannot be read ({error.strerror}): give a file of witnesses") from error
        except InputError as error:
            raise InputError(f"{path}: {error}") from error

    def witnessed(self, note: str | bytes) -> Witnessed:
        """What this policy's witnesses say about a checkpoint.

        Raises:
            VerificationError: the note is malformed, or one of these witnesses' signatures is wrong.
        """
        names = {witness.key: name for name, witness in self.witnesses.items()}
        found = {names[signed.cosigner]: signed for signed in verify_cosignatures(note, names)}
        return Witnessed(found, self.is_enough(set(found)), self._at(found))

    def is_enough(self, signed: set[str]) -> bool:
        """Whether these witnesses are a quorum."""
        return self.quorum == _NONE or self._has_signed(self.quorum, signed)

    def verify(self, note: str | bytes) -> Witnessed:
        """As `witnessed`, and raise VerificationError if it is not enough."""
        witnessed = self.witnessed(note)
        if not witnessed.is_enough:
            raise VerificationError(
                f"the checkpoint is cosigned by {', '.join(witnessed.cosignatures) or 'none of the witnesses'}: the "
                f"policy's quorum {self.quorum!r} asks for more; get a newer proof, or ask the log's operator"
            )
        return witnessed

    def check_list(self, tlog_proof: bytes, vkey: str) -> tuple[str, ...]:
        """Check that enough of them cosigned the checkpoint of a list's tlog-proof; the names of those who did.

        Args:
            tlog_proof: the proof, checked otherwise.
            vkey: of the log it is of. If the policy names logs, it must be one of them.

        Raises:
            VerificationError: too few did, one of their signatures is wrong, or it is another log.
        """
        if self.logs and vkey not in {log.vkey for log in self.logs}:
            raise VerificationError(f"its log {vkey} is none of those that the policy of witnesses names")
        return tuple(self.verify(parse_tlog_proof(tlog_proof).checkpoint).cosignatures)

    def _at(self, found: Mapping[str, Cosignature]) -> datetime | None:
        """The newest time such that those who signed then or later are enough: no single witness can make it newer."""
        signed: set[str] = set()
        for name, cosignature in sorted(found.items(), key=lambda item: item[1].at, reverse=True):
            signed.add(name)
            if self.is_enough(signed):
                return cosignature.at
        return None

    def _has_signed(self, name: str, signed: set[str]) -> bool:
        group = self.groups.get(name)
        if group is None:
            return name in signed
        return sum(self._has_signed(member, signed) for member in group.members) >= group.threshold


class _Parser:
    def __init__(self) -> None:
        self.logs: list[Verifier] = []
        self.witnesses: dict[str, Witness] = {}
        self.groups: dict[str, Group] = {}
        self.quorums: list[str] = []
        self.taken: set[str] = set()  # members of a group: each counts once

    def parse(self, data: bytes) -> WitnessPolicy:
        bad = _FORBIDDEN.search(data)
        if bad:
            raise InputError(f"byte 0x{bad[0].hex()} is not allowed in a policy of witnesses: save it as plain text")
        # Octets beyond ASCII are opaque; surrogates keep them, as file names do.
        for number, line in enumerate(data.decode("ascii", "surrogateescape").split("\n"), start=1):
            words = line.replace("\t", " ").split(" ")
            words = [word for word in words if word]
            if words and not words[0].startswith("#"):
                try:
                    self._line(words)
                except InputError as error:
                    raise InputError(f"line {number}: {error}") from error
        if len(self.quorums) != 1:
            raise InputError(f"a policy of witnesses has exactly one quorum line, this one {len(self.quorums)}")
        return WitnessPolicy(tuple(self.logs), self.witnesses, self.groups, self.quorums[0])

    def _line(self, words: list[str]) -> None:
        match words:
            case ["log", vkey] | ["log", vkey, _]:
                self._log(vkey)
            case ["witness", name, vkey]:
                self._witness(name, vkey, None)
            case ["witness", name, vkey, url]:
                self._witness(name, vkey, url)
            case ["group", name, count, *members] if members:
                self._group(name, count, members)
            case ["quorum", name]:
                if name != _NONE and name not in {*self.witnesses, *self.groups}:
                    raise InputError(f"quorum {name!r} is not defined above")
                self.quorums.append(name)
            case _:
                raise InputError(
                    f"{' '.join(words)[:80]!r} is none of: log VKEY [URL]; witness NAME VKEY [URL]; "
                    "group NAME all|any|K NAME...; quorum NAME|none"
                )

    def _log(self, vkey: str) -> None:
        log = Verifier.parse(vkey)
        if log.public_key in {known.public_key for known in self.logs}:
            raise InputError(f"the public key of log {log.name} is there twice")
        self.logs.append(log)

    def _witness(self, name: str, vkey: str, url: str | None) -> None:
        self._check_new(name)
        key = Cosigner.parse(vkey)
        if key.public_key in {known.key.public_key for known in self.witnesses.values()}:
            raise InputError(f"the public key of witness {name!r} is there twice: one witness counts once")
        self.witnesses[name] = Witness(name, key, url)

    def _group(self, name: str, count: str, members: list[str]) -> None:
        self._check_new(name)
        for member in members:
            if member not in {*self.witnesses, *self.groups}:
                raise InputError(f"{member!r} of group {name!r} is not defined above")
            if member in self.taken:
                raise InputError(f"{member!r} is a member of a group more than once: it counts in one way only")
            self.taken.add(member)
        words = {"any": 1, "all": len(members)}
        threshold = words[count] if count in words else int(count) if _COUNT.fullmatch(count) else 0
        if not 1 <= threshold <= len(members):
            raise InputError(f"group {name!r} asks for {count[:20]} of {len(members)}: give all, any or a number")
        self.groups[name] = Group(threshold, tuple(members))

    def _check_new(self, name: str) -> None:
        if name == _NONE or name in {*self.witnesses, *self.groups}:
            raise InputError(f"the name {name!r} is taken")
