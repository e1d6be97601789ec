"""What has to be measured from outside: a process's memory, and how long it takes to its first vector."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).parent.parent
_PATH = os.pathsep.join(filter(None, (str(_FOLDER), os.environ.get("PYTHONPATH"))))
_ENVIRONMENT = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": _PATH}

_EMBED_MANY = """
import sys
from langbert.bench import sample_texts
from side_by_side.contenders import contenders
name, model, n, threads = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
loaded = contenders(model)[name].load(threads)
texts = sample_texts(n, sentences=0.5)
print("begin", flush=True)
loaded.embed(texts)
print("end", flush=True)
"""


def measure_memory(contender: str, model: str, n: int, threads: int) -> tuple[float, dict[str, Any]]:
    """Seconds to embed ``n`` short chunks, and megabytes resident: before, at most, and at ten moments on the way."""
    import psutil

    arguments = [sys.executable, "-c", _EMBED_MANY, contender, model, str(n), str(threads)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env=_ENVIRONMENT) as child:
        assert child.stdout is not None
        if child.stdout.readline().strip() != "begin":
            raise SystemExit(f"{contender}: the process that embeds {n} texts did not begin")
        process = psutil.Process(child.pid)
        start = time.perf_counter()
        sampled = []
        while child.poll() is None:
            try:
                sampled.append(process.memory_info().rss / 1e6)
            except psutil.NoSuchProcess:
                break
            time.sleep(0.05)
        seconds = time.perf_counter() - start
        ended = child.stdout.readline().strip() == "end"
    if not ended or len(sampled) < 2:
        raise SystemExit(f"{contender}: the process that embeds {n} texts ended before its time")
    alive = [megabytes for megabytes in sampled if megabytes > 0]
    curve = [round(alive[i * (len(alive) - 1) // 10]) for i in range(11)]
    return seconds, {"texts": n, "begin_mb": round(alive[0]), "peak_mb": round(max(alive)), "curve_mb": curve}


def measure_cold_start(code: str) -> float:
    """Seconds from starting Python to the end of a program that embeds one text."""
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], env=_ENVIRONMENT, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(f"{code}\n{done.stderr}")
    return seconds
