"""Every way of fitting runs, learns, and can be stopped and gone on from."""

from __future__ import annotations

import dataclasses
import json
import resource
import shutil
from pathlib import Path

import numpy as np
import pytest
import structlog
import torch
from interest_world import batch_of, draw_requests, topic_items, topic_view

from recsys.config import InterestConfig, TuningConfig
from recsys.interest import descent
from recsys.interest.adapting import finish, plain_state, prepare
from recsys.interest.batches import Batches
from recsys.interest.encoder import EncoderOptions, TextEncoder
from recsys.interest.examples import build_examples
from recsys.interest.journal import HISTORY, Journal
from recsys.interest.laying import Layout
from recsys.interest.losses import list_loss
from recsys.interest.model import TextInterestModel


class Killed(BaseException):
    """Nothing in the package catches it."""


@pytest.fixture(scope="module")
def encoder(thin_encoder):
    return thin_encoder


@pytest.fixture(scope="module")
def items():
    return topic_items(40)


def recipe(encoder, tuning=None, **more):
    options = {"history": 10, "batch_size": 32, "epochs": 2, "device": "cpu"} | more
    tuning = TuningConfig(**{"checkpoint_s": 0, **(tuning or {})})
    return TextInterestModel(InterestConfig(encoder=encoder, tuning=tuning, **options))


def scores_of(model, batch=None):
    return model.score(batch or batch_of(draw_requests(20, range(40), seed=3)[0]))


@pytest.mark.parametrize(
    "tuning",
    [
        {"mode": "frozen"},
        {"mode": "full", "layer_decay": 0.5, "schedule": "cosine"},
        {"mode": "lora", "rank": 2, "accumulation": 2},
        {"mode": "adalora", "rank": 2},
        {"mode": "adapters", "rank": 4, "optimiser": "sgd"},
        {"loss": "pairwise", "part_dropout": 0.2, "token_dropout": 0.1},
        {"loss": "pointwise", "label_smoothing": 0.1, "history_crop": 0.5},
        {"adversarial": "fgm", "contrastive": 0.1},
        {"adversarial": "pgd", "schedule": "constant"},
    ],
    ids=lambda tuning: "-".join(map(str, tuning.values())),
)
def test_every_way_of_fitting_gives_a_model_that_scores_and_comes_back(
    encoder, items, tuning, tmp_path
):
    learner = recipe(encoder, tuning)
    model = learner.fit(topic_view(items, 80, tmp_path / "run", range(40)))
    pretrained, tuned = next(model.bench.passes())
    assert (len(model.bench.encoder.tuned) == 0) == (tuning.get("mode") == "frozen")
    assert tuning.get("mode") != "frozen" or np.array_equal(pretrained, tuned)
    found = scores_of(model)
    assert np.isfinite(found[:, 0]).all()
    folder = tmp_path / "saved"
    folder.mkdir()
    model.save(folder)
    again = learner.load(folder, items)
    assert np.array_equal(scores_of(again), found, equal_nan=True)
    texts = [("rocket moon", "galaxy")]
    for one, other in zip(
        model.parts.encoder.encode(texts), again.parts.encoder.encode(texts), strict=True
    ):
        assert np.allclose(one, other, atol=2e-2)


@pytest.mark.parametrize("mode", ["lora", "adalora", "adapters"])
def test_what_was_learned_beside_the_weights_is_in_the_layers_afterwards(encoder, mode):
    model = TextEncoder(Path(encoder), EncoderOptions(2, 16), torch.device("cpu"))
    layers, tuning = model.tuned, TuningConfig(mode=mode, rank=2)
    hidden, mask = model.lower(model.tokenize(["rocket to the moon"]))
    before = model.upper(hidden, mask, model.stack(layers))
    prepare(layers, tuning, 10)
    learned = [p for p in layers.parameters() if p.requires_grad]
    assert sum(p.numel() for p in learned) < sum(p.numel() for p in layers.parameters()) / 5
    with torch.no_grad():
        for parameter in learned:
            parameter.add_(torch.randn_like(parameter))
        changed = model.upper(hidden, mask, model.stack(layers))
        finish(layers)
        after = model.upper(hidden, mask, model.stack(layers))
    assert not torch.allclose(changed, before, atol=1e-2)
    assert torch.allclose(after, changed, atol=2e-2)
    assert not [p for p in layers.parameters() if p.requires_grad]
    if mode != "adapters":
        assert set(layers.state_dict()) == set(model.pretrained.state_dict())
    assert set(plain_state(layers)) == set(model.pretrained.state_dict())


