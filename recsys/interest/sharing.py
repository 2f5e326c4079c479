"""Several processes fit one model: each takes its share of every batch, gradients are summed.

The processes are those of `torchrun` or `accelerate launch`, one per device. Every process reads
the same log, draws the same order and holds the same weights; a step's gradient is the one that a
single process would have had over the whole batch.
"""

from __future__ import annotations

import os

import numpy as np
import torch
from numpy.typing import NDArray
from torch import distributed

from recsys.interest.optimising import Group


def join() -> None:
    """Join the other processes where a launcher started several; does nothing where it did not."""
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    if several and distributed.is_available() and not distributed.is_initialized():
        distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")


def _joined() -> bool:
    return distributed.is_available() and distributed.is_initialized()


def share(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Take this process's share of a batch.

    Returns:
        Every n-th row; all of them where there is one process.
    """
    if not _joined():
        return rows
    return rows[distributed.get_rank() :: distributed.get_world_size()]


def sum_gradients(groups: list[Group]) -> None:
    """Sum the gradients of all processes, in place."""
    if not _joined():
        return
    for group in groups:
        for parameter in group["params"]:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            distributed.all_reduce(parameter.grad)


def sum_losses(loss: float) -> float:
    """Sum the losses of all processes.

    Returns:
        The same number in each of them.
    """
    if not _joined():
        return loss
    total = torch.tensor([loss])
    distributed.all_reduce(total)
    return float(total)
