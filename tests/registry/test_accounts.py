"""Accounts on both databases: links, sessions and keys end when they should, one's own is one's own, and goes."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from heldout.errors import AccessError, ConflictError, InputError, NotFoundError
from heldout.receipts import verify_receipt
from registry.api_keys import MAX_KEYS, ROTATION_GRACE
from registry.claim_secrets import ClaimSecrets
from registry.db import Sessions, transaction
from registry.service import Registry
from registry.sessions import SESSION_LIFE
from registry.sign_in import (
    LIMIT_SPAN,
    LINK_LIFE,
    MAX_LINKS_PER_CLIENT,
    MAX_LINKS_PER_EMAIL,
    MAX_NEXT_CHARS,
    parse_email,
)
from registry.tables import AccountRow, ApiKeyRow, ClaimantRow, SessionRow, SignInRow, SubjectRow
from tests.registry.builders import Clock, host, request, url

JANE = "jane@mail.example"
SignIn = Callable[..., str]


def link(registry: Registry, email: str = JANE, client: bytes = bytes(32)) -> str | None:
    return registry.accounts.link_token(email, client=client, next_path="/account")


@pytest.fixture
def sign_in(registry: Registry) -> SignIn:
    def signed_in(email: str = JANE) -> str:
        token = link(registry, email)
        assert token is not None
        return registry.accounts.use_link(token).account_id

    return signed_in


def rows(sessions: Sessions) -> dict[str, int]:
    with transaction(sessions) as session:
        tables: list[Any] = [AccountRow, SignInRow, SessionRow, ApiKeyRow]
        return {table.__tablename__: len(session.scalars(select(table)).all()) for table in tables}


@pytest.mark.parametrize(
    ("text", "email"),
    [
        ("jane@mail.example", JANE),
        ("  Jane@MAIL.Example. ", JANE),
        ("o'hara+art@mail.example", "o'hara+art@mail.example"),
        ("jane@münchen.example", "jane@xn--mnchen-3ya.example"),
    ],
)
def test_an_address_has_one_form(text: str, email: str) -> None:
    assert parse_email(text) == email


def test_what_a_mails_head_would_show_as_another_address_is_refused() -> None:
    """Encoded words (RFC 2047): this one would be shown as victim@other.example, others break the line."""
    for text in ("=?utf-8?q?victim=40other.example=2C?=@mail.example", "=?utf-8?q?a=0D=0ABcc=3Ab?=@mail.example"):
        with pytest.raises(InputError, match="not an e-mail address"):
            parse_email(text)


def test_a_link_is_good_for_a_quarter_of_an_hour(registry: Registry, clock: Clock) -> None:
    token = link(registry) or ""
    clock.now += LINK_LIFE - timedelta(seconds=1)
    assert registry.accounts.email_of_link(token) == JANE
    clock.advance(seconds=1)
    assert registry.accounts.email_of_link(token) is None
    with pytest.raises(AccessError, match="too old"):
        registry.accounts.use_link(token)


def test_a_link_used_by_many_at_once_signs_in_one(registry: Registry, sessions: Sessions) -> None:
    token = link(registry) or ""

    def use(_: int) -> bool:
        try:
            registry.accounts.use_link(token)
        except AccessError:
            return False
        return True

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(use, range(6))) == 1
    assert rows(sessions) == {"accounts": 1, "sign_ins": 1, "sessions": 1, "api_keys": 0}


def test_nothing_comes_into_an_account_that_was_deleted(registry: Registry, sign_in: SignIn) -> None:
    """Its browser or script may have been let in a moment before."""
    account = sign_in()
    made = registry.submit(request(url("a")))
    registry.delete_account(account, withdraw_claims=False)
    with pytest.raises(AccessError, match="was deleted"):
        registry.submit(request(url("b")), account_id=account)
    with pytest.raises(AccessError, match="was deleted"):
        registry.adopt(made.id, account, secret=made.secret or "")


def test_two_links_of_one_address_used_at_once_sign_in_one(registry: Registry, sessions: Sessions) -> None:
    tokens = [link(registry) or "" for _ in range(4)]

    def use(token: str) -> bool:
        try:
            registry.accounts.use_link(token)
        except AccessError:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(use, tokens)) == 1
    assert rows(sessions) == {"accounts": 1, "sign_ins": 4, "sessions": 1, "api_keys": 0}


def test_where_to_go_after_signing_in_cannot_be_read_in_the_database(registry: Registry, sessions: Sessions) -> None:
    """It may be a claim's private address."""
    private = "/claims/abc/manage?secret=" + "s" * (MAX_NEXT_CHARS - 26)
    token = registry.accounts.link_token(JANE, client=bytes(32), next_path=private) or ""
    with transaction(sessions) as session:
        assert "secret" not in session.scalars(select(SignInRow.next_path)).one()
    assert registry.accounts.use_link(token).next_path == private


