"""The feature log: what the ranker was given for a sample of the requests that were answered.

A request costs one draw of a random number and, if it is drawn, one entry in a queue; a thread
writes Parquet files beside the log, each written whole and renamed into place. When they outgrow
their limit the oldest go. What does not fit into the queue, or cannot be written, is dropped and
counted: a log of samples must never hold up an answer.
"""

from __future__ import annotations

import contextlib
import os
import queue
import random
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import polars as pl
import structlog
import xxhash
from numpy.typing import NDArray

from recsys.schema import Attributes, AttributeValue

#: A file is written when so many requests have come together, or so much time has passed.
_FILE_REQUESTS: Final = 512
_FILE_AFTER_S: Final = 2.0
#: Requests that may wait for the writer.
_QUEUE_REQUESTS: Final = 2_000
_SCHEMA: Final[dict[str, pl.DataType]] = {
    "request_id": pl.String(),
    "user_id": pl.String(),
    "as_of": pl.Int64(),
    "last_visible_at": pl.Int64(),
    "n_events": pl.Int64(),
    "n_erased": pl.Int64(),
    "model_version": pl.String(),
    "plugins": pl.String(),
    "is_degraded": pl.Boolean(),
    "context": pl.String(),
    "session_id": pl.String(),
    "item_ids": pl.List(pl.String()),
    "seed_item_ids": pl.List(pl.String()),
    "candidates": pl.String(),
    "features": pl.List(pl.String()),
    "values": pl.List(pl.Float32()),
}
_JSON: Final = ("context", "candidates")

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class ServedRequest:
    """One request and what the ranker was given for it.

    Args:
        request_id: As the caller named it.
        user_id: Empty: nobody in particular.
        as_of: Instant of the request in microseconds.
        last_visible_at: `visible_at` of the newest event in the state that answered; together with
            the next it says which events had been folded in.
        n_events: How many events, of all kinds, that state had seen.
        n_erased: How many users had been taken out of the log that the state was made of.
        model_version: The bundle.
        plugins: `fingerprint` of the plugins that computed the columns.
        is_degraded: A plugin had failed, so columns are missing that should not be.
        context: Request attributes.
        session_id: The visit; empty: that of the user.
        item_ids: Candidates.
        seed_item_ids: What the user was looking at, as far as an event had named it.
        candidates: What the caller said of them: one value each by name, None: missing.
        features: Columns.
        matrix: float32 (n_candidates, n_features): NaN is missing.
    """

    request_id: str
    user_id: str
    as_of: int
    last_visible_at: int
    n_events: int
    n_erased: int
    model_version: str
    plugins: str
    is_degraded: bool
    context: Attributes
    session_id: str
    item_ids: list[str]
    seed_item_ids: list[str]
    candidates: Mapping[str, Sequence[AttributeValue | None]]
    features: tuple[str, ...]
    matrix: NDArray[np.float32]


def fingerprint(plugins: Mapping[str, str]) -> str:
    """Recognise a set of plugins.

    Args:
        plugins: Name to version; the version of a file in the plugin folder changes with its text.

    Returns:
        A few digits that change with any name or version.
    """
    text = "\0".join(f"{name}\0{version}" for name, version in sorted(plugins.items()))
    return xxhash.xxh3_64_hexdigest(text.encode())


