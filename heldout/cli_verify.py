"""`heldout verify`: a list, a filter report or a receipt, each told in its own words. Nothing here decides."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from heldout.errors import InputError, VerificationError
from heldout.terminal import format_counts, plain, print_json, tell_doubts

if TYPE_CHECKING:
    from heldout.records import ClaimState
    from heldout.report_reading import Report


def check_no_report(path: Path, for_reports: Sequence[object]) -> None:
    """Refuse options that are for filter reports with something that is none. Raises InputError."""
    if for_reports:
        raise InputError(
            f"{path} is no filter report, which --key, --shards, --out, --again, --receipt, --from and --url are for: "
            "give the report first, as in heldout verify report.json --receipt receipt.json"
        )


def verify_list(path: Path, witnesses: Path | None, *, allow_unverified: bool, as_json: bool) -> None:
    """Tell of a pulled list."""
    from heldout.exclusion import ExclusionList
    from heldout.leaves import format_at
    from heldout.stored import PROOF
    from heldout.witnesses import WitnessPolicy

    exclusions = ExclusionList.open(path, allow_unverified=allow_unverified)
    tell_doubts(exclusions.doubts)
    version = exclusions.version
    proved = version.proved
    witnessed: list[str] = []
    if witnesses is not None:
        proof = (version.folder.versions / version.name / PROOF).read_bytes()
        witnessed += WitnessPolicy.load(witnesses).check_list(proof, version.manifest.log.vkey)
    if as_json:
        print_json(
            {
                "kind": "list",
                "is_verified": not exclusions.doubts,
                "doubts": list(exclusions.doubts),
                "version": version.manifest.version,
                "manifest_sha256": version.manifest_sha256.hex(),
                "counts": version.manifest.counts,
                "witnesses": witnessed,
                "expires_at": None if proved is None else format_at(proved.trusted.expires_at),
            }
        )
        return
    state = "NOT verified" if exclusions.doubts else "verified"
    until = "" if proved is None else f"; fresh until {format_at(proved.trusted.expires_at)}"
    counts = format_counts(version.manifest.counts)
    print(f"{path}: {state}: version {version.manifest.version}, {counts}{until}{cosigned(witnessed)}")


def verify_filter_report(
    path: Path,
    list_path: Path | None,
    *,
    keys: Sequence[Path],
    shards: Sequence[Path],
    out: Path | None,
    n_again: int,
    allow_unverified: bool,
    as_json: bool,
) -> None:
    """Tell of a filter report; with doubts only if they are allowed."""
    from heldout.applied_evidence import find_version
    from heldout.report_check import check_report
    from heldout.report_reading import load_report
    from heldout.report_shards import verify_shards
    from heldout.signing_keys import load_public_key
    from heldout.stored import verify_current

    if n_again and not shards:
        raise InputError("to filter shards again, say where they are: --shards IN")
    report = load_report(path, [load_public_key(key) for key in keys])
    applied = None
    if list_path is not None:  # a report stays true when its list has gone stale
        name = find_version(list_path, report.manifest_sha256)
        applied = verify_current(list_path, now=None, allow_unverified=allow_unverified, name=name)
        tell_doubts(applied.doubts)
    checked = check_report(report, applied=applied, out=out)
    held = verify_shards(report, shards, applied, n_again=n_again) if shards else None
    doubts = [*checked.doubts, *(held.doubts if held else ())]
    if doubts and not allow_unverified:
        raise VerificationError(f"{path}: {'; '.join(doubts)}")
    tell_doubts(doubts)
    if as_json:
        print_json(
            {
                "kind": "filter-report",
                "is_verified": not doubts,
                "doubts": doubts,
                "is_list_checked": applied is not None,
                "signed_by": list(report.signed_by),
                "n_intact": checked.n_intact,
                "missing": list(checked.missing),
                "unlisted": list(checked.unlisted),
                "failed": list(checked.failed),
                "inputs": None if held is None else held.to_json(),
                "manifest_sha256": checked.manifest_sha256,
                "total": checked.total,
            }
        )
        return
    state = "NOT verified" if doubts else "verified"
    by = "this list" if applied is not None else "a list that was not checked (give --list)"
    print(
        f"{path}: {state}: {checked.n_intact} files are as the run wrote them; it dropped {checked.total['n_dropped']} "
        f"of {checked.total['n_in']} samples by {by}, manifest {checked.manifest_sha256}; {_signed(report)}"
    )
    if held is not None:
        print(held.words())


def _signed(report: "Report") -> str:
    if report.signed_by:
        return f"signed by {', '.join(report.signed_by)}"
    if report.claimed_signers:
        named = plain(", ".join(report.claimed_signers))
        return f"says to be signed by {named}, which was not checked (give --key)"
    return "not signed"


def verify_claim_receipt(
    path: Path,
    value: object,
    list_path: Path | None,
    log_key: str | None,
    witnesses: Path | None,
    *,
    allow_unverified: bool,
    as_json: bool,
) -> None:
    """Tell of an artist's receipt, by the log's key or that of a list."""
    from heldout.leaves import OptOutLeaf, WithdrawLeaf, format_at
    from heldout.receipts import receipt_from_json, verify_receipt
    from heldout.records import CLAIM_STATES
    from heldout.replay import replay
    from heldout.stored import verify_current

    if (list_path is None) == (log_key is None):
        raise InputError(f"to check the receipt {path}, give either --log-key VKEY or --list LIST")
    if list_path is not None:
        stored = verify_current(list_path, now=None, allow_unverified=allow_unverified)
        tell_doubts(stored.doubts)
        vkey = stored.manifest.log.vkey
    else:
        vkey = read_key(log_key or "")
    receipt = receipt_from_json(value)
    leaves = verify_receipt(receipt, vkey)
    witnessed = _witnessed(witnesses, receipt.checkpoint)
    opt_outs = [leaf for leaf in leaves if isinstance(leaf, OptOutLeaf)]
    withdrawn = [leaf for leaf in leaves if isinstance(leaf, WithdrawLeaf)]
    first = opt_outs[0]
    told = replay(leaves).claims[receipt.claim]
    facts = {
        "kind": "receipt",
        "claim": receipt.claim,
        "preference": first.preference,
        "assurance": told.assurance,
        "state": told.state,
        "subject_states": {state: n for state in CLAIM_STATES if (n := told.states.count(state))},
        "at": format_at(first.at),
        "n_subjects": sum(len(leaf.subjects) for leaf in opt_outs),
        "withdrawn_at": format_at(withdrawn[0].at) if withdrawn else None,
        "log_indices": [entry.index for entry in receipt.entries],
        "log": vkey.partition("+")[0],
        "witnesses": witnessed,
    }
    if as_json:
        print_json(facts)
        return
    ending = f", withdrawn at {facts['withdrawn_at']}" if withdrawn else _states(told.states)
    print(
        f"{path}: verified: claim {receipt.claim} of {facts['at']} is in the log {facts['log']}: {first.preference} "
        f"for {facts['n_subjects']} subjects, assurance {told.assurance}{ending}{cosigned(witnessed)}"
    )


def _witnessed(policy: Path | None, checkpoint: str) -> list[str]:
    """The policy's witnesses that cosigned. Raises VerificationError: they are not enough."""
    from heldout.witnesses import WitnessPolicy

    return [] if policy is None else list(WitnessPolicy.load(policy).verify(checkpoint).cosignatures)


def cosigned(witnesses: Sequence[str]) -> str:
    """Who cosigned, as the end of a sentence."""
    return f"; cosigned by {', '.join(witnesses)}" if witnesses else ""


def _states(states: Sequence["ClaimState"]) -> str:
    """What does not simply hold, in words."""
    from heldout.records import CLAIM_STATES
    from heldout.states import words

    if all(state == "in_force" for state in states):
        return ""
    return ", " + ", ".join(f"{states.count(each)} {words(each)}" for each in CLAIM_STATES if each in states)


def read_key(text: str) -> str:
    """A verifier key, given as it is or as a file that holds it."""
    path = Path(text)
    if "+" in text and not path.is_file():
        return text
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{text} is neither a verifier key nor a file that holds one") from error
