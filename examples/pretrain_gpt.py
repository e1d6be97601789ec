"""A small GPT from nothing: a vocabulary, a network and a language model out of a folder of documents.

    python examples/pretrain_gpt.py                     # the PEPs beside this file
    python examples/pretrain_gpt.py my-documents --output my-gpt --steps 2000

Needs ``pip install "langbert[train]"``. Leaves model, metrics and learning curve in the output folder; a run that was
stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from langbert import Generator
from langbert.training import Step, TrainSettings
from langbert.training.lm import LmTask
from langbert.training.loop import run

DOCUMENTS = Path(__file__).parent / "documents"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", type=Path, default=DOCUMENTS, help="a text file or a folder of documents")
    parser.add_argument("--output", type=Path, default=Path("tiny-gpt"))
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--vocabulary", type=int, default=4096)
    parser.add_argument("--prompt", default="Python is")
    options = parser.parse_args()

    task = LmTask(
        options.data,
        base="scratch",
        vocab_size=options.vocabulary,
        n_layers=4,
        n_heads=4,
        hidden_size=128,
        max_length=128,
        holdout=0.1,
    )
    settings = TrainSettings(
        epochs=1000,
        max_steps=options.steps,
        batch_size=8,
        learning_rate=3e-3,
        weight_decay=0.1,
        eval_every=max(1, options.steps // 10),
        save_every=100,
    )
    facts = task.facts()
    print(f"{facts['parameters']:,} parameters, {facts['tokens']:,} tokens to learn from")

    def watch(step: Step) -> None:
        if step.metrics or step.number % 50 == 0:
            scores = "".join(f"  {name} {value:.3f}" for name, value in step.metrics.items())
            rate = step.tokens / step.seconds
            print(f"step {step.number:5}/{step.total}  loss {step.loss:.3f}  {rate:,.0f} tokens/s{scores}", flush=True)

    report = run(task, options.output, settings, resume=True, watch=watch)

    entropy = task.unigram_entropy()
    print(f"\nheld out, in nats a token: {report.metrics['loss']:.2f}")
    print(f"without context none could get below {entropy:.2f}; guessing costs {math.log(facts['vocabulary']):.2f}")
    print(f"{report.metrics['bits_per_character']:.2f} bits a character, {report.seconds / 60:.1f} minutes\n")

    generator = Generator(report.folder)
    sample = generator.generate(options.prompt, max_tokens=80, temperature=0.8, top_k=40, seed=0)
    print(f"{options.prompt}{sample.text}")


if __name__ == "__main__":
    main()
