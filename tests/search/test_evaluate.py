"""The measure of text answers, on answers that are known."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from heldout.errors import InputError, NotFoundError
from search.__main__ import app
from search.engine import SearchEngine
from search.evaluate import RANKINGS, cross_fit, evaluate_text, load_queries

if TYPE_CHECKING:
    from tests.search.conftest import World


def test_precision_is_the_share_of_right_answers_among_ten(engine: SearchEngine, world: "World") -> None:
    right = [row.key for row in world.rows if row.caption.startswith("red shapes")]
    figures = evaluate_text(engine, "art", {"red shapes": right, "green shapes": right[:4]})
    first, second = figures.queries
    assert first.precision == {"clip": first.precision["clip"], "caption": 1.0, "fused": 1.0, "cards": 1.0}
    assert (second.precision["caption"], second.precision["cards"]) == (0.0, 0.0)
    assert figures.mean("caption") == 0.5
    assert figures.attainable == pytest.approx((1.0 + 0.4) / 2)
    assert figures.random == pytest.approx((len(right) + 4) / 2 / len(world.rows))


def test_weights_are_measured_on_the_half_they_were_not_chosen_on(engine: SearchEngine, world: "World") -> None:
    colours = ("red", "green", "blue", "yellow")
    queries = {
        f"{colour} shapes{extra}": [row.key for row in world.rows if row.caption.startswith(colour)]
        for colour in colours
        for extra in ("", " number", " shapes")
    }
    held_out = cross_fit(engine, "art", queries)
    assert held_out.n_queries == 12
    assert held_out.recall.keys() == {"clip", "captions", "fused"}
    assert all(len(chosen) == 2 for chosen in held_out.chosen.values())
    assert held_out.recall["captions"] == 1.0
    assert held_out.recall["clip"] < 1.0
    assert "fused" in held_out.to_text()
    with pytest.raises(InputError, match="halved"):
        cross_fit(engine, "art", {"red": ["1"]})


def test_figures_are_printed_for_people_and_for_programs(engine: SearchEngine, world: "World") -> None:
    figures = evaluate_text(engine, "art", {"red": [world.works[0]]})
    told = json.loads(figures.to_json())
    assert told["precision_at_10"].keys() == set(RANKINGS)
    assert told["queries"]["red"]["right"] == 1
    assert "random" in figures.to_text()
    assert "red" in figures.to_text()


def test_an_unknown_data_set_is_not_evaluated(engine: SearchEngine) -> None:
    with pytest.raises(NotFoundError):
        evaluate_text(engine, "laion", {"red": ["1"]})


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"red": "1"}', "\xff"])
def test_a_file_that_holds_no_queries_is_refused_by_name(tmp_path: Path, content: str) -> None:
    path = tmp_path / "queries.json"
    path.write_text(content, encoding="latin-1")
    with pytest.raises(InputError, match=r"queries\.json"):
        load_queries(path)


def test_the_command_says_what_is_wrong_and_exits_2(tmp_path: Path) -> None:
    arguments = ["evaluate", "--datasets-dir", str(tmp_path), "--queries", "q.json", "--encoder", str(tmp_path)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert "encoder.json" in result.output
