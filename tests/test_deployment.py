"""Dockerfile and compose.yaml, which are not run here: what they name is there, and the command takes what they say."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent


def instructions() -> list[tuple[str, str]]:
    """Of the Dockerfile, in order, with its continued lines joined."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    lines = re.sub(r"\\\n", " ", text).strip().splitlines()
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in lines if line.strip()]


def compose() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))


def test_what_the_image_copies_is_there_and_what_the_wheel_needs_is_copied() -> None:
    copied = {name for what, rest in instructions() if what == "COPY" for name in rest.split()[:-1]}
    assert not [name for name in copied if not (ROOT / name).exists()]
    assert {"pyproject.toml", "constraints.txt", "README.md", "LICENSE", "langbert", "integrations"} <= copied


def test_the_image_runs_as_nobody_in_particular_and_checks_its_health() -> None:
    found = instructions()
    kinds = [what for what, _ in found]
    assert kinds[0] == "FROM"
    assert found[0][1] != "python:latest"
    last_user = max(i for i, what in enumerate(kinds) if what == "USER")
    assert found[last_user][1] not in ("root", "0")
    assert kinds.index("ENTRYPOINT") > last_user
    health = next(rest for what, rest in found if what == "HEALTHCHECK")
    assert json.loads(health[health.index("[") :])[0] == "python"
    assert "/ready" in health


def test_the_image_starts_a_command_that_exists(capsys: pytest.CaptureFixture[str]) -> None:
    from langbert.cli import run

    found = dict(instructions())
    command = json.loads(found["ENTRYPOINT"]) + json.loads(found["CMD"])
    assert command[0] == "langbert"
    assert run([command[1], "--help"]) == 0
    offered = capsys.readouterr().out
    assert not [word for word in command[2:] if word.startswith("--") and word not in offered]


def test_compose_starts_the_image_for_this_machine_alone() -> None:
    told = compose()
    service = told["services"]["langbert"]
    assert (ROOT / service["build"] / "Dockerfile").exists()
    port = dict(instructions())["EXPOSE"]
    assert service["ports"] == [f"127.0.0.1:{port}:{port}"]
    volumes = dict(volume.split(":")[:2] for volume in service["volumes"])
    assert volumes["data"] == dict(instructions())["VOLUME"]
    assert volumes["./keys.json"] == json.loads(dict(instructions())["CMD"])[1]
    assert set(told["volumes"]) == {"data"}
