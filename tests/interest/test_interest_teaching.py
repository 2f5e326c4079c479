"""Before and beside the lists: hidden words of past texts, and what a larger model says."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from interest_world import batch_of, draw_requests, topic_items, topic_view
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification, BertModel

from recsys.config import InterestConfig, TuningConfig, load_config
from recsys.errors import ConfigError, EncoderError
from recsys.interest import descent
from recsys.interest.encoder import EncoderOptions, TextEncoder
from recsys.interest.examples import build_examples
from recsys.interest.losses import distillation_loss
from recsys.interest.model import TextInterestModel
from recsys.interest.pretraining import HiddenWords, make_guesser, past_parts
from recsys.interest.teacher import Teacher, teach

CPU = torch.device("cpu")


class Killed(BaseException):
    """Nothing in the package catches it."""


@pytest.fixture(scope="module")
def items():
    return topic_items(80)


def recipe(encoder, *, epochs=2, learning_rate=1e-3, **tuning):
    tuning = TuningConfig(**{"checkpoint_s": 0, "tracker": "none"} | tuning)
    config = InterestConfig(
        encoder=encoder, history=10, batch_size=32, epochs=epochs, learning_rate=learning_rate,
        device="cpu", tuning=tuning,
    )  # fmt: skip
    return TextInterestModel(config)


def scores_of(model):
    return model.score(batch_of(draw_requests(20, range(40), seed=3)[0]))


def history(folder, part):
    lines = next(folder.rglob("history.jsonl")).read_text().splitlines()
    return [line["held_out"] for line in map(json.loads, lines) if line["part"] == part]


def test_hidden_words_of_past_texts_are_guessed_better_and_better(thin_encoder, items, tmp_path):
    model = recipe(
        thin_encoder, mode="full", pretraining_epochs=8, pretraining_learning_rate=2e-2
    ).fit(topic_view(items, 60, tmp_path, range(40)))
    losses = history(tmp_path, "pretraining")
    assert len(losses) == 9
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0] - 0.1
    assert np.isfinite(scores_of(model)[:, 0]).all()
    plain = recipe(thin_encoder, mode="full").fit(topic_view(items, 60, tmp_path / "b", range(40)))
    assert not np.array_equal(scores_of(model), scores_of(plain), equal_nan=True)
    similar = [model.columns.index(n) for n in model.columns if "liked" in n]
    assert np.array_equal(
        scores_of(model)[:, similar], scores_of(plain)[:, similar], equal_nan=True
    )


def test_texts_of_items_that_the_span_has_not_seen_are_not_read(thin_encoder, items, tmp_path):
    bench = recipe(thin_encoder).unfitted(items).bench
    view = topic_view(items, 60, tmp_path, range(40))
    rows = past_parts(view.batch, bench.versions, bench.part_rows)
    seen = set(bench.part_rows[bench.versions.texts[:40]].ravel().tolist())
    assert set(rows.tolist()) == seen
    assert set(range(len(bench.activations))) - seen
    batch = batch_of([([0, -1], [2], [2, 3])])
    few = past_parts(batch, bench.versions, bench.part_rows)
    assert set(few.tolist()) == set(
        bench.part_rows[bench.versions.texts[[0, 2, 3]]].ravel().tolist()
    )


def test_special_tokens_are_never_guessed_and_held_out_texts_hide_the_same(thin_encoder, items):
    bench = recipe(thin_encoder, mode="full").unfitted(items).bench
    encoder = bench.encoder.untuned()
    guesser = make_guesser(encoder, 1)
    rows = np.arange(len(bench.activations))
    words = HiddenWords(encoder, bench.activations, rows, guesser, 0.9)
    tokens = [bench.activations.tokens(row) for row in rows]
    shown, guessed = words._hide(tokens, torch.Generator().manual_seed(1))
    special = set(encoder.tokenizer.all_special_ids)
    for before, after, at in zip(tokens, shown, guessed, strict=True):
        assert all(b == a for b, a, hidden in zip(before, after, at, strict=True) if not hidden)
        assert not at[0]
        assert not at[-1]
        assert {before[0], before[-1]} <= special
    assert torch.cat(guessed).float().mean() > 0.4
    assert words.held_out_loss(rows) == words.held_out_loss(rows)
    assert words.held_out_loss(rows[:0]) == 0.0


def test_a_pretraining_that_was_killed_goes_on_as_if_nothing_had_happened(
    thin_encoder, items, tmp_path, monkeypatch
):
    learner = recipe(thin_encoder, pretraining_epochs=3)
    whole = learner.fit(topic_view(items, 60, tmp_path / "whole", range(40)))
    step, made = descent.Descent._step, []

    def killed_later(self, rows, after):
        if len(made) == 2:
            raise Killed
        made.append(rows)
        return step(self, rows, after)

    view = topic_view(items, 60, tmp_path / "killed", range(40))
    with monkeypatch.context() as patch:
        patch.setattr(descent.Descent, "_step", killed_later)
        with pytest.raises(Killed):
            learner.fit(view)
    assert next((tmp_path / "killed").rglob("pretraining.safetensors"))
    assert np.array_equal(scores_of(learner.fit(view)), scores_of(whole), equal_nan=True)


def test_an_encoder_that_cannot_guess_words_is_refused(thin_encoder, tmp_path):
    encoder = TextEncoder(Path(thin_encoder), EncoderOptions(1, 16), CPU)
    encoder.tokenizer.mask_token = None
    with pytest.raises(EncoderError, match="no mask token; expected an encoder that can guess"):
        make_guesser(encoder, 1)


@pytest.mark.parametrize(("mode", "n_layers"), [("frozen", 1), ("layers", 0)])
def test_pretraining_without_layers_to_tune_is_refused(mode, n_layers, tmp_path):
    tuning = f"[interest.tuning]\nmode = '{mode}'\npretraining_epochs = 1\n"
    (tmp_path / "recsys.toml").write_text(f"[interest]\ntuned_layers = {n_layers}\n{tuning}")
    with pytest.raises(ConfigError, match="pretraining_epochs needs layers to tune"):
        load_config(tmp_path)


@pytest.fixture(scope="module")
def teachers(thin_encoder, tmp_path_factory):
    """Two models with random weights: a cross-encoder, and an encoder larger than the student."""
    made = {}
    for name in ("cross", "encoder", "three"):
        made[name] = tmp_path_factory.mktemp(name)
        AutoTokenizer.from_pretrained(thin_encoder).save_pretrained(made[name])
        config = BertConfig(
            hidden_size=48, num_hidden_layers=3, num_attention_heads=2, intermediate_size=96,
            vocab_size=30_522, num_labels=3 if name == "three" else 1, initializer_range=0.3,
        )  # fmt: skip
        with torch.random.fork_rng():
            torch.manual_seed(4)
            kind = BertModel if name == "encoder" else BertForSequenceClassification
            kind(config).save_pretrained(made[name])
    return made


def divergence(model, view, teacher):
    """How far the fitted space is from what a teacher says."""
    examples = build_examples(view, model.bench.versions, 1000)
    text = {
        row: ". ".join(", ".join(v) if isinstance(v, list) else v for v in values)
        for row in range(80)
        if (values := [view.items.attributes(row)[name] for name in ("title", "tags")])
    }
    taught = teach(teacher, examples, text.__getitem__, lambda *_: None)
    points = model.item_vectors()
    newest = examples.liked.rows[np.arange(len(examples)), (examples.liked.rows >= 0).argmax(1)]
    student = 10 * np.einsum("nch,nh->nc", points[examples.candidates], points[newest])
    return float(distillation_loss(torch.tensor(student), torch.tensor(taught)))


@pytest.mark.parametrize("kind", ["cross", "encoder"])
def test_towers_come_nearer_to_what_a_teacher_says_and_it_is_asked_once(
    thin_encoder, items, teachers, tmp_path, kind, monkeypatch
):
    plain, taught = (topic_view(items, 80, tmp_path / "runs" / n, range(40)) for n in ("a", "b"))
    options = {"epochs": 8, "learning_rate": 1e-2, "mode": "frozen", "dropout": 0, "patience": 8}
    alone = recipe(thin_encoder, **options).fit(plain)
    options |= {"teacher": str(teachers[kind]), "distillation": 20.0}
    model = recipe(thin_encoder, **options).fit(taught)
    assert np.isfinite(scores_of(model)[:, 0]).all()
    teacher = Teacher(str(teachers[kind]), tmp_path / "runs" / "teachers", CPU)
    monkeypatch.setattr(teacher, "_read_pairs", None)
    monkeypatch.setattr(teacher, "_read_texts", None)  # asking again would fail
    assert divergence(model, taught, teacher) < 0.9 * divergence(alone, taught, teacher)
    folder = tmp_path / "saved"
    folder.mkdir()
    model.save(folder)
    assert not list(folder.rglob("*teacher*"))


def test_a_damaged_memory_of_a_teacher_is_left_aside(teachers, tmp_path):
    teacher = Teacher(str(teachers["cross"]), tmp_path, CPU)
    pairs = [("rocket", "moon"), ("rocket", "garlic"), ("rocket", "moon")]
    first = teacher.scores(pairs, lambda *_: None)
    assert first[0] == first[2] != first[1]
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:40])
    again = Teacher(str(teachers["cross"]), tmp_path, CPU).scores(pairs, lambda *_: None)
    assert np.allclose(again, first, atol=1e-3)


def test_a_classifier_with_three_outputs_and_a_missing_teacher_are_refused(teachers, tmp_path):
    with pytest.raises(EncoderError, match="3 outputs; expected a classifier with one or two"):
        Teacher(str(teachers["three"]), tmp_path, CPU).scores([("a", "b")], lambda *_: None)
    with pytest.raises(EncoderError, match="no such folder"):
        Teacher("not a model", tmp_path, CPU)


def test_divergence_is_zero_for_the_same_shares_and_where_nobody_was_asked():
    scores = torch.tensor([[1.0, 2.0, float("nan")], [float("nan")] * 3])
    student = torch.tensor([[3.0, 4.0, 9.0], [1.0, 2.0, 3.0]])
    assert abs(float(distillation_loss(student, scores))) < 1e-6
    assert float(distillation_loss(student.flip(1), scores)) > 0.1
    assert float(distillation_loss(student[1:], scores[1:])) == 0.0
