"""A BERT of one's own in minutes: WordPiece vocabulary, masked words and next sentences, from nothing but documents.

    python examples/pretrain_bert.py
    python examples/pretrain_bert.py my/folder --steps 6000 --output runs/my-bert

Without a folder it reads the documents beside it. A killed run goes on with --resume. Needs ``langbert[train]``.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from matplotlib.figure import Figure

from langbert.training import Step, train
from langbert.training.recording import read_rows

DOCUMENTS = Path(__file__).parent / "documents"


def tell(step: Step) -> None:
    """A line now and then, and one for every look at the held-out documents."""
    if step.metrics:
        numbers = "  ".join(f"{name} {value:.3f}" for name, value in step.metrics.items())
        print(f"step {step.number}: {numbers}", flush=True)
    elif step.number % 50 == 0:
        print(f"step {step.number} of {step.total}: loss {step.loss:.2f}, {step.seconds:.0f} s", flush=True)


def draw(run: Path, file: Path) -> None:
    """Both objectives on the held-out documents, each beside what a guesser who has learned nothing would get."""
    measured = [
        (int(row["step"]), json.loads(row["metrics"])) for row in read_rows(run / "metrics.csv") if row["metrics"]
    ]
    steps = [step for step, _ in measured]
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(steps, [metrics["mlm_loss"] for _, metrics in measured], "o-", markersize=3)
    left.axhline(measured[-1][1]["unigram_entropy"], color="gray", linestyle="--", label="frequencies alone")
    left.set(xlabel="step", ylabel="nats per hidden token", title="masked words")
    right.plot(steps, [metrics["nsp_accuracy"] for _, metrics in measured], "o-", markersize=3, color="tab:orange")
    right.axhline(0.5, color="gray", linestyle="--", label="chance")
    right.set(xlabel="step", ylabel="accuracy", title="next sentence")
    for axes in (left, right):
        axes.legend()
    figure.savefig(file, dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("documents", nargs="?", type=Path, default=DOCUMENTS, help="a folder, or a text file")
    parser.add_argument("--output", type=Path, default=Path("runs/pretrain-bert"))
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--resume", action="store_true")
    options = parser.parse_args()
    report = train(
        "mlm",
        options.documents,
        options.output,
        resume=options.resume,
        watch=tell,
        base="scratch",
        layers=4,
        hidden=128,
        vocab_size=8000,
        max_length=64,
        holdout=0.1,
        epochs=1e6,  # the steps decide
        max_steps=options.steps,
        batch_size=64,
        learning_rate=2e-3,
        warmup=0.1,
        dropout=0.0,
        eval_every=max(1, options.steps // 12),
        save_every=250,
    )
    draw(options.output, options.output / "pretraining.png")
    loss, entropy = report.metrics["mlm_loss"], report.metrics["unigram_entropy"]
    print(f"\n{report.steps} steps in {report.seconds / 60:.1f} minutes; on documents it has never seen:")
    print(f"  a hidden token costs {loss:.2f} nats ({entropy:.2f} for a guesser who knows how frequent each is)")
    print(
        f"  it tells the next sentence from a random one {report.metrics['nsp_accuracy']:.0%} of the time (chance: 50%)"
    )
    print(f"The model lies in {report.folder}, the curves in {options.output / 'pretraining.png'}")


if __name__ == "__main__":
    main()