def test_links_are_limited_per_address_and_per_client_for_an_hour(registry: Registry, clock: Clock) -> None:
    assert all(link(registry, client=bytes([i]) * 32) for i in range(MAX_LINKS_PER_EMAIL))
    assert link(registry, client=b"\xfe" * 32) is None
    assert link(registry, "ota@mail.example", client=b"\xfe" * 32)
    assert all(link(registry, f"p{i}@mail.example", client=b"\xff" * 32) for i in range(MAX_LINKS_PER_CLIENT))
    assert link(registry, "q@mail.example", client=b"\xff" * 32) is None
    clock.now += LIMIT_SPAN
    assert link(registry)
    assert link(registry, "q@mail.example", client=b"\xff" * 32)


def test_links_asked_for_in_anothers_name_do_not_keep_them_from_signing_in(registry: Registry, clock: Clock) -> None:
    theirs = [link(registry, client=bytes([i]) * 32) or "" for i in range(MAX_LINKS_PER_EMAIL)]
    assert link(registry, client=b"\xfe" * 32) is None  # the mails are there, and each of them works
    registry.accounts.use_link(theirs[0])
    mine = link(registry, client=b"\xfe" * 32)
    assert mine is not None
    assert link(registry, client=b"\xfe" * 32) is None
    clock.now += LINK_LIFE  # within the hour, but none of them works any more
    with pytest.raises(AccessError):
        registry.accounts.use_link(mine)
    assert link(registry, client=b"\xfe" * 32)
    assert link(registry, client=b"\xfe" * 32) is None


def test_links_that_have_ended_are_forgotten(registry: Registry, sessions: Sessions, clock: Clock) -> None:
    link(registry)
    clock.now += LIMIT_SPAN + timedelta(seconds=1)
    link(registry, "ota@mail.example")
    with transaction(sessions) as session:
        assert [row.email for row in session.scalars(select(SignInRow))] == ["ota@mail.example"]


def test_signing_in_again_is_the_same_account(sign_in: SignIn) -> None:
    assert sign_in() == sign_in()
    assert sign_in() != sign_in("ota@mail.example")


def test_a_session_ends_after_its_life_or_when_it_is_ended(registry: Registry, clock: Clock) -> None:
    ids = [registry.accounts.use_link(link(registry) or "").session_id for _ in range(3)]
    assert {account.email for account in map(registry.accounts.of_session, ids) if account} == {JANE}
    registry.accounts.end_session(ids[0])
    assert [registry.accounts.of_session(each) is not None for each in ids] == [False, True, True]
    clock.now += SESSION_LIFE
    assert [registry.accounts.of_session(each) for each in ids] == [None, None, None]
    assert registry.accounts.of_session("\ud800") is None


def test_a_key_works_until_its_end_and_a_replaced_one_for_a_day(
    registry: Registry, clock: Clock, sign_in: SignIn
) -> None:
    account = sign_in()
    made = registry.accounts.make_key(account, name="script", scopes=["claims:read"], days=30)
    found = registry.accounts.check_key(made.text)
    assert found is not None
    assert (found.account_id, found.scopes, found.name) == (account, frozenset({"claims:read"}), "script")
    clock.advance(hours=12)
    new = registry.accounts.rotate_key(account, made.key.prefix)
    assert (new.key.name, new.key.scopes, new.key.expires_at) == ("script", made.key.scopes, clock.now + timedelta(30))
    with pytest.raises(ConflictError, match="replaced already"):
        registry.accounts.rotate_key(account, made.key.prefix)
    clock.now += ROTATION_GRACE - timedelta(seconds=1)
    assert registry.accounts.check_key(made.text)
    clock.advance(seconds=1)
    assert registry.accounts.check_key(made.text) is None
    with pytest.raises(ConflictError, match="has ended"):
        registry.accounts.rotate_key(account, made.key.prefix)
    assert registry.accounts.check_key(new.text)
    registry.accounts.revoke_key(account, new.key.prefix)
    assert registry.accounts.check_key(new.text) is None