class FeatureLog:
    """Writes a sample of what is served; safe to use from several threads and processes.

    Args:
        folder: Where the files go.
        share: Of the requests, 0 to 1.
        max_bytes: Of all files together; the oldest are removed beyond.
        rng: Draws the sample.
    """

    def __init__(self, folder: Path, share: float, max_bytes: int, rng: random.Random) -> None:
        self._folder = folder
        self._share = share
        self._max_bytes = max_bytes
        self._rng = rng
        self._queue: queue.Queue[ServedRequest | frozenset[str] | None] = queue.Queue()
        self._n_files = 0
        #: Requests that were drawn and are in no file.
        self.n_dropped = 0
        folder.mkdir(parents=True, exist_ok=True)
        self._thread = threading.Thread(target=self._run, name="feature-log", daemon=True)
        self._thread.start()

    def draw(self) -> bool:
        """Say whether the next request belongs to the sample.

        Returns:
            True for about `share` of the calls.
        """
        return self._rng.random() < self._share

    def put(self, served: ServedRequest) -> None:
        """Hand a request over; never waits. Its arrays must not be written to afterwards."""
        if self._queue.qsize() >= _QUEUE_REQUESTS:
            self.n_dropped += 1
        else:
            self._queue.put(served)

    def forget(self, user_ids: Sequence[str]) -> None:
        """Leave out what waits to be written about users."""
        self._queue.put(frozenset(user_ids))

    def close(self) -> None:
        """Write what is waiting."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while True:
            batch, is_closed = self._next_batch()
            if batch:
                try:
                    self._write(batch)
                except OSError as error:
                    self.n_dropped += len(batch)
                    _log.warning("feature_log_not_written", n=len(batch), cause=str(error))
            if is_closed:
                return

    def _next_batch(self) -> tuple[list[ServedRequest], bool]:
        first = self._queue.get()
        if not isinstance(first, ServedRequest):
            return [], first is None
        batch, deadline = [first], time.monotonic() + _FILE_AFTER_S
        while len(batch) < _FILE_REQUESTS:
            try:
                following = self._queue.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                break
            if following is None:
                return batch, True
            if isinstance(following, ServedRequest):
                batch.append(following)
            else:
                batch = [served for served in batch if served.user_id not in following]
        return batch, False

    def _write(self, batch: list[ServedRequest]) -> None:
        self._n_files += 1
        name = f"{batch[0].as_of:020d}-{os.getpid()}-{self._n_files:06d}"
        partial = self._folder / f"{name}.partial"
        _frame(batch).write_parquet(partial, compression="zstd")
        partial.rename(self._folder / f"{name}.parquet")
        self._remove_oldest()

    def _remove_oldest(self) -> None:
        sizes: list[tuple[Path, int]] = []
        for path in sorted(self._folder.glob("*.parquet")):
            # Another process may remove the same file.
            with contextlib.suppress(FileNotFoundError):
                sizes.append((path, path.stat().st_size))
        excess = sum(size for _, size in sizes) - self._max_bytes
        for path, size in sizes[:-1]:
            if excess <= 0:
                return
            path.unlink(missing_ok=True)
            excess -= size


def erase_from_feature_log(folder: Path, user_ids: Sequence[str]) -> int:
    """Write the files anew that name users.

    Args:
        folder: A missing one is empty.
        user_ids: Whom to leave out.

    Returns:
        Requests that were taken out.
    """
    for leftover in folder.glob("*.erasing"):
        leftover.unlink()
    n_erased = 0
    for path in sorted(folder.glob("*.parquet")):
        # A server may remove the oldest file.
        with contextlib.suppress(FileNotFoundError):
            frame = pl.read_parquet(path)
            kept = frame.filter(~pl.col("user_id").is_in(list(user_ids)))
            if kept.height < frame.height:
                n_erased += frame.height - kept.height
                _replace(path, kept)
    return n_erased


def _replace(path: Path, kept: pl.DataFrame) -> None:
    if kept.is_empty():
        path.unlink()
        return
    partial = path.with_suffix(".erasing")
    kept.write_parquet(partial, compression="zstd")
    partial.rename(path)


def _frame(batch: list[ServedRequest]) -> pl.DataFrame:
    columns = {
        name: [getattr(served, name) for served in batch]
        for name in _SCHEMA
        if name not in {*_JSON, "features", "values"}
    }
    for name in _JSON:
        columns[name] = [msgspec.json.encode(getattr(served, name)).decode() for served in batch]
    columns["features"] = [list(served.features) for served in batch]
    columns["values"] = [np.ascontiguousarray(served.matrix).ravel() for served in batch]
    return pl.DataFrame([
        pl.Series(name, columns[name], dtype=dtype) for name, dtype in _SCHEMA.items()
    ])


def _newest_first(folder: Path) -> list[Path]:
    # Names begin with the instant of the first request.
    return sorted(folder.glob("*.parquet"), reverse=True)


def read_feature_log(folder: Path, n_newest: int) -> list[ServedRequest]:
    """Read the newest requests that were logged and not removed yet.

    Args:
        folder: A missing one is empty.
        n_newest: How many at most.

    Returns:
        Requests, newest file first.
    """
    served: list[ServedRequest] = []
    for path in _newest_first(folder):
        newest = pl.read_parquet(path).tail(n_newest - len(served))
        served += [_served(row) for row in newest.iter_rows(named=True)]
        if len(served) >= n_newest:
            break
    return served


def list_feature_log(folder: Path, n_newest: int, user_id: str | None = None) -> pl.DataFrame:
    """List the newest requests that were logged and not removed yet, without their values.

    Args:
        folder: A missing one is empty.
        n_newest: How many at most.
        user_id: Only those of this user.

    Returns:
        `request_id`, `user_id`, `as_of`, `model_version`, `is_degraded`, `n_items`; newest first.
    """
    columns = ["request_id", "user_id", "as_of", "model_version", "is_degraded"]
    frames: list[pl.DataFrame] = []
    for path in _newest_first(folder):
        frame = pl.read_parquet(path, columns=[*columns, "item_ids"])
        if user_id is not None:
            frame = frame.filter(pl.col("user_id") == user_id)
        frames.append(frame.select(*columns, n_items=pl.col("item_ids").list.len()))
        if sum(frame.height for frame in frames) >= n_newest:
            break
    schema = {name: _SCHEMA[name] for name in columns} | {"n_items": pl.UInt32()}
    found = pl.concat(frames) if frames else pl.DataFrame(schema=schema)
    return found.sort("as_of", descending=True).head(n_newest)


def find_served(folder: Path, request_id: str) -> ServedRequest | None:
    """Find a request in the feature log.

    Args:
        folder: A missing one is empty.
        request_id: As the caller named it.

    Returns:
        The newest one of that name; None: it was not drawn, or is removed.
    """
    for path in _newest_first(folder):
        # The values of all the others are not read.
        frame = pl.scan_parquet(path).filter(pl.col("request_id") == request_id).collect()
        if frame.height:
            return _served(frame.sort("as_of").row(-1, named=True))
    return None


def _served(row: dict[str, Any]) -> ServedRequest:
    shape = (len(row["item_ids"]), len(row["features"]))
    row["matrix"] = np.array(row.pop("values"), dtype=np.float32).reshape(shape)
    for name in _JSON:
        # A file of an older version has no such column: nothing was said of candidates.
        row[name] = msgspec.json.decode(row.get(name, "{}"))
    row.setdefault("n_erased", 0)
    row.setdefault("seed_item_ids", [])
    row["features"] = tuple(row["features"])
    return ServedRequest(**row)
