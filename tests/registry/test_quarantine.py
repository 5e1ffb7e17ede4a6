"""Fingerprints that are nobody's own: held when claimed and when found at many sites, never without a way out."""

from collections.abc import Sequence

import pytest

from heldout.records import ImageSubject
from registry.db import transaction
from registry.quarantine import MIN_CLAIM_QUALITY, Claimed, Found, Scanned, Thresholds
from registry.service import Registry
from registry.tables import CommonPictureRow
from tests.registry.builders import digest, image, sample, url
from tests.registry.parties import REASON, check_replay, claimed, codes, states

MANY = Found(n_domains=100, is_flat=False)
FEW = Found(n_domains=99, is_flat=False)
FLAT = Found(n_domains=20, is_flat=True)
RARE_AND_FLAT = Found(n_domains=19, is_flat=True)


def scan(registry: Registry, generations: str, **where: Found) -> Scanned:
    """A scan of indexes that have pictures where it is said, by name, and nothing else."""
    by_pdq = {digest(name): found for name, found in where.items()}

    def look(batch: Sequence[Claimed]) -> list[Found]:
        return [by_pdq.get(each.pdq, Found(0, is_flat=False)) for each in batch]

    return registry.reviewing.scan(generations, look)


@pytest.mark.parametrize(("found", "reason"), [(MANY, "too-many-hosts"), (FLAT, "too-plain")])
def test_a_picture_at_very_many_sites_is_held_and_its_addresses_are_not(
    registry: Registry, found: Found, reason: str
) -> None:
    claim = claimed(registry, url("a"), image("logo"), image("work"))
    assert scan(registry, "1", logo=found, work=FEW) == Scanned(n_looked_up=2, n_held=1)
    assert states(registry, claim) == ["in_force", "quarantined", "in_force"]
    assert codes(registry, claim) == [reason]
    covered = registry.opted_out(
        [sample(url="https://jane.example/a.jpg"), sample(pdq=digest("logo").hex(), pdq_quality=90)]
    )
    assert [each is not None for each in covered] == [True, False]
    assert "unrelated sites" in " ".join(registry.claim(claim.id).notes)
    check_replay(registry)


@pytest.mark.parametrize("found", [FEW, RARE_AND_FLAT, Found(0, is_flat=True)])
def test_works_that_are_widely_copied_or_flat_are_not_held(registry: Registry, found: Found) -> None:
    claim = claimed(registry, image("work"))
    assert scan(registry, "1", work=found).n_held == 0
    assert states(registry, claim) == ["in_force"]


def test_thresholds_are_the_operators(registry: Registry) -> None:
    claim = claimed(registry, image("work"))
    low = Thresholds(many=5, many_flat=2)
    registry.reviewing.scan("1", lambda batch: [Found(5, is_flat=False) for _ in batch], thresholds=low)
    assert states(registry, claim) == ["quarantined"]


def test_indexes_are_asked_once_for_each_picture_until_they_change(registry: Registry) -> None:
    claimed(registry, *(image(str(number)) for number in range(450)))
    assert scan(registry, "1").n_looked_up == 450
    assert scan(registry, "1").n_looked_up == 0
    later = claimed(registry, image("later"))
    assert scan(registry, "1", later=MANY) == Scanned(n_looked_up=1, n_held=1)
    assert scan(registry, "2").n_looked_up == 450
    assert states(registry, later) == ["quarantined"]


def test_a_scan_that_died_goes_on_where_it_was(registry: Registry) -> None:
    claim = claimed(registry, *(image(str(number)) for number in range(450)))
    n_batches = 0

    def dies(batch: Sequence[Claimed]) -> list[Found]:
        nonlocal n_batches
        n_batches += 1
        if n_batches == 2:
            raise RuntimeError("killed")
        return [MANY for _ in batch]

    with pytest.raises(RuntimeError):
        registry.reviewing.scan("1", dies)
    assert states(registry, claim).count("quarantined") == 200
    assert scan(registry, "1").n_looked_up == 250


def test_what_was_found_to_be_nobodys_is_held_at_once_when_it_is_claimed_again(registry: Registry) -> None:
    claimed(registry, image("logo"))
    scan(registry, "1", logo=MANY)
    again = claimed(registry, nearly("logo"), image("work"), url("a"))
    assert states(registry, again) == ["quarantined", "in_force", "in_force"]
    assert codes(registry, again) == ["too-many-hosts"]


