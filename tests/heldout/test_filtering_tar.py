"""Webdataset tars: re-encoded copies, odd members, damaged archives."""

import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from heldout.errors import InputError
from heldout.filtering import Filter as BatchFilter
from heldout.filtering import FilterOptions, FilterResult, filter_shards
from heldout.pictures import fingerprint
from tests.heldout.conftest import PullSite
from tests.heldout.published import ImageRule, Site, UrlRule
from tests.heldout.test_filtering import outputs

Members = list[tuple[str, bytes]]
Filter = Callable[[Path], FilterResult]


def drawing(seed: int, size: int = 320) -> Image.Image:
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", (size, size), "white")
    draw = ImageDraw.Draw(image)
    for _ in range(40):
        x, y, w, h = rng.integers(0, size, 4)
        box = (int(min(x, w)), int(min(y, h)), int(max(x, w)) + 1, int(max(y, h)) + 1)
        colour = tuple(int(c) for c in rng.integers(0, 256, 3))
        draw.ellipse(box, fill=colour) if seed % 2 else draw.rectangle(box, fill=colour)
    return image


def encoded(image: Image.Image, kind: str = "PNG", **options: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def tar_of(path: Path, members: Members, kind: int = tarfile.USTAR_FORMAT) -> Path:
    with tarfile.open(path, "w", format=kind) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def sample(key: str, picture: bytes, **fields: object) -> Members:
    described = {"url": f"https://else.example/{key}.jpg", "key": key} | fields
    return [(f"{key}.jpg", picture), (f"{key}.txt", b"a caption"), (f"{key}.json", json.dumps(described).encode())]


def members_of(path: Path) -> Members:
    with tarfile.open(path) as tar:
        return [(info.name, (tar.extractfile(info) or io.BytesIO()).read()) for info in tar]


def keys_of(path: Path) -> list[str]:
    return list(dict.fromkeys(name.partition(".")[0] for name, _ in members_of(path)))


HERS = drawing(1)
BY_BYTES = encoded(drawing(2))
ORIGINAL = b"the file as it was on the web"


@pytest.fixture
def site() -> Site:
    mark = fingerprint(encoded(HERS))
    other = fingerprint(BY_BYTES)
    images = [
        ImageRule(mark.pdq[0].tobytes(), mark.quality),
        ImageRule(other.pdq[0].tobytes(), 0, other.sha256, "host"),
        ImageRule(bytes(32), 0, hashlib.sha256(ORIGINAL).digest()),
    ]
    return Site().publish([UrlRule("https://art.example/1.jpg")], images)


@pytest.fixture
def run(pulled: Path, tmp_path: Path) -> Filter:
    return lambda path: filter_shards([path], tmp_path / "out", FilterOptions(pulled))


def test_samples_go_by_url_bytes_original_and_copy_and_the_rest_is_kept_byte_for_byte(
    run: Filter, tmp_path: Path
) -> None:
    kept = [*sample("000", encoded(drawing(10))), *sample("006", encoded(drawing(11), "JPEG"))]
    members = [
        *kept[:3],
        *sample("001", encoded(drawing(12)), url="http://ART.example/1.jpg#x"),
        *sample("002", BY_BYTES),
        *sample("003", encoded(drawing(13)), sha256=hashlib.sha256(ORIGINAL).hexdigest()),
        *sample("004", encoded(HERS.resize((200, 200)), "JPEG", quality=60)),
        *sample("005", encoded(HERS.transpose(Image.Transpose.FLIP_LEFT_RIGHT).rotate(90), "WEBP", quality=70)),
        *kept[3:],
    ]
    result = run(tar_of(tmp_path / "00000.tar", members))
    assert result.failures == {}
    assert members_of(tmp_path / "out" / "00000.tar") == kept
    assert (tmp_path / "out" / "00000.tar").read_bytes() == tar_of(tmp_path / "expected.tar", kept).read_bytes()
    assert result.total.to_json()["dropped"] == {
        "url": {"declared": 1},
        "sha256": {"host": 1, "declared": 1},
        "pdq": {"declared": 2},
    }


def test_untouched_tar_is_the_same_file(run: Filter, tmp_path: Path) -> None:
    members = [*sample("a/b/0", encoded(drawing(10))), *sample("a/c/0", encoded(drawing(11)))]
    for kind in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        path = tar_of(tmp_path / "00000.tar", members, kind)
        run(path)
        assert (tmp_path / "out" / "00000.tar").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("kind", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_and_foreign_names_keep_their_extended_headers(run: Filter, tmp_path: Path, kind: int) -> None:
    long = "каталог/" + "x" * 150
    kept = sample(f"{long}1", encoded(drawing(10)))
    members = [*sample(f"{long}0", BY_BYTES), *kept, *sample(f"{long}2", BY_BYTES)]
    run(tar_of(tmp_path / "00000.tar", members, kind))
    assert members_of(tmp_path / "out" / "00000.tar") == kept


def test_global_headers_and_members_of_no_sample_are_kept(run: Filter, tmp_path: Path) -> None:
    path = tmp_path / "00000.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT, pax_headers={"comment": "made for a test"}) as tar:
        folder = tarfile.TarInfo("folder")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        for name, data in [("README", b"no dot"), (".hidden", b""), *sample("0", BY_BYTES), *sample("1", ORIGINAL)]:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    run(path)
    with tarfile.open(tmp_path / "out" / "00000.tar") as left:
        assert left.getnames() == ["folder", "README", ".hidden"]
        assert left.pax_headers == {"comment": "made for a test"}


def test_members_of_one_sample_need_not_be_neighbours(run: Filter, tmp_path: Path) -> None:
    one, two = sample("1", encoded(drawing(10))), sample("2", BY_BYTES)
    run(tar_of(tmp_path / "00000.tar", [*one[:2], *two[:2], one[2], two[2]]))
    assert keys_of(tmp_path / "out" / "00000.tar") == ["1"]


def test_caption_in_another_encoding_does_not_hide_the_address(run: Filter, tmp_path: Path) -> None:
    described = b'{"caption": "caf\xe9", "url": "https://art.example/1.jpg"}'
    other = b'{"caption": "caf\xe9", "url": "https://else.example/"}'
    result = run(tar_of(tmp_path / "00000.tar", [("0.json", described), ("1.json", other)]))
    assert (result.total.n_in, result.total.n_kept, result.total.n_unreadable_urls) == (2, 1, 0)


def test_unreadable_pictures_are_still_checked_by_url_and_bytes_and_counted(run: Filter, tmp_path: Path) -> None:
    broken = encoded(drawing(10))[:200]
    members = [
        *sample("0", broken),
        *sample("1", broken, url="https://art.example/1.jpg"),
        *sample("2", ORIGINAL),
        *sample("3", b""),
        ("4.jpg", broken),
        ("4.json", b"{not json"),
        ("5.jpg", encoded(drawing(14))),
        ("5.json", b'["a list"]'),
        *sample("6", encoded(drawing(15)), url="no url"),
    ]
    result = run(tar_of(tmp_path / "00000.tar", members))
    assert keys_of(tmp_path / "out" / "00000.tar") == ["0", "3", "4", "5", "6"]
    assert result.total.n_unreadable_pictures == 5
    assert result.total.n_unreadable_urls == 3


def test_samples_without_an_address_or_a_known_picture_are_kept_and_counted(run: Filter, tmp_path: Path) -> None:
    members = [("0.png", encoded(drawing(10))), ("1.img", encoded(HERS)), ("1.json", b'{"url": null}')]
    result = run(tar_of(tmp_path / "00000.tar", members))
    assert members_of(tmp_path / "out" / "00000.tar") == members
    assert result.total.n_unreadable_urls == 2
    assert result.total.n_unreadable_pictures == 1


def test_plain_pictures_do_not_match_by_pdq(pulled: Path, tmp_path: Path, site: Site, pull_site: PullSite) -> None:
    white = encoded(Image.new("RGB", (300, 300), "white"))
    mark = fingerprint(white)
    site.publish([], [ImageRule(mark.pdq[0].tobytes(), mark.quality)])
    pull_site()
    path = tar_of(tmp_path / "00000.tar", sample("0", encoded(Image.new("RGB", (299, 299), "white"))))
    assert filter_shards([path], tmp_path / "out", FilterOptions(pulled)).total.n_kept == 1


def test_empty_tar_stays_one(run: Filter, tmp_path: Path) -> None:
    path = tar_of(tmp_path / "00000.tar", [])
    assert run(path).total.n_in == 0
    assert (tmp_path / "out" / "00000.tar").read_bytes() == path.read_bytes()


# --- bad input ----------------------------------------------------------------------------------------------------


def bad_archives(good: bytes) -> dict[str, bytes]:
    in_second_header = good.index(b"0.txt") + 150
    return {
        "empty": b"",
        "not a tar": b"PAR1" * 1000,
        "compressed": __import__("gzip").compress(good),
        "cut in a picture": good[:2000],
        "cut in a header": good[:in_second_header],
        "cut before its end mark": good[: len(good.rstrip(b"\0")) // 512 * 512 + 512],
        "damaged header": good[:in_second_header] + b"\xff" + good[in_second_header + 1 :],
        "rubbish after its end": good + b"x" * 512,
    }


@pytest.mark.parametrize("kind", bad_archives(b"0.txt".ljust(3000)))
def test_damaged_tar_gives_no_output_and_says_which(run: Filter, tmp_path: Path, kind: str) -> None:
    path = tar_of(tmp_path / "00000.tar", [*sample("0", encoded(drawing(10))), *sample("1", BY_BYTES)])
    path.write_bytes(bad_archives(path.read_bytes())[kind])
    result = run(path)
    assert isinstance(result.failures["00000.tar"], InputError)
    assert "00000.tar" in str(result.failures["00000.tar"])
    assert "get it again" in str(result.failures["00000.tar"])
    assert result.report is None
    assert outputs(tmp_path / "out") == {}


def test_a_named_field_of_addresses_is_looked_at_besides_url(pulled: Path, tmp_path: Path) -> None:
    hers = "https://art.example/1.jpg"
    parts = [
        *sample("0", encoded(drawing(10)), image_url=hers),
        *sample("1", encoded(drawing(11)), url=hers, image_url="https://else.example/1.jpg"),
        *sample("2", encoded(drawing(12)), Image_URL=hers),
    ]
    path = tar_of(tmp_path / "00000.tar", parts)
    filter_shards([path], tmp_path / "plain", FilterOptions(pulled))
    assert keys_of(tmp_path / "plain" / "00000.tar") == ["0", "2"]
    filter_shards([path], tmp_path / "named", FilterOptions(pulled, url_column="image_url"))
    assert keys_of(tmp_path / "named" / "00000.tar") == ["2"]
    keep = BatchFilter(pulled, url_column="image_url").keep_webdataset
    assert not keep({"json": {"url": None, "image_url": hers}})
