"""Proving places: codes, checks over real DNS and https, what follows in the log, looking again, losing it."""

import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select

from heldout.errors import ConflictError, InputError, NotFoundError, TooOftenError
from heldout.leaves import AssuranceLeaf, StateLeaf
from heldout.receipts import verify_receipt
from heldout.records import Claim, Proof, UrlSubject
from heldout.replay import replay
from registry.db import Sessions, transaction
from registry.evidence import CHECKS_PER_EVIDENCE, CHECKS_PER_HOST
from registry.evidence_checks import Finding
from registry.service import Registry
from registry.tables import EvidenceCheckRow, EvidenceRow
from tests.hostile import ok
from tests.registry.builders import Clock, host, image, prefix, request, tables, url
from tests.registry.world import World, open_world, page
from tests.registry.zone import by_host

FILE = "/.well-known/heldout.txt"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with open_world(tmp_path) as made:
        yield made


def claim_of(registry: Registry, *subjects: object, **fields: object) -> Claim:
    return registry.submit(request(*(subjects or (host(),)), **fields))  # type: ignore[arg-type]


def assurances(registry: Registry, sessions: Sessions, claim: Claim) -> list[tuple[str, str]]:
    """(state, assurance) of each subject, which the log gives too."""
    with transaction(sessions) as session:
        state = tables(session)
    leaves = verify_receipt(registry.receipt(claim.id), registry.vkey)
    logged = replay(leaves).claims[claim.id]
    mine = state.claims[claim.id]
    assert (logged.states, logged.assurances) == (mine.states, mine.assurances)
    return list(zip(mine.states, mine.assurances, strict=True))


def test_a_record_that_all_name_servers_see_brings_a_site_into_force(
    registry: Registry, world: World, sessions: Sessions
) -> None:
    claim = claim_of(registry)
    assert claim.state == "pending"
    proof = registry.proving.create(claim.id, "dns", "Jane.Example")
    assert {each.label: each.text for each in proof.put} == {
        "Name of the record": "_heldout-challenge.jane.example",
        "Type": "TXT",
        "Value": f"token={proof.token} expiry=never",
        "Time to live, in seconds": "300",
    }
    world.put_txt("jane.example", "v=spf1 -all", proof.put[2].text)
    proof = world.check(registry, proof.id)
    assert (proof.state, proof.code, proof.n_subjects) == ("proved", "found", 1)
    assert registry.claim(claim.id).state == "in_force"
    assert assurances(registry, sessions, claim) == [("in_force", "host")]
    _, assured, moved = verify_receipt(registry.receipt(claim.id), registry.vkey)
    assert isinstance(assured, AssuranceLeaf)
    assert isinstance(moved, StateLeaf)
    assert (assured.assurance, assured.reason, moved.state, moved.reason) == ("host", "dns-txt", "in_force", "evidence")


def test_finding_it_again_adds_nothing_to_the_log(registry: Registry, world: World, clock: Clock) -> None:
    claim = claim_of(registry)
    proof = registry.proving.create(claim.id, "dns", "jane.example")
    assert registry.proving.create(claim.id, "dns", "https://JANE.example/") == proof
    world.put_txt("jane.example", proof.token)
    size = None
    for _ in range(3):
        world.check(registry, proof.id)
        clock.advance(minutes=1)
        assert size in {None, registry.sequence().size}
        size = registry.sequence().size


def test_a_record_may_be_delegated_by_cname_and_split_into_strings(registry: Registry, world: World) -> None:
    proof = registry.proving.create(claim_of(registry).id, "dns", "jane.example")
    world.set_records("_heldout-challenge.jane.example", {"CNAME": ["jane.dcv.mallory.example"]})
    value = proof.put[2].text
    world.set_records("jane.dcv.mallory.example", {"TXT": [f'"{value[:9]}" "{value[9:]}"']})
    assert world.check(registry, proof.id).state == "proved"


