"""One fit on one span of time, from the bench to a model that scores."""

from __future__ import annotations

import copy
import dataclasses
from functools import cache as cache_in_memory
from functools import partial

import numpy as np
import structlog
import torch
from numpy.typing import NDArray

from recsys.config import InterestConfig
from recsys.features.models import FitView, ItemSource
from recsys.interest.bench import Bench, set_up
from recsys.interest.catalogue import extend, no_template, no_versions
from recsys.interest.examples import build_examples
from recsys.interest.fit import MIN_EXAMPLES, Fit, fit_towers, pretrain, tune_encoder
from recsys.interest.fitted import FittedInterest
from recsys.interest.journal import Journal
from recsys.interest.parts import Parts, Projection, make_known
from recsys.interest.stored_vectors import Head, NumberTraits, TextTable, joined
from recsys.interest.teacher import Teacher, teach
from recsys.interest.text import HASH_BYTES, item_parts, text_hash
from recsys.interest.towers import MAX_TEMPERATURE, InterestNet
from recsys.interest.vectors import Catalogue

EMBEDDING_SIZE = 64

_log = structlog.get_logger("recsys.interest")


class BenchedInterest(FittedInterest):
    """A fitted model that still holds what the next fit goes on from."""

    bench: Bench

    def conclude(self) -> None:
        """Say, after the last of several fits, which of them had too little to learn from."""
        if self.bench.too_few:
            _log.warning(
                "too few lists to fit the text-interest model on",
                fits=len(self.bench.too_few),
                found_at_most=max(self.bench.too_few),
                expected=MIN_EXAMPLES,
            )


class SilentInterest(FittedInterest):
    """What is fitted where no item has text."""

    def conclude(self) -> None:
        """Say, after the last of several fits, that all columns are missing."""
        _log.warning("no item has text: the columns of the text-interest model stay missing")


def start(config: InterestConfig, items: ItemSource) -> FittedInterest:
    """Offer what needs no fitting: similarities in the pretrained encoder's eyes.

    Returns:
        A model whose fitted columns are missing; all are where no item has text.
    """
    bench = set_up(config, items, lambda _label, _done, _total: None)
    return _silent(items) if bench is None else _finished(bench, items)


def fit_span(
    config: InterestConfig, view: FitView, previous: FittedInterest | None
) -> FittedInterest:
    """Fit on a span of time.

    Args:
        config: Size and speed.
        view: The span.
        previous: A model of an earlier span, or `start`'s.

    Returns:
        The fitted model.
    """
    bench = _taken_over(config, view, previous)
    if bench is None:
        return _silent(view.items)
    first = bench.net is None
    net = _new_net(bench, config, view) if bench.net is None else copy.deepcopy(bench.net)
    encoder = bench.encoder.untuned() if first else bench.encoder
    bench = dataclasses.replace(bench, encoder=encoder, net=net.to(encoder.device))
    examples = build_examples(view, bench.versions, config.newest_lists)
    bench.rates = examples.rates
    if len(examples) < MIN_EXAMPLES:
        bench.too_few = (*bench.too_few, len(examples))
        return _finished(bench, view.items)
    devices = [bench.encoder.device] if bench.encoder.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), Journal(view, config.tuning.tracker) as journal:
        torch.manual_seed(view.seed)
        fit = Fit(net, examples, bench.versions, config, view.seed, journal)
        fit = dataclasses.replace(fit, taught=_taught(bench, view, fit))
        if first and config.tuning.pretraining_epochs and len(encoder.tuned):
            pretrain(fit, view.batch, bench.part_rows, (encoder, bench.activations))
            bench.tuned = bench.activations.encode(encoder.tuned)
        _learn(bench, fit, first=first)
    return _finished(bench, view.items)


def _new_net(bench: Bench, config: InterestConfig, view: FitView) -> InterestNet:
    kept = np.eye(EMBEDDING_SIZE, len(bench.directions), dtype=np.float32)
    tuning = config.tuning
    dropout = (tuning.dropout, tuning.history_mask, tuning.history_crop)
    # Some of its layers start at random.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(view.seed)
        return InterestNet(kept, view.type_grades, bench.versions.numbers.shape[1], dropout)


