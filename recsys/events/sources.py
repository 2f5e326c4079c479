"""Files of events: found in folders, unpacked by their first bytes, cut into lines."""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal, NamedTuple, Protocol, TypeAlias, cast

import zstandard

from recsys.errors import EventError, LogError
from recsys.events.codec import decode_event
from recsys.events.metarank import decode_metarank_line, is_metarank_line
from recsys.schema import Event

Packing: TypeAlias = Literal["plain", "gzip", "zstd", "parquet"]

MAX_LINE_BYTES: Final = 16 * 1024 * 1024
_MAGIC: Final[tuple[tuple[bytes, Packing], ...]] = (
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"PAR1", "parquet"),
)
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
# Small, because what a compressed chunk grows to has no limit but the chunk.
_ZSTD_CHUNK: Final = 8 * 1024
_BUFFER: Final = 256 * 1024


def find_files(sources: list[Path]) -> list[Path]:
    """List the files to import.

    Args:
        sources: Files, and folders that stand for all files in them, folders within included;
            hidden files are left out.

    Returns:
        The files; those of a folder in order of their names.

    Raises:
        LogError: A source does not exist, or a folder holds no file.
    """
    files: list[Path] = []
    for source in sources:
        if source.is_dir():
            found = sorted(path for path in source.rglob("*") if _is_visible_file(path, source))
            if not found:
                raise LogError(source, "a folder without files", "files of events")
            files += found
        elif source.is_file():
            files.append(source)
        else:
            raise LogError(source, "no such file", "a file or folder of events")
    return files


def packing_of(path: Path) -> Packing:
    """Recognise how a file is packed by its first bytes, whatever its name is.

    Returns:
        `plain` for everything that is not recognised.
    """
    with path.open("rb") as file:
        head = file.read(4)
    return next((packing for magic, packing in _MAGIC if head.startswith(magic)), "plain")


class LeftOut(NamedTuple):
    """A good line or row that is no event by the rules of its format, such as a cancelled order."""

    reason: str


class Record(NamedTuple):
    """What one line or row of a file says; a line of several events is as many records.

    Args:
        number: Of the line or row, from 1.
        event: What it says, not yet checked, or why it says nothing.
        raw: The line or row itself.
        n_bytes: About how large it is.
    """

    number: int
    event: Event | EventError | LeftOut
    raw: bytes | Mapping[str, Any]
    n_bytes: int


class RecordReader(Protocol):
    """Reads the records of one file, front to back."""

    def bytes_done(self) -> int:
        """Count the bytes of the file, as it is on disk, that were read so far."""
        ...

    def records(self) -> Iterator[Record]:
        """Read the records."""
        ...


class TextFile:
    """Lines of a plain, gzip or zstd file.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None

    def bytes_done(self) -> int:
        """Count the bytes of the file, as it is on disk, that were read so far.

        Returns:
            Zero before the first line.
        """
        return self._file.tell() if self._file and not self._file.closed else 0

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """Read the lines; empty ones are passed over.

        Yields:
            Number from 1, and the line without its end; of a line that is too long only the first
            `MAX_LINE_BYTES + 1` bytes.
        """
        packing = packing_of(self._path)
        with self._path.open("rb") as file:
            self._file = file
            with io.BufferedReader(_unpacked(file, packing), _BUFFER) as reader:
                number = 0
                while line := reader.readline(MAX_LINE_BYTES + 1):
                    number += 1
                    if len(line) > MAX_LINE_BYTES:
                        _skip_line(reader)
                    if number == 1:
                        line = line.removeprefix(_BYTE_ORDER_MARK)
                    if len(line) > MAX_LINE_BYTES or line.strip():
                        yield number, line.rstrip(b"\r\n")


class LineReader:
    """Records of a plain, gzip or zstd file of JSON lines, the project's own and Metarank's.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._text = TextFile(path)

    def bytes_done(self) -> int:
        """Count the bytes of the file, as it is on disk, that were read so far.

        Returns:
            Zero before the first line.
        """
        return self._text.bytes_done()

    def records(self) -> Iterator[Record]:
        """Read the lines; empty ones are passed over.

        Yields:
            One record per line.
        """
        for number, line in self._text.lines():
            yield Record(number, _event_or_error(line), line, len(line))


def check_length(line: bytes) -> None:
    """Refuse a line that was cut because it is too long.

    Raises:
        EventError: It is.
    """
    if len(line) > MAX_LINE_BYTES:
        raise EventError(reason=f"is too long; expected at most {MAX_LINE_BYTES} bytes")


def _event_or_error(line: bytes) -> Event | EventError:
    try:
        check_length(line)
        line = line.strip()
        return decode_metarank_line(line) if is_metarank_line(line) else decode_event(line)
    except EventError as error:
        return error


class _ZstdReader(io.RawIOBase):
    """Unpacks zstd frames one after the other; a missing end is an error, as it is for gzip."""

    def __init__(self, file: BinaryIO) -> None:
        self._packed = file
        self._ready = memoryview(b"")
        self._frame: zstandard.ZstdDecompressionObj | None = None
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        target = memoryview(cast(bytearray, buffer)).cast("B")
        while not self._ready:
            chunk = self._rest or self._packed.read(_ZSTD_CHUNK)
            if not chunk:
                if self._frame is not None:
                    raise EOFError
                return 0
            self._ready = memoryview(self._unpack(chunk))
        n_bytes = min(len(target), len(self._ready))
        target[:n_bytes] = self._ready[:n_bytes]
        self._ready = self._ready[n_bytes:]
        return n_bytes

    def _unpack(self, chunk: bytes) -> bytes:
        frame = self._frame or zstandard.ZstdDecompressor().decompressobj()
        unpacked = frame.decompress(chunk)
        self._rest = frame.unused_data if frame.eof else b""
        self._frame = None if frame.eof else frame
        return unpacked


def _unpacked(file: BinaryIO, packing: Packing) -> io.RawIOBase:
    if packing == "gzip":
        return cast(io.RawIOBase, gzip.GzipFile(fileobj=file, mode="rb"))
    return _ZstdReader(file) if packing == "zstd" else cast(io.RawIOBase, file)


def _skip_line(reader: io.BufferedReader[io.RawIOBase]) -> None:
    while rest := reader.readline(_BUFFER):
        if rest.endswith(b"\n"):
            return


def _is_visible_file(path: Path, folder: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
    return path.is_file() and not hidden
