"""The network prepared for answering against the network as it is, and what prompts share."""

from __future__ import annotations

import copy
import threading
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from langbert.models.gpt.decoder import PrefixCache, PreparedDecoder, parts, whole_parts
from langbert.models.gpt.inference import PreparedGPT, Stepper, can_prepare
from langbert.models.gpt.network import GPT, GPTConfig
from langbert.models.layers.kv_cache import KVCache
from langbert.models.layers.low_bit_linear import low_bits_work
from langbert.models.layers.rotary import RotaryConfig

LLAMA: dict[str, Any] = {
    "vocab_size": 320,
    "context_length": 600,
    "n_layers": 2,
    "n_heads": 6,
    "n_kv_heads": 2,
    "hidden_size": 96,
    "intermediate_size": 128,
    "rotary": RotaryConfig(),
    "norm": "rmsnorm",
    "feed_forward": "swiglu",
    "bias": "none",
}
KINDS: dict[str, dict[str, Any]] = {
    "llama": LLAMA,
    "qwen2, with a head of its own": {**LLAMA, "bias": "qkv", "tied_head": False},
    "gpt2": {**LLAMA, "n_kv_heads": 6, "rotary": None, "norm": "layernorm", "feed_forward": "gelu", "bias": "all"},
}
needs_bfloat16 = pytest.mark.skipif(
    not can_prepare(GPT(GPTConfig(**LLAMA)).to(torch.bfloat16)), reason="this processor does not multiply bfloat16"
)
needs_low_bits = pytest.mark.skipif(not low_bits_work(), reason="this torch has no products in few bits here")
DTYPES = [pytest.param(torch.bfloat16, marks=needs_bfloat16), pytest.param(torch.float32, marks=needs_low_bits)]


def network(kind: str, dtype: torch.dtype = torch.bfloat16) -> GPT:
    torch.manual_seed(11)
    model = GPT(GPTConfig(**KINDS[kind])).eval().requires_grad_(False)
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1 or name.endswith("bias"):
            parameter.copy_(torch.randn_like(parameter) * (1.0 if "embedding" in name else 0.1))
        else:
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model.to(dtype)


TOKENS = torch.randint(0, 320, (300,), generator=torch.Generator().manual_seed(12))


def assert_close(found: torch.Tensor, expected: torch.Tensor) -> None:
    """As close as two sums in bfloat16 come: a few per cent of the spread of the logits."""
    found, expected = found.float(), expected.float()
    assert found.shape == expected.shape
    assert float((found - expected).std()) < 0.05 * float(expected.std())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_prompts_and_steps_give_the_logits_of_the_network(kind: str, dtype: torch.dtype) -> None:
    model = network(kind, dtype)
    with torch.inference_mode():
        expected = copy.deepcopy(model).float()(TOKENS[None, :140])[0]
    prepared = PreparedGPT(model)
    cache = prepared.new_cache(130)
    assert_close(prepared.logits(prepared.read(TOKENS[:100], cache))[0], expected[99])
    assert_close(prepared.logits(prepared.read(TOKENS[100:130], cache))[0], expected[129])
    stepper = Stepper(prepared, cache, 140)
    one_by_one = torch.cat([stepper.read([token]) for token in TOKENS[130:140].tolist()])
    assert_close(prepared.logits(one_by_one), expected[130:140])
    stepper.truncate(130)
    assert_close(prepared.logits(stepper.read(TOKENS[130:140].tolist())), expected[130:140])
    with pytest.raises(ValueError, match="141 are needed"):
        stepper.read([1])
    with pytest.raises(ValueError, match="cannot keep"):
        stepper.truncate(141)


@needs_bfloat16
def test_steps_that_read_ahead_give_the_logits_of_the_tokens_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """Quotes of the prompt, broken off and interrupted."""
    model = network("llama")
    prompt = TOKENS[:60].tolist()
    told = [*prompt[10:20], 5, 6, *prompt[30:34], *prompt[40:50], 5, 6, *prompt[30:32], *prompt[11:14]]
    with torch.inference_mode():
        expected = copy.deepcopy(model).float()(torch.tensor([[*prompt, *told]]))[0]
    read: list[int] = []
    step = Stepper.read
    monkeypatch.setattr(Stepper, "read", lambda self, ids: read.append(len(ids)) or step(self, ids))
    session = PreparedDecoder(PreparedGPT(model), PrefixCache(0)).start(len(prompt) + len(told))
    found = [session.read(prompt), *(session.read([token]) for token in told)]
    for logits, wanted in zip(found, expected[len(prompt) - 1 :], strict=True):
        assert_close(logits, wanted)
    assert len(read) < 0.7 * len(told)  # a guess that comes true costs no step
    assert max(read) > 1
    with pytest.raises(ValueError, match="are needed"):
        session.read([1])


@needs_bfloat16
def test_preparing_takes_the_blocks_out_of_the_network() -> None:
    model = network("llama")
    n_bytes = sum(parameter.nbytes for parameter in model.parameters())
    prepared = PreparedGPT(model)
    assert sum(parameter.nbytes for parameter in model.parameters()) < n_bytes / 2
    assert 0 < prepared.step_bytes < n_bytes


@pytest.mark.parametrize(
    ("changes", "dtype"), [({"norm_first": False, **KINDS["gpt2"]}, torch.float32), (LLAMA, torch.float16)]
)
def test_what_cannot_be_prepared_is_refused(changes: dict[str, Any], dtype: torch.dtype) -> None:
    model = GPT(GPTConfig(**changes)).to(dtype)  # GPT-1, or a format in which no processor is quick
    assert not can_prepare(model)
    with pytest.raises(ValueError, match="can be prepared"):
        PreparedGPT(model)


