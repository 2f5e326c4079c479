"""A disk that is really full: writing is refused, nothing is lost, and it goes on with room."""

from __future__ import annotations

import json
import subprocess
import sys

SCRIPT = """
import json, resource, signal, sys
from pathlib import Path
from recsys.errors import LogError
from recsys.events.spool import SpoolWriter, read_spool
from recsys.schema import InteractionEvent, VisibleEvent

def clicks(start):
    return [
        VisibleEvent(InteractionEvent(f"e{n}", n, "u", "i", "click"), n)
        for n in range(start, start + 100)
    ]

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
folder, written, refused = Path(sys.argv[1]), [], 0
writer = SpoolWriter(folder)
soft = resource.getrlimit(resource.RLIMIT_FSIZE)
for batch in range(20):
    limit = 30_000 if batch < 10 else resource.RLIM_INFINITY
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, soft[1]))
    events = clicks(100 * batch)
    try:
        writer.append(events)
        writer.sync()
        written += events
    except LogError as error:
        refused += 1
        print(json.dumps(str(error)))
writer.close()
assert list(read_spool(folder)) == written, "what is read is not what was written"
print(json.dumps({"refused": refused, "written": len(written)}))
"""


def test_a_file_that_may_not_grow_refuses_whole_batches_and_writing_goes_on_later(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, tmp_path / "spool"],
        capture_output=True,
        text=True,
        check=True,
    )
    *errors, last = [json.loads(line) for line in done.stdout.splitlines()]
    assert last["refused"] == len(errors) > 0
    assert last["written"] == 2000 - 100 * last["refused"]
    assert all("File too large" in error for error in errors)
