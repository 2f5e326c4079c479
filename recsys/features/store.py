"""Feature columns of past requests on disk, so that only what is new or changed is computed.

A column is named by everything that its values depend on: the log, the requests, the expression,
the aggregates under it and the kinds of the attributes that it reads. A new plugin is therefore
computed alone, and a changed one again; nothing has to be told. Columns are written beside and
renamed into place, in pieces, so neither a killed run nor a long log leaves half a column or fills
the memory.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import xxhash
from numpy.typing import NDArray

from recsys.events.frames import KINDS
from recsys.events.snapshot import LogSnapshot
from recsys.features.plan import FeaturePlan
from recsys.features.reading import StateReader
from recsys.features.slates import Slates
from recsys.features.vocabulary import Feature

#: Changes whenever a fold or the meaning of a column does: older columns are then not found.
FORMAT: Final = 2
#: Candidates that are computed at a time.
_CHUNK_CANDIDATES: Final = 1_000_000
#: Sets of columns that are kept: of the present log and requests, and of the ones before.
_KEPT: Final = 2

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Backfill:
    """What a backfill found and did.

    Args:
        matrix: float32 (n_candidates, n_features): all columns in order.
        computed: Names of the columns that were computed.
        found: Names of those that were there.
    """

    matrix: NDArray[np.float32]
    computed: tuple[str, ...]
    found: tuple[str, ...]


class ColumnStore:
    """Columns of the requests of one log.

    Args:
        folder: Of all stores of a workspace; made when it is first written to.
        snapshot: The log.
        slates: The requests.
    """

    def __init__(self, folder: Path, snapshot: LogSnapshot, slates: Slates) -> None:
        self._root = folder
        self._slates = slates
        self._folder = folder / f"{_log_key(snapshot)}-{_slates_key(slates)}"

    def backfill(
        self,
        plan: FeaturePlan,
        reader: StateReader,
        scores: Mapping[str, NDArray[np.float32]],
        progress: Progress,
    ) -> Backfill:
        """Read the columns that are there, compute and keep the others.

        Args:
            plan: Which columns.
            reader: The log.
            scores: Columns of feature models; what is made of them is computed and not kept.
            progress: Called with (what, candidates done, candidates in all).

        Returns:
            All columns.
        """
        of_models = {column for model in plan.models.values() for column in model.columns}
        keys = {
            feature.name: _column_key(plan, feature)
            for feature in plan.features
            if of_models.isdisjoint(feature.expr.meta.root_names())
        }
        found = {name: self._read(key) for name, key in keys.items()}
        missing = [name for name in plan.names if found.get(name) is None]
        matrix = np.empty((len(self._slates.items), len(plan.names)), dtype=np.float32, order="F")
        for position, name in enumerate(plan.names):
            column = found.get(name)
            if column is not None:
                matrix[:, position] = column
        wanted, places = plan.only(missing), [plan.names.index(name) for name in missing]
        for low, high, part in self._parts():
            scored = {name: column[low:high] for name, column in scores.items()}
            matrix[low:high, places] = wanted.matrix(part, reader, scored)
            progress("computing features", high, len(matrix))
        for name, position in zip(missing, places, strict=True):
            if name in keys:
                self._write(keys[name], matrix[:, position])
        self._drop_old()
        there = tuple(name for name in plan.names if name not in missing)
        return Backfill(matrix, tuple(missing), there)

    def _parts(self) -> Iterator[tuple[int, int, Slates]]:
        offsets, n_rows = self._slates.offsets, len(self._slates.items)
        cuts = np.searchsorted(offsets, np.arange(_CHUNK_CANDIDATES, n_rows, _CHUNK_CANDIDATES))
        starts = np.unique(np.concatenate([[0], cuts, [len(self._slates)]]))
        for first, last in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
            yield int(offsets[first]), int(offsets[last]), self._slates.part(first, last)

    def _read(self, key: str) -> NDArray[np.float32] | None:
        path = self._folder / f"{key}.npy"
        if not path.is_file():
            return None
        column: NDArray[np.float32] = np.load(path, allow_pickle=False)
        return column if column.shape == (len(self._slates.items),) else None

    def _write(self, key: str, column: NDArray[np.float32]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        partial = self._folder / f".{key}.partial"
        with partial.open("wb") as file:
            np.save(file, np.ascontiguousarray(column), allow_pickle=False)
        partial.replace(self._folder / f"{key}.npy")

    def _drop_old(self) -> None:
        if not self._root.is_dir():
            return
        if self._folder.is_dir():
            self._folder.touch()
        folders = [path for path in self._root.iterdir() if path.is_dir()]
        for path in sorted(folders, key=lambda p: p.stat().st_mtime)[:-_KEPT]:
            shutil.rmtree(path, ignore_errors=True)


def _column_key(plan: FeaturePlan, feature: Feature) -> str:
    parts = [str(FORMAT), feature.name, str(feature.listwise), str(feature.per_request)]
    for name in sorted(feature.expr.meta.root_names()):
        scope, _, attribute = name.partition(".")
        profile = plan.profile.scopes.get(scope, {}).get(attribute)
        parts += [name, repr(plan.aggregates.get(name)), profile.kind if profile else ""]
    text = "\x1f".join(parts).encode() + feature.expr.meta.serialize()
    return xxhash.xxh3_128_hexdigest(text)


def _log_key(snapshot: LogSnapshot) -> str:
    """Name the events of a log; an event with a known id is a known event.

    Returns:
        A hash of their ids and of when they became visible.
    """
    # An erasure leaves the ids of events and changes whose they are.
    digest = xxhash.xxh3_64(f"{snapshot.erasures}\n".encode())
    for kind in KINDS:
        frame = getattr(snapshot, kind)
        digest.update(f"{kind} {frame.height}\n".encode())
        digest.update("\n".join(frame["event_id"].to_list()).encode())
        digest.update(np.ascontiguousarray(frame["visible_at"].to_numpy()).tobytes())
    return digest.hexdigest()


def _slates_key(slates: Slates) -> str:
    digest = xxhash.xxh3_64()
    for column in (slates.users, slates.as_of, slates.items, slates.offsets):
        digest.update(np.ascontiguousarray(column).tobytes())
    digest.update(repr(list(slates.sessions)).encode())
    return digest.hexdigest()
