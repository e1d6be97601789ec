"""One decoder in a process of its own: it is told a prompt's tokens, line by line, and says how long it took.

    python decoders.py langbert MODEL.gguf THREADS

This file is also run by the Python of another environment, where llama.cpp may be installed and langbert not.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Step = Callable[[list[int]], int]
"""Reads tokens behind what was read before; the likeliest next one."""

Start = Callable[[list[int], int], Step]
"""A new sequence: its prompt, so that room can be made, and how many tokens will be written."""


def langbert(model: str, threads: int, prefix_cache_mb: float = 0, guesses: int = 3) -> Start:
    from langbert import Generator
    from langbert.models.gpt.decoder import PreparedDecoder

    decoder = Generator(model, threads=threads, offline=True, prefix_cache_mb=prefix_cache_mb).decoder
    if isinstance(decoder, PreparedDecoder):
        decoder.guesses = guesses

    def start(prompt: list[int], n: int) -> Step:
        session = decoder.start(len(prompt) + n)
        return lambda ids: int(session.read(ids).float().numpy().argmax())

    return start


def langbert_again(model: str, threads: int) -> Start:
    return langbert(model, threads, 64)


def langbert_without_guesses(model: str, threads: int) -> Start:
    return langbert(model, threads, guesses=0)


def transformers(model: str, threads: int) -> Start:
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(threads)
    path = Path(model)
    network: Any = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.bfloat16).eval()

    def start(prompt: list[int], n: int) -> Step:
        past: list[Any] = [None]

        @torch.inference_mode()
        def step(ids: list[int]) -> int:
            output = network(torch.tensor([ids]), past_key_values=past[0], use_cache=True, logits_to_keep=1)
            past[0] = output.past_key_values
            return int(output.logits[0, -1].argmax())

        return step

    return start


def llama_cpp(model: str, threads: int) -> Start:
    from llama_cpp import Llama

    llama = Llama(model, n_ctx=2048, n_threads=threads, n_threads_batch=threads, verbose=False)

    def start(prompt: list[int], n: int) -> Step:
        llama.reset()

        def step(ids: list[int]) -> int:
            llama.eval(ids)
            return int(llama.sample(temp=0.0))

        return step

    return start


DECODERS: dict[str, Callable[[str, int], Start]] = {
    "langbert": langbert,
    "langbert asked again": langbert_again,
    "langbert, not reading ahead": langbert_without_guesses,
    "llama.cpp": llama_cpp,
    "transformers bf16": transformers,
}


def serve(name: str, model: str, threads: int) -> None:
    """Answer each line ``{"ids": …, "n": …}`` with a line of seconds, tokens, and the peak of memory so far."""
    began = time.perf_counter()
    start = DECODERS[name](model, threads)
    print(json.dumps({"load_seconds": time.perf_counter() - began}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        step = start(asked["ids"], asked["n"])
        begin = time.perf_counter()
        tokens = [step(asked["ids"])]
        seconds = [time.perf_counter() - begin]
        while len(tokens) < asked["n"]:
            begin = time.perf_counter()
            tokens.append(step(tokens[-1:]))
            seconds.append(time.perf_counter() - begin)
        print(json.dumps({"tokens": tokens, "seconds": seconds, "peak_mb": peak_memory()}), flush=True)


def peak_memory() -> float:
    """Megabytes resident at most so far, as Linux tells it; getrusage would count what the parent had."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1000 for line in lines if line.startswith("VmHWM:"))


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2], int(sys.argv[3]))
