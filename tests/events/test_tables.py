"""Tables of somebody else's are read by the names of their columns."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.config import LogConfig
from recsys.errors import EventError, LogError
from recsys.events.cells import column_of, instant_of
from recsys.events.columns import TableOptions, columns_of
from recsys.events.formats import Formats
from recsys.events.importing import ImportReport, import_events
from recsys.events.snapshot import LogSnapshot, read_snapshot

HERE = Path("orders.csv")
NOON = 1_704_196_800  # 2024-01-02 12:00 UTC
WITHOUT_ZONE = datetime.fromtimestamp(NOON, UTC).replace(tzinfo=None)


def import_all(tmp_path: Path, *files: Path, **said: object) -> tuple[ImportReport, LogSnapshot]:
    config = LogConfig(path=str(tmp_path / "log.duckdb"))
    formats = Formats(table=TableOptions(**said))
    report = import_events(config, list(files), rejects=tmp_path / "rejects.jsonl", formats=formats)
    return report, read_snapshot(config)


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


@given(st.integers(0, 4_000_000_000_000_000))
def test_numbers_are_instants_in_whatever_unit_they_make_sense(instant):
    seconds = instant // 1_000_000
    assert instant_of(datetime.fromtimestamp(seconds, UTC).isoformat()) == seconds * 1_000_000
    if seconds >= 100_000_000:  # since 1973
        expected = seconds * 1_000_000
        for times in (1, 1_000, 1_000_000, 1_000_000_000):
            assert instant_of(seconds * times) == expected
            assert instant_of(str(seconds * times)) == expected


def test_instants_are_read_as_programs_write_them():
    expected = NOON * 1_000_000
    plus_two = timezone(timedelta(hours=2))
    for cell in (
        "2024-01-02 12:00:00", "2024-01-02T12:00:00Z", "2024-01-02T14:00+02:00", "2024-01-02 12:00",
        "2024-01-02 12:00:00 UTC", str(NOON), f"{NOON}.0", WITHOUT_ZONE,
        datetime(2024, 1, 2, 14, tzinfo=plus_two),
    ):  # fmt: skip
        assert instant_of(cell) == expected, cell
    assert instant_of("2024-01-02") == instant_of(date(2024, 1, 2)) == expected - 43_200_000_000
    for cell in ("yesterday", "02.01.2024", "-5", "inf", ""):
        with pytest.raises(EventError, match="is no instant; expected RFC 3339"):
            instant_of(cell)


def test_other_formats_of_instants_are_named_by_the_caller(tmp_path):
    assert instant_of("02.01.2024 12:00", "%d.%m.%Y %H:%M") == NOON * 1_000_000
    with pytest.raises(EventError, match=r"is no instant of the format %d.%m.%Y"):
        instant_of("2024-01-02", "%d.%m.%Y")
    file = write(tmp_path / "a.csv", "user;item;date\nu;i;02.01.2024\nu;j;1/2/2024\n")
    report, log = import_all(tmp_path, file, time_format="%d.%m.%Y")
    assert log.interactions["occurred_at"].to_list() == [NOON * 1_000_000 - 43_200_000_000]
    assert report.examples == {"is no instant of the format %d.%m.%Y": "a.csv, line 3: occurred_at"}


@pytest.mark.parametrize(
    ("name", "cells", "kind"),
    [
        ("price", ["1", "2.5", "", "-3e2"], "number"),
        ("price", ["3,50", "1.234,5", "12"], "number with a comma"),
        ("price", ["1,234", "5,678"], "text"),  # thousands, or not
        ("postcode", ["1010", "1020"], "text"),
        ("category_id", ["1", "2"], "text"),
        ("number", ["007", "12"], "text"),
        ("ean", ["12345678901234567"], "text"),
        ("new", ["true", "False"], "switch"),
        ("genres", ["Drama", "Comedy|Crime"], "list"),
        ("title", ["Tea", "12"], "text"),
        ("empty", ["", "NULL"], "text"),
    ],
)
def test_first_cells_tell_what_a_column_holds(name, cells, kind):
    assert column_of(name, cells).kind == kind


def test_columns_are_known_by_what_they_are_called():
    found = columns_of(HERE, ["timestamp", "visitorid", "event", "itemid", "x"], TableOptions())
    assert found is not None
    assert (found.kind, found.others) == ("interactions", ("x",))
    assert found.fields == {
        "user_id": "visitorid", "item_id": "itemid", "occurred_at": "timestamp", "type": "event",
    }  # fmt: skip
    found = columns_of(HERE, ["User ID", "Movie", "rating", "date"], TableOptions())
    assert found is not None
    assert found.type == "rating"
    assert "rating as value" in found.taken
    assert "date as occurred_at" in found.taken
    found = columns_of(HERE, ["movieId", "title", "date"], TableOptions())
    assert found is not None  # a date of an item may be any date
    assert (found.kind, found.fields, found.others) == (
        "items", {"item_id": "movieId"}, ("title", "date"),
    )  # fmt: skip
    assert columns_of(HERE, ["a", "b"], TableOptions()) is None


def test_what_cannot_be_told_is_asked_for():
    with pytest.raises(LogError, match="--column occurred_at=NAME"):
        columns_of(HERE, ["user", "item", "when"], TableOptions())
    found = columns_of(HERE, ["klant", "artikel", "when"], TableOptions(columns={
        "user_id": "klant", "item_id": "artikel", "occurred_at": "when",
    }))  # fmt: skip
    assert found is not None
    assert found.kind == "interactions"
    with pytest.raises(LogError, match=r"--column usr=.* expected one of user_id"):
        columns_of(HERE, ["user", "item", "time"], TableOptions(columns={"usr": "user"}))


def test_what_is_said_of_no_column_is_refused(tmp_path):
    file = write(tmp_path / "a.csv", f"user,item,time\nu,i,{NOON}\n")
    for said in ({"columns": {"value": "prise"}}, {"item_fields": ("prise",)}):
        with pytest.raises(LogError, match=r"prise; expected one of the columns .*: item, time"):
            import_all(tmp_path, file, **said)


def test_orders_and_products_become_events(tmp_path):
    orders = write(
        tmp_path / "orders.csv",
        "Customer ID;sku;time;price;name\n"
        f"17.0;A1;{NOON};3.5;Tea\n"
        f'18.0;A2;{NOON + 60};2;"Jug; big"\n'
        f"17.0;A1;{NOON + 90};3;Tea\n"
        ";A1;yesterday;3;Tea\n",
    )
    products = write(
        tmp_path / "products.csv", "sku,price,tags,code\nA1,3.5,hot|herbal,007\nA2,,,012\n"
    )
    said = {"type": "purchase", "item_fields": ("name",)}
    report, log = import_all(tmp_path, products, orders, **said)
    done = log.interactions.sort("occurred_at")
    assert done["user_id"].to_list() == ["17", "18", "17"]
    assert done["type"].unique().to_list() == ["purchase"]
    assert done["occurred_at"].to_list() == [(NOON + n) * 1_000_000 for n in (0, 60, 90)]
    assert report.n_rejected == 1
    assert report.taken[orders].startswith(
        "interactions of type 'purchase': Customer ID as user_id"
    )
    items = log.items.sort("item_id", "occurred_at", "attributes")
    # Of products no instant is said: they are known from the first order on.
    assert items["occurred_at"].min() == NOON * 1_000_000
    assert sorted(items["attributes"].to_list()) == sorted([
        '{"name":"Tea"}', '{"name":"Jug; big"}', '{"code":"012"}',
        '{"price":3.5,"tags":["hot","herbal"],"code":"007"}',
    ])  # fmt: skip
    again, after = import_all(tmp_path, products, orders, **said)
    assert sum(found.new for found in again.kinds.values()) == 0
    assert after.interactions.height == done.height


def test_numbers_may_have_commas(tmp_path):
    rows = f"u;i;{NOON};1.234,5;3,25\nu;j;{NOON};7;12,99\n"
    file = write(tmp_path / "a.csv", f"user;item;time;value;price\n{rows}")
    _, log = import_all(tmp_path, file)
    assert sorted(log.interactions["value"].to_list()) == [7.0, 1234.5]
    assert sorted(log.interactions["attributes"].to_list()) == [
        '{"price":12.99}', '{"price":3.25}',
    ]  # fmt: skip


def test_a_cell_of_another_kind_is_refused(tmp_path):
    rows = "".join(f"i{n},{n}\n" for n in range(1_000))
    report, log = import_all(tmp_path, write(tmp_path / "p.csv", f"item,price\n{rows}i9,cheap\n"))
    assert log.items.height == 1_000
    assert report.examples == {
        "is no number, which the first cells of the column are": "p.csv, line 1002: price"
    }


def test_tables_without_a_header_are_named_by_the_caller(tmp_path):
    file = write(tmp_path / "u.data", f"7\t9\t4\t{NOON}\n8\t9\t3\t{NOON}\n")
    header = ("user_id", "item_id", "rating", "timestamp")
    _, log = import_all(tmp_path, file, header=header)
    assert log.interactions["value"].sort().to_list() == [3.0, 4.0]
    assert log.interactions["type"].unique().to_list() == ["rating"]


def test_what_spreadsheets_write_is_read(tmp_path):
    file = write(tmp_path / "p.csv", "\ufeffitem_id,title\ni1,Tee\n")
    other = write(tmp_path / "q.csv", "item_id,title\ni2,Café Müller\n", "cp1252")
    _, log = import_all(tmp_path, file, other)
    assert sorted(log.items["attributes"].to_list()) == [
        '{"title":"Café Müller"}', '{"title":"Tee"}',
    ]  # fmt: skip
    assert log.items["occurred_at"].to_list() == [0, 0]  # nothing says from when on


def test_parquet_without_our_names_is_a_table_too(tmp_path):
    file = tmp_path / "clicks.parquet"
    pl.DataFrame({
        "customer": [5, 6], "product": ["a", "b"], "action": ["view", "buy"],
        "ts": [WITHOUT_ZONE, WITHOUT_ZONE + timedelta(hours=1)], "tags": [["x"], None],
    }).write_parquet(file)  # fmt: skip
    report, log = import_all(tmp_path, file)
    assert report.n_rejected == 0
    assert log.interactions.sort("occurred_at")["user_id"].to_list() == ["5", "6"]
    assert log.interactions["type"].sort().to_list() == ["buy", "view"]
    assert log.interactions["occurred_at"].min() == NOON * 1_000_000


def test_visits_without_users_are_interactions(tmp_path):
    file = write(tmp_path / "c.csv", f"session_id,item_id,timestamp\ns1,i1,{NOON}\n")
    _, log = import_all(tmp_path, file)
    assert log.interactions["session_id"].to_list() == ["s1"]


def test_a_text_that_is_no_table_is_refused_as_before(tmp_path):
    report, _ = import_all(tmp_path, write(tmp_path / "a.csv", "a,b\n1,2\n"))
    assert report.examples["is not JSON"] == "a.csv, line 1"
    assert report.n_rejected == 2
