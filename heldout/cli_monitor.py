"""`heldout monitor`: rounds of `heldout.monitor`, told to a person or a script, once or again and again."""

import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from heldout.checkpoint import Verifier
from heldout.cli_check import read_picture
from heldout.cli_verify import read_key
from heldout.durable import locked, make_folders
from heldout.errors import InputError, NotFoundError, UnavailableError
from heldout.leaves import format_at
from heldout.monitor import Monitor, Round
from heldout.monitor_state import MonitorState
from heldout.terminal import complain, plain
from heldout.watching import Happened, Watches
from heldout.witnesses import WitnessPolicy

WITNESSED_AGE = timedelta(days=7)
"""With a policy of witnesses and nothing else said: how old their newest word may be."""


def make_watches(hosts: Sequence[str], urls: Sequence[str], images: Sequence[Path]) -> Watches:
    """What is looked for. Raises InputError: one of them cannot be."""
    watches = Watches()
    for host in hosts:
        watches.add_host(host)
    for url in urls:
        watches.add_url(url)
    for path in images:
        watches.add_picture(read_picture(path), str(path))
    return watches


def log_verifier(log_key: str | None, policy: WitnessPolicy | None, state_path: Path, url: str) -> Verifier:
    """The log's key: given, of the policy, or of the rounds before."""
    if log_key is not None:
        return Verifier.parse(read_key(log_key))
    if policy is not None and len(policy.logs) == 1:
        return policy.logs[0]
    state = MonitorState.load(state_path)
    if state is not None:
        return Verifier.parse(state.vkey)
    raise InputError(
        f"to follow the log of {url} for the first time, give its key with --log-key VKEY, got from elsewhere than the "
        "server, or a policy with a log line with --witnesses FILE"
    )


def follow(monitor: Monitor, *, interval_s: float | None, as_json: bool) -> None:
    """Follow once, or every so many seconds until an alarm or an interruption.

    What fails outside is told and tried again if there is a next time.

    Raises:
        LogAlarm, InputError, UnavailableError, NotFoundError: as `Monitor.round`.
    """
    make_folders(monitor.state_path.parent.absolute())

    def tell(happened: Happened) -> None:
        print(json.dumps({"event": "entry", **happened.to_json()}) if as_json else plain(happened.words()), flush=True)

    is_known = False  # that there is such a log: an address that was never right is a mistake
    while True:
        with locked(monitor.state_path.with_name(f".{monitor.state_path.name}.lock")):
            try:
                seen = monitor.round(tell, now=datetime.now(UTC))
            except (UnavailableError, NotFoundError) as error:
                if interval_s is None or (isinstance(error, NotFoundError) and not is_known):
                    raise
                complain(str(error))
            else:
                is_known = True
                _tell_round(seen, as_json=as_json)
        if interval_s is None:
            return
        time.sleep(interval_s)


def _tell_round(seen: Round, *, as_json: bool) -> None:
    newest = None if seen.newest_at is None else format_at(seen.newest_at)
    witnessed = seen.witnessed
    if as_json:
        facts: dict[str, object] = {
            "event": "round",
            "origin": seen.origin,
            "old_size": seen.old_size,
            "size": seen.size,
            "n_read": seen.n_read,
            "n_by_type": dict(seen.n_by_type),
            "newest_entry_at": newest,
        }
        if witnessed is not None:
            facts |= {
                "witnesses": sorted(witnessed.cosignatures),
                "is_witnessed": witnessed.is_enough,
                "witnessed_at": None if witnessed.at is None else format_at(witnessed.at),
            }
        print(json.dumps(facts), flush=True)
        return
    read = ", ".join(f"{n} {kind}" for kind, n in sorted(seen.n_by_type.items())) or "no new entries"
    word = "" if witnessed is None else f"; cosigned by {', '.join(sorted(witnessed.cosignatures)) or 'nobody'}"
    if witnessed is not None and not witnessed.is_enough:
        word += ", NOT enough"
    print(
        f"{seen.origin}: {seen.size} entries, consistent with the {seen.old_size} seen before; read {read}; "
        f"newest entry of {newest or 'never'}{word}",
        flush=True,
    )
    if seen.n_by_type["unknown"]:
        complain(f"{seen.n_by_type['unknown']} entries are of a kind this program does not know: update heldout")
