"""Seals on what a page hands out and takes back."""

from datetime import UTC, datetime, timedelta

import pytest

from heldout.errors import InputError
from web.seals import MAX_AGE, check_seal, seal

NOW = datetime(2026, 11, 22, 1, 2, 3, tzinfo=UTC)


def test_a_seal_holds_for_its_text_until_it_is_too_old() -> None:
    made = seal("secret", "text", now=NOW)
    check_seal("secret", "text", made, now=NOW)
    check_seal("secret", "text", made, now=NOW + MAX_AGE)
    with pytest.raises(InputError, match="open for too long"):
        check_seal("secret", "text", made, now=NOW + MAX_AGE + timedelta(seconds=1))


@pytest.mark.parametrize(
    ("secret", "text", "changed"),
    [
        ("other", "text", lambda made: made),
        ("secret", "other", lambda made: made),
        ("secret", "text", lambda made: made[:-1] + ("0" if made[-1] != "0" else "1")),
        ("secret", "text", lambda made: "1" + made),
        ("secret", "text", lambda _: ""),
        ("secret", "text", lambda _: "\u0663.x.y"),
        ("secret", "text", lambda made: "9" * 40 + made),
        ("secret", "text", lambda made: made.replace(".", ".0", 1)),
    ],
)
def test_a_changed_one_does_not(secret: str, text: str, changed: object) -> None:
    assert callable(changed)
    with pytest.raises(InputError, match="has changed since this page"):
        check_seal(secret, text, changed(seal("secret", "text", now=NOW)), now=NOW)


def test_no_two_are_the_same() -> None:
    assert seal("secret", "text", now=NOW) != seal("secret", "text", now=NOW)
