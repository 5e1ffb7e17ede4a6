"""`heldout verify REPORT --receipt RECEIPT`: was this opt-out in the list that was applied?"""

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from heldout.errors import InputError, NotFoundError
from heldout.terminal import complain, plain, print_json, tell_doubts

if TYPE_CHECKING:
    from heldout.applied_evidence import ListAtHand
    from heldout.applied_records import Applied
    from heldout.download import Downloads
    from heldout.report_reading import Report


def verify_applied(
    path: Path,
    receipt: Path,
    *,
    list_path: Path | None,
    log_key: str | None,
    site: str | None,
    keys: Sequence[Path],
    urls: Sequence[str],
    allow_unverified: bool,
    as_json: bool,
) -> None:
    """Tell, work by work, from files at hand and, if allowed, from a site or mirror that need not be trusted."""
    from heldout.applied import was_applied
    from heldout.applied_evidence import ListAtHand, LogAtHand, find_version
    from heldout.checkpoint import Verifier
    from heldout.cli_verify import read_key
    from heldout.download import Downloads, base_url
    from heldout.report_reading import load_report, read_json
    from heldout.signing_keys import load_public_key
    from heldout.stored import verify_current
    from heldout.urls import canonical_key, key_digest

    if list_path is None and log_key is None:
        raise InputError(f"to check the receipt {receipt}, give --log-key VKEY or --list LIST: whose log is it?")
    report = load_report(path, [load_public_key(key) for key in keys])
    vkey = "" if log_key is None else read_key(log_key)
    version, log = None, None
    with ExitStack() as stack:
        if list_path is not None:
            name = find_version(list_path, report.manifest_sha256)
            stored = verify_current(list_path, now=None, allow_unverified=allow_unverified, name=name)
            tell_doubts(stored.doubts)
            vkey = vkey or stored.manifest.log.vkey
            if name is not None:
                version = ListAtHand.of_folder(stored)
            elif site is None:
                complain(_other_list(report, list_path))
        if site is not None:
            base = base_url(site)
            downloads = stack.enter_context(Downloads())
            log = LogAtHand.of_site(downloads, base, Verifier.parse(vkey))
            if version is None:
                scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="heldout-")))
                version = _from_site(downloads, base, report, scratch)
        answer = was_applied(
            report,
            read_json(receipt)[1],
            vkey,
            version=version,
            log=log,
            names={key_digest(canonical_key(url)): url for url in urls},
        )
    if as_json:
        print_json({"kind": "applied", **answer.model_dump(mode="json")})
    else:
        _tell(answer)


def _from_site(downloads: "Downloads", base: str, report: "Report", scratch: Path) -> "ListAtHand | None":
    from heldout.applied_evidence import ListAtHand

    try:
        return ListAtHand.of_site(downloads, base, bytes.fromhex(report.manifest_sha256), scratch)
    except NotFoundError:
        complain(
            f"{base} does not have the list that was applied (version {report.listed['version']}, manifest "
            f"{report.manifest_sha256}) any more: the answer rests on the log alone"
        )
        return None


def _other_list(report: "Report", list_path: Path) -> str:
    return (
        f"{list_path} does not hold the list that was applied (version {report.listed['version']}, manifest "
        f"{report.manifest_sha256}): the answer rests on the log alone; --from URL would fetch that list"
    )


def _tell(answer: "Applied") -> None:
    print(plain(answer.words))
    for subject in answer.subjects:
        print(f"  {subject.kind} {plain(subject.name)}: {plain(subject.words)}")
    for heading, sentences in (
        ("Proved by signatures and digests:", answer.proved),
        ("Not proved, to be believed:", answer.believed),
        ("Besides:", answer.notes),
    ):
        if sentences:
            print(heading)
            for sentence in sentences:
                print(f"  - {plain(sentence)}")
