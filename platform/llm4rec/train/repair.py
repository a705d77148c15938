"""What is left to do once the network has learned: taking the trace of attributes out of user states."""

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from llm4rec.model.inputs import IntMatrix
from llm4rec.model.recommender import Recommender
from llm4rec.model.scorer import ModelScorer
from llm4rec.schema import TRAIN, Corpus
from llm4rec.train.state import save_weights


def repair_weights(weights: Path, model: Recommender, attributes: IntMatrix, corpus: Corpus) -> None:
    """Fit the network's repair, if it has one, and write the weights again."""
    if model.repair is None:
        return
    model.load_state_dict(load_file(weights))
    fit_repair(model, attributes, corpus)
    save_weights(model, weights)


def fit_repair(model: Recommender, attributes: IntMatrix, corpus: Corpus) -> None:
    """Learn the repair from the states of all users after their train interactions.

    Args:
        model: the trained network, with a repair.
        attributes: codes by user, shape (U, A).
        corpus: whose train split the network learned from.
    """
    assert model.repair is not None
    histories = corpus.histories(TRAIN)
    users = np.array([user for user, history in enumerate(histories) if len(history)], np.int32)
    with model.repair.at(0.0):
        states = ModelScorer(model, attributes).user_states(users, [histories[user] for user in users])
    codes = attributes[users][:, model.repaired]
    model.repair.fit(torch.from_numpy(states), torch.from_numpy(codes))
