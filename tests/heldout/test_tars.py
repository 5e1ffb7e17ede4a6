"""The strict tar walker: all of a tar, or an error that names the file and the place."""

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from heldout.errors import InputError
from heldout.tars import MAX_HEADER_BYTES, iter_parts

LONG = "folder/" * 30 + "long.jpg"


def _pack(files: dict[str, bytes], kind: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=kind) as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return out.getvalue()


FILES = {"0.jpg": b"a" * 700, "0.txt": b"", LONG: b"b" * 512, "1.json": b"{}"}
GOOD = _pack(FILES)


def _read(path: Path, data: bytes) -> list[tuple[str, bytes]]:
    path.write_bytes(data)
    found = []
    with path.open("rb") as archive:
        end = 0
        for part in iter_parts(archive, path):
            assert part.start == end
            end = part.end
            if part.member is not None:
                archive.seek(part.member.offset_data)
                found.append((part.member.name, archive.read(part.member.size)))
    return found


@pytest.mark.parametrize("kind", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_parts_follow_one_another_and_hold_every_member(tmp_path: Path, kind: int) -> None:
    assert _read(tmp_path / "0.tar", _pack(FILES, kind)) == list(FILES.items())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300, deadline=None)
@given(place=st.integers(0, len(GOOD) - 1), bits=st.integers(1, 255))
def test_a_changed_byte_loses_no_member_without_a_word(tmp_path: Path, place: int, bits: int) -> None:
    data = bytearray(GOOD)
    data[place] ^= bits
    try:
        found = _read(tmp_path / "0.tar", bytes(data))
    except InputError as error:
        assert "0.tar" in str(error)  # noqa: PT017 - either outcome is right
    else:
        assert len(found) == len(FILES)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200, deadline=None)
@given(size=st.integers(0, len(GOOD.rstrip(b"\0")) + 511))
def test_a_tar_cut_anywhere_before_its_end_mark_is_refused(tmp_path: Path, size: int) -> None:
    with pytest.raises(InputError, match=r"0\.tar"):
        _read(tmp_path / "0.tar", GOOD[: min(size, GOOD.rindex(b"{}") + 1)])


def _pax_of(size: int) -> bytes:
    header = tarfile.TarInfo("pax")
    header.type, header.size = tarfile.XHDTYPE, size
    return header.tobuf(tarfile.GNU_FORMAT)


def _negative(data: bytes) -> bytes:
    """A header whose size, in base 256, is -1024: `tarfile` would go back and read it for ever."""
    header = bytearray(tarfile.TarInfo("0.jpg").tobuf(tarfile.GNU_FORMAT))
    header[124:136] = (-1024).to_bytes(12, "big", signed=True)
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return data + bytes(header) + bytes(1024)


def _long_names(n: int) -> bytes:
    header = tarfile.TarInfo("x")
    header.type = tarfile.GNUTYPE_LONGNAME
    return header.tobuf(tarfile.GNU_FORMAT) * n


FIRST = _pack({"0.txt": b"one"})[:1024]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: FIRST + _pax_of(MAX_HEADER_BYTES + 512) + bytes(2 * MAX_HEADER_BYTES), "over the limit"),
        (lambda: _negative(FIRST), "damaged header at byte 1024"),
        (lambda: FIRST + _long_names(5_000), "near byte 1024"),
        (lambda: FIRST + bytes(1024) + FIRST + bytes(1024), "an early end, at byte 1024"),
        (lambda: FIRST + bytes(511), "truncated at byte 1535"),
        (lambda: b"", "not an uncompressed tar"),
        (lambda: b"PK" * 600, "not an uncompressed tar"),
    ],
)
def test_hostile_and_odd_tars_are_refused_and_named(tmp_path: Path, make: Callable[[], bytes], words: str) -> None:
    with pytest.raises(InputError, match=words) as error:
        _read(tmp_path / "0.tar", make())
    assert str(tmp_path / "0.tar") in str(error.value)
