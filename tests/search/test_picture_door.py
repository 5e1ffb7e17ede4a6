"""The picture door against what was planted, and against brute force."""

import hashlib
import io
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from heldout.errors import InputError
from heldout.fingerprints import MATCH_DISTANCE, MIN_QUALITY, distances
from heldout.pictures import decode_picture, fingerprint
from heldout.records import Hit, SearchResult
from search.engine import SearchEngine

if TYPE_CHECKING:
    from tests.search.conftest import PatchEncoder, World

Drawing = Callable[[int, str], Image.Image]


def _png(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def _labels(result: SearchResult) -> dict[tuple[str, str], str]:
    return {(hit.sample.dataset, hit.sample.key): hit.label for hit in result.hits}


def _keys(hits: list[Hit], *labels: str) -> set[tuple[str, str]]:
    return {(hit.sample.dataset, hit.sample.key) for hit in hits if hit.label in labels}


def test_same_bytes_are_exact_and_changed_copies_near(engine: SearchEngine, world: "World") -> None:
    work = world.works[0]
    result = engine.search_picture(world.picture(work), datasets=["art"])
    labels = _labels(result)
    copies = world.copies[work]
    assert {labels["art", key] for key in (work, copies["bytes"])} == {"exact"}
    assert {kind: labels["art", copies[kind]] for kind in ("jpeg", "half", "mirror", "turned")} == {
        "jpeg": "near",
        "half": "near",
        "mirror": "near",
        "turned": "near",
    }
    assert _keys(result.hits, "exact", "near") == {("art", key) for key in (work, *copies.values())}


@pytest.mark.parametrize("turn", list(Image.Transpose))
def test_a_turned_or_mirrored_query_finds_every_copy(
    engine: SearchEngine, world: "World", turn: Image.Transpose
) -> None:
    work = world.works[3]
    query = _png(decode_picture(world.picture(work)).transpose(turn))
    found = _keys(engine.search_picture(query, datasets=["art"]).hits, "exact", "near")
    assert found == {("art", key) for key in (work, *world.copies[work].values())}


def test_labels_are_those_of_brute_force(engine: SearchEngine, world: "World") -> None:
    pictures = {row.key: fingerprint(row.data) for row in world.rows if row.data is not None}
    for key, query in list(pictures.items())[::4]:
        expected = {}
        for other, stored in pictures.items():
            apart = int(distances(query.pdq, stored.pdq[:1]).min())
            if stored.sha256 == query.sha256:
                expected["art", other] = "exact"
            elif apart <= MATCH_DISTANCE and min(query.quality, stored.quality) >= MIN_QUALITY:
                expected["art", other] = "near"
        result = engine.search_picture(world.picture(key), k=1, datasets=["art"])
        assert {found: label for found, label in _labels(result).items() if label != "similar"} == expected


def test_evidence_says_how_far(engine: SearchEngine, world: "World") -> None:
    work = world.works[0]
    query = fingerprint(world.picture(work))
    for hit in engine.search_picture(world.picture(work), datasets=["art"]).hits:
        proofs = {proof.channel: proof.value for proof in hit.evidence}
        assert proofs.get("bytes", 0.0) == 0.0
        assert ("bytes" in proofs) == (hit.label == "exact")
        if "pdq" in proofs:
            stored = np.frombuffer(bytes.fromhex(hit.sample.pdq or ""), dtype=np.uint8)[None]
            assert proofs["pdq"] == distances(query.pdq, stored).min()
        if hit.label == "similar":
            assert proofs == {"clip": pytest.approx(hit.score, abs=1e-6)}


def test_similar_hits_are_ranked_as_by_exact_search(
    engine: SearchEngine, encoder: "PatchEncoder", world: "World", drawing: Drawing
) -> None:
    image = drawing(5, "green")
    rows = [row for row in world.rows if row.data is not None]
    stored = encoder.embed_images([decode_picture(world.picture(row.key)) for row in rows])
    cosines = (stored @ encoder.embed_images([image])[0]).tolist()
    by_key = dict(zip((row.key for row in rows), cosines, strict=True))
    found = engine.search_picture(_png(image), k=200, datasets=["art"]).hits
    assert {hit.label for hit in found} == {"similar"}
    assert len(found) == len(rows)
    ranked = [by_key[hit.sample.key] for hit in found]
    assert ranked == pytest.approx(sorted(cosines, reverse=True), abs=2e-3)


def test_copies_are_never_cut_off_by_k(engine: SearchEngine, world: "World") -> None:
    work = world.works[6]
    result = engine.search_picture(world.picture(work), k=1, datasets=["art"])
    assert _keys(result.hits, "exact", "near") == {("art", key) for key in (work, *world.copies[work].values())}
    assert len(result.groups) == 1


def test_a_copy_in_another_data_set_is_found(engine: SearchEngine, world: "World", other_world: "World") -> None:
    result = engine.search_picture(world.picture(world.works[0]))
    assert ("more", other_world.copies["art"]["bytes"]) in _keys(result.hits, "exact")
    assert result.generations.keys() == {"art", "more"}


def test_a_plain_picture_is_matched_by_bytes_only_and_the_answer_says_so(engine: SearchEngine, world: "World") -> None:
    white = next(row for row in world.rows if row.url.endswith("white.png"))
    result = engine.search_picture(world.picture(white.key), datasets=["art"])
    assert _keys(result.hits, "exact") == {("art", white.key)}
    assert not _keys(result.hits, "near")
    assert any("too plain" in note for note in result.notes)


def test_an_unknown_picture_has_no_copies(engine: SearchEngine, drawing: Drawing) -> None:
    result = engine.search_picture(_png(drawing(1, "red")), k=5)
    assert {hit.label for hit in result.hits} == {"similar"}
    assert result.notes == []


@pytest.mark.parametrize("data", [b"", b"<svg/>", b"GIF89a", b"\xff\xd8\xff\xe0 not a jpeg"])
def test_what_is_not_a_picture_is_refused(engine: SearchEngine, data: bytes) -> None:
    with pytest.raises(InputError):
        engine.search_picture(data)


def test_a_huge_upload_is_refused(engine: SearchEngine) -> None:
    with pytest.raises(InputError, match="bytes"):
        engine.search_picture(bytes(21 * 1024 * 1024))


def test_the_same_question_has_the_same_answer(engine: SearchEngine, world: "World") -> None:
    data = world.picture(world.works[9])
    assert hashlib.sha256(data).hexdigest() == engine.search_picture(data).hits[0].sample.sha256
    assert engine.search_picture(data) == engine.search_picture(data)
