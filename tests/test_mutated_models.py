"""Models with bytes or values changed at random: loaded, or refused with the reason, in time and within memory."""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from test_hostile_models import tiny_bert

from langbert import Embedder
from langbert.errors import CheckpointError, LangbertError
from langbert.generation.template import ChatTemplate

HERE = str(Path(__file__).parent)
WORDS = ["hello", "hello world", "the 中文 a-b", "a" * 300]
VALUES: list[Any] = [
    None,
    True,
    -1,
    0,
    1,
    2**31,
    10**30,
    0.5,
    float("nan"),
    "",
    "a" * 500,
    "../x",
    [],
    [[]],
    {},
    {"a": 1},
]
TEMPLATE = """{% set ns = namespace(n=0) %}{% for m in messages %}{{ '<|' ~ m['role'] ~ '|>' + m.content|trim }}
{% set ns.n = ns.n + 1 %}{% endfor %}{% if add_generation_prompt %}<|assistant|>{{ ns.n * 2 }}{% endif %}"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bert(tmp_path_factory.mktemp("whole"))


def bytes_changed(content: bytes, rng: random.Random) -> bytes:
    """Flipped, cut, doubled or written over, the beginning most of all, where the headers are."""
    changed = bytearray(content)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(min(len(changed), rng.choice([16, 2000, len(changed)])))
        kind = rng.randrange(4)
        if kind == 0:
            changed[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del changed[at : at + rng.choice([1, 8, 1000])]
        elif kind == 2:
            changed[at:at] = changed[at : at + rng.choice([1, 8, 100])]
        else:
            changed[at : at + 8] = rng.choice([b"\xff" * 8, b"\0" * 8, b"9" * 8, rng.randbytes(8)])
        if not changed:
            break
    return bytes(changed)


def values_changed(content: bytes, rng: random.Random) -> bytes:
    """One value of the JSON made another, or taken away."""
    root = json.loads(content)
    at = root
    while True:
        keys = list(at) if isinstance(at, dict) else list(range(len(at)))
        key = rng.choice(keys)
        if isinstance(at[key], dict | list) and at[key] and rng.random() < 0.8:
            at = at[key]
            continue
        if rng.random() < 0.2:
            del at[key]
        else:
            at[key] = rng.choice(VALUES)
        return json.dumps(root).encode()


FILES: dict[str, tuple[Callable[[bytes, random.Random], bytes], ...]] = {
    "model.safetensors": (bytes_changed,),
    "config.json": (values_changed, bytes_changed),
    "tokenizer.json": (values_changed, values_changed, bytes_changed),
    "modules.json": (values_changed, bytes_changed),
    "1/config.json": (values_changed, bytes_changed),
}


def refused(error: LangbertError, folder: Path) -> None:
    """It says which file, and why in words."""
    said = str(error)
    assert str(folder) in said or "the network knows" in said, said
    assert not re.search(r"[:(] *[A-Z]\w*(?:Error|Exception)\W*$", said), said
    assert len(said) < 3000


def try_all(whole: Path, work: Path, count: int, seed: int) -> tuple[int, int]:
    """How many of ``count`` mutations were loaded, and how many refused."""
    loaded, rng = 0, random.Random(seed)
    names = list(FILES)
    shutil.copytree(whole, work)
    for i in range(count):
        name = names[i % len(names)]
        sound = (whole / name).read_bytes()
        (work / name).write_bytes(rng.choice(FILES[name])(sound, rng))
        try:
            vectors = Embedder(work, precision="float32", threads=1).embed(WORDS)
        except LangbertError as error:
            refused(error, work)
        else:
            assert vectors.shape == (len(WORDS), 8)
            loaded += 1
        (work / name).write_bytes(sound)
    return loaded, count - loaded


@pytest.mark.parametrize("count", [100, pytest.param(2000, marks=[pytest.mark.slow, pytest.mark.timeout(600)])])
def test_a_changed_model_is_loaded_or_refused_with_the_reason(whole: Path, tmp_path: Path, count: int) -> None:
    loaded, refusals = try_all(whole, tmp_path / "m", count, seed=count)
    assert loaded > count // 20
    assert refusals > count // 4


@pytest.mark.slow
def test_changed_models_stay_within_memory(whole: Path, tmp_path: Path) -> None:
    """Beyond what the libraries take as they are loaded there is half a gigabyte, which no mutation asks for."""
    code = f"""
import resource, sys
sys.path.insert(0, {HERE!r})
from pathlib import Path
from test_mutated_models import try_all
whole, work = Path(sys.argv[1]), Path(sys.argv[2])
try_all(whole, work / "first", 5, seed=1)
pages = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (pages + 2**29, pages + 2**29))
print(*try_all(whole, work / "second", 60, seed=2))
"""
    if not Path("/proc/self/statm").exists():
        pytest.skip("no /proc here")
    done = subprocess.run(
        [sys.executable, "-c", code, str(whole), str(tmp_path)], capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert sum(map(int, done.stdout.split())) == 60


@pytest.mark.parametrize("count", [60, pytest.param(2000, marks=pytest.mark.slow)])
def test_a_changed_template_is_rendered_or_refused(count: int) -> None:
    rng, rendered = random.Random(count), 0
    for _ in range(count):
        source = bytes_changed(TEMPLATE.encode(), rng).decode("utf-8", "replace")
        try:
            ChatTemplate(source).render([{"role": "user", "content": "hello"}], ask=True, tokens={})
        except CheckpointError:
            continue
        rendered += 1
    assert 0 < rendered < count
