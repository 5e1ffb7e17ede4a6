"""Mail over a real SMTP server on loopback, into a folder, onto the terminal."""

import email
import email.policy
import io
import socket
import ssl
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Sink
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from heldout.errors import InputError, UnavailableError
from registry.mail import ConsoleMailer, Mail, OutboxMailer, SmtpMailer, open_mailer

MAIL = Mail("jane@mail.example", "Sign in to heldout", "Grüße\n\nhttps://heldout.example/sign-in/abc\n")
FROM = "heldout <no-reply@heldout.example>"


class Inbox(Sink):
    """Takes what comes."""

    def __init__(self, answer: str = "250 OK") -> None:
        super().__init__()
        self.envelopes: list[Envelope] = []
        self.is_encrypted: list[bool] = []
        self.answer = answer

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        """aiosmtpd's hook."""
        del session
        self.envelopes.append(envelope)
        self.is_encrypted.append(server.transport is not None and bool(server.transport.get_extra_info("sslcontext")))
        return self.answer

    @property
    def messages(self) -> list[email.message.EmailMessage]:
        """As they came."""
        return [email.message_from_bytes(each.content or b"", policy=email.policy.default) for each in self.envelopes]  # type: ignore[arg-type]


Serve = Callable[..., Controller]


@pytest.fixture
def serve() -> Iterator[Serve]:
    started: list[Controller] = []

    def start(handler: Inbox, **options: Any) -> Controller:
        with socket.create_server(("127.0.0.1", 0)) as free:  # the package asks for a number
            port = free.getsockname()[1]
        controller = Controller(handler, hostname="127.0.0.1", port=port, **options)
        controller.start()
        started.append(controller)
        return controller

    yield start
    for controller in started:
        controller.stop()


def port_of(controller: Controller) -> int:
    port: int = controller.port
    return port


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    key, cert = folder / "key.pem", folder / "cert.pem"
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(1)
        .not_valid_before(datetime.now(UTC) - timedelta(days=1))
        .not_valid_after(datetime.now(UTC) + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(private.public_key()), critical=False)
        .sign(private, hashes.SHA256())
    )
    cert.write_bytes(made.public_bytes(Encoding.PEM))
    key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return key, cert


def test_a_message_arrives_as_it_was_written(serve: Serve) -> None:
    inbox = Inbox()
    url = f"smtp://127.0.0.1:{port_of(serve(inbox))}"
    open_mailer(url, sender=FROM, outbox=Path()).send(MAIL)
    (message,) = inbox.messages
    assert (message["to"], message["from"], message["subject"]) == (MAIL.to, FROM, MAIL.subject)
    assert message.get_content().replace("\r\n", "\n") == MAIL.text
    assert message["auto-submitted"] == "auto-generated"
    assert message["message-id"].endswith("@heldout.example>")
    assert inbox.envelopes[0].rcpt_tos == [MAIL.to]


def test_a_password_goes_only_through_an_encrypted_connection(serve: Serve, certificate: tuple[Path, Path]) -> None:
    seen: list[tuple[bytes, bytes]] = []

    def check(server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: LoginPassword) -> AuthResult:
        del server, session, envelope, mechanism
        seen.append((data.login, data.password))
        return AuthResult(success=data.password == b"p@ss", handled=False)

    inbox = Inbox()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate[1], certificate[0])
    controller = serve(
        inbox,
        tls_context=context,
        require_starttls=True,
        authenticator=check,
        auth_required=True,
        auth_exclude_mechanism=["LOGIN"],
    )
    trust = ssl.create_default_context(cafile=str(certificate[1]))
    mailer = SmtpMailer("localhost", port_of(controller), FROM, "jane", "p@ss", tls=trust)
    mailer.send(MAIL)
    assert (len(inbox.messages), seen, inbox.is_encrypted) == (1, [(b"jane", b"p@ss")], [True])
    wrong = SmtpMailer("localhost", port_of(controller), FROM, "jane", "wrong", tls=trust)
    with pytest.raises(UnavailableError) as refused:
        wrong.send(MAIL)
    assert "wrong" not in str(refused.value)
    assert "jane" not in str(refused.value)


