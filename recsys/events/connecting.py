"""Connections to the DuckDB file of the log: locked down, limited, patient with who holds it."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import duckdb

from recsys.config import LogConfig
from recsys.errors import LogError

#: Between two attempts, seconds.
RETRY_S: Final = 0.05
#: What DuckDB says when another process, or this one in another mode, has the file open.
_HELD: Final = ("Could not set lock", "with a different configuration")
#: In a process that DuckDB takes for interactive, such as a spawned one, long queries would draw a
#: progress bar into what a command prints.
_SILENT: Final = "SET enable_progress_bar = false; SET lock_configuration = true"
#: Sizes as DuckDB writes them; what is given in per cent of the machine's memory is none.
_SIZE: Final = re.compile(r"\s*([\d.]+)\s*([KMGT]?)(i?)B?\s*", re.IGNORECASE)
_POWERS: Final = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}
_writers: Final[set[Path]] = set()
_writers_lock: Final = threading.Lock()


def claim(path: Path, deadline: float) -> Callable[[], None]:
    """Keep other threads of this process from writing the file.

    DuckDB would let them share it, and two anti-joins at a time could let an event id in twice.

    Returns:
        What gives the claim back.

    Raises:
        LogError: Another thread holds the file until after the deadline.
    """
    key = path.resolve()
    while True:
        with _writers_lock:
            if key not in _writers:
                _writers.add(key)
                return lambda: _writers.discard(key)
        if time.monotonic() >= deadline:
            raise LogError(path, "another thread writes the file", "to be the only writer")
        time.sleep(RETRY_S)


def smaller_limit(configured: str, most: str) -> str:
    """Choose the smaller of two limits of memory.

    Args:
        configured: As a user writes it for DuckDB, `2GB` or `512MiB`.
        most: The other one, written alike.

    Returns:
        One of the two; the first where it is no size that can be compared, for DuckDB to judge.
    """
    found, other = _bytes_of(configured), _bytes_of(most)
    return configured if found is None or other is None or found <= other else most


def _bytes_of(size: str) -> float | None:
    parts = _SIZE.fullmatch(size)
    if parts is None or parts[1].count(".") > 1 or parts[1] == ".":
        return None
    number, letter, binary = parts.groups()
    return float(number) * float((1024 if binary else 1000) ** _POWERS[letter.upper()])


def connect(
    path: Path, config: LogConfig, read_only: bool, deadline: float, *, most_memory: str = ""
) -> duckdb.DuckDBPyConnection:
    """Open a file for this process, with nothing but the file within reach.

    Args:
        path: The file; a writer makes it, and its folder.
        config: How much memory and how many threads DuckDB may take; what does not fit goes to a
            folder beside the file.
        read_only: Many processes may read at once, but only while none writes.
        deadline: Until when to wait for who holds it, by `time.monotonic`.
        most_memory: Less than `config` allows is enough; counts where this process has no other
            connection to the file, with which it would share memory and settings.

    Returns:
        The connection.

    Raises:
        LogError: Another process holds the file until after the deadline, or it is damaged.
    """
    settings: dict[str, Any] = {
        "memory_limit": config.memory_limit,
        "threads": config.threads,
        # Queries see this database alone: no files, no network, no extensions.
        "enable_external_access": False,
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "allow_community_extensions": False,
    }
    # The setting itself must be the same for all connections of a process, what follows need not.
    limit = smaller_limit(config.memory_limit, most_memory)
    lock = f"SET memory_limit = '{limit}'; {_SILENT}" if limit != config.memory_limit else _SILENT
    if not read_only:
        _make_folder(path)
    while True:
        before = _file_number(path)
        try:
            connection = duckdb.connect(str(path), read_only=read_only, config=settings)
            # Refused where another connection of this process has locked the file already.
            with suppress(duckdb.InvalidInputException):
                connection.execute(lock)
            if before is None or before == _file_number(path):
                return connection
            connection.close()  # an erasure has put another file in this one's place
        except duckdb.Error as error:
            held = any(words in str(error) for words in _HELD)
            if not held or time.monotonic() >= deadline:
                raise LogError(path, *_open_problem(error, held)) from error
            time.sleep(RETRY_S)


def _file_number(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None


def _make_folder(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LogError(path, error.strerror or "no folder", "a folder that can be made") from error


def _open_problem(error: duckdb.Error, held: bool) -> tuple[str, str]:
    if held:
        return "another process holds the file", "to be alone, or all of them readers; try again"
    return first_line(error), "a DuckDB file that can be opened"


def first_line(error: duckdb.Error) -> str:
    """Say what DuckDB complains of, without its hints.

    Returns:
        One line.
    """
    return str(error).partition("\n")[0]
