r"""Speed and memory of the feature engine, beside peers, equal results checked.

    python benchmarks/features.py                   # everything but Feast
    python benchmarks/features.py --only windows --json
    python benchmarks/features.py --only feast      # needs Feast in an environment of its own:

    python -m venv build/feast && build/feast/bin/pip install feast

Parts (benchmarks/feature_engine):
  feast    clicks of an item before each of many requests: Parquet in, column out
  windows  windowed counts over 10 M events, beside DuckDB's RANGE windows
  scale    1, 10 and 100 M events from a DuckDB log: time, memory; one new column (10 M at most)
  online   one request of 500 candidates with the first-party set; events into the state
  bytes    bytes of online state per user
"""

from __future__ import annotations

import argparse
import json
import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS"):
    os.environ.setdefault(name, "1")

from feature_engine.feast_history import feast
from feature_engine.real_logs import bytes_per_user, online
from feature_engine.scale import one_size, scale
from feature_engine.windows import WINDOWS_S, windows

ROUNDS = 5
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
    parser.add_argument("--zipf", type=float, nargs="+", default=[0.5, 0.9], help="of windows")
    parser.add_argument("--windows", nargs="+", choices=WINDOWS_S, default=list(WINDOWS_S))
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
