"""Look-up tables that cost nothing to make."""

from __future__ import annotations

import torch
from torch import nn


def lookup_table(n_rows: int, width: int) -> nn.Embedding:
    """An embedding whose rows are yet to be filled.

    ``nn.Embedding`` would draw random rows at once; on the meta device, where checkpoints are loaded, that draw imports
    torch's compiler: over a second at every start.
    """
    return nn.Embedding(n_rows, width, _weight=torch.empty(n_rows, width))
