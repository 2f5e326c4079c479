"""The first-party set on real logs: requests, events, and bytes of state per user."""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from feature_engine.pairs import pairs_of_users
from recsys.config import Config, LogConfig
from recsys.events.formats import Formats
from recsys.events.importing import import_events
from recsys.events.replay import visible_events
from recsys.events.snapshot import LogSnapshot, read_snapshot, snapshot_of
from recsys.features.actions import EncodedLog, encode_log
from recsys.features.online import OnlineState
from recsys.features.plan import FeaturePlan
from recsys.features.profile import profile_log
from recsys.features.slates import one_slate
from recsys.plugins.loader import load_plugins
from recsys.plugins.registry import ask_plugins, load_importers
from recsys.schema import ImpressionEvent, InteractionEvent

DATA = Path("data")
RANKLENS = DATA / "ranklens" / "events.jsonl.gz"


def imported(source: Path, folder: Path) -> LogSnapshot:
    config = LogConfig(path=str(folder / "log.duckdb"))
    formats = Formats(load_importers(folder, Config()), "")
    import_events(config, [source], rejects=folder / "rejects.jsonl", formats=formats)
    return read_snapshot(config)


def first_party(snapshot: LogSnapshot) -> tuple[FeaturePlan, EncodedLog]:
    profile, log = profile_log(snapshot)
    plugins = load_plugins(None, ("text_interest",))
    plan = ask_plugins(plugins, Config(), profile).plan.without_models()
    return plan, log


def online(arguments: argparse.Namespace) -> dict:
    with tempfile.TemporaryDirectory() as temporary:
        snapshot = imported(RANKLENS, Path(temporary))
    plan, log = first_party(snapshot)
    state = OnlineState(log, tuple(plan.aggregates.values()))
    as_of = int(log.actions.visible[-1]) + 1
    forty = plan.only(plan.names[:40])
    rounds: dict[str, list[tuple[float, float]]] = {}
    for _ in range(arguments.rounds):
        for chosen in (forty, plan):
            took = _request_ms(chosen, state, as_of)
            rounds.setdefault(f"{len(chosen.names)} columns", []).append(took)
    found = {name: _summary(took) for name, took in rounds.items()}
    return {"request_of_500": found, "events": _event_rate(snapshot, plan, arguments.rounds)}


def _request_ms(plan: FeaturePlan, state: OnlineState, as_of: int) -> tuple[float, float]:
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
    return float(p50), float(p99)


def _summary(took: list[tuple[float, float]]) -> dict[str, float]:
    """Medians over rounds, and the range of p50: a machine that is shared is slow for seconds."""
    p50, p99 = zip(*took, strict=True)
    return {
        "p50_ms": round(statistics.median(p50), 3),
        "p50_lowest": round(min(p50), 3),
        "p50_highest": round(max(p50), 3),
        "p99_ms": round(statistics.median(p99), 3),
    }


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
            "pairs": pairs_of_users(state),
        }
    return found
