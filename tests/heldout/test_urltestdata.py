"""The script that runs the WHATWG's test data, on cases of its form: what it accepts, and what it tells."""

from types import ModuleType
from typing import Any

import pytest

from tests.heldout.format_scripts import load_script


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load_script("check_urltestdata")


def case(url: str, hostname: str, pathname: str, **fields: str) -> dict[str, Any]:
    parsed = {"protocol": "https:", "port": "", "search": "", "hostname": hostname, "pathname": pathname}
    return {"input": url, "base": None, **(parsed | fields)}


RIGHT: list[Any] = [
    "a comment between cases",
    case(
        "https://Art.Example:443/a/../%7e b?utm_source=x&w=1#f", "art.example", "/%7e%20b", search="?utm_source=x&w=1"
    ),
    case("https://bücher.example:81/", "xn--bcher-kva.example", "/", port="81"),
    case("http://0x7f.1/", "127.0.0.1", "/", protocol="http:"),
    case("https://a.xn--pokxncvks/", "a.xn--pokxncvks", "/"),
    case("ftp://art.example/", "art.example", "/", protocol="ftp:"),
    {"input": "https://a b/", "base": None, "failure": True},
    {"input": "../x", "base": "https://art.example/", "pathname": "/x"},
]


def test_right_cases_are_counted(script: ModuleType) -> None:
    assert script.check(RIGHT) == {"a key": 3, "no key": 3}


@pytest.mark.parametrize(
    "wrong", [case("https://art.example/b", "art.example", "/a"), {"input": "https://art.example/", "failure": True}]
)
def test_a_case_that_gives_another_key_is_told(script: ModuleType, wrong: dict[str, Any]) -> None:
    with pytest.raises(SystemExit, match=r"https://art\.example/.*expected"):
        script.check([*RIGHT, wrong])
