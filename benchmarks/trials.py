"""What search.py tries: three settings of a network, ours too, and six of what takes seconds.

Settings stand on top of the defaults of the model. A trial that has been added here counts once search.py has run it.
"""

from typing import Any

Settings = dict[str, Any]
OURS, WRITER = "llm4rec", "genrec"

LARGE: Settings = {
    "embedding_size": 128,
    "num_heads": 2,
    "history_length": 200,
    "batch_size": 16,
    "learning_rate": 1e-3,
    "precision": "auto",
    "epochs": 16,
    "validate_every": 2,
}
NETWORKS: dict[str, list[Settings]] = {
    "ml-1m-seq": [LARGE | {"history_length": 100}, LARGE | {"history_length": 100, "dropout": 0.2}, LARGE],
    "ml-100k": [
        {},
        {"embedding_size": 128, "dropout": 0.5},
        LARGE | {"history_length": 100, "epochs": 40, "validate_every": 5},
    ],
}
NETWORKS["ml-latest-small"] = NETWORKS["ml-100k"]
OF_NETWORKS = ["sasrec", "sasrec_bce", "gsasrec", "bert4rec", "hstu", "tiger"]
OTHERS: dict[str, list[Settings]] = {
    "item_knn": [
        {"last": None, "num_neighbors": count, "shrink": shrink} for shrink in (10, 50) for count in (200, 50, 500)
    ],
    "item_knn_last": [{"last": last, "decay": decay} for decay in (0.8, 0.6) for last in (5, 10)]
    + [{"last": 10, "decay": 0.6, "num_neighbors": count} for count in (500, 1000)],
    "ease": [{"reg": reg} for reg in (100, 300, 1000, 30, 3000, 10000)],
    "ease_decayed": [{"reg": reg, "decay": decay} for decay in (0.8, 0.7) for reg in (100, 300, 1000)],
    "ials": [{"factors": factors, "reg": reg} for factors in (128, 256) for reg in (30, 100, 10)],
}
WRITERS: list[Settings] = [
    {"num_layers": 2, "precision": "auto"},
    {"num_layers": 2, "precision": "auto", "epochs": 8, "learning_rate": 1e-3},
    {"num_layers": 4, "precision": "auto", "epochs": 5},
]
"""GenRec's; batches of the largest collection hold 32 windows, so that an epoch has a quarter of the steps."""
COMMON: Settings = {"num_workers": 0, "causal_weight": 0.0, "learning_rate": 2e-3, "backbone_learning_rate": 5e-4}
MODEL: Settings = {"num_layers": 1, "embedding_size": 128, "fusion_size": 128, "modalities": ["text", "categories"]}
BIG: Settings = COMMON | {"batch_size": 16, "epochs": 10}
SMALL: Settings = COMMON | {"batch_size": 16, "epochs": 12, "learning_rate": 3e-3}
OWN: dict[str, list[Settings]] = {
    "ml-1m-seq": [
        BIG | {"model": MODEL | {"history_length": 100, "dropout": 0.2}},
        BIG | {"model": MODEL | {"history_length": 100, "dropout": 0.1}},
        BIG | {"model": MODEL | {"history_length": 200, "dropout": 0.2}},
    ],
    "ml-100k": [
        SMALL | {"model": MODEL | {"history_length": 100, "dropout": 0.3}},
        SMALL | {"epochs": 20, "model": MODEL | {"history_length": 100, "dropout": 0.3}},
        SMALL | {"model": MODEL | {"dropout": 0.5}},
    ],
}
# Validation swings by a fifth from epoch to epoch there: the default patience of three ended trainings that had far to
# go, while other networks' stop after twenty epochs without a better one.
OWN["ml-latest-small"] = [OWN["ml-100k"][0], OWN["ml-100k"][1] | {"patience": 20}, OWN["ml-100k"][2]]


def trials(table: str, model: str) -> list[Settings]:
    """What is tried of a model for a table; the temporal tables try what the others do."""
    data = table.removesuffix(" temporal")
    assert len(OWN[data]) == len(NETWORKS[data]), f"{data}: our model and the other networks get equally many trials"
    assert len(WRITERS) == len(NETWORKS[data]), f"{data}: GenRec gets as many trials as other networks"
    if model == WRITER:
        return [one | {"batch_size": 32} for one in WRITERS] if data == "ml-1m-seq" else WRITERS
    return OWN[data] if model == OURS else NETWORKS[data] if model in OF_NETWORKS else OTHERS[model]
