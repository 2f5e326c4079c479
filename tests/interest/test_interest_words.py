"""Texts that the encoder cannot read are read by their words; texts that it can are not."""

from __future__ import annotations

import numpy as np
import pytest
from interest_world import ListedItems, batch_of, draw_requests, topic_items, topic_view
from transformers import AutoTokenizer

from recsys.config import InterestConfig
from recsys.interest.files import find_encoder
from recsys.interest.literacy import known_share
from recsys.interest.model import TextInterestModel
from recsys.interest.stored import WORDS
from recsys.interest.words import learn_words, load_words

CONFIG = InterestConfig(history=10, batch_size=32, epochs=2, device="cpu")
KNOWN = {
    "English": ["The new film about space opens in cinemas this week", "crime, drama, heist"],
    "names": ["Scarlett Johansson, Tommy Lee Jones, Keanu Reeves", "Christopher Nolan"],
    "products": ["WHITE HANGING HEART T-LIGHT HOLDER", "SET OF 3 CAKE TINS PANTRY DESIGN"],
}
STRANGE = {
    "Danish": ["Ny dansk film om rummet får premiere i næste uge", "Politiet efterlyser vidner"],
    "German": ["Der neue Film über den Weltraum kommt ins Kino, die Zuschauer sind begeistert"],
    "Spanish": ["La nueva película sobre el espacio llega a los cines esta semana"],
    "Russian": ["Новые фильмы о космосе выходят в прокат"],  # noqa: RUF001
    "Arabic": ["فيلم جديد عن الفضاء"],
    "Chinese": ["中国科幻电影票房再创新高，导演表示续集已经开拍"],  # noqa: RUF001
    "Korean": ["새로운 영화가 개봉했다"],
    "Hindi": ["अंतरिक्ष के बारे में नई फिल्म इस सप्ताह सिनेमाघरों में"],
    "Thai": ["ภาพยนตร์เรื่องใหม่เกี่ยวกับอวกาศ"],
}


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(find_encoder(CONFIG.encoder))


def in_han(text):
    """Give each word two characters of its own, and no spaces."""
    words = text.replace(",", " ").split()
    return "".join(chr(0x5000 + sum(map(ord, w)) % 900) + chr(0x5400 + len(w)) for w in words)


def han_items(n_items):
    return ListedItems([
        {**row, "title": in_han(row["title"]), "tags": [in_han(tag) for tag in row["tags"]]}
        for row in topic_items(n_items).rows
    ])


def auc(scores, batch, topics):
    wanted = np.repeat(topics, np.diff(batch.offsets)) == batch.versions % 4
    order = scores[wanted][:, None] - scores[~wanted][None]
    return ((order > 0) + 0.5 * (order == 0)).mean()


@pytest.mark.parametrize("language", KNOWN)
def test_the_packaged_encoder_knows_english(tokenizer, language):
    assert known_share(tokenizer, KNOWN[language], 64) > 0.8


@pytest.mark.parametrize("language", STRANGE)
def test_the_packaged_encoder_does_not_know_other_languages(tokenizer, language):
    assert known_share(tokenizer, STRANGE[language], 64) < 0.75


def test_texts_without_letters_are_no_reason_to_doubt_an_encoder(tokenizer):
    assert known_share(tokenizer, ["12", "", "-- 7"], 64) == 1.0
    assert known_share(tokenizer, [], 64) == 1.0


def test_texts_are_near_that_share_rare_words():
    texts = ["月 星", "星 火箭", "月 火箭", "面包 黄油", "黄油 烤箱", "烤箱 面包"] * 2
    reader = learn_words(texts)
    moon, stars, bread, nothing = reader.read(["月 火箭", "月 星", "面包", "未知"])
    assert moon @ stars > 0.4
    assert abs(moon @ bread) < 1e-5
    assert not nothing.any()
    assert np.linalg.norm(reader.read(texts), axis=1).max() < 1.0 + 1e-5


def test_a_catalogue_without_a_word_that_comes_back_says_nothing():
    reader = learn_words(["月", "星", ""])
    assert reader.read(["月", ""]).shape == (2, 0)


def test_words_come_back_from_disk(tmp_path):
    reader = learn_words(["月 星", "星 火箭", "月 火箭"])
    reader.save(tmp_path / WORDS)
    again = load_words(tmp_path / WORDS)
    assert np.array_equal(again.read(["星 月", "火箭"]), reader.read(["星 月", "火箭"]))


def test_only_what_the_encoder_does_not_know_is_read_by_words():
    auto, always = TextInterestModel(CONFIG), CONFIG.model_copy(update={"words": "always"})
    assert auto.unfitted(topic_items(80)).bench.words is None
    assert auto.unfitted(han_items(80)).bench.words is not None
    assert TextInterestModel(always).unfitted(topic_items(80)).bench.words is not None


def test_a_strange_script_is_learned_from_and_new_items_in_it_are_ranked(tmp_path):
    items = han_items(80)
    batch = batch_of((drawn := draw_requests(60, range(40, 80), seed=3))[0])
    found = {}
    for words in ("never", "auto"):
        recipe = TextInterestModel(CONFIG.model_copy(update={"words": words}))
        folder = tmp_path / words
        folder.mkdir()
        fitted = recipe.fit(topic_view(items, 200, folder, range(40)), recipe.unfitted(items))
        scores = fitted.score(batch)[:, fitted.columns.index("text_interest")]
        found[words] = auc(scores, batch, drawn[1])
    assert found["auto"] > 0.9
    assert found["auto"] > found["never"] + 0.1
    # The last one, saved: what comes new to a server is read as it would have been read here.
    saved = tmp_path / "saved"
    saved.mkdir()
    fitted.save(saved)
    longer = ListedItems([*items.rows, {**items.rows[3], "title": items.rows[7]["title"]}])
    later = recipe.load(saved, longer)
    expected = fitted.bench.encode([(longer.rows[80]["title"], ", ".join(longer.rows[3]["tags"]))])
    known = later.parts.projection.table(*expected)
    row = later.parts.known.versions.texts[80]
    assert np.allclose(later.parts.known.texts.points[row], known.points[0], atol=1e-5)
    assert np.allclose(later.parts.known.texts.plain[row], known.plain[0], atol=1e-5)