def _taught(bench: Bench, view: FitView, fit: Fit) -> NDArray[np.float32] | None:
    tuning = fit.config.tuning
    if not tuning.teacher:
        return None
    if bench.teacher is None:
        # Beside the runs: what was said in one is known in the next.
        cache = view.folder.parent / "teachers"
        bench.teacher = Teacher(tuning.teacher, cache, bench.encoder.device)

    @cache_in_memory
    def text(version_row: int) -> str:
        parts = item_parts(view.items.attributes(version_row), bench.template.parts)
        return ". ".join(part for part in parts if part)

    return teach(bench.teacher, fit.examples, text, partial(fit.journal.advance, "teacher"))


def _learn(bench: Bench, fit: Fit, *, first: bool) -> None:
    catalogue = Catalogue(
        bench.versions, bench.part_rows, bench.tuned, bench.centre, bench.directions
    )
    fit_towers(fit, catalogue, bench.encoder.device)
    if first and bench.encoder.can_learn:
        bench.tuned = tune_encoder(fit, catalogue, bench.encoder, bench.activations)


def _taken_over(
    config: InterestConfig, view: FitView, previous: FittedInterest | None
) -> Bench | None:
    if isinstance(previous, BenchedInterest) and len(previous.bench.versions) == len(view.items):
        return previous.bench
    return set_up(config, view.items, view.progress)


def _finished(bench: Bench, items: ItemSource) -> FittedInterest:
    projection = Projection(bench.centre, bench.directions)
    head = numbers = None
    if bench.net is not None:
        net = bench.net.eval()
        projection = dataclasses.replace(
            projection,
            project=_array(net.project.weight),
            value=_array(net.value.weight),
            appeal=_array(net.appeal.weight)[0],
            taste=_array(net.taste.project.weight),
        )
        head, numbers = _head(net), _number_traits(bench, net)
    texts = [projection.table(*vectors) for vectors in bench.passes()]
    known = make_known(bench.versions, bench.hashes, joined(texts), numbers)
    parts = Parts(bench.template, known, projection, head, numbers, bench)
    fitted = BenchedInterest(items, parts)
    fitted.bench = bench
    return fitted


def _number_traits(bench: Bench, net: InterestNet) -> NumberTraits:
    inner = outer = np.zeros((0, 0), dtype=np.float32)
    inner_bias = outer_bias = np.zeros(0, dtype=np.float32)
    taste = net.taste
    if taste.inner is not None and taste.outer is not None:
        inner, inner_bias = _array(taste.inner.weight), _array(taste.inner.bias)
        outer, outer_bias = _array(taste.outer.weight), _array(taste.outer.bias)
    keys = b"".join(text_hash(item_id) for item_id in bench.versions.item_numbers)
    return NumberTraits(
        stretch=_array(net.taste.stretch.exp()),
        inner=inner,
        inner_bias=inner_bias,
        outer=outer,
        outer_bias=outer_bias,
        item_keys=np.frombuffer(keys, dtype=np.uint8).reshape(-1, HASH_BYTES),
        rates=bench.rates,
    )


def _head(net: InterestNet) -> Head:
    return Head(
        mix=_array(net.mix),
        temperature=_array(net.log_temperature.exp().clamp(max=MAX_TEMPERATURE)),
        shrinkage=_array(torch.nn.functional.softplus(net.shrinkage)),
        type_bias=_array(net.type_bias),
        age_bias=_array(net.age_bias),
        # In the order of the pasts: liked, passed over.
        taste_weights=_array(net.taste.log_weights.exp()),
        ridge=_array(net.taste.log_ridge.exp().reshape(1)),
        scale=_array(net.taste.log_scale.exp().reshape(1)),
        constant=_array(net.taste.log_constant.exp().reshape(1)),
        expected=_array(net.taste.expected),
    )


def _silent(items: ItemSource) -> SilentInterest:
    nothing = np.zeros((0, 0), dtype=np.float32)
    template = no_template()
    versions = extend(no_versions(template), {}, items, template).versions
    texts = TextTable(nothing, nothing, nothing, nothing.ravel(), nothing)
    known = make_known(versions, {}, texts, None)
    return SilentInterest(items, Parts(template, known, Projection(nothing, nothing)))


def _array(tensor: torch.Tensor) -> NDArray[np.float32]:
    found: NDArray[np.float32] = tensor.detach().float().cpu().numpy().copy()
    return found
