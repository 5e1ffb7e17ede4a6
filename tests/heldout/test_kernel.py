import hashlib
import itertools
import json
import os
import random
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from heldout import kernel, urls
from heldout.errors import InputError

ROOT = Path(__file__).parents[2]
VECTORS = ROOT / "docs" / "formats" / "url-canonicalisation-vectors.json"

native = pytest.mark.skipif(kernel.IMPLEMENTATION != "native", reason="no C compiler built the kernel here")

# Pieces that matter to the rules; joined at random they make addresses that are nearly, but not quite, plain.
PIECES = [
    "http://", "https://", "HTTP://", "ftp://", "//", "a.example", "A.Example", "xn--e1afmkfd", "пример",
    "1.2.3.4", "0x7f.1", ".", "..", "/", "//", "/./", "/../", "%2e", "%2E%2e", "%41", "%7E", "%c3%a9", "%C3%A9",
    "%", "%4", "%zz", "%00", "?", "&", "&&", "=", "#", "#frag", "# \t", ":", ":80", ":443", ":8080", "@",
    "user:pw@", "utm_source=x", "UTM_medium", "%75tm_id=1", "fbclid=1", "gclid", "w=640", "h=1", "'", '"', "<",
    ">", " ", "\t", "\n", "\\", "|", "^", "`", "{", "é", "𝄞", "\x00", "\x7f", "_", "-", "~", "!", "*", "(", ")",
    "$", "+", ",", ";", "abc", "ABC", "0", "a" * 70, "x.jpg", "[::1]",
]  # fmt: skip

addresses = st.one_of(
    st.lists(st.sampled_from(PIECES), max_size=12).map("".join),
    st.lists(st.sampled_from(PIECES), max_size=10).map(lambda pieces: "https://a.example/" + "".join(pieces)),
    st.text(max_size=60).map(lambda text: "http://host.example/" + text),
    st.text(max_size=60),
)


def reference(url: str | None) -> int | None:
    if url is None:
        return None
    try:
        return int.from_bytes(hashlib.sha256(urls.canonical_key(url).encode()).digest()[:8])
    except InputError:
        return None


def both(values: list[str | None], *, wide: bool = False) -> list[int | None]:
    keys, has_key = kernel.keys_of(pa.array(values, pa.large_string() if wide else pa.string()))
    return [int(key) if has else None for key, has in zip(keys, has_key, strict=True)]


@settings(max_examples=600, deadline=None)
@given(st.lists(st.one_of(st.none(), addresses), max_size=8), st.booleans())
@example(["https://a.example/%2e%2e/b", "https://a.example/a%2ejpg", "https://a.example?x#y"], False)
def test_the_kernel_agrees_with_the_reference_on_any_text(values: list[str | None], wide: bool) -> None:
    values = [value for value in values if value is None or value.isprintable() or not _lone_surrogate(value)]
    assert both(values, wide=wide) == [reference(value) for value in values]


def _lone_surrogate(text: str) -> bool:
    return any(0xD800 <= ord(char) <= 0xDFFF for char in text)


def test_the_kernel_agrees_on_every_published_vector() -> None:
    vectors = json.loads(VECTORS.read_text())
    inputs = [text for text in _strings(vectors) if not _lone_surrogate(text)]
    assert len(inputs) > 100
    assert both(list(inputs)) == [reference(text) for text in inputs]


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from _strings(part)
    elif isinstance(value, list):
        for part in value:
            yield from _strings(part)


@native
def test_plain_addresses_do_not_need_the_reference() -> None:
    from heldout import _kernel

    values = pa.array(
        [
            "https://img.example/a/b/c_d-1.jpg",
            "http://CDN.Example/p/i.png?w=640&h=480&utm_source=x",
            "https://a.example/%D0%BF.jpg#top",
            "https://a.example/médias/фото 1.jpg?q=50%&t=ñ",
            "https://shop.example/x;y=1,2/(z)!.webp?v=%41",
        ]
    )
    status = np.zeros(len(values), dtype=np.uint8)
    keys = np.zeros(len(values), dtype=np.uint64)
    _, offsets, data = values.buffers()
    assert _kernel.digest(offsets, False, data, None, 0, len(values), keys, status) == 0
    assert status.tolist() == [0] * len(values)


@native
def test_portable_and_hardware_sha256_agree_at_every_length() -> None:
    from heldout import _kernel

    values = [f"https://a.example/{'p' * n}" for n in range(260)]
    expected = [reference(value) for value in values]
    try:
        assert _kernel.use_sha_extensions(False) is False
        assert both(list(values)) == expected
    finally:
        _kernel.use_sha_extensions(True)
    assert both(list(values)) == expected


def test_slices_chunks_nulls_dictionaries_and_views_are_read_right() -> None:
    values: list[str | None] = [None if n % 5 == 0 else f"https://a.example/{n}" for n in range(50)]
    expected = [reference(value) for value in values]
    whole = pa.array(values)
    for start, stop in itertools.product((0, 1, 7, 9), (9, 23, 50)):
        keys, has_key = kernel.keys_of(whole.slice(start, stop - start))
        assert [int(k) if h else None for k, h in zip(keys, has_key, strict=True)] == expected[start:stop]
    chunked = pa.chunked_array([whole.slice(0, 3), whole.slice(3, 0), whole.slice(3)])
    for column in (chunked, whole.dictionary_encode(), whole.cast(pa.string_view()), whole.cast(pa.large_string())):
        keys, has_key = kernel.keys_of(column)
        assert [int(k) if h else None for k, h in zip(keys, has_key, strict=True)] == expected
    assert both([]) == []
    assert both([None, None]) == [None, None]


