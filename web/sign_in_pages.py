"""Signing in and out: an e-mail address, a link in a mail, a button. No password, no JavaScript."""

from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from heldout.errors import InputError
from registry.mail import Mail
from registry.sign_in import LINK_LIFE, parse_email
from web.account_contexts import SentPage, SignInLinkPage, SignInPage
from web.deps import SAME_ORIGIN, MailerDep, PagesDep, RegistryDep, SettingsDep
from web.said import sentence
from web.visitors import VisitorDep, client_digest, safe_path, sign_in_browser, sign_out_browser
from web.words import gettext

routes = APIRouter(include_in_schema=False)

N_MINUTES = int(LINK_LIFE.total_seconds() // 60)


@routes.get("/sign-in")
def sign_in(
    request: Request,
    pages: PagesDep,
    mailer: MailerDep,
    visitor: VisitorDep,
    next: str = "",  # noqa: A002 - in the URL
) -> Response:
    """Where to mail the link to."""
    next_path = safe_path(next)
    if visitor is not None:
        return RedirectResponse(next_path, status_code=303)
    return pages.render(request, "sign_in.html", SignInPage(mailer is not None, next_path, "", ""))


@routes.post("/sign-in", dependencies=SAME_ORIGIN)
def send_link(
    *,
    request: Request,
    pages: PagesDep,
    registry: RegistryDep,
    settings: SettingsDep,
    mailer: MailerDep,
    email: Annotated[str, Form(max_length=320)] = "",
    next: Annotated[str, Form(max_length=2100)] = "",  # noqa: A002 - the form's field
) -> Response:
    """Mail the link. The answer is the same for every address: known, new, or asked for too often."""
    next_path = safe_path(next)
    if mailer is None:
        return pages.render(request, "sign_in.html", SignInPage(False, next_path, "", ""), status=503)  # noqa: FBT003
    try:
        address = parse_email(email)
    except InputError as error:
        page = SignInPage(is_open=True, next_path=next_path, email=email, problem=sentence(str(error)))
        return pages.render(request, "sign_in.html", page, status=422)
    token = registry.accounts.link_token(address, client=client_digest(request, settings), next_path=next_path)
    if token is not None:
        mailer.send(sign_in_mail(address, settings.base_url, token))
    return RedirectResponse("/sign-in/sent", status_code=303)


@routes.get("/sign-in/sent")
def sent(request: Request, pages: PagesDep) -> HTMLResponse:
    """Look into your mail."""
    return pages.render(request, "sent.html", SentPage(N_MINUTES))


@routes.get("/sign-in/{token}")
def show_button(request: Request, token: str, pages: PagesDep, registry: RegistryDep) -> HTMLResponse:
    """A button: programs that look at mail open links, and must not use them up."""
    email = registry.accounts.email_of_link(token) or ""
    page = SignInLinkPage(email, f"/sign-in/{token}" if email else "")
    return pages.render(request, "sign_in_link.html", page, status=200 if email else 410)


@routes.post("/sign-in/{token}", dependencies=SAME_ORIGIN)
def use_link(token: str, registry: RegistryDep, settings: SettingsDep, visitor: VisitorDep) -> Response:
    """Sign in, and go where one wanted to."""
    done = registry.accounts.use_link(token)
    if visitor is not None:
        registry.accounts.end_session(visitor.session_id)
    response = RedirectResponse(safe_path(done.next_path), status_code=303)
    sign_in_browser(response, settings, done.session_id)
    return response


@routes.post("/sign-out", dependencies=SAME_ORIGIN)
def sign_out(
    registry: RegistryDep,
    settings: SettingsDep,
    visitor: VisitorDep,
    csrf: Annotated[str, Form()] = "",
    everywhere: Annotated[str, Form()] = "",
) -> Response:
    """Sign this browser out, or all of the account's."""
    response = RedirectResponse("/", status_code=303)
    if visitor is not None:
        visitor.check_form(csrf)
        if everywhere:
            registry.accounts.end_sessions(visitor.account.id)
        else:
            registry.accounts.end_session(visitor.session_id)
    sign_out_browser(response, settings)
    return response


def sign_in_mail(address: str, base_url: str, token: str) -> Mail:
    """The message with the link."""
    text = gettext(
        "Somebody, we hope you, asked to sign in to %(site)s with this e-mail address.\n\nOpen this address, and press "
        "the button there:\n\n%(link)s\n\nIt works once, within %(minutes)s minutes. If it was not you, do nothing: "
        "nobody gets in without it.\n",
        site=base_url,
        link=f"{base_url}/sign-in/{token}",
        minutes=N_MINUTES,
    )
    return Mail(address, gettext("Sign in to heldout"), text)
