"""Server processes that are measured: put on chosen cores, CPU and memory read from /proc."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_COMMAND = ("-c", "from recsys.cli.main import app; app()", "serve")
#: All that this process may use, before it moves itself to one of them.
CORES = frozenset(os.sched_getaffinity(0))
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Served:
    """A server that takes calls.

    Args:
        address: Where.
        process: Its process; with workers, the one that watches them.
        folder: Of the workspace, a copy.
    """

    address: str
    process: subprocess.Popen
    folder: Path

    def pids(self) -> list[int]:
        """List the processes that serve."""
        pid = self.process.pid
        listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [int(found) for found in listed] or [pid]

    def cpu_s(self) -> float:
        """Sum the CPU seconds of all processes that serve."""
        return sum(map(cpu_of, self.pids()))

    def rss_mb(self) -> float:
        """Sum their resident memory, in MiB."""
        pages = (Path(f"/proc/{pid}/statm").read_text().split()[1] for pid in self.pids())
        return sum(map(int, pages)) * os.sysconf("SC_PAGE_SIZE") / 2**20


def cpu_of(pid: int) -> float:
    """Give the CPU seconds of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / _TICKS


@contextlib.contextmanager
def served(
    workspace: Path,
    *options: str,
    cores: set[int] | None = None,
    python: str = sys.executable,
    **settings: object,
) -> Iterator[Served]:
    """Serve a copy of a workspace.

    Args:
        workspace: It is copied.
        options: Of `recsys serve`.
        cores: That it keeps to; None: all.
        python: Whose recsys serves.
        settings: Keys of `[serving]`.
    """
    variables = {f"RECSYS_SERVING__{key.upper()}": str(value) for key, value in settings.items()}
    with tempfile.TemporaryDirectory(dir=workspace.parent, prefix="serving-") as temporary:
        folder = Path(temporary) / "w"
        shutil.copytree(workspace, folder, ignore=shutil.ignore_patterns("runs", "reports"))
        # Else the system writes the copy half a minute later, and the server's fsync waits for it.
        os.sync()
        pinned = ["taskset", "-c", ",".join(map(str, sorted(cores or CORES)))]
        process = subprocess.Popen(
            [*pinned, python, *_COMMAND, "--workspace", str(folder), "--port", "0", *options],
            stdout=subprocess.PIPE,
            text=True,
            # Without the folder that this was started in: it may hold another recsys.
            env={**os.environ, "PYTHONSAFEPATH": "1", **variables},
        )
        try:
            line = process.stdout.readline()
            yield Served(line.removeprefix("listening on ").strip(), process, folder)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(900)
            process.stdout.close()
