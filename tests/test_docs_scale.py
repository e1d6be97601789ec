"""Every command, block of Python and of SQL in docs/scale.md runs, in order, against a real PostgreSQL."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from langbert.cli import run

psycopg = pytest.importorskip("psycopg")

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "scale.md"
BLOCK = re.compile(r"^```(bash|python no-run|sql)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PLACE = "postgresql://me@db.example.org/documents"


@pytest.mark.models
def test_what_the_page_says_can_be_typed(
    postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    said = []
    blocks = [(kind, text) for kind, text in BLOCK.findall(PAGE.read_text(encoding="utf-8")) if "--ray" not in text]
    for kind, text in blocks:
        code = text.replace(f"{PLACE}?", f"{postgres}&").replace(PLACE, postgres)
        capsys.readouterr()
        if kind == "bash":
            for line in code.splitlines():
                program, *arguments = shlex.split(line)
                assert program == "langbert"
                assert run([*arguments, "--offline"]) == 0, line
        elif kind == "sql":
            with psycopg.connect(postgres) as admin:
                admin.execute(code)
        else:
            exec(code, {"__name__": "__docs__"})
        said.append(capsys.readouterr().out)
    assert [kind for kind, _ in blocks] == ["bash", "python no-run", "bash", "python no-run", "sql", "bash"]
    assert "Complex is better" in said[0]
    assert said[1].split() == ["4", "pep-0020.rst"]
    assert "Tim Peters" in said[2]
    assert said[3].split()[1] == "pep-0020.rst"
    assert said[5].count("both read and the same") == 2


@pytest.mark.slow
@pytest.mark.models
@pytest.mark.timeout(900)
def test_what_it_says_of_a_cluster_too(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    environment = {**os.environ, "RAY_worker_niceness": "0", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    (block,) = [text for kind, text in BLOCK.findall(PAGE.read_text(encoding="utf-8")) if "--ray" in text]
    for line in block.splitlines():
        command = [sys.executable, "-m", *shlex.split(line), "--offline"]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert "pep-0257.rst" in done.stdout
