"""From what was measured on two cores to nodes, hours and dollars for many users and items.

Every quantity is a product of measured constants, of assumptions and of the load; `plan` is all of it. Units are in
the names. Nothing here has been run at such sizes.
"""

import math
from dataclasses import dataclass

GB, DAY_S, MONTH_H = 1e9, 86_400.0, 730.0


@dataclass(frozen=True)
class Measured:
    """What capacity.py measures or takes from the results of other benchmarks.

    Attributes:
        slate_core_s: of a core for a slate, all but the product with the items.
        product_core_s: of a core for the score of one item, ranking included.
        learner_events_s: feedback events a second that one learner or one log takes, in batches.
        texts_core_s: texts encoded a second and core.
        event_bytes: in the log for one feedback event.
        slate_bytes: in the log for one slate of ten.
    """

    slate_core_s: float
    product_core_s: float
    learner_events_s: float
    texts_core_s: float
    event_bytes: float
    slate_bytes: float


@dataclass(frozen=True)
class Assumed:
    """What nobody has measured here.

    Attributes:
        gpu_flops: peak of one H200 in bfloat16, dense.
        utilisation: share of it that training reaches.
        gpu_bytes: of one H200.
        gpu_hour_usd, core_hour_usd, gb_month_usd: prices of a GPU with its machine, of a core, of a disk.
        active_daily: share of users who come on a day.
        slates_daily, events_daily: of a user who comes.
        peak: busiest hour over the mean.
        busy: share of a core that serving may use at the peak.
        history: events of a user that training reads.
        epochs: over them.
        width: of item vectors and states.
        exact_items: up to so many items every one is scored; above, a compressed index scores `probed` of them.
        probed: items scored there.
        code_bytes: of an item in the compressed index.
        node_bytes: memory of a serving node for the index.
        retraining_days: between two trainings.
        log_days: that the log keeps.
    """

    gpu_flops: float = 989e12
    utilisation: float = 0.35
    gpu_bytes: float = 141e9
    gpu_hour_usd: float = 4.0
    core_hour_usd: float = 0.05
    gb_month_usd: float = 0.10
    active_daily: float = 0.1
    slates_daily: float = 5.0
    events_daily: float = 10.0
    peak: float = 3.0
    busy: float = 0.5
    history: float = 100.0
    epochs: float = 3.0
    width: float = 128.0
    exact_items: float = 1_000_000.0
    probed: float = 50_000.0
    code_bytes: float = 32.0
    node_bytes: float = 32e9
    retraining_days: float = 7.0
    log_days: float = 365.0


@dataclass(frozen=True)
class Load:
    """Users, items, and parameters of the network that reads histories."""

    users: float
    items: float
    parameters: float


@dataclass(frozen=True)
class Plan:
    """What it takes; `usd_month` is all of it."""

    train_flops: float
    train_gpus: int
    train_hours: float
    encode_core_hours: float
    slates_s: float
    serving_cores: float
    index_gb: float
    index_shards: int
    states_gb: float
    events_s: float
    learners: int
    log_gb: float
    usd_training: float
    usd_serving: float
    usd_storage: float
    usd_month: float


def plan(load: Load, measured: Measured, assumed: Assumed) -> Plan:
    """The quantities of one load.

    Training: 6 P FLOPs a token (Kaplan et al. 2020, arXiv 2001.08361), one token an event; 16 bytes a parameter for
    weights, gradients and Adam in mixed precision (Rajbhandari et al. 2020, arXiv 1910.02054), with as much again for
    activations; no more GPUs than that, or than a day needs.
    """
    tokens = load.users * assumed.history * assumed.epochs
    flops = training_flops(load.parameters, tokens)
    gpu_s = flops / (assumed.gpu_flops * assumed.utilisation)
    gpus = max(math.ceil(32 * load.parameters / assumed.gpu_bytes), math.ceil(gpu_s / DAY_S))
    slates_s = load.users * assumed.active_daily * assumed.slates_daily * assumed.peak / DAY_S
    events_s = load.users * assumed.active_daily * assumed.events_daily * assumed.peak / DAY_S
    exact = load.items <= assumed.exact_items
    scored = load.items if exact else assumed.probed
    cores = slates_s * (measured.slate_core_s + scored * measured.product_core_s) / assumed.busy
    index_bytes = load.items * (index_bytes_exact(assumed.width) if exact else assumed.code_bytes)
    states_gb = load.users * 4 * assumed.width / GB
    daily = load.users * assumed.active_daily
    log_day = daily * (assumed.events_daily * measured.event_bytes + assumed.slates_daily * measured.slate_bytes)
    log_gb = log_day * assumed.log_days / GB
    encode_core_hours = load.items / measured.texts_core_s / 3600
    usd_training = gpu_s / 3600 * assumed.gpu_hour_usd * 30 / assumed.retraining_days
    usd_serving = cores * assumed.core_hour_usd * MONTH_H + encode_core_hours * assumed.core_hour_usd
    usd_storage = (log_gb + states_gb + index_bytes / GB) * assumed.gb_month_usd
    return Plan(
        train_flops=flops,
        train_gpus=gpus,
        train_hours=gpu_s / gpus / 3600,
        encode_core_hours=encode_core_hours,
        slates_s=slates_s,
        serving_cores=cores,
        index_gb=index_bytes / GB,
        index_shards=max(1, math.ceil(index_bytes / assumed.node_bytes)),
        states_gb=states_gb,
        events_s=events_s,
        learners=max(1, math.ceil(events_s / measured.learner_events_s)),
        log_gb=log_gb,
        usd_training=usd_training,
        usd_serving=usd_serving,
        usd_storage=usd_storage,
        usd_month=usd_training + usd_serving + usd_storage,
    )


def training_flops(parameters: float, tokens: float) -> float:
    """Forward and backward pass of a transformer: 6 FLOPs a parameter and token."""
    return 6 * parameters * tokens


def index_bytes_exact(width: float) -> float:
    """Of an item in a flat index of float32."""
    return 4 * width
