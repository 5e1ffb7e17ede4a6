"""Settings: read from the environment, refused when unsafe."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from registry.limits import Limits
from registry.quarantine import Thresholds
from web.settings import Settings

GOOD = {"environment": "production", "secret": "x" * 40, "base_url": "https://heldout.example"}


def test_development_needs_nothing() -> None:
    settings = Settings()
    assert settings.environment == "development"
    assert settings.publish == "off"


def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HELDOUT_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("HELDOUT_PORT", "8123")
    monkeypatch.setenv("HELDOUT_BASE_URL", "http://localhost:8123/")
    settings = Settings()
    assert (settings.state_dir, settings.port) == (tmp_path, 8123)
    assert (settings.base_url, settings.origin_of_new_log) == ("http://localhost:8123", "localhost:8123/log")


def test_settings_cannot_change_while_running() -> None:
    with pytest.raises(ValidationError):
        Settings().port = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"secret": "development-only-secret"}, "development default"),
        ({"secret": "short"}, "shorter than 32"),
        ({"base_url": "http://heldout.example"}, "must be https"),
    ],
)
def test_production_refuses_what_is_unsafe(change: dict[str, str], says: str) -> None:
    assert Settings.model_validate(GOOD).environment == "production"
    with pytest.raises(ValidationError, match=says):
        Settings.model_validate(GOOD | change)


@pytest.mark.parametrize("base_url", ["heldout.example", "ftp://heldout.example", "https://heldout.example/?a=1"])
def test_an_address_nobody_can_open_is_refused(base_url: str) -> None:
    with pytest.raises(ValidationError, match="give an address such as"):
        Settings(base_url=base_url)


def test_the_secret_does_not_show() -> None:
    assert "x" * 40 not in repr(Settings.model_validate(GOOD))


@pytest.mark.parametrize("contact", ["jane", "@mail.example", "javascript:alert(1)@mail.example", "ftp://a.example"])
def test_a_contact_is_somewhere_to_write_to(contact: str) -> None:
    with pytest.raises(ValidationError, match="HELDOUT_CONTACT"):
        Settings(contact=contact)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"mail": "outbox:"}, "must be smtp"),
        ({"mail": "console:"}, "must be smtp"),
        ({"mail": "smtp://mail.example"}, "HELDOUT_MAIL_FROM is the development default"),
        ({"mail": "smtp://mail.example", "mail_from": "nobody"}, "give an e-mail address"),
        ({"mail": "smtp://mail.example", "mail_from": "a@b.example\nBcc: c@d.example"}, "give an e-mail address"),
    ],
)
def test_production_sends_mail_properly_or_not_at_all(change: dict[str, str], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        Settings.model_validate(GOOD | change)


def test_mail_goes_into_files_in_development_and_nowhere_unless_told_in_production() -> None:
    assert Settings().mail_url == "outbox:"
    assert Settings.model_validate(GOOD).mail_url is None
    told = GOOD | {"mail": "smtps://jane:secret-word@mail.example", "mail_from": "heldout@mail.example"}
    settings = Settings.model_validate(told)
    assert settings.mail_url == told["mail"]
    assert "secret-word" not in repr(settings)


def test_reviewers_are_addresses_as_accounts_have_them() -> None:
    assert Settings(reviewers=" Ria@Mail.example, rob@mail.example,").reviewers == "ria@mail.example,rob@mail.example"
    assert Settings().reviewers == ""
    for wrong in ("ria", "ria@mail.example; rob@mail.example", "@mail.example"):
        with pytest.raises(ValidationError, match="HELDOUT_REVIEWERS"):
            Settings(reviewers=wrong)


def test_limits_and_thresholds_are_what_the_registry_thinks_best() -> None:
    assert Settings().limits == Limits()
    assert Settings().thresholds == Thresholds()
    assert Settings(daily_subjects=5, common_picture_sites=7).limits.subjects == 5
