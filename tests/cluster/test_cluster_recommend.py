"""Batch slates of a catalogue too large to score whole."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from llm4rec.cluster import candidates
from llm4rec.cluster.event_log import Gone, open_log
from llm4rec.cluster.recommend import SlateWorker
from llm4rec.cluster.snapshot import Snapshot
from tests.cluster.test_cluster_engine import CONFIG

USERS = [0, 1, 2]


def worker(
    monkeypatch: pytest.MonkeyPatch,
    snapshot: Snapshot,
    *,
    large: bool,
    withdrawn: Sequence[str] = (),
    **recommend: Any,
) -> SlateWorker:
    monkeypatch.setattr(candidates, "SAMPLE", 0)
    opened = replace(snapshot, near=snapshot.index) if large else snapshot
    monkeypatch.setattr(Snapshot, "open", lambda *_: opened)
    settings = CONFIG.recommend.model_copy(update={"k": 1, "candidates": 1, **recommend})
    hidden = np.isin(snapshot.corpus.item_ids, list(withdrawn))
    return SlateWorker(CONFIG.model_copy(update={"recommend": settings}), hidden)


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


@pytest.mark.parametrize("large", [False, True])
def test_withdrawn_items_are_on_no_slate(monkeypatch: pytest.MonkeyPatch, snapshot: Snapshot, large: bool) -> None:
    first = items(worker(monkeypatch, snapshot, large=large).slates(USERS))
    gone = {item for _, item in first}
    left = items(worker(monkeypatch, snapshot, large=large, withdrawn=list(gone)).slates(USERS))
    assert left and gone.isdisjoint({item for _, item in left})


def test_who_is_forgotten_and_what_is_withdrawn_is_read_from_the_log(tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"run": CONFIG.run.model_copy(update={"path": str(tmp_path)})})
    assert Gone.of(config) == Gone() and Gone().left(["u0"]) == ["u0"]
    assert not list(tmp_path.iterdir()), "nothing is made where there is no log"
    log = open_log(config)
    log.delete_user("u1")
    log.put_item("a", {"title": "A"})
    log.delete_item("b")
    log.close()
    gone = Gone.of(config)
    assert gone.left(["u0", "u1", "u2"]) == ["u0", "u2"] and gone.items == {"b"}