def test_a_release_holds_for_the_picture_whoever_claims_it_and_in_later_scans(registry: Registry) -> None:
    first = claimed(registry, image("famous"))
    scan(registry, "1", famous=MANY)
    registry.reviewing.decide_claim(first.id, "release", reason=REASON)
    second = claimed(registry, nearly("famous"))
    assert scan(registry, "2", famous=MANY).n_held == 0
    assert states(registry, first) == states(registry, second) == ["in_force"]
    check_replay(registry)


def test_a_rejected_logo_stays_held_for_the_next_who_claims_it(registry: Registry) -> None:
    first = claimed(registry, image("logo"))
    scan(registry, "1", logo=MANY)
    registry.reviewing.decide_claim(first.id, "reject", reason=REASON)
    second = claimed(registry, image("logo"))
    assert (states(registry, first), states(registry, second)) == (["rejected"], ["quarantined"])
    registry.reviewing.decide_claim(first.id, "release", reason=REASON)
    assert states(registry, claimed(registry, image("logo"))) == ["in_force"]


def test_a_picture_proved_by_its_signature_is_not_held_for_being_everywhere(registry: Registry) -> None:
    proved, held = claimed(registry, image("photo")), claimed(registry, image("other"))
    registry.raise_assurance(proved.id, "credential", reason="c2pa")
    scan(registry, "1", photo=MANY, other=MANY)
    assert (states(registry, proved), states(registry, held)) == (["in_force"], ["quarantined"])
    registry.raise_assurance(held.id, "account", reason="profile")
    assert states(registry, held) == ["quarantined"]
    registry.raise_assurance(held.id, "credential", reason="c2pa")
    assert states(registry, held) == ["in_force"]
    check_replay(registry)


@pytest.mark.parametrize(
    ("quality", "state"), [(MIN_CLAIM_QUALITY - 1, "quarantined"), (MIN_CLAIM_QUALITY, "in_force")]
)
def test_a_file_with_next_to_nothing_in_it_is_held_when_it_is_claimed(
    registry: Registry, quality: int, state: str
) -> None:
    claim = claimed(registry, image("blank", quality=quality), url("a"))
    assert states(registry, claim) == [state, "in_force"]
    if state == "quarantined":
        assert codes(registry, claim) == ["too-plain"]
        registry.reviewing.decide_claim(claim.id, "release", reason=REASON)
        assert states(registry, claimed(registry, image("blank", quality=quality))) == ["in_force"]


def test_a_work_is_not_held_because_somebody_else_called_it_plain(registry: Registry) -> None:
    bomb = claimed(registry, image("work", quality=MIN_CLAIM_QUALITY - 1))
    registry.reviewing.decide_claim(bomb.id, "reject", reason=REASON)
    assert states(registry, claimed(registry, image("work"))) == ["in_force"]
    assert states(registry, claimed(registry, image("work", quality=MIN_CLAIM_QUALITY - 1))) == ["quarantined"]


def test_a_rebuilt_registry_does_not_hold_again_what_was_released(registry: Registry) -> None:
    claim = claimed(registry, image("famous"))
    scan(registry, "1", famous=MANY)
    registry.reviewing.decide_claim(claim.id, "release", reason=REASON)
    with transaction(registry._sessions) as session:
        session.query(CommonPictureRow).delete()  # as in a database rebuilt from the log
    assert scan(registry, "2", famous=MANY).n_held == 0
    assert states(registry, claim) == ["in_force"]


def test_a_held_picture_that_is_taken_back_stays_taken_back(registry: Registry) -> None:
    claim = claimed(registry, image("logo"))
    scan(registry, "1", logo=MANY)
    registry.withdraw(claim.id, reason="by-claimant")
    assert states(registry, claim) == ["withdrawn"]
    assert scan(registry, "2", logo=MANY).n_looked_up == 0


def nearly(name: str) -> ImageSubject:
    """A copy of a picture: another file, five bits of its fingerprint off."""
    pdq = int.from_bytes(digest(name)) ^ 0b1010101010 << 100
    return ImageSubject(pdq=f"{pdq:064x}", quality=88)
