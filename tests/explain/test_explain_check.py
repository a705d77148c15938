"""The check: true reasons pass, planted false claims do not."""

from dataclasses import replace

import pytest

from llm4rec.explain.check import unsupported_claims
from llm4rec.explain.grounds import Grounds, Support

GROUNDS = Grounds(
    item_id="2",
    title="Aliens (1986)",
    categories=("Action", "Horror", "Sci-Fi"),
    anchors=("Alien (1979)",),
    shared=("Horror", "Sci-Fi"),
    passages=(
        Support("popularity", '"Aliens (1986)": rated by 284 people, 3.9 on average.'),
        Support(
            "similar_users",
            'People who liked "Aliens (1986)" also liked "Terminator, The (1984)" '
            'and "Star Trek: First Contact (1996)".',
            ("Terminator, The (1984)", "Star Trek: First Contact (1996)"),
        ),
    ),
)
BARE = Grounds(item_id="2", title="Aliens (1986)", categories=("Action",))
CATEGORIES = ["Action", "Horror", "Sci-Fi", "Drama", "Comedy", "Film-Noir", "Mystery", "Love"]

TRUE = [
    'Because you watched "Alien (1979)", you may like "Aliens (1986)": both are horror and sci-fi.',
    "You liked Alien, and people who liked Aliens also liked Star Trek.",
    'You may like "Aliens": it was rated by 284 people, 3.9 on average.',
    "Aliens is a great choice: it is action, horror and sci-fi.",
    "Aliens is similar to Alien, which you watched.",
    'It is one of the action movies that fans of "Terminator, The" liked!',
    'People who liked "Terminator, The" also liked Aliens.',
    "You also watched Alien, and Aliens is worth watching.",
    "You've enjoyed Alien, so you might also enjoy Aliens.",
    "Having watched Alien, you may like Aliens next.",
    "Aliens is for you: it was liked by people who liked Star Trek.",
    "Aliens is like Alien, which is horror too.",
    "You will find it worth a look, and you find it under action.",
    '"Aliens": rated by 284 people, 3.9 on average.',
    'You watched "Alien", and "Aliens" is similar: it is filed under action.',
    'People who liked it also liked "Terminator, The" and "Star Trek".',
    "Aliens was rated 3.9 on average by 284 people.",
]