def test_another_claimants_code_proves_nothing(registry: Registry, world: World) -> None:
    jane, mallory = (registry.proving.create(claim_of(registry).id, "dns", "jane.example") for _ in range(2))
    assert jane.token != mallory.token
    world.put_txt("jane.example", jane.token)
    assert world.check(registry, mallory.id).code == "wrong_token"
    world.put_txt("jane.example", jane.token, mallory.token)
    assert world.check(registry, jane.id).state == "proved"


@pytest.mark.parametrize("body", ["token={}", "\ufeff# heldout\r\n\r\ntoken=other\r\nTOKEN={} expiry=never\r\n"])
def test_a_file_proves_the_host_it_is_on(registry: Registry, world: World, body: str, sessions: Sessions) -> None:
    claim = claim_of(
        registry, host(), host("shop.jane.example"), prefix("https://jane.example/blog"), url("a"), image("b")
    )
    proof = registry.proving.create(claim.id, "well-known", "jane.example")
    text = body.format(proof.token).encode()
    world.web.answers[FILE] = by_host({"jane.example": ok(text, "Content-Type: application/octet-stream\r\n")})
    assert world.check(registry, proof.id).n_subjects == 3
    assert assurances(registry, sessions, claim) == [
        ("in_force", "host"),
        ("pending", "declared"),
        ("in_force", "host"),
        ("in_force", "host"),
        ("in_force", "declared"),
    ]


def test_a_tag_on_the_front_page_proves_the_site(registry: Registry, world: World, sessions: Sessions) -> None:
    claim = claim_of(registry)
    proof = registry.proving.create(claim.id, "meta", "https://jane.example")
    assert proof.put[1].text == f'<meta name="heldout-site-verification" content="{proof.token}">'
    world.web.answers["/"] = ok(page(proof.put[1].text))
    assert world.check(registry, proof.id).gives == "host"
    assert assurances(registry, sessions, claim) == [("in_force", "host")]


def test_a_tag_further_down_proves_its_path_alone(registry: Registry, world: World, sessions: Sessions) -> None:
    claim = claim_of(
        registry, prefix("https://art.example/jane"), prefix("https://art.example/janet"), host("art.example")
    )
    proof = registry.proving.create(claim.id, "meta", "https://art.example/jane/")
    world.web.answers["/jane/"] = ok(b"", status="404 Not Found")
    world.web.answers["/jane/"] = ok(page(proof.put[1].text))
    assert world.check(registry, proof.id).gives == "account"
    assert [state for state, _ in assurances(registry, sessions, claim)] == ["in_force", "pending", "pending"]


def test_a_profile_proves_its_path_and_the_works_of_its_platform_that_it_links(
    registry: Registry, world: World, sessions: Sessions
) -> None:
    subjects = (
        prefix("https://art.example/jane"),
        {"kind": "url", "url": "https://art.example/jane/1.jpg"},
        {"kind": "url", "url": "https://cdn.art.example/x/2.jpg?w=1"},
        {"kind": "url", "url": "https://art.example/mallory/3.jpg"},
        {"kind": "url", "url": "https://other.example/4.jpg"},
    )
    links = '<img src="//cdn.art.example/x/2.jpg?w=1"><a href="https://other.example/4.jpg">mine, I say</a>'
    for preference, linked in (("train-ai=n", "account"), ("train-ai=y", "declared")):
        claim = claim_of(registry, *subjects, preference=preference)
        proof = registry.proving.create(claim.id, "account", "https://art.example/jane/")
        description = f'<meta property="og:description" content="I paint. ({proof.token})">'
        world.web.answers["/jane/"] = ok(page(description, links))
        assert world.check(registry, proof.id).state == "proved"
        shown = [assurance for _, assurance in assurances(registry, sessions, claim)]
        assert shown == ["account", "account", linked, "declared", "declared"]


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("dns", "github.io"),
        ("dns", "example"),
        ("dns", "192.0.2.1"),
        ("dns", "mallory.example"),
        ("dns", "co.uk"),
        ("dns", "https://jane.example/path"),
        ("well-known", "www.jane.example"),
        ("meta", "https://jane.example/about/"),
        ("meta", "https://github.io/"),
        ("meta", "https://jane.example/?page=2"),
        ("account", "https://jane.example/"),
        ("account", "https://art.example/jane"),
        ("credential", "00" * 32),
        ("credential", "jane.example"),
    ],
)
def test_what_proves_nothing_of_the_claim_gets_no_code(registry: Registry, method: str, target: str) -> None:
    claim = claim_of(registry)
    with pytest.raises(InputError):
        registry.proving.create(claim.id, method, target)  # type: ignore[arg-type]
    assert registry.proving.of_claim(claim.id) == []


