"""A published list with an entry of every kind, and who may ask about it."""

from heldout.records import UrlSubject
from registry.service import Registry
from tests.registry.builders import host, image, prefix, request

OPTED_OUT = "https://jane.example/art/castle.jpg"
UNICODE = "https://jane.example/éxample.png"
GRANTED = "https://jane.example/free.jpg"
PLACE = "proud.example"
FOLDER = "https://art.example/jane/"
GRANTED_ON_PLACE = f"https://{PLACE}/free.jpg"
PICTURE = image("castle")


def fill(registry: Registry) -> None:
    """Opt out two addresses, a host, a folder and a picture; grant two addresses. Publish."""
    registry.submit(request(UrlSubject(url=OPTED_OUT), UrlSubject(url=UNICODE), PICTURE))
    places = registry.submit(request(host(PLACE)))
    registry.raise_assurance(places.id, "host", reason="dns-txt")
    folder = registry.submit(request(prefix(FOLDER)))
    registry.raise_assurance(folder.id, "account", reason="account")
    granted = [UrlSubject(url=GRANTED), UrlSubject(url=GRANTED_ON_PLACE)]
    registry.submit(request(*granted, preference="train-ai=y"))
    registry.publish()


def issue_key(registry: Registry, *scopes: str) -> str:
    """An API key of a lab's."""
    token = registry.accounts.link_token("lab@lab.example", client=bytes(32), next_path="/")
    account = registry.accounts.use_link(token or "").account_id
    return registry.accounts.make_key(account, name="lab", scopes=scopes or ["list:check"], days=1).text
