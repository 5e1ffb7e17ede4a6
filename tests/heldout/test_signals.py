import pytest
from hypothesis import given
from hypothesis import strategies as st

from heldout.signals import MAX_CHARS, MAX_SIGNALS, read_signals


def robots(*values: str) -> list[str]:
    return [line.removeprefix("x-robots-tag: ") for line in read_signals([("X-Robots-Tag", one) for one in values])]


def usage(*values: str) -> list[str]:
    return [line.removeprefix("content-usage: ") for line in read_signals([("Content-Usage", one) for one in values])]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (["noai"], ["noai"]),
        (["NoAI, NoImageAI"], ["noai", "noimageai"]),
        (["noindex", "noai", "noai"], ["noindex", "noai"]),
        (["noml , none,noimageindex"], ["noml", "none", "noimageindex"]),
        (["all", "index, follow", "", ",,", "max-image-preview:large"], []),
        (["unavailable_after: 25 Jun 2010 15:00:00 PST"], []),
        (["noai-ish", "xnoai"], []),
        (["GoogleBot: noindex"], ["googlebot: noindex"]),
        # a name rules what follows it, or only its own directive: both are kept
        (["otherbot: noindex, noai"], ["otherbot: noindex", "noai", "otherbot: noai"]),
        (["demobot: noai, examplebot: noai"], ["demobot: noai", "examplebot: noai"]),
        (["demobot: noai, nofollow, examplebot: noindex"], ["demobot: noai", "examplebot: noindex"]),
    ],
)
def test_robots_directives_are_kept_by_either_reading(values: list[str], said: list[str]) -> None:
    assert robots(*values) == said


@pytest.mark.parametrize(
    ("value", "kept"),
    [("1", True), (" 1 ", True), ("0", True), ("2", False), ("true", False), ("", False), ("1, 1", False)],
)
def test_a_tdm_reservation_is_0_or_1(value: str, *, kept: bool) -> None:
    assert read_signals([("TDM-Reservation", value)]) == ((f"tdm-reservation: {value.strip()}",) if kept else ())


def test_a_tdm_policy_is_kept_as_written() -> None:
    headers = [("tdm-policy", "https://art.example/tdm.json"), ("tdm-reservation", "1")]
    assert read_signals(headers) == ("tdm-policy: https://art.example/tdm.json", "tdm-reservation: 1")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (["train-ai=n"], ["train-ai=n"]),
        (["train-ai=n, search=y"], ["train-ai=n", "search=y"]),
        (["train-ai=n", "search=y"], ["train-ai=n", "search=y"]),
        (["train-ai=y,train-ai=n"], ["train-ai=n"]),  # the last one wins
        (["train-ai=y", "train-ai=n"], ["train-ai=n"]),
        (["train-ai=n;from=2026, \tother=?1"], ["train-ai=n"]),
        (['train-ai=n, list=(a "b" 1.5);q=@1'], ["train-ai=n"]),
        (['bytes=:YQ==:, shown=%"caf%c3%a9", train-ai=n'], ["train-ai=n"]),
        (["train-ai=n;"], []),
        (["train-ai=maybe"], []),
        (['train-ai="n"'], []),
        (["train-ai"], []),
        (["Train-AI=n"], []),
        (["train-ai=N"], []),
        (["train-ai=y, train-ai=maybe"], []),
        # what does not parse says nothing at all
        (["train-ai=n,"], []),
        ([", train-ai=n"], []),
        (["train-ai = n"], []),
        (["train-ai=n search=y"], []),
        (["train-ai=n, search=(y"], []),
        (["train-ai=n, ünï=1"], []),
        ([""], []),
    ],
)
def test_content_usage_is_a_structured_dictionary(values: list[str], said: list[str]) -> None:
    assert usage(*values) == said


names = st.sampled_from(["x-robots-tag", "TDM-Reservation", "tdm-policy", "Content-Usage", "Server"])
pieces = st.sampled_from(["noai", "bot: noai", "train-ai=n", "(a b)", "1", ",", ";", "=", '"', " ", "\udce9"])
values = st.one_of(st.text(), st.lists(pieces, max_size=40).map("".join))


@given(st.lists(st.tuples(names, values), max_size=30))
def test_any_headers_give_few_short_printable_lines(headers: list[tuple[str, str]]) -> None:
    found = read_signals(headers)
    assert len(found) <= MAX_SIGNALS
    for line in found:
        assert line.isascii()
        assert line.isprintable()
        assert len(line) <= MAX_CHARS


def test_a_hostile_header_takes_no_time() -> None:
    for value in (
        "a" * 16_000,
        "a=(" * 5_000,
        "a=(a " + "a " * 8_000,
        'a="' + "\\\\" * 8_000,
        "a;a" * 5_000,
        "," * 16_000,
    ):
        assert read_signals([("content-usage", value), ("x-robots-tag", value)]) == ()
