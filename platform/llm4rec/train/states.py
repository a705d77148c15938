"""User states after what users did in the train split. Shapes: n states, D width."""

import numpy as np
import torch

from llm4rec.model.inputs import PADDING
from llm4rec.model.scorer import ModelScorer
from llm4rec.schema import Corpus, FloatMatrix
from llm4rec.train.windows import build_windows

BATCH = 64
MAX_STATES = 300_000
"""As many as the head of semantic ids learns from."""


def train_states(scorer: ModelScorer, corpus: Corpus, most: int, seed: int) -> FloatMatrix:
    """The states at positions of training windows that have a target, shape (n, D), n at most `most`.

    Args:
        scorer: of the trained model, with its repair if it has one.
        corpus: that it was trained on.
        most: states wanted; windows are taken in an order that the seed decides.
        seed: of that order.
    """
    shape = scorer.model.shape
    weight = np.ones(len(corpus.interactions), np.float32)
    windows = build_windows(corpus, shape.history, shape.attributes.encode_table(corpus.users), weight)
    found: list[FloatMatrix] = []
    count = 0
    with torch.inference_mode():
        for batch in windows.batches(BATCH, seed=seed, epoch=0):
            states = (
                scorer.model.user_states(scorer.item_vectors, batch.history, batch.attributes).float().cpu().numpy()
            )
            wanted = batch.target != PADDING
            found.append(scorer.repaired_states(states[wanted], batch.attributes[np.nonzero(wanted)[0]]))
            count += len(found[-1])
            if count >= most:
                break
    return np.concatenate(found)[:most]
