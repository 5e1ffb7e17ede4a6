"""A rule and an evaluator for the package datadiligence that ask a pulled list, offline, and fail closed.

datadiligence leaves out a rule that is not ready, and takes a list that holds a no for a yes. So this rule is always
ready, answers about one thing with one boolean, and forbids what it cannot check: an address that is none, headers
without an address, anything at all while the list is missing, damaged or stale. It never asks a server.
"""

import http.client
import logging
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import requests
from datadiligence.evaluators import Evaluator, PreprocessEvaluator
from datadiligence.rules.base import BulkRule

from heldout.errors import HeldoutError, VerificationError
from heldout.filtering_batches import Filter
from heldout.filtering_evidence import Evidence, fingerprinter
from heldout.filtering_options import Preference
from heldout.records import Assurance
from heldout.stored import ListFolder

__all__ = ["HeldoutEvaluator", "HeldoutRule"]

_logger = logging.getLogger(__name__)


def _now() -> datetime:
    return datetime.now(UTC)


class HeldoutRule(BulkRule):  # type: ignore[misc] # the package has no types
    """Allows what a pulled list lets through, by address or by picture.

    The list is opened at the first question, again when `heldout pull` has brought another version, and refused when it
    has gone stale: a process may run for weeks.
    """

    def __init__(
        self,
        list_path: Path | str,
        *,
        min_assurance: Assurance = "declared",
        preference: Preference = "train-ai=n",
        min_grant_assurance: Assurance = "account",
        clock: Callable[[], datetime] = _now,
    ) -> None:
        """Ask this list.

        Args:
            list_path: folder that `heldout pull` wrote. There is no way to go on without proof.
            min_assurance: leave weaker entries out.
            preference: `train-ai=n` allows what is not opted out; `train-ai=y`, opt-in only, what is granted
                expressly and not opted out.
            min_grant_assurance: opt-in only: leave weaker grants out.
            clock: says whether the list is fresh still.
        """
        super().__init__()
        self._clock = clock
        self._path = Path(list_path).absolute()
        self._min_assurance: Assurance = min_assurance
        self._preference: Preference = preference
        self._min_grant_assurance: Assurance = min_grant_assurance
        self._opened: tuple[str, Filter] | None = None
        self.problem: str | None = None
        """Why the last question could not be answered by the list, so that the answer was no; None if it could."""

    def is_ready(self) -> bool:
        """Always: the package would leave the rule out otherwise, and allow everything."""
        return True

    def is_allowed(
        self,
        urls: Iterable[object] | None = None,
        url: object = None,
        response: object = None,
        path: Path | str | None = None,
        **_: object,
    ) -> bool | list[bool]:
        """Whether things may be used: a list of answers for `urls`, in order; one boolean for anything else.

        Args:
            urls: addresses.
            url: one address.
            response: of the package requests or of urllib; its address and those that led there must all be allowed.
            path: a picture file, by its bytes and as a copy of a picture on the list.
        """
        if urls is not None:
            return self._answers(list(urls))
        if path is not None:
            return self._answer_about_file(Path(path))
        addresses = [*([] if url is None else [url]), *([] if response is None else _addresses(response))]
        return bool(addresses) and all(self._answers(addresses))

    def filter_allowed(self, urls: Iterable[str] | None = None, url: str | None = None, **_: object) -> list[str]:
        """Those of the addresses that may be used, in order."""
        asked = list(urls) if urls is not None else [] if url is None else [url]
        return [one for one, is_allowed in zip(asked, self._answers(asked), strict=True) if is_allowed]

    def _answers(self, urls: Sequence[object]) -> list[bool]:
        evidence = Evidence()
        evidence.urls += [(number, url) for number, url in enumerate(urls) if isinstance(url, str)]
        kept = self._decide(evidence, len(urls))
        return [is_kept and number not in evidence.unreadable_urls for number, is_kept in enumerate(kept)]

    def _answer_about_file(self, path: Path) -> bool:
        evidence = Evidence()
        try:
            data = path.read_bytes()
            evidence.fingerprint = fingerprinter(self._filter().exclusions)
            evidence.look_at_picture(data, 0)
        except (HeldoutError, OSError) as error:
            return self._refuse(error, 1)[0]
        return not evidence.unreadable_pictures and self._decide(evidence, 1)[0]

    def _decide(self, evidence: Evidence, n: int) -> list[bool]:
        try:
            kept = self._filter().decide(evidence, n).tolist()
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not open the door
            return self._refuse(error, n)
        self.problem = None
        return [bool(is_kept) for is_kept in kept]

    def _filter(self) -> Filter:
        """The list in force, verified.

        Raises:
            HeldoutError: it is missing, damaged or stale.
        """
        name = ListFolder(self._path).current_name()
        if self._opened is None or self._opened[0] != name or self._opened[1].is_stale(self._clock()):
            self._opened = None
            filter_ = Filter(
                self._path,
                min_assurance=self._min_assurance,
                preference=self._preference,
                min_grant_assurance=self._min_grant_assurance,
            )
            if filter_.is_stale(self._clock()):
                raise VerificationError(f"the list in {self._path} is stale: run heldout pull")
            self._opened = name, filter_
        return self._opened[1]

    def _refuse(self, error: Exception, n: int) -> list[bool]:
        if self.problem != str(error):
            _logger.error("nothing is allowed: %s", error)
        self.problem = str(error)
        return [False] * n


class HeldoutEvaluator(PreprocessEvaluator):  # type: ignore[misc] # the package has no types
    """The package's evaluator of addresses, asking a pulled list instead of a server.

    `datadiligence.register_evaluator(HeldoutEvaluator("LIST"), overwrite=True)` makes it the one that
    `datadiligence.is_allowed(urls=...)` and `filter_allowed(urls=...)` ask.
    """

    def __init__(self, rule: HeldoutRule | Path | str) -> None:
        """Ask this rule, or one over the list in this folder."""
        Evaluator.__init__(self)  # not the package's own, which would ask a server
        self.add_rule(rule if isinstance(rule, HeldoutRule) else HeldoutRule(rule))


def _addresses(response: object) -> list[object]:
    """Where a response came from, by all redirects; an unknown kind of response gives one that is none."""
    if isinstance(response, requests.Response):
        return [one.url for one in (*response.history, response)]
    if isinstance(response, http.client.HTTPResponse) and isinstance(getattr(response, "url", None), str):
        return [response.url]
    return [None]
