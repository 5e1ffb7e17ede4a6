import ctypes
import hashlib
import itertools
import json
import mmap
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
from heldout.leaves import MAX_PREFIX_BYTES
from heldout.places import MAX_PREFIX_SEGMENTS, hosts_covering, prefixes_covering

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


def levels() -> Iterator[int]:
    """Each set of instructions that the kernel can use here, in force until the next is asked for; at the end all."""
    if kernel.IMPLEMENTATION != "native":
        yield 0
        return
    from heldout import _kernel

    try:
        for level in range(3):
            if _kernel.use_instructions(level) == level:
                yield level
    finally:
        _kernel.use_instructions(2)


def both(values: list[str | None], *, wide: bool = False) -> list[int | None]:
    """What the kernel says, which is the same with all instructions."""
    column = pa.array(values, pa.large_string() if wide else pa.string())
    answers = []
    for _ in levels():
        keys, has_key = kernel.keys_of(column)
        answers.append([int(key) if has else None for key, has in zip(keys, has_key, strict=True)])
    assert all(answer == answers[0] for answer in answers)
    return answers[0]


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
    assert _kernel.digest(offsets, False, data, None, 0, len(values), keys, status, None, None, None) == 0
    assert status.tolist() == [0] * len(values)


def test_all_instructions_agree_at_every_length_of_key_and_batch() -> None:
    values = [f"https://a.example/{'p' * n}" for n in range(600)]  # to ten blocks of SHA-256
    expected = [reference(value) for value in values]
    assert both(list(values)) == expected
    mixed = sorted(range(len(values)), key=lambda n: n * 389 % len(values))
    assert both([values[n] for n in mixed]) == [expected[n] for n in mixed]
    for n in range(1, 40):
        assert both([*values[n : 2 * n]]) == expected[n : 2 * n]
    # More than an arena's worth of keys at once, some as long as keys get.
    long_ = ["https://a.example/?" + "é" * n for n in range(600, 2_030, 26)]
    assert both([*long_, *values, *long_]) == [reference(value) for value in [*long_, *values, *long_]]


EDGES = ["%", "%41", "%2e", ".", "/.", "/", "?", "&", "&&", "#", "é", " ", "^", "A", "Z", "@", "[", "`", "{", "\x7f"]


def test_every_byte_is_told_apart_at_every_place_of_a_vector() -> None:
    at = (0, 1, 30, 31, 32, 43, 44, 45, 46, 62, 63, 64, 65, 108, 109, 110, 111, 126, 127, 128, 129)
    values = [f"https://a.example/{'p' * n}{edge}{'q' * m}" for n in at for edge in EDGES for m in (0, 1, 64)]
    values += [f"https://a.example/?{'p' * n}{edge}{'q' * m}" for n in at for edge in EDGES for m in (0, 1, 64)]
    values += [f"https://a.example/{'p' * n}{chr(c)}x?y{chr(c)}z" for n in (3, 60) for c in range(128)]
    values += [f"https://{'h' * n}{chr(c)}H.example/" for n in (0, 3, 50, 57) for c in range(128)]
    values += [f"https://{'h' * n}.{label}/p" for n in range(40, 70) for label in ("e", "1e", "xn--e", "exn--", "")]
    assert both(list(values)) == [reference(value) for value in values]


@native
def test_nothing_behind_the_last_address_is_touched() -> None:
    from heldout import _kernel

    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "mprotect"):
        pytest.skip("memory cannot be protected here")
    page = mmap.PAGESIZE
    with mmap.mmap(-1, 2 * page) as memory:
        start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        assert libc.mprotect(ctypes.c_void_p(start + page), ctypes.c_size_t(page), 0) == 0
        whole = np.frombuffer(memory, np.uint8, page)
        for _ in levels():
            for length in range(8, 200):
                url = ("https://a.example/" + "p" * 100 + "?" + "q" * 100)[:length].encode()
                whole[page - length :] = np.frombuffer(url, np.uint8)
                keys, status = np.zeros(1, np.uint64), np.zeros(1, np.uint8)
                ends = np.array([0, length], np.int32)
                _kernel.digest(ends, False, whole[page - length :], None, 0, 1, keys, status, None, None, None)
                assert (int(keys[0]) if status[0] == 0 else None) in {reference(url.decode()), None}
        assert libc.mprotect(ctypes.c_void_p(start + page), ctypes.c_size_t(page), 3) == 0
        del whole


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
        _kernel.digest(np.array(offsets, dtype=np.int32), False, b"hello", None, 0, n, keys, status, None, None, None)


