"""The examples of docs/integrations.md, run as they stand with the programs they are about."""

import functools
import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from heldout.pull import pull
from tests.heldout.conftest import serving
from tests.heldout.published import BASE_URL, Site, UrlRule
from tests.heldout.test_filtering_tar import drawing, encoded, keys_of, sample, tar_of

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "integrations.md"
EXAMPLES_PYTHON = ROOT / ".venv-examples" / "bin" / "python"
"""Made by `make examples`."""
HERS = "https://art.example/1.jpg"
CLEAN = [f"https://else.example/{number}.jpg" for number in range(4)]


def python_with(package: str) -> str:
    """A Python that has the package; skips where there is none."""
    if importlib.util.find_spec(package) is not None:
        return sys.executable
    if EXAMPLES_PYTHON.exists():
        ask = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({package!r}) is None)"
        if subprocess.run([EXAMPLES_PYTHON, "-c", ask], check=False).returncode == 0:  # noqa: S603
            return str(EXAMPLES_PYTHON)
    pytest.skip(f"{package} is not installed: make examples")


def section_of(heading: str) -> str:
    return DOCUMENT.read_text(encoding="utf-8").split(f"## {heading}\n")[1].split("\n## ")[0]


def example(heading: str, folder: Path, python: str = sys.executable) -> list[str]:
    """Run the example under a heading of the document; the lines it prints."""
    (code,) = re.findall(r"```python\n(.*?)```", section_of(heading), re.DOTALL)
    return run_code(code, folder, python)


