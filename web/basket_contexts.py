"""What the pages of opting out may use in their templates; as `web.contexts`."""

from dataclasses import dataclass


@dataclass(frozen=True)
class BadLine:
    """A line of a list that could not be used."""

    where: str
    what: str
    is_english: bool
    """Whatever language the page is in."""


@dataclass(frozen=True)
class BasketWork:
    """One thing in the basket."""

    key: str
    src: str | None
    alt: str
    unsafe: bool
    host: str


@dataclass(frozen=True)
class BasketAddress:
    """An address in the basket."""

    key: str
    url: str
    is_alone: bool
    """Whether no picture in the basket stands for it, so that it is taken out here."""


@dataclass(frozen=True)
class BasketPlace:
    """A site or a profile in the basket."""

    key: str
    name: str
    words: str
    is_site: bool


@dataclass(frozen=True)
class SiteOffer:
    """A site that much of the basket is from."""

    host: str
    n_works: int
    is_chosen: bool


@dataclass(frozen=True)
class BasketPage:
    """`/basket`: what exactly will be excluded, before it is."""

    seal: str
    n_works: int
    thumbs: list[BasketWork]
    first_href: str | None
    next_href: str | None
    n_left: int
    """Pictures on further pages."""
    addresses: list[BasketAddress]
    n_addresses: int
    places: list[BasketPlace]
    n_pictures: int
    n_plain: int
    """Pictures too plain to be recognised in another file: only the very same file is."""
    n_already: int
    sites: list[SiteOffer]
    next_list: str
    problem: str
    """What to put right, when the form comes back; else empty."""
    bad_contact: bool
    """Whether that is the e-mail address."""
    scopes: list[str]
    """Ticked ones of `picture`, `address`, `place`."""
    acting_as: str
    contact: str
    problems: list[BadLine]
    """Lines of the last list that could not be used."""
    n_problems: int


@dataclass(frozen=True)
class PortfolioPage:
    """`/portfolio`: a whole body of work at once."""

    problem: str
    addresses: str
    """As they were typed."""
    site: str
    most: int
    """Subjects that one opt-out takes."""
    max_megabytes: int
    base_url: str
