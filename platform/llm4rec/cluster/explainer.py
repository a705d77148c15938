"""The language model that writes reasons: what it learns from in the index stage, and where it is found again."""

from collections.abc import Callable, Sequence

import numpy as np

from llm4rec.artifacts import RunStore
from llm4rec.cluster.grounding import Described, Grounding
from llm4rec.cluster.run_config import RunConfig
from llm4rec.errors import DataError
from llm4rec.explain.config import ExplainConfig
from llm4rec.explain.grounds import Grounds
from llm4rec.explain.prompt import build_tuned_prompt
from llm4rec.explain.template import details
from llm4rec.explain.tune import Adapter, Example, tune
from llm4rec.model.scorer import ModelScorer
from llm4rec.schema import EMPTY_HISTORY, TRAIN, Corpus

STRANGERS = 0.1
"""Share of the examples without a history: reasons for somebody of whom nothing is known."""


def learn_explainer(
    scorer: ModelScorer,
    corpus: Corpus,
    grounding: Grounding,
    items: Described,
    config: ExplainConfig,
    seed: int,
    tell: Callable[[str], None],
) -> Adapter:
    """Fine-tune the model of `explain.generator` on reasons for what users chose in training.

    Raises:
        ConfigError: there is no such model here and none can be fetched.
    """
    assert config.tune is not None
    examples = examples_of(scorer, corpus, grounding, items, config.tune.examples, seed)
    return tune(config.generator, examples, config.tune, seed, tell, config.precision)


def examples_of(
    scorer: ModelScorer, corpus: Corpus, grounding: Grounding, items: Described, count: int, seed: int
) -> list[Example]:
    """Choices of the training split with their grounds and true words made of these, each worded by chance.

    Args:
        scorer: of the trained model.
        corpus: that it was trained on.
        grounding: finds the grounds.
        items: the catalogue.
        count: examples wanted; fewer where users chose less, or where nothing is known of what they chose.
        seed: of which choices and which wordings.

    Raises:
        DataError: nobody has chosen twice.
    """
    rng = np.random.default_rng(seed)
    histories = corpus.histories(TRAIN)
    ends = np.cumsum([max(0, len(history) - 1) for history in histories])
    rows = rng.choice(ends[-1], min(count, int(ends[-1])), replace=False) if len(ends) else np.zeros(0, np.int64)
    users = np.searchsorted(ends, rows, side="right")
    firsts = np.concatenate([[0], ends])[users]
    chosen = [(int(user), int(row - first) + 1) for user, row, first in zip(users, rows, firsts, strict=True)]
    if not chosen:
        raise DataError("explain.tune needs users with two training interactions, and there are none; set it to null")
    before = [histories[user].first(place) if rng.random() >= STRANGERS else EMPTY_HISTORY for user, place in chosen]
    states = scorer.states(before, scorer.attributes[[user for user, _ in chosen]])
    examples = []

    def by_chance(wordings: Sequence[str], _: Grounds) -> str:
        return str(rng.choice(wordings))

    for (user, place), history, state in zip(chosen, before, states, strict=True):
        grounds = grounding.of(items, int(histories[user].item[place]), history, state)
        if target := details(grounds, by_chance):
            examples.append(Example(build_tuned_prompt(grounds, by_chance), target))
    return examples


def read_explainer(config: RunConfig) -> Adapter | None:
    """What the index stage of a run has learnt, None where it was not asked to.

    Raises:
        ArtifactError: the index is missing or damaged, or was made without.
    """
    return Adapter.read(RunStore(config.run.path).open("index")) if config.explain.tune else None
