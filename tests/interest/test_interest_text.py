"""Items become text without being told how."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from interest_world import ListedItems

from recsys.interest.text import choose_fields, item_text, text_hash

FILM = {
    "title": "Heat",
    "imdb_url": "https://example.org/tt0113277",
    "budget": 6e7,
    "genres": ["crime", "drama"],
    "description": "A thief and a detective circle each other in Los Angeles for three hours.",
}


def test_the_title_comes_first_and_prose_last_whatever_the_order_of_attributes():
    items = ListedItems([dict(sorted(FILM.items())), FILM])
    assert choose_fields(items) == ("title", "genres", "description")


def test_ids_links_dates_codes_and_numbers_do_not_speak():
    row = {
        "name": "blue mug",
        "sku": "MUG BLUE",
        "code": "B07XJ8C8F5",
        "image": "picture of a mug",
        "homepage": "www.example.org/mug",
        "added": "2024-03-01T10:00:00Z",
        "parent": "0b5e3a0e-9f3a-4f43-9a51-0a1d6c0f7f10",
        "weight": 300.0,
        "flags": [1.0, 2.0],
        "active": True,
    }
    assert choose_fields(ListedItems([row] * 3)) == ("name",)


def test_other_scripts_are_text_too():
    items = ListedItems([{"headline": "東京で地震", "category": "ニュース"}])
    assert choose_fields(items) == ("headline", "category")
    assert item_text(items.attributes(0), ("headline", "category")) == "東京で地震. ニュース"


@pytest.mark.parametrize("name", ["标题", "titre", "Título", "タイトル", "название", "item_titel"])
def test_titles_are_known_in_other_languages(name: str):
    items = ListedItems([{"类型": "喜剧", name: "Un long titre 很长的标题"}])
    assert choose_fields(items) == (name, "类型")


def test_configured_fields_are_taken_as_they_are():
    assert choose_fields(ListedItems([FILM]), ("imdb_url", "title")) == ("imdb_url", "title")


def test_fields_are_joined_and_missing_or_empty_ones_left_out():
    fields = ("title", "genres", "tags", "plot", "budget")
    row = {"title": "  Heat \n", "genres": ["crime", "drama"], "tags": [], "budget": 6e7}
    assert item_text(row, fields) == "Heat. crime, drama"
    assert not item_text({"genres": ["", " "]}, fields)


def test_a_catalogue_without_words_has_no_fields():
    assert choose_fields(ListedItems([{"price": 2.0}, {}, {"id": "77"}])) == ()
    assert choose_fields(ListedItems([])) == ()


values = st.one_of(
    st.text(), st.floats(allow_nan=False), st.booleans(), st.lists(st.text()), st.lists(st.floats())
)


@given(st.lists(st.dictionaries(st.text(max_size=12), values, max_size=5), max_size=5))
def test_any_attributes_become_some_text(rows):
    fields = choose_fields(ListedItems(rows))
    for row in rows:
        text = item_text(row, fields)
        assert len(text) <= 2_000
        assert len(text_hash(text)) == 16
