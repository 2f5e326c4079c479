"""The server's time never stands still, never runs back, and can continue an old log."""

from __future__ import annotations

import threading
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from recsys.serving.clock import LogClock, SystemClock, make_clock

DAY_US = 86_400_000_000


@given(st.integers(0, 2**50), st.lists(st.integers(0, 2**60), min_size=2, max_size=50))
def test_system_clock_is_strictly_increasing_whatever_the_machine_says(after_us, readings_ns):
    readings = iter(readings_ns)
    clock = SystemClock(after_us, read_ns=lambda: next(readings))
    instants = [after_us, *(clock.now_us() for _ in readings_ns)]
    assert all(earlier < later for earlier, later in pairwise(instants))


def test_system_clock_tells_system_time():
    assert SystemClock(read_ns=lambda: 1_700_000_000_000_000_123).now_us() == 1_700_000_000_000_000


def test_log_clock_continues_from_the_last_event_at_the_pace_of_time():
    readings = iter([5_000, 5_000, 5_000 + DAY_US * 1000])
    clock = LogClock(1_600_000_000_000_000, read_ns=lambda: next(readings))
    assert clock.now_us() == 1_600_000_000_000_001
    assert clock.now_us() == 1_600_000_000_000_000 + DAY_US


def test_both_clocks_begin_after_the_log():
    last_us = 4_000_000_000_000_000
    assert make_clock("system", last_us)[0].now_us() == last_us + 1
    assert last_us < make_clock("log", last_us)[0].now_us() < last_us + DAY_US
    assert make_clock("log", 1_600_000_000_000_000)[0].now_us() < 1_600_000_000_000_000 + DAY_US


def test_processes_with_one_anchor_tell_one_time():
    _, anchor = make_clock("log", 1_600_000_000_000_000)
    one, _ = make_clock("log", 1_600_000_000_000_000, anchor)
    other, same = make_clock("log", 1_600_000_005_000_000, anchor)
    assert same == anchor
    assert abs(one.now_us() - other.now_us()) < 1_000_000


def test_two_threads_never_get_one_instant():
    clock, found = SystemClock(read_ns=lambda: 0), []
    threads = [
        threading.Thread(target=lambda: found.extend([clock.now_us() for _ in range(2000)]))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == list(range(1, 8001))
