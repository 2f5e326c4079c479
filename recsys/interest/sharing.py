"""Several processes fit one model: each takes its share of every batch, gradients are summed.

The processes are those of `torchrun`, `accelerate launch` or Ray Train, one per device. Every
process reads the same log, draws the same order and holds the same weights; a step's gradient is
the one that a single process would have had over the whole batch. What is computed once per text is
divided too. Only the first process writes files. Where nobody joined, every function here answers
for a single process.

torch's `DistributedDataParallel` was not taken: it wants the loss to be the forward pass of one
module, where here two modules and a table share a step, and one sum over gradients laid end to end
is all that models of this size need.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import timedelta
from typing import Final, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import distributed

from recsys.errors import ProcessesError, told
from recsys.interest.optimising import Group

#: How long a process waits for the slowest; the first one may read a large log meanwhile.
_PATIENCE: Final = timedelta(hours=2)
_EXPECTED: Final = "the variables that torchrun sets"

T = TypeVar("T")


def n_launched() -> int:
    """Ask the launcher how many processes it started.

    Returns:
        1 where there is no launcher.

    Raises:
        ProcessesError: What it says is no number.
    """
    found = os.environ.get("WORLD_SIZE", "1")
    if not found.isdecimal():
        raise ProcessesError(f"WORLD_SIZE={found!r}", _EXPECTED)
    return int(found)


def why_unrepeatable(device: str) -> str:
    """Say why the same log and configuration may give other weights the next time.

    Args:
        device: `[interest] device`.

    Returns:
        Empty where they give the same.
    """
    if device != "cpu" and torch.cuda.is_available():
        return "fitted on CUDA, which adds numbers in no fixed order"
    if n_launched() > 1:
        return f"fitted by {n_launched()} processes; another number of them gives other weights"
    return ""


def join() -> None:
    """Join the other processes where a launcher started several; does nothing where it did not.

    Raises:
        ProcessesError: The launcher left out what is needed to find them, or they were not found.
    """
    if n_launched() <= 1 or joined():
        return
    if not distributed.is_available():
        found, expected = "a torch without torch.distributed", "one with it"
        raise ProcessesError(found, expected)
    missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if not os.environ.get(name)]
    if missing:
        found = f"WORLD_SIZE={n_launched()} and no {', '.join(missing)}"
        raise ProcessesError(found, _EXPECTED)
    # Numbers that processes agree on are on the CPU, gradients where the model is.
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    try:
        distributed.init_process_group(backend, timeout=_PATIENCE)
    except (RuntimeError, ValueError) as error:
        expected = "all of them to meet"
        raise ProcessesError(told(error), expected) from error


def leave() -> None:
    """Part from the other processes, once all have come so far."""
    sum_losses(0.0)  # a barrier, on the CPU whatever the devices are
    part()


def part() -> None:
    """Part from the other processes at once; those that still wait for this one fail."""
    if joined():
        distributed.destroy_process_group()


def joined() -> bool:
    """Say whether this process works with others.

    Returns:
        True between `join` and `leave`.
    """
    return distributed.is_available() and distributed.is_initialized()


def rank() -> int:
    """Number this process.

    Returns:
        0 for the first one, and where there is one.
    """
    return distributed.get_rank() if joined() else 0


def n_processes() -> int:
    """Count the processes that work together.

    Returns:
        1 where nobody joined.
    """
    return distributed.get_world_size() if joined() else 1


def share(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Take this process's share of a batch.

    Returns:
        Every n-th row; all of them where there is one process.
    """
    return rows[rank() :: n_processes()]


def share_of(parts: Sequence[T]) -> Sequence[T]:
    """Take this process's share of some work.

    Returns:
        Every n-th part.
    """
    return parts[rank() :: n_processes()]


def sum_gradients(groups: list[Group]) -> None:
    """Sum the gradients of all processes, in place."""
    if not joined():
        return
    for group in groups:
        gradients = []
        for parameter in group["params"]:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            gradients.append(parameter.grad)
        laid_out = torch.cat([gradient.ravel() for gradient in gradients])
        distributed.all_reduce(laid_out)
        start = 0
        for gradient in gradients:
            total = laid_out[start : start + gradient.numel()]
            gradient.copy_(total.view_as(gradient))
            start += gradient.numel()


def sum_losses(loss: float) -> float:
    """Sum the losses of all processes.

    Returns:
        The same number in each of them.
    """
    if not joined():
        return loss
    total = torch.tensor([loss], dtype=torch.float64)
    distributed.all_reduce(total)
    return float(total)


def put_together(values: torch.Tensor) -> None:
    """Put together an array of which each process has filled some rows, in place.

    Args:
        values: Zero in rows that others fill; contiguous.
    """
    if joined() and values.numel():
        # Rows are disjoint, so the sum of bytes is exact whatever they mean.
        distributed.all_reduce(values.view(torch.uint8))


def gathered(values: torch.Tensor) -> torch.Tensor:
    """Collect an array of each process, of one shape, on the CPU.

    Returns:
        (n_processes, ...), the same in each of them.
    """
    if not joined():
        return values[None]
    found = [torch.empty_like(values) for _ in range(n_processes())]
    distributed.all_gather(found, values)
    return torch.stack(found)


def as_the_first_says(text: str) -> str:
    """Agree on what the first process says.

    Args:
        text: What it says; the others' is not looked at.

    Returns:
        The same in each process.
    """
    if not joined():
        return text
    said = text.encode()
    length = torch.tensor([len(said)])
    distributed.broadcast(length, 0)
    data = torch.zeros(int(length), dtype=torch.uint8)
    if rank() == 0:
        data = torch.tensor(list(said), dtype=torch.uint8)
    distributed.broadcast(data, 0)
    return bytes(data.tolist()).decode()
