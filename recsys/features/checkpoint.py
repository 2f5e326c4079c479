"""The online state on disk: a server that starts reads it and then only the tail of the log.

A folder with `state.json` (ids, attributes, and what the state was made of) and `state.cells` (all
arrays, which workers map and so share). It is written beside and renamed into place; its arrays are
hashed, so that a damaged one is refused and the state is built from the log instead.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
from numpy.typing import NDArray

from recsys.errors import CheckpointError
from recsys.features.actions import EncodedLog, EventTypes, no_actions
from recsys.features.contexts import Contexts
from recsys.features.entities import Entities
from recsys.features.mapped import StoredArray, map_arrays, write_arrays
from recsys.features.online import OnlineState, StateRecord
from recsys.features.sessions import Visitors
from recsys.features.vocabulary import Aggregate

#: Changes whenever a fold or the layout of a state does.
FORMAT: Final = 4
_FACTS: Final = "state.json"
_ARRAYS: Final = "state.cells"
#: Before the names of the caller's arrays.
_EXTRA: Final = "extra/"


@dataclass(frozen=True, slots=True)
class _Facts:
    format: int
    aggregates: list[str]
    sha256: str
    arrays: list[StoredArray]
    record: StateRecord


def save_state(
    state: OnlineState,
    aggregates: Sequence[Aggregate],
    folder: Path,
    extra: dict[str, NDArray[Any]],
) -> None:
    """Write a state; nobody may change it meanwhile.

    Args:
        state: The state.
        aggregates: What it keeps.
        folder: Replaced when everything is on disk.
        extra: Arrays of the caller that belong to it.
    """
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    record, arrays = state.record()
    named = {**arrays, **{f"{_EXTRA}{n}": array for n, array in extra.items()}}
    stored = write_arrays(partial / _ARRAYS, named)
    facts = _Facts(FORMAT, _names(aggregates), _sha256(partial / _ARRAYS), stored, record)
    (partial / _FACTS).write_bytes(msgspec.json.encode(facts))
    old = folder.with_name(f".{folder.name}.old")
    if folder.exists():
        shutil.rmtree(old, ignore_errors=True)
        folder.rename(old)
    partial.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def load_state(
    aggregates: Sequence[Aggregate], folder: Path
) -> tuple[OnlineState, dict[str, NDArray[Any]]]:
    """Read a state.

    Args:
        aggregates: What it must keep.
        folder: What `save_state` wrote.

    Returns:
        The state and the caller's arrays.

    Raises:
        CheckpointError: There is none, it is damaged, of another format, or of other aggregates.
    """
    facts = _read_facts(folder)
    if facts.format != FORMAT:
        raise CheckpointError(folder, f"format {facts.format}", f"format {FORMAT}")
    if facts.aggregates != _names(aggregates):
        raise CheckpointError(folder, "other aggregates", "those of the bundle's plugins")
    path = folder / _ARRAYS
    if not path.is_file() or _sha256(path) != facts.sha256:
        raise CheckpointError(path, "missing or other bytes than were written", "the cells")
    arrays = map_arrays(path, facts.arrays)
    names = [s.name.removeprefix(_EXTRA) for s in facts.arrays if s.name.startswith(_EXTRA)]
    extra = {name: arrays[f"{_EXTRA}{name}"] for name in names}
    cells = {name: array for name, array in arrays.items() if not name.startswith(_EXTRA)}
    state = OnlineState(_log_of(facts.record), aggregates)
    state.restore(facts.record, cells)
    return state, extra


def _log_of(record: StateRecord) -> EncodedLog:
    items, users, visitors, contexts = Entities(), Entities(), Visitors(), Contexts()
    items.restore(record.items)
    users.restore(record.users)
    visitors.restore(record.visitors, record.unused_visitors)
    contexts.restore(record.contexts, record.context_names)
    types = EventTypes(record.types[1:])
    return EncodedLog(items, users, types, visitors, contexts, no_actions(), record.recent)


def _read_facts(folder: Path) -> _Facts:
    try:
        return msgspec.json.decode((folder / _FACTS).read_bytes(), type=_Facts)
    except FileNotFoundError as error:
        raise CheckpointError(folder, f"no {_FACTS}", "a state that was saved") from error
    except (OSError, msgspec.MsgspecError) as error:
        raise CheckpointError(folder / _FACTS, str(error), "a state that was saved") from error


def _names(aggregates: Sequence[Aggregate]) -> list[str]:
    return [repr(aggregate) for aggregate in aggregates]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
