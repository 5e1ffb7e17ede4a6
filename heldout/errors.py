"""The whole exception tree. Boundaries translate into it; the message says what, which one and what to do.

    HeldoutError
    ├── InputError          the caller gave something unusable                    exit 2, HTTP 422
    ├── NotFoundError       what was named does not exist                         exit 2, HTTP 404
    ├── AccessError         it is not the caller's to change, or to see        exit 2, HTTP 403
    ├── ConflictError       someone else holds or has changed it                  exit 2, HTTP 409
    ├── TooOftenError       it was asked for too often: wait                      exit 2, HTTP 429
    ├── UnavailableError    the outside world (network, disk, server) failed      exit 3, HTTP 503
    └── VerificationError   a signature, proof, digest or freshness check failed  exit 4, HTTP 500

A server that cannot verify its own files is at fault, not its caller; hence the 500.

Per-sample failures of the pipeline are data (`status`, `reason`), not exceptions.
"""

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of every command."""

    OK = 0
    USER_ERROR = 2
    OUTSIDE_WORLD = 3
    VERIFICATION_FAILED = 4


class HeldoutError(Exception):
    """Base of everything heldout raises on purpose."""

    exit_code = ExitCode.USER_ERROR
    http_status = 500


class InputError(HeldoutError):
    """The caller gave something unusable: a file, an option, a URL, a picture."""

    http_status = 422


class NotFoundError(HeldoutError):
    """What was named does not exist here."""

    http_status = 404


class AccessError(HeldoutError):
    """It is not the caller's to change or to see: another account, a wrong secret, a key without the scope."""

    http_status = 403


class ConflictError(HeldoutError):
    """Someone else holds it, or it changed under us."""

    http_status = 409


class TooOftenError(HeldoutError):
    """Asked too often; `retry_after_s` says when again."""

    http_status = 429

    def __init__(self, message: str, *, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class UnavailableError(HeldoutError):
    """The network, a disk or a server failed; trying again may help."""

    exit_code = ExitCode.OUTSIDE_WORLD
    http_status = 503


class VerificationError(HeldoutError):
    """A signature, proof, digest, count or freshness check failed. Nothing was accepted."""

    exit_code = ExitCode.VERIFICATION_FAILED
