"""`heldout check`: one address or picture at a time, against a list at hand or a server's."""

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heldout.errors import InputError
from heldout.terminal import complain, plain

if TYPE_CHECKING:
    from collections.abc import Mapping

    from heldout.exclusion import ExclusionList, Kind, Matches
    from heldout.records import Assurance


def open_from_server(server: str, root: Path | None, min_assurance: "Assurance") -> "ExclusionList":
    """The server's list of this moment, in a folder that does not outlive the opening."""
    from heldout.exclusion import ExclusionList
    from heldout.pull import pull as pull_list

    with tempfile.TemporaryDirectory(prefix="heldout-") as folder:
        path = Path(folder) / "list"
        pull_list(server, path, root=root, allow_unverified=root is None)
        exclusions = ExclusionList.open(path, min_assurance=min_assurance, allow_unverified=root is None)
    if root is None:
        complain("the answer is the server's own word; give --root FILE for a proved one")
    return exclusions


def check_one(text: str, exclusions: "ExclusionList") -> dict[str, Any]:
    """Answer about one URL or picture file."""
    from heldout.records import ASSURANCES
    from heldout.urls import canonical_key

    answers: Mapping[Kind, Matches]
    path = Path(text)
    if "://" in text or not path.is_file():
        if "://" not in text:
            raise InputError(f"{plain(text)} is neither a file nor a URL with http:// or https://")
        canonical_key(text)  # a URL that cannot be looked up is not "not listed"
        answers = exclusions.lookup_urls([text])
    else:
        answers = _check_picture(path, exclusions)
    for kind, matches in answers.items():
        if matches.found[0]:
            rule = {
                "kind": kind,
                "assurance": ASSURANCES[matches.assurance[0]],
                "since": matches.since_date(0).isoformat(),
            }
            return {"what": text, "is_opted_out": True, "rule": rule}
    return {"what": text, "is_opted_out": False, "rule": None}


def _check_picture(path: Path, exclusions: "ExclusionList") -> "Mapping[Kind, Matches]":
    try:
        from heldout.pictures import fingerprint
    except ImportError as error:
        raise InputError(
            f"to check the picture {path}, install what reads it: pip install 'heldout[images]'"
        ) from error
    import numpy as np

    mark = fingerprint(read_picture(path), name=os.fspath(path))
    return {
        "sha256": exclusions.lookup_sha256([mark.sha256]),
        "pdq": exclusions.lookup_pdq(mark.pdq[np.newaxis], np.array([mark.quality], np.uint8)),
    }


def read_picture(path: Path) -> bytes:
    """A picture file's bytes, or a message that names it."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): give a picture's file") from error
