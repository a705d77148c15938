"""What requests in plain words are taken to ask for, read by hand, and what holds of every request."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from llm4rec.recommend.filters import Filters
from llm4rec.recommend.request import FADING, RequestReader, Understood, as_words, follow, narrowed

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
TITLES = [
    "Star Wars (1977)",
    "No Country for Old Men (2007)",
    "Matrix, The (1999)",
    "Romantic Comedy (1983)",
    "Heat (1995)",
]
READ = RequestReader(CATEGORIES, TITLES)


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
        ("no war or horror films", {"no_categories": ["War", "Horror"]}),
        ("a comedy without romance", {"all_categories": ["Comedy"], "no_categories": ["Romance"]}),
        ("anything but a comedy", {"no_categories": ["Comedy"]}),
        ("anything apart from horror", {"no_categories": ["Horror"]}),
        ("all genres but horror", {"no_categories": ["Horror"]}),
        ("I never liked horror", {"no_categories": ["Horror"]}),
        ("I don't care for horror", {"no_categories": ["Horror"]}),
        ("not enough war", {"all_categories": ["War"]}),
        ("nothing except a comedy", {"all_categories": ["Comedy"]}),
        ("I don't like horror", {"no_categories": ["Horror"]}),
        ("I'd like a drama", {"all_categories": ["Drama"]}),
        ("not only a comedy", {"all_categories": ["Comedy"]}),
        ("like Star Wars, but not a comedy", {"no_categories": ["Comedy"]}),
        ('something like "War and Peace"', {}),
        ('a drama like "No Way Out: War"', {"all_categories": ["Drama"]}),
        ('a 15" screen for comedies, 17" for drama', {"all_categories": ["Comedy", "Drama"]}),
        ("star wars", {}),
        ("I feel like a comedy", {"all_categories": ["Comedy"]}),
        ("movies like Heat but without war", {"no_categories": ["War"]}),
        ("action, drama and comedy", {"categories": ["Action", "Drama", "Comedy"]}),
        ("dramas & comedies", {"categories": ["Drama", "Comedy"]}),
        ("no horror, war or comedies", {"no_categories": ["Horror", "War", "Comedy"]}),
        ("no films with horror", {"no_categories": ["Horror"]}),
        ("I don't want to watch something with horror", {"no_categories": ["Horror"]}),
        ("no, I meant a comedy", {"all_categories": ["Comedy"]}),
        ("No. A comedy.", {"all_categories": ["Comedy"]}),
        ("nothing but comedies", {"all_categories": ["Comedy"]}),
        ("a no-nonsense war film", {"all_categories": ["War"]}),
        ("non-stop action", {"all_categories": ["Action"]}),
        ("I never get tired of comedies", {"all_categories": ["Comedy"]}),
        ("nothing beats a good comedy", {"all_categories": ["Comedy"]}),
        ("why not a comedy?", {"all_categories": ["Comedy"]}),
        ("No Country for Old Men", {}),
        ("a drama that isn't a comedy", {"all_categories": ["Drama"], "no_categories": ["Comedy"]}),
        ("a drama that doesn't have horror", {"all_categories": ["Drama"], "no_categories": ["Horror"]}),
        ("I hate horror", {"no_categories": ["Horror"]}),
        ("can't stand war films", {"no_categories": ["War"]}),
        ("skip the romance", {"no_categories": ["Romance"]}),
        ("a drama w/o romance", {"all_categories": ["Drama"], "no_categories": ["Romance"]}),
        ("instead of comedy, drama", {"all_categories": ["Drama"], "no_categories": ["Comedy"]}),
        ("more comedy, less drama", {"all_categories": ["Comedy"]}),
        ("not scary and for kids", {"all_categories": ["Children's"]}),
        ("not suitable for kids", {"no_categories": ["Children's"]}),
        ("no comedy and no war", {"no_categories": ["Comedy", "War"]}),
        ("nothing heavy, comedy or romance", {"categories": ["Comedy", "Romance"]}),
        ("no horror, war or gore", {"no_categories": ["Horror", "War"]}),
        ("no romance, only comedy or drama", {"no_categories": ["Romance"], "categories": ["Comedy", "Drama"]}),
        ("not a comedy, maybe war or drama", {"no_categories": ["Comedy"], "categories": ["War", "Drama"]}),
        ("anything but horror, war and romance", {"no_categories": ["Horror", "War", "Romance"]}),
        ("everything except war, comedies", {"no_categories": ["War", "Comedy"]}),
        ("no romance, war and horror", {"no_categories": ["Romance"]}),
        ("no: romance", {"no_categories": ["Romance"]}),
        ("no romance - a comedy", {"no_categories": ["Romance"], "all_categories": ["Comedy"]}),
        ("not interested in romance", {"no_categories": ["Romance"]}),
        ("I'm not in the mood for horror", {"no_categories": ["Horror"]}),
        ("every genre but horror", {"no_categories": ["Horror"]}),
        ("fed up with comedies", {"no_categories": ["Comedy"]}),
        ("without a doubt the best comedies", {"all_categories": ["Comedy"]}),
        ("it doesn't have to be a comedy", {"all_categories": ["Comedy"]}),
        ("a comedy, but not a dumb comedy", {"all_categories": ["Comedy"]}),
        ("non-romantic comedies", {"all_categories": ["Comedy"], "no_categories": ["Romance"]}),
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
        ("no films from before 1990", 1990, None),
        ("nothing before 1990", 1990, None),
        ("not later than 1990", None, 1990),
        ("no later than the 80s", None, 1989),
        ("no movies from the 80s", None, None),
        ("anything but 80s movies", None, None),
        ("don't show me anything from the 90s", None, None),
        ("don't recommend me anything before 1990", 1990, None),
        ("no scary films from the 80s", None, None),
        ("I don't want scary movies from the 80s", None, None),
        ("not a boring war film from before 1990", None, None),
        ("nothing too sad from the 80s", 1980, 1989),
        ("no romance, something funny from the 80s", 1980, 1989),
        ("something with no plot from the 80s", 1980, 1989),
        ("why not a movie from the 80s?", 1980, 1989),
        ("why don't you show me something from the 80s", 1980, 1989),
        ("I can't find anything good from the 80s", 1980, 1989),
        ("a movie not only from the 80s", 1980, 1989),
        ("not too long a comedy from the 90s", 1990, 1999),
        ("I can't wait to see a good comedy from the 80s", 1980, 1989),
        ("I can't decide which comedy from the 90s", 1990, 1999),
        ("I don't want to miss any good films from the 90s", 1990, 1999),
        ("no war in a comedy from the 80s", 1980, 1989),
        ("a film without war after 1990", 1991, None),
        ("horror without romance before 1990", None, 1989),
        ("a drama with no romance from the 80s", 1980, 1989),
        ("without romance, before 1990", None, 1989),
        ("I don't want to see any scary movies made in the 80s", None, None),
        ("from the 80s or 90s", 1980, 1999),
        ("1980s-1990s", 1980, 1999),
        ("from the late 80s to the early 90s", 1987, 1993),
        ("from 2015 to now", 2015, None),
        ("90s and later", 1990, None),
        ("1990s onwards", 1990, None),
        ("pre-1960", None, 1959),
        ("no comedies from before 1990", 1990, None),
        ("a comedy from the 90s, no dramas from the 80s", 1990, 1999),
        ("avoid anything before 1990", 1990, None),
        ("80s, 90s or 2000s", 1980, 2009),
        ("the 60s/70s/80s", 1960, 1989),
        ("from 1990 till 1995", 1990, 1995),
        ("novels from the 1800s", 1800, 1899),
        ("FROM THE 90S", 1990, 1999),
        ("someone born in 1920", None, None),
        ("a woman in her thirties", None, None),
        ("a drama set in the 1940s", None, None),
        ("books about the war in the 40s", None, None),
        ("like Heat from before 1990", None, 1989),
        ("a laptop up to 2000 dollars", None, None),
        ("a puzzle of 2000 pieces", None, None),
        ("from 1800 watts", None, None),
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
        ("under $1,000", None, 1000),
        ("under 1.500 euros", None, 1500),
        ("at least 4 stars and under $30", None, 30),
        ("more than 2 players, under $30", None, 30),
        ("$20-$30", 20, 30),
        ("20 to 30 dollars", 20, 30),
        ("$50 or less", None, 50),
        ("20€ max", None, 20),
        ("nothing over 50 euros", None, 50),
        ("I don't want to spend more than $50", None, 50),
        ("a phone with no contract under $200", None, 200),
        ("between 1900 and 2000 euros", 1900, 2000),
        ("no films over $20", None, 20),
        ("no comedies over $20", None, 20),
        ("cameras, no accessories over $50", None, None),
        ("not between $10 and $20", None, None),
        ("no plastic ones under $20", None, None),
        ("nothing fancy under $20", None, 20),
        ("not too scary a film under $20", None, 20),
        ("a movie without romance under $20", None, 20),
        ("headphones without noise cancelling under $20", None, 20),
        ("don't show me anything over $20", None, 20),
        ("no more than $50", None, 50),
        ("under $1k", None, None),
        ("it grossed over $100 million", None, None),
        (f"under ${'9' * 400}", None, None),
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
        ("something with no plot", None, "plot"),
        ("without violence, sex or drugs", None, "violence sex drugs"),
        ("no romance, something funny or clever", "something funny or clever", ""),
        ("no films in black and white", None, "black white"),
        ("a phone with no contract under $200", "a phone with", "contract"),
        ("a western without a happy ending set in Paris", "a western set in Paris", "happy ending"),
        ("less violence", None, "violence"),
        ("nothing like Star Wars", None, "star wars"),
        ("anything but Star Wars", None, "star wars"),
        ("not too long", None, "long"),
        ("up", "up", ""),
        ("the '90s", None, ""),
        ("ein ruhiger Film", "ein ruhiger Film", ""),
    ],
)
def test_words(query, wanted, unwanted):
    understood = READ(query)
    assert understood.wanted == (((wanted, 1.0),) if wanted else ())
    assert ", ".join(text for text, _ in understood.unwanted) == unwanted


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


def test_a_later_bound_narrows_or_replaces():
    first = READ("phones under $500 from the 90s")
    assert follow([first, READ("at least $200, before 1995")]).filters == filters(
        price_min=200, price_max=500, year_min=1990, year_max=1994
    )
    assert follow([first, READ("at least $600 from the 80s")]).filters == filters(
        price_min=600, year_min=1980, year_max=1989
    )


def test_what_is_taken_back_no_longer_counts():
    assert follow([READ("not scary"), READ("actually something scary")]).unwanted == ()
    assert follow([READ("a comedy"), READ("no comedy")]) == Understood(filters(no_categories=["Comedy"]))
    assert follow([READ("nothing sad"), READ("from 1994")]).unwanted == (("sad", FADING),)


@pytest.mark.parametrize(
    "query",
    ["without any kind of violence", "any time travel story", "never forget that feeling", "any genre but horror"],
)
def test_phrases_inside_others_lift_nothing(query):
    assert READ(query).lifted == frozenset()


def test_a_turn_can_lift_what_was_asked_before():
    turns = [READ("a comedy under $20 from the 90s, no war")]
    assert follow([*turns, READ("any genre")]).filters == filters(year_min=1990, year_max=1999, price_max=20)
    assert follow([*turns, READ("from any decade")]).filters == filters(
        all_categories=["Comedy"], no_categories=["War"], price_max=20
    )
    assert follow([*turns, READ("forget it, a drama")]) == Understood(
        filters(all_categories=["Drama"]), (("a drama", 1.0),), lifted=frozenset()
    )


def test_words_of_many_turns_ago_are_forgotten():
    assert len(follow([READ(f"something number {turn}") for turn in range(21)]).wanted) == 5


@pytest.mark.parametrize(
    ("query", "given_filters", "expected"),
    [
        ("a comedy from the 90s", {}, {"all_categories": ["Comedy"], "year_min": 1990, "year_max": 1999}),
        ("a comedy from the 90s", {"year_min": 2000}, {"all_categories": ["Comedy"], "year_min": 2000}),
        ("no horror", {"no_categories": ["War"]}, {"no_categories": ["Horror", "War"]}),
        ("a comedy", {"no_categories": ["comedy"]}, {"no_categories": ["comedy"]}),
        ("no comedy", {"categories": ["comedy"]}, {"categories": ["comedy"]}),
        ("a comedy", {"categories": ["Drama"]}, {"categories": ["Drama"]}),
        ("under $20", {"price_min": 30.0}, {"price_min": 30}),
    ],
)
def test_given_filters_hold_where_words_say_otherwise(query, given_filters, expected):
    assert narrowed(READ(query), filters(**given_filters)).filters == filters(**expected)


def test_words_as_they_are():
    assert as_words("no comedy from the 90s") == Understood(wanted=(("no comedy from the 90s", 1.0),))


@pytest.mark.parametrize(
    ("category", "query"),
    [
        ("R&B", "some R&B"),
        ("K-Pop", "k-pop songs"),
        ("T-Shirts", "a t-shirt"),
        ("Shoes", "a shoe"),
        ("Dresses", "a dress"),
    ]
    + [("News", "the news"), ("Non-Fiction", "non-fiction"), ("Crime & Mystery", "crime and mystery")],
)
def test_names_as_shops_write_them(category, query):
    assert RequestReader([category, "Pop", "Fiction"])(query).filters == filters(all_categories=[category])
    assert not RequestReader(["News"])("a new film").filters
    assert RequestReader(["Children", "Kids"])("for kids").filters == filters(all_categories=["Kids"])


def test_a_new_title_is_a_name_too():
    read = RequestReader(CATEGORIES)
    assert read("war horses").filters == filters(all_categories=["War"])
    read.add_title("War Horses (2011)")
    assert not read("war horses").filters


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
