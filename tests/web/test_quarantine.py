"""Claimed pictures looked up in real indexes: at how many unrelated sites they are, whether flat, what is held."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image, ImageDraw

from heldout.pictures import pdq_orientations
from heldout.records import ImageSubject
from indexer.generation import Generation
from registry.quarantine import Thresholds
from registry.service import Registry
from tests.registry.builders import request, url
from tests.registry.parties import states
from tests.web.conftest import COLOURS, draw, file_of
from web.quarantine import PictureWatch
from web.whereabouts import FLAT_SHARE, flat_share, registered_domain

pytestmark = pytest.mark.opts_out


def subject_of(picture: Image.Image, *, with_file: bool = False) -> ImageSubject:
    pdq, quality = pdq_orientations(picture)
    file = hashlib.sha256(file_of(picture)).hexdigest() if with_file else None
    return ImageSubject(pdq=bytes(pdq[0]).hex(), quality=int(quality), sha256=file)


WORK = draw(0, COLOURS["red"])


def watch(site: TestClient, registry: Registry, *, many: int, many_flat: int = 1_000) -> PictureWatch:
    engine = site.app.state.engine  # type: ignore[attr-defined]
    return PictureWatch(registry, engine, Thresholds(many=many, many_flat=many_flat))


@pytest.mark.parametrize(("many", "state"), [(3, "quarantined"), (4, "in_force")])
def test_copies_are_counted_by_who_registered_the_sites(
    site: TestClient, registry: Registry, many: int, state: str
) -> None:
    """It is at jane.example, twice at pins.example, at wall.example; mirrored there once more, which does not count."""
    claim = registry.submit(request(subject_of(WORK), url("a")))
    done = watch(site, registry, many=many).look()
    assert (done.n_looked_up, done.n_held) == (1, int(state == "quarantined"))
    assert states(registry, claim) == [state, "in_force"]


def test_the_very_file_counts_where_a_picture_is_too_plain_to_compare(site: TestClient, registry: Registry) -> None:
    white = Image.new("RGB", (64, 64), "white")
    by_file = subject_of(white, with_file=True).model_copy(update={"quality": 30})
    claim = registry.submit(request(by_file))
    assert watch(site, registry, many=2, many_flat=2).look().n_held == 0
    again = registry.submit(request(by_file.model_copy(update={"quality": 29})))
    assert watch(site, registry, many=1, many_flat=1).look().n_held == 1
    assert sorted(states(registry, claim) + states(registry, again)) == ["in_force", "quarantined"]


def test_nothing_is_looked_up_twice_in_the_same_indexes(site: TestClient, registry: Registry) -> None:
    registry.submit(request(subject_of(WORK)))
    assert watch(site, registry, many=100).look().n_looked_up == 1
    assert watch(site, registry, many=100).look().n_looked_up == 0
    registry.submit(request(subject_of(draw(2, COLOURS["blue"]))))
    assert watch(site, registry, many=100).look().n_looked_up == 1


@pytest.mark.parametrize(
    ("host", "domain"),
    [
        ("cdn.jane.example", "jane.example"),
        ("jane.example", "jane.example"),
        ("a.b.co.uk", "b.co.uk"),
        ("alice.github.io", "alice.github.io"),
        ("github.io", "github.io"),
        ("localhost", "localhost"),
    ],
)
def test_sites_are_unrelated_if_different_people_registered_them(host: str, domain: str) -> None:
    assert registered_domain(host) == domain


def test_a_logo_is_flat_and_a_picture_is_not() -> None:
    logo = Image.new("RGB", (200, 200), "white")
    ImageDraw.Draw(logo).rectangle((60, 60, 140, 140), fill="black")
    noise = np.random.default_rng(1).integers(0, 256, (200, 200, 3), np.uint8)
    assert flat_share(file_of(Image.new("RGB", (50, 50), "white"))) == 1.0
    assert flat_share(file_of(logo)) >= FLAT_SHARE
    assert flat_share(file_of(WORK)) < FLAT_SHARE
    assert flat_share(file_of(Image.fromarray(noise))) < 0.1


def test_generations_are_told_apart(datasets_dir: Path) -> None:
    from web.whereabouts import label_of

    generation = Generation.open(datasets_dir / "shapes")
    assert label_of({"shapes": generation}) == f"shapes:{generation.number}"
    generation.close()
