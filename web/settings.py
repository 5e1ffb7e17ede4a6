"""Settings of the running service: the only module that reads the environment (`HELDOUT_*`).

Frozen and read once, in `web.__main__`; everything below takes arguments. Each field says what it is for, its unit and
what happens when it is left out.
"""

from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from heldout.errors import InputError
from registry.limits import Limits
from registry.quarantine import MANY_DOMAINS, MANY_DOMAINS_FLAT, Thresholds
from registry.resolvers import DEFAULT_RESOLVERS, ResolverPanel, parse_servers
from registry.sign_in import parse_email

DEVELOPMENT_SECRET = "development-only-secret"  # noqa: S105 - refused outside development, see below
MIN_SECRET_LENGTH = 32
"""In characters: what `python -c 'import secrets; print(secrets.token_urlsafe())'` exceeds."""


class Settings(BaseSettings):
    """What one process of the service is told."""

    model_config = SettingsConfigDict(env_prefix="HELDOUT_", frozen=True, extra="ignore")

    environment: Literal["development", "production"] = Field(
        default="development",
        description="`production` refuses default secrets and an address that is not https.",
    )
    state_dir: Path = Field(
        default=Path("var/state"), description="Keys, the public list and log, and SQLite's file unless told otherwise."
    )
    datasets_dir: Path = Field(default=Path("var/datasets"), description="One folder per indexed data set release.")
    database_url: str | None = Field(default=None, description="SQLAlchemy URL. Left out: SQLite in `state_dir`.")
    encoder: str = Field(
        default="data/models/starter-onnx",
        description="Makes vectors of pictures and words: the folder of an exported encoder, or an open_clip tag.",
    )
    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(default=8000, ge=0, le=65_535, description="Port to listen on.")
    workers: int = Field(
        default=1,
        ge=1,
        le=64,
        description="Processes that serve. They share the port, the mapped index files and the database.",
    )
    fetch_networks: str = Field(
        default="",
        description="Networks besides the public Internet that pictures may be fetched from, separated by commas: "
        "`127.0.0.0/8` for a demo on one machine. Left out: none.",
    )
    resolvers: str = Field(
        default=",".join(DEFAULT_RESOLVERS),
        description="Name servers that must all see a claimant's record, IP addresses separated by commas. They learn "
        "which hosts are proved, which the log makes public anyway.",
    )
    recheck: Literal["auto", "off"] = Field(
        default="auto",
        description="`auto` looks again for claimants' proofs when their time has come, in this process. `off`: the "
        "operator runs `python -m registry recheck` every hour.",
    )
    proxies: str = Field(
        default="127.0.0.1,::1",
        description="Addresses or networks of reverse proxies in front of this process, separated by commas: what they "
        "say of who asks (X-Forwarded-For) is believed. With one left out, all who come through it are one person, who "
        "may ask for 20 sign-in links an hour.",
    )
    base_url: str = Field(
        default="http://127.0.0.1:8000",
        description="The address people and labs see, without a slash at the end. Part of commands shown on the site.",
    )
    origin: str | None = Field(
        default=None,
        description="Name of the log, checked against its key. Left out: not checked, and a new log is named after "
        "`base_url`.",
    )
    secret: SecretStr = Field(
        default=SecretStr(DEVELOPMENT_SECRET), description="Seals what the site hands to a browser and takes back."
    )
    publish: Literal["auto", "off"] = Field(
        default="off",
        description="`auto` publishes a new list soon after a claim, in this process. `off`: the operator publishes.",
    )
    publish_delay_s: float = Field(
        default=3.0,
        ge=0,
        description="Quiet seconds `auto` waits for, at most ten times, so that a burst of claims makes one list.",
    )
    research: Literal["auto", "off"] = Field(
        default="auto",
        description="`auto` counts what `/research` shows when there is a new index or list, in a process of its own "
        "that takes a core and a gigabyte for a while. `off`: the operator runs `python -m web.surveying`.",
    )
    research_every_s: float = Field(
        default=3_600.0, ge=0, description="Seconds `auto` waits before it counts again for a new list alone."
    )
    mail: SecretStr | None = Field(
        default=None,
        description="What sends the mails people sign in with: `smtp://user:password@host:587`, "
        "`smtps://user:password@host:465`; in development also `outbox:` (files in `state_dir`/outbox) or `console:`. "
        "Left out: `outbox:` in development, else nobody can sign in.",
    )
    mail_from: str = Field(
        default="heldout@localhost.localdomain", description="The address those mails come from. Set it with `mail`."
    )
    reviewers: str = Field(
        default="",
        description="E-mail addresses of the accounts that decide disputes and what is held, on `/review`, separated "
        "by commas. Left out: the operator decides, with `python -m registry review`.",
    )
    quarantine: Literal["auto", "off"] = Field(
        default="auto",
        description="`auto` looks claimed pictures up in the indexes, in this process, and holds those that are "
        "nobody's. `off`: the operator runs `python -m web.quarantine`.",
    )
    common_picture_sites: int = Field(
        default=MANY_DOMAINS,
        ge=2,
        description="Registered domains in the indexes from which a claimed picture is held as nobody's own work.",
    )
    common_flat_picture_sites: int = Field(
        default=MANY_DOMAINS_FLAT, ge=2, description="The same of a picture that is mostly flat, as logos are."
    )
    daily_claims: int = Field(
        default=Limits.claims, ge=1, description="Claims a day by one network without an account; more are held."
    )
    daily_subjects: int = Field(
        default=Limits.subjects,
        ge=1,
        description="Works and places a day by one network without an account. More are held for review; five times as "
        "many are refused.",
    )
    daily_claims_account: int = Field(default=Limits.account_claims, ge=1, description="The same by one account.")
    daily_subjects_account: int = Field(default=Limits.account_subjects, ge=1, description="The same by one account.")
    daily_disputes: int = Field(
        default=Limits.disputes, ge=1, description="Disputes a day by one account or network; more are refused."
    )
    contact: str = Field(
        default="",
        description="Where people write to take an opt-out back, dispute one or have data erased: an e-mail address or "
        "the address of a page. Shown on About. Left out: About says that there is none.",
    )
    suggestions: Path | None = Field(
        default=Path("data/collection/queries.json"),
        description="JSON list of queries offered on the first page. Left out or absent: none are offered.",
    )
    cards_per_page: int = Field(
        default=48, ge=1, le=500, description="Pictures on a page of results; 48 makes whole rows at most widths."
    )
    max_body_bytes: int = Field(
        default=15_000_000, ge=1_000, description="Largest request taken, in bytes. Beyond it: 413."
    )
    checks_per_minute: int = Field(
        default=100_000,
        ge=0,
        description="Addresses and pictures that one network address may look up in the list each minute without a "
        "key, in each process. 0: only keys are answered. Keys have no limit.",
    )
    rsync_url: str = Field(
        default="",
        description="Where mirrors copy `state_dir`/public from: `rsync://heldout.example/public`. Part of commands "
        "shown on the page for labs. Left out: none is shown.",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(default="INFO", description="Least level logged.")

    @field_validator("base_url")
    @classmethod
    def _plain_base(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in {"http", "https"} or not parts.netloc or parts.query or parts.fragment:
            raise ValueError(f"HELDOUT_BASE_URL is {value!r}: give an address such as https://heldout.example")
        return value.rstrip("/")

    @field_validator("contact")
    @classmethod
    def _reachable_contact(cls, value: str) -> str:
        name, _, host = value.partition("@")
        if value and urlsplit(value).scheme not in {"http", "https"} and not (name and "." in host and ":" not in name):
            raise ValueError(f"HELDOUT_CONTACT is {value!r}: give an e-mail address or the address of a page")
        return value

    @field_validator("reviewers")
    @classmethod
    def _addresses(cls, value: str) -> str:
        try:
            return ",".join(parse_email(part) for part in value.split(",") if part.strip())
        except InputError as error:
            raise ValueError(f"HELDOUT_REVIEWERS: {error}") from error

    @field_validator("fetch_networks", "proxies")
    @classmethod
    def _networks(cls, value: str, info: ValidationInfo) -> str:
        try:
            _parse_networks(value)
        except ValueError as error:
            raise ValueError(
                f"HELDOUT_{(info.field_name or '').upper()} is {value!r} ({error}): give networks such as 127.0.0.0/8, "
                "separated by commas"
            ) from error
        return value

    @field_validator("resolvers")
    @classmethod
    def _name_servers(cls, value: str) -> str:
        try:
            ResolverPanel(parse_servers(value))
        except InputError as error:
            raise ValueError(f"HELDOUT_RESOLVERS is {value!r}: {error}") from error
        return value

    @field_validator("mail_from")
    @classmethod
    def _sender(cls, value: str) -> str:
        if "@" not in value or not value.isprintable():
            raise ValueError(f"HELDOUT_MAIL_FROM is {value!r}: give an e-mail address")
        return value

    @model_validator(mode="after")
    def _safe_in_production(self) -> Self:
        if self.environment == "production":
            if self.secret.get_secret_value() == DEVELOPMENT_SECRET:
                raise ValueError("HELDOUT_SECRET is the development default: set a random one of your own")
            if len(self.secret.get_secret_value()) < MIN_SECRET_LENGTH:
                raise ValueError(f"HELDOUT_SECRET is shorter than {MIN_SECRET_LENGTH} characters: set a longer one")
            if self.mail is not None and not self.mail.get_secret_value().startswith(("smtp://", "smtps://")):
                raise ValueError(
                    "HELDOUT_MAIL must be smtp:// or smtps:// in production: anything else shows the links"
                )
            if self.mail is not None and self.mail_from.endswith("@localhost.localdomain"):
                raise ValueError("HELDOUT_MAIL_FROM is the development default: set the address your mails come from")
            if not self.base_url.startswith("https://"):
                raise ValueError("HELDOUT_BASE_URL must be https in production: browsers send pictures to it")
        return self

    @property
    def allowed_networks(self) -> list[IPv4Network | IPv6Network]:
        """`fetch_networks`, parsed."""
        return _parse_networks(self.fetch_networks)

    @property
    def limits(self) -> Limits:
        """What is taken in a day."""
        return Limits(
            claims=self.daily_claims,
            subjects=self.daily_subjects,
            account_claims=self.daily_claims_account,
            account_subjects=self.daily_subjects_account,
            disputes=self.daily_disputes,
        )

    @property
    def thresholds(self) -> Thresholds:
        """From where on a picture is nobody's."""
        return Thresholds(many=self.common_picture_sites, many_flat=self.common_flat_picture_sites)

    @property
    def research_dir(self) -> Path:
        """What was counted for researchers."""
        return self.state_dir / "research"

    @property
    def mail_url(self) -> str | None:
        """What sends mail; None where nothing does."""
        if self.mail is not None:
            return self.mail.get_secret_value()
        return "outbox:" if self.environment == "development" else None

    @property
    def origin_of_new_log(self) -> str:
        """Name for a new log: the one set, else its address without the scheme."""
        return self.origin or f"{urlsplit(self.base_url).netloc}{urlsplit(self.base_url).path}/log"


def _parse_networks(text: str) -> list[IPv4Network | IPv6Network]:
    return [ip_network(part.strip()) for part in text.split(",") if part.strip()]
