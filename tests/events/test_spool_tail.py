"""The end of a spool is what all of it holds from an instant on; of the rest the ids are known."""

from __future__ import annotations

from pathlib import Path

import pytest

from recsys.errors import SpoolDamagedError
from recsys.events.frames import kind_of
from recsys.events.spool import SpoolWriter, read_spool, spool_files
from recsys.events.spool_tail import read_spool_tail
from recsys.schema import ImpressionEvent, InteractionEvent, ItemEvent, UserEvent, VisibleEvent


def _events(n_of_each: int) -> list[VisibleEvent]:
    found = []
    for n in range(0, 4 * n_of_each, 4):
        found += [
            VisibleEvent(ItemEvent(f"i{n}", n, "item", {"visible_at": 10**9, "title": "x"}), n),
            VisibleEvent(UserEvent(f"u{n}", n, "user", {"age": 3.0}), n + 1),
            VisibleEvent(ImpressionEvent(f"s{n}", n, "user", ["item"], f"s{n}"), n + 2),
            VisibleEvent(InteractionEvent(f"c{n}", n, "user", "item", "click"), n + 3),
        ]
    return found


def _spool(folder: Path, events: list[VisibleEvent]) -> None:
    for part in (events[::2], events[1::2]):
        writer = SpoolWriter(folder)
        writer.append(part)
        writer.close()


@pytest.mark.parametrize("since", [0, 1, 17, 18, 40, 10**6])
def test_nothing_is_lost_at_any_instant(tmp_path: Path, since: int) -> None:
    _spool(tmp_path, _events(10))
    whole = list(read_spool(tmp_path))
    older = [visible for visible in whole if visible.visible_at < since]
    tail = read_spool_tail(tmp_path, since, 2)
    assert tail.recent == [visible for visible in whole if visible.visible_at >= since]
    for kind, ids in tail.older.items():
        of_kind = [visible for visible in older if kind_of(visible.event) == kind]
        assert sorted(ids) == sorted(visible.event.event_id for visible in of_kind)
        assert [v for v in tail.latest if kind_of(v.event) == kind] == of_kind[-2:]


def test_a_spool_that_is_missing_is_empty(tmp_path: Path) -> None:
    tail = read_spool_tail(tmp_path / "none", 0, 10)
    assert not tail.recent
    assert not tail.latest
    assert not any(tail.older.values())


def test_a_changed_byte_of_an_old_record_is_found(tmp_path: Path) -> None:
    _spool(tmp_path, _events(3))
    path = spool_files(tmp_path)[0]
    data = bytearray(path.read_bytes())
    data[data.index(b"title")] ^= 1
    path.write_bytes(data)
    with pytest.raises(SpoolDamagedError, match="checksum"):
        read_spool_tail(tmp_path, 10**6, 0)


def test_a_torn_last_line_is_passed_over(tmp_path: Path) -> None:
    _spool(tmp_path, _events(3))
    path = spool_files(tmp_path)[0]
    path.write_bytes(path.read_bytes()[:-4])
    tail = read_spool_tail(tmp_path, 10**6, 0)
    assert sum(map(len, tail.older.values())) == 11
