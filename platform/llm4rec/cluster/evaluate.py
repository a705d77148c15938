"""The evaluate stage: llm4rec and its baselines under one evaluator; baselines are fitted as Ray tasks."""

import logging
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import ray
import torch

from llm4rec.artifacts import Artifact, ArtifactWriter, RunStore
from llm4rec.baselines.sequence import SequenceModel
from llm4rec.cluster.ablation import Ablations
from llm4rec.cluster.baselines import Baseline, new_baselines
from llm4rec.cluster.catalogue import LiveCatalogue
from llm4rec.cluster.grounding import Grounding
from llm4rec.cluster.run_config import RunConfig
from llm4rec.cluster.session import free_cpus
from llm4rec.cluster.snapshot import REQUIRED, Snapshot
from llm4rec.cluster.stage import MODEL, run_stage
from llm4rec.evaluate.extras import ExampleSlate, ReportExtras
from llm4rec.evaluate.fusion_weights import summarise
from llm4rec.evaluate.groups import TARGETS, target_popularity, user_groups
from llm4rec.evaluate.metrics import popular_items
from llm4rec.evaluate.protocol import EvaluationSet
from llm4rec.evaluate.ranking import RankedLists, rank
from llm4rec.evaluate.report import OURS, build_metrics, render_html, slice_results
from llm4rec.evaluate.result import ModelResult, measure
from llm4rec.explain.template import template_reason
from llm4rec.recommend.gate import Gated
from llm4rec.recommend.scorers import OfStates
from llm4rec.schema import TEST, TEXT, USER_ID, Corpus, FloatMatrix

log = logging.getLogger("llm4rec")

NUM_EXAMPLES = 3
NUM_SHOWN = 5
MAX_GROUPS = 25
MAX_THREADS = 4
"""Of a baseline that is a network: its small matrices gain nothing from more."""


def run(store: RunStore, config: RunConfig) -> Artifact:
    """All artifacts -> report: metrics.json and index.html."""
    inputs = {name: store.open(name) for name in REQUIRED}

    def build(writer: ArtifactWriter) -> None:
        _report(writer, Snapshot.open(store, config, measured=True), config, inputs[MODEL].manifest["seconds"])

    return run_stage(
        store,
        "report",
        config={
            "evaluate": config.evaluate,
            "baselines": config.baselines,
            "explain": config.explain,
            "split": config.run.split,
        },
        inputs={name: artifact.hash for name, artifact in inputs.items()},
        seed=config.run.seed,
        build=build,
    )


def _report(writer: ArtifactWriter, snapshot: Snapshot, config: RunConfig, train_seconds: float) -> None:
    corpus = snapshot.corpus
    evaluation_set = EvaluationSet.build(corpus, TEST)
    chosen = new_baselines(config.baselines, config.run.seed, snapshot.features)
    shared = ray.put(corpus)  # not one copy a baseline
    fits = [_start(baseline, shared, config) for baseline in chosen]
    states = snapshot.scorer.user_states(evaluation_set.users, evaluation_set.histories)
    network = OfStates.of(states, snapshot.scorer, evaluation_set)
    ours = Gated(network, snapshot.gate)
    ranked = {OURS: (rank(ours, evaluation_set, config.evaluate), train_seconds)}
    log.info("evaluate: llm4rec ranked")
    for done, reference in enumerate(fits, start=1):
        name, lists, seconds = ray.get(reference)
        log.info("evaluate: %s fitted and ranked in %.1f s (%d/%d)", name, seconds, done, len(fits))
        ranked[name] = (lists, seconds)
    groups = _groups(corpus, evaluation_set)
    results = [
        measure(
            name,
            lists,
            corpus,
            config.evaluate,
            seconds=seconds,
            text_vectors=snapshot.features[TEXT].vectors if TEXT in snapshot.features else None,
            groups=groups,
            states=states if name == OURS else None,
        )
        for name, (lists, seconds) in ranked.items()
    ]
    metrics = build_metrics(
        results,
        evaluation_set,
        config.evaluate,
        split=config.run.split,
        ablations=Ablations(snapshot, evaluation_set, config.evaluate, groups).run(results[0], ours, network),
        fusion=_fusion(snapshot),
    )
    extras = _extras(snapshot, config, evaluation_set, ranked[OURS][0], results, groups, states)
    writer.write_json("metrics.json", metrics)
    writer.write_bytes("index.html", render_html(metrics, extras).encode())


