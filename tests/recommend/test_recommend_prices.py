"""What places on slates cost: by hand, in a world where the trade is known, and on disk."""

from pathlib import Path

import numpy as np
import pytest

from llm4rec.artifacts import RunStore
from llm4rec.errors import ArtifactError
from llm4rec.recommend.prices import Prices, chances, fit_prices

RNG = np.random.default_rng(0)
NUM_USERS, NUM_ITEMS = 300, 120
POPULARITY = np.sort(RNG.integers(1, 200, NUM_ITEMS)).astype(np.int32)[::-1].copy()
WEIGHT = np.ones(NUM_USERS, np.float32)


@pytest.fixture(scope="module")
def world() -> tuple[np.ndarray, np.ndarray]:
    """Chances that follow popularity and taste, and a choice of every user made by them."""
    logits = np.log(POPULARITY)[None] + RNG.normal(size=(NUM_USERS, NUM_ITEMS))
    chance = chances(logits.astype(np.float32), 1.0)
    targets = [RNG.choice(NUM_ITEMS, p=row / row.sum()) for row in chance.astype(np.float64)]
    return chance, np.array(targets, np.int32)


def test_chances_by_hand() -> None:
    found = chances(np.array([[np.log(3) / 2, 0.0, -np.inf]], np.float32), 0.5)
    assert found[0] == pytest.approx([0.75, 0.25, 0.0])


def test_popular_items_pay_and_rare_ones_are_paid(world: tuple[np.ndarray, np.ndarray]) -> None:
    prices = fit_prices(*world, WEIGHT, POPULARITY, max_loss=0.05)
    assert np.corrcoef(prices.price, POPULARITY)[0, 1] > 0.7
    assert prices.price[:5].min() > prices.price[-5:].max()


def test_more_is_shown_and_less_that_is_popular_within_the_limit(world: tuple[np.ndarray, np.ndarray]) -> None:
    changes = fit_prices(*world, WEIGHT, POPULARITY, max_loss=0.05).changes
    assert changes["coverage@10"] > 0 > changes["arp@10"]
    assert changes["ndcg@10"] >= -0.05


def test_a_larger_limit_never_buys_less(world: tuple[np.ndarray, np.ndarray]) -> None:
    gains = []
    for limit in (0.0, 0.01, 0.05, 0.5):
        changes = fit_prices(*world, WEIGHT, POPULARITY, max_loss=limit).changes
        gains.append(changes["coverage@10"] - changes["arp@10"])
    assert gains == sorted(gains)


def test_nothing_is_charged_where_popularity_moves_nobody(world: tuple[np.ndarray, np.ndarray]) -> None:
    prices = fit_prices(*world, np.zeros(NUM_USERS, np.float32), POPULARITY, max_loss=0.05)
    assert not prices.price.any()
    assert not any(prices.changes.values())


def test_a_catalogue_that_fits_on_a_slate_has_no_prices() -> None:
    chance = np.full((3, 8), 1 / 8, np.float32)
    prices = fit_prices(chance, np.zeros(3, np.int32), np.ones(3, np.float32), np.arange(8, dtype=np.int32), 0.05)
    assert not prices.price.any()


def test_equal_popularity_makes_nobody_pay_for_it(world: tuple[np.ndarray, np.ndarray]) -> None:
    alike = np.full(NUM_ITEMS, 7, np.int32)
    prices = fit_prices(*world, WEIGHT, alike, max_loss=0.5)
    assert (prices.price <= 0).all()  # what is left pays for being shown to nobody


def test_on_disk_and_back(tmp_path: Path) -> None:
    store = RunStore(str(tmp_path))
    with store.write("index", {}) as writer:
        Prices(np.array([0.1, -0.2], np.float32), {"arp@10": -0.1}).write(writer)
    back = Prices.read(store.open("index"), 2)
    np.testing.assert_array_equal(back.price, np.array([0.1, -0.2], np.float32))
    assert back.changes == {"arp@10": -0.1}
    with pytest.raises(ArtifactError, match="2 prices for 3 items"):
        Prices.read(store.open("index"), 3)


def test_an_index_without_prices_is_refused(tmp_path: Path) -> None:
    store = RunStore(str(tmp_path))
    with store.write("index", {}) as writer:
        writer.write_json("other.json", {})
    with pytest.raises(ArtifactError, match="run jobs/index.py again"):
        Prices.read(store.open("index"), 2)
