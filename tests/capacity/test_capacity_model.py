"""The formula of benchmarks/capacity.py, against what a small machine can run and against values worked out by hand."""

import dataclasses
import sys
from pathlib import Path

import faiss
import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from capacity_model import Assumed, Load, Measured, index_bytes_exact, plan, training_flops

MEASURED = Measured(
    slate_core_s=0.004,
    product_core_s=1e-8,
    learner_events_s=5000,
    texts_core_s=50,
    event_bytes=200,
    slate_bytes=2000,
)


def test_training_takes_the_flops_that_the_formula_says() -> None:
    layer = torch.nn.TransformerEncoderLayer(256, 4, 1024, batch_first=True, dropout=0.0)
    network = torch.nn.TransformerEncoder(layer, 4, enable_nested_tensor=False)
    tokens = torch.randn(2, 32, 256)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    with FlopCounterMode(display=False) as counter:
        network(tokens).sum().backward()
    assert counter.get_total_flops() == pytest.approx(training_flops(parameters, 64), rel=0.15)


def test_a_flat_index_has_the_size_that_the_formula_says() -> None:
    index = faiss.IndexFlatIP(128)
    index.add(np.zeros((3000, 128), np.float32))
    assert len(faiss.serialize_index(index)) == pytest.approx(3000 * index_bytes_exact(128), rel=0.01)


def test_a_plan_by_hand() -> None:
    found = plan(Load(users=1e6, items=1e5, parameters=1e9), MEASURED, Assumed())
    assert found.train_flops == pytest.approx(6 * 1e9 * (1e6 * 100 * 3))
    assert found.train_hours == pytest.approx(1.8e18 / (989e12 * 0.35) / 3600 / found.train_gpus)
    assert found.train_gpus == 1
    assert found.slates_s == pytest.approx(1e6 * 0.1 * 5 * 3 / 86_400)
    assert found.serving_cores == pytest.approx(found.slates_s * (0.004 + 1e5 * 1e-8) / 0.5)
    assert found.index_gb == pytest.approx(0.0512) and found.index_shards == 1
    assert found.states_gb == pytest.approx(0.512)
    assert found.events_s == pytest.approx(34.72, rel=1e-3) and found.learners == 1
    assert found.log_gb == pytest.approx(1e5 * (10 * 200 + 5 * 2000) * 365 / 1e9)
    assert found.usd_month == pytest.approx(found.usd_training + found.usd_serving + found.usd_storage)


def test_twice_the_users_take_twice_as_much() -> None:
    one, two = (plan(Load(users, 1e6, 1e9), MEASURED, Assumed()) for users in (1e7, 2e7))
    for name in ("train_flops", "slates_s", "serving_cores", "states_gb", "events_s", "log_gb"):
        assert getattr(two, name) == pytest.approx(2 * getattr(one, name)), name


def test_above_the_limit_items_are_compressed_and_no_longer_all_scored() -> None:
    assumed = Assumed(exact_items=1e5)
    below, above = (plan(Load(1e6, items, 1e9), MEASURED, assumed) for items in (1e5, 1e5 + 1))
    assert above.index_gb < below.index_gb and above.serving_cores < below.serving_cores
    large = plan(Load(1e6, 1e7, 1e9), MEASURED, dataclasses.replace(assumed, node_bytes=1e8))
    assert large.index_gb == pytest.approx(0.32) and large.index_shards == 4


def test_a_network_that_no_gpu_holds_takes_more_of_them() -> None:
    assert plan(Load(1e5, 1e5, 7e9), MEASURED, Assumed()).train_gpus == 2
