"""Trainings of baselines that are cut short and go on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from loops import NUM_WARM, loops_corpus

from llm4rec.baselines.bert4rec import BERT4Rec
from llm4rec.baselines.checkpoint import State
from llm4rec.baselines.config import BERT4RecConfig, HSTUConfig, SASRecConfig, TIGERConfig
from llm4rec.baselines.hstu import HSTU
from llm4rec.baselines.sasrec import SASRec
from llm4rec.baselines.sequence import SequenceModel
from llm4rec.baselines.tiger import TIGER

SETTINGS: dict[str, Any] = {
    **{"embedding_size": 8, "num_blocks": 1, "num_heads": 2, "history_length": 4, "batch_size": 16},
    **{"dropout": 0.3, "epochs": 6, "learning_rate": 0.05},
}
VECTORS = np.random.default_rng(0).normal(size=(NUM_WARM, 6)).astype(np.float32)


def tiger(vectors: np.ndarray, **settings: Any) -> TIGER:
    return TIGER(TIGERConfig(**SETTINGS, levels=2, codebook_size=4, **settings), vectors)


MODELS: dict[str, Callable[..., SequenceModel]] = {
    "sasrec": lambda **settings: SASRec(SASRecConfig(**SETTINGS, **settings)),
    "gsasrec": lambda **settings: SASRec(SASRecConfig(**SETTINGS, loss="gbce", num_negatives=3, **settings)),
    "bert4rec": lambda **settings: BERT4Rec(BERT4RecConfig(**SETTINGS, **settings)),
    "hstu": lambda **settings: HSTU(HSTUConfig(**SETTINGS, **settings)),
    "tiger": lambda **settings: tiger(VECTORS, **settings),
    "in bfloat16": lambda **settings: SASRec(SASRecConfig(**SETTINGS, precision="bf16", **settings)),
}


class Cut(Exception):
    """Stands for a kill."""


class InFile:
    """A checkpoint in a file; a process that uses it dies at its `dies`-th save, before or after it."""

    def __init__(self, path: Path, dies: int = 0, before: bool = False) -> None:
        self.path, self.left, self.before = path, dies, before

    def load(self) -> State | None:
        return torch.load(self.path, map_location="cpu", weights_only=True) if self.path.exists() else None

    def save(self, state: State) -> None:
        self.left -= 1
        if self.left == 0 and self.before:
            raise Cut
        torch.save(state, self.path)
        if self.left == 0:
            raise Cut

    def discard(self) -> None:
        self.path.unlink()


def same_weights(one: SequenceModel, other: SequenceModel) -> bool:
    assert one._network is not None and other._network is not None
    pairs = zip(one._network.parameters(), other._network.parameters(), strict=True)
    return all(torch.equal(weights, wanted) for weights, wanted in pairs)


@pytest.mark.parametrize(("patience", "every"), [(None, 1), (2, 1), (2, 2)])
@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_a_training_that_was_cut_ends_as_one_that_was_not(tmp_path, name, before, patience, every):
    """To the last bit: windows, masks, dropout, AdamW's moments, the schedule and the best weights are carried on."""
    corpus, settings = loops_corpus(), {"patience": patience, "validate_every": every}
    whole: list[str] = []
    expected = MODELS[name](**settings).fit(corpus, progress=whole.append)
    said: list[str] = []
    for dies in (2, 1):
        with pytest.raises(Cut):
            MODELS[name](**settings).fit(
                corpus, progress=said.append, checkpoint=InFile(tmp_path / "state", dies, before)
            )
    found = MODELS[name](**settings).fit(corpus, progress=said.append, checkpoint=InFile(tmp_path / "state"))
    assert same_weights(found, expected)
    assert [line for line in dict.fromkeys(said) if "goes on" not in line] == whole
    assert any("goes on after epoch" in line for line in said)


def test_a_training_that_had_ended_is_not_trained_further(tmp_path):
    state = InFile(tmp_path / "state")
    ended = MODELS["sasrec"](patience=1, validate_every=1).fit(loops_corpus(), checkpoint=state)
    said: list[str] = []
    again = MODELS["sasrec"](patience=1, validate_every=1).fit(loops_corpus(), progress=said.append, checkpoint=state)
    assert same_weights(again, ended)
    assert len(said) == 1 and "goes on after epoch" in said[0]


@pytest.mark.parametrize(
    "other",
    [
        lambda: tiger(VECTORS[::-1].copy(), validate_every=1),  # the same shapes, but codes mean other items
        lambda: tiger(np.zeros_like(VECTORS), validate_every=1),  # fewer codes
        lambda: tiger(VECTORS, validate_every=1, precision="bf16"),
    ],
)
def test_the_state_of_another_network_is_not_gone_on_with(tmp_path, other):
    expected = tiger(VECTORS, validate_every=1).fit(loops_corpus())
    with pytest.raises(Cut):
        other().fit(loops_corpus(), checkpoint=InFile(tmp_path / "state", dies=1))
    said: list[str] = []
    found = tiger(VECTORS, validate_every=1).fit(
        loops_corpus(), progress=said.append, checkpoint=InFile(tmp_path / "state")
    )
    assert "begins anew" in said[0]
    assert same_weights(found, expected)
