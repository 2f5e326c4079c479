"""From an idea to a trained feature on RankLens, step by step, as somebody would type it.

    python benchmarks/minutes_to_feature.py --workspace build/demo [--json]

The workspace (what `make demo` leaves) is copied; its bundle was trained once, with the text model,
and its scores are kept, so that only the rankers are trained anew. Each step is a command of its
own, start of Python included. What a person thinks and types is not counted.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RECSYS = [sys.executable, "-c", "from recsys.cli.main import app; app()"]
NAME = "director_taste"
#: The edit: does the user act more on films of this director than everybody does?
EDITED = '''
"""How much more the user acts on films of this film's director than others do."""

import polars as pl

from recsys.features.vocabulary import Feature, count
from recsys.hookspecs import hookimpl


@hookimpl
def recsys_aggregates():
    return [
        count("taste_mine", "*", by="user*item.director"),
        count("taste_all", "*", by="item.director"),
        count("taste_shown", "impression", by="item.director"),
    ]


@hookimpl
def recsys_features():
    rate = (pl.col("taste_all") + 1) / (pl.col("taste_shown") + 10)
    return [Feature(name="director_taste", expr=(pl.col("taste_mine") + rate) / rate)]
'''


def run(*arguments: str) -> tuple[float, str]:
    begun = time.perf_counter()
    done = subprocess.run([*RECSYS, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"recsys {' '.join(arguments)}: {done.stdout}{done.stderr}")
    return time.perf_counter() - begun, done.stdout


def measure(folder: Path) -> dict[str, object]:
    here = ("--workspace", str(folder))
    models = json.loads(run("models", "list", *here, "--json")[1])
    before = next(model for model in models if model["active"])["metrics"]
    # Columns of the plugins that were there already are kept since the last training run.
    run("features", "backfill", *here)
    seconds: dict[str, float] = {}
    seconds["plugins new"], _ = run("plugins", "new", NAME, *here)
    (folder / "plugins" / f"{NAME}.py").write_text(EDITED, encoding="utf-8")
    seconds["plugins check"], checked = run("plugins", "check", NAME, *here, "--json")
    seconds["features backfill"], filled = run("features", "backfill", *here, "--json")
    seconds["train --ranker-only"], trained = run("train", "--ranker-only", *here, "--json")
    return {
        "seconds": seconds,
        "total_s": sum(seconds.values()),
        "backfilled": json.loads(filled)["computed"],
        "check": {part["part"]: part["facts"] for part in json.loads(checked)["parts"]},
        "validation_before": before,
        "validation_after": json.loads(trained)["metrics"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--workspace", type=Path, default=Path("build/demo"))
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "workspace"
        shutil.copytree(arguments.workspace, folder)
        found = measure(folder)
    if arguments.json:
        print(json.dumps(found, indent=2))
        return
    for step, seconds in found["seconds"].items():
        print(f"{step:22} {seconds:7.1f} s")
    print(f"{'together':22} {found['total_s']:7.1f} s")
    for name, value in found["validation_after"].items():
        print(f"{name}: {found['validation_before'].get(name, float('nan')):.4f} -> {value:.4f}")


if __name__ == "__main__":
    main()
