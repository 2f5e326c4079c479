"""Import of files into the log: batch by batch, bad records set aside, safe to kill and run again.

Every batch is one transaction, and an event whose id is known changes nothing: whatever an
interrupted import had written, the next run passes over, and goes on.
"""

from __future__ import annotations

import time
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias, cast

import polars as pl
import pyarrow as pa
import zstandard

from recsys.config import LogConfig
from recsys.errors import EventError, ImportStoppedError
from recsys.events.checks import check_event
from recsys.events.formats import OWN, Formats, plan_files
from recsys.events.frames import KINDS, FrameBuilder, Kind
from recsys.events.rejects import RejectsFile
from recsys.events.sources import LeftOut, Record, RecordReader
from recsys.events.warehouse import Warehouse, open_warehouse

#: Called with bytes done and bytes in all, as the files are on disk.
Progress: TypeAlias = Callable[[int, int], None]

_BATCH_EVENTS: Final = 50_000
_BATCH_BYTES: Final = 64 * 1024 * 1024
_PROGRESS_EVERY: Final = 1_000
_MAX_REASONS: Final = 100
_OTHER_REASONS: Final = "other reasons"
_READ_ERRORS: Final = (
    EventError,
    OSError,
    EOFError,
    zlib.error,
    zstandard.ZstdError,
    pa.ArrowException,
)


@dataclass(slots=True)
class KindCount:
    """What an import found of one kind of event.

    Args:
        read: Good records.
        new: Those that the log did not have.
    """

    read: int = 0
    new: int = 0

    @property
    def known(self) -> int:
        """Count the records whose event id the log had, or that came before in the files.

        Returns:
            `read` less `new`.
        """
        return self.read - self.new


@dataclass(slots=True)
class ImportReport:
    """What an import did.

    Args:
        kinds: Counts by table.
        first_at: Earliest `occurred_at` of the good records, in microseconds; None: no such.
        last_at: Latest.
        rejected: Number of records by reason.
        examples: The first record of each reason: file, line and field.
        left_out: Number of good records that are no events by the rules of their format, by reason.
        passed_over: Files of folders that are not of the format of the others.
        taken: What the columns of tables were taken for, by file.
        broken: Why a file could not be read to its end, by file; what came before was imported.
        rejects: Where the rejected records were written; None: there were none.
    """

    kinds: dict[Kind, KindCount] = field(
        default_factory=lambda: {kind: KindCount() for kind in KINDS}
    )
    first_at: int | None = None
    last_at: int | None = None
    rejected: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)
    passed_over: list[Path] = field(default_factory=list)
    taken: dict[Path, str] = field(default_factory=dict)
    broken: dict[Path, str] = field(default_factory=dict)
    rejects: Path | None = None

    @property
    def n_rejected(self) -> int:
        """Count the rejected records.

        Returns:
            All reasons together.
        """
        return self.rejected.total()

    @property
    def n_read(self) -> int:
        """Count the good records.

        Returns:
            All tables together.
        """
        return sum(found.read for found in self.kinds.values())

    def add_instants(self, occurred_at: pl.Series) -> None:
        """Widen the span of time to a batch's instants, in microseconds; 0 is from ever on."""
        occurred_at = occurred_at.filter(occurred_at > 0)
        if occurred_at.is_empty():
            return
        first, last = cast(int, occurred_at.min()), cast(int, occurred_at.max())
        self.first_at = first if self.first_at is None else min(self.first_at, first)
        self.last_at = last if self.last_at is None else max(self.last_at, last)


