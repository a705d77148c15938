"""One network trained by one and by two workers, and by one after the other: the same losses, whatever is dealt out."""

import logging
import tempfile
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file

from llm4rec.cluster import elastic
from llm4rec.cluster.deepspeed import build_engine
from llm4rec.cluster.worker import train_epoch_together
from llm4rec.train.config import TrainConfig
from llm4rec.train.loop import NotFiniteGradientError, train_epoch
from tests.cluster.gloo import on_workers
from tests.train.test_train_loop import setting, spoil

BATCH, EPOCHS = 8, 4


def train(
    rank: int, world_size: int, settings: dict[str, object], first: int, last: int, file: str, width: int = 16
) -> list[float]:
    """Losses of all steps from one epoch to another, the state going through a file."""
    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
    rates = {"learning_rate": 2e-2, "backbone_learning_rate": 3e-3}
    config = TrainConfig.model_validate({"epochs": EPOCHS, "batch_size": BATCH, **rates, **settings})
    with tempfile.TemporaryDirectory() as folder:
        _, network, windows = setting(Path(folder), dropout=0.0, modality_dropout=0.0, embedding_size=width)
        steps = windows.num_steps(BATCH)
        engine = build_engine(network, config, world_size=world_size, total_steps=EPOCHS * steps)
        if first:
            elastic.restore(engine, load_file(file), first * steps)
        losses: list[float] = []
        for epoch in range(first, last):
            parts = config.accumulation
            batches = windows.batches(BATCH, seed=0, epoch=epoch, rank=rank, world_size=world_size, parts=parts)
            train_epoch(engine, batches, config, losses.append)
        state = elastic.gather(engine)
    if rank == 0:
        save_file(state, file)
    of_all = torch.tensor(losses)
    dist.all_reduce(of_all)
    return (of_all / world_size).tolist()


CHANGES = [
    (stage, precision, *workers)
    for stage in (2, 0, 1, 3)
    for precision in ("fp32", "bf16")
    for workers in ((2, 1), (1, 2))
]
# bfloat16 rounds sums of one order differently from those of another
TOLERANCE = {"fp32": 1e-5, "bf16": 3e-2}


@pytest.mark.parametrize(
    ("stage", "precision", "first", "then"),
    [CHANGES[0], *(pytest.param(*change, marks=pytest.mark.slow) for change in CHANGES[1:])],
)
def test_any_number_of_workers_goes_on_from_any_other(
    tmp_path: Path, stage: int, precision: str, first: int, then: int
) -> None:
    settings = {"zero_stage": stage, "precision": precision}
    alone = on_workers(1, train, settings, 0, EPOCHS, str(tmp_path / "alone"))
    assert len(alone) > 20 and alone[-1] < alone[0] / 3
    file = str(tmp_path / "passed on")
    losses = on_workers(first, train, settings, 0, 2, file)
    losses += on_workers(then, train, settings, 2, EPOCHS, file)
    assert losses == pytest.approx(alone, abs=TOLERANCE[precision])


def train_with_a_spoilt_gradient(
    rank: int, world_size: int, settings: dict[str, object]
) -> tuple[str, list[list[str]]]:
    """What is said where the loss is finite and the gradient of one worker is not, and the users of each worker."""
    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
    config = TrainConfig.model_validate({"batch_size": BATCH, **settings})
    with tempfile.TemporaryDirectory() as folder:
        _, network, windows = setting(Path(folder))
        if rank == world_size - 1:
            spoil(network)
        engine = build_engine(network, config, world_size=world_size, total_steps=10)
        batches = windows.batches(BATCH, seed=0, epoch=0, rank=rank, world_size=world_size)
        own: list[str] = []
        given = (own.extend(batch.user.tolist()) or batch for batch in batches)
        try:
            train_epoch_together(engine, given, config, lambda loss: None)
        except NotFiniteGradientError as error:
            shares: list[list[str]] = [[]] * world_size
            dist.all_gather_object(shares, own)
            return str(error), shares
        return "nothing", []


@pytest.mark.parametrize(
    ("stage", "precision"),
    [
        (2, "bf16"),
        (0, "fp32"),
        *(pytest.param(*more, marks=pytest.mark.slow) for more in ((0, "bf16"), (1, "fp32"), (2, "fp32"), (3, "bf16"))),
    ],
)
def test_a_gradient_that_is_not_finite_ends_training_and_names_the_users_of_all_workers(
    stage: int, precision: str
) -> None:
    told, shares = on_workers(2, train_with_a_spoilt_gradient, {"zero_stage": stage, "precision": precision})
    assert "the loss is finite and its gradient is not, in a batch of the users" in told
    assert all(shares) and all(user in told for share in shares for user in share)


def numbers_trained_in(rank: int, world_size: int, found: list[bool]) -> str:
    """With CPUs that have, or have not, instructions for bfloat16."""
    torch.cpu.get_capabilities = lambda: {"avx512_bf16": found[rank]}
    with tempfile.TemporaryDirectory() as folder:
        _, network, _ = setting(Path(folder))
        engine = build_engine(network, TrainConfig(), world_size=world_size, total_steps=1)
        return str(next(engine.module.parameters()).dtype)


@pytest.mark.skipif(torch.cuda.is_available(), reason="of workers without GPUs")
def test_all_workers_train_in_numbers_that_suit_all() -> None:
    assert on_workers(2, numbers_trained_in, [True, False]) == "torch.float32"
    assert on_workers(1, numbers_trained_in, [True]) == "torch.bfloat16"


@pytest.mark.slow
@pytest.mark.parametrize(("first", "then"), [("bf16", "fp32"), ("fp32", "bf16")])
def test_a_training_goes_on_in_other_numbers(tmp_path: Path, first: str, then: str) -> None:
    """As it does where `auto` settled otherwise after nodes came or went."""
    alone = on_workers(1, train, {"precision": then}, 0, EPOCHS, str(tmp_path / "alone"))
    file = str(tmp_path / "passed on")
    before = on_workers(1, train, {"precision": first}, 0, 2, file)
    after = on_workers(1, train, {"precision": then}, 2, EPOCHS, file)
    # What the first epochs' rounding did to the weights stays; a state that was lost would begin where training does.
    assert after == pytest.approx(alone[len(before) :], abs=0.1)
    assert min(before[:4]) > max(after) + 0.5


@pytest.mark.slow
def test_accumulation_under_deepspeed_changes_nothing(tmp_path: Path) -> None:
    file = str(tmp_path / "state")
    whole = on_workers(1, train, {"precision": "fp32"}, 0, 2, file)
    parts = on_workers(2, train, {"precision": "fp32", "accumulation": 2}, 0, 2, file)
    assert parts == pytest.approx(whole, abs=1e-4)


@pytest.mark.slow
def test_the_state_of_another_network_is_refused(tmp_path: Path) -> None:
    file = str(tmp_path / "state")
    on_workers(1, train, {}, 0, 1, file)
    with pytest.raises(AssertionError, match="ArtifactError: .* it is of another network; delete it and train again"):
        on_workers(1, train, {}, 1, 2, file, 8)