def test_a_record_at_the_registered_name_proves_the_hosts_below_but_not_those_of_others(
    registry: Registry, world: World, sessions: Sessions
) -> None:
    claim = claim_of(registry, host("shop.jane.example"))
    proof = registry.proving.create(claim.id, "dns", "jane.example")
    world.put_txt("jane.example", proof.token)
    assert world.check(registry, proof.id).state == "proved"
    assert assurances(registry, sessions, claim) == [("in_force", "host")]
    bucket = claim_of(registry, host("works.s3.amazonaws.com"), host("alice.github.io"))
    for other in ("amazonaws.com", "s3.amazonaws.com", "bob.github.io", "www.alice.github.io"):
        with pytest.raises(InputError):
            registry.proving.create(bucket.id, "dns", other)


def test_claims_of_one_account_share_a_code_and_other_accounts_do_not(registry: Registry, world: World) -> None:
    accounts = [account_of(registry, f"{name}@mail.example") for name in ("jane", "ota")]
    first, second, other = (
        registry.submit(request(host()), account_id=account) for account in (accounts[0], accounts[0], accounts[1])
    )
    one, two, three = (registry.proving.create(each.id, "dns", "jane.example") for each in (first, second, other))
    assert one.token == two.token != three.token
    world.put_txt("jane.example", one.token)
    assert [world.check(registry, each.id).state for each in (one, two, three)] == ["proved", "proved", "waiting"]


def account_of(registry: Registry, email: str) -> str:
    token = registry.accounts.link_token(email, client=b"c" * 32, next_path="/")
    assert token is not None
    return registry.accounts.use_link(token).account_id


def proved_site(registry: Registry, world: World) -> tuple[Claim, Proof]:
    claim = claim_of(registry)
    proof = registry.proving.create(claim.id, "dns", "jane.example")
    world.put_txt("jane.example", proof.token)
    return claim, world.check(registry, proof.id)


def run_for(days: int, registry: Registry, world: World, clock: Clock) -> None:
    """The chore, every day."""
    for _ in range(days):
        clock.advance(days=1)
        world.recheck(registry)


def test_a_proof_is_looked_at_daily_and_stays(registry: Registry, world: World, clock: Clock) -> None:
    claim, proof = proved_site(registry, world)
    assert proof.next_check_at == clock.now + timedelta(days=1)
    assert world.recheck(registry).n_checked == 0
    size = registry.sequence().size
    clock.advance(days=1)
    assert (world.recheck(registry).n_proved, registry.sequence().size) == (1, size)
    assert registry.claim(claim.id).state == "in_force"


def test_removing_the_record_takes_the_site_out_of_force_once_the_grace_is_over(
    registry: Registry, world: World, clock: Clock, sessions: Sessions
) -> None:
    claim, proof = proved_site(registry, world)
    world.put_txt("jane.example", "token=something-else")
    run_for(7, registry, world, clock)
    still = registry.proving.get(proof.id)
    assert (still.state, still.code) == ("proved", "wrong_token")
    assert registry.claim(claim.id).state == "in_force"
    run_for(2, registry, world, clock)
    assert registry.proving.get(proof.id).state == "lost"
    assert assurances(registry, sessions, claim) == [("pending", "declared")]
    *_, assured, moved = verify_receipt(registry.receipt(claim.id), registry.vkey)
    assert (assured.reason, moved.reason) == ("evidence-lost", "evidence-lost")  # type: ignore[union-attr]
    world.put_txt("jane.example", proof.token)
    assert world.check(registry, proof.id).state == "proved"
    assert assurances(registry, sessions, claim) == [("in_force", "host")]


