"""The search for the settings of every model: equally many trials each, measured on the validation part alone.

    python benchmarks/search.py                                      # all, hours; goes on where it was cut
    python benchmarks/search.py --tables ml-100k --models sasrec     # a part of it; the file keeps the others
    python benchmarks/search.py --budget 60                          # starts no trial after an hour

Writes benchmarks/results/search.json: for each collection and model what was tried, NDCG@10 of the validation part
(leave-one-out, full ranking, seen items removed) and seconds, the best first, whose settings quality.py takes. Trials
have seed 0, stop early by the same validation part, and are those below, on top of the defaults of the model. A trial
ranks for the test part too, since quality.py takes over what has been run, but nothing here looks at that.
"""

import json
from typing import Any

from measure import store
from offline_runs import arguments, finished
from quality import MODELS, OURS, POPULAR, SEARCH, Settings, compete, new_job

from llm4rec.evaluate.metrics import hit_rate, ndcg

LARGE: Settings = {
    "embedding_size": 128,
    "num_heads": 2,
    "history_length": 200,
    "batch_size": 16,
    "learning_rate": 1e-3,
    "precision": "bf16",
    "epochs": 16,
    "validate_every": 2,
}
NETWORKS: dict[str, list[Settings]] = {
    "ml-1m-seq": [LARGE | {"history_length": 100}, LARGE | {"history_length": 100, "dropout": 0.2}, LARGE],
    "ml-100k": [
        {},
        {"dropout": 0.5},
        {"embedding_size": 128, "dropout": 0.5},
        {"history_length": 50},
        {"learning_rate": 1e-3, "epochs": 60},
        {"num_blocks": 1},
    ],
}
NETWORKS["ml-latest-small"] = NETWORKS["ml-100k"]
OF_NETWORKS = ["sasrec", "sasrec_bce", "gsasrec", "bert4rec", "hstu", "tiger"]
OTHERS: dict[str, list[Settings]] = {
    "item_knn": [
        {"last": None, "num_neighbors": count, "shrink": shrink} for shrink in (10, 50) for count in (200, 50, 500)
    ],
    "item_knn_last": [{"last": last, "decay": decay} for decay in (0.8, 0.6) for last in (5, 10, 3)],
    "ease": [{"reg": reg} for reg in (100, 300, 1000, 30, 3000, 10000)],
    "ials": [{"factors": factors, "reg": reg} for factors in (128, 256) for reg in (30, 100, 10)],
}
COMMON: Settings = {"num_workers": 0, "causal_weight": 0.0, "learning_rate": 2e-3, "backbone_learning_rate": 5e-4}
MODEL: Settings = {"num_layers": 1, "embedding_size": 128, "fusion_size": 128, "modalities": ["text", "categories"]}
SMALL: Settings = COMMON | {"batch_size": 16, "epochs": 12, "learning_rate": 3e-3}
FEW: Settings = {"num_layers": 1, "dropout": 0.3}
OWN: dict[str, list[Settings]] = {
    "ml-1m-seq": [
        COMMON | {"batch_size": 16, "epochs": 10, "model": MODEL | {"history_length": 100, "dropout": 0.2}},
    ],
    "ml-100k": [
        SMALL | {"model": FEW | {"num_layers": 2}},
        SMALL | {"model": FEW},
        SMALL | {"model": FEW | {"dropout": 0.5}},
        SMALL | {"model": FEW | {"modalities": ["text", "categories"], "dropout": 0.4}},
        SMALL | {"model": FEW | {"embedding_size": 128, "dropout": 0.4}},
        SMALL | {"model": FEW | {"embedding_size": 128, "history_length": 100, "dropout": 0.4}},
    ],
}
OWN["ml-latest-small"] = OWN["ml-100k"]


def main() -> None:
    """Run the trials that are chosen and not yet done, and store what came out."""
    options = arguments(__doc__, [name for name in MODELS if name != POPULAR], list(NETWORKS))
    tried = [
        (new_job(table, model, settings, "leave_one_out", 0, options), settings)
        for table in options.tables
        for model in options.models
        for settings in trials(table, model)
    ]
    settings_of = {job.file: settings for job, settings in tried}
    found: dict[str, Any] = json.loads(SEARCH.read_text())["figures"] if SEARCH.exists() else {}
    seconds = 0.0
    for job, measured in finished([job for job, _ in tried], compete, options):
        table, model = job.name.split(":")
        one = {
            "settings": settings_of[job.file],
            "ndcg10": round(float(ndcg(measured["valid rank"], 10).mean()), 4),
            "hr10": round(float(hit_rate(measured["valid rank"], 10).mean()), 4),
            "seconds": round(float(measured["seconds"])),
        }
        seconds += float(measured["seconds"])
        others = [old for old in found.get(table, {}).get(model, []) if old["settings"] != one["settings"]]
        found.setdefault(table, {})[model] = sorted([*others, one], key=lambda entry: -entry["ndcg10"])
    if not options.trial:
        store("search", found, seconds, [0])


def trials(table: str, model: str) -> list[Settings]:
    """What is tried of a model."""
    if model == OURS:
        return OWN[table]
    return NETWORKS[table] if model in OF_NETWORKS else OTHERS[model]


if __name__ == "__main__":
    main()
