"""Tables of somebody else's are read by the names of their columns."""

from __future__ import annotations

import gzip
import time
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
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
    for cell in ("yesterday", "02.01.2024", "-5", "inf", "", "20240102", "45321.5"):
        with pytest.raises(EventError, match="is no instant; expected RFC 3339"):
            instant_of(cell)


def test_other_formats_of_instants_are_named_by_the_caller(tmp_path):
    assert instant_of("02.01.2024 12:00", "%d.%m.%Y %H:%M") == NOON * 1_000_000
    assert instant_of("2024-01-02T12:00:00Z", "%d.%m.%Y") == NOON * 1_000_000
    with pytest.raises(EventError, match="is no instant"):
        instant_of("1/2/2024", "%d.%m.%Y")
    file = write(tmp_path / "a.csv", "user;item;date\nu;i;02.01.2024\nu;j;1/2/2024\n")
    report, log = import_all(tmp_path, file, time_format="%d.%m.%Y")
    assert log.interactions["occurred_at"].to_list() == [NOON * 1_000_000 - 43_200_000_000]
    assert list(report.examples.values()) == ["a.csv, line 3: occurred_at"]


@pytest.mark.parametrize(
    ("name", "cells", "kind"),
    [
        ("price", ["1", "2.5", "", "-3e+2"], "number"),
        ("price", ["3,50", "1.234,5", "12"], "number with a comma"),
        ("price", ["1,234", "5,678"], "text"),  # thousands, or not
        ("price", ["3,50", "3.5"], "text"),
        ("price_mean", ["3.5"], "number"),
        ("is_clean", ["true"], "switch"),
        ("postcode", ["1010", "1020"], "code"),
        ("category_id", ["1", "2"], "code"),
        ("categoryId", ["1", "2"], "code"),
        ("amount_paid", ["1", "2"], "number"),
        ("size", ["5", "\u00b2"], "text"),
        ("model", ["12E3", "10_20"], "text"),
        ("number", ["007", "12"], "text"),
        ("phone", ["12345678901234567"], "code"),
        ("number", ["12345678901234567"], "text"),
        ("new", ["true", "False"], "switch"),
        ("genres", ["Drama", "Comedy|Crime"], "list"),
        ("title", ["Tea", "News | BBC"], "text"),
        ("title", ["Tea"] * 20 + ["A|B"], "text"),
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


def test_what_is_said_of_no_column_is_refused(tmp_path):
    file = write(tmp_path / "a.csv", f"user,item,time\nu,i,{NOON}\n")
    for said, expected in (
        (
            {"columns": {"value": "prise"}},
            "prise; expected one of the columns .*: item, time, user",
        ),
        ({"item_fields": ("prise",)}, "prise; expected one of .*: none that is not taken"),
        ({"item_fields": ("user",)}, "user; expected one of .*: none that is not taken"),
        ({"left_out": ("prise",)}, "prise; expected one of the columns .*: item, time, user"),
        ({"columns": {"usr": "user"}}, "--column usr=.*; expected one of user_id, item_id"),
    ):
        with pytest.raises(LogError, match=expected):
            import_all(tmp_path, file, **said)


def test_what_is_said_comes_before_what_names_say(tmp_path):
    names = ["user", "visitor_id", "item", "time", "rating", "type"]
    found = columns_of(HERE, names, TableOptions(columns={"session_id": "visitor_id"}))
    assert found is not None
    assert (found.fields["user_id"], found.fields["session_id"]) == ("user", "visitor_id")
    found = columns_of(HERE, names, TableOptions(columns={"value": ""}, type="purchase"))
    assert found is not None
    assert "value" not in found.fields
    assert "type" in found.others  # of the product
    assert found.type == "purchase"
    found = columns_of(HERE, ["user_id", "job_id", "age"], TableOptions(columns={"item_id": ""}))
    assert found is not None
    assert found.kind == "users"
    found = columns_of(HERE, ["user_id", "job", "age"], TableOptions(left_out=("age",)))
    assert found is not None
    assert (found.kind, found.others, found.left_out) == ("users", ("job",), ("age",))
    found = columns_of(HERE, ["item_id", "title", "date", "created_at"], TableOptions())
    assert found is not None
    assert found.fields["occurred_at"] == "created_at"
    with pytest.raises(LogError, match="'title' is the name of two columns"):
        columns_of(HERE, ["item_id", "title", "title"], TableOptions())


def test_columns_without_a_name_are_none(tmp_path):
    file = write(tmp_path / "a.csv", f",user_id,item_id,timestamp,\n0,u,i,{NOON},\n")
    report, log = import_all(tmp_path, file)
    assert log.interactions["user_id"].to_list() == ["u"]
    assert report.n_rejected == 0
    _, log = import_all(tmp_path, write(tmp_path / "b.csv", ",item_id,title\n0,i,Tea\n"))
    assert log.items["attributes"].to_list() == ['{"title":"Tea"}']


def test_files_that_are_no_tables_do_not_end_an_import(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.xlsx").write_bytes(b"PK\x03\x04ab\rcd\x00\nfoo")
    (folder / "b.csv").write_bytes(b"")
    (folder / "c.csv").write_bytes(b"user_id,item_id,timestamp\n")
    write(folder / "d.csv", f"user_id,item_id,timestamp\nu,i,{NOON}\n")
    report, log = import_all(tmp_path, folder)
    assert log.interactions.height == 1
    assert report.n_rejected == 2


def test_a_damaged_table_is_broken_off_and_others_are_imported(tmp_path):
    rows = "".join(f"u{n},i,{NOON + n}\n" for n in range(60_000))
    packed = gzip.compress(f"user_id,item_id,timestamp\n{rows}".encode())
    damaged = tmp_path / "z.csv.gz"
    damaged.write_bytes(packed[: len(packed) // 2])
    products = write(tmp_path / "p.csv", "item_id,title\ni,Tea\n")
    report, log = import_all(tmp_path, products, damaged)
    assert list(report.broken) == [damaged]
    assert log.items["occurred_at"].to_list() == [NOON * 1_000_000]
    assert 0 < log.interactions.height < 60_000


def test_a_quote_that_is_not_closed_is_reported(tmp_path):
    text = 'item_id,title\na,"Rome\nb,Tea\nc,Cup\n'
    report, _ = import_all(tmp_path, write(tmp_path / "a.csv", text))
    [reason] = report.broken.values()
    assert "is a quote not closed?" in reason
    for text in (
        'item_id,title\na,"Rome\nb,"Tea"\nc,Cup\n',
        'item_id,size,title\na,5" pipe,"Rome\nb,x,Tea\nc,y,Cup\n',
    ):
        report, _ = import_all(tmp_path, write(tmp_path / "a.csv", text))
        assert len(report.broken) == 1
    text = 'item_id\ttitle\na\t"Rome\nb\t"Tea ""x"""\nc\tCup\n'
    _, log = import_all(tmp_path, write(tmp_path / "b.tsv", text))
    assert sorted(log.items["attributes"].to_list()) == [
        r'{"title":"Cup"}', r'{"title":"Tea \"x\""}', r'{"title":"\"Rome"}',
    ]  # fmt: skip
    text = 'item_id,title\na,"one\ntwo"\n'
    _, log = import_all(tmp_path / "c", write(tmp_path / "c.csv", text))
    assert log.items["attributes"].to_list() == [r'{"title":"one\ntwo"}']


def test_a_product_table_that_changes_is_a_new_version(tmp_path):
    orders = write(tmp_path / "o.csv", f"user,item,time\nu,a,{NOON}\nu,b,1900-01-01\n")
    file = tmp_path / "p.csv"
    _, log = import_all(tmp_path, orders, write(file, "item,price\na,3\nb,1\nb,2\n"))
    found = log.items.sort("occurred_at", "item_id")
    # What is said twice of one item: the later row counts.
    assert found["attributes"].to_list() == ['{"price":3.0}', '{"price":2.0}']
    assert found["occurred_at"].to_list() == [NOON * 1_000_000] * 2
    report, log = import_all(tmp_path, orders, file)
    assert log.items.height == 2
    before = time.time_ns() // 1000
    for price in ("4", "3", "3"):
        report, log = import_all(tmp_path, write(file, f"item,price\na,{price}\nb,2\n"))
    assert report.left_out == {"says of an item or user what the log knows already": 2}
    found = log.items.filter(pl.col("item_id") == "a").sort("occurred_at")
    assert found["attributes"].to_list() == ['{"price":3.0}', '{"price":4.0}', '{"price":3.0}']
    assert found["occurred_at"].to_list()[1] >= before


def test_an_export_that_begins_with_the_newest_says_things_as_early(tmp_path):
    rows = "".join(f"u,i,{NOON + n},Tea\n" for n in (90, 60, 0))
    file = write(tmp_path / "a.csv", f"user,item,time,name\n{rows}")
    _, log = import_all(tmp_path, file, item_fields=("name",))
    assert log.items["occurred_at"].to_list() == [NOON * 1_000_000]
    rows = "".join(f"u,j,{NOON + n},{name}\n" for n, name in ((10, "A"), (30, "B"), (20, "B")))
    file = write(tmp_path / "b.csv", f"user,item,time,name\n{rows}")
    _, log = import_all(tmp_path, file, item_fields=("name",))
    found = log.items.filter(pl.col("item_id") == "j").sort("occurred_at")
    assert found["occurred_at"].to_list() == [(NOON + n) * 1_000_000 for n in (10, 20)]


def test_clicks_of_nobody_on_two_lists_are_two(tmp_path):
    rows = f",i,{NOON},p1\n,i,{NOON},p2\n"
    file = write(tmp_path / "a.csv", f"user_id,item_id,timestamp,impression_id\n{rows}")
    _, log = import_all(tmp_path, file)
    assert sorted(log.interactions["impression_id"].to_list()) == ["p1", "p2"]


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
    rows = f"u;i;{NOON};1.234,5;3,25\nu;j;{NOON};7;12,99\nu;k;{NOON};1.234;1\n"
    file = write(tmp_path / "a.csv", f"user;item;time;value;price\n{rows}")
    _, log = import_all(tmp_path, file)
    assert sorted(log.interactions["value"].to_list()) == [7.0, 1234.0, 1234.5]
    assert sorted(log.interactions["attributes"].to_list()) == [
        '{"price":1.0}', '{"price":12.99}', '{"price":3.25}',
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


def test_what_attributes_cannot_hold_is_left_out(tmp_path):
    file = tmp_path / "p.parquet"
    pl.DataFrame(
        {
            "item_id": [b"a", b"b"],
            "info": [{"x": 1}, {"x": 2}],
            "at": [timedelta(1), timedelta(2)],
            "category_id": [9_007_199_254_740_993, 2],
            "price": [Decimal("1.50"), None],
            "sizes": [[1.0, float("nan")], [2.0]],
            "known": [WITHOUT_ZONE, WITHOUT_ZONE],
        },
        schema_overrides={"known": pl.Datetime("ns")},
    ).with_columns(pl.col("known").dt.offset_by("1ns")).write_parquet(file)
    report, log = import_all(tmp_path, file)
    assert report.n_rejected == 0
    assert report.taken[file].endswith("left out: info, at")
    assert sorted(log.items["attributes"].to_list()) == [
        '{"category_id":"2","sizes":[2.0],"known":"2024-01-02T12:00:00"}',
        '{"category_id":"9007199254740993","price":1.5,"sizes":[1.0],'
        '"known":"2024-01-02T12:00:00"}',
    ]
    pl.DataFrame({"user_id": [1e17], "item_id": ["i"], "ts": [WITHOUT_ZONE]}).write_parquet(file)
    report, _ = import_all(tmp_path, file)
    assert report.rejected == {"is a number that is no id": 1}


def test_visits_without_users_are_interactions(tmp_path):
    file = write(tmp_path / "c.csv", f"session_id,item_id,timestamp\ns1,i1,{NOON}\n")
    _, log = import_all(tmp_path, file)
    assert log.interactions["session_id"].to_list() == ["s1"]


def test_a_text_that_is_no_table_is_refused_as_before(tmp_path):
    report, _ = import_all(tmp_path, write(tmp_path / "a.csv", "a,b\n1,2\n"))
    assert report.examples["is not JSON"] == "a.csv, line 1"
    assert report.n_rejected == 2


SHOWN = (
    "list,user,item,time,rank,device,clicked,seconds,title\n"
    f"p1,u,a,{NOON},2,tv,0,,Tea\n"
    f"p1,u,b,{NOON},1,tv,1,12.5,Cup\n"
    f"p2,v,a,{NOON + 60},1,,0,,Tea\n"
    f"p2,v,c,{NOON + 60},2,,0,3,Jug\n"
)


def test_rows_of_items_that_were_shown_are_lists(tmp_path):
    said = {
        "columns": {"impression_id": "list"},
        "done": {"click": "clicked", "watch": "seconds"},
        "item_fields": ("title",),
    }
    file = write(tmp_path / "a.csv", SHOWN)
    report, log = import_all(tmp_path, file, **said)
    assert report.n_rejected == 0
    assert report.taken[file] == (
        "exposures: user as user_id, item as item_id, time as occurred_at, list as impression_id, "
        "rank as position, clicked as click, seconds as watch; of the item: title; "
        "attributes: device"
    )
    lists = log.impressions.sort("occurred_at")
    assert lists["item_ids"].to_list() == [["b", "a"], ["a", "c"]]
    assert lists["impression_id"].to_list() == ["p1", "p2"]
    assert lists["context"].to_list() == ['{"device":"tv"}', "{}"]
    done = log.interactions.sort("occurred_at", "type").rows(named=True)
    assert [(row["type"], row["item_id"], row["impression_id"], row["value"]) for row in done] == [
        ("click", "b", "p1", None), ("watch", "b", "p1", 12.5), ("watch", "c", "p2", 3.0),
    ]  # fmt: skip
    assert log.items["item_id"].sort().to_list() == ["a", "b", "c"]
    again, _ = import_all(tmp_path, file, **said)
    assert sum(found.new for found in again.kinds.values()) == 0


def test_lists_without_an_id_are_of_one_user_at_one_instant(tmp_path):
    rows = f"u,a,{NOON},1\nu,b,{NOON},0\nv,a,{NOON},0\nu,a,{NOON + 1},0\nu,c,yesterday,1\n"
    file = write(tmp_path / "a.csv", f"user,item,time,is_click\n{rows}")
    report, log = import_all(tmp_path, file, done={"click": "is_click"})
    assert log.impressions.sort("occurred_at", "user_id")["item_ids"].to_list() == [
        ["a", "b"], ["a"], ["a"],
    ]  # fmt: skip
    [click] = log.interactions.rows(named=True)
    assert click["impression_id"] in log.impressions["impression_id"].to_list()
    assert report.n_rejected == 1


def test_a_list_that_goes_on_later_is_refused(tmp_path):
    rows = f"p1,u,a,{NOON},1\np2,u,b,{NOON},0\np1,u,c,{NOON},1\np3,u,c,{NOON},maybe\n"
    file = write(tmp_path / "a.csv", f"impression_id,user,item,time,clicked\n{rows}")
    report, log = import_all(tmp_path, file, done={"click": "clicked"})
    assert log.impressions.height == 2
    assert sorted(report.rejected) == [
        "does not say whether it was done; expected 0 or 1, true or false, or a number",
        "is of a list that ended before; rows of one list have to stand together",
    ]
    with pytest.raises(LogError, match="--done click=klik; expected one of the columns"):
        import_all(tmp_path, file, done={"click": "klik"})


def test_lists_of_two_files_with_one_id_are_not_taken_for_one(tmp_path):
    head = "impression_id,user,item,time,clicked\n"
    one = write(tmp_path / "a.csv", f"{head}1,u,a,{NOON},1\n1,u,b,{NOON},0\n")
    two = write(tmp_path / "b.csv", f"{head}1,v,x,{NOON + 9},1\n")
    report, log = import_all(tmp_path, one, two, done={"click": "clicked"})
    assert log.impressions["item_ids"].to_list() == [["a", "b"]]
    assert log.interactions["item_id"].to_list() == ["a"]
    assert report.n_rejected == 1


def test_what_was_shown_stays_shown_where_a_column_is_missing(tmp_path):
    done = {"click": "clicked", "watch": "seconds"}
    one = write(tmp_path / "a.csv", f"user,item,time,clicked,seconds\nu,a,{NOON},1,2\n")
    two = write(
        tmp_path / "b.csv", f"user,item,time,clicked,rating\nv,a,{NOON},0,4\n,b,{NOON},1,4\n"
    )
    three = write(tmp_path / "c.csv", f"user,item,time,clicked\nw,a,{NOON},0\nw,,{NOON},1\n")
    report, log = import_all(tmp_path, one, two, three, done=done)
    assert log.impressions.height == 3
    assert log.impressions["context"].unique().to_list() == ["{}"]
    assert log.interactions["user_id"].unique().to_list() == ["u"]
    assert report.n_rejected == 2
    assert report.taken[two].endswith("left out: rating")


def test_headers_are_read_as_rows_are(tmp_path):
    file = write(tmp_path / "a.csv", "item_id;Größe;Titel\na;5;Tee\n", "cp1252")
    _, log = import_all(tmp_path, file)
    assert log.items["attributes"].to_list() == ['{"Größe":5.0,"Titel":"Tee"}']
    text = f'"user_id"\t"item_id"\t"timestamp"\n"u"\t"i"\t{NOON}\n'
    header = ("user_id", "item_id", "rating", "timestamp")
    _, log = import_all(tmp_path, write(tmp_path / "b.tsv", text), header=header)
    assert log.interactions["user_id"].to_list() == ["u"]


def test_damage_costs_what_is_damaged(tmp_path):
    damaged = tmp_path / "a.csv.gz"
    packed = bytearray(gzip.compress(b"user_id,item_id,timestamp\nu,i,1\n" * 50))
    packed[12:20] = b"\xff" * 8
    damaged.write_bytes(packed)
    rows = "".join(f"i{n},Tea\n" for n in range(500))
    middle = write(tmp_path / "b.csv", f'item_id,title\nx,Big\rCup\n{rows}y,"Rome\nz,Tea\n')
    late = tmp_path / "c.parquet"
    instants = pl.Series([2**60]).cast(pl.Datetime("us"))
    pl.DataFrame({"user_id": ["u"], "item_id": ["i"], "time": instants}).write_parquet(late)
    report, log = import_all(tmp_path, damaged, middle, late)
    assert log.items.height == 501
    assert '{"title":"Big Cup"}' in log.items["attributes"].to_list()
    assert {late, middle} <= set(report.broken)


def test_tables_that_would_replace_each_other_are_refused(tmp_path):
    one = write(tmp_path / "a.csv", "item_id,title\na,Tea\n")
    two = write(tmp_path / "b.csv", "item_id,price\na,3\n")
    with pytest.raises(LogError, match=r"a.csv says other things of the same items"):
        import_all(tmp_path, one, two)


def test_ids_of_a_type_that_is_none_are_named(tmp_path):
    file = tmp_path / "a.parquet"
    frame = pl.DataFrame({"user_id": ["u"], "item_id": [["a", "b"]], "time": [WITHOUT_ZONE]})
    frame.write_parquet(file)
    with pytest.raises(LogError, match=r"column item_id as item_id, of type .*list"):
        import_all(tmp_path, file)
    frame = pl.DataFrame({"__index_level_0__": [0], "item_id": ["i"], "title": ["NA"]})
    frame.cast({"item_id": pl.Categorical}).write_parquet(file)
    _, log = import_all(tmp_path, file)
    assert log.items.select("item_id", "attributes").rows() == [("i", "{}")]
