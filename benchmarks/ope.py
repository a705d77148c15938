"""The value of one real policy from the log of another, beside the same estimators of another library.

    pip install --no-deps -r benchmarks/requirements.txt
    python benchmarks/ope.py                   # writes benchmarks/results/ope.json

The sample of the Open Bandit Dataset that the package obp carries: 10,000 decisions of a random policy and 10,000 of
Bernoulli Thompson sampling in the same days of one shop (Saito et al. 2020). From the first log alone the value of the
second policy is estimated; what it earned in its own log is the answer. The reward model is a logistic regression on
what is known of the item, the user and the position, cross-fitted.
"""

import argparse
import time
from collections.abc import Sequence
from importlib.metadata import version
from importlib.resources import files

import numpy as np
import pandas as pd
from measure import store
from obp.ope import (
    DirectMethod,
    DoublyRobust,
    InverseProbabilityWeighting,
    SelfNormalizedInverseProbabilityWeighting,
    SwitchDoublyRobust,
)
from obp.policy import BernoulliTS
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import OneHotEncoder

from llm4rec.evaluate.off_policy import Decisions, effective_sample_size, policy_values

CAMPAIGN = "all"
POSITIONS = 3
SIMULATIONS = 100_000
"""Draws that the evaluation policy's probabilities are computed from."""
MAX_WEIGHT = 5.0
FOLDS, SAMPLES, SEED = 3, 10_000, 0
USER = [f"user_feature_{place}" for place in range(4)]


def read(policy: str) -> pd.DataFrame:
    """The log of a policy."""
    folder = files("obp.dataset").joinpath("obd", policy, CAMPAIGN)
    return pd.read_csv(str(folder.joinpath(f"{CAMPAIGN}.csv")), index_col=0)


def items() -> np.ndarray:
    """What is known of each item, shape (items, features)."""
    folder = files("obp.dataset").joinpath("obd", "random", CAMPAIGN)
    table = pd.read_csv(str(folder.joinpath("item_context.csv")), index_col=0).sort_values("item_id")
    kinds = OneHotEncoder(sparse_output=False).fit_transform(table[[f"item_feature_{place}" for place in (1, 2, 3)]])
    return np.hstack([table[["item_feature_0"]].to_numpy(), kinds])


def reward_model(log: pd.DataFrame, catalogue: np.ndarray) -> np.ndarray:
    """The expected reward of every choice, each decision by a model that has not seen it, shape (n, items)."""
    user = OneHotEncoder(sparse_output=False, min_frequency=50, handle_unknown="infrequent_if_exist")
    context = np.hstack([user.fit_transform(log[USER]), np.eye(POSITIONS)[log["position"] - 1]])
    chosen = np.hstack([context, catalogue[log["item_id"]]])
    reward = log["click"].to_numpy()
    expected = np.empty((len(log), len(catalogue)))
    for fitted, held in StratifiedKFold(FOLDS, shuffle=True, random_state=SEED).split(chosen, reward):
        model = LogisticRegression(C=0.1, max_iter=1000).fit(chosen[fitted], reward[fitted])
        logits_user = context[held] @ model.coef_[0, : context.shape[1]] + model.intercept_[0]
        logits_item = catalogue @ model.coef_[0, context.shape[1] :]
        expected[held] = 1 / (1 + np.exp(-(logits_user[:, None] + logits_item)))
    return expected


def main(argv: Sequence[str] | None = None) -> None:
    """Estimate by both, compare, store."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.parse_args(argv)
    started = time.monotonic()
    log, on_policy = read("random"), read("bts")["click"].to_numpy()
    reward, logged = log["click"].to_numpy(float), log["propensity_score"].to_numpy(float)
    action, position = log["item_id"].to_numpy(), log["position"].to_numpy() - 1
    catalogue = items()
    policy = BernoulliTS(
        n_actions=len(catalogue),
        len_list=POSITIONS,
        is_zozotown_prior=True,  # the one that ran in the shop
        campaign=CAMPAIGN,
        random_state=SEED,
    )
    by_position = policy.compute_batch_action_dist(n_rounds=1, n_sim=SIMULATIONS)[0]
    target = by_position[:, position].T  # of every item at the position of each decision, (n, items)
    expected = reward_model(log, catalogue)
    rows = np.arange(len(log))
    decisions = Decisions(reward, logged, target[rows, action], expected[rows, action], (target * expected).sum(axis=1))
    ours = policy_values(decisions, max_weight=MAX_WEIGHT, samples=SAMPLES, seed=SEED)

    given = {"reward": reward, "action": action, "pscore": logged, "position": position}
    given["action_dist"] = np.broadcast_to(by_position, (len(log), *by_position.shape))
    given["estimated_rewards_by_reg_model"] = np.repeat(expected[:, :, None], POSITIONS, axis=2)
    others = {
        "ips": InverseProbabilityWeighting(),
        "snips": SelfNormalizedInverseProbabilityWeighting(),
        "dm": DirectMethod(),
        "dr": DoublyRobust(),
        "switch_dr": SwitchDoublyRobust(tau=MAX_WEIGHT),
    }
    theirs = {name: float(estimator.estimate_policy_value(**given)) for name, estimator in others.items()}
    truth = float(on_policy.mean())
    figures = {
        "obp": version("obp"),
        "decisions": len(log),
        "clicks": int(reward.sum()),
        "effective_sample_size": effective_sample_size(decisions),
        "on_policy_value": truth,
        "on_policy_standard_error": float(on_policy.std(ddof=1) / np.sqrt(len(on_policy))),
        "logging_policy_value": float(reward.mean()),
        "value": {name: ours[name].value for name in others},
        "ci95": {name: list(ours[name].ci95) for name in others},
        "on_policy_covered_by": {name: ours[name].ci95[0] <= truth <= ours[name].ci95[1] for name in others},
        "on_policy_covered": all(
            ours[name].ci95[0] <= truth <= ours[name].ci95[1]
            for name in others
            if name != "dm"  # the model alone
        ),
        "obp_value": theirs,
        "max_difference_to_obp": max(abs(ours[name].value - theirs[name]) for name in others),
    }
    store("ope", figures, time.monotonic() - started, [SEED])


if __name__ == "__main__":
    main()
