"""What each part of the text model is worth: one change at a time, on RankLens without its test.

Each trial is fitted once per development slice, on the newest 2,500 lists before it, two passes,
and ranks the lists of the slice in two ways: by text alone (interest plus appeal), and by the click
rate so far with the text on top, which is what a ranker has use for. Differences are paired, with
95 % intervals from resampled users over both slices; the last rows say how much another seed does.

    python benchmarks/ablation.py --json
    python benchmarks/ablation.py --only "loss *" "dropout*" --seeds 3
    python benchmarks/ablation.py --table

Results are lines of `--results`, and what is there is not measured again: a run that was stopped
goes on. `--table` prints what there is.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
from ablate.trials import Trial, all_trials
from ablate.world import SLICES, World, read_world
from numpy.typing import NDArray

from recsys.cli.output import print_table
from recsys.features.models import FittedFeatureModel
from recsys.interest.model import TextInterestModel
from recsys.interest.span import BenchedInterest
from recsys.ranking.metrics import bootstrap_means, measure
from recsys.training.labels import LabelledSlates

FIRST_SEED = 17
#: What is compared: nDCG@10 of text alone, of click rate and text, and the list loss of the latter.
VALUES = ("text", "with_rate", "loss")

Row = dict[str, Any]


class Lab:
    """Fits and measures trials; texts are encoded once for all trials that encode them alike."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._unfitted: tuple[str, FittedFeatureModel | None] = ("", None)

    def measure(self, trial: Trial, slice_name: str, seed: int) -> Row:
        """Fit a trial before a slice, and measure it there."""
        world, interest = self._world, trial.config()
        start, stop = world.ends(slice_name)
        began = time.process_time()
        with tempfile.TemporaryDirectory() as folder:
            view = world.view(interest, start, trial.change, folder=Path(folder), seed=seed)
            fitted = TextInterestModel(interest).fit(view, self._start(trial))
        test = world.development.part(start, stop)
        scores = fitted.score(world.batch(interest, test.slates, trial.change))
        columns = fitted.columns
        text = np.nan_to_num(scores[:, columns.index("text_interest")].astype(np.float64))
        text += np.nan_to_num(scores[:, columns.index("text_appeal")].astype(np.float64))
        offsets = world.development.slates.offsets
        rates = world.click_rates[offsets[start] : offsets[stop]]
        total = text + _rate_weight(fitted) * rates
        found = measure(text, test.grades, test.slates.sizes)
        return {
            "key": key_of(trial, slice_name, seed),
            "trial": trial.name,
            "slice": slice_name,
            "seed": seed,
            "users": test.slates.users[found.impressions].tolist(),
            "text": found.ndcg_10.round(5).tolist(),
            "with_rate": measure(total, test.grades, test.slates.sizes).ndcg_10.round(5).tolist(),
            "loss": list_losses(total, test).round(5).tolist(),
            "cpu_s": round(time.process_time() - began, 1),
        }

    def _start(self, trial: Trial) -> FittedFeatureModel | None:
        key = _encoding_of(trial)
        if self._unfitted[0] != key:
            model = TextInterestModel(trial.config())
            self._unfitted = key, model.unfitted(self._world.items(trial.change))
        return self._unfitted[1]


def _rate_weight(fitted: FittedFeatureModel) -> float:
    """Read how much the fit trusted the click rate beside the text."""
    net = fitted.bench.net if isinstance(fitted, BenchedInterest) else None
    return 1.0 if net is None else float(net.click_rate.detach())


def list_losses(scores: NDArray[np.float64], test: LabelledSlates) -> NDArray[np.float64]:
    """Measure the listwise loss of each list with both labels: (n_lists,)."""
    test_groups = np.repeat(np.arange(len(test.slates)), test.slates.sizes)
    starts = test.slates.offsets[:-1]
    top = np.maximum.reduceat(scores, starts)[test_groups]
    total = np.add.reduceat(np.exp(scores - top), starts)[test_groups]
    shares = test.grades / np.maximum(np.add.reduceat(test.grades, starts), 1e-9)[test_groups]
    found = np.add.reduceat(-shares * (scores - top - np.log(total)), starts)
    losses: NDArray[np.float64] = found[test.informative()]
    return losses


def _encoding_of(trial: Trial) -> str:
    """Name what decides how texts are encoded before any fit."""
    config = trial.config()
    short = trial.name.startswith("short texts")
    attributes = "" if trial.change.attributes is None else "short" if short else trial.name
    whole = config.tuning.mode not in {"frozen", "layers"}
    layers = 0 if config.tuning.mode == "frozen" else 99 if whole else config.tuned_layers
    named = (attributes, layers, config.max_tokens, config.pooling, config.encoder, config.words)
    return repr(named)


