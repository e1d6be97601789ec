"""What a store's own questions taught about confidence, kept with it: see :class:`langbert.records.Calibration`."""

from __future__ import annotations

import json
import math
from dataclasses import asdict

from ..errors import StoreCorrupt
from ..records import Calibration
from .engine import Reading, Writing

_KEY = "calibration"  # in the table meta


def read_calibration(state: Reading) -> Calibration | None:
    """What is kept, where it was learned in the space that the vectors are of; None without any."""
    if not (text := state.meta(_KEY)):
        return None
    try:
        kept = calibration_from(json.loads(text))
    except (TypeError, ValueError, RecursionError) as error:
        raise StoreCorrupt(
            f"the stored calibration is unreadable ({error}): `langbert calibrate` makes another"
        ) from error
    space = state.space
    return kept if kept.space == (space.fingerprint if space is not None else "") else None


def put_calibration(transaction: Writing, calibration: Calibration | None) -> None:
    """Keeps it in the place of the one before; None forgets that."""
    transaction.set_meta(_KEY, "" if calibration is None else json.dumps(asdict(calibration)))


def calibration_from(fields: dict[str, object]) -> Calibration:
    """Out of its JSON form.

    Raises:
        TypeError, ValueError: it is none.
    """
    kept = Calibration(**fields)  # type: ignore[arg-type]
    if not (math.isfinite(kept.slope) and math.isfinite(kept.bias) and kept.slope > 0):
        raise ValueError(f"slope {kept.slope!r}, bias {kept.bias!r}")
    return kept