def run_code(code: str, folder: Path, python: str = sys.executable) -> list[str]:
    (folder / "example.py").write_text(code)
    done = subprocess.run(  # noqa: S603 - our own document
        [python, "example.py"], cwd=folder, env=environment(folder, python), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def environment(folder: Path, python: str) -> dict[str, str]:
    """Nobody is asked about updates; commands are those beside this Python."""
    return os.environ | {
        "PATH": f"{Path(python).parent}{os.pathsep}{os.environ['PATH']}",
        "PYSPARK_PYTHON": python,
        "SPARK_LOCAL_IP": "127.0.0.1",
        "HF_HOME": str(folder / "hf"),
        "HF_HUB_OFFLINE": "1",
        "NO_ALBUMENTATIONS_UPDATE": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
    }


def pulled_list(folder: Path, *urls: str) -> None:
    site = Site().publish([UrlRule(url) for url in urls], [])
    pull(BASE_URL, folder / "LIST", root=site.write_root(folder), transport=site.transport())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a list, and shards in Parquet."""
    path = tmp_path_factory.mktemp("integrations")
    pulled_list(path, HERS)
    (path / "shards").mkdir()
    for number in range(2):
        urls = [CLEAN[2 * number], HERS, CLEAN[2 * number + 1]]
        table = pa.table({"URL": urls, "TEXT": ["a caption"] * 3})
        pq.write_table(table, path / "shards" / f"{number:05d}.parquet")
    return path


def test_hugging_face_datasets(folder: Path) -> None:
    assert example("Hugging Face datasets", folder) == CLEAN


def test_hugging_face_datasets_in_several_processes(folder: Path) -> None:
    code = f"""
from datasets import Dataset
from heldout.filtering import Filter

if __name__ == "__main__":
    urls = {[CLEAN[0], HERS] * 5}
    print(Dataset.from_dict({{"url": urls}}).filter(Filter("LIST").keep, batched=True, num_proc=2)["url"][:])
"""
    assert run_code(code, folder) == [str([CLEAN[0]] * 5)]


def test_webdataset(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "LIST").symlink_to(folder / "LIST")
    (tmp_path / "shards").mkdir()
    picture = encoded(drawing(1))
    tar_of(tmp_path / "shards" / "00000.tar", [*sample("0", picture), *sample("1", picture, url=HERS)])
    tar_of(tmp_path / "shards" / "00001.tar", [*sample("2", picture, url=HERS), *sample("3", picture)])
    assert example("Webdataset", tmp_path) == ["0", "3"]


def test_pyspark(folder: Path) -> None:
    if shutil.which("java") is None:
        pytest.skip("PySpark needs a Java runtime: Debian's default-jre-headless")
    example("PySpark", folder, python_with("pyspark"))
    assert sorted(pq.read_table(folder / "kept")["URL"].to_pylist()) == CLEAN


def test_ray(folder: Path) -> None:
    assert sorted(line for line in example("Ray", folder) if line.startswith("https://")) == CLEAN


def test_several_processes(folder: Path) -> None:
    assert example("Several processes", folder) == CLEAN


def test_masks(folder: Path) -> None:
    assert example("Masks", folder) == [str([(url,) for url in CLEAN[:2]]), str(CLEAN[:2])]


def test_datadiligence(folder: Path) -> None:
    assert example("datadiligence", folder)[-1] == str([CLEAN[0]])


# --- img2dataset, over real HTTP ----------------------------------------------------------------------------------


class Recording(SimpleHTTPRequestHandler):
    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        super().do_GET()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is http.server's
        pass


@pytest.fixture
def web(tmp_path: Path) -> Iterator[tuple[str, list[str]]]:
    """A server of three pictures; its address, and what it was asked for."""
    (tmp_path / "web").mkdir()
    for number in range(3):
        (tmp_path / "web" / f"{number}.png").write_bytes(encoded(drawing(number)))
    asked: list[str] = []
    handler = type("Handler", (Recording,), {"asked": asked})
    with serving(functools.partial(handler, directory=str(tmp_path / "web"))) as address:
        yield address, asked


def test_img2dataset(web: tuple[str, list[str]], tmp_path: Path) -> None:
    python = python_with("img2dataset")
    address, asked = web
    pulled_list(tmp_path, f"{address}/1.png")
    (tmp_path / "shards").mkdir()
    urls = [f"{address}/{number}.png" for number in range(3)]
    pq.write_table(pa.table({"URL": urls}), tmp_path / "shards" / "00000.parquet")
    (tmp_path / "LIST").rename(tmp_path / "nothing")
    with pytest.raises(AssertionError, match="NotFoundError"):
        example("img2dataset", tmp_path, python)
    assert asked == []
    (tmp_path / "nothing").rename(tmp_path / "LIST")
    example("img2dataset", tmp_path, python)
    assert sorted(asked) == ["/0.png", "/2.png"]
    assert len(keys_of(tmp_path / "images" / "00000.tar")) == 2
    report = json.loads((tmp_path / "images-url-list" / "report.json").read_bytes())
    assert report["predicate"]["total"]["n_dropped"] == 1
    # Another version of the list would number img2dataset's shards otherwise.
    shutil.rmtree(tmp_path / "LIST")
    pulled_list(tmp_path, f"{address}/0.png")
    with pytest.raises(AssertionError, match="begun with another version"):
        example("img2dataset", tmp_path, python)
    assert sorted(asked) == ["/0.png", "/2.png"]


def test_img2dataset_on_a_command_line(web: tuple[str, list[str]], tmp_path: Path) -> None:
    python = python_with("img2dataset")
    address, asked = web
    pulled_list(tmp_path, f"{address}/1.png")
    (tmp_path / "shards").mkdir()
    urls = [f"{address}/{number}.png" for number in range(3)]
    pq.write_table(pa.table({"URL": urls}), tmp_path / "shards" / "00000.parquet")
    lines = re.findall(r"^    (.+)$", section_of("img2dataset").split("```")[0], re.MULTILINE)
    assert len(lines) == 3
    for line in lines:
        subprocess.run(shlex.split(line), cwd=tmp_path, env=environment(tmp_path, python), check=True)  # noqa: S603
    assert sorted(asked) == ["/0.png", "/2.png"]
    assert len(keys_of(tmp_path / "training" / "00000.tar")) == 2
    assert pq.read_table(tmp_path / "training" / "00000.parquet").num_rows == 2
