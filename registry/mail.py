"""Mail to people: over SMTP, or for development into a folder or onto the terminal. Sent while the caller waits.

`open_mailer` reads one address: `smtp://user:password@host:587` (STARTTLS demanded, but for a host that is this
machine), `smtps://user:password@host:465`, `outbox:` or `console:`.
"""

import os
import secrets
import smtplib
import ssl
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid
from ipaddress import ip_address
from pathlib import Path
from typing import Protocol, TextIO
from urllib.parse import unquote, urlsplit

from heldout.durable import make_folders
from heldout.errors import InputError, UnavailableError

TIMEOUT_S = 20.0
"""For each step of a conversation with the mail server."""


@dataclass(frozen=True)
class Mail:
    """A message of plain text to one person."""

    to: str
    subject: str
    text: str


class Mailer(Protocol):
    """Sends mail."""

    def send(self, mail: Mail) -> None:
        """Hand the message over. Raises UnavailableError: it was not taken."""


@dataclass(frozen=True)
class SmtpMailer:
    """Over SMTP, RFC 5321; encrypted but on this machine itself."""

    host: str
    port: int
    sender: str
    user: str | None = None
    password: str | None = None
    is_tls_first: bool = False
    """TLS from the first byte (RFC 8314), else STARTTLS."""
    tls: ssl.SSLContext | None = None

    def send(self, mail: Mail) -> None:
        """As `Mailer.send`. The error does not tell to whom."""
        try:
            with self._connect() as server:
                if self.user is not None:
                    server.login(self.user, self.password or "")
                server.send_message(_message(mail, self.sender), self.sender, [mail.to])
        except (smtplib.SMTPException, OSError) as error:
            reason = type(error).__name__
            raise UnavailableError(
                f"the mail server {self.host}:{self.port} did not take a message ({reason})"
            ) from error

    def _connect(self) -> smtplib.SMTP:
        context = self.tls or ssl.create_default_context()
        if self.is_tls_first:
            return smtplib.SMTP_SSL(self.host, self.port, _domain(self.sender), timeout=TIMEOUT_S, context=context)
        server = smtplib.SMTP(self.host, self.port, _domain(self.sender), timeout=TIMEOUT_S)
        try:
            server.ehlo()
            if self.tls is not None or not _is_this_machine(self.host):
                server.starttls(context=context)
                server.ehlo()
        except BaseException:
            server.close()
            raise
        return server


@dataclass(frozen=True)
class OutboxMailer:
    """Into a folder that only its owner can read, a file a message. For development."""

    folder: Path
    sender: str
    say: Callable[[str], object] | None = None

    def send(self, mail: Mail) -> None:
        """As `Mailer.send`."""
        data = bytes(_message(mail, self.sender))
        try:
            make_folders(self.folder)
            self.folder.chmod(0o700)
            name = f"{datetime.now(UTC):%Y%m%dT%H%M%S.%f}-{secrets.token_hex(4)}.eml"
            descriptor = os.open(self.folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor
                file.write(data)
        except OSError as error:
            raise UnavailableError(f"mail cannot be written to {self.folder} ({error.strerror})") from error
        if self.say is not None:
            self.say(f"A message was written to {self.folder / name}")


@dataclass(frozen=True)
class ConsoleMailer:
    """Onto the terminal. For development."""

    sender: str
    out: TextIO | None = None

    def send(self, mail: Mail) -> None:
        """As `Mailer.send`."""
        out = self.out or sys.stderr
        out.write(f"--- to {mail.to}: {mail.subject}\n{mail.text}---\n")
        out.flush()


def open_mailer(url: str, *, sender: str, outbox: Path) -> Mailer:
    """The mailer an address names.

    Raises:
        InputError: none that is known. The message does not hold a password.
    """
    parts = urlsplit(url)
    if parts.scheme == "outbox":
        return OutboxMailer(Path(parts.path) if parts.path else outbox, sender, say=_say)
    if parts.scheme == "console":
        return ConsoleMailer(sender)
    try:
        port = parts.port
    except ValueError:
        port = 0
    if parts.scheme not in {"smtp", "smtps"} or not parts.hostname or port == 0:
        raise InputError(
            "the mail setting is not understood: give smtp://user:password@host:587, smtps://user:password@host:465, "
            "outbox: or console:"
        )
    return SmtpMailer(
        host=parts.hostname,
        port=port or (465 if parts.scheme == "smtps" else 587),
        sender=sender,
        user=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
        is_tls_first=parts.scheme == "smtps",
    )


def _message(mail: Mail, sender: str) -> EmailMessage:
    message = EmailMessage()
    message["From"] = sender
    message["To"] = mail.to
    message["Subject"] = mail.subject
    message["Date"] = format_datetime(datetime.now(UTC))
    message["Message-ID"] = make_msgid(domain=_domain(sender))
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no automatic answers, please
    message.set_content(mail.text)
    return message


def _domain(sender: str) -> str:
    """Who we say we are: asking the machine for its name may take seconds, and give one nobody knows."""
    return sender.rpartition("@")[2].strip("> ") or "localhost"


def _is_this_machine(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