def import_events(
    config: LogConfig,
    sources: list[Path],
    *,
    rejects: Path,
    formats: Formats = OWN,
    strict: bool = False,
    progress: Progress | None = None,
) -> ImportReport:
    """Import files of events into the log.

    Args:
        config: The log; made where it is missing.
        sources: Files, and folders that stand for their files.
        rejects: File for the records that are not acceptable; replaced at the end if there are any.
        formats: Beside the project's own.
        strict: Stop at the first bad record or file; earlier batches stay.
        progress: Called now and then, and at the end.

    Returns:
        What was found and done.

    Raises:
        LogError: A source is missing or of another format, or the log cannot be opened or written.
        ImportStoppedError: Strict, and a record or file is bad.
    """
    plan = plan_files(sources, formats)
    meter = _Meter(list(plan.readers), progress)
    with open_warehouse(config) as warehouse, RejectsFile(rejects) as rejected:
        run = _Import(warehouse, rejected, strict=strict, meter=meter)
        plan.undated.compare_with(warehouse)
        for path, reader in plan.readers.items():
            run.import_file(path, reader)
        run.flush()
    run.report.passed_over = plan.passed_over
    run.report.taken = plan.taken
    run.report.rejects = rejected.path_written
    meter.end()
    return run.report


class _Meter:
    """Bytes done over all files."""

    def __init__(self, files: list[Path], progress: Progress | None) -> None:
        self._total = sum(path.stat().st_size for path in files)
        self._before = 0
        self._progress = progress

    def show(self, in_file: int) -> None:
        if self._progress:
            self._progress(min(self._before + in_file, self._total), self._total)

    def end_file(self, path: Path) -> None:
        self._before += path.stat().st_size

    def end(self) -> None:
        if self._progress:
            self._progress(self._total, self._total)


class _Import:
    """One run over all files."""

    def __init__(
        self, warehouse: Warehouse, rejects: RejectsFile, *, strict: bool, meter: _Meter
    ) -> None:
        self.report = ImportReport()
        self._warehouse = warehouse
        self._rejects = rejects
        self._strict = strict
        self._meter = meter
        self._now_us = time.time_ns() // 1_000
        self._batch = FrameBuilder()
        self._n_bytes = 0

    def import_file(self, path: Path, reader: RecordReader) -> None:
        number = 0
        try:
            for record in reader.records():
                number = record.number
                self._take(path, record)
                if number % _PROGRESS_EVERY == 0:
                    self._meter.show(reader.bytes_done())
        except _READ_ERRORS as error:
            self._break_off(path, number, error)
        self._meter.end_file(path)

    def flush(self) -> None:
        with self._warehouse.transaction():
            frames = self._batch.frames()
            new = self._warehouse.write(frames)
        for kind, frame in frames.items():
            self.report.kinds[kind].read += frame.height
            self.report.kinds[kind].new += new[kind]
            self.report.add_instants(frame["occurred_at"])
        self._batch = FrameBuilder()
        self._n_bytes = 0

    def _take(self, path: Path, record: Record) -> None:
        event = record.event
        if isinstance(event, EventError):
            return self._reject(path, record, event)
        if isinstance(event, LeftOut):
            self.report.left_out[event.reason] += 1
            return None
        try:
            check_event(event, now_us=self._now_us)
        except EventError as error:
            return self._reject(path, record, error)
        self._batch.add(event, event.occurred_at)
        self._n_bytes += record.n_bytes
        if len(self._batch) >= _BATCH_EVENTS or self._n_bytes >= _BATCH_BYTES:
            self.flush()
        return None

    def _reject(self, path: Path, record: Record, error: EventError) -> None:
        if self._strict:
            raise ImportStoppedError(path, record.number, str(error))
        self._rejects.add(path, record, str(error))
        known = error.reason in self.report.rejected or len(self.report.rejected) < _MAX_REASONS
        reason = error.reason if known else _OTHER_REASONS
        self.report.rejected[reason] += 1
        where = f"{path.name}, line {record.number}"
        self.report.examples.setdefault(reason, f"{where}: {error.field}" if error.field else where)

    def _break_off(self, path: Path, number: int, error: Exception) -> None:
        reason = f"after {number} records: {_break_reason(error)}"
        if self._strict:
            raise ImportStoppedError(path, number, reason) from error
        self.report.broken[path] = reason


def _break_reason(error: Exception) -> str:
    if isinstance(error, EOFError):
        return "the compressed file is cut off"
    return str(error).partition("\n")[0] or type(error).__name__