def test_a_fit_that_was_killed_goes_on_and_ends_with_the_same_weights(
    encoder, items, tmp_path, monkeypatch
):
    learner = recipe(encoder)
    whole = learner.fit(topic_view(items, 80, tmp_path / "whole", range(40)))
    step, made = descent.Descent._step, []

    def killed_later(self, rows, after):
        if len(made) == 7:
            raise Killed
        made.append(rows)
        return step(self, rows, after)

    view = topic_view(items, 80, tmp_path / "killed", range(40))
    monkeypatch.setattr(descent.Descent, "_step", killed_later)
    with pytest.raises(Killed):
        learner.fit(view)
    made.clear()
    resumed = learner.fit(view)
    assert 0 < len(made) < 7
    assert np.array_equal(scores_of(resumed), scores_of(whole), equal_nan=True)


def test_a_checkpoint_of_another_fit_or_a_damaged_one_is_left_aside(encoder, items, tmp_path):
    view = topic_view(items, 80, tmp_path, range(40))
    first = scores_of(recipe(encoder).fit(view))
    path = next(tmp_path.rglob("towers.safetensors"))
    path.write_bytes(path.read_bytes()[:100])
    assert np.array_equal(scores_of(recipe(encoder).fit(view)), first, equal_nan=True)
    other = recipe(encoder, learning_rate=1e-2).fit(view)
    assert not np.array_equal(scores_of(other), first, equal_nan=True)


