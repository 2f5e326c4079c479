"""A log for tests of plugins: every kind of attribute, several types of events, two months long."""

from __future__ import annotations

import numpy as np

from recsys.config import Config
from recsys.events.snapshot import snapshot_of
from recsys.features.plan import FeaturePlan
from recsys.features.slates import Slates
from recsys.schema import (
    ImpressionEvent,
    InteractionEvent,
    ItemEvent,
    UserEvent,
    VisibleEvent,
)
from recsys.testing.contracts import check_plugin
from recsys.training.dataset import Dataset, make_dataset

DAY = 86_400_000_000
#: A Monday, midnight UTC.
START = 19_723 * DAY - (19_723 + 3) % 7 * DAY

AGENTS = (
    "Mozilla/5.0 (Linux; Android 13; Pixel 7) AppleWebKit/537.36 (KHTML, like Gecko)"
    " Chrome/119.0.0.0 Mobile Safari/537.36",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:120.0) Gecko/20100101 Firefox/120.0",
)
ZONES = ("Europe/Amsterdam", "Asia/Tokyo", "no/zone")
WORDS = ("red", "shoes", "blue", "running", "红色", "跑鞋")
KINDS = ("shoe", "hat", "sock")


def rich_world(n_days: int = 60, n_items: int = 12, n_users: int = 5, seed: int = 2):
    """Make the log.

    Returns:
        Events in time order.
    """
    rng = np.random.default_rng(seed)
    events = [
        VisibleEvent(ItemEvent(f"v{i}", START, f"i{i}", _item(i, rng)), START)
        for i in range(n_items)
    ]
    events += [
        VisibleEvent(UserEvent(f"u{u}", START, f"u{u}", _user(u)), START) for u in range(n_users)
    ]
    for number in range(2 * n_days):
        at = START + number * DAY // 2 + int(rng.integers(1, DAY // 4))
        events += _visit(number, at, f"u{number % n_users}", n_items, rng)
    return events


def _item(number: int, rng: np.random.Generator):
    words = rng.permutation(WORDS)[:3].tolist()
    return {
        "title": " ".join(words),
        "category": KINDS[number % 3],
        "tags": [str(w) for w in rng.permutation(WORDS)[:2]],
        "price": float(number + 1),
        "spot": [float(number), float(number % 4)],
        "new": number % 2 == 0,
    }


def _user(number: int):
    return {
        "age": 20.0 + number,
        "country": ("nl", "jp")[number % 2],
        "time_zone": ZONES[number % 3],
    }


def _visit(number: int, at: int, user: str, n_items: int, rng: np.random.Generator):
    shown = [f"i{i}" for i in rng.choice(n_items, size=5, replace=False).tolist()]
    context = {
        "query": f"{WORDS[number % 6]} {WORDS[(number + 1) % 6]}",
        "device": ("mobile", "desktop")[number % 2],
        "user_agent": AGENTS[number % 2],
        "referrer": ("https://www.google.nl/?q=a", "")[number % 2],
        "spot": [1.0, 2.0],
        "budget": float(number % 7),
    }
    name = f"l{number}"
    said = {item: {"relevancy": 1.0 / (1 + number % 3 + int(item[1:]))} for item in shown[:-1]}
    event = ImpressionEvent(name, at, user, shown, name, f"s{number}", context, said)
    events = [VisibleEvent(event, at)]
    for place, kind in ((0, "click"), (1, "click"), (0, "purchase")):
        if rng.random() < 0.7:
            at += 1_000_000
            done = InteractionEvent(
                f"{name}-{len(events)}", at, user, shown[place], kind, name, f"s{number}", 2.0
            )
            events.append(VisibleEvent(done, at))
    return events


def columns(
    plugin, events, settings=None
) -> tuple[Slates, Dataset, dict[str, np.ndarray], FeaturePlan]:
    """Check a plugin's contract on a log and compute its columns.

    Returns:
        Requests, the data set, the columns by name, and the plan.
    """
    plan = check_plugin(plugin, events, settings)
    dataset = make_dataset(snapshot_of(events), Config())
    slates = dataset.labelled.slates
    matrix = plan.matrix(slates, dataset.reader, {})
    return slates, dataset, dict(zip(plan.names, matrix.T, strict=True)), plan