def key_of(trial: Trial, slice_name: str, seed: int) -> str:
    """Recognise a measurement: the same name with other settings is another one."""
    facts = [trial.config().model_dump(mode="json"), trial.name, slice_name, seed]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def read_rows(path: Path) -> dict[str, Row]:
    """Read what was measured before."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return {row["key"]: row for row in map(json.loads, lines)}


def run(trials: Iterable[Trial], path: Path, n_seeds: int) -> None:
    """Measure what is not there yet, and add a line for each."""
    known = read_rows(path)
    wanted = [
        (trial, slice_name, FIRST_SEED + number)
        for number in range(n_seeds)
        for trial in trials
        for slice_name in SLICES
        if key_of(trial, slice_name, FIRST_SEED + number) not in known
    ]
    if not wanted:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    lab = Lab(read_world())
    # Those that encode texts alike come one after another.
    order = {name: place for place, name in enumerate(dict.fromkeys(map(_key, wanted)))}
    for number, one in enumerate(sorted(wanted, key=lambda w: order[_key(w)]), start=1):
        row = lab.measure(*one)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        means = ", ".join(f"{name} {np.mean(row[name]):.4f}" for name in VALUES)
        sys.stderr.write(f"{number} of {len(wanted)}: {row['trial']}, {row['slice']}: {means}\n")


def _key(wanted: tuple[Trial, str, int]) -> str:
    return _encoding_of(wanted[0])


def table(trials: dict[str, Trial], rows: dict[str, Row], n_seeds: int) -> list[Row]:
    """Compare every trial that is measured on both slices with its base."""
    rng = np.random.default_rng(FIRST_SEED)
    seeds = range(FIRST_SEED, FIRST_SEED + n_seeds)
    found: list[Row] = []
    for trial in trials.values():
        common = [s for s in seeds if all(_there(t, s, rows) for t in (trial, trials[trial.base]))]
        if common:
            found.append(_compared(trial, trials[trial.base], rows, common, rng=rng))
    base = trials[next(iter(trials))]
    others = [seed for seed in seeds if _there(base, seed, rows)][1:]
    first = [FIRST_SEED]
    again = [_compared(base, base, rows, [s], rng=rng, against=first) for s in others]
    return found + again


def _there(trial: Trial, seed: int, rows: dict[str, Row]) -> bool:
    return all(key_of(trial, name, seed) in rows for name in SLICES)


def _compared(
    trial: Trial,
    base: Trial,
    rows: dict[str, Row],
    seeds: list[int],
    *,
    rng: np.random.Generator,
    against: list[int] | None = None,
) -> Row:
    ours, users = _values(trial, rows, seeds)
    theirs, _ = _values(base, rows, against or seeds)
    intervals = bootstrap_means(ours - theirs, rng, clusters=users)
    same = " (another seed)" if against else ""
    return {
        "trial": trial.name + same,
        "base": base.name,
        "n_seeds": len(seeds),
        "n_lists": len(ours),
        "cpu_s": sum(rows[key_of(trial, n, seeds[0])]["cpu_s"] for n in SLICES),
        **{name: float(mean) for name, mean in zip(VALUES, ours.mean(axis=0), strict=True)},
        "differences": {
            name: interval._asdict() for name, interval in zip(VALUES, intervals, strict=True)
        },
    }


def _values(
    trial: Trial, rows: dict[str, Row], seeds: list[int]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Average a trial over seeds, list by list: (n_lists, 3), and the users of the lists."""
    parts, users = [], []
    for name in SLICES:
        found = [rows[key_of(trial, name, seed)] for seed in seeds]
        parts.append(np.mean([[row[v] for v in VALUES] for row in found], axis=0).T)
        users += found[0]["users"]
    return np.concatenate(parts), np.array(users)


def print_rows(found: list[Row]) -> None:
    """Print the table for people."""
    lines = []
    for row in found:
        cells = []
        for name in VALUES:
            mean, low, high = row["differences"][name].values()
            cells += [f"{row[name]:.4f}", f"{mean:+.4f} [{low:+.4f}, {high:+.4f}]"]
        lines.append([row["trial"], row["base"], str(row["n_seeds"]), *cells])
    columns = ("trial", "against", "seeds", "text", "", "with click rate", "", "loss", "")
    print_table("nDCG@10 and list loss on both development slices", columns, lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", nargs="*", default=["*"], help="patterns of names of trials")
    parser.add_argument("--seeds", type=int, default=1, help="fits of each trial and slice")
    parser.add_argument("--results", type=Path, default=Path("build/ablation.jsonl"))
    parser.add_argument("--table", action="store_true", help="measure nothing more")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    trials = all_trials()
    named = [t for n, t in trials.items() if any(fnmatchcase(n, p) for p in arguments.only)]
    if not named:
        sys.exit(f"no trial {' '.join(arguments.only)}; expected {', '.join(trials)}")
    bases = [trials[name] for name in dict.fromkeys(trial.base for trial in named)]
    if not arguments.table:
        run(_distinct([*named, *bases]), arguments.results, arguments.seeds)
    found = table(trials, read_rows(arguments.results), arguments.seeds)
    if arguments.json:
        print(json.dumps(found, indent=2))
    else:
        print_rows(found)


def _distinct(trials: list[Trial]) -> list[Trial]:
    return list({trial.name: trial for trial in trials}.values())


if __name__ == "__main__":
    main()
