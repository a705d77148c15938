"""All figures of one model."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from llm4rec.evaluate import metrics
from llm4rec.evaluate.attacker import attacker_auc
from llm4rec.evaluate.config import EvaluateConfig
from llm4rec.evaluate.metrics import Labels
from llm4rec.evaluate.ranking import RankedLists
from llm4rec.schema import Corpus, FloatMatrix, FloatVector


@dataclass(frozen=True)
class ModelResult:
    """What was measured of one model.

    Attributes:
        name: as in metrics.json.
        per_user: metric name to a value for each user, shape (E,); the report shows their mean with an interval.
        overall: metrics that are one figure for all users.
        seconds: time to fit the model.
    """

    name: str
    per_user: Mapping[str, FloatVector]
    overall: Mapping[str, float]
    seconds: float


def measure(
    name: str,
    ranked: RankedLists,
    corpus: Corpus,
    config: EvaluateConfig,
    *,
    seconds: float,
    text_vectors: FloatMatrix | None = None,
    groups: Mapping[str, Labels] | None = None,
    states: FloatMatrix | None = None,
    attacked: Collection[str] | None = None,
) -> ModelResult:
    """Compute every metric of one model.

    Args:
        name: the model's name in the report.
        ranked: its ranking.
        corpus: popularity and catalogue size come from here.
        config: the cut and the definition of popular.
        seconds: time to fit the model.
        text_vectors: shape (at least I, D) by item code, for ILD; without it ILD is left out.
        groups: user attribute to labels, shape (E,), for the parity gap; without it the gap is left out.
        states: user states, shape (E, D), for attackers who read those attributes from them; the better one counts.
        attacked: the attributes that they try to read; None: all.
    """
    n, slates, popularity = config.top_n, ranked.items, corpus.train_popularity()
    per_user = {
        f"ndcg@{n}": metrics.ndcg(ranked.target_rank, n),
        f"hr@{n}": metrics.hit_rate(ranked.target_rank, n),
        "mrr": metrics.reciprocal_rank(ranked.target_rank),
        f"arp@{n}": metrics.average_popularity(slates, popularity),
        f"novelty@{n}": metrics.novelty(slates, popularity, corpus.num_users),
    }
    popular = metrics.popular_items(popularity, config.popular_share)
    per_user[f"aplt@{n}"] = metrics.tail_share(slates, popular)
    if text_vectors is not None:
        per_user[f"ild@{n}"] = metrics.diversity(slates, text_vectors)
    overall = {
        f"coverage@{n}": metrics.coverage(slates, corpus.num_warm_items),
        f"gini@{n}": metrics.gini(slates, corpus.num_warm_items),
    }
    if groups:
        compared = {
            "dp_gap": metrics.popular_exposure(slates, popular),  # demographic parity: alike in what is shown
            "eo_gap": per_user[f"ndcg@{n}"],  # equal opportunity: alike in how well it serves
        }
        for gap, values in compared.items():
            gaps = {
                f"{gap}@{n}/{attribute}": metrics.parity_gap(values, labels, config.min_group_size)
                for attribute, labels in groups.items()
            }
            overall |= {f"{gap}@{n}": max(gaps.values()), **gaps}
        if states is not None:
            overall |= {
                f"attacker_auc/{attribute}": max(found.values())
                for attribute, labels in groups.items()
                if (attacked is None or attribute in attacked)
                and (found := attacker_auc(states, labels, config.min_group_size, seed=0))
            }
    return ModelResult(name, per_user, overall, seconds)
