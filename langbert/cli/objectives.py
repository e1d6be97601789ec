"""What each objective of ``langbert train`` can be told: the keywords of its class in :mod:`langbert.training`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from .train import app, objective

__all__ = ["app"]

Base = Annotated[str, typer.Option(help="The model to start from: a catalogue name, owner/name, or a folder.")]
OrScratch = Annotated[str, typer.Option(help="The model to start from, or 'scratch' for a new one.")]
WordsOrScratch = Annotated[
    str, typer.Option(help="The model to start from; with --architecture only its words, or 'scratch'.")
]
New = Annotated[
    Literal["lstm", "gru", "rnn", "transformer"] | None,
    typer.Option(help="A new network instead of the base's.", show_default=False),
]
Holdout = Annotated[float, typer.Option(help="The share of the data kept for evaluation.", min=0, max=0.5)]
Dev = Annotated[
    Path | None, typer.Option(help="Another such file to evaluate on; nothing is held out then.", exists=True)
]


@objective
def mlm(
    data: Annotated[Path, typer.Option(help="A folder of documents, or a text file with blank lines.", exists=True)],
    base: OrScratch = "minilm",
    masking: Annotated[
        Literal["word", "token"], typer.Option(help="Hide whole words (Chinese too) or pieces.")
    ] = "word",
    next_sentence: Annotated[bool, typer.Option(help="Also learn whether one text follows another.")] = True,
    max_length: Annotated[int, typer.Option(help="Tokens of a sequence.", min=16)] = 128,
    share: Annotated[float, typer.Option(help="Of the tokens, how many are to be guessed.", min=0.01, max=0.9)] = 0.15,
    layers: Annotated[int, typer.Option(help="From scratch: layers.", min=1)] = 4,
    hidden: Annotated[int, typer.Option(help="From scratch: width.", min=8)] = 128,
    attention_heads: Annotated[int, typer.Option(help="From scratch: attention heads.", min=1)] = 2,
    vocab_size: Annotated[int, typer.Option(help="From scratch: pieces in the vocabulary.", min=100)] = 8000,
    lowercase: Annotated[bool, typer.Option(help="From scratch: no capital letters.")] = True,
    holdout: Holdout = 0.05,
) -> dict[str, Any]:
    """BERT pre-training: guess hidden words, tell what follows what; from scratch or on your own documents.

    Example:

        langbert train mlm --data papers/ --base scratch --output my-bert
    """
    return locals()


@objective
def lm(
    data: Annotated[Path, typer.Option(help="A folder of documents, or a text file.", exists=True)],
    base: OrScratch = "smollm2-135m-instruct",
    architecture: Annotated[Literal["gpt", "transformer-xl"], typer.Option(help="From scratch.")] = "gpt",
    max_length: Annotated[int, typer.Option(help="Tokens of a sequence.", min=8)] = 512,
    reset_at_documents: Annotated[
        bool, typer.Option("--reset-at-documents", help="Documents in one sequence do not see one another.")
    ] = False,
    vocab_size: Annotated[int, typer.Option(help="From scratch: tokens in the vocabulary.", min=300)] = 8192,
    n_layers: Annotated[int, typer.Option(help="From scratch: blocks.", min=1)] = 6,
    n_heads: Annotated[int, typer.Option(help="From scratch: attention heads.", min=1)] = 6,
    hidden_size: Annotated[int, typer.Option(help="From scratch: width.", min=8)] = 384,
    segment_length: Annotated[int, typer.Option(help="Transformer-XL: tokens read at once.", min=1)] = 128,
    memory_length: Annotated[int, typer.Option(help="Transformer-XL: tokens remembered.", min=0)] = 128,
    holdout: Holdout = 0.05,
) -> dict[str, Any]:
    """GPT pre-training: guess the next token; from scratch or on your own documents.

    Examples:

        langbert train lm --data papers/ --base scratch --output my-gpt

        langbert train lm --data papers/ --base scratch --architecture transformer-xl --output my-xl
    """
    return locals()


@objective
def sft(
    data: Annotated[Path, typer.Option(help='JSON lines of {"messages": […]} or {"prompt", "answer"}.', exists=True)],
    base: Base = "smollm2-135m-instruct",
    max_length: Annotated[int, typer.Option(help="Tokens of a sequence; longer conversations are left out.")] = 1024,
    packing: Annotated[bool, typer.Option(help="Several conversations in one sequence, unseen by one another.")] = True,
    holdout: Holdout = 0.03,
) -> dict[str, Any]:
    """Supervised fine-tuning: teach the decoder to answer as examples do; prompts carry no loss.

    Example:

        langbert train sft --data conversations.jsonl --output my-decoder
    """
    return locals()


@objective
def embedder(
    data: Annotated[Path, typer.Option(help="A SQuAD file, JSON lines, or a folder of documents.", exists=True)],
    base: WordsOrScratch = "minilm",
    architecture: New = None,
    objective: Annotated[
        Literal["ranking", "distill", "similarity", "tsdae"] | None,
        typer.Option(help="By default what the data is made for.", show_default=False),
    ] = None,
    negatives: Annotated[Path | None, typer.Option(help="Mined by `train reranker`.", exists=True)] = None,
    hard: Annotated[int, typer.Option(help="Hard negatives each question brings into a batch.", min=0)] = 1,
    hardest: Annotated[int, typer.Option(help="Draw them from so many of the nearest.", min=1)] = 16,
    questions: Annotated[
        Path | None, typer.Option(help="For documents: a file for the questions a decoder asks of them (GPL).")
    ] = None,
    generator: Annotated[str, typer.Option(help="The decoder that asks.")] = "smollm2-135m-instruct",
    teacher: Annotated[str | None, typer.Option(help="A reranker to learn scores from.", show_default=False)] = None,
    distillation: Annotated[Literal["margin", "listwise"], typer.Option(help="How.")] = "margin",
    similarity: Annotated[Literal["cosine", "cosent"], typer.Option(help="For scored pairs.")] = "cosine",
    matryoshka: Annotated[str, typer.Option(help="Shorter vectors that shall be good too, e.g. 256,128,64.")] = "",
    scale: Annotated[float, typer.Option(help="What cosines are multiplied by.")] = 20.0,
    mini_batch: Annotated[int, typer.Option(help="Texts encoded at a time (gradient cache); 0: all.", min=0)] = 0,
    title_dropout: Annotated[float, typer.Option(help="How often a passage is read without its title.")] = 0.3,
    delete: Annotated[float, typer.Option(help="tsdae: the share of words deleted.")] = 0.6,
    decoder_layers: Annotated[int, typer.Option(help="tsdae: layers that write them again.", min=1)] = 1,
    pooling: Annotated[str | None, typer.Option(help="cls, mean, max …", show_default=False)] = None,
    max_length: Annotated[int | None, typer.Option(help="Tokens of a text.", show_default=False)] = None,
    query_prompt: Annotated[str | None, typer.Option(help="Put before questions.", show_default=False)] = None,
    document_prompt: Annotated[str | None, typer.Option(help="Put before passages.", show_default=False)] = None,
    holdout: Holdout = 0.05,
    max_held: Annotated[int, typer.Option(help="Evaluate at most so many.", min=1)] = 500,
    n_layers: Annotated[int | None, typer.Option(help="New network: layers.", show_default=False)] = None,
    hidden_size: Annotated[int | None, typer.Option(help="New network: width.", show_default=False)] = None,
    n_heads: Annotated[int, typer.Option(help="New Transformer: attention heads.", min=1)] = 4,
    vocab_size: Annotated[int, typer.Option(help="From scratch: pieces in the vocabulary.", min=100)] = 8000,
) -> dict[str, Any]:
    """An embedder for your subject: from questions, scored pairs, a teacher, or documents alone.

    Examples:

        langbert train embedder --data questions.jsonl --output my-embedder

        langbert train embedder --data papers/ --questions asked.jsonl --output my-embedder

        langbert train embedder --data questions.jsonl --architecture lstm --output my-lstm
    """
    return locals()


@objective
def reranker(
    data: Annotated[Path, typer.Option(help="A SQuAD JSON file.", exists=True)],
    base: Base = "minilm",
    negatives: Annotated[
        Path | None,
        typer.Option(help="Mined hard negatives; without it they are mined first, into --output.", exists=True),
    ] = None,
    group: Annotated[int, typer.Option(help="Passages a question is compared with in one step.", min=2)] = 8,
    hardest: Annotated[int, typer.Option(help="Draw the wrong ones from so many of the nearest.", min=1)] = 16,
    title_dropout: Annotated[float, typer.Option(help="How often a passage is read without its title.")] = 0.3,
    holdout: Holdout = 0.03,
    max_held: Annotated[int, typer.Option(help="Evaluate at most so many questions.", min=1)] = 500,
) -> dict[str, Any]:
    """A reranker: tell the passage that answers from those that only look like it.

    Example:

        langbert train reranker --data squad/train-v1.1.json --output my-reranker
    """
    return locals()


@objective
def reader(
    data: Annotated[Path, typer.Option(help="A SQuAD JSON file, 1.1 or 2.0; Chinese ones (CMRC) too.", exists=True)],
    base: Base = "minilm",
    negatives: Annotated[
        Path | None, typer.Option(help="Mined by `train reranker`: near paragraphs without the answer.", exists=True)
    ] = None,
    unanswerable: Annotated[
        float, typer.Option(help="Questions without an answer made for each that has one; 0 for data with its own.")
    ] = 0.5,
    max_length: Annotated[int, typer.Option(help="Tokens of question and paragraph together.", min=32, max=512)] = 384,
    holdout: Holdout = 0.03,
) -> dict[str, Any]:
    """A reader: point at the words of a passage that answer a question.

    Example:

        langbert train reader --data squad/train-v1.1.json --output my-reader --epochs 1

        langbert train reader --data my-questions.json --base minilm-reader --lora 64 --output my-reader
    """
    return locals()


@objective
def classifier(
    data: Annotated[
        Path,
        typer.Option(help='JSON lines {"text", "label"} (and "pair"), or text<TAB>label.', exists=True),
    ],
    base: Base = "minilm",
    dev: Dev = None,
    max_length: Annotated[int, typer.Option(help="Tokens that are read; the end of longer texts is cut.")] = 256,
    holdout: Holdout = 0.1,
) -> dict[str, Any]:
    """A classifier: what a text is, or how two texts stand to each other.

    Example:

        langbert train classifier --data tickets.tsv --output my-classifier
    """
    return locals()


@objective
def tagger(
    data: Annotated[
        Path, typer.Option(help='A CoNLL file, or JSON lines of {"tokens": […], "tags": […]}.', exists=True)
    ],
    base: WordsOrScratch = "minilm",
    architecture: New = None,
    dev: Dev = None,
    column: Annotated[int, typer.Option(help="Of a CoNLL file: which column is the tag; -1 is the last.")] = -1,
    max_length: Annotated[int, typer.Option(help="Tokens that are read at once.")] = 256,
    holdout: Holdout = 0.1,
    n_layers: Annotated[int | None, typer.Option(help="New network: layers.", show_default=False)] = None,
    hidden_size: Annotated[int | None, typer.Option(help="New network: width.", show_default=False)] = None,
    n_heads: Annotated[int, typer.Option(help="New Transformer: attention heads.", min=1)] = 4,
    vocab_size: Annotated[int, typer.Option(help="From scratch: pieces in the vocabulary.", min=100)] = 8000,
    lowercase: Annotated[bool, typer.Option(help="From scratch: no capital letters.")] = False,
) -> dict[str, Any]:
    """A tagger: names, parts of speech, or any other label for each word.

    Example:

        langbert train tagger --data names.conll --output my-tagger

        langbert train tagger --data names.conll --architecture lstm --output my-bilstm
    """
    return locals()


@objective
def seq2seq(
    data: Annotated[
        Path,
        typer.Option(help='JSON lines {"source", "target"} or {"prompt", "answer"}, or a SQuAD file.', exists=True),
    ],
    base: OrScratch = "google/flan-t5-small",
    max_length: Annotated[int, typer.Option(help="Tokens of a source; longer ones are left out.", min=1)] = 1024,
    max_target: Annotated[int, typer.Option(help="Tokens of a target; longer ones are left out.", min=1)] = 128,
    label_smoothing: Annotated[float, typer.Option(help="Of the loss; the Transformer had 0.1.")] = 0.0,
    sources: Annotated[int, typer.Option(help="SQuAD: the most passages a question is asked over.", min=1)] = 4,
    unanswerable: Annotated[float, typer.Option(help="SQuAD: the share of questions to be refused.")] = 0.25,
    positions: Annotated[Literal["sinusoidal", "learned"], typer.Option(help="From scratch.")] = "sinusoidal",
    vocab_size: Annotated[int, typer.Option(help="From scratch: tokens in the vocabulary.", min=257)] = 8192,
    n_layers: Annotated[int, typer.Option(help="From scratch: layers of encoder and decoder each.", min=1)] = 4,
    n_heads: Annotated[int, typer.Option(help="From scratch: attention heads.", min=1)] = 4,
    hidden_size: Annotated[int, typer.Option(help="From scratch: width.", min=8)] = 256,
    holdout: Holdout = 0.05,
    max_held: Annotated[int, typer.Option(help="Evaluate at most so many.", min=1)] = 200,
) -> dict[str, Any]:
    """An encoder–decoder: a text in, a text out; a T5 on your own pairs or questions, or a small Transformer.

    Examples:

        langbert train seq2seq --data squad/train-v1.1.json --output my-t5

        langbert train seq2seq --data pairs.jsonl --base scratch --output my-transformer
    """
    return locals()
