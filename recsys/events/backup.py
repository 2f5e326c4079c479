"""A copy of the log that can be put back, made while servers write and merges run.

The spool is copied first and only as far as it is durable, the tables afterwards and while no
process may write them. What a merge moves meanwhile is then in the copy twice, never missing; a log
that is read keeps each event id once.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path
from typing import Final

from recsys.config import LogConfig
from recsys.errors import LogError
from recsys.events.durable_end import durable_end
from recsys.events.erasure import erasure_files
from recsys.events.spool import spool_files, spool_folder, sync_folder
from recsys.events.warehouse import open_warehouse

_WAIT_S: Final = 60.0
#: DuckDB keeps what it has not moved into its file yet in another one beside it.
_WRITE_AHEAD: Final = ".wal"


def back_up_log(config: LogConfig, folder: Path, *, wait_s: float = _WAIT_S) -> int:
    """Copy tables and spool.

    Args:
        config: The log.
        folder: Must not exist yet; gets the files under their own names.
        wait_s: How long to wait for a process that writes the tables, seconds.

    Returns:
        Bytes copied.

    Raises:
        LogError: There is something already, or the log cannot be read.
    """
    path = Path(config.path)
    try:
        folder.mkdir(parents=True)
    except FileExistsError as error:
        raise LogError(folder, "something already", "a folder that does not exist yet") from error
    source, target = spool_folder(config), folder / spool_folder(config).name
    target.mkdir()
    # Users who are to be forgotten first: the copy must not know them longer than the log does.
    asked = (file.path for file in erasure_files(source))
    n_bytes = sum(
        _copy_durable(file, target / file.name) for file in (*asked, *spool_files(source))
    )
    if path.exists():
        with open_warehouse(config, read_only=True, wait_s=wait_s):
            # The tables last: closing their copy's source ends the lock that keeps writers out.
            for name in (f"{path.name}{_WRITE_AHEAD}", path.name):
                with contextlib.suppress(FileNotFoundError):
                    n_bytes += _copy(path.with_name(name), folder / name)
    sync_folder(target)
    sync_folder(folder)
    return n_bytes


def _copy(source: Path, target: Path) -> int:
    shutil.copyfile(source, target)
    with target.open("rb") as file:
        os.fsync(file.fileno())
    return target.stat().st_size


def _copy_durable(source: Path, target: Path) -> int:
    """Copy a spool file as far as it is durable.

    Returns:
        Bytes; 0 for one that a merge has taken away: the tables, copied later, have it.
    """
    with contextlib.suppress(FileNotFoundError), source.open("rb") as file:
        end, _ = durable_end(file.fileno())
        with target.open("wb") as copy:
            while file.tell() < end:
                copy.write(file.read(min(1 << 20, end - file.tell())))
            copy.flush()
            os.fsync(copy.fileno())
        return end
    return 0
