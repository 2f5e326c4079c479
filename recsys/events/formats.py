"""Formats of event files: the contract of importers, and who reads which file.

A format is recognised by the first line or the columns of a file, never by its name. In a folder
where an importer recognises a file, files that nobody recognises (a licence, embeddings) are passed
over; elsewhere they are read as tables where their columns name users or items, else as the
project's own formats, which say what is wrong with them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from recsys.errors import LogError
from recsys.events.columns import NOTHING_SAID, TableOptions, check_options
from recsys.events.readers import first_line, parquet_columns
from recsys.events.sources import LineReader, RecordReader, find_files, packing_of
from recsys.events.table_records import TableRecords
from recsys.events.tables import Table, check_undated, table_of
from recsys.events.undated import Undated


class EventImporter(Protocol):
    """Reads a format that is not the project's own."""

    @property
    def name(self) -> str:
        """What `--format` calls it."""
        ...

    @property
    def description(self) -> str:
        """Which files it reads, in a few words."""
        ...

    def recognises(self, path: Path) -> bool:
        """Say whether a file is of this format, by its first line or its columns."""
        ...

    def reader(self, path: Path) -> RecordReader:
        """Read a file that was recognised; it may look at its siblings."""
        ...


@dataclass(frozen=True, slots=True)
class Formats:
    """Formats beside the project's own.

    Args:
        importers: All that there are; their names are unique.
        name: Of the one that must read all files; empty: the one that recognises a file.
        table: What the caller says of tables that nobody recognises.
    """

    importers: Sequence[EventImporter] = ()
    name: str = ""
    table: TableOptions = NOTHING_SAID


#: The project's own formats alone.
OWN: Final = Formats()


@dataclass(frozen=True, slots=True)
class FilePlan:
    """Who reads which file.

    Args:
        readers: A reader by file, in the order of the import.
        passed_over: Files of folders that are not of the format.
        taken: What the columns of tables were taken for, by file.
        undated: Says when versions are known of which a table says no instant.
    """

    readers: dict[Path, RecordReader]
    passed_over: list[Path]
    taken: dict[Path, str] = field(default_factory=dict)
    undated: Undated = field(default_factory=Undated)


def plan_files(sources: list[Path], formats: Formats) -> FilePlan:
    """Find the files of an import and choose who reads each.

    Args:
        sources: Files, and folders that stand for their files.
        formats: Beside the project's own.

    Returns:
        The plan.

    Raises:
        LogError: A source is missing, a named format does not exist or fits no file, or two
            importers recognise the same file.
    """
    importers = [_named(formats, sources)] if formats.name else formats.importers
    tables: dict[Path, Table] = {}
    plan = FilePlan({}, [], undated=Undated(lambda: _first_instant(tables.values())))
    ended: set[int] = set()
    for source in sources:
        chosen = {path: _recognised(path, importers) for path in find_files([source])}
        if formats.name and not any(chosen.values()):
            raise LogError(source, f"nothing of format {formats.name}", importers[0].description)
        folders = {path.parent for path, importer in chosen.items() if importer}
        for path, importer in chosen.items():
            if importer:
                plan.readers[path] = importer.reader(path)
            elif formats.name or (path.parent in folders and not _is_own(path)):
                plan.passed_over.append(path)
            elif not _is_own(path) and (table := table_of(path, formats.table)):
                tables[path] = table
                plan.readers[path] = TableRecords(table, plan.undated, ended)
            else:
                plan.readers[path] = _own_reader(path)
    check_options(sources[0], formats.table, [table.columns for table in tables.values()])
    check_undated([table for table in tables.values() if not table.columns.is_dated])
    _tell_of(tables, plan)
    return plan


def _tell_of(tables: Mapping[Path, Table], plan: FilePlan) -> None:
    for path, table in tables.items():
        plan.taken[path] = table.columns.taken
        if not table.columns.is_dated:
            plan.undated.expect(table.columns.kind)


def _first_instant(tables: Iterable[Table]) -> int | None:
    is_done = {"interactions", "exposures"}
    found = [table.first_instant() for table in tables if table.columns.kind in is_done]
    return min((instant for instant in found if instant is not None), default=None)


def _named(formats: Formats, sources: list[Path]) -> EventImporter:
    for importer in formats.importers:
        if importer.name == formats.name:
            return importer
    known = ", ".join(sorted(importer.name for importer in formats.importers)) or "none"
    raise LogError(sources[0], f"format {formats.name!r} was asked for", f"one of: {known}")


def _recognised(path: Path, importers: Sequence[EventImporter]) -> EventImporter | None:
    found = [importer for importer in importers if importer.recognises(path)]
    if len(found) > 1:
        names = " and ".join(importer.name for importer in found)
        raise LogError(path, f"a file that is of the formats {names}", "--format to name one")
    return found[0] if found else None


def _is_own(path: Path) -> bool:
    if packing_of(path) == "parquet":
        return "event_id" in parquet_columns(path)
    return first_line(path).lstrip().startswith("{")


def _own_reader(path: Path) -> RecordReader:
    if packing_of(path) != "parquet":
        return LineReader(path)
    # Plugins see this module, and must be light to load.
    from recsys.events.parquet import ParquetReader

    return ParquetReader(path)
