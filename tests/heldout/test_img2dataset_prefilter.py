"""img2dataset's input minus what a list excludes, whole or not at all."""

from importlib.util import find_spec
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from heldout.errors import InputError
from heldout.integrations.img2dataset import download, prefilter
from tests.heldout.conftest import URLS
from tests.heldout.test_filtering import outputs

CLEAN = "https://else.example/1.jpg"


@pytest.fixture
def url_list(tmp_path: Path) -> Path:
    folder = tmp_path / "urls"
    folder.mkdir()
    for number in range(2):
        pq.write_table(pa.table({"URL": [CLEAN, URLS[0].url], "TEXT": ["a", "b"]}), folder / f"{number}.parquet")
    return folder


def test_files_keep_names_and_columns(pulled: Path, url_list: Path, tmp_path: Path) -> None:
    result = prefilter(url_list, tmp_path / "kept", pulled, url_col="URL")
    assert result.total.n_kept == 2
    for number in range(2):
        table = pq.read_table(tmp_path / "kept" / f"{number}.parquet")
        assert table.to_pylist() == [{"URL": CLEAN, "TEXT": "a"}]
    assert sorted(outputs(tmp_path / "kept")) == ["0.parquet", "1.parquet", "report.json"]


def test_several_inputs_and_opt_in_only(pulled: Path, url_list: Path, tmp_path: Path) -> None:
    files = sorted(url_list.iterdir())
    assert prefilter(files, tmp_path / "kept", pulled, preference="train-ai=y").total.n_kept == 0


def test_a_file_that_cannot_be_read_is_an_error(pulled: Path, url_list: Path, tmp_path: Path) -> None:
    (url_list / "1.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"1\.parquet"):
        prefilter(url_list, tmp_path / "kept", pulled)


def test_files_without_the_column_are_an_error(pulled: Path, url_list: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no column 'link'"):
        prefilter(url_list, tmp_path / "kept", pulled, url_col="link")
    assert outputs(tmp_path / "kept") == {}


def test_download_refuses_what_cannot_be_filtered(pulled: Path, url_list: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'txt' cannot be filtered"):
        download(url_list, pulled, output_folder=tmp_path / "images", input_format="txt")


@pytest.mark.skipif(find_spec("img2dataset") is not None, reason="img2dataset is installed")
def test_download_says_when_img2dataset_is_missing(pulled: Path, url_list: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="pip install img2dataset"):
        download(url_list, pulled, output_folder=tmp_path / "images", url_col="URL")
    assert not (tmp_path / "images-url-list").exists()
