"""A hundred false claims planted into true reasons of ten films: the check catches at least 98, and no true reason."""

import re

import pytest

from llm4rec.explain.check import unsupported_claims
from llm4rec.explain.grounds import Grounds, Support
from llm4rec.explain.template import template_reason

VOCABULARY = ["Action", "Adventure", "Comedy", "Crime", "Drama", "Film-Noir", "Horror", "Romance", "Sci-Fi", "War"]
FILMS = {
    "Alien (1979)": ("Horror", "Sci-Fi"),
    "Casablanca (1942)": ("Drama", "Romance", "War"),
    "Heat (1995)": ("Action", "Crime"),
    "Fargo (1996)": ("Crime", "Drama"),
    "Star Wars (1977)": ("Action", "Adventure", "Sci-Fi"),
    "M*A*S*H (1970)": ("Comedy", "War"),
    "It's a Wonderful Life (1946)": ("Drama",),
    "Sunset Blvd. (1950)": ("Film-Noir",),
    "Psycho (1960)": ("Horror",),
    "Good, the Bad and the Ugly, The (1966)": ("Action", "Drama"),
}
TITLES = list(FILMS)
MADE_UP = ["Glass Orchard", "The Ninth Lantern", "Paper Kingdoms", "Salt and Ember", "Winter Tide"]
PEOPLE = ["James Cameron", "Ingrid Bergman", "Al Pacino", "Frances McDormand", "George Lucas"]
PLOTS = [
    "a crew hunted by a creature",
    "a cafe in wartime",
    "a heist gone wrong",
    "an Oscar-winning performance",
    "a scary house on a hill",
]


def grounds_of(place: int) -> Grounds:
    title, anchor, other = (TITLES[(place + step) % len(TITLES)] for step in (0, 1, 2))
    own = FILMS[title]
    return Grounds(
        item_id=str(place),
        title=title,
        categories=own,
        anchors=(anchor,),
        shared=tuple(category for category in own if category in FILMS[anchor]),
        passages=(
            Support("facts", f'"{title}" is filed under {" and ".join(own)}.'),
            Support("popularity", f'"{title}": rated by {200 + 7 * place} people, 3.{place} on average.'),
            Support("similar_users", f'People who liked "{title}" also liked "{other}".', (other,)),
        ),
    )


GROUNDS = [grounds_of(place) for place in range(len(TITLES))]


def unknown_title(place: int) -> str:
    """A real film of the catalogue that the grounds do not name."""
    return TITLES[(place + 5) % len(TITLES)]


def unshared(grounds: Grounds, place: int) -> str:
    return [name for name in VOCABULARY if name not in grounds.categories][place % 5].lower()


def planted(place: int) -> dict[str, str]:
    """Ten false reasons for one film, by what is false."""
    grounds = GROUNDS[place]
    true, title, anchor = template_reason(grounds), grounds.title, grounds.anchors[0]
    other = grounds.passages[2].subjects[0]
    year = int(re.findall(r"\((\d{4})\)", title)[0])
    return {
        "another history": true.replace(anchor, unknown_title(place)),
        "another item": true.replace(title, MADE_UP[place % 5]),
        "a category": f'You may like "{title}": it is a {unshared(grounds, place)} film.',
        "a count": f'"{title}" was rated by {201 + 7 * place} people, 3.{place} on average.',
        "an average": f'"{title}" was rated by {200 + 7 * place} people, 4.{place} on average.',
        "what others liked": f'People who liked "{title}" also liked "{anchor}" and "{unknown_title(place)}".',
        "a deed of the user": f'You watched "{title}", and "{anchor}" is similar.',
        "a person": f"{true[:-1]}, and it is by {PEOPLE[place % 5]}.",
        "a year": true.replace(f"({year})", f"({year + 1})"),
        "a plot": f'You may like "{title}": like "{other}" it is about {PLOTS[place % 5]}.',
    }


PLANTED = [(place, kind, text) for place in range(len(GROUNDS)) for kind, text in planted(place).items()]


def test_at_least_98_of_100_planted_claims_are_caught() -> None:
    assert len(PLANTED) == 100 == len({text for _, _, text in PLANTED})
    passed = [(kind, text) for place, kind, text in PLANTED if not unsupported_claims(text, GROUNDS[place], VOCABULARY)]
    assert len(passed) <= 2, passed


@pytest.mark.parametrize("grounds", GROUNDS, ids=TITLES)
def test_the_true_reasons_that_they_were_planted_into_pass(grounds: Grounds) -> None:
    assert unsupported_claims(template_reason(grounds), grounds, VOCABULARY) == []
    popularity = f'"{grounds.title}" was {grounds.passages[1].text.split(": ")[1]}'
    assert unsupported_claims(popularity, grounds, VOCABULARY) == []
