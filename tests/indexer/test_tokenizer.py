"""Token ids equal open_clip's SimpleTokenizer for any text."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heldout.errors import InputError
from indexer.export import build_tokenizer
from indexer.tokenizer import ClipTokenizer

SPECIALS = [
    "<start_of_text>",
    "<END_OF_TEXT>",
    "<end_of_text",
    "'s",
    "'\u017f",
    "'LL",
    "&amp;lt;",
    "&eacute;",
    "â€™",
    "\x1c",
]


@pytest.fixture(scope="session")
def reference(open_clip: Any, resnet_folder: Path) -> Any:
    return open_clip.get_tokenizer(f"local-dir:{resnet_folder}", bpe_path=str(resnet_folder / "bpe.txt.gz"))


@pytest.fixture(scope="session")
def tokenizer(reference: Any, onnx_folder: Path) -> ClipTokenizer:
    return ClipTokenizer.load(onnx_folder / "tokenizer.json", reference.context_length)


@given(st.lists(st.one_of(st.text(max_size=30), st.sampled_from(SPECIALS), st.sampled_from("ab '<>1")), max_size=8))
@settings(max_examples=300, deadline=None)
def test_any_text_gives_open_clips_ids(reference: Any, tokenizer: ClipTokenizer, parts: list[str]) -> None:
    text = "".join(parts)
    assert tokenizer.encode(text) == reference.encode(text)
    assert tokenizer([text])[0].tolist() == reference([text])[0].tolist()


def test_every_code_point_gives_open_clips_ids(reference: Any, tokenizer: ClipTokenizer) -> None:
    signs = [chr(point) for point in range(0x110000) if not 0xD800 <= point <= 0xDFFF]
    # Beyond the first 0x3400 signs come long runs of one class (Han, Hangul, planes without letters): a sample will do.
    signs = signs[:0x3400] + signs[0x3400::29]
    for start in range(0, len(signs), 100):
        text = " ".join(f"a{sign}1{sign}" for sign in signs[start : start + 100])
        assert tokenizer.encode(text) == reference.encode(text), f"near U+{ord(signs[start]):04X}"


def test_lone_surrogates_give_open_clips_ids(reference: Any, tokenizer: ClipTokenizer) -> None:
    assert tokenizer.encode("a\ud800b") == reference.encode("a\ud800b")


def test_long_text_is_cut_with_the_end_kept(reference: Any, tokenizer: ClipTokenizer) -> None:
    ids = tokenizer(["cat " * 50])[0].tolist()
    assert len(ids) == tokenizer.context_length
    assert ids[-1] == reference.eot_token_id


def test_the_full_clip_vocabulary_gives_open_clips_ids(open_clip: Any) -> None:
    reference = open_clip.get_tokenizer("ViT-B-32")
    tokenizer = ClipTokenizer(build_tokenizer(reference), reference.context_length)
    for text in (
        "a photo of a corgi",
        "Ångström\u2019s übermäßige café №5",
        "don't they'll 123 日本語",
        "hello&nbsp;world!!!",
    ):
        assert tokenizer([text])[0].tolist() == reference([text])[0].tolist()


def test_another_kind_of_tokenizer_is_refused() -> None:
    with pytest.raises(InputError, match="BPE"):
        build_tokenizer(object())


def test_a_file_that_is_no_tokenizer_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(InputError, match=r"tokenizer\.json"):
        ClipTokenizer.load(tmp_path / "tokenizer.json", 12)
