"""One of several server processes on a port; started by `recsys.serving.workers`, not by people.

It reads a line of JSON from standard input, serves, and says where on standard output. When
standard input ends, whoever started it has gone, and it stops.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
import threading
from pathlib import Path

from recsys.errors import RecsysError
from recsys.serving.cores import keep_to
from recsys.serving.workers import Assignment, Ready
from recsys.workspace import open_workspace


def main() -> int:
    """Serve as assigned.

    Returns:
        The exit status.
    """
    # Both are answered by whoever started this process, which then sends SIGTERM.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    assignment = Assignment(**json.loads(sys.stdin.readline()))
    keep_to(assignment.core)
    gc.disable()  # until it serves, as `recsys.serving.server.serve` does, imports included
    threading.Thread(target=_stop_when_alone, name="starter", daemon=True).start()
    from recsys.serving.logs import log_to_stderr
    from recsys.serving.server import run_until_signal, start_server

    log_to_stderr()
    try:
        server = start_server(
            open_workspace(Path(assignment.workspace)),
            port=assignment.port,
            anchor=assignment.anchor,
            is_shared=True,
            trace=assignment.trace,
        )
    except RecsysError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    run_until_signal(server, lambda: _say(Ready(server.address, server.clock_anchor)))
    return 0


def _say(ready: Ready) -> None:
    sys.stdout.write(json.dumps(ready._asdict()) + "\n")
    sys.stdout.flush()


def _stop_when_alone() -> None:
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