def _start(baseline: Baseline, corpus: "ray.ObjectRef[Corpus]", config: RunConfig) -> Any:
    """A Ray task that fits and ranks. A network, the last to end, gets a GPU or the CPUs that the others leave idle."""
    num_gpus = int(isinstance(baseline, SequenceModel) and ray.cluster_resources().get("GPU", 0) >= 1)
    num_cpus = _cpus_for_training() if isinstance(baseline, SequenceModel) and not num_gpus else 1
    options = {"num_cpus": num_cpus, "num_gpus": num_gpus}
    return ray.remote(_fit_and_rank).options(**options).remote(baseline, corpus, config, num_cpus)


def _cpus_for_training() -> int:
    """Those that are free on a cluster of one machine; 1 on others, where free CPUs may lie on several machines."""
    machines = [node for node in ray.nodes() if node["Alive"]]
    return min(free_cpus(), MAX_THREADS) if len(machines) == 1 else 1


def _fit_and_rank(
    baseline: Baseline, corpus: Corpus, config: RunConfig, num_threads: int
) -> tuple[str, RankedLists, float]:
    torch.set_num_threads(num_threads)
    started = time.monotonic()
    if isinstance(baseline, SequenceModel):
        baseline.fit(corpus, progress=lambda line: print(f"evaluate: {line}", flush=True))
    else:
        baseline.fit(corpus)
    seconds = time.monotonic() - started
    return baseline.name, rank(baseline, EvaluationSet.build(corpus, TEST), config.evaluate), seconds


def _groups(corpus: Corpus, evaluation_set: EvaluationSet) -> dict[str, np.ndarray]:
    names = [name for name in corpus.users.column_names if name != USER_ID]
    labels = {name: user_groups(corpus, name, evaluation_set.users) for name in names}
    return {name: values for name, values in labels.items() if 2 <= len(set(values)) <= MAX_GROUPS}


def _extras(
    snapshot: Snapshot,
    config: RunConfig,
    evaluation_set: EvaluationSet,
    ranked: RankedLists,
    results: Sequence[ModelResult],
    groups: dict[str, np.ndarray],
    states: FloatMatrix,
) -> ReportExtras:
    popularity, metric = snapshot.corpus.train_popularity(), f"ndcg@{config.evaluate.top_n}"
    popular = popular_items(popularity, config.evaluate.popular_share)
    slices = target_popularity(popular, popularity, evaluation_set.targets)
    by_popularity = {
        name: {label: means[label] for label in TARGETS if label in means}
        for name, means in slice_results(results, slices, metric).items()
    }
    return ReportExtras(
        title=f"LLM4Rec on {config.source.path.rstrip('/').rpartition('/')[2]}",
        learning_curve=[
            {name: value + (name == "epoch") for name, value in point.items() if name != "seconds"}
            for point in snapshot.curve  # whose first epoch is 0
        ],
        popularity_slices=by_popularity,
        group_slices={name: slice_results(results, labels, metric) for name, labels in groups.items()},
        effects=_effects(snapshot.effects.summary),
        causal=snapshot.effects.summary,
        slates=_examples(snapshot, config, evaluation_set, ranked, states),
    )


def _effects(summary: dict[str, Any]) -> dict[str, Any]:
    """The estimates that exist, adjusted and naive, as the report shows them."""
    shown: dict[str, Any] = {}
    for key, label in (("popularity_effect", "popularity"), ("exposure_effect", "exposure")):
        if summary[key] is not None:
            shown[f"{label}, adjusted"] = summary[key]
            shown[f"{label}, naive"] = summary[key]["naive"]
    return {name: {k: v for k, v in row.items() if k in {"effect", "ci95"}} for name, row in shown.items()}


def _fusion(snapshot: Snapshot) -> dict[str, Any]:
    """What the fusion listens to, by group of items."""
    model = snapshot.scorer.model
    with torch.no_grad():
        alpha, present = model.modality_weights()
    popularity = snapshot.corpus.train_popularity()
    return summarise(alpha.float().numpy(), present.numpy(), sorted(model.shape.widths), popularity)


def _examples(
    snapshot: Snapshot, config: RunConfig, evaluation_set: EvaluationSet, ranked: RankedLists, states: FloatMatrix
) -> list[ExampleSlate]:
    """Slates of the first users, with template reasons: the language model writes them when the app is asked."""
    items = LiveCatalogue.of(snapshot).described
    grounding = Grounding(snapshot.evidence, items, config.explain)
    examples = []
    for row in range(min(NUM_EXAMPLES, len(evaluation_set))):
        history = evaluation_set.histories[row]
        slate = [
            (items.titles[item], template_reason(grounding.of(items, int(item), history, states[row])))
            for item in ranked.items[row][:NUM_SHOWN]
            if item >= 0
        ]
        titles = [items.titles[item] for item in history.last(NUM_SHOWN).item]
        examples.append(ExampleSlate(snapshot.corpus.user_ids[evaluation_set.users[row]], titles, slate))
    return examples
