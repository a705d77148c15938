"""The preprocess stage around its steps: whom it leaves out, and what it does not begin with."""

from pathlib import Path
from typing import Any

import pytest

from llm4rec.artifacts import RunStore
from llm4rec.cluster import preprocess
from llm4rec.cluster.run_config import RunConfig
from llm4rec.online.log import EventLog
from llm4rec.preprocess.single_process import each

LOOSE = {"min_user_interactions": 1, "min_item_interactions": 1}


class Here:
    """Ray's part: every task in this process, and a crash where one is asked for."""

    places: list[str] = []
    crash_at = ""

    def __init__(self, stage: str, work: str) -> None:
        self.places.append(work)

    def each(self, step: str, *what: Any) -> list[Any]:
        """All tasks of a step."""
        if step == self.crash_at:
            raise KeyboardInterrupt
        return each(step, *what)


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunConfig:
    monkeypatch.setattr(preprocess, "Steps", Here)
    monkeypatch.setattr(Here, "places", [])
    rows = [f"{user},{item},{n}" for n, (user, item) in enumerate([("ann", "x"), ("bob", "x"), ("ann", "y")])]
    (tmp_path / "log.csv").write_text("\n".join(["user_id,item_id,t", *rows]))
    mapping = {"interactions": {"file": "log.csv", "timestamp": "t"}}
    source = {"format": "tabular", "path": str(tmp_path), "tabular": mapping}
    online = {"url": f"sqlite:///{tmp_path}/events.db"}
    return RunConfig.model_validate({"source": source, "preprocess": LOOSE, "online": online})


def users(store: RunStore) -> list[str]:
    return store.open("corpus").read_table("users")["user_id"].to_pylist()


def forget(config: RunConfig, user_id: str) -> None:
    log = EventLog(config.online.url)
    log.delete_user(user_id)
    log.close()


def test_who_is_forgotten_is_not_in_a_corpus_made_later_and_stays_in_one_made_before(
    config: RunConfig, tmp_path: Path
) -> None:
    before, after = RunStore(str(tmp_path / "before")), RunStore(str(tmp_path / "after"))
    preprocess.run(before, config)
    forget(config, "ann")
    preprocess.run(after, config)
    preprocess.run(before, config)
    assert (users(before), users(after)) == (["ann", "bob"], ["bob"])


def test_what_was_settled_before_somebody_was_forgotten_is_not_gone_on_with(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = RunStore(str(tmp_path / "run"))
    monkeypatch.setattr(Here, "crash_at", "items")
    with pytest.raises(KeyboardInterrupt):
        preprocess.run(store, config)
    forget(config, "ann")
    monkeypatch.setattr(Here, "crash_at", "")
    preprocess.run(store, config)
    assert users(store) == ["bob"] and len(set(Here.places)) == 2
    assert not Path(store.location, ".work", "corpus").exists()
