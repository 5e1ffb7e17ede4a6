"""Reading what somebody wants to opt out from their own files."""

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from heldout.errors import InputError
from heldout.pictures import fingerprint
from heldout.records import HostSubject, ImageSubject, PrefixSubject, UrlSubject
from heldout.subject_files import MAX_FILE_BYTES, Line, host_line, read_source

PDQ = "f8" * 32


def written(tmp_path: Path, name: str, text: str, encoding: str = "utf-8") -> str:
    path = tmp_path / name
    path.write_bytes(text.encode(encoding))
    return str(path)


def url(name: str) -> UrlSubject:
    return UrlSubject(url=f"https://jane.example/{name}.jpg")


def draw(seed: int) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 255, (12, 16, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((320, 240), Image.Resampling.BICUBIC)


def test_a_table_has_a_subject_in_each_known_column(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "works.csv",
        "Title,URL,Site,PDQ,Quality,SHA256,Profile\n"
        f'"Castle, at ""night""",https://jane.example/a.jpg,,{PDQ.upper()},90,{"AB" * 32},\n'
        "\n"
        "Second\n"
        "Third,,jane.example,,,,https://art.example/jane\n"
        f"Fourth,,,{PDQ},lots,,\n"
        f'"two\nlines",,,{PDQ},10,,\n',
    )
    assert read_source(path) == [
        Line(f"{path}:2", url("a")),
        Line(f"{path}:2", ImageSubject(pdq=PDQ, quality=90, sha256="ab" * 32)),
        Line(f"{path}:4", None, "names neither an address nor a place nor a picture"),
        Line(f"{path}:5", PrefixSubject(prefix="https://art.example/jane")),
        Line(f"{path}:5", HostSubject(host="jane.example")),
        Line(f"{path}:6", None, "quality: Input should be a valid integer, unable to parse string as an integer"),
        Line(f"{path}:7", ImageSubject(pdq=PDQ, quality=10)),
    ]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "url\nhttps://jane.example/a.jpg\n"),
        ("a.csv", "\ufeffurl,title\r\nhttps://jane.example/a.jpg,A\r\n"),
        ("a.csv", "title;url\nA;https://jane.example/a.jpg"),
        ("a.tsv", "title\turl\nA\thttps://jane.example/a.jpg\n"),
        ("a.csv", "https://jane.example/a.jpg\n"),
        ("a.txt", "# my works\n\n  https://jane.example/a.jpg  \n"),
        ("a", "https://jane.example/a.jpg"),
    ],
)
def test_tables_and_lists_as_programs_write_them(tmp_path: Path, name: str, text: str) -> None:
    assert [line.subject for line in read_source(written(tmp_path, name, text))] == [url("a")]


def test_an_address_is_itself() -> None:
    assert read_source("https://jane.example/a.jpg") == [Line("https://jane.example/a.jpg", url("a"))]
    assert host_line("jane.example").subject == HostSubject(host="jane.example")


def test_a_line_too_long_is_named_and_the_others_count(tmp_path: Path) -> None:
    path = written(tmp_path, "a.txt", f"https://jane.example/a.jpg\nhttps://jane.example/{'x' * 20_000}\n")
    good, bad = read_source(path)
    assert good.subject == url("a")
    assert (bad.where, bad.subject) == (f"{path}:2", None)
    assert "at most 16384 characters" in bad.problem


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("a.csv", b"title,year\nA,2020\n", "no column called url"),
        ("a.csv", b"", "no column called url"),
        ("a.csv", "url\nhttps://münchen.example".encode("latin-1"), "not text in UTF-8"),
        ("a.csv", b"url\n" + b"x" * 200_000, "cannot be read as a table"),
        ("a.txt", b"\xff\xfe\0\0", "not text in UTF-8"),
    ],
)
def test_what_is_no_table_or_list_says_what_to_do(tmp_path: Path, name: str, data: bytes, says: str) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(InputError, match=says):
        read_source(str(path))


def test_what_is_not_there_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_source(str(tmp_path / "none.csv"))
    with pytest.raises(InputError, match="holds no picture"):
        read_source(str(tmp_path))


@given(st.text(max_size=300))
def test_any_text_as_a_table_is_lines_or_an_error_of_ours(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.mktemp("any") / "a.csv"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        lines = read_source(str(path))
    except InputError:
        return
    assert all((line.subject is None) == bool(line.problem) for line in lines)


def test_a_folder_of_pictures_is_read_in_order_with_what_cannot_be(tmp_path: Path) -> None:
    folder = tmp_path / "works"
    (folder / "2024" / ".thumbs").mkdir(parents=True)
    draw(1).save(folder / "b.JPG", "JPEG")
    draw(2).save(folder / "2024" / "a.png")
    draw(3).save(folder / "2024" / ".thumbs" / "a.png")
    (folder / "broken.png").write_bytes(b"no picture")
    (folder / "notes.txt").write_text("not a picture")
    seen: list[tuple[int, int]] = []
    lines = read_source(str(folder), progress=lambda *at: seen.append(at))
    assert [Path(line.where).name for line in lines] == ["a.png", "b.JPG", "broken.png"]
    assert seen == [(1, 3), (2, 3), (3, 3)]
    data = (folder / "b.JPG").read_bytes()
    mark = fingerprint(data)
    expected = ImageSubject(
        pdq=mark.pdq[0].tobytes().hex(), quality=mark.quality, sha256=hashlib.sha256(data).hexdigest()
    )
    assert lines[1].subject == expected
    assert lines[2].subject is None
    assert "not a picture" in lines[2].problem
    assert read_source(str(folder / "b.JPG")) == [lines[1]]


def test_a_folder_with_links_pipes_and_giants_is_read_and_each_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    (folder / "sub").mkdir(parents=True)
    draw(1).save(folder / "sub" / "a.png")
    (folder / "sub" / "round").symlink_to(folder)
    (folder / "linked.png").symlink_to(folder / "sub" / "a.png")
    (folder / "gone.png").symlink_to(folder / "nothing.png")
    (folder / "loop.png").symlink_to(folder / "loop.png")
    os.mkfifo(folder / "pipe.png")
    with (folder / "giant.png").open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    lines = {Path(line.where).name: line for line in read_source(str(folder))}
    assert len(lines) == 6
    assert lines["a.png"].subject is not None
    assert lines["linked.png"].subject == lines["a.png"].subject
    for name, problem in {
        "gone.png": "cannot be read",
        "loop.png": "cannot be read",
        "pipe.png": "no file",
        "giant.png": "over 500 MB",
    }.items():
        assert problem in lines[name].problem
