"""What the programs have in common: parts chosen by name, measured one after the other, reported or put into a page."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

from .rounds import Results


class Measuring(Protocol):
    """One run of a program."""

    @property
    def results(self) -> Results: ...


Run = TypeVar("Run", bound=Measuring)


def chosen(parser: argparse.ArgumentParser, kind: str, names: str, known: Collection[str]) -> list[str]:
    """The names, which have commas between them; a usage error where one is not known."""
    found = names.split(",")
    if unknown := set(found) - set(known):
        parser.error(f"unknown {kind} {', '.join(sorted(unknown))}; expected some of {', '.join(known)}")
    return found


def carry_out(
    args: argparse.Namespace,
    parts: list[str],
    known: Mapping[str, Callable[[Run], bool]],
    begin: Callable[[], Run],
    *,
    forget: Callable[[Run, list[str]], None],
    report: Callable[[Mapping[str, Any]], str],
    write_page: Callable[[Path, Mapping[str, Any]], None],
) -> int:
    """Fill the page of ``--write-docs`` and no more; or measure the parts and print what is known then.

    Args:
        known: part → measures it, and says whether it is complete.
        forget: drops earlier measurements of these parts, with ``--again``.

    Returns:
        The exit code.
    """
    if args.write_docs:
        write_page(args.write_docs, json.loads(args.results.read_text(encoding="utf-8")))
        return 0
    run = begin()
    if args.again:
        forget(run, parts)
    states = [known[part](run) for part in parts]
    print(json.dumps(run.results.data, indent=1) if args.json else report(run.results.data))
    if not all(states):
        say("Not all rounds are made yet: the same command goes on.")
    return 0


def say(message: str) -> None:
    """A remark: on stderr, at once."""
    print(message, file=sys.stderr, flush=True)
