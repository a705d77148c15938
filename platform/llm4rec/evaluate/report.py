"""metrics.json, the contract that programs read, and index.html, the same for people."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from llm4rec.errors import Llm4RecError
from llm4rec.evaluate import plots
from llm4rec.evaluate.bootstrap import confidence_interval, holm, paired_p_value
from llm4rec.evaluate.config import EvaluateConfig
from llm4rec.evaluate.extras import ReportExtras, SliceMeans
from llm4rec.evaluate.metrics import Labels, slice_means
from llm4rec.evaluate.protocol import EvaluationSet
from llm4rec.evaluate.result import ModelResult
from llm4rec.page import render

OURS = "llm4rec"


@dataclass(frozen=True)
class Ablation:
    """The model with something changed.

    Attributes:
        result: what it did.
        unchanged: what it did without the change; None for a row that others are compared with.
    """

    result: ModelResult
    unchanged: ModelResult | None


def build_metrics(
    results: Sequence[ModelResult],
    evaluation_set: EvaluationSet,
    config: EvaluateConfig,
    *,
    split: str,
    ablations: Mapping[str, Ablation] | None = None,
    fusion: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The content of metrics.json: protocol, split hash, every model's figures with intervals, significance.

    Args:
        results: one a model, in the order of the report.
        evaluation_set: whom they were ranked for.
        config: how.
        split: which split it is.
        ablations: variants of our model, by name.
        fusion: from `fusion_weights.summarise`.

    Raises:
        Llm4RecError: two results share a name.
    """
    names = [result.name for result in results]
    if len(set(names)) < len(names):
        raise Llm4RecError(f"every evaluated model needs its own name, got {names}")
    return {
        "protocol": _protocol(evaluation_set, config, split),
        "split_hash": evaluation_set.split_hash,
        "models": {result.name: _figures(result, config) for result in results},
        "ablations": {name: _changed(variant, config) for name, variant in (ablations or {}).items()},
        "significance": _significance(results, config),
        "fusion": dict(fusion or {}),
    }


def slice_results(results: Sequence[ModelResult], labels: Labels, metric: str) -> SliceMeans:
    """Model to label to {"mean", "users"} of a per-user metric; labels have shape (E,)."""
    return {result.name: slice_means(result.per_user[metric], labels) for result in results}


def render_html(metrics: Mapping[str, Any], extras: ReportExtras) -> str:
    """The report as one self-contained page: no script, nothing loaded from elsewhere."""
    cut, columns = metrics["protocol"]["top_n"], _columns(metrics["models"])
    first = {f"ndcg@{cut}", f"hr@{cut}", "mrr", f"coverage@{cut}", f"ild@{cut}"}
    return render(
        "llm4rec.evaluate",
        "index.html",
        metrics=metrics,
        extras=extras,
        ours=OURS,
        cut=cut,
        columns=[name for name in columns if name in first],
        ablation_columns=_ablation_columns(metrics["ablations"], cut),
        more_columns=[name for name in columns if name not in first],
        best={
            name: max(figures[name] for figures in metrics["models"].values())
            for name in (f"ndcg@{cut}", f"hr@{cut}", "mrr")
        },
        p_values={name: row["p_holm"] for name, row in metrics["significance"].get("against", {}).items()},
        charts=plots.draw_all(metrics, extras, f"ndcg@{cut}", OURS),
    )


def _protocol(evaluation_set: EvaluationSet, config: EvaluateConfig, split: str) -> dict[str, Any]:
    return {
        "split": split,
        "ranking": "full catalogue, ties count against the model",
        "users": len(evaluation_set),
        "items": evaluation_set.num_items,
        "top_n": config.top_n,
        "remove_seen": config.remove_seen,
        "popular_share": config.popular_share,
        "bootstrap_samples": config.bootstrap_samples,
        "seed": config.seed,
    }


def _figures(result: ModelResult, config: EvaluateConfig) -> dict[str, Any]:
    samples, seed = config.bootstrap_samples, config.seed
    intervals = {name: list(confidence_interval(values, samples, seed)) for name, values in _known(result).items()}
    return _means(result) | {"ci95": intervals, "seconds": round(result.seconds, 2)}


def _changed(variant: Ablation, config: EvaluateConfig) -> dict[str, Any]:
    """Means, and what the change comes to for the same users."""
    figures: dict[str, Any] = dict(_means(variant.result))
    if variant.unchanged is not None:
        metric = f"ndcg@{config.top_n}"
        figures["change"] = _difference(variant.result.per_user[metric], variant.unchanged.per_user[metric], config)
    return figures


def _means(result: ModelResult) -> dict[str, float]:
    return {name: float(np.nanmean(values)) for name, values in _known(result).items()} | dict(result.overall)


def _known(result: ModelResult) -> dict[str, np.ndarray]:
    """A metric that is defined for no user (ILD without any text) has no figure, and NaN is no JSON."""
    return {name: values for name, values in result.per_user.items() if not np.isnan(values).all()}


def _significance(results: Sequence[ModelResult], config: EvaluateConfig) -> dict[str, Any]:
    """Our model against each other one by paired bootstrap; empty where ours was not evaluated."""
    metric, by_name = f"ndcg@{config.top_n}", {result.name: result.per_user for result in results}
    if OURS not in by_name:
        return {}
    ours = by_name.pop(OURS)[metric]
    against = {name: _comparison(ours, theirs[metric], config) for name, theirs in by_name.items()}
    for name, p_value in holm({name: row["p"] for name, row in against.items()}).items():
        against[name]["p_holm"] = p_value
    return {"metric": metric, "model": OURS, "test": "paired bootstrap over users, Holm", "against": against}


def _comparison(ours: np.ndarray, theirs: np.ndarray, config: EvaluateConfig) -> dict[str, Any]:
    p_value = paired_p_value(ours, theirs, config.bootstrap_samples, config.seed)
    return _difference(ours, theirs, config) | {"p": p_value}


def _difference(some: np.ndarray, others: np.ndarray, config: EvaluateConfig) -> dict[str, Any]:
    """Its mean and its interval, paired over users."""
    difference = some - others
    interval = confidence_interval(difference, config.bootstrap_samples, config.seed)
    return {"difference": float(difference.mean()), "ci95": list(interval)}


def _columns(models: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Metrics that at least one model has, in the order they came; the per-attribute gaps have their own section."""
    names = dict.fromkeys(name for figures in models.values() for name in figures)
    return [name for name in names if name not in {"ci95", "seconds"} and "/" not in name]


def _ablation_columns(ablations: Mapping[str, Mapping[str, Any]], cut: int) -> list[str]:
    """What variants are made for: accuracy, diversity, popularity, parity; attackers of what repairs were to hide."""
    shown = [f"{name}@{cut}" for name in ("ndcg", "hr", "ild", "coverage", "arp", "dp_gap", "eo_gap")]
    known = {name for figures in ablations.values() for name in figures}
    repaired = [figures for variant, figures in ablations.items() if variant.startswith("repair ")]
    attackers = dict.fromkeys(name for figures in repaired for name in figures if name.startswith("attacker_auc/"))
    return [name for name in shown if name in known] + list(attackers)
