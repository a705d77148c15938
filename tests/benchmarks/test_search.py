"""The search for settings: what has been found stays, and is of the data at hand."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

HOME = Path(__file__).parents[2]
sys.path.insert(0, str(HOME / "benchmarks"))

import quality_runs  # noqa: E402
import search  # noqa: E402
from trials import trials  # noqa: E402

TABLE, MODEL = "ml-100k", "sasrec"
OPTIONS = SimpleNamespace(tables=[TABLE], models=[MODEL], trial=False)


def job(table: str, model: str, settings: dict[str, Any], seed: int, options: Any) -> Any:
    return SimpleNamespace(name=f"{table}:{model}", file=f"here-{trials(table, model).index(settings)}.npz")


def measured(ndcg10: float) -> dict[str, Any]:
    ranks = {0.5: 2, 1.0: 0}  # 1 / log2(4), 1 / log2(2)
    return {
        "valid user": np.array([0]),
        "valid rank": np.array([ranks[ndcg10]]),
        "seconds": np.array(1.0),
        "hardware": np.array("a core"),
    }


def test_a_trial_that_fails_costs_no_others_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    def finished(jobs: list[Any], *_: Any) -> Iterator[tuple[Any, dict[str, Any]]]:
        yield jobs[0], measured(0.5)
        yield jobs[1], measured(1.0)
        sys.exit("error: failed: another")

    stored: list[Any] = []
    monkeypatch.setattr(search, "SEARCH", Path("/nowhere"))
    monkeypatch.setattr(search, "arguments", lambda *_: OPTIONS)
    monkeypatch.setattr(search, "new_job", job)
    monkeypatch.setattr(search, "finished", finished)
    monkeypatch.setattr(search, "store", lambda *told: stored.append(told))
    with pytest.raises(SystemExit, match="failed: another"):
        search.main()
    ((_, found, _, _),) = stored
    assert [trial["ndcg10"] for trial in found[TABLE][MODEL]] == [1.0, 0.5]


def test_settings_that_were_found_on_other_data_are_not_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    first = trials(TABLE, MODEL)[0]

    def tried_as(training: str) -> None:
        trial = {"settings": first, "ndcg10": 0.9, "training": training}
        (tmp_path / "search.json").write_text(json.dumps({"figures": {TABLE: {MODEL: [trial]}}}))

    monkeypatch.setattr(quality_runs, "SEARCH", tmp_path / "search.json")
    monkeypatch.setattr(quality_runs, "new_job", job)
    tried_as("here-0")
    assert quality_runs.best_settings(TABLE, MODEL) == first
    quality_runs.require_searched_here(TABLE, MODEL, first, OPTIONS)  # type: ignore[arg-type]
    tried_as("elsewhere-0")
    with pytest.raises(SystemExit, match="of sasrec on ml-100k in search.json were made on other data"):
        quality_runs.require_searched_here(TABLE, MODEL, first, OPTIONS)  # type: ignore[arg-type]
