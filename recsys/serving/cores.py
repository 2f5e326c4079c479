"""One core for each server process, where that is wanted.

Threads of one process take turns at Python's lock hundreds of times in an answer's time. On one
core a turn costs nothing, because nobody else runs meanwhile; on two the threads wake each other
across cores, and an answer costs more (measured: docs/decisions/0110-one-worker-one-core.md). Other
processes on the machine do not know which core is taken, so fewer processes than cores keep to none
unless told so.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable

from recsys.config import AutoOrSwitch


def keeps_to_cores(pin: AutoOrSwitch, n_processes: int) -> bool:
    """Say whether each of some processes is to keep to a core.

    Args:
        pin: As configured; `auto`: where there are as many processes as cores, or more, because
            then every core has one, and none is left idle beside a busy one.
        n_processes: That serve.

    Returns:
        False where the system has no such call.
    """
    if not hasattr(os, "sched_setaffinity"):
        return False
    return n_processes >= len(os.sched_getaffinity(0)) if pin == "auto" else pin


def free_core(taken: Iterable[int | None]) -> int:
    """Choose a core.

    Args:
        taken: Cores of other processes; None: of one that keeps to none.

    Returns:
        The first of those that this process may use to which the fewest keep.
    """
    n_taken = Counter(taken)
    return min(sorted(os.sched_getaffinity(0)), key=lambda core: n_taken[core])


def keep_to(core: int | None) -> None:
    """Keep this process, with all its threads to come, to a core; None: to none."""
    if core is not None:
        os.sched_setaffinity(0, {core})