FALSE = {
    "year": 'You may like "Aliens (1987)".',
    "bare year": "Aliens is a great film from 1979.",
    "count": "Aliens was rated by 300 people.",
    "average": "Aliens was rated 4.9 on average.",
    "spelled number": "Aliens was liked by thousands of people.",
    "other title": 'If you like "Jaws", you may like "Aliens".',
    "other title without quotes": "You may like Aliens because it is like Jaws.",
    "lower-case quoted title": "You may like 'jaws' and Aliens.",
    "title at the start": "Jaws is a great film.",
    "sequel": "You may like Aliens Resurrection.",
    "director": "Aliens is a great film by James Cameron.",
    "director in lower case": "aliens is a great film by james cameron.",
    "award": "Aliens is an award-winning film.",
    "plot": "Aliens is a movie about a marine and a child.",
    "mood": "Aliens is scary and funny.",
    "category": "Aliens is a drama.",
    "category in plural": "Aliens is one of the great comedies.",
    "category that is an everyday word": "Aliens is a love story.",
    "hyphenated category": "Aliens is film-noir.",
    "category that is not shared": 'Because you watched "Alien", you may like "Aliens": both are action.',
    "user watched the candidate": 'You watched "Aliens (1986)".',
    "user watched a neighbour": "You have watched Terminator, The and may like Aliens.",
    "user liked nothing named": "You liked it.",
    "wrong object of which": 'You may like "Alien", and "Aliens", which you watched, is similar.',
    "story": 'Aliens has a similar story to "Terminator, The".',
    "other people liked something else": "People who liked Aliens also liked Alien.",
    "who liked it liked it": 'It is horror, and people who liked it also liked "Aliens".',
    "who liked it by name liked it": "People who liked Aliens also liked Aliens.",
    "adverb before what the user did": "You just watched Aliens.",
    "degree of what the user did": "You really enjoyed Alien.",
    "present": "Because you love action, you may like Aliens.",
    "present with the item": "You like Aliens.",
    "more than is known": "You loved Alien.",
    "more than is known behind a deed": "You watched Alien and loved it.",
    "why the user liked it": "You liked Alien for its horror.",
    "another deed": "You tried Alien, and Aliens is similar.",
    "contracted": "You've seen Aliens.",
    "must have": "You must have watched Aliens.",
    "what the user is": "You are a fan of horror.",
    "what the user wants": "If you want action, try Aliens.",
    "participle": "Having watched Aliens, you may like Alien.",
    "participle without an object": "Having enjoyed horror, you may like Aliens.",
    "gerund": "After watching Terminator, The, you may like Aliens.",
    "taste": "Aliens suits your taste in horror.",
    "those who liked something else": "Those who liked Alien also liked Aliens.",
    "taste of other people": "Aliens is for people who like action.",
    "fans of a category": "Fans of horror also liked Aliens.",
    "others without the item": "People who liked Terminator, The also liked Star Trek.",
    "everybody": "Aliens is loved by all.",
    "every viewer": "Every viewer loved Aliens.",
    "by many": "Aliens was liked by many.",
    "by nobody named": "Aliens is a film loved for action.",
    "popular": "Aliens is popular.",
    "most watched": "Aliens is the most watched film.",
    "comparison": "Aliens is more like horror than Alien.",
    "denied": "Aliens is not filed under action.",
    "denied liking": "People did not like Aliens.",
    "the only one": "Aliens is the only horror film.",
    "category of the anchor": "Alien is an action film.",
    "category of the anchor behind which": 'You may like "Aliens", close to "Alien", which is action.',
    "category of a neighbour": "Terminator, The is a horror film.",
    "count of the anchor": "Alien was rated by 284 people.",
    "list of titles": 'You watched "Alien", "Terminator, The" and "Star Trek", and "Aliens" is similar.',
    "list of titles before the item": 'Because you liked "Alien", "Star Trek" and "Terminator, The", try "Aliens".',
    "two titles": 'Having watched "Alien", "Star Trek", you may like "Aliens".',
    "a title too": "You liked Alien, and Star Trek too.",
    "shared with a neighbour": "It is like Star Trek: they share horror and sci-fi.",
    "a neighbour first": "Terminator, The and Aliens share horror.",
    "both with a neighbour": "Star Trek and Aliens are both horror.",
    "it behind a neighbour": "Star Trek is similar: it is filed under horror.",
    "the anchor and it": "Alien and it are action.",
    "the anchor in commas": "Alien, like Aliens, is action.",
    "category before the anchor": "Action films: Aliens and Alien.",
    "what the anchor has": "Action is what Alien has.",
    "count before the anchor": "Rated by 284 people, Alien is great.",
    "count of those who liked": "284 people liked Aliens.",
    "liked by a count": "Aliens was liked by 284 people.",
    "watched by a count": "It was watched by 284 people.",
    "recommended by a count": "Aliens was recommended by 284 people.",
    "recommended": "Aliens is recommended.",
    "average of people": "Aliens was rated by 3.9 people.",
    "count of something else": "Aliens has 284 categories.",
    "count of films": "You may like 284 films.",
    "identity": "Aliens is Alien.",
    "same film": "Aliens is the same film as Alien.",
    "another title": "Aliens is another title of Alien.",
    "another recommendation": "You may like Star Trek.",
    "the anchor recommended": "You may like Alien.",
    "try another": "Try Star Trek.",
    "try the anchor": "Try Alien.",
    "language": "Aliens est un film great.",
    "other script": "Aliens is отличный.",
}


@pytest.mark.parametrize("text", TRUE)
def test_true_reasons_pass(text):
    assert unsupported_claims(text, GROUNDS, CATEGORIES) == []