# --- what prompts share ---------------------------------------------------------------------------------------------


@given(n=st.integers(0, 2000), start=st.integers(0, 2000))
def test_parts_end_in_the_same_places_wherever_one_begins(n: int, start: int) -> None:
    ends = [part.stop for part in parts(0, n)]
    start = whole_parts(min(start, n))
    assert start == 0 or start in ends
    assert [part.stop for part in parts(start, n)] == [end for end in ends if end > start]
    assert whole_parts(n) == max((end for end in ends if whole_parts(end) == end), default=0)


def filled(n: int, seed: int = 0) -> KVCache:
    cache = KVCache(2, 2, 4, n)
    generator = torch.Generator().manual_seed(seed)
    cache.keys.copy_(torch.randn(cache.keys.shape, generator=generator))
    cache.values.copy_(torch.randn(cache.values.shape, generator=generator))
    cache.advance(n)
    return cache


def test_the_longest_common_head_is_found_in_whole_parts() -> None:
    prefixes = PrefixCache(1 << 20)
    first, second = list(range(400)), [*range(200), *range(1000, 1200)]
    prefixes.keep(first, filled(400, 1))
    prefixes.keep(second, filled(400, 2))
    cache = KVCache(2, 2, 4, 500)
    assert prefixes.fill([*range(300), 7], cache) == 192
    assert cache.length == 192
    assert torch.equal(cache.keys[:, :, :, :192], filled(400, 1).keys[:, :, :, :192])
    assert prefixes.fill([*range(200), *range(1000, 1100), 7], KVCache(2, 2, 4, 500)) == 192
    assert prefixes.fill(second[:320], KVCache(2, 2, 4, 500)) == 192  # something is left to be read
    assert prefixes.fill([5, *range(400)], KVCache(2, 2, 4, 500)) == 0


def test_memory_is_bounded_and_the_oldest_goes_first() -> None:
    one = filled(192).n_bytes
    prefixes = PrefixCache(2 * one)
    prompts = [[i, *range(191)] for i in range(3)]
    for prompt in prompts[:2]:
        prefixes.keep(prompt, filled(192))
    assert prefixes.fill([*prompts[0], 1], KVCache(2, 2, 4, 500)) == 192  # used just now
    prefixes.keep(prompts[2], filled(192))
    assert prefixes.n_bytes <= 2 * one
    assert [prefixes.fill([*prompt, 1], KVCache(2, 2, 4, 500)) for prompt in prompts] == [192, 0, 192]
    prefixes.keep([9, *range(999)], filled(1000))  # longer than the bound: its head
    assert prefixes.n_bytes <= 2 * one
    assert prefixes.fill([9, *range(999)], KVCache(2, 2, 4, 1000)) == 320
    prefixes.clear()
    assert (len(prefixes), prefixes.n_bytes) == (0, 0)


def test_a_longer_prompt_takes_the_place_of_its_head() -> None:
    prefixes = PrefixCache(1 << 20)
    prefixes.keep(list(range(64)), filled(64))
    prefixes.keep(list(range(200)), filled(200))
    prefixes.keep(list(range(100)), filled(100))
    assert len(prefixes) == 1


@pytest.mark.parametrize("max_bytes", [0, 100])
def test_without_room_nothing_is_kept(max_bytes: int) -> None:
    prefixes = PrefixCache(max_bytes)
    prefixes.keep(list(range(200)), filled(200))
    assert len(prefixes) == 0
    with pytest.raises(ValueError, match="max_bytes"):
        PrefixCache(-1)


@settings(max_examples=25)
@given(
    prompts=st.lists(st.tuples(st.integers(0, 3), st.integers(1, 500)), min_size=1, max_size=12),
    room=st.integers(0, 60_000),
)
def test_what_is_filled_in_is_what_was_read(prompts: list[tuple[int, int]], room: int) -> None:
    """Keys that are a function of their tokens: whatever comes back must be that function again."""
    prefixes = PrefixCache(room)
    for family, length in prompts:
        ids = [*range(100), *(1000 * family + i for i in range(length))]
        cache = KVCache(1, 1, 2, len(ids))
        known = prefixes.fill(ids, cache)
        assert known < len(ids)
        assert cache.keys[0, 0, 0, :known, 0].tolist() == [float(token) for token in ids[:known]]
        cache.keys[0, 0, 0, known:, 0] = torch.tensor(ids[known:]).float()
        cache.length = len(ids)
        prefixes.keep(ids, cache)
        assert prefixes.n_bytes <= room


def test_threads_do_not_disturb_each_other() -> None:
    prefixes, failures = PrefixCache(20_000), []

    def work(family: int) -> None:
        for _ in range(40):
            ids = [family] * 200
            cache = KVCache(1, 1, 2, 200)
            known = prefixes.fill(ids, cache)
            if not bool((cache.keys[0, 0, 0, :known, 0] == family).all()):
                failures.append(family)
            cache.keys.fill_(family)
            cache.length = 200
            prefixes.keep(ids, cache)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert prefixes.n_bytes <= 20_000


@needs_bfloat16
def test_every_number_is_the_same_with_and_without_a_known_head() -> None:
    prepared = PreparedGPT(network("llama"))

    def read(ids: torch.Tensor, known: KVCache | None, length: int) -> KVCache:
        cache = prepared.new_cache(len(ids))
        if known is not None:
            cache.copy_from(known, length)
        for part in parts(length, len(ids)):
            prepared.read(ids[part], cache)
        return cache

    other = read(torch.cat((TOKENS[:192], TOKENS[:70])), None, 0)
    fresh, known = read(TOKENS, None, 0), read(TOKENS, other, 192)
    assert torch.equal(fresh.keys, known.keys)
    assert torch.equal(fresh.values, known.values)
