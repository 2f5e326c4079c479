"""Hyper-parameters of the text-interest model, searched on the oldest slices of the log.

A trial fits the model window by window, forward in time, and is judged by nDCG@10 of click rate
plus interest on what comes after each window; one that falls behind the others early is pruned. The
texts are encoded once for all trials. The study lies in the workspace: a search that is started
again goes on. The test slice is never touched, and neither is the validation slice's right to
choose the ranker: it is the last window, which no fit of a trial sees.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import optuna
from numpy.typing import NDArray

from recsys.config import InterestConfig, TuningConfig
from recsys.errors import TrainingError
from recsys.events.progress import Progress
from recsys.events.snapshot import LogSource
from recsys.features.models import FittedFeatureModel
from recsys.features.reading import StateReader
from recsys.features.slates import Slates
from recsys.features.vocabulary import count
from recsys.interest.model import TextInterestModel
from recsys.plugins.registry import load_capabilities
from recsys.ranking.metrics import measure
from recsys.schema import IMPRESSION
from recsys.training.dataset import make_dataset
from recsys.training.split import split_by_time
from recsys.training.stacking import Stacking
from recsys.workspace import Workspace

STUDY: Final = "interest"
#: Fits of one trial; the last window is the validation slice.
_WINDOWS: Final = 4
_PRIOR_SHOWS: Final = 20.0
#: Trials before any is pruned.
_SETTLING: Final = 4


@dataclass(frozen=True, slots=True)
class TuneReport:
    """What a search found.

    Args:
        n_trials: Of the study, those of earlier searches included.
        n_pruned: Of these, given up early.
        best: Mean nDCG@10 of the best trial.
        default: The same with the configuration as it is; it is the study's first trial.
        settings: Keys of `[interest]` with the values of the best trial.
    """

    n_trials: int
    n_pruned: int
    best: float
    default: float
    settings: dict[str, Any]

    def toml(self) -> str:
        """Write the settings as they belong into `recsys.toml`.

        Returns:
            Lines below `[interest]`.
        """
        lines = [
            f"{name} = {value!r}".replace("'", '"') for name, value in sorted(self.settings.items())
        ]
        return "\n".join(["[interest]", *lines])


def tune(
    workspace: Workspace,
    source: LogSource,
    progress: Progress,
    *,
    n_trials: int,
    timeout_s: float | None = None,
) -> TuneReport:
    """Search; goes on with what earlier searches found on this workspace.

    Args:
        workspace: Its `tuning` folder keeps the study.
        source: The log.
        progress: Called with (what, done, total).
        n_trials: How many more.
        timeout_s: No trial is begun after so many seconds.

    Returns:
        The report.

    Raises:
        TrainingError: The text-interest model is switched off.
    """
    config = workspace.config
    dataset = make_dataset(source, config)
    plan = load_capabilities(workspace.folder, config, dataset.profile).plan
    if TextInterestModel.name not in plan.models:
        raise TrainingError("tune", "the plugin text_interest is disabled", "it enabled")
    split = split_by_time(dataset.labelled, config.split)
    folder = workspace.folder / "tuning"
    folder.mkdir(exist_ok=True)
    seen = dataset.labelled.part(0, split.validation_end)
    stacking = Stacking(
        plan, dataset.reader, seen, split, config.labels, folder, config.seed, progress
    )
    trials = _Trials(
        stacking=stacking,
        config=config.interest,
        unfitted=TextInterestModel(config.interest).unfitted(dataset.reader.items),
        offsets=_click_rates(seen.slates, dataset.reader),
        ends=[*split.windows(_WINDOWS), split.validation_end],
    )
    study = _open_study(folder, config.seed)
    if not study.trials:
        study.enqueue_trial(_as_it_is(config.interest))
    before = len(study.trials)

    def count_trials(found: optuna.Study, _trial: optuna.trial.FrozenTrial) -> None:
        progress("trials", len(found.trials), before + n_trials)

    study.optimize(trials.value, n_trials=n_trials, timeout=timeout_s, callbacks=[count_trials])
    return _report(study)


@dataclass(frozen=True, slots=True)
class _Trials:
    """What all trials share.

    Args:
        stacking: The lists, and how a model is fitted and scored on them.
        config: What is not searched.
        unfitted: Holds the encoded texts.
        offsets: float64 (n_candidates,): log odds of the click rate so far.
        ends: Requests at which windows end.
    """

    stacking: Stacking
    config: InterestConfig
    unfitted: FittedFeatureModel
    offsets: NDArray[np.float64]
    ends: list[int]

    def value(self, trial: optuna.Trial) -> float:
        model = TextInterestModel(_suggest(trial, self.config))
        labelled = self.stacking.labelled
        found: list[float] = []
        windows = self.stacking.windows(model, self.unfitted, self.ends)
        for window, (rows, scores) in enumerate(windows):
            total = self.offsets[rows] + np.nan_to_num(scores[:, 0])
            sizes = labelled.slates.sizes[self.ends[window] : self.ends[window + 1]]
            found.append(measure(total, labelled.grades[rows], sizes).means()["ndcg@10"])
            trial.report(float(np.mean(found)), window)
            if trial.should_prune():
                raise optuna.TrialPruned
        return float(np.mean(found))


def _open_study(folder: Path, seed: int) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(
        storage=f"sqlite:///{(folder / 'study.db').resolve()}",
        study_name=STUDY,
        direction="maximize",
        load_if_exists=True,
        sampler=optuna.samplers.TPESampler(seed=seed),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=_SETTLING),
    )


def _as_it_is(config: InterestConfig) -> dict[str, Any]:
    return {
        "epochs": config.epochs,
        "learning_rate": config.learning_rate,
        "encoder_learning_rate": config.encoder_learning_rate,
        "dropout": config.tuning.dropout,
        "history_mask": config.tuning.history_mask,
        "weight_decay": config.tuning.weight_decay,
        "part_dropout": config.tuning.part_dropout,
    }


def _suggest(trial: optuna.Trial, config: InterestConfig) -> InterestConfig:
    top = {
        "epochs": trial.suggest_int("epochs", 1, 6),
        "learning_rate": trial.suggest_float("learning_rate", 1e-4, 1e-2, log=True),
        "encoder_learning_rate": trial.suggest_float("encoder_learning_rate", 1e-5, 1e-3, log=True),
    }
    tuning = {
        "dropout": trial.suggest_float("dropout", 0.0, 0.6),
        "history_mask": trial.suggest_float("history_mask", 0.0, 0.5),
        "weight_decay": trial.suggest_float("weight_decay", 1e-3, 1.0, log=True),
        "part_dropout": trial.suggest_float("part_dropout", 0.0, 0.5),
    }
    changed = config.tuning.model_copy(update={**tuning, "tracker": "none", "checkpoint_s": 1e9})
    return config.model_copy(update={**top, "tuning": changed})


def _click_rates(slates: Slates, reader: StateReader) -> NDArray[np.float64]:
    actions = reader.read(count("actions", "*", by="item"), slates)
    shows = reader.read(count("shows", IMPRESSION, by="item"), slates)
    everything = np.maximum(np.nanmean(actions) / max(float(np.nanmean(shows)), 1.0), 1e-3)
    rate = (actions + _PRIOR_SHOWS * everything) / (shows + _PRIOR_SHOWS)
    rate = np.clip(np.nan_to_num(rate, nan=float(everything)), 1e-3, 1.0 - 1e-3)
    found: NDArray[np.float64] = np.log(rate / (1.0 - rate))
    return found


def _report(study: optuna.Study) -> TuneReport:
    trials = study.trials
    best = study.best_trial
    in_tuning = set(TuningConfig.model_fields)
    settings = {
        f"tuning.{name}" if name in in_tuning else name: value
        for name, value in best.params.items()
    }
    pruned = [t for t in trials if t.state == optuna.trial.TrialState.PRUNED]
    first = trials[0].value
    return TuneReport(
        n_trials=len(trials),
        n_pruned=len(pruned),
        best=float(best.value or 0.0),
        default=float("nan") if first is None else first,
        settings=settings,
    )