@native
def test_a_table_that_is_not_of_the_keys_is_refused() -> None:
    from heldout import _kernel

    keys, out = np.array([1, 2], dtype=np.uint64), np.zeros(1, dtype=np.int64)
    with pytest.raises(ValueError, match="starts"):
        _kernel.lookup(keys, np.array([0, 9, 9], dtype=np.int64), 1, np.array([1], dtype=np.uint64), out)


# --- hosts and folders --------------------------------------------------------------------------------------------

labels = st.sampled_from(["a", "b", "ab", "example", "1", "x-y", "xn--e1afmkfd"])
host_texts = st.lists(labels, min_size=1, max_size=4).map(".".join)
folders = st.lists(st.sampled_from(["a", "b", "ab", "", "%20", "~j", "a.b"]), min_size=1, max_size=5).map("/".join)
authorities = st.one_of(host_texts, host_texts.map("{}:8080".format), st.sampled_from(["1.2.3.4", "[::1]", "[::1]:81"]))
prefix_texts = st.builds("{}/{}/".format, authorities, folders)
place_keys = st.builds("{}/{}{}".format, authorities, folders, st.sampled_from(["", "/", "?q=a/b", "/?", "/x/y.jpg"]))
ranks = st.integers(0, 4)


def covering(key: str, prefixes: dict[str, int], hosts: dict[str, int]) -> tuple[str | None, str | None]:
    """The rules for a key by `heldout.places`: the best proved, the nearest of equal ones."""

    def best(texts: list[str], rules: dict[str, int]) -> str | None:
        return max((text for text in texts if text in rules), key=rules.__getitem__, default=None)

    return best(prefixes_covering(key)[::-1], prefixes), best(hosts_covering(key), hosts)


def rules_of(ranked: dict[str, int]) -> kernel.PlaceRules:
    return pa.chunked_array([list(ranked)], pa.string()), np.array(list(ranked.values()), np.uint8)


def named(rule: int, rules: dict[str, int]) -> str | None:
    return None if rule < 0 else list(rules)[rule]


@settings(max_examples=400, deadline=None)
@given(st.dictionaries(prefix_texts, ranks), st.dictionaries(host_texts, ranks), st.lists(place_keys, max_size=8))
def test_places_are_found_as_the_reference_says(
    prefixes: dict[str, int], hosts: dict[str, int], keys: list[str]
) -> None:
    keys += (
        [prefix + "x" for prefix in prefixes] + [prefix[:-1] for prefix in prefixes] + [f"z.{host}/" for host in hosts]
    )
    index = kernel.PlaceIndex(rules_of(prefixes), rules_of(hosts))
    found = zip(*(rules.tolist() for rules in index.find(keys)), strict=True)
    for key, (prefix, host) in zip(keys, found, strict=True):
        assert (named(prefix, prefixes), named(host, hosts)) == covering(key, prefixes, hosts), key


@settings(max_examples=300, deadline=None)
@given(
    st.dictionaries(prefix_texts, ranks),
    st.dictionaries(host_texts, ranks),
    st.lists(st.one_of(st.none(), addresses, place_keys.map("https://{}".format)), max_size=8),
    st.booleans(),
)
def test_addresses_of_a_column_meet_the_rules_of_their_canonical_keys(
    prefixes: dict[str, int], hosts: dict[str, int], values: list[str | None], wide: bool
) -> None:
    values = [value for value in values if value is None or not _lone_surrogate(value)]
    listed = sorted({key for value in values[::2] if (key := reference(value)) is not None})
    index = kernel.AddressIndex(np.array(listed, np.uint64), rules_of(prefixes), rules_of(hosts))
    for _ in levels():
        found = index.find(pa.array(values, pa.large_string() if wide else pa.string()))
        for row, value in enumerate(values):
            key = reference(value)
            assert found.has_key[row] == (key is not None)
            assert found.url[row] == (listed.index(key) if key in listed else -1)
            if value is not None and key is not None:
                wanted = covering(urls.canonical_key(value), prefixes, hosts)
                assert (named(found.prefix[row], prefixes), named(found.host[row], hosts)) == wanted
            else:
                assert (found.prefix[row], found.host[row]) == (-1, -1)


def test_deep_and_long_paths_are_cut_where_the_reference_cuts() -> None:
    deep = ["a.example" + "/f" * n for n in range(1, 40)]
    long_ = ["a.example/" + "p" * n for n in range(1_980, 2_010)]
    prefixes = {f"{folder}/": n % 5 for n, folder in enumerate([*deep, *long_])}
    index = kernel.PlaceIndex(rules_of(prefixes), rules_of({}))
    keys = [folder + end for folder in [*deep, *long_] for end in ("", "/x", "?q", "//")]
    found = index.find(keys)[0].tolist()
    assert [named(rule, prefixes) for rule in found] == [covering(key, prefixes, {})[0] for key in keys]
    assert MAX_PREFIX_SEGMENTS < 39
    assert 1_980 < MAX_PREFIX_BYTES < 2_010


