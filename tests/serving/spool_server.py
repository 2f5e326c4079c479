"""A server process for tests that kill it: a ranking that is known, but the real spool."""

from __future__ import annotations

import gc
import sys
from pathlib import Path

from serving_fakes import FakeBundles, FakeEngine

from recsys.config import ServingConfig
from recsys.events.spool import SpoolWriter, read_spool
from recsys.serving.clock import make_clock
from recsys.serving.server import Parts, RunningServer, run_until_signal

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    engine = FakeEngine()
    engine.apply(read_spool(folder))
    parts = Parts(
        engine=engine,
        bundles=FakeBundles("v1"),
        writer=SpoolWriter(folder),
        clock=make_clock("system", engine.last_event_us)[0],
    )
    server = RunningServer(parts, ServingConfig(), 0)

    def say():
        sys.stdout.write(f"listening on {server.address}\nkept {gc.get_freeze_count()}\n")
        sys.stdout.flush()

    run_until_signal(server, say)
