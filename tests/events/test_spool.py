"""The spool loses nothing that was synchronised, and never reads what was not written."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from recsys.errors import LogError, SpoolDamagedError
from recsys.events import spool
from recsys.events.spool import SpoolWriter, read_spool, spool_files
from recsys.schema import InteractionEvent, VisibleEvent


def _clicks(*numbers: int) -> list[VisibleEvent]:
    return [VisibleEvent(InteractionEvent(f"e{n}", n, "u", "i", "click"), n) for n in numbers]


def _written(folder: Path, *numbers: int) -> Path:
    writer = SpoolWriter(folder)
    writer.append(_clicks(*numbers))
    writer.close()
    (path,) = spool_files(folder)
    return path


def test_what_was_appended_is_read_in_order_of_visibility(tmp_path: Path) -> None:
    first, second = SpoolWriter(tmp_path), SpoolWriter(tmp_path)
    first.append(_clicks(1, 4))
    second.append(_clicks(2, 3))
    first.append(_clicks(5))
    first.sync()
    second.sync()
    assert list(read_spool(tmp_path)) == _clicks(1, 2, 3, 4, 5)
    assert len(spool_files(tmp_path)) == 2
    first.close()
    second.close()


def test_what_is_not_durable_yet_is_nobody_elses_business(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path)
    writer.append(_clicks(1))
    assert list(read_spool(tmp_path)) == []
    writer.sync()
    writer.append(_clicks(2))
    assert list(read_spool(tmp_path)) == _clicks(1)
    writer.close()
    assert list(read_spool(tmp_path)) == _clicks(1, 2)


def test_no_spool_is_an_empty_one(tmp_path: Path) -> None:
    assert list(read_spool(tmp_path / "none")) == []


def test_a_file_that_is_cut_anywhere_gives_its_complete_records(tmp_path: Path) -> None:
    path = _written(tmp_path, 1, 2, 3)
    data = path.read_bytes()
    for end in range(len(data)):
        path.write_bytes(data[:end])
        n_complete = data[:end].count(b"\n")
        assert list(read_spool(tmp_path)) == _clicks(1, 2, 3)[:n_complete]


def test_a_flipped_bit_is_detected_or_tears_the_last_record_off(tmp_path: Path) -> None:
    path = _written(tmp_path, 1, 2, 3)
    data = path.read_bytes()
    torn = 0
    for position in range(len(data)):
        for bit in (0, 5):  # the second one changes the case of letters
            changed = bytearray(data)
            changed[position] ^= 1 << bit
            path.write_bytes(changed)
            try:
                events = list(read_spool(tmp_path))
            except SpoolDamagedError as error:
                assert path.name in str(error)  # noqa: PT017
                continue
            assert events == _clicks(1, 2)
            assert position == len(data) - 1
            torn += 1
    assert torn == 2


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    path = _written(tmp_path, 1, 2, 3)
    start = path.read_bytes().index(b"\n") + 1
    path.write_bytes(path.read_bytes().replace(b'"e2"', b'"e9"'))
    with pytest.raises(SpoolDamagedError, match=f"byte {start}"):
        list(read_spool(tmp_path))


def test_a_full_file_is_followed_by_another(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, file_bytes=200)
    for number in range(10):
        writer.append(_clicks(number))
    writer.close()
    assert len(spool_files(tmp_path)) == 5
    assert list(read_spool(tmp_path)) == _clicks(*range(10))


def test_a_full_disk_is_refused_and_later_appends_are_clean(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = SpoolWriter(tmp_path)
    writer.append(_clicks(1))
    real_write = os.write

    def short_write(file: int, data: memoryview) -> int:
        real_write(file, data[:20])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(spool.os, "write", short_write)
        with pytest.raises(LogError, match="No space left"):
            writer.append(_clicks(2))
    writer.sync()
    assert list(read_spool(tmp_path)) == _clicks(1)
    writer.append(_clicks(3))
    writer.close()
    assert list(read_spool(tmp_path)) == _clicks(1, 3)
    assert all(path.read_bytes().endswith(b"\n") for path in spool_files(tmp_path))


def test_a_failed_sync_is_an_error_and_takes_back_what_was_not_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = SpoolWriter(tmp_path)
    writer.append(_clicks(1))
    writer.sync()
    writer.append(_clicks(2))

    def failing(_file: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(spool.os, "fsync", failing)
        with pytest.raises(LogError):
            writer.sync()
    writer.append(_clicks(3))
    writer.close()
    assert list(read_spool(tmp_path)) == _clicks(1, 3)


def test_a_sync_after_an_unsaved_append_never_succeeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk fails while one batch waits for its sync and another one is appended."""
    writer = SpoolWriter(tmp_path)
    writer.append(_clicks(1))

    def failing(*_arguments: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(spool.os, "write", failing)
        patch.setattr(spool.os, "fsync", failing)
        with pytest.raises(LogError):
            writer.append(_clicks(2))
    with pytest.raises(LogError):
        writer.sync()
    writer.append(_clicks(3))
    writer.close()
    assert _clicks(3)[0] in list(read_spool(tmp_path))
