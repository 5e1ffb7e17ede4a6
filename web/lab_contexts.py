"""What the pages for labs may use in their templates; as `web.contexts`."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class RoleFacts:
    """A key that signs the list."""

    role: str
    threshold: int
    """How many of the role's keys must sign."""
    key_ids: list[str]


@dataclass(frozen=True)
class ListFacts:
    """The current exclusion list."""

    version: int
    as_of: datetime | None
    n_addresses: int
    n_pictures: int
    n_hosts: int
    n_prefixes: int
    size_bytes: int
    n_files: int
    manifest_sha256: str
    manifest_href: str
    log_size: int
    root_hash: str
    canonicalisation: str
    fresh_until: datetime
    roles: list[RoleFacts]


@dataclass(frozen=True)
class VersionLine:
    """One version of the list."""

    version: int
    at: datetime
    """When it was put into the log."""
    manifest_sha256: str
    manifest_href: str | None
    """None where the manifest was removed since; then what it said is unknown here."""
    entry_href: str | None
    log_index: int | None
    log_size: int | None
    n_addresses: int | None
    n_pictures: int | None
    n_places: int | None
    size_bytes: int | None
    delta_bytes: int | None
    n_added: int | None
    """Since the version before, where that is known."""
    n_removed: int | None


@dataclass(frozen=True)
class LabsPage:
    """`/labs`: take the list, apply it, verify it; ask online; mirror it."""

    base_url: str
    exclusion_list: ListFacts | None
    verification_key: str
    trusted_root_href: str | None
    trusted_root_sha256: str | None
    versions: list[VersionLine]
    """The newest."""
    per_minute: int
    """Lookups without a key; 0 if there are none."""
    rsync_url: str


@dataclass(frozen=True)
class VersionsPage:
    """`/labs/versions`: every version of the list."""

    versions: list[VersionLine]
    older_href: str | None
    newest_href: str | None
