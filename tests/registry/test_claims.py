"""Claims: what is stored, what is logged, what is refused."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import select

from heldout.errors import ConflictError, InputError, NotFoundError
from heldout.fingerprints import MIN_QUALITY
from heldout.leaves import ImageDigest, OptOutLeaf, UrlDigest, WithdrawLeaf, parse_leaf
from heldout.records import UrlSubject
from heldout.urls import key_digest
from registry.claims import erase_personal_data, get_claim, new_claim_id, submit, withdraw
from registry.db import Sessions, make_engine, make_sessions, transaction
from registry.tables import ClaimantRow, ClaimRow, EventRow, IdempotencyRow, SubjectRow
from tests.registry.builders import Clock, digest, image, request, url

PERSONAL = {"name": "Jane Maria Doe", "contact": "jane@jane.example"}


def payloads(sessions: Sessions) -> list[bytes]:
    with transaction(sessions) as session:
        return list(session.scalars(select(EventRow.payload).order_by(EventRow.id)))


def count(sessions: Sessions, table: type) -> int:
    with transaction(sessions) as session:
        return session.query(table).count()


def test_a_claim_is_in_force_at_once_at_the_assurance_it_has_shown(sessions: Sessions, clock: Clock) -> None:
    with transaction(sessions) as session:
        claim = submit(session, request(url("a"), url("b"), image("c"), acting_as="estate"), now=clock())
    assert (claim.state, claim.assurance, claim.preference) == ("in_force", "declared", "train-ai=n")
    assert (claim.n_subjects, claim.n_url_subjects, claim.n_image_subjects) == (3, 2, 1)
    assert (claim.acting_as, claim.received_at, claim.log_indices) == ("estate", clock.now, [])
    with transaction(sessions) as session:
        assert get_claim(session, claim.id) == claim


def test_the_log_entry_says_what_was_asked(sessions: Sessions, clock: Clock) -> None:
    with transaction(sessions) as session:
        claim = submit(session, request(url("a"), image("b"), preference="train-ai=y"), now=clock())
    (leaf,) = map(parse_leaf, payloads(sessions))
    assert isinstance(leaf, OptOutLeaf)
    assert (leaf.claim, leaf.at, leaf.assurance, leaf.preference) == (claim.id, clock.now, "declared", "train-ai=y")
    assert leaf.subjects == (
        UrlDigest(key_digest("jane.example/a.jpg")),
        ImageDigest(digest("b"), 90, digest("b.jpg")),
    )


def test_no_personal_data_and_no_url_is_in_any_log_entry(sessions: Sessions, clock: Clock) -> None:
    with transaction(sessions) as session:
        claim = submit(session, request(url("holiday"), image("b"), **PERSONAL), now=clock(), idempotency_key="jane-1")
        withdraw(session, claim.id, reason="by-claimant", now=clock())
    logged = b"\n".join(payloads(sessions)).lower()
    for word in (b"jane", b"maria", b"doe", b"holiday", b"http", b".example", b"@"):
        assert word not in logged
    for payload in payloads(sessions):
        assert set(json.loads(payload)) <= {
            "at", "claim", "assurance", "part", "preference", "subjects", "reason", "type", "v",
        }  # fmt: skip


def test_erasing_forgets_who_and_where_and_leaves_the_claim_in_force(sessions: Sessions, clock: Clock) -> None:
    with transaction(sessions) as session:
        claim = submit(session, request(url("holiday"), image("b"), **PERSONAL), now=clock(), idempotency_key="jane-1")
    logged = payloads(sessions)
    with transaction(sessions) as session:
        erase_personal_data(session, claim.id)
    with transaction(sessions) as session:
        assert get_claim(session, claim.id) == claim
        for table in (ClaimRow, ClaimantRow, SubjectRow, EventRow, IdempotencyRow):
            rows = repr(session.execute(select(*table.__table__.columns)).all()).lower()
            assert rows != "[]"
            for word in ("jane", "maria", "holiday", ".example"):
                assert word not in rows
    assert payloads(sessions) == logged
    with pytest.raises(NotFoundError), transaction(sessions) as session:
        erase_personal_data(session, "nosuchclaim")


def test_what_was_erased_is_gone_from_the_database_file(tmp_path: Path, migrated_sqlite: Path, clock: Clock) -> None:
    path = tmp_path / "erased.db"
    shutil.copyfile(migrated_sqlite, path)
    engine = make_engine(f"sqlite:///{path}")
    sessions = make_sessions(engine)
    with transaction(sessions) as session:
        claim = submit(session, request(url("holiday"), **PERSONAL), now=clock())
    engine.dispose()  # the last connection folds the write-ahead log into the file
    assert b"jane@jane.example" in path.read_bytes()
    with transaction(sessions) as session:
        erase_personal_data(session, claim.id)
    engine.dispose()
    for word in (b"jane", b"Jane", b"holiday"):
        assert word not in path.read_bytes()


def test_subjects_said_twice_count_once(sessions: Sessions, clock: Clock) -> None:
    twice = request(url("a"), url("a"), UrlSubject(url="HTTP://Jane.Example:80/a.jpg#x"), image("b"), image("b"))
    with transaction(sessions) as session:
        assert submit(session, twice, now=clock()).n_subjects == 2
    (leaf,) = map(parse_leaf, payloads(sessions))
    assert isinstance(leaf, OptOutLeaf)
    assert len(leaf.subjects) == 2


@pytest.mark.parametrize(("n", "sizes"), [(300, [300]), (301, [300, 1]), (1000, [300, 300, 300, 100])])
def test_a_large_claim_is_several_entries(sessions: Sessions, clock: Clock, n: int, sizes: list[int]) -> None:
    with transaction(sessions) as session:
        claim = submit(session, request(*(url(str(i)) for i in range(n))), now=clock())
    leaves = [leaf for leaf in map(parse_leaf, payloads(sessions)) if isinstance(leaf, OptOutLeaf)]
    assert [len(leaf.subjects) for leaf in leaves] == sizes
    assert [(leaf.part, leaf.n_parts) for leaf in leaves] == [(i + 1, len(sizes)) for i in range(len(sizes))]
    assert claim.n_subjects == n


def test_a_url_that_is_none_refuses_the_whole_claim_and_stores_nothing(sessions: Sessions, clock: Clock) -> None:
    with pytest.raises(InputError, match=r"ftp://jane\.example"), transaction(sessions) as session:
        submit(session, request(url("a"), UrlSubject(url="ftp://jane.example/a")), now=clock())
    assert count(sessions, ClaimRow) == count(sessions, EventRow) == 0


@pytest.mark.parametrize("preference", ["train-ai=n", "train-ai=y"])
def test_a_picture_that_can_match_nothing_refuses_the_whole_claim(
    sessions: Sessions, clock: Clock, preference: str
) -> None:
    plain = image("plain", quality=MIN_QUALITY - 1, with_sha256=False)
    wanted = request(url("a"), image("b"), plain, preference=preference)
    with pytest.raises(InputError) as refused, transaction(sessions) as session:
        submit(session, wanted, now=clock())
    for words in ("subject 3", digest("plain").hex(), "quality 49", "give the file's SHA-256 too"):
        assert words in str(refused.value)
    assert count(sessions, ClaimRow) == count(sessions, EventRow) == 0


@pytest.mark.parametrize(("quality", "with_sha256"), [(MIN_QUALITY, False), (0, True)])
def test_a_picture_that_can_match_in_one_way_is_taken(
    sessions: Sessions, clock: Clock, quality: int, with_sha256: bool
) -> None:
    with transaction(sessions) as session:
        wanted = request(image("b", quality=quality, with_sha256=with_sha256))
        assert submit(session, wanted, now=clock()).state == "in_force"


def test_the_same_key_and_request_make_one_claim(sessions: Sessions, clock: Clock) -> None:
    with transaction(sessions) as session:
        first = submit(session, request(url("a"), **PERSONAL), now=clock(), idempotency_key="k")
    clock.advance(days=1)
    with transaction(sessions) as session:
        assert submit(session, request(url("a"), **PERSONAL), now=clock(), idempotency_key="k") == first
    assert count(sessions, ClaimRow) == count(sessions, EventRow) == 1


def test_the_same_request_under_other_keys_makes_other_claims(sessions: Sessions, clock: Clock) -> None:
    with transaction(sessions) as session:
        for key in ("k", "l", None, None):
            submit(session, request(url("a")), now=clock(), idempotency_key=key)
    assert count(sessions, ClaimRow) == 4


def test_the_same_key_for_another_request_is_a_conflict(sessions: Sessions, clock: Clock) -> None:
    with transaction(sessions) as session:
        submit(session, request(url("a")), now=clock(), idempotency_key="k")
    with pytest.raises(ConflictError, match="another request"), transaction(sessions) as session:
        submit(session, request(url("b")), now=clock(), idempotency_key="k")
    assert count(sessions, ClaimRow) == 1


@pytest.mark.parametrize(
    "other",
    [
        {**PERSONAL, "contact": "joan@jane.example"},
        {**PERSONAL, "name": "Joan Doe"},
        {**PERSONAL, "acting_as": "estate"},
        {**PERSONAL, "preference": "train-ai=y"},
        {"name": PERSONAL["name"]},
        {},
    ],
)
def test_a_key_never_gives_one_person_the_claim_of_another(
    sessions: Sessions, clock: Clock, other: dict[str, str]
) -> None:
    with transaction(sessions) as session:
        submit(session, request(url("a"), **PERSONAL), now=clock(), idempotency_key="k")
    with pytest.raises(ConflictError, match="another request") as refused, transaction(sessions) as session:
        submit(session, request(url("a"), **other), now=clock(), idempotency_key="k")
    assert "jane" not in str(refused.value).lower()
    assert count(sessions, ClaimRow) == 1


def test_two_people_who_send_one_key_at_once_never_share_a_claim(sessions: Sessions, clock: Clock) -> None:
    def send(i: int) -> str | None:
        wanted = request(url("a"), contact=f"person{i}@jane.example")
        try:
            with transaction(sessions) as session:
                return submit(session, wanted, now=clock(), idempotency_key="k").id
        except ConflictError:
            return None

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(send, range(6)))
    assert len([answer for answer in answers if answer]) == 1
    for table in (ClaimRow, ClaimantRow, SubjectRow, EventRow, IdempotencyRow):
        assert count(sessions, table) == 1


def test_a_key_of_a_claim_whose_personal_data_was_erased_gives_it_to_nobody_named(
    sessions: Sessions, clock: Clock
) -> None:
    with transaction(sessions) as session:
        claim = submit(session, request(url("a"), **PERSONAL), now=clock(), idempotency_key="k")
        erase_personal_data(session, claim.id)
    with pytest.raises(ConflictError, match="another request"), transaction(sessions) as session:
        submit(session, request(url("a"), **PERSONAL), now=clock(), idempotency_key="k")


@pytest.mark.parametrize("key", ["", "x" * 256])
def test_unusable_keys_are_refused(sessions: Sessions, clock: Clock, key: str) -> None:
    with pytest.raises(InputError, match="1 to 255"), transaction(sessions) as session:
        submit(session, request(url("a")), now=clock(), idempotency_key=key)


def test_one_key_sent_by_many_at_once_makes_one_claim(sessions: Sessions, clock: Clock) -> None:
    def send(_: int) -> str:
        with transaction(sessions) as session:
            return submit(session, request(url("a"), image("b")), now=clock(), idempotency_key="k").id

    with ThreadPoolExecutor(6) as pool:
        ids = set(pool.map(send, range(12)))
    assert len(ids) == 1
    for table, n in ((ClaimRow, 1), (ClaimantRow, 1), (SubjectRow, 2), (EventRow, 1), (IdempotencyRow, 1)):
        assert count(sessions, table) == n


def test_withdrawing_keeps_everything_and_logs_a_second_entry(sessions: Sessions, clock: Clock) -> None:
    with transaction(sessions) as session:
        claim = submit(session, request(url("a")), now=clock())
    clock.advance(hours=1)
    with transaction(sessions) as session:
        withdrawn = withdraw(session, claim.id, reason="by-claimant", now=clock())
    assert withdrawn == claim.model_copy(update={"state": "withdrawn", "subject_states": {"withdrawn": 1}})
    assert parse_leaf(payloads(sessions)[1]) == WithdrawLeaf(clock.now, claim.id, "by-claimant")


def test_withdrawing_twice_changes_nothing(sessions: Sessions, clock: Clock) -> None:
    with transaction(sessions) as session:
        claim = submit(session, request(url("a")), now=clock())
        first = withdraw(session, claim.id, reason="by-claimant", now=clock())
        assert withdraw(session, claim.id, reason="by-operator", now=clock()) == first
    assert count(sessions, EventRow) == 2


def test_withdrawing_at_once_logs_one_entry(sessions: Sessions, clock: Clock) -> None:
    with transaction(sessions) as session:
        claim = submit(session, request(url("a")), now=clock())

    def take_back(_: int) -> str:
        with transaction(sessions) as session:
            return withdraw(session, claim.id, reason="by-claimant", now=clock()).state

    with ThreadPoolExecutor(6) as pool:
        assert set(pool.map(take_back, range(6))) == {"withdrawn"}
    assert count(sessions, EventRow) == 2


def test_what_cannot_be_withdrawn_is_refused(sessions: Sessions, clock: Clock) -> None:
    with transaction(sessions) as session:
        claim = submit(session, request(url("a")), now=clock())
    with pytest.raises(InputError, match="by-claimant, by-operator"), transaction(sessions) as session:
        withdraw(session, claim.id, reason="Jane asked", now=clock())
    with pytest.raises(NotFoundError, match="nosuchclaim"), transaction(sessions) as session:
        withdraw(session, "nosuchclaim", reason="by-claimant", now=clock())


def test_a_claim_that_is_not_there_is_not_found(sessions: Sessions) -> None:
    with pytest.raises(NotFoundError, match="nosuchclaim"), transaction(sessions) as session:
        get_claim(session, "nosuchclaim")


def test_claim_ids_are_random_and_fit_the_log() -> None:
    ids = {new_claim_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(len(claim_id) == 26 and claim_id.isalnum() and claim_id == claim_id.lower() for claim_id in ids)


def test_any_text_will_do_as_a_key(sessions: Sessions, clock: Clock) -> None:
    with transaction(sessions) as session:
        ids = {submit(session, request(url("a")), now=clock(), idempotency_key="\ud800\0 é").id for _ in range(2)}
    assert len(ids) == 1


@pytest.mark.parametrize("field", ["name", "contact"])
def test_control_characters_in_personal_data_are_refused(sessions: Sessions, clock: Clock, field: str) -> None:
    with pytest.raises(InputError, match=field), transaction(sessions) as session:
        submit(session, request(url("a"), **{field: "jane\0@jane.example"}), now=clock())
