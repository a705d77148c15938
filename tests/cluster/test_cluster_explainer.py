"""Grounds that hear the user's state, and what the explainer is taught."""

import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from llm4rec.cluster.catalogue import LiveCatalogue
from llm4rec.cluster.explainer import examples_of
from llm4rec.cluster.grounding import Described, Grounding
from llm4rec.cluster.index import taught_by
from llm4rec.cluster.reasons import LanguageModelWriter
from llm4rec.cluster.snapshot import Snapshot
from llm4rec.errors import DataError
from llm4rec.explain.check import unsupported_claims
from llm4rec.explain.config import ExplainConfig, TuneConfig
from llm4rec.explain.grounds import Grounds
from llm4rec.explain.reason import explain
from llm4rec.index.evidence import EvidenceStore
from llm4rec.index.passages import Passage
from llm4rec.schema import EMPTY_HISTORY, TRAIN, History

STATE = np.array([1, 0], np.float32)
ITEMS = Described(
    item_ids=["a", "b", "c"],
    titles=["Alien", "Babe", "Casablanca"],
    categories=[("Drama",), ("Comedy",), ("Comedy", "Drama", "War")],
    vectors=np.array([[0.9, 0], [0.1, 0.5], [0.5, 0.5]], np.float32),
    text_vectors=np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32),
)
PASSAGES = [
    Passage("reviews:c:0", 2, "reviews", "A love that had to end."),
    Passage("reviews:c:1", 2, "reviews", "The plane leaves without her."),
    Passage("popularity:c", 2, "popularity", '"Casablanca": rated by 3 people, 4.0 on average.'),
]
VECTORS = np.array([[0, 0.2, 1], [0.9, 0, 1], [0.1, 0, 0.1]], np.float32)
LIKES_ALIEN = History(np.array([0], np.int32), np.zeros(1, np.int64), np.ones(1, np.float32), np.zeros(1, np.int32))


def grounding(**settings: int) -> Grounding:
    return Grounding(EvidenceStore.build(PASSAGES, VECTORS), ITEMS, ExplainConfig(**settings))


def test_categories_near_to_the_state_are_named_first() -> None:
    found = grounding().of(ITEMS, 2, EMPTY_HISTORY, STATE)
    assert found.categories == ("Drama", "War", "Comedy")  # means along the state: .7, .5 and .3
    assert grounding().of(ITEMS, 2, EMPTY_HISTORY, -STATE).categories == ("Comedy", "War", "Drama")


def test_a_category_unknown_to_the_corpus_does_not_fail() -> None:
    items = replace(ITEMS, categories=[*ITEMS.categories[:2], ("New", "Comedy")])
    assert set(grounding().of(items, 2, EMPTY_HISTORY, STATE).categories) == {"New", "Comedy"}


def test_evidence_is_near_to_the_item_and_to_what_speaks_for_it() -> None:
    def first_review(history: History) -> str:
        return grounding().of(ITEMS, 2, history, STATE).from_source("reviews")[0].text

    assert first_review(EMPTY_HISTORY) == PASSAGES[0].text
    assert first_review(LIKES_ALIEN) == PASSAGES[1].text


def test_each_source_comes_before_a_second_passage_of_one() -> None:
    found = grounding(num_passages=2).of(ITEMS, 2, EMPTY_HISTORY, STATE)
    assert {passage.source for passage in found.passages} == {"reviews", "popularity"}
    assert len(grounding(num_passages=3).of(ITEMS, 2, EMPTY_HISTORY, STATE).passages) == 3
    assert grounding(num_passages=0).of(ITEMS, 2, EMPTY_HISTORY, STATE).passages == ()


@pytest.fixture(scope="module")
def taught(snapshot: Snapshot) -> list[tuple[str, str]]:
    items = LiveCatalogue.of(snapshot).described
    found = Grounding(snapshot.evidence, items, ExplainConfig())
    examples = examples_of(snapshot.scorer, snapshot.corpus, found, items, 50, 0)
    assert examples == examples_of(snapshot.scorer, snapshot.corpus, found, items, 50, 0)
    return [(example.prompt.messages[-1]["content"], example.target) for example in examples]