def test_a_record_that_comes_back_within_the_grace_changes_nothing(
    registry: Registry, world: World, clock: Clock
) -> None:
    claim, proof = proved_site(registry, world)
    size = registry.sequence().size
    for _ in range(3):
        world.set_records("_heldout-challenge.jane.example", None)
        run_for(6, registry, world, clock)
        world.put_txt("jane.example", proof.token)
        run_for(2, registry, world, clock)
        assert registry.proving.get(proof.id).failing_since is None
    assert (registry.claim(claim.id).state, registry.sequence().size) == ("in_force", size)


def test_an_outage_is_borne_longer_than_a_removal(registry: Registry, world: World, clock: Clock) -> None:
    claim, proof = proved_site(registry, world)
    world.zones[0].silent.add("_heldout-challenge.jane.example")
    run_for(29, registry, world, clock)
    assert registry.claim(claim.id).state == "in_force"
    run_for(3, registry, world, clock)
    assert registry.claim(claim.id).state == "pending"
    assert registry.proving.get(proof.id).state == "lost"


def test_what_another_proof_still_shows_stays(
    registry: Registry, world: World, clock: Clock, sessions: Sessions
) -> None:
    claim = claim_of(registry, host(), prefix("https://jane.example/art"))
    by_record = registry.proving.create(claim.id, "dns", "jane.example")
    by_tag = registry.proving.create(claim.id, "meta", "https://jane.example/art/")
    world.put_txt("jane.example", by_record.token)
    world.web.answers["/art/"] = ok(page(by_tag.put[1].text))
    for each in (by_tag, by_record):
        assert world.check(registry, each.id).state == "proved"
    assert assurances(registry, sessions, claim) == [("in_force", "host")] * 2
    world.set_records("_heldout-challenge.jane.example", None)
    run_for(9, registry, world, clock)
    assert assurances(registry, sessions, claim) == [("pending", "declared"), ("in_force", "account")]


def test_what_a_person_has_reviewed_is_not_lost_with_a_record(
    registry: Registry, world: World, clock: Clock, sessions: Sessions
) -> None:
    claim, _ = proved_site(registry, world)
    registry.raise_assurance(claim.id, "reviewed", reason="review")
    world.set_records("_heldout-challenge.jane.example", None)
    run_for(9, registry, world, clock)
    assert assurances(registry, sessions, claim) == [("in_force", "reviewed")]


def test_who_has_asked_once_need_not_come_back(registry: Registry, world: World, clock: Clock) -> None:
    claim = claim_of(registry)
    proof = registry.proving.create(claim.id, "dns", "jane.example")
    clock.advance(days=1)
    assert world.recheck(registry).n_checked == 0
    assert world.check(registry, proof.id).code == "no_such_name"
    world.put_txt("jane.example", proof.token)
    clock.advance(hours=1)
    assert world.recheck(registry).n_proved == 1
    assert registry.claim(claim.id).state == "in_force"


def test_a_proof_that_never_was_is_given_up(registry: Registry, world: World, clock: Clock) -> None:
    proof = registry.proving.create(claim_of(registry).id, "dns", "jane.example")
    world.check(registry, proof.id)
    run_for(16, registry, world, clock)
    assert registry.proving.get(proof.id).next_check_at is None


def test_a_check_whose_process_died_is_made_again(registry: Registry, world: World, clock: Clock) -> None:
    claim, proof = proved_site(registry, world)
    size = registry.sequence().size
    clock.advance(days=1)
    assert len(registry.proving._take_due()) == 1  # and then the power fails
    assert world.recheck(registry).n_checked == 0
    clock.advance(minutes=10)
    assert world.recheck(registry).n_proved == 1
    assert registry.proving.get(proof.id).next_check_at == clock.now + timedelta(days=1)
    assert (registry.claim(claim.id).state, registry.sequence().size) == ("in_force", size)


