"""Erases users from a workspace: the log, and everything that was made of it and names them.

First the log is asked to forget; from then on nobody who reads it finds them, and servers forget
within a second. Then what was made of the log goes: states that servers left, columns of past
requests, the sample of what was served. The bytes of the log go last. Each step may be repeated, so
a run that was killed is finished by the next one.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from recsys.config import LogConfig
from recsys.events.erasure import ask_to_erase, pending_erasures
from recsys.events.frames import Kind
from recsys.events.rewriting import carry_out_erasures
from recsys.events.spool import read_spool, spool_folder
from recsys.events.warehouse import open_warehouse
from recsys.pipeline.feature_log import erase_from_feature_log
from recsys.workspace import Workspace

_WAIT_S = 30.0


@dataclass(frozen=True, slots=True)
class Receipt:
    """What was erased.

    Args:
        users: Users that were taken out; those of runs that were killed are among them.
        rows: Rows of the log that named one of them, by table.
        served_requests: Requests that were taken out of the feature log.
        removed: Folders of the workspace that were removed; they are made again when needed.
        waiting: Spool files that a server has not let go of: run the command again.
        bundles: Bundles that were trained on what the users did; they name nobody.
    """

    users: int
    rows: dict[Kind, int]
    served_requests: int
    removed: list[str]
    waiting: int
    bundles: list[str]


def forget_users(workspace: Workspace, user_ids: Sequence[str]) -> Receipt:
    """Erase users, and finish erasures of runs that were killed.

    Args:
        workspace: Whose log.
        user_ids: Whom; may be empty.

    Returns:
        What was done.

    Raises:
        LogError: The log is held by another process, or cannot be written.
        SpoolDamagedError: The spool is damaged.
    """
    log = workspace.log_config
    if user_ids:
        newest = _newest(log)
        now = time.time_ns() // 1000
        # A clock that continues from the log's last event is behind the machine's.
        until = newest if workspace.config.serving.clock == "log" else max(now, newest)
        ask_to_erase(log, user_ids, until)
    wanted = pending_erasures(log)
    names = sorted({erasure.user_id for erasure in wanted})
    # A training run of several processes that was killed leaves its copy of the log.
    copies = sorted(workspace.runs.glob("*/snapshot"))
    made = (workspace.state, workspace.columns, *copies) if wanted else ()
    removed = [str(path.relative_to(workspace.folder)) for path in made if _remove(path)]
    served: list[int] = []
    report = carry_out_erasures(
        log, also=lambda: served.append(erase_from_feature_log(workspace.feature_log, names))
    )
    return Receipt(
        users=report.users,
        rows=report.rows,
        served_requests=sum(served),
        removed=removed,
        waiting=report.waiting,
        bundles=sorted(path.name for path in workspace.bundles.glob("2*")) if wanted else [],
    )


def _newest(log: LogConfig) -> int:
    spooled = (visible.visible_at for visible in read_spool(spool_folder(log)))
    newest = max(spooled, default=0)
    if Path(log.path).exists():
        with open_warehouse(log, read_only=True, wait_s=_WAIT_S) as warehouse:
            newest = max(newest, warehouse.newest())
    return newest


def _remove(folder: Path) -> bool:
    if not folder.exists():
        return False
    shutil.rmtree(folder)
    return True