def test_what_is_taught_can_be_told_from_the_prompt(taught: list[tuple[str, str]]) -> None:
    """Every quoted title of a target stands in its prompt."""
    assert taught
    for prompt, target in taught:
        for title in target.split('"')[1::2]:
            assert f'"{title}"' in prompt


REVIEWED = Grounds("c", "Casablanca", ("Drama",), passages=grounding().of(ITEMS, 2, EMPTY_HISTORY, STATE).passages)
QUOTED = 'You may like "Casablanca": it is filed under drama. A review says: "A love that had to end."'


def test_a_review_may_be_quoted_word_for_word_and_no_other_way() -> None:
    assert unsupported_claims(QUOTED, REVIEWED, ["Drama"]) == []
    assert unsupported_claims(QUOTED.replace("had to end", "had to last"), REVIEWED, ["Drama"])
    assert unsupported_claims(QUOTED.replace('A review says: "', '"'), REVIEWED, ["Drama"])
    assert unsupported_claims('You may like "Casablanca": it is a love that had to end.', REVIEWED, ["Drama"])
    assert unsupported_claims(QUOTED, replace(REVIEWED, passages=()), ["Drama"])


@pytest.mark.parametrize(
    "text",
    [
        'A review says: "A love that had.',
        'A review says: "A love that had to end.',
        "A review says not to watch it.",
        'No review says: "A love that had to end."',
        'Your review says: "A love that had to end."',
        'A review says: "A love that had to end." A review says: "A love that had to end."',
        'People say: "A love that had to end."',
    ],
)
def test_nothing_else_is_said_of_reviews(text: str) -> None:
    assert unsupported_claims(f'You may like "Casablanca". {text}', REVIEWED, ["Drama"])


def test_markup_in_a_review_is_not_quoted() -> None:
    passages = tuple(replace(one, text="A <b>love</b> story.") for one in REVIEWED.from_source("reviews"))
    text = 'You may like "Casablanca". A review says: "A <b>love</b> story."'
    assert unsupported_claims(text, replace(REVIEWED, passages=passages), ["Drama"])


def test_a_reason_is_not_cut_inside_a_quotation() -> None:
    written = QUOTED.replace("A love that had to end.", "A love, that")
    (reason,) = explain([REVIEWED], Says(written), time.monotonic() + 5, ["Drama"])
    assert reason.source == "template"


class Says:
    def __init__(self, text: str) -> None:
        self._text = text

    def write(self, prompts: object, deadline: float) -> list[str | None]:
        return [self._text]


def test_nobody_to_learn_from_is_a_clear_error(snapshot: Snapshot) -> None:
    items = LiveCatalogue.of(snapshot).described
    found = Grounding(snapshot.evidence, items, ExplainConfig())
    part = snapshot.corpus.part(TRAIN)
    alone = replace(snapshot.corpus, interactions=part.where(np.arange(len(part)) < 1))
    with pytest.raises(DataError, match="users with two training interactions"):
        examples_of(snapshot.scorer, alone, found, items, 5, 0)


def test_reasons_beyond_the_budget_come_from_the_template(monkeypatch: pytest.MonkeyPatch) -> None:
    config = ExplainConfig(tokens_per_request=256, max_new_tokens=128)
    monkeypatch.setattr("llm4rec.cluster.reasons.load_generator", lambda *_: Speaker())
    writer = LanguageModelWriter(config, ["Drama"])
    reasons = writer.write([REVIEWED] * 4, 5)
    assert [reason.source for reason in reasons] == ["llm", "llm", "template", "template"]
    assert len(list(writer.pieces(REVIEWED, 5))) == 1


class Speaker:
    """An engine that always says the same true sentence."""

    healthy = True

    def write(self, prompts: list[object], deadline: float) -> list[str | None]:
        return ['You may like "Casablanca": it is filed under drama.'] * len(prompts)

    def stream(self, prompt: object, deadline: float) -> Iterator[str]:
        yield "You"


def test_what_only_concerns_serving_does_not_teach_again() -> None:
    tune = TuneConfig()
    one, other = ExplainConfig(tune=tune), ExplainConfig(tune=tune, batch_size=2, tokens_per_minute=999)
    assert taught_by(one) == taught_by(other) != taught_by(ExplainConfig(tune=tune, num_passages=1))
    assert taught_by(ExplainConfig()) == {}
