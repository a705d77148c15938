"""What requests for `debias` and `diversity` cost: accuracy, diversity and coverage of slates over a grid of both.

    python benchmarks/tradeoff.py    # our model of quality.py on ML-1M, seed 0, which is trained if it is not kept

Writes benchmarks/results/tradeoff.json and docs/images/tradeoff.png. Of the validation part, full ranking, items seen
removed, at `temperature: 0`; the gate and the prices were fitted to the same part. `chosen` is the most diverse of the
pairs that widen coverage by a tenth and lose at most 1.5 % of NDCG@10; `of_quality` is the pair of which quality.py has
a row, chosen by the same rule of another training. One thread; `seconds` are the clock's.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import torch
from measure import HOME, store
from offline_runs import arguments, read_run, trained
from quality import SEEN_REMOVED, Remembering, gated, prices, rounded
from quality_runs import DEBIAS, DIVERSITY, VARIED, found_best, new_job

from llm4rec.evaluate.protocol import EvaluationSet
from llm4rec.evaluate.ranking import Scorer, rank
from llm4rec.evaluate.result import measure
from llm4rec.recommend.scorers import Debiased, Varied
from llm4rec.schema import TEXT, VALID

TABLE = "ml-1m-seq"
DEBIAS_GRID = (0, 0.25, 0.4, 0.5, 0.6, 0.75, 1)
DIVERSITY_GRID = (0, 0.3, 0.4, 0.5)
WIDER, LOST = 1.1, 0.015
METRICS = ("ndcg@10", "ild@10", "coverage@10")

NEAR: dict[str, Any] = {"textcoords": "offset points", "fontsize": 8, "color": "0.3"}

Row = dict[str, float]


def main() -> None:
    """Rank with every pair, choose one, plot and store."""
    options = arguments(__doc__, [VARIED])
    torch.set_num_threads(1)
    began = time.monotonic()
    job = new_job(TABLE, VARIED, found_best(TABLE, VARIED), options.seeds[0], options)
    corpus, features = read_run(job.run, job.config.run.split)
    network = trained(job, corpus, features)
    ours = gated(network, corpus)
    weight, price = prices(ours, job, corpus, features)
    vectors, candidates = network.item_vectors.float().cpu().numpy(), job.config.recommend.candidates
    asked, scores = EvaluationSet.successive(corpus, VALID), Remembering(ours)
    text = features[TEXT].vectors[: corpus.num_warm_items]
    rows: list[Row] = []
    for debias in DEBIAS_GRID:
        paying: Scorer = Debiased(scores, price, debias * weight, SEEN_REMOVED) if debias else scores
        for diversity in DIVERSITY_GRID:
            scorer = Varied(paying, vectors, diversity, candidates, SEEN_REMOVED) if diversity else paying
            ranked = rank(scorer, asked, SEEN_REMOVED)
            found = measure(TABLE, ranked, corpus, SEEN_REMOVED, seconds=0.0, text_vectors=text)
            means = {name: values.mean() for name, values in found.per_user.items()} | dict(found.overall)
            rows.append({"debias": debias, "diversity": diversity} | {name: rounded(means[name]) for name in METRICS})
            print(rows[-1], flush=True)
    figures: dict[str, Any] = {"chosen": chosen(rows), "of_quality": [DEBIAS, DIVERSITY], "rows": rows}
    if options.trial:
        print(figures)
        return
    store("tradeoff", figures, time.monotonic() - began, [job.seed])
    plot(rows, HOME / "docs" / "images" / "tradeoff.png")


def chosen(rows: Sequence[Row]) -> Row | None:
    """The most diverse of the pairs that cost little and widen coverage, if there are any."""
    plain = next(row for row in rows if not row["debias"] and not row["diversity"])
    allowed = [
        row
        for row in rows
        if row["coverage@10"] >= WIDER * plain["coverage@10"] and row["ndcg@10"] >= (1 - LOST) * plain["ndcg@10"]
    ]
    return max(allowed, key=lambda row: row["ild@10"], default=None)


def plot(rows: Sequence[Row], path: Path) -> None:
    """Coverage and diversity of every pair, coloured by accuracy."""
    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    for diversity in DIVERSITY_GRID:
        line = [row for row in rows if row["diversity"] == diversity]
        axes.plot(*([row[name] for row in line] for name in ("coverage@10", "ild@10")), color="0.8", zorder=1)
        axes.annotate(f"diversity {diversity}", (line[-1]["coverage@10"], line[-1]["ild@10"]), (6, -3), **NEAR)
    for row in rows:
        if not row["diversity"]:
            axes.annotate(f"debias {row['debias']}", (row["coverage@10"], row["ild@10"]), (-8, -9), ha="right", **NEAR)
    coverage, diverse, accuracy = ([row[name] for row in rows] for name in ("coverage@10", "ild@10", "ndcg@10"))
    points = axes.scatter(coverage, diverse, c=accuracy, cmap="viridis", s=45)
    figure.colorbar(points, label="NDCG@10")
    axes.set(xlabel="coverage@10: share of the catalogue on any slate", ylabel="diversity within a slate (ILD@10)")
    axes.margins(x=0.2, y=0.1)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
