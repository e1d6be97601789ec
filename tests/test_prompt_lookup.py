"""Guesses out of what was read, and steps that read them ahead: the logits must be those of the tokens given."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from langbert.models.decoder import PreparedDecoder
from langbert.nn.gpt import GPT, GPTConfig
from langbert.nn.gpt_inference import PreparedGPT, can_prepare
from langbert.nn.gpt_steps import Stepper
from langbert.nn.prefix_cache import PrefixCache
from langbert.nn.prompt_lookup import PromptLookup
from langbert.nn.rotary import RotaryConfig


def test_what_followed_last_time_is_guessed() -> None:
    lookup = PromptLookup([1, 2, 3, 4, 1, 2, 5, 6, 9], n_gram=2)
    assert lookup.guess(1, 3) == []
    assert lookup.guess(2, 3) == [5, 6, 9]
    assert lookup.guess(5, 1) == [6]
    assert PromptLookup([7], n_gram=2).guess(7, 3) == []
    assert PromptLookup([7, 7], n_gram=2).guess(7, 3) == [7]


@given(st.lists(st.integers(0, 3), max_size=40), st.lists(st.integers(0, 3), max_size=20), st.integers(0, 4))
def test_guesses_are_those_of_looking_through_everything(prompt: list[int], told: list[int], most: int) -> None:
    lookup, tokens = PromptLookup(prompt, n_gram=2), list(prompt)
    for token in told:
        tokens.append(token)
        earlier = [i for i in range(len(tokens) - 2) if tokens[i : i + 2] == tokens[-2:]]
        expected = tokens[earlier[-1] + 2 : earlier[-1] + 2 + most] if earlier else []
        assert lookup.guess(token, most) == (expected if len(tokens) > 1 else [])


SIZES = GPTConfig(
    vocab_size=320,
    context_length=600,
    n_layers=2,
    n_heads=6,
    n_kv_heads=2,
    hidden_size=96,
    intermediate_size=128,
    rotary=RotaryConfig(),
    norm="rmsnorm",
    feed_forward="swiglu",
    bias="none",
)


@pytest.mark.skipif(not can_prepare(GPT(SIZES).to(torch.bfloat16)), reason="this processor does not multiply bfloat16")
def test_steps_that_read_ahead_give_the_logits_of_the_tokens_given(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(3)
    model = GPT(SIZES).to(torch.bfloat16).eval().requires_grad_(False)
    prompt = torch.randint(0, 320, (60,)).tolist()
    told = [*prompt[10:20], 5, 6, *prompt[30:34], *prompt[40:50], 5, 6, *prompt[30:32], *prompt[11:14]]  # quotes
    with torch.inference_mode():
        expected = copy.deepcopy(model).float()(torch.tensor([[*prompt, *told]]))[0]
    read: list[int] = []
    step = Stepper.read
    monkeypatch.setattr(Stepper, "read", lambda self, ids: read.append(len(ids)) or step(self, ids))
    session = PreparedDecoder(PreparedGPT(model), PrefixCache(0)).start(len(prompt) + len(told))
    found = [session.read(prompt), *(session.read([token]) for token in told)]
    for logits, wanted in zip(found, expected[len(prompt) - 1 :], strict=True):
        assert float((logits - wanted).std()) < 0.05 * float(wanted.std())
    assert len(read) < 0.7 * len(told)  # a guess that comes true costs no step
    assert max(read) > 1
    with pytest.raises(ValueError, match="are needed"):
        session.read([1])
