"""A picture to search with, fetched from the address that somebody gave.

Never from a private one: the fetcher's guard decides, after name resolution and on every redirect. What went wrong is
said in words of ours, not in the outside world's: the reasons of a resolver or a socket would tell strangers about
this machine's network.
"""

from typing import Final

from heldout.errors import InputError
from heldout.fetching import Fetched, Fetcher
from search.uploads import FIELD, URL_FIELD, Form, picture_in

MAX_URL_CHARS: Final = 16_384

_WHY: Final = {
    "bad_url": "it is not a web address with http or https",
    "refused_address": "it is not on the public Internet",
    "refused_port": "its port is not one that web servers use",
    "dns": "there is no such host",
    "connect": "its server cannot be reached",
    "tls": "its certificate is not valid",
    "timeout": "its server took too long",
    "reset": "its server broke the connection off",
    "bad_redirect": "it redirects to what is no web address",
    "too_many_redirects": "its redirects do not end",
    "too_large": "the file is too large",
    "empty": "its server sends an empty file",
    "not_a_picture": "a page or text is there, not a picture",
    "host_resting": "its server has failed before, or asks to be left alone for now",
}


async def picture_of(upload: Form, fetcher: Fetcher) -> bytes:
    """The file of a form, or what the address in it gives.

    Raises:
        InputError: neither or both are there, or as `fetch_picture`.
    """
    address = upload.one(URL_FIELD)
    if not address:
        return picture_in(upload)
    if upload.picture:
        raise InputError(f"two pictures were sent: give either a file in {FIELD!r} or an address in {URL_FIELD!r}")
    return await fetch_picture(fetcher, address)


async def fetch_picture(fetcher: Fetcher, url: str) -> bytes:
    """The file at an address; whether it is a picture shows when it is decoded.

    Raises:
        InputError: the address cannot be fetched from; the message says why.
    """
    text = url.strip()
    if len(text) > MAX_URL_CHARS:
        raise InputError(
            f"the picture's address is {len(text):,} characters long: give one of at most {MAX_URL_CHARS:,}"
        )
    fetched = await fetcher.get(text if "://" in text else f"https://{text}")
    if fetched.status != "ok":
        raise InputError(
            f"the picture at {text[:200]} could not be fetched: {why_not(fetched)}. Download it yourself and search "
            "with the file"
        )
    return fetched.body


def why_not(fetched: Fetched) -> str:
    """Why nothing was fetched, for people, without anything that the network's own words would give away."""
    if fetched.http_status is not None and fetched.status.startswith("http_"):
        return f"its server answered with status {fetched.http_status}"
    return _WHY.get(fetched.status, "its server did not answer as it should")
