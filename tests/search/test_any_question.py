"""Whatever is asked, the answer is a result or an error that says what to do."""

from hypothesis import given, settings
from hypothesis import strategies as st

from heldout.errors import HeldoutError
from heldout.records import SearchResult
from search.engine import SearchEngine

TEXTS = st.one_of(
    st.text(max_size=80),
    st.text(alphabet=st.characters(), max_size=40),  # lone surrogates too
    st.text(alphabet='"\\*?~^()[]{}:+-!&| ab', max_size=40),
    st.from_regex(r"(https?://)?[a-z0-9.:@\\[\\]%-]{0,30}(/[^ ]{0,30})?", fullmatch=True),
)


@settings(max_examples=100)
@given(text=TEXTS)
def test_any_text_at_any_door_is_answered_or_refused(engine: SearchEngine, text: str) -> None:
    for door in (engine.search_text, engine.search_caption, engine.search_url, engine.search_site):
        try:
            result = door(text, k=3)
        except HeldoutError as error:
            assert len(str(error)) > 10  # noqa: PT017 - either outcome is right
            assert len(str(error)) < 2_000  # noqa: PT017
        else:
            assert SearchResult.model_validate_json(result.model_dump_json()) == result


@settings(max_examples=100)
@given(
    data=st.binary(max_size=300),
    start=st.sampled_from([b"", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"RIFF"]),
)
def test_any_bytes_are_answered_or_refused(engine: SearchEngine, data: bytes, start: bytes) -> None:
    try:
        result = engine.search_picture(start + data, k=3)
    except HeldoutError as error:
        assert "picture" in str(error)  # noqa: PT017 - either outcome is right
    else:
        assert result.hits


@given(cursor=st.text(max_size=60))
def test_any_cursor_is_used_or_refused(engine: SearchEngine, cursor: str) -> None:
    try:
        result = engine.search_text("red", k=3, cursor=cursor)
    except HeldoutError as error:
        assert "first page" in str(error)  # noqa: PT017 - either outcome is right
    else:
        assert result.hits
