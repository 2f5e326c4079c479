r"""Speed and memory of the feature engine, beside peers, equal results checked first.

    python benchmarks/features.py                   # everything but Feast
    python benchmarks/features.py --only windows --json
    python benchmarks/features.py --only feast      # needs Feast in an environment of its own:

    python -m venv build/feast && build/feast/bin/pip install feast

Parts:
  feast    clicks of an item before each of many requests: Parquet in, column out
  windows  windowed counts over 10 M events, beside DuckDB's RANGE windows
  scale    1, 10 and 100 M events in columns mapped from files: time, and memory of the process
  online   one request of 500 candidates with the first-party set; events into the state
  bytes    bytes of online state per user
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np
import polars as pl

from recsys.config import Config, LogConfig
from recsys.events.formats import Formats
from recsys.events.importing import import_events
from recsys.events.replay import visible_events
from recsys.events.snapshot import LogSnapshot, read_snapshot, snapshot_of
from recsys.features.actions import Actions, EncodedLog, EventTypes, encode_log, no_actions
from recsys.features.contexts import Contexts
from recsys.features.entities import Entities
from recsys.features.offline import OfflineReader
from recsys.features.online import OnlineState
from recsys.features.plan import FeaturePlan
from recsys.features.profile import profile_log
from recsys.features.sessions import Visitors
from recsys.features.slates import Slates, one_slate
from recsys.features.vocabulary import Aggregate, count, since_last, total
from recsys.plugins.loader import load_plugins
from recsys.plugins.registry import ask_plugins, load_importers
from recsys.schema import ImpressionEvent, InteractionEvent

DATA = Path("data")
RANKLENS = DATA / "ranklens" / "events.jsonl.gz"
FEAST = Path("build/feast/bin/python")
ROUNDS = 5
DAY_US = 86_400_000_000
SPAN_US = 90 * DAY_US
N_ITEMS, N_USERS = 100_000, 1_000_000


def made_columns(n_events: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Make clicks: few items have most of them, users are alike."""
    return {
        "types": np.ones(n_events, np.int16),
        "users": rng.integers(0, N_USERS, n_events).astype(np.int32),
        "items": (N_ITEMS * rng.random(n_events) ** 2).astype(np.int32),
        "visible": np.sort(rng.integers(0, SPAN_US, n_events)),
        "values": rng.random(n_events),
    }


def made_log(actions: Actions) -> EncodedLog:
    items, users = Entities(), Entities()
    items.add_ids(f"i{number}" for number in range(N_ITEMS))
    users.add_ids(f"u{number}" for number in range(N_USERS))
    return EncodedLog(items, users, EventTypes(["click"]), Visitors(), Contexts(), actions)


def actions_of(columns: dict[str, np.ndarray]) -> Actions:
    nobody = np.full(len(columns["types"]), -1, np.int32)
    rest = {"versions": nobody, "user_versions": nobody, "visitors": nobody, "contexts": nobody}
    return Actions(**columns, **rest, occurred=columns["visible"])


def made_slates(n_requests: int, n_candidates: int, rng: np.random.Generator) -> Slates:
    return Slates(
        users=rng.integers(0, N_USERS, n_requests).astype(np.int32),
        as_of=np.sort(rng.integers(0, SPAN_US, n_requests)),
        items=rng.integers(0, N_ITEMS, n_requests * n_candidates).astype(np.int32),
        offsets=np.arange(n_requests + 1) * n_candidates,
    )


