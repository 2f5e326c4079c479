"""Files are read by who recognises them, and every bad line is set aside."""

from __future__ import annotations

import gzip
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys.config import LogConfig
from recsys.errors import EventError, ImportStoppedError, LogError
from recsys.events.codec import encode_event
from recsys.events.formats import Formats, plan_files
from recsys.events.importing import ImportReport, import_events
from recsys.events.readers import CsvRecords, LineRecords, RowRecords, Said
from recsys.events.snapshot import read_snapshot
from recsys.events.sources import LeftOut, RecordReader
from recsys.schema import InteractionEvent, ItemEvent


class Clicks:
    """Lines `@user item`; `@-` is a test account, `@user` alone is malformed."""

    name = "clicks"
    description = "lines that start with @"

    def recognises(self, path: Path) -> bool:
        opener = gzip.open if path.suffix == ".gz" else open
        with opener(path, "rb") as file:
            return file.read(1) == b"@"

    def reader(self, path: Path) -> RecordReader:
        return LineRecords(path, self._decode)

    @staticmethod
    def _decode(line: str) -> Said:
        user, _, item = line.removeprefix("@").partition(" ")
        if user == "-":
            yield LeftOut("a test account")
            return
        if not item:
            raise EventError(field="item", reason="is missing")
        yield ItemEvent(f"item-{item}", 1, item)
        yield InteractionEvent(f"{user}-{item}", 2, user, item, "click")


class Greedy(Clicks):
    name = "greedy"


FORMATS = Formats([Clicks()])


def _run(folder: Path, *sources: Path, formats: Formats = FORMATS, strict: bool = False):
    config = LogConfig(path=str(folder / "log.duckdb"))
    rejects = folder / "rejects.jsonl"
    report = import_events(config, list(sources), rejects=rejects, formats=formats, strict=strict)
    return report, read_snapshot(config)


def _new(report: ImportReport) -> dict[str, int]:
    return {kind: count.new for kind, count in report.kinds.items() if count.new}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "clicks.txt").write_text("@u1 a\n@- b\n@u2\n\n@u2 b\n")
    (folder / "LICENSE").write_text("Do as you like.\n")
    return folder


def test_a_line_becomes_several_events_or_none_with_a_reason(tmp_path: Path, data: Path) -> None:
    report, log = _run(tmp_path, data)
    assert _new(report) == {"items": 2, "interactions": 2}
    assert dict(report.left_out) == {"a test account": 1}
    assert dict(report.rejected) == {"is missing": 1}
    assert b'"line":3' in (tmp_path / "rejects.jsonl").read_bytes()
    assert log.interactions["item_id"].to_list() == ["a", "b"]


def test_strict_stops_at_a_bad_line_but_not_at_one_left_out(tmp_path: Path, data: Path) -> None:
    with pytest.raises(ImportStoppedError, match="line 3: item: is missing"):
        _run(tmp_path, data, strict=True)


def test_a_folder_of_a_known_format_passes_over_what_is_not_of_it(
    tmp_path: Path, data: Path
) -> None:
    (data / "own.jsonl").write_bytes(encode_event(ItemEvent("e", 1, "c")) + b"\n")
    (data / "clicks.gz").write_bytes(gzip.compress(b"@u3 d\n"))
    report, _ = _run(tmp_path, data)
    assert [path.name for path in report.passed_over] == ["LICENSE"]
    assert _new(report) == {"items": 4, "interactions": 3}


def test_a_folder_of_no_known_format_says_what_is_wrong(tmp_path: Path, data: Path) -> None:
    (data / "clicks.txt").unlink()
    report, _ = _run(tmp_path, data)
    assert report.passed_over == []
    assert dict(report.rejected) == {"is not JSON": 1}


def test_a_named_format_reads_nothing_else(tmp_path: Path, data: Path) -> None:
    (data / "own.jsonl").write_bytes(encode_event(ItemEvent("e", 1, "c")) + b"\n")
    report, _ = _run(tmp_path, data, formats=Formats([Clicks()], "clicks"))
    assert [path.name for path in report.passed_over] == ["LICENSE", "own.jsonl"]


@pytest.mark.parametrize(
    ("formats", "source", "message"),
    [
        (Formats([Clicks()], "clics"), "clicks.txt", "format 'clics' .* one of: clicks"),
        (Formats([Clicks()], "clicks"), "LICENSE", "nothing of format clicks; expected lines that"),
        (Formats([Clicks(), Greedy()]), "clicks.txt", "formats clicks and greedy.*--format"),
    ],
)
def test_a_format_that_does_not_fit_is_refused(
    data: Path, formats: Formats, source: str, message: str
) -> None:
    with pytest.raises(LogError, match=message):
        plan_files([data / source], formats)


def _item(row: dict[str, object]) -> Said:
    yield ItemEvent(f"e-{row['id']}", 1, str(row["id"]), {"title": str(row["title"])})


def test_csv_cells_may_hold_commas_quotes_and_line_ends(tmp_path: Path) -> None:
    file = tmp_path / "films.csv"
    file.write_text('id,title\n1,"President, The ""Real"" One"\n2,"two\nlines"\n3\n4,a,b\n')
    records = list(CsvRecords(file, _item).records())
    titles = [r.event.attributes["title"] for r in records if isinstance(r.event, ItemEvent)]
    assert titles == ['President, The "Real" One', "two\nlines"]
    assert [(r.number, str(r.event)) for r in records[2:]] == [
        (4, "has more or fewer cells than the header"),
        (5, "has more or fewer cells than the header"),
    ]


def test_rows_are_read_with_the_columns_that_there_are(tmp_path: Path) -> None:
    file = tmp_path / "films.parquet"
    pq.write_table(pa.table({"id": [1, 2], "title": ["a", "b"], "more": [0, 0]}), file)
    reader = RowRecords(file, ("id", "title", "year"), _item)
    records = list(reader.records())
    assert [record.raw for record in records] == [{"id": 1, "title": "a"}, {"id": 2, "title": "b"}]
    assert reader.bytes_done() == file.stat().st_size


def test_text_of_another_encoding_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "clicks.txt"
    file.write_bytes("@u1 caf\u00e9\n".encode("latin-1"))
    (refused,) = LineRecords(file, Clicks._decode).records()
    assert str(refused.event) == "is not utf-8 text"
    (read, _) = LineRecords(file, Clicks._decode, encoding="latin-1").records()
    assert isinstance(read.event, ItemEvent)
    assert read.event.item_id == "caf\u00e9"
