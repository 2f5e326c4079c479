"""The text-interest model finds what people like by its words, also after a restart."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest
import structlog
import torch
from interest_world import (
    EVENT_TYPES,
    ListedItems,
    batch_of,
    draw_requests,
    topic_items,
    topic_view,
)

from recsys.config import InterestConfig
from recsys.errors import BundleError, EncoderError
from recsys.features.models import Histories, ItemVectors
from recsys.interest.model import TextInterestModel
from recsys.interest.parts import flat
from recsys.interest.reading import LIKED, SHOWN, read_past
from recsys.interest.towers import ItemBatch, PastBatch

HELD_OUT = range(40, 80)


def column(model, scores, name):
    return scores[:, model.columns.index(name)]


@pytest.fixture(scope="module")
def requests():
    return draw_requests(60, HELD_OUT, seed=23)


def first_is_right(model, requests, name):
    batch = batch_of(requests[0])
    values = column(model, model.score(batch), name)
    hits = []
    for request, topic in enumerate(requests[1]):
        low, high = batch.offsets[request : request + 2]
        topics = batch.versions[low:high] % 4
        if (topics == topic).any():
            hits.append(topics[np.nanargmax(values[low:high])] == topic)
    return np.mean(hits)


def test_items_never_seen_are_ranked_by_the_topic_that_the_user_likes(fitted, requests):
    assert first_is_right(fitted, requests, "text_interest") > 0.9


def test_a_log_without_impressions_teaches_from_what_was_liked_alone(
    recipe, items, tmp_path, unfitted, requests
):
    view = topic_view(items, 200, tmp_path, range(40))
    nothing = Histories(*(part[:, :0] for part in dataclasses.astuple(view.batch.histories[SHOWN])))
    batch = dataclasses.replace(view.batch, histories={**view.batch.histories, SHOWN: nothing})
    fitted = recipe.fit(dataclasses.replace(view, batch=batch), unfitted)
    assert first_is_right(fitted, requests, "text_interest") > 0.9


def test_similarities_need_no_fitting(unfitted, requests):
    scores = unfitted.score(batch_of(requests[0]))
    assert first_is_right(unfitted, requests, "text_liked_mean") > 0.8
    assert np.isnan(column(unfitted, scores, "text_interest")).all()
    assert np.isnan(column(unfitted, scores, "text_taste")).all()
    assert np.isnan(column(unfitted, scores, "text_appeal")).all()


def test_without_a_past_only_the_appeal_is_known(fitted):
    scores = fitted.score(batch_of([([1, 2, 3], [], []), ([1, 2], [-1], [])]))
    assert np.isfinite(column(fitted, scores, "text_appeal")).all()
    personal = [i for i, name in enumerate(fitted.columns) if name != "text_appeal"]
    assert np.isnan(scores[:, personal]).all()


def test_candidates_without_text_are_missing_and_do_not_disturb_others(fitted):
    alone = fitted.score(batch_of([([4, 5], [8, 12], [8, 9, 12])]))
    among = fitted.score(batch_of([([-1, 4, 999_999, 5], [8, 12], [8, 9, 12])]))
    assert np.isnan(among[[0, 2]]).all()
    assert np.allclose(among[[1, 3]], alone, atol=1e-6)


def test_a_score_does_not_depend_on_other_candidates_or_requests(fitted, requests):
    together = fitted.score(batch_of(requests[0]))
    batch = batch_of(requests[0])
    for request in (0, 7, 31):
        low, high = batch.offsets[request : request + 2]
        alone = fitted.score(batch_of([requests[0][request]]))
        assert np.allclose(together[low:high], alone, atol=1e-6)
        candidates, liked, shown = requests[0][request]
        single = fitted.score(batch_of([(candidates[:1], liked, shown)]))
        assert np.allclose(single[0], alone[0], atol=1e-6)


def test_numpy_scores_equal_those_of_the_torch_module(fitted, requests):
    batch, bench = batch_of(requests[0]), fitted.bench
    net = bench.net.eval()
    liked, passed_over = read_past(batch.histories[LIKED], batch.histories[SHOWN], bench.versions)
    candidates = torch.from_numpy(batch.versions.reshape(60, 8).astype(np.int64))
    vectors = np.concatenate([tuned for _, tuned in bench.passes()])
    items = ItemBatch(
        vectors=torch.from_numpy(flat(vectors, bench.centre) @ bench.directions.T),
        numbers=torch.from_numpy(bench.versions.numbers),
        rates=torch.from_numpy(bench.rates[bench.versions.items]),
    )
    with torch.no_grad():
        placed = net.items(items)
        pasts = tuple(
            PastBatch(
                torch.from_numpy(np.maximum(past.rows, 0).astype(np.int64)),
                torch.from_numpy(past.rows >= 0),
                torch.from_numpy(past.types),
                torch.from_numpy(past.ages),
            )
            for past in (liked, passed_over)
        )
        attended, taste = net.interest(placed, candidates, pasts)
    scores = fitted.score(batch)
    assert np.allclose(column(fitted, scores, "text_taste"), taste.ravel(), atol=1e-4)
    assert np.allclose(
        column(fitted, scores, "text_interest"), (attended + taste).ravel(), atol=1e-4
    )
    appeal = placed.appeal.numpy()[candidates.ravel()]
    assert np.allclose(column(fitted, scores, "text_appeal"), appeal, atol=1e-5)


def test_a_saved_model_scores_the_same_and_encodes_nothing_again(
    fitted, recipe, requests, tmp_path
):
    fitted.save(tmp_path)
    again = recipe.load(tmp_path, fitted.items)
    assert not again.parts.encoder.loaded
    batch = batch_of(requests[0])
    assert np.array_equal(again.score(batch), fitted.score(batch), equal_nan=True)
    assert np.array_equal(again.item_vectors(), fitted.item_vectors())
    assert not list(tmp_path.rglob("*.bin"))
    assert not list(tmp_path.rglob("*.pkl"))
    modules = json.loads((tmp_path / "encoder" / "modules.json").read_text())
    assert [m["type"].rsplit(".", 1)[1] for m in modules] == ["Transformer", "Pooling", "Normalize"]


def test_a_loaded_model_can_be_saved_and_loaded_once_more(fitted, recipe, requests, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    fitted.save(first)
    recipe.load(first, fitted.items).save(second)
    third = recipe.load(second, fitted.items)
    batch = batch_of(requests[0])
    assert np.array_equal(third.score(batch), fitted.score(batch), equal_nan=True)


def test_new_items_are_encoded_as_the_tuned_encoder_would_have(fitted, recipe, tmp_path):
    fitted.save(tmp_path)
    items = ListedItems([dict(fitted.items.attributes(i)) for i in range(80)])
    model = recipe.load(tmp_path, items)
    encoded = []
    encode = model.parts.encoder.encode
    model.parts.encoder.encode = lambda texts: encoded.append(list(texts)) or encode(texts)
    unheard = {"title": "garlic bread recipe", "tags": ["oven", "pasta"]}
    items.rows += [dict(items.rows[3]), unheard, {"year": 1999.0}]
    assert np.isnan(model.score(batch_of([([80, 81], [1], [1])]))).all()
    model.refresh()
    model.refresh()
    assert encoded == [[("garlic bread recipe", "oven, pasta")]]
    scores = model.score(batch_of([([3, 80, 81, 82], [1, 5, 9], [1, 2, 5, 9])]))
    assert np.array_equal(scores[0], scores[1])
    assert np.isnan(scores[3]).all()
    # A fresh start over the longer catalogue knows the same vector.
    later = recipe.load(tmp_path, items)
    assert np.allclose(later.item_vectors()[81], model.item_vectors()[81], atol=1e-5)
    # Cooking is nearer to who likes cooking (rows 1, 5, 9) than gardening (row 3) is.
    assert column(model, scores, "text_interest")[2] > column(model, scores, "text_interest")[0]


def test_a_model_that_grew_item_by_item_is_one_that_was_loaded_with_all(fitted, recipe, tmp_path):
    fitted.save(tmp_path)
    rows = [dict(fitted.items.attributes(i)) for i in range(80)]
    new = [{**rows[i], "year": 2003.0} for i in range(6)] + [{"title": "oven"}, {"year": 1.0}]
    items = ListedItems(rows[:70])
    model = recipe.load(tmp_path, items)
    given = [(model.parts.known, model.item_vectors().copy(), model.item_vectors())]
    for row in [*rows[70:], *new]:
        items.rows.append(row)
        model.refresh()
        given.append((model.parts.known, model.item_vectors().copy(), model.item_vectors()))
    later = recipe.load(tmp_path, items)
    batch = batch_of([(list(range(88)), [1, 5, 81], [1, 2, 5, 82])])
    # Texts that are encoded in other batches differ in their last bits.
    assert np.allclose(model.score(batch), later.score(batch), atol=1e-5, equal_nan=True)
    assert np.allclose(model.item_vectors(), later.item_vectors(), atol=1e-5)
    for name in ("traits", "rates"):
        grown, fresh = (getattr(m.parts.known, name) for m in (model, later))
        assert np.allclose(grown, fresh, atol=1e-5)
    # What was given out before is as it was: a request may still be reading it.
    for n, (known, copied, vectors) in enumerate(given, start=70):
        assert len(known.versions) == len(known.traits) == len(vectors) == n
        assert np.array_equal(vectors, copied)


def test_a_text_that_cannot_be_encoded_leaves_the_model_as_it_was(fitted, recipe, tmp_path):
    fitted.save(tmp_path)
    items = ListedItems([dict(fitted.items.attributes(i)) for i in range(80)])
    model = recipe.load(tmp_path, items)
    encode, known = model.parts.encoder.encode, model.parts.known

    def fail(_texts):
        raise MemoryError

    model.parts.encoder.encode = fail
    items.rows.append({"title": "garlic bread recipe"})
    with pytest.raises(MemoryError):
        model.refresh()
    assert model.parts.known is known
    model.parts.encoder.encode = encode
    model.refresh()
    assert np.allclose(model.item_vectors(), recipe.load(tmp_path, items).item_vectors(), atol=1e-5)


def test_item_vectors_are_of_unit_length_and_zero_where_nothing_is_known(recipe, tmp_path):
    items = ListedItems([*topic_items(60).rows, {"year": 1.0}])
    model = recipe.fit(topic_view(items, 60, tmp_path, range(60)))
    assert isinstance(model, ItemVectors)
    lengths = np.linalg.norm(model.item_vectors(), axis=1)
    assert np.allclose(lengths[:60], 1.0, atol=1e-5)
    assert lengths[60] == 0.0


def test_the_same_seed_gives_the_same_model(recipe, items, tmp_path, requests, unfitted):
    view = topic_view(items, 80, tmp_path, range(40))
    first, second = (recipe.fit(view, unfitted) for _ in range(2))
    batch = batch_of(requests[0])
    assert np.array_equal(first.score(batch), second.score(batch), equal_nan=True)


def test_later_fits_keep_the_encoder_and_leave_the_earlier_model_alone(
    fitted, recipe, items, tmp_path, requests
):
    batch = batch_of(requests[0])
    before = fitted.score(batch)
    later = recipe.fit(topic_view(items, 120, tmp_path, range(40), seed=31), fitted)
    assert np.array_equal(fitted.score(batch), before, equal_nan=True)
    assert later.bench.encoder is fitted.bench.encoder
    plain = [later.columns.index(n) for n in later.columns if "liked" in n]
    assert np.array_equal(later.score(batch)[:, plain], before[:, plain], equal_nan=True)
    assert not np.array_equal(later.score(batch)[:, 0], before[:, 0])


def test_too_few_lists_leave_a_model_that_scores(recipe, items, tmp_path, unfitted, requests):
    model = recipe.fit(topic_view(items, 5, tmp_path, range(40)), unfitted)
    assert first_is_right(model, requests, "text_interest") > 0.6


def test_that_lists_were_too_few_is_said_once_after_all_fits(recipe, items, tmp_path, unfitted):
    with structlog.testing.capture_logs() as told:
        first = recipe.fit(topic_view(items, 5, tmp_path / "1", range(40)), unfitted)
        second = recipe.fit(topic_view(items, 9, tmp_path / "2", range(40)), first)
        second.conclude()
    (line,) = [line for line in told if "too few lists" in line["event"]]
    assert (line["fits"], line["found_at_most"]) == (2, 9)
    with structlog.testing.capture_logs() as told:
        unfitted.conclude()
    assert told == []


def test_items_without_words_leave_all_columns_missing(recipe, tmp_path):
    items = ListedItems([{"price": float(i)} for i in range(40)])
    assert recipe.unfitted(items) is not None
    model = recipe.fit(topic_view(items, 60, tmp_path / "run", range(40)))
    batch = batch_of([([1, 2], [3], [3, 4])])
    assert np.isnan(model.score(batch)).all()
    with structlog.testing.capture_logs() as told:
        model.conclude()
    assert [line["event"].split(":")[0] for line in told] == ["no item has text"]
    folder = tmp_path / "saved"
    folder.mkdir()
    model.save(folder)
    again = recipe.load(folder, items)
    assert np.isnan(again.score(batch)).all()
    assert again.score(batch).shape == (2, len(recipe.columns))


def test_what_happens_while_fitting_can_be_followed(recipe, items, tmp_path, unfitted):
    told = []
    view = topic_view(items, 60, tmp_path, range(40))
    recipe.fit(dataclasses.replace(view, progress=lambda *what: told.append(what)), unfitted)
    towers = [(done, total) for label, done, total in told if label == "text interest, towers"]
    assert towers == sorted(towers)
    assert towers[-1][0] == towers[-1][1] > 90  # most of the 60 lists, twice
    assert list(tmp_path.rglob("events.out.tfevents.*"))


def test_a_newer_format_and_a_missing_file_are_refused(fitted, recipe, tmp_path):
    with pytest.raises(BundleError, match=r"interest\.json"):
        recipe.load(tmp_path, fitted.items)
    fitted.save(tmp_path)
    facts = json.loads((tmp_path / "interest.json").read_text())
    (tmp_path / "interest.json").write_text(json.dumps({**facts, "format": 99}))
    with pytest.raises(BundleError, match="format 99"):
        recipe.load(tmp_path, fitted.items)


def test_an_absent_device_is_refused_when_a_model_is_loaded(fitted, tmp_path, monkeypatch):
    fitted.save(tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(EncoderError, match="cuda"):
        TextInterestModel(InterestConfig(device="cuda")).load(tmp_path, fitted.items)


def test_two_kinds_of_history_are_asked_for(recipe):
    names = {a.name: (a.of, a.n) for a in recipe.aggregates()}
    assert names == {LIKED: (("*",), 10), SHOWN: (("impression",), 20)}
    assert EVENT_TYPES[0] == "impression"


def test_the_plugin_offers_columns_of_its_model_and_imports_no_torch():
    code = (
        "import sys, recsys_plugins.text_interest as plugin\n"
        "from recsys.config import Config\n"
        "model, = plugin.recsys_feature_models(Config())\n"
        "names = [f.name for f in plugin.recsys_features()]\n"
        "assert {'text_interest', 'text_liked_best'} <= set(names) <= set(model.columns)\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
