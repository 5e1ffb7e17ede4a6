"""Signing in as people do: the form, the mail, the button."""

import email
import email.policy
import re
from pathlib import Path

from fastapi.testclient import TestClient

from tests.web.html import Element, read_page

HTML = {"accept": "text/html"}
WORK = {"subjects": [{"kind": "url", "url": "https://jane.example/holiday.jpg"}]}
LINK = re.compile(r"http://testserver(/sign-in/\S+)")


def mails(state_dir: Path) -> list[email.message.EmailMessage]:
    """What was sent, oldest first."""
    paths = sorted((state_dir / "outbox").glob("*.eml"))
    return [email.message_from_bytes(path.read_bytes(), policy=email.policy.default) for path in paths]


def link_of(mail: email.message.EmailMessage) -> str:
    """The path of the link in a mail."""
    (path,) = LINK.findall(mail.get_content())
    return str(path)


def sign_in(site: TestClient, state_dir: Path, address: str, **form: str) -> str:
    """Sign a client in; where it was sent."""
    assert site.post("/sign-in", data={"email": address, **form}).status_code == 303
    answer = site.post(link_of(mails(state_dir)[-1]))
    assert answer.status_code == 303, answer.text
    return str(answer.headers["location"])


def page(site: TestClient, path: str, status: int = 200) -> Element:
    """A page, read."""
    answer = site.get(path, headers=HTML)
    assert answer.status_code == status, answer.text
    return read_page(answer.text)


def bearer(key: str) -> dict[str, str]:
    """What a request with an API key carries."""
    return {"Authorization": f"Bearer {key}"}


def csrf_of(site: TestClient) -> str:
    """What the account's forms carry."""
    return page(site, "/account").all("input", name="csrf")[0].attributes["value"]
