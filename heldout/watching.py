"""What a monitor looks for in the log: hosts, addresses and pictures, and every later word about a claim on them.

The log names places, not addresses: an address is a digest in it. So a watched host is found in rules for the host,
for hosts above and below it and for paths on it; a watched address besides as itself; a picture by bytes or by PDQ.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from heldout.errors import InputError
from heldout.fingerprints import is_match
from heldout.leaves import (
    AssuranceLeaf,
    HostRule,
    ImageDigest,
    Leaf,
    ListLeaf,
    LoggedSubject,
    OptOutLeaf,
    PrefixRule,
    StateLeaf,
    UrlDigest,
    WithdrawLeaf,
    format_at,
)
from heldout.places import host_rule, hosts_covering, prefixes_covering
from heldout.states import words
from heldout.urls import canonical_key, host_of, key_digest


@dataclass(frozen=True)
class Happened:
    """One entry about something that is watched."""

    index: int
    leaf: OptOutLeaf | AssuranceLeaf | StateLeaf | WithdrawLeaf
    about: tuple[str, ...]
    """Names of what is watched."""

    def to_json(self) -> dict[str, object]:
        """For a script."""
        facts: dict[str, object] = {"index": self.index, "at": format_at(self.leaf.at), "type": _type(self.leaf)}
        facts |= {"claim": self.leaf.claim, "about": list(self.about)}
        for name in ("preference", "assurance", "state", "reason"):
            if hasattr(self.leaf, name):
                facts[name] = getattr(self.leaf, name)
        return facts

    def words(self) -> str:
        """For a person: one line."""
        match self.leaf:
            case OptOutLeaf(preference=preference, assurance=assurance):
                what = f"opt-out, {preference}, {assurance}"
            case AssuranceLeaf(assurance=assurance, reason=reason):
                what = f"now proved as {assurance} ({reason})"
            case StateLeaf(state=state, reason=reason):
                what = f"now {words(state)} ({reason})"
            case WithdrawLeaf(reason=reason):
                what = f"withdrawn ({reason})"
        return (
            f"{format_at(self.leaf.at)}  entry {self.index}  {', '.join(self.about)}: {what}, claim {self.leaf.claim}"
        )


@dataclass(frozen=True)
class _Picture:
    sha256: bytes
    pdq: tuple[int, ...]
    """Of the orientations, as numbers."""
    quality: int

    def matches(self, subject: ImageDigest) -> bool:
        if subject.sha256 == self.sha256:
            return True
        logged = int.from_bytes(subject.pdq, "big")
        distance = min((logged ^ mine).bit_count() for mine in self.pdq)
        return is_match(distance, self.quality, subject.quality)


@dataclass
class Watches:
    """What to look for; each under a name that is the same from run to run."""

    _hosts: dict[str, str] = field(default_factory=dict)
    _urls: dict[str, str] = field(default_factory=dict)
    _digests: dict[bytes, str] = field(default_factory=dict)
    _pictures: dict[str, _Picture] = field(default_factory=dict)

    def add_host(self, host: str) -> None:
        """A host with everything below it. Raises InputError: it is no host."""
        rule = host_rule(host)
        self._hosts[f"host {rule.host}"] = rule.host

    def add_url(self, url: str) -> None:
        """An address. Raises InputError: it is none."""
        key = canonical_key(url)
        self._urls[f"url {key}"] = key
        self._digests[key_digest(key)] = f"url {key}"

    def add_picture(self, data: bytes, name: str) -> None:
        """A picture's file. Raises InputError: it is none, or this installation cannot read pictures."""
        try:
            from heldout.pictures import fingerprint
        except ImportError as error:
            raise InputError(f"looking for {name} needs Pillow: pip install 'heldout[images]'") from error
        made = fingerprint(data, name=name)
        pdq = tuple(int.from_bytes(row.tobytes(), "big") for row in made.pdq)
        self._pictures[f"image {made.sha256.hex()[:16]}"] = _Picture(made.sha256, pdq, made.quality)

    @property
    def names(self) -> set[str]:
        """Of all of them."""
        return {*self._hosts, *self._urls, *self._pictures}

    def matching(self, subject: LoggedSubject) -> set[str]:
        """Names of what this subject of the log is about."""
        match subject:
            case UrlDigest(key=digest):
                return {self._digests[digest]} if digest in self._digests else set()
            case ImageDigest():
                return {name for name, picture in self._pictures.items() if picture.matches(subject)}
            case HostRule(host=host):
                hosts = {name for name, mine in self._hosts.items() if _is_below(mine, host) or _is_below(host, mine)}
                return hosts | {name for name, key in self._urls.items() if host in hosts_covering(key)}
            case PrefixRule(prefix=prefix):
                hosts = {name for name, mine in self._hosts.items() if _is_below(host_of(prefix), mine)}
                return hosts | {name for name, key in self._urls.items() if prefix in prefixes_covering(key)}


@dataclass
class WatchedClaims:
    """What must be remembered of the log to recognise what happens to a claim later. Small: only claims that match."""

    positions: dict[str, dict[str, list[int]]] = field(default_factory=dict)
    """Claim -> name of what is watched -> positions of the claim's subjects that are about it."""
    n_seen: dict[str, int] = field(default_factory=dict)
    """Claim -> subjects so far, of claims whose parts are not all there yet."""

    def read(self, index: int, leaf: Leaf, watches: Watches, floors: Mapping[str, int]) -> Happened | None:
        """What an entry says about what is watched, and remember it.

        Args:
            index: of the entry; entries are given in order.
            leaf: the entry.
            watches: what is watched.
            floors: by name, the index below which entries were looked through already.
        """
        match leaf:
            case OptOutLeaf():
                about = self._read_opt_out(leaf, watches)
            case AssuranceLeaf() | StateLeaf():
                held = self.positions.get(leaf.claim, {})
                told = None if leaf.positions is None else set(leaf.positions)
                about = {name for name, positions in held.items() if told is None or not told.isdisjoint(positions)}
            case WithdrawLeaf():
                about = set(self.positions.get(leaf.claim, {}))
            case ListLeaf():
                return None
        names = tuple(sorted(name for name in about & watches.names if index >= floors.get(name, 0)))
        return Happened(index, leaf, names) if names else None

    def _read_opt_out(self, leaf: OptOutLeaf, watches: Watches) -> set[str]:
        start = self.n_seen.pop(leaf.claim, 0)
        if leaf.part < leaf.n_parts:
            self.n_seen[leaf.claim] = start + len(leaf.subjects)
        about: set[str] = set()
        for position, subject in enumerate(leaf.subjects, start=start):
            for name in watches.matching(subject):
                held = self.positions.setdefault(leaf.claim, {}).setdefault(name, [])
                if position not in held:
                    held.append(position)
                about.add(name)
        return about


def _is_below(host: str, above: str) -> bool:
    return host == above or host.endswith(f".{above}")


def _type(leaf: OptOutLeaf | AssuranceLeaf | StateLeaf | WithdrawLeaf) -> str:
    match leaf:
        case OptOutLeaf():
            return "opt-out"
        case AssuranceLeaf():
            return "assurance"
        case StateLeaf():
            return "state"
        case WithdrawLeaf():
            return "withdraw"


def describe(leaf: Leaf) -> tuple[str, datetime]:
    """An entry's type and time."""
    return ("list" if isinstance(leaf, ListLeaf) else _type(leaf)), leaf.at
