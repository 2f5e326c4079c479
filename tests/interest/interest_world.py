"""A small world of topics: users like one each, and an item's topic shows only in its words."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from recsys.features.models import FitView, Histories, ScoringBatch
from recsys.interest.reading import LIKED, SHOWN

WORDS = {
    "space": "rocket orbit moon galaxy astronaut launch planet comet telescope starship",
    "cooking": "recipe oven garlic butter pasta sauce baking bread chef kitchen",
    "football": "goal striker league stadium penalty keeper coach match midfield derby",
    "gardening": "tomato seedling compost rose pruning soil greenhouse tulip lawn orchard",
}
TOPICS = list(WORDS)
EVENT_TYPES = ("impression", "click")


class ListedItems:
    """A catalogue in a list; counts how often attributes are read."""

    def __init__(self, attributes):
        self.rows = list(attributes)

    @property
    def ids(self):
        return [f"item{row}" for row in range(len(self.rows))]

    def __len__(self):
        return len(self.rows)

    def attributes(self, version_row):
        return self.rows[version_row]

    def item_id(self, version_row):
        return f"item{version_row}"


def topic_items(n_items, seed=5):
    """Items of all topics in turn: row i belongs to topic i % 4."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(n_items):
        words = rng.permutation(WORDS[TOPICS[i % 4]].split())
        rows.append({
            "title": " ".join(words[:3]),
            "tags": words[3:6].tolist(),
            "year": 2000.0 + i % 7,
        })
    return ListedItems(rows)


def histories(rows, n, age_s=10.0, kind=1):
    """Histories from lists of version rows, newest first."""
    versions = np.full((len(rows), n), -1, dtype=np.int32)
    for request, past in enumerate(rows):
        versions[request, : len(past[:n])] = past[:n]
    known = versions >= 0
    return Histories(
        versions,  # of which each item has one
        versions,
        np.where(known, kind, -1).astype(np.int16),
        np.where(known, age_s, np.nan).astype(np.float32),
        np.full(versions.shape, np.nan, dtype=np.float32),
    )


def batch_of(requests, n_liked=10, n_shown=20):
    """A batch from (candidates, liked, shown) triples."""
    candidates = [c for c, _, _ in requests]
    rows = np.concatenate(candidates).astype(np.int32)
    return ScoringBatch(
        items=rows,
        versions=rows,
        offsets=np.cumsum([0, *map(len, candidates)]).astype(np.int64),
        histories={
            LIKED: histories([liked for _, liked, _ in requests], n_liked),
            SHOWN: histories([shown for _, _, shown in requests], n_shown, kind=0),
        },
    )


def draw_requests(n_requests, item_rows, seed):
    """Requests of users with one topic, whose past lists held all topics.

    Returns:
        Requests, and the topic of each request's user.
    """
    rng = np.random.default_rng(seed)
    item_rows = np.asarray(item_rows)
    requests, topics = [], []
    for _ in range(n_requests):
        topic = int(rng.integers(4))
        past = rng.choice(item_rows, 16, replace=False)
        requests.append((rng.choice(item_rows, 8, replace=False), past[past % 4 == topic], past))
        topics.append(topic)
    return requests, np.array(topics)


def topic_view(items, n_requests, folder: Path, item_rows, seed=11):
    """A span in which users act on what belongs to their topic."""
    requests, topics = draw_requests(n_requests, item_rows, seed)
    batch = batch_of(requests)
    wanted = np.repeat(topics, np.diff(batch.offsets))
    return FitView(
        batch=batch,
        grades=np.where(batch.versions % 4 == wanted, 2.0, 0.0).astype(np.float32),
        items=items,
        event_types=EVENT_TYPES,
        type_grades=np.array([0.0, 2.0], dtype=np.float32),
        folder=folder,
        seed=17,
        progress=lambda *_: None,
    )