@native
def test_the_kernel_and_the_reference_have_the_same_limits() -> None:
    from heldout import _kernel

    assert (_kernel.MAX_PREFIX_BYTES, _kernel.MAX_PREFIX_SEGMENTS) == (MAX_PREFIX_BYTES, MAX_PREFIX_SEGMENTS)


def test_without_the_kernel_everything_is_found_too() -> None:
    """The same questions in a process that has none."""
    prefixes, hosts = {"a.example/j/": 1, "a.example/j/k/": 0}, {"b.example": 2, "x.b.example": 2}
    asked = [
        "http://a.example/j?q",
        "https://A.example/j/k/1",
        "https://y.x.b.example",
        "https://b.example.",
        "no",
        None,
    ]
    code = f"""
import sys; sys.modules["heldout._kernel"] = None
import numpy as np, pyarrow as pa
from heldout import kernel
assert kernel.IMPLEMENTATION == "reference"
def rules(ranked): return pa.chunked_array([list(ranked)]), np.array(list(ranked.values()), np.uint8)
key = kernel.key_of("https://b.example/")
index = kernel.AddressIndex(np.array([key], np.uint64), rules({prefixes!r}), rules({hosts!r}))
found = index.find(pa.array({asked!r}))
print([found.url.tolist(), found.prefix.tolist(), found.host.tolist(), found.has_key.tolist()])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    index = kernel.AddressIndex(np.array([kernel.key_of("https://b.example/")]), rules_of(prefixes), rules_of(hosts))
    found = index.find(pa.array(asked))
    here = [found.url.tolist(), found.prefix.tolist(), found.host.tolist(), found.has_key.tolist()]
    assert json.loads(done.stdout.lower()) == here
    assert here[:3] == [[-1, -1, -1, 0, -1, -1], [0, 0, -1, -1, -1, -1], [-1, -1, 1, 0, -1, -1]]


@native
@pytest.mark.parametrize(
    ("offsets", "n"), [([0, 5], 2), ([0, 99], 1), ([5, 2], 1), ([-1, 2], 1)], ids=["few", "beyond", "back", "negative"]
)
def test_places_with_lying_offsets_are_refused(offsets: list[int], n: int) -> None:
    from heldout import _kernel

    lying = (np.array(offsets, np.int64), b"ab.example/", np.zeros(n, np.uint8))
    none = (np.zeros(1, np.int64), b"", np.zeros(0, np.uint8))
    for rules in ((lying, none), (none, lying)):
        with pytest.raises(ValueError, match="offsets"):
            _kernel.index_places(bytes(16), *rules[0], *rules[1])
    places = _kernel.index_places(bytes(16), *none, *none)
    out = np.zeros(n, np.int64)
    with pytest.raises(ValueError, match="offsets"):
        _kernel.match(places, lying[0], lying[1], n, out, out)
    with pytest.raises(ValueError, match="16 bytes"):
        _kernel.index_places(b"short", *none, *none)
    with pytest.raises(ValueError, match="PyCapsule"):
        _kernel.match(object(), np.zeros(1, np.int64), b"", 0, out, out)


FUZZ = """
import random, sys
import numpy as np, pyarrow as pa
sys.path.insert(0, sys.argv[1])
import _kernel
rng = random.Random(7)
pieces = eval(sys.argv[2])
n_found = 0
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
    prefix, host = np.empty(len(rows), dtype=np.int64), np.empty(len(rows), dtype=np.int64)
    rules = []
    for ending in (b"/", b""):
        texts = sorted({row.partition(b"//")[2][: rng.randrange(60)] + ending for row in rows if rng.random() < 0.5})
        ends = np.cumsum([0, *map(len, texts)]).astype(np.int64)
        joined = np.frombuffer(b"".join(texts), dtype=np.uint8).copy()
        rules += [ends, joined, np.array([rng.randrange(5) for _ in texts], dtype=np.uint8)]
    places = _kernel.index_places(rng.randbytes(16), *rules)
    _kernel.use_instructions(round % 3)
    _kernel.digest(offsets, False, data, None, 0, len(rows), keys, status, places, prefix, host)
    n_found += int((prefix >= 0).sum() + (host >= 0).sum())
    # Not only keys: whatever bytes a list or a caller gives.
    _kernel.match(places, offsets.astype(np.int64), data, len(rows), prefix, host)
    _kernel.match(places, rules[0], rules[1], len(rules[2]), prefix[: len(rules[2])], host[: len(rules[2])])
    n_found += int((prefix >= 0).sum() + (host >= 0).sum())
assert n_found > 1000, n_found
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
