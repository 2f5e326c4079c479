"""Formats of the field's data sets, on hand-made files in exactly those formats."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from recsys.cli.main import cli
from recsys.cli.workspace import make_workspace
from recsys.config import Config, LogConfig
from recsys.errors import PluginError
from recsys.events.formats import Formats
from recsys.events.frames import decode_attributes
from recsys.events.importing import ImportReport, import_events
from recsys.events.snapshot import LogSnapshot, read_snapshot
from recsys.plugins.registry import load_importers

DATA = Path(__file__).parents[2] / "data"


def _run(tmp_path: Path, *sources: Path) -> tuple[ImportReport, LogSnapshot]:
    config = LogConfig(path=str(tmp_path / "log.duckdb"))
    formats = Formats(load_importers(tmp_path, Config()))
    rejects = tmp_path / "rejects.jsonl"
    report = import_events(config, list(sources), rejects=rejects, formats=formats)
    return report, read_snapshot(config)


def _us(text: str) -> int:
    moment = datetime.fromisoformat(text).replace(tzinfo=UTC)
    return round(moment.timestamp() * 1_000_000)


def _at(*parts: int) -> datetime:
    """As the files have it: without a zone."""
    return datetime(*parts, tzinfo=UTC).replace(tzinfo=None)


def _items(log: LogSnapshot) -> dict[str, dict[str, object]]:
    rows = zip(log.items["item_id"], log.items["attributes"], strict=True)
    return {item: decode_attributes(text) for item, text in rows}


ENTITY = '[{"Label": "Prince Philip", "Type": "P", "WikidataId": "Q80976", "Confidence": 1.0}]'
NEWS = [
    "N1\tlifestyle\tlifestyleroyals\tThe Brands\tShop the notebooks\thttps://a\t" + ENTITY + "\t[]",
    "N2\thealth\tweightloss\t50 Worst Habits\t\thttps://b\t[]\t[]",
    "N3\tnews\tnewsworld\tThe Cost\tLt. Ivan\thttps://c\t[]\tno json",
    "N4\tnews",
]
BEHAVIORS = [
    "1\tU1\t11/11/2019 9:05:58 AM\tN7 N8\tN1-1 N2-0",
    "2\tU2\t11/12/2019 12:30:00 AM\t\tN1-0 N2-1",
    "3\tU1\t11/12/2019 6:11:30 PM\tN7 N8\tN2-1 N1-1",
    "4\tU3\t13/12/2019 6:11:30 PM\tN7\tN2-1",
    "5\tU3\t11/12/2019 6:11:30 PM\tN7\tN2-2",
    "6\tU3\t11/12/2019 6:11:30 PM\tN7",
]


@pytest.fixture
def mind(tmp_path: Path) -> Path:
    folder = tmp_path / "MINDsmall_train"
    folder.mkdir()
    (folder / "news.tsv").write_text("\n".join(NEWS) + "\n")
    (folder / "behaviors.tsv").write_text("\n".join(BEHAVIORS))
    (folder / "entity_embedding.vec").write_text("Q41\t-0.06\t-0.18\n")
    return folder


def test_mind_impressions_histories_and_news(tmp_path: Path, mind: Path) -> None:
    report, log = _run(tmp_path, mind)
    assert [path.name for path in report.passed_over] == ["entity_embedding.vec"]
    assert report.n_rejected == 5
    assert log.impressions["item_ids"].to_list() == [["N1", "N2"], ["N1", "N2"], ["N2", "N1"]]
    assert log.impressions["occurred_at"].to_list() == [
        _us("2019-11-11T09:05:58"),
        _us("2019-11-12T00:30:00"),
        _us("2019-11-12T18:11:30"),
    ]
    clicks = log.interactions
    first = log.impressions["impression_id"][0]
    assert clicks.filter(clicks["impression_id"] == first)["item_id"].to_list() == ["N1"]
    history = clicks.filter(clicks["impression_id"] == "")
    assert history["item_id"].to_list() == ["N7", "N8"]
    assert history["occurred_at"].is_sorted()
    assert history["occurred_at"].max() < _us("2019-11-11T09:05:58")
    assert max(log.items["occurred_at"]) < min(history["occurred_at"])
    assert _items(log) == {
        "N1": {
            "title": "The Brands",
            "category": "lifestyle",
            "subcategory": "lifestyleroyals",
            "abstract": "Shop the notebooks",
            "entities": ["Prince Philip"],
        },
        "N2": {"title": "50 Worst Habits", "category": "health", "subcategory": "weightloss"},
    }


def test_mind_test_files_have_no_clicks(tmp_path: Path) -> None:
    file = tmp_path / "behaviors.tsv"
    file.write_text("1\tU1\t11/22/2019 9:05:58 PM\t\tN1 N2")
    _, log = _run(tmp_path, file)
    assert log.interactions.is_empty()
    assert log.impressions["occurred_at"][0] == _us("2019-11-22T21:05:58")


def test_mind_train_and_dev_go_together(tmp_path: Path, mind: Path) -> None:
    dev = tmp_path / "MINDsmall_dev"
    dev.mkdir()
    (dev / "news.tsv").write_text("\n".join(NEWS[:2]))
    (dev / "behaviors.tsv").write_text("1\tU1\t11/15/2019 8:55:22 AM\tN7 N8\tN1-0 N2-1")
    report, log = _run(tmp_path, dev, mind)
    assert (report.kinds["items"].new, report.kinds["items"].read) == (2, 4)
    history = log.interactions.filter(log.interactions["impression_id"] == "")
    assert len(history) == 2
    assert history["occurred_at"].max() < min(log.impressions["occurred_at"])
    assert log.impressions["impression_id"].n_unique() == 4


def _ebnerd(folder: Path) -> Path:
    data = folder / "ebnerd" / "train"
    data.mkdir(parents=True)
    at = _at(2023, 5, 21, 21, 6, 50)
    second = _at(2023, 5, 21, 21, 9)
    behaviors = {
        "impression_id": pa.array([48401, 48404], pa.uint32()),
        "article_id": pa.array([None, 9774516], pa.int32()),
        "impression_time": pa.array([at, second], pa.timestamp("us")),
        "read_time": [21.0, 45.0],
        "scroll_percentage": [None, 100.0],
        "device_type": pa.array([2, 1], pa.int8()),
        "article_ids_inview": [[9774516, 9771051], [9770028]],
        "article_ids_clicked": [[9771051], [9770028]],
        "user_id": pa.array([22779, 22779], pa.uint32()),
        "is_sso_user": [False, False],
        "gender": pa.array([None, None], pa.int8()),
        "postcode": pa.array([None, None], pa.int8()),
        "age": pa.array([None, None], pa.int8()),
        "is_subscriber": [True, True],
        "session_id": pa.array([21, 21], pa.uint32()),
        "next_read_time": [16.0, None],
        "next_scroll_percentage": [27.0, None],
    }
    pq.write_table(pa.table(behaviors), data / "behaviors.parquet")
    history = {
        "user_id": pa.array([22779, 13538, 5], pa.uint32()),
        "impression_time_fixed": [[_at(2023, 4, 27), at], [_at(2023, 4, 28)], [at]],
        "scroll_percentage_fixed": [[100.0, 27.0], [None], [1.0]],
        "article_id_fixed": [[9738663, 9771051], [9738569], []],
        "read_time_fixed": [[17.0, 16.0], [3.0], [1.0]],
    }
    pq.write_table(pa.table(history), data / "history.parquet")
    articles = {
        "article_id": pa.array([9774516, 9771051, 1], pa.int32()),
        "title": ["Ishockey-spiller", "Prins Harry", "x"],
        "subtitle": ["Han var 20 \u00e5r", "", "x"],
        "last_modified_time": [at, at, at],
        "premium": [False, True, False],
        "body": ["Den norske", "Harry", "x"],
        "published_time": [_at(2023, 5, 20), _at(2023, 5, 19), None],
        "image_ids": [[1], None, None],
        "article_type": ["article_default"] * 3,
        "url": ["https://a", "https://b", "x"],
        "ner_clusters": [["David"], [], []],
        "entity_groups": [["PER"], [], []],
        "topics": [["Sport", "Ishockey"], None, []],
        "category": pa.array([142, 414, 1], pa.int16()),
        "subcategory": [[327], [432], []],
        "category_str": ["sport", "underholdning", "x"],
        "total_inviews": pa.array([180236, None, 1], pa.int32()),
        "sentiment_score": pa.array([0.99, 0.85, 0.1], pa.float32()),
        "sentiment_label": ["Negative", "Positive", "Neutral"],
    }
    pq.write_table(pa.table(articles), data.parent / "articles.parquet")
    return data.parent


def test_ebnerd_behaviors_history_and_articles(tmp_path: Path) -> None:
    report, log = _run(tmp_path, _ebnerd(tmp_path))
    assert dict(report.rejected) == {"is no timestamp": 1, "has lists of different lengths": 1}
    assert log.impressions["item_ids"].to_list() == [["9774516", "9771051"], ["9770028"]]
    assert [decode_attributes(text) for text in log.impressions["context"]] == [
        {"page": "front", "device_type": "2"},
        {"page": "article", "device_type": "1"},
    ]
    clicks = log.interactions
    assert len(clicks) == 4, "a click of the behaviors that a history has again counts once"
    first = clicks.filter(clicks["impression_id"] == "48401")
    assert (first["item_id"][0], first["value"][0]) == ("9771051", 16.0)
    assert [decode_attributes(text) for text in log.users["attributes"]] == [
        {"is_subscriber": True, "is_sso_user": False}
    ]
    assert log.items["occurred_at"].to_list() == [_us("2023-05-19"), _us("2023-05-20")]
    assert _items(log)["9774516"] == {
        "title": "Ishockey-spiller",
        "subtitle": "Han var 20 \u00e5r",
        "body": "Den norske",
        "category_str": "sport",
        "article_type": "article_default",
        "sentiment_label": "Negative",
        "topics": ["Sport", "Ishockey"],
        "ner_clusters": ["David"],
        "entity_groups": ["PER"],
        "premium": False,
    }


MOVIES = (
    "movieId,title,genres\n"
    "1,Toy Story (1995),Adventure|Animation\n"
    '11,"American President, The (1995)",Comedy|Drama\n'
    "99,Later (2016),(no genres listed)\n"
)


@pytest.fixture
def movielens(tmp_path: Path) -> Path:
    folder = tmp_path / "ml"
    folder.mkdir()
    (folder / "movies.csv").write_text(MOVIES)
    (folder / "ratings.csv").write_text(
        "userId,movieId,rating,timestamp\n1,1,4.0,1147880044\n1,11,0.5,1147868817\n2,1,x,1147868900\n2,1\n"
    )
    (folder / "tags.csv").write_text("userId,movieId,tag,timestamp\n3,1,fun,1439472355\n")
    return folder


def test_movielens_ratings_and_films(tmp_path: Path, movielens: Path) -> None:
    report, log = _run(tmp_path, movielens)
    assert [path.name for path in report.passed_over] == ["tags.csv"]
    assert report.n_rejected == 2
    columns = ("user_id", "item_id", "type", "value", "occurred_at")
    assert log.interactions.select(columns).rows() == [
        ("1", "11", "rating", 0.5, 1147868817_000_000),
        ("1", "1", "rating", 4.0, 1147880044_000_000),
    ]
    assert _items(log) == {
        "1": {"title": "Toy Story", "year": 1995.0, "genres": ["Adventure", "Animation"]},
        "11": {"title": "American President, The", "year": 1995.0, "genres": ["Comedy", "Drama"]},
        "99": {"title": "Later", "year": 2016.0},
    }
    first_rating = 1147868817_000_000
    assert log.items["occurred_at"].to_list() == [first_rating, first_rating, _us("2016-01-01")]


OVERVIEWS = {
    "overviews.csv": {"overviews.csv": 'movieId,overview\n1,"Woody, jealous\nof Buzz"\n'},
    "The Movies Dataset": {
        "movies_metadata.csv": 'adult,id,overview,title\nFalse,862,"Woody, jealous\nof Buzz",T\n',
        "links.csv": "movieId,imdbId,tmdbId\n1,0114709,862\n11,0112346,9087\n",
    },
}


@pytest.mark.parametrize("source", OVERVIEWS)
def test_movielens_takes_overviews_from_beside(
    tmp_path: Path, movielens: Path, source: str
) -> None:
    for name, text in OVERVIEWS[source].items():
        (movielens / name).write_text(text)
    _, log = _run(tmp_path, movielens)
    assert _items(log)["1"]["overview"] == "Woody, jealous\nof Buzz"
    assert "overview" not in _items(log)["11"]


def test_movietweetings_as_it_is(tmp_path: Path) -> None:
    report, log = _run(tmp_path, DATA / "movietweetings")
    assert (report.n_rejected, len(log.interactions), len(log.items)) == (0, 100_000, 10_506)
    assert {path.name for path in report.passed_over} == {"LICENSE", "README.md"}
    assert _items(log)["0004936"] == {
        "title": "The Bank",
        "year": 1915.0,
        "genres": ["Comedy", "Short"],
    }
    assert min(log.items["occurred_at"]) == min(log.interactions["occurred_at"])


def test_the_dat_files_of_movielens_are_not_taken_for_movietweetings(tmp_path: Path) -> None:
    file = tmp_path / "ratings.dat"
    file.write_text("1::1193::5::978300760\n")
    report, _ = _run(tmp_path, file)
    assert (report.n_rejected, report.kinds["interactions"].read) == (1, 0)


def _retail_row(invoice: str, code: str, title: str | None = "TEA SET ", **more: object):
    at = _at(2010, 12, 1, 8, 26)
    row = {"InvoiceNo": invoice, "StockCode": code, "Description": title, "Quantity": 6}
    row |= {"InvoiceDate": at, "UnitPrice": 2.5, "CustomerID": 17850, "Country": "France"}
    return row | more


def test_online_retail_is_cleaned(tmp_path: Path) -> None:
    rows = [
        _retail_row("536365", "85123A"),
        _retail_row("536365", "85123A", Quantity=1),
        _retail_row("536366", "22633", "HAND WARMER", CustomerID=13047, Country="Spain"),
        _retail_row("C536379", "85123A", Quantity=-1),
        _retail_row("536370", "POST", "POSTAGE"),
        _retail_row("536371", "22633", None, CustomerID=None),
        _retail_row("536372", "22633", None, Quantity=0),
    ]
    file = tmp_path / "retail.parquet"
    pq.write_table(pa.Table.from_pylist(rows), file)
    report, log = _run(tmp_path, file)
    assert report.n_rejected == 0
    assert dict(report.left_out) == {
        "a cancelled invoice": 1,
        "a code that is no product": 1,
        "no customer": 1,
        "nothing sold": 1,
    }
    columns = ("user_id", "item_id", "type", "session_id", "value")
    assert sorted(log.interactions.select(columns).rows()) == [
        ("13047", "22633", "purchase", "536366", 15.0),
        ("17850", "85123A", "purchase", "536365", 2.5),
        ("17850", "85123A", "purchase", "536365", 15.0),
    ]
    assert _items(log) == {
        "85123A": {"title": "TEA SET", "price": 2.5},
        "22633": {"title": "HAND WARMER", "price": 2.5},
    }
    assert set(log.users["user_id"]) == {"17850", "13047"}


def test_online_retail_as_it_is(tmp_path: Path) -> None:
    first = next(
        pq.ParquetFile(DATA / "online_retail" / "online_retail.parquet").iter_batches(40_000)
    )
    pq.write_table(pa.table(first), tmp_path / "retail.parquet")
    report, log = _run(tmp_path, tmp_path / "retail.parquet")
    assert (report.n_rejected, report.left_out["no customer"]) == (0, 13_953)
    assert sum(report.left_out.values()) + len(log.interactions) == len(first)
    assert all(count.known == 0 for count in report.kinds.values())


def test_two_importers_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "other.py").write_text(
        "from recsys.hookspecs import hookimpl\n"
        "from recsys_plugins.mind import MindImporter\n"
        "@hookimpl\n"
        "def recsys_event_importers():\n"
        "    return [MindImporter()]\n"
    )
    with pytest.raises(PluginError, match="format mind is offered by mind too"):
        load_importers(tmp_path, Config())


def test_the_command_names_the_formats_that_there_are(tmp_path: Path, mind: Path) -> None:
    make_workspace(tmp_path / "w")
    arguments = ["events", "import", str(mind), "--workspace", str(tmp_path / "w")]
    found = CliRunner().invoke(cli, [*arguments, "--format", "mint"])
    assert "ebnerd, mind, movielens, movietweetings, online_retail" in str(found.exception)
    found = CliRunner().invoke(cli, [*arguments, "--format", "mind"])
    assert found.exit_code == 0, found.output
    assert "passed over, of another format: entity_embedding.vec" in found.output
