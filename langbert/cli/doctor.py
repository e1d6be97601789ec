"""``langbert doctor``: is the store sound, and if not, what can be done."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .output import Output, StoreFolder, command
from .store import watching
from .visible import visible

if TYPE_CHECKING:
    from ..store.maintenance.checkup import Checkup
    from ..store.maintenance.rescue import Rescue

REPAIRABLE = 3
STORE_DAMAGED = 4

_STYLES = {"note": "dim", "unfinished": "yellow", "derived": "yellow", "primary": "bold red"}
_VERDICTS = {
    "sound": ("sound", "bold green"),
    "unfinished": ("not complete, and empty", "bold yellow"),
    "derived": ("an index is damaged", "bold yellow"),
    "primary": ("what was stored is damaged", "bold red"),
}
_SHOWN = 5  # names of one finding


@command
def doctor(
    output: Output,
    store: StoreFolder,
    repair: Annotated[
        bool, typer.Option("--repair", help="Rebuild damaged indexes; save what can be saved into a new folder.")
    ] = False,
) -> None:
    """Check every text, vector and index of a store.

    Without --repair nothing is changed. With it, damaged indexes are rebuilt; if what was stored is itself damaged,
    all that is whole goes into a new store beside the old one, which is left as it is, and what is lost is named.

    Exit codes: 0 all is well, or is again; 3 an index is damaged, or the making of the store was cut short: nothing is
    lost, --repair mends it; 4 what was stored is damaged; 1 the store could not be examined.

    Examples:

        langbert doctor --store my-index

        langbert doctor --store my-index --repair --json
    """
    from ..store.checks import parts_of

    found = [_examined(output, part, repair=repair) for part in parts_of(store)]
    if output.as_json:
        output.json(found[0] if len(found) == 1 else {"path": str(store), "shards": found})
    states = {report["state_now"] for report in found}
    if states != {"sound"}:
        raise typer.Exit(STORE_DAMAGED if "primary" in states else REPAIRABLE)


def _examined(output: Output, store: Path, *, repair: bool) -> dict[str, Any]:
    """What there is to say of one store, which is said to people at once."""
    from ..store.maintenance.doctor import examine, rebuild
    from ..store.maintenance.rescue import rescue

    with watching(output) as watch:
        checkup = examine(store, watch=watch)
        saved, rebuilt, found = None, False, checkup
        if repair and checkup.state == "primary":
            saved = rescue(store, watch=watch)
        elif repair and (
            checkup.state in ("unfinished", "derived") or any(f.where.startswith("derived") for f in checkup.findings)
        ):
            rebuild(store, watch=watch)
            rebuilt, found = True, examine(store, watch=watch)
    if not output.as_json:
        _show(output, checkup)
        if rebuilt:
            done = "The store is complete now." if checkup.state == "unfinished" else "The indexes were rebuilt."
            output.note(done if found.state == "sound" else "Rebuilding did not help.", "bold")
        elif saved is not None:
            _show_saved(output, saved)
        elif checkup.state != "sound" and not repair:
            output.note(_advice(checkup), "bold")
    report = {**checkup.to_dict(), "rebuilt": rebuilt, "saved": saved.to_dict() if saved else None}
    return {**report, "state_now": found.state}


def _advice(checkup: Checkup) -> str:
    if checkup.state == "unfinished":
        return "Nothing is lost, for nothing was stored: add --repair to complete the store."
    if checkup.state == "derived":
        return "Nothing is lost: add --repair to rebuild the index (opening the store for writing does it too)."
    return "Restore a backup if you have one; --repair saves everything that is whole into a new folder."


def _show(output: Output, checkup: Checkup) -> None:
    from rich.text import Text

    for finding in checkup.findings:
        named = f": {_first(finding.items, finding.count)}" if finding.items else ""
        line = Text.assemble((f"{finding.where}: ", _STYLES[finding.severity]), visible(finding.problem + named))
        output.say(line)
    counts = ", ".join(f"{count:,} {name}" for name, count in checkup.counts.items())
    verdict, style = _VERDICTS[checkup.state]
    output.say(Text.assemble(f"{checkup.path}: ", (verdict, style), (f"  {counts}", "dim")))


def _first(names: Sequence[str], count: int) -> str:
    """The first of ``count`` names, and how many more there are."""
    shown = names[:_SHOWN]
    more = count - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")


def _show_saved(output: Output, saved: Rescue) -> None:
    from rich.text import Text

    with_pictures = f" and {saved.pictures:,} pictures" if saved.pictures else ""
    said = f"{saved.documents:,} documents, {saved.chunks:,} chunks{with_pictures} are whole and were saved in "
    output.say(Text.assemble(said, (str(saved.path), "bold green")))
    lost_ones = (
        ("documents", saved.lost_documents),
        ("chunks", saved.lost_chunks),
        ("pictures", saved.lost_pictures),
    )
    for what, names in lost_ones:
        if names:
            lost = Text.assemble((f"{len(names):,} {what} are lost: ", "bold red"), visible(_first(names, len(names))))
            output.say(lost)
    for remark in saved.remarks:
        output.say(Text(visible(remark), "dim"))
    if any(names for _, names in lost_ones) or saved.remarks:
        output.note("Index the sources again into the new folder: only what is missing will be embedded.", "bold")
