"""What became of calls, and callers that wait for their answers.

`load.wire` makes calls at a tenth of the cost; these callers are for what it cannot speak to, and
for clients as people use them.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import grpc
import numpy as np


@dataclass
class Outcome:
    """What became of calls.

    Args:
        seconds: From the instant of arrival to the answer, of those that were answered.
        codes: How many ended how; `OK` for answers.
        wall_s: From the first arrival to the last answer.
        n_incomplete: Answers that were less than the whole bundle's.
        cpu_s: CPU seconds of the server, where they were read.
        load_cpu_s: CPU seconds of this process, which makes the load.
    """

    seconds: list[float] = field(default_factory=list)
    codes: Counter = field(default_factory=Counter)
    wall_s: float = 0.0
    n_incomplete: int = 0
    cpu_s: float = 0.0
    load_cpu_s: float = 0.0

    def quantile_ms(self, share: float) -> float:
        """Give a quantile in milliseconds; NaN without answers."""
        return float(np.quantile(self.seconds, share) * 1000) if self.seconds else float("nan")

    @property
    def cpu_ms(self) -> float:
        """CPU milliseconds of the server per answer."""
        return 1000 * self.cpu_s / self.codes["OK"]

    @property
    def goodput(self) -> float:
        """Answers per second."""
        return self.codes["OK"] / self.wall_s


def channels(address: str, n: int) -> list[grpc.Channel]:
    """Open connections of their own."""
    options = (("grpc.use_local_subchannel_pool", 1),)
    opened = [grpc.insecure_channel(address, options=options) for _ in range(n)]
    for channel in opened:
        grpc.channel_ready_future(channel).result(30)
    return opened


def closed_loop(
    call: Callable[[int, int], object],
    *,
    n_callers: int,
    seconds: float,
    cpu: Callable[[], float] = lambda: 0.0,
) -> Outcome:
    """Let callers call one after another; `call` takes the caller's number and the call's."""
    cpu_s, load_cpu_s = cpu(), time.process_time()
    outcome, lock = Outcome(), threading.Lock()
    end = time.perf_counter() + seconds

    def run(caller: int) -> None:
        number, took, codes = 0, [], Counter()
        while (start := time.perf_counter()) < end:
            try:
                call(caller, number)
                codes["OK"] += 1
                took.append(time.perf_counter() - start)
            except grpc.RpcError as error:
                codes[error.code().name] += 1
            number += 1
        with lock:
            outcome.seconds += took
            outcome.codes += codes

    begun = time.perf_counter()
    threads = [threading.Thread(target=run, args=(caller,)) for caller in range(n_callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    outcome.wall_s = time.perf_counter() - begun
    outcome.cpu_s, outcome.load_cpu_s = cpu() - cpu_s, time.process_time() - load_cpu_s
    return outcome