def test_a_finding_recorded_twice_is_one_event(registry: Registry, world: World) -> None:
    claim, proof = proved_site(registry, world)
    size = registry.sequence().size
    found = Finding("found", "again", is_found=True)
    threads = [threading.Thread(target=registry.proving._record, args=(proof.id, found)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert registry.sequence().size == size
    assert len(verify_receipt(registry.receipt(claim.id), registry.vkey)) == 3


def test_several_rechecks_at_once_look_at_each_proof_once(registry: Registry, world: World, clock: Clock) -> None:
    for _ in range(5):
        proved_site_claim = claim_of(registry)
        proof = registry.proving.create(proved_site_claim.id, "dns", "jane.example")
        world.check(registry, proof.id)
    clock.advance(hours=2)
    done: list[int] = []
    threads = [threading.Thread(target=lambda: done.append(world.recheck(registry).n_checked)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(done) == 5


def test_a_withdrawn_claim_is_left_alone(registry: Registry, world: World, clock: Clock) -> None:
    claim, proof = proved_site(registry, world)
    registry.withdraw(claim.id, reason="by-claimant")
    size = registry.sequence().size
    world.set_records("_heldout-challenge.jane.example", None)
    run_for(9, registry, world, clock)
    assert (registry.claim(claim.id).state, registry.sequence().size) == ("withdrawn", size)
    assert registry.proving.get(proof.id).next_check_at is None
    with pytest.raises(ConflictError, match="withdrawn"):
        world.check(registry, proof.id)
    with pytest.raises(ConflictError, match="withdrawn"):
        registry.proving.create(claim.id, "well-known", "jane.example")


def test_asking_too_often_is_refused_and_the_schedule_goes_on(registry: Registry, world: World, clock: Clock) -> None:
    claim = claim_of(registry)
    proof = registry.proving.create(claim.id, "dns", "jane.example")
    world.check(registry, proof.id)
    with pytest.raises(TooOftenError, match="seconds"):
        world.check(registry, proof.id)
    for _ in range(CHECKS_PER_EVIDENCE - 1):
        clock.advance(seconds=6)
        world.check(registry, proof.id)
    clock.advance(seconds=6)
    with pytest.raises(TooOftenError, match="in an hour"):
        world.check(registry, proof.id)
    world.put_txt("jane.example", proof.token)
    clock.advance(hours=1)
    assert world.recheck(registry).n_proved == 1
    assert world.check(registry, proof.id).state == "proved"


def test_many_claims_about_one_host_do_not_send_us_there_without_end(registry: Registry, clock: Clock) -> None:
    n_claims = CHECKS_PER_HOST // CHECKS_PER_EVIDENCE
    proofs = [registry.proving.create(claim_of(registry).id, "well-known", "jane.example") for _ in range(n_claims + 1)]
    for proof in proofs[:n_claims]:
        for _ in range(CHECKS_PER_EVIDENCE):
            registry.proving._begin(proof.id)
            clock.advance(seconds=6)
    with pytest.raises(TooOftenError):
        registry.proving._begin(proofs[-1].id)


def test_erasing_personal_data_keeps_what_was_proved(
    registry: Registry, world: World, clock: Clock, sessions: Sessions
) -> None:
    claim = claim_of(registry, host(), url("a"))
    proof = registry.proving.create(claim.id, "dns", "jane.example")
    world.put_txt("jane.example", proof.token)
    world.check(registry, proof.id)
    registry.erase_personal_data(claim.id)
    assert registry.proving.get(proof.id).result is None
    clock.advance(days=1)
    assert world.recheck(registry).n_proved == 1
    assert assurances(registry, sessions, claim) == [("in_force", "host")] * 2
    world.set_records("_heldout-challenge.jane.example", None)
    run_for(9, registry, world, clock)
    assert assurances(registry, sessions, claim) == [("pending", "declared"), ("in_force", "declared")]


def test_erasing_a_withdrawn_claim_removes_its_proofs(registry: Registry, world: World, sessions: Sessions) -> None:
    work = UrlSubject(url="https://art.example/jane/1.jpg")
    gone, kept = (claim_of(registry, work) for _ in range(2))
    profiles = [registry.proving.create(claim.id, "account", "https://art.example/jane/") for claim in (gone, kept)]
    world.web.answers["/jane/"] = ok(page(f'<meta name="description" content="{profiles[0].token}">'))
    assert world.check(registry, profiles[0].id).state == "proved"
    registry.withdraw(gone.id, reason="by-claimant")
    assert registry.proving.get(profiles[0].id).target == "https://art.example/jane/"
    for claim in (gone, kept):
        registry.erase_personal_data(claim.id)
    with transaction(sessions) as session:
        assert list(session.scalars(select(EvidenceRow.id))) == [profiles[1].id]
        assert session.scalar(select(func.count()).select_from(EvidenceCheckRow)) == 0
    assert assurances(registry, sessions, gone) == [("withdrawn", "account")]


def test_a_proof_that_is_erased_while_it_is_looked_at_is_not_recorded(
    registry: Registry, world: World, clock: Clock
) -> None:
    claim, _ = proved_site(registry, world)
    clock.advance(days=1)
    (look,) = registry.proving._take_due()
    registry.withdraw(claim.id, reason="by-claimant")
    registry.erase_personal_data(claim.id)
    with pytest.raises(NotFoundError):
        registry.proving._record(look.id, Finding("found", "it is there", is_found=True))
    clock.advance(days=1)
    assert world.recheck(registry).n_checked == 0


def test_an_accounts_deletion_with_its_claims_removes_its_proofs(registry: Registry, world: World) -> None:
    account = account_of(registry, "jane@mail.example")
    claim = registry.submit(request(host()), account_id=account)
    proof = registry.proving.create(claim.id, "dns", "jane.example")
    registry.delete_account(account, withdraw_claims=True)
    assert registry.proving.of_claim(claim.id) == []
    with pytest.raises(NotFoundError):
        world.check(registry, proof.id)


def test_nothing_of_a_proof_is_in_the_log(registry: Registry, world: World) -> None:
    claim, proof = proved_site(registry, world)
    text = str(registry.receipt(claim.id)) + "".join(
        path.read_text("latin-1") for path in registry.public_dir.rglob("*") if path.is_file()
    )
    assert "jane.example" in text  # the place itself is public
    assert proof.token not in text
    assert proof.id not in text


def test_what_is_not_there_is_not_found(registry: Registry, world: World) -> None:
    for bad in ("nothing", "\0", "a" * 100):
        with pytest.raises(NotFoundError):
            registry.proving.get(bad)
        with pytest.raises(NotFoundError):
            world.check(registry, bad)
        with pytest.raises(NotFoundError):
            registry.proving.create(bad, "dns", "jane.example")


def test_an_accounts_export_has_its_proofs_and_its_deletion_what_looks_said(registry: Registry, world: World) -> None:
    account = account_of(registry, "jane@mail.example")
    claim = registry.submit(request(host()), account_id=account)
    proof = registry.proving.create(claim.id, "dns", "jane.example")
    world.put_txt("jane.example", proof.token)
    world.check(registry, proof.id)
    (exported,) = registry.accounts.export(account)["claims"]
    assert [(each["token"], each["state"]) for each in exported["evidence"]] == [(proof.token, "proved")]
    registry.delete_account(account, withdraw_claims=False)
    assert registry.proving.get(proof.id).result is None
    assert registry.claim(claim.id).state == "in_force"


def test_what_is_suggested_is_bounded(registry: Registry) -> None:
    claim = claim_of(registry, *(host(f"h{n}.jane.example") for n in range(60)), image("a"))
    shown, n_more = registry.proving.suggested(claim.id)
    assert len(shown) + n_more == 60 * 4  # file, tag, record there and at the registered name; no authority is trusted
    assert {each.method for each in shown} == {"well-known", "meta", "dns"}
    for each in shown[:4]:
        assert registry.proving.create(claim.id, each.method, each.target).target == each.target
