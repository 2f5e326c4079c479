"""Feast's local online store, sqlite: fetches rows of features; run by Feast's own Python.

    feast_online.py ROWS.parquet REQUESTS.json

Fetches every request, a list of item ids, with all columns of ROWS, and prints a line of JSON:
median and 99th percentile in milliseconds and CPU milliseconds per fetch, by number of rows.
"""

import json
import statistics
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path

import pandas as pd  # noqa: TID251 - what Feast takes and gives
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig
from feast.types import Float64
from feast.value_type import ValueType

WARM = 10


def main(rows_path: str, requests_path: str) -> None:
    rows = pd.read_parquet(rows_path)
    names = [name for name in rows.columns if name not in {"item_id", "event_timestamp"}]
    item = Entity(name="item", join_keys=["item_id"], value_type=ValueType.STRING)
    view = FeatureView(
        name="items",
        entities=[item],
        ttl=timedelta(days=36500),
        schema=[Field(name=name, dtype=Float64) for name in names],
        source=FileSource(path=rows_path, timestamp_field="event_timestamp"),
    )
    features = [f"items:{name}" for name in names]
    found: dict[int, list[tuple[float, float]]] = {}
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
        store.write_to_online_store("items", rows)
        for number, asked in enumerate(json.loads(Path(requests_path).read_text())):
            begun, cpu = time.perf_counter(), time.process_time()
            entities = [{"item_id": item_id} for item_id in asked]
            answer = store.get_online_features(features=features, entity_rows=entities).to_dict()
            took = time.perf_counter() - begun, time.process_time() - cpu
            if len(answer[names[0]]) != len(asked) or answer[names[0]][0] is None:
                raise ValueError(answer)
            if number >= WARM:
                found.setdefault(len(asked), []).append(took)
    told = {
        n: {
            "p50_ms": 1000 * statistics.median(wall for wall, _ in times),
            "p99_ms": 1000 * statistics.quantiles([wall for wall, _ in times], n=100)[98],
            "cpu_ms": 1000 * statistics.mean(cpu for _, cpu in times),
        }
        for n, times in found.items()
    }
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
