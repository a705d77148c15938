"""What the published tables are made by: who is compared with whom, and which settings and trials count."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import quality_runs
import search
from quality import BY_USER, compare, on_validation
from quality_runs import best_settings, found_best, half_searched
from trials import trials
from user_figures import OfSeed

USERS = 400


def run(mean: float, seed: int, hardware: str = "2 CPU cores") -> OfSeed:
    """Figures of users about a mean; users differ more than models do, as they do in life."""
    own = np.random.default_rng(7).random(USERS) * 0.4
    noise = np.random.default_rng(seed).normal(0, 0.02, USERS)
    values = (own + mean + noise).astype(np.float32)
    told = {"split_hash": "abc", "choices": USERS, "items": 9, "settings": {}, "seed": seed, "seconds": 2.0 + seed}
    told |= {"hardware": hardware, "peak_gb": 1.0 + seed, "git": "1", "training": "x"}
    return OfSeed(dict.fromkeys(BY_USER, values), {"coverage@10": 0.5}, told)


@pytest.fixture(scope="module")
def table() -> dict[str, object]:
    means = {
        "llm4rec": 0.3,
        "llm4rec_network": 0.26,
        "llm4rec_debias_1": 0.29,
        "hstu_gated": 0.28,
        "hstu": 0.25,
        "ease": 0.1,
    }
    return compare(
        {name: [run(mean, 10 * place), run(mean, 10 * place + 1)] for place, (name, mean) in enumerate(means.items())}
    )


def test_a_row_is_the_mean_over_seeds_and_users(table):
    both = [run(0.25, 40), run(0.25, 41)]
    assert table["ndcg10"]["hstu"] == pytest.approx(np.mean([one.by_user["ndcg@10"] for one in both]), abs=1e-4)
    row = table["models"]["hstu"]
    assert (
        row["seeds"] == 2 and row["peak_gb"] == 42.0 and row["seconds"] == {"2 CPU cores": 42}
    )  # 2.5 s rounds to even
    assert row["ndcg@10 by seed"] == [pytest.approx(one.by_user["ndcg@10"].mean(), abs=1e-4) for one in both]
    low, high = row["ci95"]["ndcg@10"]
    assert low < table["ndcg10"]["hstu"] < high


def test_ours_is_compared_with_baselines_alone(table):
    assert table["p_holm"].keys() == {"hstu", "ease"} and table["best_other"] == "hstu"
    assert table["p_value"] == table["p_holm"]["hstu"] < 0.01
    low, high = table["gain_ci95"]
    assert 0.04 < low < 0.05 < high < 0.06


def test_like_is_compared_with_like(table):
    assert table["p_alike"].keys() == {"llm4rec over hstu_gated", "llm4rec_network over hstu"}
    low, high = table["gain_alike"]["llm4rec_network over hstu"]
    assert low < 0.01 < high < 0.02


def test_the_best_trial_among_those_that_are_still_tried_gives_the_settings(monkeypatch, tmp_path):
    known = trials("ml-100k", "sasrec")
    old = {"settings": {"dropout": 0.99}, "ndcg10": 0.9, "training": "old"}
    found = [{"settings": known[place], "ndcg10": 0.1 * place, "training": f"{place}"} for place in (0, 1)]
    path = tmp_path / "search.json"
    path.write_text(json.dumps({"figures": {"ml-100k": {"sasrec": [old, *found]}}}))
    monkeypatch.setattr(quality_runs, "SEARCH", path)
    monkeypatch.setattr(search, "SEARCH", path)
    assert best_settings("ml-100k", "sasrec") == known[1] == best_settings("ml-100k", "sasrec_gated")
    assert best_settings("ml-100k", "hstu") is None and best_settings("ml-100k", "popular") == {}
    assert search.tried_before() == {"old", "0", "1"}
    assert half_searched("ml-100k", "sasrec") == half_searched("ml-100k", "sasrec_gated") == "2 of 3"
    assert half_searched("ml-100k", "popular") == ""
    assert found_best("ml-100k", "sasrec") == known[1]
    with pytest.raises(SystemExit, match='no trial of hstu on ml-100k .* --tables "ml-100k" --models hstu'):
        found_best("ml-100k", "hstu")


def test_trials_are_told_by_the_validation_part_alone():
    measured = {
        "valid user": np.array([0, 0, 1]),
        "valid rank": np.array([0, 10, 1]),
        "user": np.array([0]),
        "rank": np.array([0]),
    }
    assert on_validation(measured) == {"ndcg10": round((0.5 + 1 / np.log2(3)) / 2, 4), "hr10": 0.75}