def seconds_of(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def ratios(ours: list[float], theirs: list[float]) -> dict[str, float]:
    found = [b / a for a, b in zip(ours, theirs, strict=True)]
    return {
        "ours_s": round(statistics.median(ours), 3),
        "theirs_s": round(statistics.median(theirs), 3),
        "times_faster": round(statistics.median(found), 1),
        "lowest": round(min(found), 1),
        "highest": round(max(found), 1),
    }


def feast(arguments: argparse.Namespace) -> dict:
    """Both read the same Parquet files; Feast's rows hold the counts that ours have to be made."""
    if not FEAST.exists():
        raise SystemExit(__doc__)
    rng = np.random.default_rng(5)
    columns = made_columns(arguments.feast_events, rng)
    columns["visible"] = np.arange(len(columns["types"])) * 2_000_000  # odd seconds: requests
    events = pl.DataFrame({
        "item_id": pl.Series(columns["items"]).cast(pl.String).str.replace("^", "i"),
        "t": columns["visible"],
    })
    events = events.with_columns(
        clicks_so_far=pl.int_range(1, pl.len() + 1).over("item_id").cast(pl.Float64),
        event_timestamp=pl.col("t").cast(pl.Datetime("us", "UTC")),
    )
    asked = events.sample(arguments.feast_requests, seed=3, shuffle=True).select(
        "item_id",
        event_timestamp=(pl.col("t") + 1_000_000).cast(pl.Datetime("us", "UTC")),
        request=pl.int_range(pl.len()),
    )
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        events.drop("t").write_parquet(folder / "rows.parquet")
        asked.write_parquet(folder / "requests.parquet")
        ours, theirs = [], []
        for _ in range(arguments.rounds):
            begun = time.perf_counter()
            mine = _clicks_before(folder / "rows.parquet", folder / "requests.parquet")
            ours.append(time.perf_counter() - begun)
            theirs.append(_feast_seconds(folder))
            found = pl.read_parquet(folder / "out.parquet")["clicks_so_far"].to_numpy()
            np.testing.assert_array_equal(mine, found)
    sizes = {"events": events.height, "requests": asked.height}
    return {**sizes, **ratios(ours, theirs)}


def _clicks_before(rows: Path, requests: Path) -> np.ndarray:
    """Read events, resolve ids, and count before each request, as training does."""
    events = pl.read_parquet(rows, columns=["item_id", "event_timestamp"])
    asked = pl.read_parquet(requests)
    at = pl.col("event_timestamp").cast(pl.Datetime("us")).cast(pl.Int64)
    empty = snapshot_of([])
    plain = {"user_id": "", "type": "click", "impression_id": "", "session_id": ""}
    interactions = events.with_columns(
        **{name: pl.lit(value) for name, value in plain.items()},
        event_id=pl.lit(""),
        value=pl.lit(None, dtype=pl.Float64),
        attributes=pl.lit("{}"),
        occurred_at=at,
        visible_at=at,
    ).select(empty.interactions.columns)
    log = encode_log(LogSnapshot(empty.items, empty.users, empty.impressions, interactions))
    slates = Slates(
        users=np.full(asked.height, -1, np.int32),
        as_of=asked.select(at).to_series().to_numpy(),
        items=log.items.rows_of(asked["item_id"]),
        offsets=np.arange(asked.height + 1),
    )
    return OfflineReader(log).read(count("clicks", "click", by="item"), slates)


def _feast_seconds(folder: Path) -> float:
    script = Path(__file__).parent / "load" / "feast_history.py"
    files = [str(folder / f"{name}.parquet") for name in ("rows", "requests", "out")]
    done = subprocess.run(
        [FEAST, script, *files], check=True, capture_output=True, text=True,
        env={**os.environ, "FEAST_USAGE": "False"},
    )  # fmt: skip
    return float(done.stdout.splitlines()[-1])


def windows(arguments: argparse.Namespace) -> dict:
    """Clicks of a day for as many requests as events, each at the start of a bucket."""
    import duckdb

    step = DAY_US // 12
    rng = np.random.default_rng(5)
    columns = made_columns(arguments.events, rng)
    slates = made_slates(arguments.events, 1, rng)
    slates = Slates(
        slates.users, np.sort(slates.as_of // step * step), slates.items, slates.offsets
    )
    log = made_log(actions_of(columns))
    connection = duckdb.connect(config={"threads": 2, "memory_limit": "8GB"})
    events = pl.DataFrame({"t": columns["visible"], "item": columns["items"], "kind": 0, "n": -1})
    asked = pl.DataFrame({
        "t": slates.as_of,
        "item": slates.items,
        "kind": 1,
        "n": np.arange(len(slates)),
    })
    connection.register("events", events.to_arrow())
    connection.register("asked", asked.to_arrow())
    sql = f"""
        SELECT n, count(*) FILTER (WHERE kind = 0) OVER (
            PARTITION BY item ORDER BY t RANGE BETWEEN {11 * step} PRECEDING AND 1 PRECEDING) AS c
        FROM (FROM events UNION ALL FROM asked) QUALIFY kind = 1 ORDER BY n"""
    wanted = count("clicks", "click", by="item", window_s=86_400.0)
    mine = OfflineReader(log).read(wanted, slates)
    np.testing.assert_array_equal(mine, connection.sql(sql).pl()["c"].to_numpy())
    ours, theirs = [], []
    for _ in range(arguments.rounds):
        ours.append(seconds_of(lambda: OfflineReader(log).read(wanted, slates)))
        theirs.append(seconds_of(lambda: connection.sql(sql).pl()))
    return {"events": len(log.actions), "requests": len(slates), **ratios(ours, theirs)}


SCALED: list[Aggregate] = [
    count("item_clicks", "click", by="item"),
    count("item_clicks_1d", "click", by="item", window_s=86_400.0),
    total("item_value", "click", by="item"),
    since_last("user_last", "click", by="user"),
    count("user_item", "click", by="user*item"),
]


def scale(arguments: argparse.Namespace) -> dict:
    """Each size in a process of its own; requests are as many for all."""
    found = []
    for n_events in arguments.sizes:
        done = subprocess.run(
            [sys.executable, __file__, "--one-size", str(n_events)],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        found.append(json.loads(done.stdout.splitlines()[-1]))
    return {"candidates": 1_000_000, "aggregates": [a.name for a in SCALED], "sizes": found}


def one_size(n_events: int) -> dict:
    with tempfile.TemporaryDirectory() as temporary:
        folder, rng = Path(temporary), np.random.default_rng(5)
        log = made_log(_mapped(folder, n_events, rng))
        reader, slates = OfflineReader(log), made_slates(100_000, 10, rng)
        OfflineReader(made_log(no_actions())).read_many(SCALED, slates)  # compiles
        base = _anonymous_mb()
        with _Peak() as peak:
            seconds = seconds_of(lambda: reader.read_many(SCALED, slates))
        alone = seconds_of(lambda: OfflineReader(log).read(SCALED[-1], slates))
    return {
        "events": n_events,
        "seconds": round(seconds, 2),
        "us_per_event": round(1e6 * seconds / n_events, 3),
        "one_new_aggregate_s": round(alone, 2),
        "added_mb": round(peak.highest_mb - base),
        "process_mb": round(peak.highest_mb),
    }


def _mapped(folder: Path, n_events: int, rng: np.random.Generator) -> Actions:
    """Write columns piece by piece, each piece later than the one before, and map them."""
    piece = 5_000_000
    files = {name: (folder / name).open("wb") for name in made_columns(1, rng)}
    n_pieces = -(-n_events // piece)
    for number in range(n_pieces):
        columns = made_columns(min(piece, n_events - number * piece), rng)
        columns["visible"] = (columns["visible"] + number * SPAN_US) // n_pieces
        for name, file in files.items():
            columns[name].tofile(file)
    dtypes = {name: column.dtype for name, column in made_columns(1, rng).items()}
    for file in files.values():
        file.close()
    columns = {name: np.memmap(folder / name, dtype, "r") for name, dtype in dtypes.items()}
    nobody = np.broadcast_to(np.int32(-1), n_events)
    rest = {"versions": nobody, "user_versions": nobody, "visitors": nobody, "contexts": nobody}
    return Actions(**columns, **rest, occurred=columns["visible"])


class _Peak:
    """Watches the memory of the process that is not a file's (what no kernel can take back)."""

    def __enter__(self) -> _Peak:
        self.highest_mb, self._done = 0.0, threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.01):
            self.highest_mb = max(self.highest_mb, _anonymous_mb())


def _anonymous_mb() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) / 1024
    return 0.0


def imported(source: Path, folder: Path) -> LogSnapshot:
    config = LogConfig(path=str(folder / "log.duckdb"))
    formats = Formats(load_importers(folder, Config()), "")
    import_events(config, [source], rejects=folder / "rejects.jsonl", formats=formats)
    return read_snapshot(config)


def first_party(snapshot: LogSnapshot) -> tuple[FeaturePlan, EncodedLog]:
    log = encode_log(snapshot)
    plugins = load_plugins(None, ("text_interest",))
    plan = ask_plugins(plugins, Config(), profile_log(snapshot, log)).plan.without_models()
    return plan, log


def online(arguments: argparse.Namespace) -> dict:
    with tempfile.TemporaryDirectory() as temporary:
        snapshot = imported(RANKLENS, Path(temporary))
    plan, log = first_party(snapshot)
    state = OnlineState(log, tuple(plan.aggregates.values()))
    as_of = int(log.actions.visible[-1]) + 1
    forty = plan.only(plan.names[:40])
    found = {
        f"{len(chosen.names)} columns": _request_ms(chosen, state, as_of)
        for chosen in (forty, plan)
    }
    return {"request_of_500": found, "events": _event_rate(snapshot, plan, arguments.rounds)}


def _request_ms(plan: FeaturePlan, state: OnlineState, as_of: int) -> dict[str, float]:
    rng, times = np.random.default_rng(7), []
    n_users, n_items = len(state.users.ids), len(state.items.ids)
    slates = [
        one_slate(int(user), as_of, rng.choice(n_items, 500).astype(np.int32))
        for user in rng.integers(0, n_users, 1_000)
    ]
    for request in [*slates[:50], *slates]:
        begun = time.perf_counter()
        plan.matrix(request, state, {})
        times.append(time.perf_counter() - begun)
    p50, p99 = np.percentile(np.array(times[50:]) * 1000, [50, 99])
    return {"p50_ms": round(float(p50), 3), "p99_ms": round(float(p99), 3)}


def _event_rate(snapshot: LogSnapshot, plan: FeaturePlan, rounds: int) -> dict[str, float]:
    """The newest fifth of the log, as groups of 100 arrive."""
    events = list(visible_events(snapshot))
    cut = len(events) * 4 // 5
    kinds = {"interactions": InteractionEvent, "impressions_of_24": ImpressionEvent}
    rates: dict[str, list[float]] = {}
    for _ in range(rounds):
        state = OnlineState(encode_log(snapshot_of(events[:cut])), tuple(plan.aggregates.values()))
        for name, kind in kinds.items():
            chosen = [v for v in events[cut:] if isinstance(v.event, kind)]
            groups = [chosen[start : start + 100] for start in range(0, len(chosen), 100)]
            begun = time.perf_counter()
            for group in groups:
                state.apply(group)
            rates.setdefault(f"{name}_per_s", []).append(
                len(chosen) / (time.perf_counter() - begun)
            )
    return {name: round(statistics.median(found)) for name, found in rates.items()}


def bytes_per_user(_: argparse.Namespace) -> dict:
    sources = {
        "RankLens": RANKLENS,
        "MovieTweetings": DATA / "movietweetings",
        "Online Retail": DATA / "online_retail",
    }
    found = {}
    for name, source in sources.items():
        with tempfile.TemporaryDirectory() as temporary:
            snapshot = imported(source, Path(temporary))
        plan, log = first_party(snapshot)
        state = OnlineState(log, tuple(plan.aggregates.values()))
        of_users = {by: n for by, n in state.nbytes().items() if by.startswith(("user", "session"))}
        n_users = len(log.users.ids)
        found[name] = {
            "users": n_users,
            "events_per_user": round(len(log.actions) / n_users, 1),
            "columns": len(plan.names),
            "bytes_per_user": round(sum(of_users.values()) / n_users),
            "of_it": {by: round(n / n_users) for by, n in of_users.items()},
        }
    return found


PARTS = {
    "windows": windows,
    "scale": scale,
    "online": online,
    "bytes": bytes_per_user,
    "feast": feast,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parts = [part for part in PARTS if part != "feast"]
    parser.add_argument("--only", nargs="+", choices=PARTS, default=parts)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--events", type=int, default=10_000_000, help="of windows")
    parser.add_argument("--feast-events", type=int, default=1_000_000)
    parser.add_argument("--feast-requests", type=int, default=200_000)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10**6, 10**7, 10**8])
    parser.add_argument("--one-size", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if arguments.one_size:
        print(json.dumps(one_size(arguments.one_size)))
        return
    found = {part: PARTS[part](arguments) for part in arguments.only}
    print(json.dumps(found, indent=None if arguments.json else 2))


if __name__ == "__main__":
    main()