def test_the_day_of_a_keys_use_is_noted(registry: Registry, clock: Clock, sign_in: SignIn) -> None:
    account = sign_in()
    text = registry.accounts.make_key(account, name="script", scopes=["claims:read"], days=30).text
    assert [key.used_at for key in registry.accounts.keys(account)] == [None]
    registry.accounts.check_key(text)
    assert [key.used_at for key in registry.accounts.keys(account)] == [clock.now.replace(hour=0)]


def test_one_character_of_a_key_changed_is_no_key(registry: Registry, sign_in: SignIn) -> None:
    text = registry.accounts.make_key(sign_in(), name="script", scopes=["claims:read"], days=30).text
    for i in range(len(text)):
        changed = text[:i] + ("a" if text[i] != "a" else "b") + text[i + 1 :]
        assert registry.accounts.check_key(changed) is None
    for other in ("", text[:-1], f"{text}a", text.upper(), "heldout__", "\ud800"):
        assert registry.accounts.check_key(other) is None


def test_an_account_has_a_bounded_number_of_keys(registry: Registry, sign_in: SignIn) -> None:
    account = sign_in()
    for i in range(MAX_KEYS):
        registry.accounts.make_key(account, name=f"key {i}", scopes=["claims:read"], days=1)
    with pytest.raises(ConflictError, match="remove one"):
        registry.accounts.make_key(account, name="one more", scopes=["claims:read"], days=1)
    with pytest.raises(NotFoundError):
        registry.accounts.revoke_key(sign_in("ota@mail.example"), registry.accounts.keys(account)[0].prefix)


def test_a_claim_belongs_to_its_account_alone(registry: Registry, sign_in: SignIn) -> None:
    jane, ota = sign_in(), sign_in("ota@mail.example")
    claim = registry.submit(request(url("a")), account_id=jane)
    assert claim.secret is None
    assert registry.may_change(claim.id, account_id=jane)
    for other in ({"account_id": ota}, {"secret": "a" * 32}, {}):
        with pytest.raises(AccessError, match="not yours"):
            registry.withdraw_own(claim.id, **other)
    assert registry.withdraw_own(claim.id, account_id=jane).state == "withdrawn"


def test_a_secret_opens_its_own_claim_only(registry: Registry) -> None:
    one, other = registry.submit(request(url("a"))), registry.submit(request(url("b")))
    assert one.secret
    assert one.secret != other.secret
    for wrong in (other.secret, "", None, one.id, one.secret[:-1], "\ud800"):
        assert not registry.may_change(one.id, secret=wrong)
    assert registry.may_change(one.id, secret=f" {one.secret.upper()} ")
    assert registry.claim(one.id).secret is None
    assert "secret" not in str(registry.receipt(one.id))


def test_secrets_follow_from_the_logs_key_and_outlive_the_database(registry: Registry) -> None:
    from registry.keys import load_keys

    claim = registry.submit(request(url("a")))
    assert ClaimSecrets(load_keys(registry.state_dir / "keys").log).of(claim.id) == claim.secret


def test_a_claim_is_adopted_once_and_its_secret_ends(registry: Registry, sign_in: SignIn) -> None:
    jane, ota = sign_in(), sign_in("ota@mail.example")
    claim = registry.submit(request(host()))
    with pytest.raises(AccessError):
        registry.adopt(claim.id, jane, secret="a" * 32)
    for _ in range(2):
        assert registry.adopt(claim.id, jane, secret=claim.secret or "").id == claim.id
    with pytest.raises(ConflictError, match="belongs to an account"):
        registry.adopt(claim.id, ota, secret=claim.secret or "")
    assert not registry.may_change(claim.id, secret=claim.secret)
    assert [each.id for each in registry.claims_of(jane).claims] == [claim.id]
    with pytest.raises(NotFoundError):
        registry.adopt("nosuchclaim", jane, secret="")


