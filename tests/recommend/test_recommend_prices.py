"""What places on slates cost: by hand, in a world where the trade is known, and on disk."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from llm4rec.artifacts import RunStore
from llm4rec.errors import ArtifactError
from llm4rec.evaluate.config import EvaluateConfig
from llm4rec.recommend.config import RecommendConfig
from llm4rec.recommend.prices import (
    COVERAGE_FOR_POPULARITY,
    Chosen,
    Prices,
    Shown,
    fit_prices,
    learn_prices,
)
from llm4rec.recommend.rerank import chances
from llm4rec.recommend.scorers import Debiased, Varied
from llm4rec.recommend.slate import Catalogue, Wish, draw_slate
from llm4rec.schema import ITEM_ID, TITLE, TRAIN, USER_ID, VALID, Corpus, Interactions
from tests.baselines.loops import loops_corpus
from tests.corpora import history

RNG = np.random.default_rng(0)
NUM_USERS, NUM_ITEMS = 300, 120
POPULARITY = np.sort(RNG.integers(1, 200, NUM_ITEMS)).astype(np.int32)[::-1].copy()
WEIGHT = np.ones(NUM_USERS, np.float32)


World = tuple[Shown, Chosen]


@pytest.fixture(scope="module")
def world() -> World:
    """Chances that follow popularity and taste, and a choice of every user made by them."""
    logits = np.log(POPULARITY)[None] + RNG.normal(size=(NUM_USERS, NUM_ITEMS))
    chance = chances(logits.astype(np.float32))
    targets = [RNG.choice(NUM_ITEMS, p=row / row.sum()) for row in chance.astype(np.float64)]
    shown = Shown(chance, WEIGHT)
    return shown, Chosen(shown, np.array(targets, np.int32), np.arange(NUM_USERS))


def test_chances_by_hand() -> None:
    found = chances(np.array([[np.log(3), 0.0, -np.inf]], np.float32))
    assert found[0] == pytest.approx([0.75, 0.25, 0.0])


def test_popular_items_pay_and_rare_ones_are_paid(world: World) -> None:
    prices = fit_prices(*world, POPULARITY, max_loss=0.05)
    assert np.corrcoef(prices.price, POPULARITY)[0, 1] > 0.7
    assert prices.price[:5].min() > prices.price[-5:].max()


def test_more_is_shown_and_less_that_is_popular_within_the_limit(world: World) -> None:
    changes = fit_prices(*world, POPULARITY, max_loss=0.05).changes
    assert changes["coverage@10"] > 0 > changes["arp@10"]
    assert changes["ndcg@10"] >= -0.05


def test_a_larger_limit_never_buys_less(world: World) -> None:
    gains = []
    for limit in (0.0, 0.01, 0.05, 0.5):
        changes = fit_prices(*world, POPULARITY, max_loss=limit).changes
        gains.append(min(changes["coverage@10"] / COVERAGE_FOR_POPULARITY, -changes["arp@10"]))
    assert gains == sorted(gains)


def test_nothing_is_charged_where_popularity_moves_nobody(world: World) -> None:
    nobody = replace(world[0], weight=np.zeros(NUM_USERS, np.float32))
    prices = fit_prices(nobody, replace(world[1], shown=nobody), POPULARITY, max_loss=0.05)
    assert not prices.price.any()
    assert not any(prices.changes.values())


def test_a_catalogue_that_fits_on_a_slate_has_no_prices() -> None:
    shown = Shown(np.full((200, 8), 1 / 8, np.float32), np.ones(200, np.float32))
    choices = Chosen(shown, np.zeros(200, np.int32), np.arange(200))
    prices = fit_prices(shown, choices, np.arange(8, dtype=np.int32), 0.05)
    assert not prices.price.any()


def test_too_few_users_to_see_a_loss_have_no_prices(world: World) -> None:
    now, choices = world
    few = fit_prices(now, replace(choices, users=choices.users % 49), POPULARITY, max_loss=0.5)
    assert not few.price.any() and not any(few.changes.values())
    assert fit_prices(now, replace(choices, users=choices.users % 50), POPULARITY, max_loss=0.5).price.any()


def test_exposure_is_of_now_and_accuracy_of_the_choices(world: World) -> None:
    now, choices = world
    half = Shown(now.chance[:150], now.weight[:150])
    found, free = fit_prices(half, choices, POPULARITY, max_loss=0.05), np.zeros(NUM_ITEMS, np.float32)
    reach = [len(np.unique(half.slates(price))) for price in (found.price, free)]
    assert found.changes["coverage@10"] == pytest.approx(reach[0] / reach[1] - 1)
    accuracy = [choices.accuracy(price) for price in (found.price, free)]
    assert found.changes["ndcg@10"] == pytest.approx(accuracy[0] / accuracy[1] - 1)


def test_a_user_of_many_choices_has_one_vote() -> None:
    shown = Shown(np.tile(np.linspace(0.2, 0.01, 12, dtype=np.float32), (4, 1)), np.ones(4, np.float32))
    choices = Chosen(shown, np.array([0, 11, 11, 11], np.int32), np.array([0, 1, 1, 1]))
    assert choices.accuracy(np.zeros(12, np.float32)) == pytest.approx(0.5)


def test_nobody_is_shown_what_was_seen() -> None:
    chance = np.array([[0.5, *[0.05] * 10, 0.0]], np.float32)
    price = np.append(np.zeros(11), -1).astype(np.float32)
    assert 11 not in Shown(chance, np.ones(1, np.float32)).slates(price)


@dataclass
class Fixed:
    """Scores that are given, by user code."""

    scores: np.ndarray
    name: str = "fixed"

    def score(self, users: np.ndarray, histories: object) -> np.ndarray:
        return self.scores[users].copy()


def test_prices_of_a_corpus_have_the_cold_items_lowest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llm4rec.recommend.prices.MIN_USERS", 60)
    corpus = loops_corpus()
    rng = np.random.default_rng(0)
    chosen = np.bincount(corpus.part(TRAIN).item, minlength=corpus.num_warm_items)
    scores = np.log1p(chosen) + 0.3 * rng.normal(size=(corpus.num_users, corpus.num_warm_items))
    weight = np.ones(corpus.num_users, np.float32)
    prices = learn_prices(Fixed(scores.astype(np.float32)), corpus, weight, max_loss=0.9)
    assert prices.price.shape == (corpus.num_items,)
    assert (prices.price[corpus.num_warm_items :] == prices.price.min()).all()
    assert prices.price.min() < 0


def test_users_who_have_seen_nearly_everything_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their slates could only be filled with items seen, and somebody who has seen all has no chances at all."""
    monkeypatch.setattr("llm4rec.recommend.prices.MIN_USERS", 1)
    rng = np.random.default_rng(0)
    users, items = np.divmod(np.arange(60 * 30), 30)  # 60 users, 30 items each in their own order
    items = np.concatenate([rng.permutation(30) for _ in range(60)])
    place = np.arange(60 * 30) % 30
    kept = (place < 8) | (users == 0)  # user 0 has them all
    split = np.where(place[kept] == 7, VALID, TRAIN)
    size = int(kept.sum())
    log = Interactions(
        users[kept].astype(np.int32),
        items[kept].astype(np.int32),
        np.arange(size),
        np.ones(size, np.float32),
        np.zeros(size, np.int32),
        split.astype(np.int32),
    )
    ids = [str(code) for code in range(60)]
    corpus = Corpus(log, pa.table({ITEM_ID: ids[:30], TITLE: ids[:30]}), pa.table({USER_ID: ids}), ("view",), 30)
    scores = (np.log1p(np.bincount(log.item, minlength=30)) + rng.normal(size=(60, 30))).astype(np.float32)
    everybody = learn_prices(Fixed(scores), corpus, np.ones(60, np.float32), max_loss=0.9)
    assert np.isfinite(everybody.price).all() and everybody.price.any()


