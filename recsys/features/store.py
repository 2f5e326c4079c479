"""Feature columns of past requests on disk, so that only what is new or changed is computed.

A column is named by everything that its values depend on: the log, the requests, the expression,
the aggregates under it and the kinds of the attributes that it reads. A new plugin is therefore
computed alone, and a changed one again; nothing has to be told. Columns are written beside and
renamed into place, in pieces, so neither a killed run nor a long log leaves half a column or fills
the memory.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

import numpy as np
import xxhash
from numpy.typing import NDArray

from recsys.events.progress import Progress
from recsys.features.actions import EncodedLog
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


@dataclass(frozen=True, slots=True)
class Backfill:
    """What a backfill found and did.

    Args:
        n_rows: Candidates.
        computed: Names of the columns that were computed.
        found: Names of those that were there.
    """

    n_rows: int
    computed: tuple[str, ...]
    found: tuple[str, ...]


class ColumnStore:
    """Columns of the requests of one log.

    Args:
        folder: Of all stores of a workspace; made when it is first written to.
        log_key: Names the events of the log, as `LogDigest.key` does.
        log: The same log, encoded.
        slates: The requests.
    """

    def __init__(self, folder: Path, log_key: str, log: EncodedLog, slates: Slates) -> None:
        self._root = folder
        self._slates = slates
        self._folder = folder / f"{log_key}-{_slates_key(slates, log)}"

    def backfill(self, plan: FeaturePlan, reader: StateReader, progress: Progress) -> Backfill:
        """Compute the columns that are not there yet, and write them as they come.

        Args:
            plan: Which columns; those that are made of feature models' are passed over.
            reader: The log.
            progress: Called with (what, candidates done, candidates in all).

        Returns:
            What was done.
        """
        keys = _kept_keys(plan)
        missing = [name for name, key in keys.items() if self._read(key) is None]
        wanted, n_rows = plan.only(missing), len(self._slates.items)
        if missing:
            self._folder.mkdir(parents=True, exist_ok=True)
            files = {name: self._folder / f".{keys[name]}.partial" for name in missing}
            with ExitStack() as stack:
                opened = [stack.enter_context(files[name].open("wb")) for name in wanted.names]
                for file in opened:
                    _write_header(file, n_rows)
                for _, high, part in self._parts():
                    matrix = wanted.matrix(part, reader, {})
                    for position, file in enumerate(opened):
                        np.ascontiguousarray(matrix[:, position]).tofile(file)
                    progress("computing features", high, n_rows)
            for name, partial in files.items():
                partial.replace(self._path(keys[name]))
        self._drop_old()
        there = tuple(name for name in keys if name not in missing)
        return Backfill(n_rows, tuple(missing), there)

    def matrix(
        self,
        plan: FeaturePlan,
        reader: StateReader,
        scores: Mapping[str, NDArray[np.float32]],
        progress: Progress,
    ) -> NDArray[np.float32]:
        """Read all columns, those that are not there yet computed and kept before.

        Args:
            plan: Which columns.
            reader: The log.
            scores: Columns of feature models; what is made of them is computed and not kept.
            progress: Called with (what, candidates done, candidates in all).

        Returns:
            float32 (n_candidates, n_features): in the order of the plan.
        """
        self.backfill(plan, reader, progress)
        keys = _kept_keys(plan)
        matrix = np.empty((len(self._slates.items), len(plan.names)), dtype=np.float32, order="F")
        for position, name in enumerate(plan.names):
            if name in keys:
                matrix[:, position] = self._read(keys[name])
        others = [name for name in plan.names if name not in keys]
        wanted, places = plan.only(others), [plan.names.index(name) for name in others]
        for low, high, part in self._parts() if others else ():
            scored = {name: column[low:high] for name, column in scores.items()}
            matrix[low:high, places] = wanted.matrix(part, reader, scored)
            progress("computing features", high, len(matrix))
        return matrix

    def _parts(self) -> Iterator[tuple[int, int, Slates]]:
        offsets, n_rows = self._slates.offsets, len(self._slates.items)
        cuts = np.searchsorted(offsets, np.arange(_CHUNK_CANDIDATES, n_rows, _CHUNK_CANDIDATES))
        starts = np.unique(np.concatenate([[0], cuts, [len(self._slates)]]))
        for first, last in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
            yield int(offsets[first]), int(offsets[last]), self._slates.part(first, last)

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}.npy"

    def _read(self, key: str) -> NDArray[np.float32] | None:
        path = self._path(key)
        if not path.is_file():
            return None
        column: NDArray[np.float32] = np.load(path, mmap_mode="r", allow_pickle=False)
        return column if column.shape == (len(self._slates.items),) else None

    def _drop_old(self) -> None:
        if not self._root.is_dir():
            return
        if self._folder.is_dir():
            self._folder.touch()
        folders = [path for path in self._root.iterdir() if path.is_dir()]
        for path in sorted(folders, key=lambda p: p.stat().st_mtime)[:-_KEPT]:
            shutil.rmtree(path, ignore_errors=True)


def _kept_keys(plan: FeaturePlan) -> dict[str, str]:
    """Name the columns that are kept: all but those that are made of feature models'.

    Returns:
        Keys by name of the feature, in the order of the plan.
    """
    of_models = {column for model in plan.models.values() for column in model.columns}
    return {
        feature.name: _column_key(plan, feature)
        for feature in plan.features
        if of_models.isdisjoint(feature.expr.meta.root_names())
    }


def _write_header(file: IO[bytes], n_rows: int) -> None:
    column = {"descr": "<f4", "fortran_order": False, "shape": (n_rows,)}
    np.lib.format.write_array_header_1_0(file, column)
    file.flush()  # rows are written beside the buffer


def _column_key(plan: FeaturePlan, feature: Feature) -> str:
    parts = [str(FORMAT), feature.name, str(feature.listwise), str(feature.per_request)]
    for name in sorted(feature.expr.meta.root_names()):
        scope, _, attribute = name.partition(".")
        profile = plan.profile.scopes.get(scope, {}).get(attribute)
        parts += [name, repr(plan.aggregates.get(name)), profile.kind if profile else ""]
    text = "\x1f".join(parts).encode() + feature.expr.meta.serialize()
    return xxhash.xxh3_128_hexdigest(text)


def _slates_key(slates: Slates, log: EncodedLog) -> str:
    """Name requests by what they ask, however the log's rows are numbered.

    Returns:
        A hash of users, instants, candidates and sessions.
    """
    digest = xxhash.xxh3_64()
    for rows, ids in ((slates.users, log.users.ids), (slates.items, log.items.ids)):
        hashes = [xxhash.xxh3_64_intdigest(name.encode()) for name in ids]
        # Negative rows, of which there are two kinds, take the last places.
        digest.update(np.array([*hashes, 0, 1], dtype=np.uint64)[rows].tobytes())
    for column in (slates.as_of, slates.offsets):
        digest.update(np.ascontiguousarray(column).tobytes())
    digest.update(repr(list(slates.sessions)).encode())
    return digest.hexdigest()