def test_a_full_disk_costs_the_checkpoint_and_not_the_fit(encoder, items, tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # No file may grow beyond this: what a full disk does, on any machine.
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        learner = recipe(encoder, {"tracker": "none"})
        model = learner.fit(topic_view(items, 80, tmp_path, range(40)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert np.isfinite(scores_of(model)[:, 0]).all()
    assert not list(tmp_path.rglob("*.safetensors"))
    assert not list(tmp_path.rglob("*.part"))


def test_a_disk_that_is_full_to_the_last_byte_costs_the_history_too(encoder, items, tmp_path):
    view = topic_view(items, 80, tmp_path, range(40))
    journal = Journal(view, "none")
    (journal.folder / HISTORY).symlink_to("/dev/full")
    with structlog.testing.capture_logs() as told:
        recipe(encoder, {"tracker": "none"}).fit(view)
    assert [line["event"] for line in told] == ["the history of a fit could not be written"]


def test_batches_are_halved_until_they_fit_into_memory(encoder, items, tmp_path, monkeypatch):
    loss, sizes = Batches.loss, []

    def small_memory(self, rows):
        if self.net.training:
            if len(rows) > 8:
                raise torch.OutOfMemoryError
            sizes.append(len(rows))
        return loss(self, rows)

    whole = recipe(encoder, {"mode": "frozen", "dropout": 0, "history_mask": 0})
    expected = scores_of(whole.fit(topic_view(items, 80, tmp_path / "a", range(40))))
    monkeypatch.setattr(Batches, "loss", small_memory)
    model = whole.fit(topic_view(items, 80, tmp_path / "b", range(40)))
    assert max(sizes) <= 8
    assert np.allclose(scores_of(model), expected, atol=1e-3, equal_nan=True)


def test_memory_that_not_even_one_example_fits_into_is_an_error(
    encoder, items, tmp_path, monkeypatch
):
    def no_memory(self, rows):
        if self.net.training:
            raise torch.OutOfMemoryError
        return torch.tensor(0.0)

    monkeypatch.setattr(Batches, "loss", no_memory)
    with pytest.raises(torch.OutOfMemoryError):
        recipe(encoder).fit(topic_view(items, 80, tmp_path, range(40)))


def test_losses_prefer_the_order_of_what_was_done():
    targets = torch.tensor([[0.8, 0.2, 0.0, 0.0]])
    present = torch.tensor([[True, True, True, False]])
    good, bad = torch.tensor([[3.0, 1.0, -2.0, 9.0]]), torch.tensor([[-2.0, 1.0, 3.0, 9.0]])
    for name in ("listwise", "pairwise", "pointwise"):
        config = TuningConfig(loss=name)
        assert list_loss(good, targets, present, config) < list_loss(bad, targets, present, config)
        padded = good.clone()
        padded[0, 3] = -50.0
        assert torch.allclose(
            list_loss(good, targets, present, config), list_loss(padded, targets, present, config)
        )


def test_a_part_has_its_own_budget_of_tokens(encoder, items):
    model = recipe(encoder, part_tokens={"title": 4}).unfitted(items)
    lengths = model.bench.activations.lengths
    titles = model.bench.part_rows[:, 0]
    assert lengths[titles].max() == 4
    assert lengths.max() > 4


def test_an_encoder_pools_as_its_folder_says(encoder, items, tmp_path):
    folder = tmp_path / "cls"
    shutil.copytree(encoder, folder)
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_cls_token": True}))
    first = recipe(str(folder)).unfitted(items)
    named = recipe(encoder, pooling="cls").unfitted(items)
    mean = recipe(encoder).unfitted(items)
    assert np.array_equal(first.item_vectors(), named.item_vectors())
    assert not np.allclose(first.item_vectors(), mean.item_vectors())


def test_one_user_and_no_held_out_lists_are_enough_to_go_on(encoder, items, tmp_path):
    view = topic_view(items, 60, tmp_path, range(40))
    batch = batch_of([([0, 1, 2, 3], [4], [4, 5, 6])] * 60)
    grades = np.tile(np.array([1, 0, 0, 0], dtype=np.float32), 60)
    model = recipe(encoder).fit(dataclasses.replace(view, batch=batch, grades=grades))
    assert np.isfinite(scores_of(model)[:, 0]).all()


def test_texts_that_are_empty_enormous_or_in_another_script_are_encoded(encoder):
    items = topic_items(8)
    items.rows += [
        {"title": "", "tags": []},
        {"title": "word " * 50_000, "tags": ["x" * 100_000]},
        {"title": "東京で地震がありました", "tags": ["ニュース", "أخبار"]},
        {"title": "\x00\ud800 broken", "tags": ["\N{ZERO WIDTH SPACE}"]},
    ]
    vectors = recipe(encoder).unfitted(items).item_vectors()
    assert np.isfinite(vectors).all()
    assert not vectors[8].any()


def test_batches_laid_out_ahead_are_those_that_would_have_been(items, tmp_path, encoder):
    bench = recipe(encoder).unfitted(items).bench
    examples = build_examples(topic_view(items, 80, tmp_path, range(40)), bench.versions, 1000)
    device = torch.device("cpu")
    taught = np.ones(examples.candidates.shape, dtype=np.float32)
    plain = Layout(examples, taught, device, ahead=False)
    ahead = Layout(examples, taught, device, ahead=True)
    order = np.random.default_rng(1).permutation(len(examples))[:72].reshape(4, -1)
    for number, rows in enumerate(order):
        found, expected = ahead.batch(rows), plain.batch(rows)
        # A wrong guess is thrown away.
        ahead.expect(order[(number + 1) % 3] if number else order[3])
        plain.expect(rows)
        assert np.array_equal(found.distinct, expected.distinct)
        for name in ("candidates", "rates", "present", "targets", "taught"):
            assert torch.equal(getattr(found, name), getattr(expected, name))
        for one, other in zip(found.pasts, expected.pasts, strict=True):
            assert torch.equal(one.rows, other.rows)
            assert torch.equal(one.ages, other.ages)


def test_the_next_batch_is_announced_before_it_is_asked_for(encoder, items, tmp_path, monkeypatch):
    told, asked = [], []
    expect, loss = Batches.expect, Batches.loss
    monkeypatch.setattr(Batches, "expect", lambda s, rows: told.append(rows) or expect(s, rows))

    def remembered(self, rows):
        if self.net.training:
            asked.append((rows, told[-1] if told else rows[:0]))
        return loss(self, rows)

    monkeypatch.setattr(Batches, "loss", remembered)
    recipe(encoder, {"mode": "frozen"}).fit(topic_view(items, 80, tmp_path, range(40)))
    guessed = [np.array_equal(rows, guess) for rows, guess in asked]
    # Nothing is announced over the end of an epoch; there are two, of two steps each.
    assert guessed == [False, True] * 2
