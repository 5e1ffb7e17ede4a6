"""`heldout check`: addresses and pictures, against a list at hand or a server's. Pictures never leave this machine."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heldout.errors import InputError, NotFoundError
from heldout.terminal import complain, plain, print_json

if TYPE_CHECKING:
    from heldout.lookup_records import Lookup, LookupRequest, LookupResult
    from heldout.pictures import Fingerprint
    from heldout.records import Assurance

AT_ONCE = 500
"""Things asked about in one request: a picture is two questions."""

LookUp = Callable[["LookupRequest"], "LookupResult"]


@dataclass(frozen=True)
class Thing:
    """What somebody asks about."""

    text: str
    mark: "Fingerprint | None"
    """Of a picture; None of an address."""


def ask_server(server: str, key: str | None, texts: Sequence[str], least: "Assurance", *, private: bool) -> list[Any]:
    """Answers of a server, to what it is told or to what it cannot tell from other questions."""
    from heldout.client import Client
    from heldout.private_lookups import look_up_privately

    things = read_things(texts)
    with Client(server, key=key) as client:
        try:
            found = check_things(
                things, (lambda request: look_up_privately(client, request)) if private else client.look_up, least
            )
        except NotFoundError as error:
            raise NotFoundError(
                f"{server} answers no questions ({error}): a mirror does not; heldout pull its list, and give --list"
            ) from error
    complain("the answer is the server's own word; heldout pull its list for one that is proved")
    return found


def ask_list(path: Path, texts: Sequence[str], least: "Assurance", *, allow_unverified: bool) -> list[Any]:
    """Answers of a pulled list: nobody learns what was asked."""
    from heldout.exclusion import ExclusionList
    from heldout.lookups import look_up
    from heldout.terminal import tell_doubts

    things = read_things(texts)
    exclusions = ExclusionList.open(path, allow_unverified=allow_unverified)
    tell_doubts(exclusions.doubts)
    return check_things(things, lambda request: look_up(exclusions, request), least)


def read_things(texts: Sequence[str]) -> list[Thing]:
    """What is asked about: files are pictures, and measured; all else must be an address that can be looked up.

    Raises:
        InputError: neither, or a picture that cannot be read.
    """
    from heldout.urls import canonical_key

    things = []
    for text in texts:
        path = Path(text)
        if "://" in text or not path.is_file():
            if "://" not in text:
                raise InputError(f"{plain(text)} is neither a file nor a URL with http:// or https://")
            canonical_key(text)  # a URL that cannot be looked up is not "not listed"
            things.append(Thing(text, None))
        else:
            things.append(Thing(text, _fingerprint(path)))
    return things


def check_things(things: Sequence[Thing], look_up: LookUp, least: "Assurance") -> list[dict[str, Any]]:
    """Answers, in order, as they are printed for a script."""
    told = []
    for start in range(0, len(things), AT_ONCE):
        part = things[start : start + AT_ONCE]
        result = look_up(_request(part, least))
        addresses, files, marks = iter(result.urls), iter(result.sha256), iter(result.pdq)
        for thing in part:
            found = [next(addresses)] if thing.mark is None else [next(files), next(marks)]
            told.append(_answer(thing.text, found, result.exclusion_list.version))
    return told


def print_answers(answers: Sequence[dict[str, Any]], *, as_json: bool) -> None:
    """Print answers, a line each for people."""
    if as_json:
        print_json(answers)
        return
    for answer in answers:
        rule = answer["rule"]
        if rule:
            place = f" {plain(rule['place'])}" if "place" in rule else ""
            found = f"opted out since {rule['since']} by {rule['kind']}{place} ({rule['assurance']})"
        else:
            found = "not listed"
        print(f"{found}{', use granted' if answer['is_granted'] else ''}\t{plain(answer['what'])}")


def read_picture(path: Path) -> bytes:
    """A picture file's bytes, or a message that names it."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): give a picture's file") from error


def _fingerprint(path: Path) -> "Fingerprint":
    try:
        from heldout.pictures import fingerprint
    except ImportError as error:
        raise InputError(
            f"to check the picture {path}, install what reads it: pip install 'heldout[images]'"
        ) from error
    return fingerprint(read_picture(path), name=os.fspath(path))


def _request(things: Sequence[Thing], least: "Assurance") -> "LookupRequest":
    from heldout.lookup_records import LookupRequest, PictureMark

    marks = [thing.mark for thing in things if thing.mark is not None]
    return LookupRequest(
        urls=[thing.text for thing in things if thing.mark is None],
        sha256=[mark.sha256.hex() for mark in marks],
        pdq=[PictureMark(pdq=[each.tobytes().hex() for each in mark.pdq], quality=mark.quality) for mark in marks],
        min_assurance=least,
    )


def _answer(text: str, found: "Sequence[Lookup]", version: int) -> dict[str, Any]:
    problem = next((each.problem for each in found if each.problem is not None), None)
    if problem is not None:
        raise InputError(f"{plain(text)} could not be looked up there ({plain(problem)}): update heldout")
    rule = next((each.rule for each in found if each.rule is not None), None)
    return {
        "what": text,
        "is_opted_out": rule is not None,
        "rule": None if rule is None else rule.model_dump(mode="json", exclude_none=True),
        "is_granted": any(each.is_granted for each in found),
        "list_version": version,
    }
