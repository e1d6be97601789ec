"""The built wheel: what is in it, and that it works where the sources are not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_the_packages_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if "dist-info" not in name} == {
        "langbert",
        "langbert_scale",
        "langbert_server",
        "langchain_langbert",
        "llama_index_langbert",
    }
    assert {"langbert/py.typed", "langchain_langbert/py.typed"} <= set(names)
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert {"langbert_server/page/index.html", "langbert_server/page/app.js", "langbert_server/page/style.css"} <= set(
        names
    )
    sources = {str(file.relative_to(ROOT)) for file in (ROOT / "langbert").rglob("*.py")}
    assert sources <= set(names)


def make_environment(folder: Path, *, with_pip: bool) -> Path:
    venv.create(folder, with_pip=with_pip)
    return folder / ("Scripts" if os.name == "nt" else "bin")


def run(*command: str | Path, cwd: Path) -> str:
    clean = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=clean, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def borrowed(tmp_path: Path, wheel: Path) -> Path:
    """A fresh environment with the wheel installed, which finds the dependencies where this one has them."""
    binaries = make_environment(tmp_path / "env", with_pip=False)
    pip = (sys.executable, "-m", "pip", "--python", binaries / "python")
    run(*pip, "install", "--quiet", "--no-deps", "--no-index", wheel, cwd=tmp_path)
    purelib = run(binaries / "python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path)
    dependencies = sysconfig.get_path("purelib")
    # a plain path line does not run the .pth files of that folder, so the editable install stays out of it
    (Path(purelib.strip()) / "dependencies.pth").write_text(dependencies + "\n", encoding="utf-8")
    return binaries


# one process: each would load torch and the model anew
_USED = """
import langbert, langbert.cli
assert langbert.cli.run(["index", "docs", "--store", "store"]) == 0
print(langbert.__file__)
assert langbert.cli.run(["search", "who makes honey?", "--store", "store", "--json"]) == 0
"""


@pytest.mark.models
def test_the_wheel_indexes_and_searches_away_from_the_sources(borrowed: Path, tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "bees.txt").write_text("Bees make honey from nectar.\n", encoding="utf-8")
    (tmp_path / "docs" / "normans.txt").write_text("The Normans lived in Normandy.\n", encoding="utf-8")
    assert "e5-small" in run(borrowed / "langbert", "models", "list", cwd=tmp_path)
    _, here, found = run(borrowed / "python", "-c", _USED, cwd=tmp_path).partition(str(tmp_path))
    assert here
    assert json.loads(found.partition("\n")[2])["hits"][0]["source"] == "bees.txt"


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_the_wheel_installs_into_an_empty_environment(wheel: Path, tmp_path: Path) -> None:
    binaries = make_environment(tmp_path / "env", with_pip=True)
    constraints = ROOT / "constraints.txt"
    pip = [binaries / "python", "-m", "pip", "install", "--quiet", "--constraint", constraints]
    run(*pip, "torch==2.13.0", cwd=tmp_path)
    run(*pip, wheel, cwd=tmp_path)
    (tmp_path / "bees.txt").write_text("Bees make honey from nectar.\n", encoding="utf-8")
    run(binaries / "langbert", "index", "bees.txt", "--store", "store", "--json", cwd=tmp_path)
    answer = json.loads(
        run(binaries / "langbert", "ask", "What do bees make?", "--store", "store", "--json", cwd=tmp_path)
    )
    assert not answer["refused"]
    assert "honey" in answer["citations"][0]["quote"]
