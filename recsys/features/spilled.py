"""A log as integers in files, encoded piece by piece and mapped: its length costs no memory.

What stays in memory is what names things: ids, versions of items and users, distinct contexts, and
the ids of sessions where events have one.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from recsys.events.snapshot import LogSnapshot
from recsys.features.actions import (
    ACTION_COLUMNS,
    Actions,
    EncodedLog,
    empty_log,
    encode_next,
    no_actions,
)
from recsys.features.contexts import recent_impressions


def encode_pieces(pieces: Iterable[LogSnapshot], folder: Path) -> EncodedLog:
    """Encode a log that is longer than the memory.

    Args:
        pieces: Of the log, each later than the one before, such as `read_pieces` gives.
        folder: An empty one, for a file per column; they must stay as long as the log is used.

    Returns:
        What `encode_log` gives, but for the numbers of rows, which differ; its columns are mapped
        from the files and cannot be written to.
    """
    log, latest_at = empty_log(), 0
    shown: pl.DataFrame | None = None
    with ExitStack() as stack:
        files = {name: stack.enter_context((folder / name).open("wb")) for name in ACTION_COLUMNS}
        for piece in pieces:
            rows, shown = encode_next(piece, log, shown)
            for name, file in files.items():
                np.ascontiguousarray(getattr(rows, name)).tofile(file)
            latest_at = int(rows.visible[-1]) if len(rows) else latest_at
    recent = [] if shown is None else recent_impressions(shown, latest_at)
    return replace(log, actions=_mapped(folder), recent=recent)


def _mapped(folder: Path) -> Actions:
    kinds = {name: getattr(no_actions(), name).dtype for name in ACTION_COLUMNS}
    if not (folder / "types").stat().st_size:
        return no_actions()  # an empty file cannot be mapped
    return Actions(**{name: np.memmap(folder / name, kind, "r") for name, kind in kinds.items()})
