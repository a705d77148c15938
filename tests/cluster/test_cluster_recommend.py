"""Batch slates of a catalogue too large to score whole."""

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from llm4rec.cluster import candidates
from llm4rec.cluster.recommend import SlateWorker
from llm4rec.cluster.snapshot import Snapshot
from tests.cluster.test_cluster_engine import CONFIG

USERS = [0, 1, 2]


def worker(monkeypatch: pytest.MonkeyPatch, snapshot: Snapshot, *, large: bool, **recommend: Any) -> SlateWorker:
    monkeypatch.setattr(candidates, "SAMPLE", 0)
    opened = replace(snapshot, near=snapshot.index) if large else snapshot
    monkeypatch.setattr(Snapshot, "open", lambda *_: opened)
    settings = CONFIG.recommend.model_copy(update={"k": 1, "candidates": 1, **recommend})
    return SlateWorker(CONFIG.model_copy(update={"recommend": settings}))


def items(slates: pa.Table) -> list[tuple[str, str]]:
    return [(row["user_id"], row["item_id"]) for row in slates.to_pylist()]


@pytest.mark.parametrize("debias", [0.0, 5.0])
def test_slates_are_those_of_all_items(monkeypatch: pytest.MonkeyPatch, snapshot: Snapshot, debias: float) -> None:
    whole = items(worker(monkeypatch, snapshot, large=False, debias=debias).slates(USERS))
    assert len(whole) == len(USERS)
    assert items(worker(monkeypatch, snapshot, large=True, debias=debias).slates(USERS)) == whole


def test_only_what_may_compete_is_scored_unless_prices_look_elsewhere(
    monkeypatch: pytest.MonkeyPatch, snapshot: Snapshot
) -> None:
    def scored(**recommend: Any) -> list[int]:
        large = worker(monkeypatch, snapshot, large=True, **recommend)
        histories = [large._histories[user] for user in USERS]
        states = snapshot.scorer.user_states(np.array(USERS, np.int32), histories)
        return [int(np.isfinite(row).sum()) for row in large._rows(USERS, states, histories)]

    assert scored() == [1, 1, 1]
    assert scored(candidates_from="semantic_ids") == [5, 5, 5]
    assert scored(debias=1.0) == [5, 1, 5]  # the second user pays no prices: popularity does not move them
