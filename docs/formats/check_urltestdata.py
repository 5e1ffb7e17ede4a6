"""Run the WHATWG URL Standard's test data against the canonical keys, by the reference and by the kernel.

    python docs/formats/check_urltestdata.py urltestdata.json

The file is `url/resources/urltestdata.json` of web-platform-tests. Its absolute http and https cases say what a
parser gives; from that, the key follows by steps 4 to 8 of url-canonicalisation.md, which are written here a second
time. What must not parse, or is of another scheme, has no key. Run it from the checkout.
"""

import json
import re
import sys
import unicodedata
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa

from heldout.errors import InputError
from heldout.kernel import keys_of
from heldout.urls import canonical_key, key_digest

TEXT = (Path(__file__).with_name("url-canonicalisation.md")).read_text(encoding="utf-8")
TRACKING = re.findall(r"`([^`]+)`", TEXT.split("<!-- tracking -->")[1])
KEPT = re.compile(r"[A-Za-z0-9\-._~!*'()$&+,;=:@/?]")
DECODED = re.compile(r"[A-Za-z0-9\-._~!*'()]")


def normal(text: str) -> str:
    """Step 6, octet by octet."""
    out, data, i = "", text.encode(), 0
    while i < len(data):
        if data[i] == ord("%") and re.fullmatch(rb"[0-9A-Fa-f]{2}", data[i + 1 : i + 3]):
            char = chr(int(data[i + 1 : i + 3], 16))
            out += char if DECODED.fullmatch(char) else f"%{data[i + 1 : i + 3].decode().upper()}"
            i += 3
        else:
            char = chr(data[i])
            out += char if KEPT.fullmatch(char) else f"%{data[i]:02X}"
            i += 1
    return out


def is_tracking(piece: str) -> bool:
    """Step 7."""
    name = piece.partition("=")[0].lower()
    return any(name.startswith(each[:-1]) if each.endswith("*") else name == each for each in TRACKING)


def is_punycode(text: str) -> bool:
    """Step 4."""
    try:
        label = text.encode().decode("punycode")
    except (UnicodeError, ValueError, OverflowError):
        return False
    return not label.isascii() and unicodedata.normalize("NFKC", label) == label


def expected_key(case: dict[str, Any]) -> str | None:
    """The key that the case's parsed form leads to; None if it is refused."""
    url = case["input"]
    if len(url) > 16_384 or re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]", url):
        return None
    if case.get("failure") or case["protocol"] not in {"http:", "https:"}:
        return None
    host = case["hostname"].removesuffix(".")
    if not re.fullmatch(r"(?:[a-z0-9_-]+\.)*[a-z0-9_-]+|\[[0-9a-f:]+\]", host):
        return None
    if any(label.startswith("xn--") and not is_punycode(label[4:]) for label in host.split(".")):
        return None
    port = "" if case["port"] in {"", "80", "443"} else f":{case['port']}"
    pieces = [piece for piece in normal(case["search"][1:]).split("&") if piece and not is_tracking(piece)]
    return host + port + normal(case["pathname"]) + (f"?{'&'.join(pieces)}" if pieces else "")


def check(cases: list[Any]) -> Counter[str]:
    """How many cases there were of each outcome; exits at those that differ."""
    counts: Counter[str] = Counter()
    wrong = []
    for case in cases:
        if not isinstance(case, dict) or case.get("base") not in {None, "about:blank"}:
            continue
        expected = expected_key(case)
        try:
            found: str | None = canonical_key(case["input"])
        except InputError:
            found = None
        try:
            keys, has_key = keys_of(pa.array([case["input"]]))
        except UnicodeEncodeError:  # lone surrogates, which no column holds
            keys, has_key = [0], [False]
        native = int(keys[0]) if has_key[0] else None
        digest = None if expected is None else int.from_bytes(key_digest(expected)[:8])
        if found != expected or native != digest:
            wrong.append((case["input"], expected, found))
        counts["a key" if expected is not None else "no key"] += 1
    if wrong:
        raise SystemExit(
            "\n".join(f"{url!a}: expected {expected!a}, found {found!a}" for url, expected, found in wrong)
        )
    return counts


if __name__ == "__main__":
    print(dict(check(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))))
