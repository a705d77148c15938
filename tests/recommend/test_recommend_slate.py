"""Slates: every re-ranking step by hand, their composition, and the limits of what can be asked."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm4rec.errors import ConfigError, DataError
from llm4rec.recommend.config import RecommendConfig
from llm4rec.recommend.filters import Filters
from llm4rec.recommend.rerank import charge, diversify, standardise, steer
from llm4rec.recommend.slate import Catalogue, Wish, compete, draw_slate

GREEDY = RecommendConfig(k=3, temperature=0)
CATALOGUE = Catalogue(
    vectors=np.array([[1, 0], [1, 0], [0, 1], [-1, 0], [0, 2]], np.float32),
    price=np.array([2, 1, 0, -1, -2], np.float32),
    years=np.array([1979, 1986, 1999, 2001, np.nan], np.float32),
    categories=[("Horror", "Sci-Fi"), ("Action", "Sci-Fi"), ("Drama",), (), ("Drama", "Horror")],
    sale_price=np.array([5, 10, np.nan, 20, 40], np.float32),
)
SCORES = np.array([5, 4, 3, 2, 1], np.float32)
NONE_SEEN = np.empty(0, np.int32)


def slate_of(config=GREEDY, seen=NONE_SEEN, wish=None, scores=SCORES, **options):
    extra = {"wish": wish} if wish else {}
    return draw_slate(
        scores, np.asarray(seen, np.int32), config, CATALOGUE, np.random.default_rng(0), **extra, **options
    )


def test_standardised_over_the_items_of_the_mask():
    among = np.array([True, True, False])
    assert standardise(np.array([1, 3, 9], np.float32), among).tolist() == [-1, 1, 7]
    assert standardise(np.array([2, 2, 9], np.float32), among).tolist() == [0, 0, 0]
    assert standardise(np.array([2, 2, 9], np.float32), np.zeros(3, bool)).tolist() == [0, 0, 0]
    with pytest.raises(DataError, match="1 of 2"):
        standardise(np.array([np.nan, 2, 9], np.float32), among)


def test_steering_adds_the_standardised_cosine():
    among = np.ones(2, bool)
    steered = steer(np.array([1, -1], np.float32), np.array([0.1, 0.3], np.float32), 2.0, among)
    assert steered == pytest.approx([-1, 1])


EVERY = np.ones(4, bool)
CHANCE = np.array([0.4, 0.3, 0.2, 0.1], np.float32)
PRICE = np.array([0.3, 0.05, 0.0, 0.05], np.float32)


def test_what_a_place_costs_is_taken_off_the_chance_of_a_choice():
    # less the prices: .1, .25, .2, .05
    assert charge(np.array([4, 3, 2, 1], np.float32), CHANCE, PRICE, 1, EVERY).tolist() == [2, 4, 3, 1]


def test_those_that_get_a_place_keep_their_own_order():
    # items 1 and 2 get the places, and 0 is worth less than 2 but more to the user
    assert charge(np.array([4, 3, 2, 1], np.float32), CHANCE, PRICE, 3, EVERY).tolist() == [4, 3, 2, 1]


def test_without_prices_nothing_changes_and_other_items_are_left_alone():
    scores = np.array([4, 3, 2, 9], np.float32)
    among = np.array([True, True, True, False])
    np.testing.assert_array_equal(charge(scores, CHANCE, np.zeros(4, np.float32), 2, among), scores)
    assert charge(scores, CHANCE, np.array([1, 0, 0, -9], np.float32), 1, among).tolist() == [2, 4, 3, 9]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 12))
def test_prices_change_who_has_a_score_but_no_score(seed, n, k):
    rng = np.random.default_rng(seed)
    scores, chance, price = rng.normal(size=(3, n)).astype(np.float32)
    charged = charge(scores, chance, price, k, np.ones(n, bool))
    assert sorted(charged) == sorted(scores)
    value = chance - price
    assert set(np.argsort(-charged, kind="stable")[:k]) == set(np.argsort(-value, kind="stable")[:k])


def test_diversity_by_hand():
    # Equal weights: item 0 first (0.5 * 1.0); item 1 repeats it, 0.5 * 0.9 - 0.5 * 1; item 2 does not, 0.5 * 0.2.
    vectors = np.array([[2, 0], [3, 0], [0, 1]], np.float32)
    values = diversify(np.array([1.0, 0.9, 0.2], np.float32), vectors, 0.5)
    assert values == pytest.approx([0.5, -0.05, 0.1])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 15), st.floats(0, 1))
def test_sorting_by_diversified_scores_gives_the_greedy_order(seed, n, diversity):
    rng = np.random.default_rng(seed)
    scores, vectors = rng.normal(size=n).astype(np.float32), rng.normal(size=(n, 3)).astype(np.float32)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    values = diversify(scores, vectors, diversity)
    taken: list[int] = []
    for code in np.argsort(-values, kind="stable"):
        left = [i for i in range(n) if i not in taken]
        gain = {
            i: (1 - diversity) * scores[i] - diversity * max([0.0, *(float(unit[i] @ unit[j]) for j in taken)])
            for i in left
        }
        assert gain[int(code)] == pytest.approx(max(gain.values()), abs=1e-4)
        taken.append(int(code))


def test_the_best_unseen_items_in_order():
    slate = slate_of(seen=[0, 2])
    assert slate.codes.tolist() == [1, 3, 4]
    assert slate.scores.tolist() == sorted(slate.scores.tolist(), reverse=True)
    assert slate.propensity.tolist() == [1, 1, 1]
    assert slate.notice == ""
    assert slate_of(k=1).codes.tolist() == [0]


def test_among_equal_scores_the_first_items_compete():
    contest = compete(
        np.array([1, 2, 1, 2, 1], np.float32),
        np.array([0], np.int32),
        RecommendConfig(candidates=3, temperature=0, diversity=0),
        CATALOGUE,
        k=2,
    )
    assert contest.codes.tolist() == [1, 3, 2]


def test_items_scored_minus_infinity_are_never_shown():
    scores = np.array([-np.inf, 4, 3, 2, 1], np.float32)
    assert slate_of(scores=scores, k=5).codes.tolist() == [1, 2, 3, 4]


def test_diversity_separates_like_items():
    assert slate_of(GREEDY.model_copy(update={"diversity": 0.6})).codes.tolist()[:2] == [0, 2]


def test_debiasing_lifts_the_unpopular_where_popularity_moves_the_user():
    config = GREEDY.model_copy(update={"debias": 1.0})
    assert slate_of(config, wish=Wish(popularity_weight=5.0)).codes.tolist() == [2, 3, 4]
    assert slate_of(config, wish=Wish(popularity_weight=0.0)).codes.tolist() == [0, 1, 2]


def test_a_filter_does_not_make_prices_cheaper():
    # of all unseen items item 1 has a chance of .24 and item 2 of .09, of those with a genre of the filter more
    price = np.array([0, 0.2, 0, 0, 0], np.float32)
    catalogue = replace(CATALOGUE, price=price)
    config = GREEDY.model_copy(update={"debias": 1.0, "k": 1})
    wish = Wish(popularity_weight=1.0, filters=Filters(categories=("action", "drama")))
    slate = draw_slate(SCORES, NONE_SEEN, config, catalogue, np.random.default_rng(0), wish)
    assert slate.codes.tolist() == [2]


def test_words_steer_the_slate():
    cosine = np.array([0, 0, 0, 0, 1], np.float32)
    assert slate_of(wish=Wish(relevance=cosine, weight=5.0)).codes[0] == 4
    assert slate_of(wish=Wish(relevance=cosine, weight=0.0)).codes[0] == 0


@pytest.mark.parametrize(
    ("filters", "codes"),
    [
        (Filters(categories=("sci-fi",)), [0, 1]),
        (Filters(categories=("Drama", "Action")), [1, 2, 4]),
        (Filters(year_min=1986), [1, 2, 3]),
        (Filters(year_min=1980, year_max=1999), [1, 2]),
        (Filters(categories=("Horror",), year_max=1990), [0]),
        (Filters(all_categories=("sci-fi", "Horror")), [0]),
        (Filters(no_categories=("Sci-Fi", "horror")), [2, 3]),
        (Filters(categories=("Horror", "Action"), no_categories=("drama",)), [0, 1]),
        (Filters(categories=("Western", "action")), [1]),
        (Filters(all_categories=("Horror", "Western")), []),
        (Filters(no_categories=("Western",)), [0, 1, 2, 3, 4]),
        (Filters(price_max=10), [0, 1]),
        (Filters(price_min=10, price_max=20), [1, 3]),
    ],
)
def test_filters_are_obeyed(filters, codes):
    assert slate_of(wish=Wish(filters=filters), k=5).codes.tolist() == codes


def test_an_impossible_filter_gives_an_empty_slate_with_the_reason():
    slate = slate_of(wish=Wish(filters=Filters(categories=("Western",), year_min=2050)))
    assert len(slate.codes) == len(slate.scores) == len(slate.propensity) == 0
    assert slate.notice == "no item of the catalogue matches the filters: category Western, year 2050 or later"


def test_a_slate_without_what_was_withdrawn_does_not_call_it_seen():
    scores = np.where(np.arange(5) == 3, -np.inf, SCORES).astype(np.float32)
    slate = slate_of(wish=Wish(filters=Filters(price_min=15, price_max=30)), scores=scores)
    assert slate.notice == "no item of the catalogue matches the filters: price 15 or more, price 30 or less"


def test_a_short_slate_says_why():
    wish = Wish(filters=Filters(categories=("Drama",)))
    assert "only 1 of the 3" in slate_of(wish=wish, seen=[2]).notice
    assert "already in the history" in slate_of(wish=wish, seen=[2, 4]).notice


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.floats(0, 5), st.floats(0, 1), st.lists(st.integers(0, 29)))
def test_slates_hold_distinct_unseen_items_of_the_catalogue(seed, k, temperature, diversity, seen):
    rng = np.random.default_rng(seed)
    catalogue = Catalogue(
        rng.normal(size=(30, 4)).astype(np.float32),
        rng.normal(size=30).astype(np.float32),
        np.full(30, 2000, np.float32),
        [()] * 30,
        np.full(30, np.nan, np.float32),
    )
    config = RecommendConfig(temperature=temperature, diversity=diversity, candidates=8)
    scores = rng.normal(size=30).astype(np.float32)
    slate = draw_slate(scores, np.array(seen, np.int32), config, catalogue, rng, k=k)
    shown = slate.codes.tolist()
    assert len(shown) == len(set(shown)) == min(k, 30 - len(set(seen)))
    assert not set(shown) & set(seen)
    assert ((slate.propensity > 0) & (slate.propensity <= 1)).all() or temperature < 0.1


def test_unusable_input_is_refused():
    with pytest.raises(ConfigError, match="k must be"):
        slate_of(k=0)
    with pytest.raises(DataError, match="catalogue has 5"):
        slate_of(scores=SCORES[:4])
    with pytest.raises(DataError, match="NaN"):
        slate_of(scores=np.array([np.nan, 1, 2, 3, 4], np.float32))


def test_only_what_is_narrowed_to_competes_among_what_may_be_shown():
    asked = []

    def narrow(eligible, k):
        asked.append((eligible.tolist(), k))
        return np.array([3, 1], np.int32)

    slate = slate_of(seen=[0], narrow=narrow, wish=Wish(filters=Filters(year_min=1980)))
    assert asked == [([False, True, True, True, False], 3)]
    assert slate.codes.tolist() == [1, 3]
    assert slate.scores.tolist() == pytest.approx([1.5**0.5, -(1.5**0.5)])  # in deviations of all three


def test_words_and_prices_choose_among_all_whatever_it_is_narrowed_to():
    def first(_eligible, _k):
        return np.array([0], np.int32)

    assert slate_of(narrow=first).codes.tolist() == [0]
    words = Wish(relevance=np.array([0, 0, 0, 0, 1], np.float32), weight=100.0)
    assert slate_of(narrow=first, wish=words).codes[0] == 4
    dear = RecommendConfig(k=3, temperature=0, debias=1.0)
    assert len(slate_of(dear, narrow=first, wish=Wish(popularity_weight=1.0)).codes) == 3
    assert len(slate_of(dear, narrow=first).codes) == 1