def test_an_idempotency_key_gives_nobody_anothers_claim_or_secret(registry: Registry, sign_in: SignIn) -> None:
    jane = sign_in()
    registry.submit(request(url("a")), idempotency_key="k", account_id=jane)
    for other in (None, sign_in("ota@mail.example")):
        with pytest.raises(ConflictError, match="another request"):
            registry.submit(request(url("a")), idempotency_key="k", account_id=other)
    anonymous = registry.submit(request(url("a")), idempotency_key="l")
    assert registry.submit(request(url("a")), idempotency_key="l") == anonymous
    registry.adopt(anonymous.id, jane, secret=anonymous.secret or "")
    with pytest.raises(ConflictError, match="another request"):
        registry.submit(request(url("a")), idempotency_key="l")


def test_ones_claims_are_listed_newest_first_a_page_at_a_time(
    registry: Registry, clock: Clock, sign_in: SignIn
) -> None:
    jane = sign_in()
    made = []
    for i in range(9):
        made.append(registry.submit(request(url(str(i))), account_id=jane).id)
        clock.advance(seconds=i % 3)  # several in one second
    registry.submit(request(url("other")), account_id=sign_in("ota@mail.example"))
    seen, cursor = [], None
    for _ in range(5):
        found = registry.claims_of(jane, cursor=cursor, limit=2)
        seen += found.claims
        cursor = found.next_cursor
    assert cursor is None
    assert sorted(claim.id for claim in seen) == sorted(made)
    assert [claim.received_at for claim in seen] == sorted((claim.received_at for claim in seen), reverse=True)
    assert seen == registry.claims_of(jane).claims
    for text in ("1; drop table claims", f"{'9' * 12}-a", "-1-a"):
        with pytest.raises(InputError, match="not a cursor"):
            registry.claims_of(jane, cursor=text)
    assert len(registry.claims_of(jane, cursor=f"{'9' * 11}-a").claims) == 9


def test_deleting_an_account_leaves_claims_and_log_and_nothing_else(
    registry: Registry, sessions: Sessions, sign_in: SignIn
) -> None:
    jane, ota = sign_in(), sign_in("ota@mail.example")
    registry.accounts.make_key(jane, name="script", scopes=["claims:read"], days=1)
    private = {"name": "Jane Doe", "contact": "studio@mail.example"}
    claim = registry.submit(request(url("a"), host(), **private), account_id=jane)
    theirs = registry.submit(request(url("b"), **private), account_id=ota)
    receipt = registry.receipt(claim.id)
    registry.delete_account(jane, withdraw_claims=False)
    assert registry.receipt(claim.id) == receipt
    assert verify_receipt(receipt, registry.vkey)
    assert registry.claim(claim.id).state == "in_force"
    with transaction(sessions) as session:
        claimant = session.get_one(ClaimantRow, claim.id)
        assert (claimant.name, claimant.contact, claimant.account_id) == (None, None, None)
        kept = session.get_one(ClaimantRow, theirs.id)
        assert (kept.name, kept.account_id) == ("Jane Doe", ota)
        subjects = session.scalars(select(SubjectRow).where(SubjectRow.claim_id == claim.id)).all()
        assert [(row.url, row.rule) for row in subjects] == [(None, None), (None, "jane.example")]
        assert [row.email for row in session.scalars(select(AccountRow))] == ["ota@mail.example"]
        assert [row.email for row in session.scalars(select(SignInRow))] == ["ota@mail.example"]
    assert rows(sessions)["api_keys"] == 0
    with pytest.raises(NotFoundError):
        registry.delete_account(jane, withdraw_claims=False)
    with pytest.raises(NotFoundError):
        registry.accounts.export(jane)


def test_deleting_an_account_can_take_its_claims_back_first(registry: Registry, sign_in: SignIn) -> None:
    jane = sign_in()
    claims = [registry.submit(request(url(name)), account_id=jane) for name in "abc"]
    registry.withdraw_own(claims[0].id, account_id=jane)
    registry.delete_account(jane, withdraw_claims=True)
    assert {registry.claim(claim.id).state for claim in claims} == {"withdrawn"}
    assert all(len(registry.claim(claim.id).log_indices) == 2 for claim in claims)
