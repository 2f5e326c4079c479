"""The rejects file of an import."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import msgspec

from recsys.errors import LogError
from recsys.events.sources import Record

_MAX_RAW: Final = 2_000


class RejectsFile:
    """The records that an import refused, as JSON lines: source, line, reason, raw.

    Written beside and renamed when the import ends well, and only if there are any.

    Args:
        path: Where it will be.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._partial = path.with_name(f"{path.name}.partial")
        self.path_written: Path | None = None

    def __enter__(self) -> RejectsFile:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._partial.open("wb")
        except OSError as error:
            raise self._problem(error) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        is_empty = self._file.tell() == 0
        self._file.close()
        if is_empty:
            self._partial.unlink()
        elif error is None:
            self._partial.replace(self._path)
            self.path_written = self._path

    def add(self, source: Path, record: Record, reason: str) -> None:
        """Add a record.

        Args:
            source: The file that it came from.
            record: The record; a long one is cut.
            reason: Why it was refused.

        Raises:
            LogError: The file cannot be written; the disk may be full.
        """
        line = {
            "source": str(source),
            "line": record.number,
            "reason": reason,
            "raw": _raw_text(record.raw)[:_MAX_RAW],
        }
        try:
            self._file.write(msgspec.json.encode(line) + b"\n")
        except OSError as error:
            raise self._problem(error) from error

    def _problem(self, error: OSError) -> LogError:
        found = error.strerror or "cannot be written"
        return LogError(self._path, found, "a file for rejected records")


def _raw_text(raw: bytes | Mapping[str, Any]) -> str:
    if isinstance(raw, bytes):
        return raw[:_MAX_RAW].decode(errors="replace")
    return msgspec.json.encode(raw, enc_hook=str)[:_MAX_RAW].decode(errors="replace")