@pytest.mark.parametrize(("diversity", "candidates", "remove_seen"), [(0, 20, True), (0.4, 20, True), (0.4, 3, False)])
def test_scores_as_asked_give_the_slates_of_such_requests(diversity: float, candidates: int, remove_seen: bool) -> None:
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(40, 6)).astype(np.float32)
    scores = (3 * rng.normal(size=(5, 40)) + 5).astype(np.float32)
    price = rng.normal(size=40).astype(np.float32) / 20
    weight = np.array([0.0, 0.5, 1.0, 2.0, 3.0], np.float32)
    config = EvaluateConfig(top_n=6, remove_seen=remove_seen)
    histories = [history(user, user + 7) for user in range(5)]
    debiased = Debiased(Fixed(scores), price, weight, config)
    charged = Varied(debiased, vectors, diversity, candidates, config).score(np.arange(5), histories)
    catalogue = Catalogue(
        vectors,
        price,
        np.full(40, np.nan, np.float32),
        [()] * 40,
        np.full(40, np.nan, np.float32),
    )
    settings = RecommendConfig(k=6, temperature=0, debias=1.0, diversity=diversity, candidates=candidates)
    for user in range(5):
        seen = histories[user].item[: None if remove_seen else 0]
        charged[user, seen] = -np.inf
        wish = Wish(popularity_weight=float(weight[user]))
        slate = draw_slate(scores[user], seen, settings, catalogue, rng, wish)
        assert slate.codes.tolist() == np.argsort(-charged[user], kind="stable")[:6].tolist()


def test_equal_popularity_makes_nobody_pay_for_it(world: World) -> None:
    alike = np.full(NUM_ITEMS, 7, np.int32)
    prices = fit_prices(*world, alike, max_loss=0.5)
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


def test_diversity_keeps_what_is_no_candidate_and_changes_who_stands_first() -> None:
    rng = np.random.default_rng(2)
    scores, vectors = rng.normal(size=(3, 30)).astype(np.float32), rng.normal(size=(30, 3)).astype(np.float32)
    histories = [history(1), history(2), history(3)]
    config = EvaluateConfig(top_n=5)
    varied = Varied(Fixed(scores), vectors, 0.6, 10, config).score(np.arange(3), histories)
    for before, after, past in zip(scores, varied, histories, strict=True):
        unseen = np.setdiff1d(np.arange(30), past.item)
        candidates = unseen[np.argsort(-before[unseen])[:10]]
        others = np.setdiff1d(np.arange(30), candidates)
        assert after[others].tolist() == before[others].tolist()
        assert sorted(after[candidates]) == sorted(before[candidates])
        assert after[candidates[0]] == before[candidates[0]]  # nothing stands above the best
    assert not np.array_equal(varied, scores)
