"""Starting the processes of ``child.py``, killing some of them."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).parent.parent
_ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join(filter(None, (str(_FOLDER), os.environ.get("PYTHONPATH")))),
    "PYTHONWARNINGS": "ignore",
    "ANONYMIZED_TELEMETRY": "False",
}


def call(action: str, module: str = "stores.child", **arguments: Any) -> dict[str, Any]:
    """What the process found.

    Raises:
        SystemExit: it failed.
    """
    with _started(action, arguments, module) as child:
        out, errors = child.communicate()
    if child.returncode:
        raise SystemExit(f"{action} {arguments}\n{errors[-4000:]}")
    found: dict[str, Any] = json.loads(out.splitlines()[-1])
    return found


@contextmanager
def scratch_copy(folder: Path) -> Iterator[Path]:
    """A copy that may be spoilt."""
    copy = folder.with_name(folder.name + "-copy")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folder, copy)
    try:
        yield copy
    finally:
        shutil.rmtree(copy, ignore_errors=True)


def kill_writer(
    name: str, folder: Path, chance: random.Random, first_batch: int, earlier: Sequence[int]
) -> tuple[list[int], dict[str, Any]]:
    """Kills a writing process at some moment within two seconds from its first acknowledgement.

    Args:
        earlier: batches that were acknowledged before and must be there as well.

    Returns:
        The batches it had acknowledged, and what a new process finds.
    """
    arguments = {"name": name, "folder": str(folder), "batch": first_batch}
    with _started("write", arguments) as child:
        assert child.stdout is not None
        acknowledged = [json.loads(child.stdout.readline())["batch"]]
        time.sleep(chance.uniform(0, 2))
        child.kill()
        acknowledged += [json.loads(line)["batch"] for line in child.stdout.read().splitlines() if line.endswith("}")]
        child.wait()
    return acknowledged, call("check", name=name, folder=str(folder), acknowledged=[*earlier, *acknowledged])


def two_processes(name: str, folder: Path) -> dict[str, Any]:
    """One process has the store open; a second one adds to it; then the first one does."""
    arguments = {"name": name, "folder": str(folder)}
    with _started("stay", {**arguments, "me": 0, "wait": True}) as first:
        assert first.stdout is not None
        assert first.stdin is not None
        first.stdout.readline()
        try:
            second = call("stay", **arguments, me=1, wait=False)
        except SystemExit as error:
            second = {"refused": str(error).strip().splitlines()[-1], "sees": False}
        with contextlib.suppress(BrokenPipeError):
            first.stdin.write("\n")
            first.stdin.flush()
        out, errors = first.communicate(timeout=300)
    if first.returncode:
        return {"second": second, "first": {"refused": errors.strip().splitlines()[-1]}}
    found = call("look", **arguments, me=0)
    return {"second": second, "first": json.loads(out.splitlines()[-1]), "found": found}


@contextmanager
def _started(action: str, arguments: dict[str, Any], module: str = "stores.child") -> Iterator[subprocess.Popen[str]]:
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-m", module, action], **pipes, text=True, env=_ENVIRONMENT) as child:
        assert child.stdin is not None
        child.stdin.write(json.dumps(arguments) + "\n")
        child.stdin.flush()
        try:
            yield child
        finally:
            if child.poll() is None:
                child.kill()
