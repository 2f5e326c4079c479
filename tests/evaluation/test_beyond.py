"""Coverage, novelty and diversity of lists whose answers can be counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from recsys.evaluation.beyond import FirstPlaces
from recsys.events.snapshot import snapshot_of
from recsys.features.actions import encode_log
from recsys.features.offline import OfflineReader
from recsys.features.slates import Slates
from recsys.schema import InteractionEvent, ItemEvent, VisibleEvent


class _Vectors:
    """Even items point one way, odd ones another."""

    columns = ()

    def item_vectors(self) -> np.ndarray:
        return np.eye(2, dtype=np.float32)[np.arange(24) % 2]

    def __getattr__(self, name: str) -> None:
        raise AssertionError(name)


@pytest.fixture
def reader() -> OfflineReader:
    events = [ItemEvent(f"v{i}", 1, f"i{i}") for i in range(24)]
    clicks = [InteractionEvent(f"c{n}", 2 + n, "u", "i0", "click") for n in range(40)]
    return OfflineReader(
        encode_log(snapshot_of(VisibleEvent(e, e.occurred_at) for e in [*events, *clicks]))
    )


def _slates(n_requests: int) -> Slates:
    return Slates(
        users=np.zeros(n_requests, dtype=np.int32),
        as_of=np.full(n_requests, 1_000),
        items=np.tile(np.arange(24, dtype=np.int32), n_requests),
        offsets=np.arange(n_requests + 1) * 24,
    )


def test_the_same_list_for_everybody_covers_ten_items(reader: OfflineReader) -> None:
    same, own = np.tile(-np.arange(24.0), 3), -np.arange(72.0)
    own[24:48] = np.roll(own[24:48], 12)
    places = FirstPlaces(reader, {})
    places.add(_slates(3), {"same": same, "own": own})
    found = places.results()
    assert found["same"]["coverage@10"] == pytest.approx(10 / 24)
    assert found["own"]["coverage@10"] == pytest.approx(20 / 24)
    assert "diversity@10" not in found["same"]


def test_what_everybody_acts_on_is_less_novel(reader: OfflineReader) -> None:
    places = FirstPlaces(reader, {})
    places.add(_slates(1), {"known": -np.arange(24.0), "unknown": np.arange(24.0)})
    found = places.results()
    assert found["unknown"]["novelty@10"] == pytest.approx(np.log2(64))
    assert found["known"]["novelty@10"] == pytest.approx((9 * np.log2(64) - np.log2(41 / 64)) / 10)


def test_lists_of_one_kind_are_not_diverse(reader: OfflineReader) -> None:
    even = (np.arange(24) % 2 == 0).astype(float)
    places = FirstPlaces(reader, {"text": _Vectors()})
    scores = {"one": np.tile(even, 2), "both": np.tile(-np.arange(24.0), 2)}
    places.add(_slates(2), scores)
    places.add(_slates(1), {name: values[:24] for name, values in scores.items()})
    found = places.results()
    assert found["one"]["diversity@10"] == pytest.approx(0.0)
    # Five of each kind: 25 of 45 pairs differ.
    assert found["both"]["diversity@10"] == pytest.approx(25 / 45)
