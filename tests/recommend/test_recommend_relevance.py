"""Items found by words: rows of TF-IDF by hand, and each part of relevance alone."""

import numpy as np
import pytest

from llm4rec.recommend.config import QueryConfig
from llm4rec.recommend.relevance import Searchable, relevance
from llm4rec.recommend.request import Understood
from llm4rec.recommend.words import WordIndex

TEXTS = ["Star Wars, a space opera", "A pig learns to herd", "Odyssey in space", ""]
VECTORS = np.array([[1, 0], [0, 1], [0.6, 0.8], [0, 0]], np.float32)
ITEMS = np.array([[1, 0], [0, 1], [-1, 0], [0.9, 0.1]], np.float32)
POPULARITY = np.array([0, 1, 2, 5], np.float32)
MEANING = {"space": [1, 0], "pig": [0, 1]}


def encode(texts):
    return np.array([MEANING[text] for text in texts], np.float32)


def relevance_of(*wanted, unwanted="", shown=(True,) * 4, **settings):
    chosen = QueryConfig(**{"lexical": 0, "expansion": 0, "popularity": 0, **settings})
    understood = Understood(wanted=tuple(wanted), unwanted=((unwanted, 1.0),) if unwanted else ())
    items = Searchable(VECTORS, WordIndex.of(TEXTS), ITEMS, POPULARITY, np.array(shown))
    return relevance(understood, encode, items, chosen)


def standard(values):
    return (values - values.mean()) / values.std()


def test_words_in_common_by_hand():
    index = WordIndex.of(TEXTS)
    # Lengths without stop words: 4, 3, 2, 0; "space" is in two of four texts.
    rarity = np.log(1 + 2.5 / 2.5)
    expected = [rarity * 2.5 / (1 + 1.5 * (0.25 + 0.75 * length / 2.25)) for length in (4, 2)]
    assert index.score("Space! Space!") == pytest.approx([expected[0], 0, expected[1], 0], rel=1e-5)
    assert index.score("the of and").tolist() == [0, 0, 0, 0]


def test_a_new_item_is_found_by_words_that_no_other_has():
    index = WordIndex.of(TEXTS)
    grown = index.put([4], ["Zorblax"]).put([1], ["Babe and zorblax"])
    assert np.flatnonzero(grown.score("zorblax")).tolist() == [1, 4]
    assert index.score("pig")[1] > 0, "the index that a request holds stays as it was"
    assert grown.score("pig")[1] == 0


def test_an_index_of_nothing_answers_nothing():
    assert WordIndex.of(["", ""]).score("space").tolist() == [0, 0]


def test_no_words_no_relevance():
    assert relevance_of() is None


def test_nearness_of_meaning_alone():
    assert relevance_of(("space", 1.0)) == pytest.approx(standard(VECTORS[:, 0]), rel=1e-4)


def test_what_is_not_wanted_counts_against():
    both = relevance_of(("space", 1.0), unwanted="pig")
    assert both == pytest.approx(standard(VECTORS[:, 0] - VECTORS[:, 1]), rel=1e-4)


def test_where_nothing_is_wanted_there_are_no_best_finds():
    found = relevance_of(unwanted="pig", expansion=1.0, popularity=1.0)
    assert found == pytest.approx(standard(-VECTORS[:, 1]) + standard(POPULARITY), rel=1e-4)


def test_withdrawn_items_are_no_best_finds():
    found = relevance_of(("space", 1.0), expansion=1.0, expansion_items=1, shown=(False, True, True, True))
    left = slice(1, 4)
    expected = standard(VECTORS[left, 0]) + standard(ITEMS[left] @ ITEMS[2])
    assert found[left] == pytest.approx(expected, rel=1e-4)


def test_earlier_words_count_less():
    found = relevance_of(("space", 0.5), ("pig", 1.0))
    assert found == pytest.approx(standard(0.5 * VECTORS[:, 0] + VECTORS[:, 1]), rel=1e-4)


def test_words_in_common_are_added():
    in_common = WordIndex.of(TEXTS).score("space")
    assert relevance_of(("space", 1.0), lexical=2.0) == pytest.approx(standard(VECTORS[:, 0] + 2 * in_common), rel=1e-4)


def test_of_items_that_fit_alike_the_popular_one_comes_first():
    found = relevance_of(("space", 1.0), popularity=2.0)
    assert found == pytest.approx(standard(VECTORS[:, 0]) + 2 * standard(POPULARITY), rel=1e-4)


def test_what_is_near_to_the_best_find_comes_up():
    found = relevance_of(("space", 1.0), expansion=1.0, expansion_items=1)
    # Item 3 has no text but an item vector like item 0's, item 2 has a text but is liked by others.
    assert np.argsort(-found).tolist() == [0, 3, 2, 1]
    two = relevance_of(("space", 1.0), expansion=1.0, expansion_items=2)
    centre = 1.0 * ITEMS[0] + 0.6 * ITEMS[2]
    assert two == pytest.approx(standard(VECTORS[:, 0]) + standard(ITEMS @ centre), rel=1e-4)