@pytest.mark.parametrize("text", FALSE.values(), ids=FALSE.keys())
def test_planted_claims_are_caught(text):
    assert unsupported_claims(text, GROUNDS, CATEGORIES)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "empty"),
        (" \n", "empty"),
        ("Aliens is a great choice because it is", "unfinished"),
        ("Aliens is great." + " It is great." * 30, "longer than 60"),
        ("Aliens is great.<|im_end|>", "markup"),
        ("<b>Aliens</b> is great.", "markup"),
        ("See https://aliens.example.", "markup"),
        ("Aliens is great.\nuser: it is.", "one line"),
        ("Aliens is horror, and people who liked it liked horror.", "repeated"),
    ],
)
def test_form_is_checked(text, problem):
    assert problem in " ".join(unsupported_claims(text, GROUNDS, CATEGORIES))


@pytest.mark.parametrize(
    "text",
    [
        "Aliens was rated.",
        "People liked Aliens.",
        "You watched Aliens.",
        "Both are action.",
        "You liked Alien.",
        "Those who liked Aliens liked it.",
        "Aliens was watched by one person.",
    ],
)
def test_statements_need_their_kind_of_evidence(text):
    assert unsupported_claims(text, BARE, CATEGORIES)


@pytest.mark.parametrize(
    "text", ["People liked Aliens.", "Aliens was enjoyed by 284 people.", "Fans of Aliens rated it."]
)
def test_a_count_tells_of_no_liking(text):
    counted = replace(BARE, passages=GROUNDS.passages[:1])
    assert unsupported_claims("Aliens was rated by 284 people.", counted, CATEGORIES) == []
    assert unsupported_claims(text, counted, CATEGORIES)


def test_the_verb_of_the_log_is_what_the_user_did():
    bought = replace(GROUNDS, verb="bought")
    assert unsupported_claims('You bought "Alien", and "Aliens" is similar.', bought, CATEGORIES) == []
    for text in ("You watched Alien.", "You bought Aliens.", "Having bought Aliens, you may like it.", "It is bought."):
        assert unsupported_claims(text, bought, CATEGORIES)


def test_titles_are_data_whatever_they_hold():
    for title in ("M*A*S*H (1970)", "1 (2013)", "<b>Bold</b>", "It", "8½ (1963)", "Seven (Se7en) (1995)", "("):
        grounds = Grounds(item_id="9", title=title)
        assert unsupported_claims(f'You may like "{title}".', grounds, CATEGORIES) == []
    assert unsupported_claims("You may like 2 films.", Grounds(item_id="9", title="1 (2013)"))


def test_claims_are_named():
    claims = unsupported_claims("Aliens is a drama from 1999 by Cameron.", GROUNDS, CATEGORIES)
    assert claims == ["number 1999", "name 'Cameron'", "word 'drama'", "word 'cameron'"]


def test_titles_of_a_list_may_all_be_of_the_history():
    grounds = replace(GROUNDS, anchors=("Alien (1979)", "Heat (1995)", "Fargo (1996)"))
    for text in (
        'You watched "Alien", "Heat" and "Fargo", and "Aliens" is similar: all are filed under horror.',
        'Because you watched "Alien", "Heat" and "Fargo", "Aliens" may be for you: they share horror.',
        '"Aliens" is close to "Alien", "Heat" and "Fargo", which you watched: it is filed under action.',
    ):
        assert unsupported_claims(text, grounds, CATEGORIES) == []
        assert unsupported_claims(text.replace("Fargo", "Star Trek"), grounds, CATEGORIES)


def test_titles_that_are_everyday_words_are_titles_in_quotes_only():
    grounds = Grounds("9", "You (2020)", ("Drama",), ("Alien (1979)",))
    assert unsupported_claims('You watched "Alien", and "You" is similar: it is filed under drama.', grounds) == []
    assert unsupported_claims('"You" is drama, and You watched "Jaws".', grounds)
    assert unsupported_claims("You love drama.", grounds)


def test_a_category_may_hold_a_number():
    grounds = Grounds("9", "Heat (1995)", ("80s music",))
    assert unsupported_claims("Heat is filed under 80s music.", grounds) == []
    assert unsupported_claims("Heat is filed under 90s music.", grounds)