def test_a_column_that_is_no_text_is_refused() -> None:
    with pytest.raises(InputError, match="int64"):
        kernel.keys_of(pa.array([1, 2]))


def test_invalid_utf8_has_no_key_but_spoils_nothing() -> None:
    raw = pa.array([b"https://a.example/\xff.jpg", b"https://a.example/1"]).view(pa.string())
    keys, has_key = kernel.keys_of(raw)
    assert has_key.tolist() == [False, True]
    assert int(keys[1]) == reference("https://a.example/1")


@given(st.sets(st.integers(0, 2**64 - 1), max_size=300), st.lists(st.integers(0, 2**64 - 1), max_size=100))
@settings(deadline=None)
def test_lookups_equal_a_dictionary(keys: set[int], queries: list[int]) -> None:
    ordered = np.array(sorted(keys), dtype=np.uint64)
    asked = np.array([*queries, *ordered[::3].tolist(), 0, 2**64 - 1], dtype=np.uint64)
    place = {int(key): n for n, key in enumerate(ordered)}
    assert kernel.KeyIndex(ordered).find(asked).tolist() == [place.get(int(key), -1) for key in asked]


def test_lookups_survive_a_skewed_list() -> None:
    ordered = np.arange(10_000, dtype=np.uint64)  # all in one bucket
    asked = np.array([0, 9_999, 10_000, 2**63], dtype=np.uint64)
    assert kernel.KeyIndex(ordered).find(asked).tolist() == [0, 9_999, -1, -1]


@native
@pytest.mark.parametrize(
    ("offsets", "n"),
    [([0, 5], 2), ([0, 99], 1), ([5, 2], 1), ([-1, 2], 1)],
    ids=["too few", "beyond the data", "backwards", "negative"],
)
def test_lying_offsets_are_refused(offsets: list[int], n: int) -> None:
    from heldout import _kernel

    keys, status = np.zeros(n, dtype=np.uint64), np.zeros(n, dtype=np.uint8)
    with pytest.raises(ValueError, match="offsets"):
        _kernel.digest(np.array(offsets, dtype=np.int32), False, b"hello", None, 0, n, keys, status)


@native
def test_a_table_that_is_not_of_the_keys_is_refused() -> None:
    from heldout import _kernel

    keys, out = np.array([1, 2], dtype=np.uint64), np.zeros(1, dtype=np.int64)
    with pytest.raises(ValueError, match="starts"):
        _kernel.lookup(keys, np.array([0, 9, 9], dtype=np.int64), 1, np.array([1], dtype=np.uint64), out)


FUZZ = """
import random, sys
import numpy as np, pyarrow as pa
sys.path.insert(0, sys.argv[1])
import _kernel
rng = random.Random(7)
pieces = eval(sys.argv[2])
for round in range(400):
    rows = []
    for _ in range(50):
        text = rng.choice(["https://a.example/", "http://", ""]) + "".join(rng.choices(pieces, k=rng.randrange(12)))
        raw = bytearray(text.encode("utf-8", "surrogatepass"))
        for _ in range(rng.randrange(4)):
            if raw: raw[rng.randrange(len(raw))] = rng.randrange(256)
        rows.append(bytes(raw[: rng.randrange(len(raw) + 1)]) if rng.random() < 0.3 else bytes(raw))
    rows.append(b"https://a.example/" + b"%41" * rng.randrange(1400))
    rows.append(b"https://a.example/?" + b"a&" * rng.randrange(2100))
    # Exact-size copies on the heap, so that one byte too far is seen.
    data = np.frombuffer(b"".join(rows), dtype=np.uint8).copy()
    offsets = np.cumsum([0, *map(len, rows)]).astype(np.int32)
    keys, status = np.empty(len(rows), dtype=np.uint64), np.empty(len(rows), dtype=np.uint8)
    _kernel.use_sha_extensions(bool(round % 2))
    _kernel.digest(offsets, False, data, None, 0, len(rows), keys, status)
print("clean")
"""


@native
def test_no_byte_is_read_out_of_bounds_under_the_sanitizers(tmp_path: Path) -> None:
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("gcc with its sanitizers is not here")
    library = subprocess.run([compiler, "-print-file-name=libasan.so"], capture_output=True, text=True, check=True)  # noqa: S603
    runtime = Path(library.stdout.strip())
    if not runtime.is_absolute():
        pytest.skip("gcc has no address sanitizer here")
    built = tmp_path / "_kernel.abi3.so"
    flags = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g", "-O1", "-std=c11", "-shared", "-fPIC"]
    include = sysconfig.get_path("include")
    source = ROOT / "heldout" / "_kernel.c"
    subprocess.run([compiler, *flags, f"-I{include}", "-o", str(built), str(source)], check=True)  # noqa: S603
    environment = {**os.environ, "LD_PRELOAD": str(runtime), "ASAN_OPTIONS": "detect_leaks=0"}
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", FUZZ, str(tmp_path), repr(PIECES)],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip() == "clean"


def test_the_random_walk_covers_both_answers() -> None:
    # The fuzz above means something only if its addresses are sometimes usable and sometimes not.
    rng = random.Random(1)  # noqa: S311
    made = ["https://a.example/" + "".join(rng.choices(PIECES, k=6)) for _ in range(400)]
    usable = sum(reference(text) is not None for text in made)
    assert 50 < usable < 350
