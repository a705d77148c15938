"""What requests in plain words are taken to ask for, read by hand, and what holds of every request."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from llm4rec.recommend.filters import Filters
from llm4rec.recommend.request import FADING, RequestReader, Understood, follow, narrowed

CATEGORIES = [
    "Action",
    "Comedy",
    "Drama",
    "Sci-Fi",
    "Film-Noir",
    "War",
    "Romance",
    "Horror",
    "Children's",
    "Jazz & Soul",
]
READ = RequestReader(CATEGORIES)


def filters(**asked) -> Filters:
    return Filters(**{name: value if not isinstance(value, list) else tuple(value) for name, value in asked.items()})


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("a drama", {"all_categories": ["Drama"]}),
        ("DRAMAS", {"all_categories": ["Drama"]}),
        ("a romantic comedy", {"all_categories": ["Romance", "Comedy"]}),
        ("a comedy or a drama", {"categories": ["Comedy", "Drama"]}),
        ("comedies and dramas", {"categories": ["Comedy", "Drama"]}),
        ("a comedy and drama", {"all_categories": ["Comedy", "Drama"]}),
        ("comedy, drama or war", {"categories": ["Comedy", "Drama", "War"]}),
        ("science fiction", {"all_categories": ["Sci-Fi"]}),
        ("sci fi", {"all_categories": ["Sci-Fi"]}),
        ("film noir for kids", {"all_categories": ["Film-Noir", "Children's"]}),
        ("some jazz and soul", {"all_categories": ["Jazz & Soul"]}),
        ("awarded for its warmth", {}),
        ("no horror", {"no_categories": ["Horror"]}),
        ("no war or horror films", {"no_categories": ["Horror", "War"]}),
        ("a comedy without romance", {"all_categories": ["Comedy"], "no_categories": ["Romance"]}),
        ("anything but a comedy", {"no_categories": ["Comedy"]}),
        ("I don't like horror", {"no_categories": ["Horror"]}),
        ("I'd like a drama", {"all_categories": ["Drama"]}),
        ("not only a comedy", {"all_categories": ["Comedy"]}),
        ("like Star Wars, but not a comedy", {"no_categories": ["Comedy"]}),
        ('something like "War and Peace"', {}),
    ],
)
def test_categories(query, expected):
    assert READ(query).filters == filters(**expected)


@pytest.mark.parametrize(
    ("query", "low", "high"),
    [
        ("from 1994", 1994, 1994),
        ("released in 2001", 2001, 2001),
        ("before 1980", None, 1979),
        ("after 1980", 1981, None),
        ("since 1980", 1980, None),
        ("from 1980 on", 1980, None),
        ("1980 or later", 1980, None),
        ("no later than 1980", None, 1980),
        ("1980 or earlier", None, 1980),
        ("between 1990 and 1995", 1990, 1995),
        ("1990-1995", 1990, 1995),
        ("from 1995 to 1990", 1990, 1995),
        ("the 90s", 1990, 1999),
        ("the 1990's", 1990, 1999),
        ("the early nineties", 1990, 1993),
        ("mid-80s", 1984, 1986),
        ("late 1960s", 1967, 1969),
        ("the 00s", 2000, 2009),
        ("2010s", 2010, 2019),
        ("before the 60s", None, 1959),
        ("since the seventies", 1970, None),
        ("after 1990 and before 2000", 1991, 1999),
        ("2001: a space odyssey", None, None),
        ("room 1408", None, None),
        ("the 39 steps", None, None),
    ],
)
def test_years(query, low, high):
    found = READ(query).filters
    assert (found.year_min, found.year_max) == (low, high)


@pytest.mark.parametrize(
    ("query", "low", "high"),
    [
        ("under $50", None, 50),
        ("at most 19.99 dollars", None, 19.99),
        ("over 100 euros", 100, None),
        ("between $10 and $20", 10, 20),
        ("between 20 and 10 pounds", 10, 20),
        ("at least 30 EUR and up to 40 EUR", 30, 40),
        ("under 90 minutes", None, None),
        ("more than 2 players", None, None),
    ],
)
def test_prices(query, low, high):
    found = READ(query).filters
    assert (found.price_min, found.price_max) == (low, high)


@pytest.mark.parametrize(
    ("query", "wanted", "unwanted"),
    [
        ("a slow, sad space film, not too violent", "a slow, sad space film", "violent"),
        ("a war film from the 60s, nothing gory or loud", "a war film", "gory loud"),
        ("headphones under $50 without noise cancelling", "headphones", "noise cancelling"),
        ("like Alien but funnier", "like Alien but funnier", ""),
        ("from 1994", None, ""),
        ("??", None, ""),
        ("ein ruhiger Film", "ein ruhiger Film", ""),
    ],
)
def test_words(query, wanted, unwanted):
    understood = READ(query)
    assert understood.wanted == (((wanted, 1.0),) if wanted else ())
    assert understood.unwanted == unwanted


def test_a_dialogue_goes_on():
    turns = [READ("a comedy from the 90s"), READ("no romance"), READ("something darker, from the 80s")]
    whole = follow(turns)
    assert whole.filters == filters(all_categories=["Comedy"], no_categories=["Romance"], year_min=1980, year_max=1989)
    assert whole.wanted == (("a comedy", FADING**2), ("something darker", 1.0))
    assert follow([*turns, READ("rather a romance")]).filters == filters(
        all_categories=["Romance"], year_min=1980, year_max=1989
    )
    assert follow([*turns, READ("no comedy")]).filters == filters(
        no_categories=["Romance", "Comedy"], year_min=1980, year_max=1989
    )
    assert follow([]) == Understood()


def test_given_filters_hold_where_words_say_otherwise():
    read = READ("a comedy from the 90s")
    assert narrowed(read, Filters()) == read
    both = narrowed(read, filters(year_min=2000, no_categories=["War"])).filters
    assert both == filters(all_categories=["Comedy"], year_min=2000, no_categories=["War"])


@given(st.text(max_size=500))
def test_any_text_is_understood_somehow_and_the_same_each_time(text):
    understood = READ(text)
    assert understood == READ(text)
    assert {*understood.filters.categories, *understood.filters.all_categories} <= set(CATEGORIES)


WORDS = st.sampled_from(
    [
        "no",
        "not",
        "a",
        "comedy",
        "or",
        "and",
        "horror",
        "from",
        "1994",
        "the 90s",
        "before",
        "under",
        "$20",
        "but",
        "like",
        ",",
    ]
)


@given(st.lists(WORDS, max_size=12).map(" ".join))
def test_requests_made_of_the_words_of_the_rules_leave_no_empty_range(text):
    found = READ(text).filters
    assert not set(found.no_categories) & {*found.categories, *found.all_categories}
    assert found.year_min is None or found.year_max is None or found.year_min <= found.year_max


@pytest.mark.parametrize("text", ["no " * 166, "not a " * 83, "from " * 100, "like " * 100, "1990-" * 100, '"' * 500])
def test_repeated_words_of_the_rules_come_to_an_end(text):
    assert READ(text[:500]).filters.price_min is None


def test_thousands_of_categories_are_read_too():
    read = RequestReader([f"Kind number {number}" for number in range(5000)])
    assert read("kind number 4321, no kind number 12").filters == filters(
        all_categories=["Kind number 4321"], no_categories=["Kind number 12"]
    )


def test_bounds_out_of_order_are_refused():
    with pytest.raises(ValidationError, match="year_min 2000 is above year_max 1990"):
        Filters(year_min=2000, year_max=1990)
