"""Load: arrivals at random instants that wait for no answer, and callers that do.

An open loop draws all instants before it begins, and counts the time of a call from its instant,
not from when it was sent: a server that stalls is charged for everybody who would have come.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import grpc
import numpy as np

from recsys.v1 import ranking_pb2, ranking_pb2_grpc


@dataclass
class Outcome:
    """What became of calls.

    Args:
        seconds: From the instant of arrival to the answer, of those that were answered.
        codes: How many ended how; `OK` for answers.
        wall_s: From the first arrival to the last answer.
        n_incomplete: Answers that were less than the whole bundle's.
        cpu_s: CPU seconds of the server, where they were read.
    """

    seconds: list[float] = field(default_factory=list)
    codes: Counter = field(default_factory=Counter)
    wall_s: float = 0.0
    n_incomplete: int = 0
    cpu_s: float = 0.0

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


def open_loop(
    address: str,
    requests: Sequence[ranking_pb2.RankRequest],
    *,
    rate: float,
    seconds: float,
    deadline_s: float,
    rng: np.random.Generator,
) -> Outcome:
    """Make Poisson arrivals."""
    n_channels = 8
    opened = channels(address, n_channels)
    stubs = [ranking_pb2_grpc.RankingServiceStub(channel) for channel in opened]
    arrivals = np.cumsum(rng.exponential(1 / rate, round(rate * seconds)))
    outcome, lock, pending = Outcome(), threading.Lock(), threading.Semaphore(0)
    begun = time.perf_counter()

    def ended(call: grpc.Future, due: float) -> None:
        took = time.perf_counter() - begun - due
        code = call.code().name
        with lock:
            outcome.codes[code] += 1
            if code == "OK":
                outcome.seconds.append(took)
                outcome.n_incomplete += any("answered without" in w for w in call.result().warnings)
        pending.release()

    for number, due in enumerate(arrivals.tolist()):
        wait_s = begun + due - time.perf_counter()
        if wait_s > 0:
            time.sleep(wait_s)
        stub = stubs[number % n_channels]
        call = stub.Rank.future(requests[number % len(requests)], timeout=deadline_s)
        call.add_done_callback(lambda done, due=due: ended(done, due))
    for _ in arrivals:
        pending.acquire()
    outcome.wall_s = time.perf_counter() - begun
    for channel in opened:
        channel.close()
    return outcome


def closed_loop(
    call: Callable[[int, int], object],
    *,
    n_callers: int,
    seconds: float,
    cpu: Callable[[], float] = lambda: 0.0,
) -> Outcome:
    """Let callers call one after another; `call` takes the caller's number and the call's."""
    cpu_s = cpu()
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
    outcome.cpu_s = cpu() - cpu_s
    return outcome
