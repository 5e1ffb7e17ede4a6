"""Generations swapped under a running engine: no request fails, pages keep their meaning, misfits are refused."""

import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from heldout.errors import ConflictError, NotFoundError
from search.engine import SearchEngine
from search.releases import PREVIOUS_KEPT_S, Releases

if TYPE_CHECKING:
    from tests.search.conftest import PatchEncoder, World

Grow = Callable[[Path, "PatchEncoder"], None]


@pytest.fixture
def release(datasets_dir: Path, tmp_path: Path) -> Path:
    """A copy of one data set that a test may change."""
    shutil.copytree(datasets_dir / "more", tmp_path / "more")
    return tmp_path / "more"


def test_a_new_generation_is_taken_up(release: Path, encoder: "PatchEncoder", grow: Grow) -> None:
    engine = SearchEngine.open(release.parent, encoder)
    assert [dataset.generation for dataset in engine.datasets()] == [1]
    assert engine.refresh() == {}
    grow(release, encoder)
    assert [dataset.generation for dataset in engine.datasets()] == [1], "not before it is asked to"
    assert engine.refresh() == {}
    assert [dataset.generation for dataset in engine.datasets()] == [2]
    assert engine.search_text("red").generations == {"more": 2}
    engine.close()


def test_pages_go_on_over_one_swap_and_say_so_after_two(release: Path, encoder: "PatchEncoder", grow: Grow) -> None:
    engine = SearchEngine.open(release.parent, encoder)
    first = engine.search_text("red", k=4)
    second = engine.search_text("red", k=4, cursor=first.next_cursor)
    grow(release, encoder)
    engine.refresh()
    again = engine.search_text("red", k=4, cursor=first.next_cursor)
    assert again == second
    assert again.generations == {"more": 1}
    assert engine.samples("more", [0], generation=1)
    grow(release, encoder)
    engine.refresh()
    with pytest.raises(ConflictError, match="search again"):
        engine.search_text("red", k=4, cursor=first.next_cursor)
    with pytest.raises(ConflictError, match="generation 1, now 3"):
        engine.samples("more", [0], generation=1)
    engine.close()


def test_a_replaced_generation_is_let_go_of_after_its_time(release: Path, encoder: "PatchEncoder", grow: Grow) -> None:
    now = 100.0
    releases = Releases(release.parent, encoder, clock=lambda: now)
    releases.refresh()
    grow(release, encoder)
    releases.refresh()
    now += PREVIOUS_KEPT_S - 1
    releases.refresh()
    with releases.lease() as snapshot:
        assert snapshot.at({"more": 1})["more"].number == 1
    now += 2
    releases.refresh()
    with releases.lease() as snapshot, pytest.raises(ConflictError):
        snapshot.at({"more": 1})
    releases.close()


def test_no_request_fails_while_generations_are_swapped(
    release: Path, encoder: "PatchEncoder", world: "World", grow: Grow
) -> None:
    engine = SearchEngine.open(release.parent, encoder)
    picture = world.picture(world.works[0])
    failures: list[BaseException] = []
    answered: dict[int, int] = {}
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            try:
                result = engine.search_picture(picture, k=5)
                assert result.hits[0].label == "exact"
                engine.search_site("example", k=20)
                engine.thumbnail("more", 0)
                number = result.generations["more"]
                answered[number] = answered.get(number, 0) + 1
            except BaseException as error:  # noqa: BLE001 - the test reports whatever it is
                failures.append(error)
                return

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(3):
        grow(release, encoder)
        assert engine.refresh() == {}
    done.set()
    for thread in threads:
        thread.join()
    engine.close()
    assert failures == []
    assert len(answered) > 1, f"several generations should have answered: {answered}"


def test_a_request_under_way_keeps_its_generation_open(release: Path, encoder: "PatchEncoder", grow: Grow) -> None:
    engine = SearchEngine.open(release.parent, encoder)
    with engine.generation("more") as held:
        for _ in range(3):
            grow(release, encoder)
            engine.refresh()
        assert held.number == 1
        assert held.samples([0])[0].id == 0
        assert held.search_embedding(encoder.embed_texts(["red"]), 3)[1].shape == (1, 3)
    engine.close()


def test_an_index_of_another_model_is_refused_on_opening(datasets_dir: Path, other_encoder: "PatchEncoder") -> None:
    with pytest.raises(ConflictError, match=r"patches/4x4.*patches/other"):
        SearchEngine.open(datasets_dir, other_encoder)


def test_a_new_generation_of_another_model_is_refused_and_the_old_one_serves(  # noqa: PLR0917 - fixtures
    release: Path,
    encoder: "PatchEncoder",
    other_encoder: "PatchEncoder",
    grow: Grow,
    build_more: Callable[[Path, "PatchEncoder"], Path],
    caplog: pytest.LogCaptureFixture,
) -> None:
    engine = SearchEngine.open(release.parent, encoder)
    shutil.rmtree(release)
    build_more(release, other_encoder)
    grow(release, other_encoder)
    with caplog.at_level("WARNING", logger="search.releases"):
        refused = [engine.refresh() for _ in range(3)]
    assert [type(each["more"]) for each in refused] == [ConflictError] * 3
    said = [record.message for record in caplog.records if record.name == "search.releases"]
    assert said == ["generation_refused"], "once, not every few seconds"
    assert engine.search_text("red").generations == {"more": 1}
    engine.close()


def test_a_new_data_set_appears_and_a_removed_one_goes(
    release: Path, encoder: "PatchEncoder", build_more: Callable[[Path, "PatchEncoder"], Path]
) -> None:
    engine = SearchEngine.open(release.parent, encoder)
    build_more(release.parent / "extra", encoder)
    assert engine.refresh() == {}
    assert [dataset.name for dataset in engine.datasets()] == ["extra", "more"]
    shutil.rmtree(release.parent / "extra")
    engine.refresh()
    assert [dataset.name for dataset in engine.datasets()] == ["more"]
    with pytest.raises(NotFoundError):
        engine.search_text("red", datasets=["extra"])
    engine.close()


def test_a_renamed_release_is_refused(release: Path, encoder: "PatchEncoder") -> None:
    release.rename(release.with_name("renamed"))
    with pytest.raises(ConflictError, match="built as more"):
        SearchEngine.open(release.parent, encoder)


def test_an_empty_folder_is_an_engine_without_data_sets(tmp_path: Path, encoder: "PatchEncoder") -> None:
    engine = SearchEngine.open(tmp_path, encoder)
    assert engine.datasets() == []
    assert engine.search_text("red").hits == []
    engine.close()
