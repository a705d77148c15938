"""User states after what users did in the train split. Shapes: n states, D width."""

import numpy as np
import torch

from llm4rec.model.inputs import PADDING
from llm4rec.model.recommender import Recommender
from llm4rec.schema import Corpus, FloatMatrix
from llm4rec.train.windows import build_windows

BATCH = 64


def train_states(model: Recommender, corpus: Corpus, most: int, seed: int) -> FloatMatrix:
    """The states at positions of training windows that have a target, shape (n, D), n at most `most`.

    Args:
        model: trained; it is put into evaluation mode.
        corpus: that it was trained on.
        most: states wanted; windows are taken in an order that the seed decides.
        seed: of that order.
    """
    model.eval()
    shape = model.shape
    weight = np.ones(len(corpus.interactions), np.float32)
    windows = build_windows(corpus, shape.history, shape.attributes.encode_table(corpus.users), weight)
    found: list[FloatMatrix] = []
    count = 0
    with torch.inference_mode():
        item_vectors = model.item_vectors()
        for batch in windows.batches(BATCH, seed=seed, epoch=0):
            states = model.user_states(item_vectors, batch.history, batch.attributes)
            found.append(states.float().numpy()[batch.target != PADDING])
            count += len(found[-1])
            if count >= most:
                break
    return np.concatenate(found)[:most]
