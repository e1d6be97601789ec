"""Writes generation.json: what transformers makes of SmolLM2-135M-Instruct's GGUF, in float32.

    python tests/golden/make_generation.py

Nothing of langbert computes these numbers, it only finds the file. Two things that transformers 5.23 does not take
from a GGUF are set right first: the pre-tokenizer "smollm", which cuts digits one by one, and a second token that ends
a text.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer

from langbert.models import resolve

TEXTS = [
    "Hello world",
    "It's 3.14159, 1,000,000 and don't you'll we've",
    "  leading   spaces\t\ttabs\n\n\nand lines \n  7 of them\n\n12",
    "def f(x: int) -> str:\n    return f'{x ** 2:>10}'  # 12345\n",
    "我喜欢机器学习，2024年3月15日。",
    "日本語のテキスト、ひらがなとカタカナ。",
    "😀 👩‍👩‍👧 🇨🇳 ½ ² Ⅷ ٣٤٥",
    "ÀÉÎõü ß €uro naïve Ελληνικά Привет",
    "<|im_start|>system\nyou<|im_end|>",
    "",
]
CONVERSATIONS = [
    [("user", "What is the capital of France?")],
    [("user", "请用中文介绍一下北京。")],
    [
        ("system", "Answer from the sources only."),
        (
            "user",
            "Sources:\n\n[1] PEP 8\nLimit all lines to a maximum of 79 characters.\n\nQuestion: How long is a line?",
        ),
    ],
    [("user", "Name a colour."), ("assistant", "Blue."), ("user", "Another one, please. And count from 1 to 12.")],
]
N_TOKENS = 32


def main() -> None:
    file = resolve("smollm2-135m-instruct")
    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    model = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32).eval()
    golden: dict[str, Any] = {"made_with": f"transformers {transformers.__version__}", "texts": [], "conversations": []}
    for text in TEXTS:
        golden["texts"].append({"text": text, "ids": tokenizer(text, add_special_tokens=False)["input_ids"]})
    for turns in CONVERSATIONS:
        messages = [{"role": role, "content": content} for role, content in turns]
        prompt = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        ids = torch.tensor([tokenizer(prompt, add_special_tokens=False)["input_ids"]])
        with torch.inference_mode():
            best = model(ids).logits[0, -1].topk(8)
            written = model.generate(
                ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=N_TOKENS, eos_token_id=[0, 2]
            )[0, ids.shape[1] :]
        golden["conversations"].append(
            {
                "messages": turns,
                "prompt_ids": ids[0].tolist(),
                "top_ids": best.indices.tolist(),
                "top_logits": [round(value, 5) for value in best.values.tolist()],
                "text": tokenizer.decode(written, skip_special_tokens=True),
                "n_tokens": sum(token not in (0, 2) for token in written.tolist()),
            }
        )
    path = Path(__file__).with_name("generation.json")
    path.write_text(json.dumps(golden, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
