"""Feast's `get_historical_features` on a Parquet file of feature rows; run by Feast's own Python.

    feast_history.py ROWS.parquet REQUESTS.parquet OUT.parquet

Prints the seconds of the one call that joins features to requests.
"""

import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path

import pandas as pd  # noqa: TID251 - what Feast takes and gives
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig
from feast.types import Float64
from feast.value_type import ValueType


def main(rows: str, requests: str, out: str) -> None:
    item = Entity(name="item", join_keys=["item_id"], value_type=ValueType.STRING)
    source = FileSource(path=rows, timestamp_field="event_timestamp")
    view = FeatureView(
        name="clicks",
        entities=[item],
        ttl=timedelta(days=3650),
        schema=[Field(name="clicks_so_far", dtype=Float64)],
        source=source,
    )
    with tempfile.TemporaryDirectory() as folder:
        config = RepoConfig(
            project="bench",
            registry=str(Path(folder) / "registry.db"),
            provider="local",
            offline_store={"type": "file"},
            online_store={"type": "sqlite", "path": str(Path(folder) / "online.db")},
            entity_key_serialization_version=3,
        )
        store = FeatureStore(config=config)
        store.apply([item, view])
        asked = pd.read_parquet(requests)
        begun = time.perf_counter()
        found = store.get_historical_features(
            entity_df=asked, features=["clicks:clicks_so_far"]
        ).to_df()
        seconds = time.perf_counter() - begun
    found.sort_values("request")[["request", "clicks_so_far"]].to_parquet(out)
    sys.stdout.write(f"{seconds}\n")


main(*sys.argv[1:])
