"""What scoring costs: LightGBM's own predictor, the compiled ranker, and lleaves where it is.

Both score the same float32 rows on one thread, in turns, after their scores were found equal to the
last bit. Rounds of medians; the ratio is the median over rounds.

    python benchmarks/ranker.py --json
    python benchmarks/ranker.py --lleaves-python OTHER_VENV/bin/python

lleaves needs an old llvmlite, so it runs with the Python of a virtual environment of its own that
has `lleaves`, `llvmlite<0.45` and `numpy`; it takes a minute or more to compile each model.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import lightgbm as lgb
import numpy as np

from recsys.config import RankerConfig
from recsys.ranking.compiled import CompiledForest
from recsys.ranking.forest import parse_forest
from recsys.ranking.rows import RankingRows
from recsys.ranking.training import train_ranker

N_FEATURES = 50
ROWS = (24, 100, 500)
ROUNDS = 7
SHAPES = {
    "300 trees of 31 leaves": RankerConfig(bags=1, trees=300, leaves=31, min_rows_per_leaf=20),
    "1,000 trees of 15 leaves": RankerConfig(bags=5, trees=200, leaves=15, min_rows_per_leaf=20),
    "300 trees of 127 leaves": RankerConfig(bags=1, trees=300, leaves=127, min_rows_per_leaf=5),
}
CHILD = """
import json, statistics, sys, time
import lleaves, numpy
model = lleaves.Model(model_file=sys.argv[1])
model.compile(raw_score=True)
found = {}
for path in sys.argv[2:]:
    rows = numpy.load(path)
    model.predict(rows, n_jobs=1)
    times = []
    for _ in range(100):
        start = time.perf_counter()
        model.predict(rows, n_jobs=1)
        times.append((time.perf_counter() - start) * 1000)
    found[len(rows)] = statistics.median(times)
print(json.dumps(found))
"""


def rows_of(n_groups: int, rng: np.random.Generator) -> RankingRows:
    sizes = np.full(n_groups, 20)
    matrix = rng.normal(size=(n_groups * 20, N_FEATURES)).astype(np.float32)
    matrix[:, N_FEATURES // 2 :] = rng.poisson(2.0, size=(len(matrix), N_FEATURES // 2))
    matrix[rng.random(matrix.shape) < 0.1] = np.nan
    signal = np.nan_to_num(matrix)[:, :10].sum(axis=1) + rng.normal(scale=2.0, size=len(matrix))
    grades = (signal > np.quantile(signal, 0.8)).astype(np.float32)
    names = tuple(f"f{number}" for number in range(N_FEATURES))
    return RankingRows(matrix, grades, sizes.astype(np.int64), names)


def model_of(config: RankerConfig, folder: Path) -> Path:
    rng = np.random.default_rng(1)
    rows = rows_of(400, rng)
    _, none = rows.split(400)
    ranker = train_ranker(rows, none, config, 17)
    path = folder / "ranker.txt"
    ranker.save(path)
    return path


def median_ms(score: Callable[[], object], n_calls: int = 20) -> float:
    times = []
    for _ in range(n_calls):
        start = time.perf_counter()
        score()
        times.append((time.perf_counter() - start) * 1000)
    return statistics.median(times)


def compare(path: Path, matrix: np.ndarray) -> dict[str, float]:
    text = path.read_text(encoding="utf-8")
    booster, compiled = lgb.Booster(model_str=text), CompiledForest(parse_forest(text))

    def reference() -> np.ndarray:
        return booster.predict(matrix, num_threads=1, raw_score=True)

    assert np.array_equal(compiled.score(matrix), reference())
    pairs = [
        (median_ms(reference), median_ms(lambda: compiled.score(matrix))) for _ in range(ROUNDS)
    ]
    return {
        "rows": len(matrix),
        "lightgbm_ms": round(statistics.median(one for one, _ in pairs), 3),
        "compiled_ms": round(statistics.median(other for _, other in pairs), 3),
        "ratio": round(statistics.median(one / other for one, other in pairs), 1),
    }


def lleaves_ms(python: str, path: Path, matrices: list[np.ndarray]) -> dict[str, float]:
    files = [path.with_name(f"{len(matrix)}.npy") for matrix in matrices]
    for file, matrix in zip(files, matrices, strict=True):
        np.save(file, matrix)
    command = [python, "-c", CHILD, str(path), *map(str, files)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def measure(config: RankerConfig, python: str | None) -> list[dict[str, float]]:
    matrix = rows_of(max(ROWS) // 20, np.random.default_rng(2)).matrix
    matrices = [np.asfortranarray(matrix[:n]) for n in ROWS]
    with tempfile.TemporaryDirectory() as folder:
        path = model_of(config, Path(folder))
        table = [compare(path, rows) for rows in matrices]
        peer = lleaves_ms(python, path, matrices) if python else {}
    for row in table:
        if (found := peer.get(str(row["rows"]))) is not None:
            row["lleaves_ms"] = round(found, 3)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lleaves-python", help="Python of an environment that has lleaves")
    parser.add_argument("--only", default="", help="models whose name has this in it")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    chosen = {name: config for name, config in SHAPES.items() if arguments.only in name}
    found = {name: measure(config, arguments.lleaves_python) for name, config in chosen.items()}
    if arguments.json:
        print(json.dumps({"features": N_FEATURES, "models": found}))
        return
    for name, table in found.items():
        print(f"{name}, {N_FEATURES} features")
        for row in table:
            peer = f", lleaves {row['lleaves_ms']} ms" if "lleaves_ms" in row else ""
            print(
                f"{row['rows']:>5} rows: LightGBM {row['lightgbm_ms']} ms,"
                f" compiled {row['compiled_ms']} ms ({row['ratio']} x){peer}"
            )


if __name__ == "__main__":
    main()
