"""Main directions of many rows: those in which they differ most."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from recsys.interest.sharing import put_together, rank

_ROUNDS: Final = 6
#: Directions that are carried along, so that the last ones wanted are found as well.
_SPARE: Final = 16


def main_directions(data: torch.Tensor, k: int) -> NDArray[np.float32]:
    """Find principal directions by subspace iteration: long vectors make the full problem slow.

    In torch, whose threads sleep while they wait: numpy's made this a hundred times slower on cores
    that others use too.

    Args:
        data: (n, d): the rows, dense or sparse.
        k: How many are wanted.

    Returns:
        (min(k, d), d), strongest first, each with its largest part positive; beyond the rank of the
        rows they are arbitrary. Several processes that work together get those of the first.
    """
    n, d = data.shape
    k, width = min(k, d), min(k + _SPARE, d)
    start = np.random.default_rng(0).normal(size=(d, width)).astype(np.float32)
    basis = torch.tensor(start)
    for _ in range(_ROUNDS):
        basis, _ = torch.linalg.qr(data.T @ (data @ basis))
    # All right singular vectors: beyond the rank of the data they fill up what is left.
    _, _, within = torch.linalg.svd(data @ basis, full_matrices=n < width)
    directions: NDArray[np.float32] = (within[:k] @ basis.T).numpy()
    largest = np.abs(directions).argmax(axis=1)
    directions *= np.sign(directions[np.arange(len(directions)), largest])[:, None]
    if rank():
        directions[:] = 0.0
    put_together(torch.from_numpy(directions))
    return directions
