"""The check: true reasons pass, planted false claims do not."""

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
    ["Aliens is popular.", "People liked Aliens.", "You watched Aliens.", "Both are action.", "You liked Alien."],
)
def test_statements_need_their_kind_of_evidence(text):
    assert unsupported_claims(text, BARE, CATEGORIES)


def test_titles_are_data_whatever_they_hold():
    for title in ("M*A*S*H (1970)", "1 (2013)", "<b>Bold</b>", "It", "8½ (1963)", "Seven (Se7en) (1995)", "("):
        grounds = Grounds(item_id="9", title=title)
        assert unsupported_claims(f'You may like "{title}".', grounds, CATEGORIES) == []
    assert unsupported_claims("You may like 2 films.", Grounds(item_id="9", title="1 (2013)"))


def test_claims_are_named():
    claims = unsupported_claims("Aliens is a drama from 1999 by Cameron.", GROUNDS, CATEGORIES)
    assert claims == ["number 1999", "name 'Cameron'", "word 'drama'", "word 'cameron'"]
