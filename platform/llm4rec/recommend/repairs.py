"""The repair of a trained model's user states. Shapes: n users, D width."""

import numpy as np

from llm4rec.model.repair import Repair
from llm4rec.model.scorer import ModelScorer
from llm4rec.schema import TRAIN, Corpus, evenly

MAX_USERS = 50_000
"""Of more users an even spread is looked at."""


def learn_repair(scorer: ModelScorer, corpus: Corpus, strength: float) -> Repair:
    """A repair of the attributes at `scorer.repaired`, from users' states after their train interactions.

    Args:
        scorer: of the trained model, without a repair yet.
        corpus: whose train split the model learned from.
        strength: of the repair.
    """
    histories = corpus.histories(TRAIN)
    active = np.array([user for user, history in enumerate(histories) if len(history)], np.int32)
    users = active[evenly(len(active), MAX_USERS)]
    states = scorer.user_states(users, [histories[user] for user in users])
    sizes = [scorer.model.shape.attributes.sizes[place] for place in scorer.repaired]
    return Repair.fit(states, scorer.attributes[users][:, scorer.repaired], sizes, strength)