def test_a_server_whose_certificate_is_not_trusted_gets_nothing(serve: Serve, certificate: tuple[Path, Path]) -> None:
    inbox = Inbox()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate[1], certificate[0])
    controller = serve(inbox, tls_context=context)
    with pytest.raises(UnavailableError, match="SSL"):
        SmtpMailer("localhost", port_of(controller), FROM, tls=ssl.create_default_context()).send(MAIL)
    assert inbox.messages == []


def test_a_server_elsewhere_that_offers_no_encryption_gets_nothing(serve: Serve) -> None:
    inbox = Inbox()
    controller = serve(inbox)
    mailer = SmtpMailer("127.0.0.1", port_of(controller), FROM, tls=ssl.create_default_context())
    with pytest.raises(UnavailableError, match="SMTPNotSupportedError"):
        mailer.send(MAIL)
    assert inbox.messages == []


@pytest.mark.parametrize("answer", ["451 later", "554 never"])
def test_a_server_that_refuses_is_the_outside_world(serve: Serve, answer: str) -> None:
    controller = serve(Inbox(answer))
    with pytest.raises(UnavailableError, match="did not take a message") as refused:
        SmtpMailer("127.0.0.1", port_of(controller), FROM).send(MAIL)
    assert MAIL.to not in str(refused.value)


def test_a_server_that_is_not_there_is_the_outside_world() -> None:
    with pytest.raises(UnavailableError, match=r"127\.0\.0\.1:9"):
        open_mailer("smtp://127.0.0.1:9", sender=FROM, outbox=Path()).send(MAIL)


def test_a_line_break_cannot_add_a_header(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="linefeed"):
        OutboxMailer(tmp_path, FROM).send(Mail("jane@mail.example\nBcc: all@mail.example", "subject", "text"))
    assert list(tmp_path.iterdir()) == []


def test_the_outbox_is_its_owners_alone_and_says_where(tmp_path: Path) -> None:
    said: list[str] = []
    outbox = tmp_path / "state" / "outbox"
    for _ in range(3):
        OutboxMailer(outbox, FROM, say=said.append).send(MAIL)
    paths = sorted(outbox.iterdir())
    assert len(paths) == 3
    assert {path.stat().st_mode & 0o777 for path in paths} == {0o600}
    assert outbox.stat().st_mode & 0o777 == 0o700
    assert str(paths[0]) in said[0]
    assert MAIL.to not in said[0]
    message = email.message_from_bytes(paths[0].read_bytes(), policy=email.policy.default)
    assert message.get_content() == MAIL.text
    with pytest.raises(UnavailableError, match="cannot be written"):
        OutboxMailer(paths[0], FROM).send(MAIL)


def test_the_console_shows_the_message() -> None:
    out = io.StringIO()
    ConsoleMailer(FROM, out).send(MAIL)
    assert MAIL.text in out.getvalue()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("smtp://mail.example", SmtpMailer("mail.example", 587, FROM)),
        ("smtp://jane%40x:p%2Fw@mail.example:25", SmtpMailer("mail.example", 25, FROM, "jane@x", "p/w")),
        ("smtps://mail.example", SmtpMailer("mail.example", 465, FROM, is_tls_first=True)),
        ("console:", ConsoleMailer(FROM)),
    ],
)
def test_an_address_names_a_mailer(url: str, expected: object) -> None:
    assert open_mailer(url, sender=FROM, outbox=Path("outbox")) == expected


def test_an_outbox_may_be_elsewhere(tmp_path: Path) -> None:
    for url, folder in (("outbox:", Path("outbox")), (f"outbox:{tmp_path}", tmp_path)):
        mailer = open_mailer(url, sender=FROM, outbox=Path("outbox"))
        assert isinstance(mailer, OutboxMailer)
        assert mailer.folder == folder


@pytest.mark.parametrize("url", ["", "mail.example", "smtp://", "smtp://a:secret@:25", "smtp://h:99999", "imap://h"])
def test_what_names_none_is_refused_without_showing_a_password(url: str) -> None:
    with pytest.raises(InputError, match="not understood") as refused:
        open_mailer(url, sender=FROM, outbox=Path())
    assert "secret" not in str(refused.value)
