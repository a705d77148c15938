"""Training throughput under Ray Train and DeepSpeed, beside a bare PyTorch loop over the same batches.

    python benchmarks/training.py    # writes benchmarks/results/training.json, some minutes of an idle machine
    python benchmarks/training.py --collection ml-1m-seq --layers 30 --length 100 --windows 32 256
                                     # on a machine with a GPU: training_gpu.json

The demo's network, with its weights as they are drawn, on histories of ml-latest-small or another collection, in
bfloat16 where there are instructions for it. Bare: PyTorch's AdamW, gradient clipping and schedule in a plain loop
under autocast. Ours: the engine of the train stage, ZeRO 2, in Ray Train workers. Every worker has one core and one
thread and reads `--windows` windows a step, so two workers read twice as many; what they exchange is the same
whatever they read. Tokens are soft tokens that are no padding, those of all workers together. On CPUs two bare loops
run at once, too, the slower one counted twice: `two bare` begin together and then know nothing of each other, which is
what the machine has for two (`two_bare_speedup`); `two in step` wait for each other after every backward pass, as
workers must, but exchange nothing. By turns, each in processes of its own; ratios are of medians over rounds, those on
top of the most windows. The first steps, in which memory is laid out, do not count. Where there is a GPU a worker has
one, and there are two workers only where there are two GPUs; `model_flops_utilisation` is what the network's matrix
products come to a second, forward and backward, over the greatest bfloat16 rate for dense matrices that NVIDIA states
for the GPU, counted under plain attention. With `--without-ray`, for machines that have no Ray, the engine of the one
worker runs in a plain process.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import chain, islice
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from measure import HOME, free_port, store
from offline_runs import prepared, read_run
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from llm4rec.cluster.run_config import RunConfig
from llm4rec.cluster.session import connect
from llm4rec.device import best_device, number_type
from llm4rec.model.inputs import PADDING
from llm4rec.model.loss import weighted_softmax_loss
from llm4rec.model.recommender import Recommender, Shape
from llm4rec.train.config import TrainConfig
from llm4rec.train.loop import Engine, build_optimizer, train_epoch, warmup_then_decay
from llm4rec.train.windows import Windows, build_windows

WARM_UP = 5
WORKERS = {"bare": 0, "one worker": 1, "two workers": 2, "two bare": 0, "two in step": 0}
"""What is run by turns, and how many workers each has, 0 for bare loops."""
MEET = {"two bare": "start", "two in step": "step"}
"""When two bare loops wait for each other."""
PEAK_FLOPS = {"NVIDIA H100 80GB HBM3": 989e12, "NVIDIA H200": 989e12}
"""Of bfloat16 products of dense matrices, from the data sheets."""


def main() -> None:
    """Run all by turns and store the ratios; or, in a process of its own, one of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=HOME / "data", help="folder that holds ml-latest-small")
    parser.add_argument("--work", type=Path, default=HOME / "runs" / "benchmarks", help="kept between calls")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--windows", type=int, nargs="+", default=[16, 64], help="a worker and step")
    parser.add_argument("--collection", choices=("ml-latest-small", "ml-1m-seq"), default="ml-latest-small")
    parser.add_argument("--layers", type=int, default=2, help="of the language model")
    parser.add_argument("--length", type=int, default=50, help="items of a window, at most")
    parser.add_argument("--without-ray", action="store_true", help="start the one worker's engine without Ray Train")
    parser.add_argument("--one", type=int, choices=(0, 1, 2), help="run this many Ray workers, 0 for bare, and print")
    parser.add_argument("--meet", choices=MEET.values(), help="another bare loop, when measuring starts or every step")
    options = parser.parse_args()
    options.set, options.users = [], None
    config, run = prepared(options.collection, options)
    if options.one is not None:
        measure = bare if options.one == 0 else engine_alone if options.without_ray else ours
        print(json.dumps(measure(run, config, options)))
        return
    started, on_gpu = time.monotonic(), torch.cuda.is_available()
    if on_gpu and torch.cuda.get_device_name() not in PEAK_FLOPS:
        sys.exit(f"error: PEAK_FLOPS does not say what {torch.cuda.get_device_name()} can do; add it")
    turns = list(WORKERS)
    if on_gpu:  # another GPU is as fast beside the first as alone
        turns = [name for name in turns if name not in MEET]
    if options.without_ray or (on_gpu and torch.cuda.device_count() == 1):
        turns = turns[:2]
    rates: dict[int, dict[str, list[float]]] = {
        count: {name: [] for name in turns} for count in sorted(options.windows)
    }
    flops: dict[int, float] = {}
    for _ in range(options.rounds):
        for count, measured in rates.items():
            for name, of_rounds in measured.items():
                found = answers(name, count)
                of_rounds.append(len(found) * min(answer["tokens_per_second"] for answer in found))
                flops[count] = found[0].get("flops_per_token", flops.get(count, 0.0))
                print(f"{count} windows, {name}: {of_rounds[-1]:.0f} tokens a second", flush=True)
    by_windows = {count: ratios(measured) for count, measured in rates.items()}
    if on_gpu:
        peak = PEAK_FLOPS[torch.cuda.get_device_name()]
        for count, row in by_windows.items():
            row["flops_per_token"] = round(flops[count])
            row["model_flops_utilisation"] = {
                name: round(median(of_rounds) * flops[count] / peak / max(1, WORKERS[name]), 4)
                for name, of_rounds in rates[count].items()
            }
    about = {name: getattr(options, name) for name in ("collection", "layers", "length", "steps", "without_ray")}
    figures = by_windows[max(by_windows)] | about | {"by_windows": by_windows}
    store("training_gpu" if on_gpu else "training", figures, time.monotonic() - started, [0])


def answers(name: str, count: int) -> list[dict[str, float]]:
    """What the processes of a turn say, with so many windows a worker and step."""
    command = [sys.executable, __file__, *sys.argv[1:], "--windows", str(count), "--one", str(WORKERS[name])]
    environments = [dict(os.environ)]
    if name in MEET:
        command += ["--meet", MEET[name]]
        group = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
        environments = [os.environ | group | {"RANK": str(rank)} for rank in range(2)]
    with ExitStack() as running:
        processes = [running.enter_context(process(command, environment)) for environment in environments]
        printed = [one.communicate()[0] for one in processes]
        if any(one.returncode for one in processes):
            sys.exit(f"error: {command} failed; see above")
    lines = [line for text in printed for line in text.splitlines()]
    return [json.loads(line) for line in lines if line.startswith('{"tokens_per_second"')]


@contextmanager
def process(command: Sequence[str], environment: Mapping[str, str]) -> "Iterator[subprocess.Popen[str]]":
    """A process that does not outlive what is done with it."""
    started = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        yield started
    finally:
        started.kill()
        started.wait()


def ratios(measured: dict[str, list[float]]) -> dict[str, Any]:
    """Of medians over rounds."""
    middle = {name: median(of_rounds) for name, of_rounds in measured.items()}
    over = {"ratio_to_bare_loop": ("one worker", "bare")}
    if "two workers" in middle:
        over["two_worker_speedup"] = ("two workers", "one worker")
    if "two bare" in middle:
        over["two_bare_speedup"] = ("two bare", "bare")
        over["two_workers_to_two_bare"] = ("two workers", "two bare")
        over["two_workers_to_two_in_step"] = ("two workers", "two in step")
    return {
        **{name: round(middle[above] / middle[below], 3) for name, (above, below) in over.items()},
        "tokens_per_second": {name: [round(rate) for rate in of_rounds] for name, of_rounds in measured.items()},
    }


def setting(run: str, config: RunConfig) -> tuple[Recommender, Windows]:
    """The model and the windows that it is trained on."""
    corpus, features = read_run(run)
    torch.manual_seed(0)
    shape = Shape.of(corpus, features, config.train.model)
    attributes = shape.attributes.encode_table(corpus.users)
    windows = build_windows(corpus, shape.history, attributes, np.ones(len(corpus.interactions), np.float32))
    return Recommender(config.train.model, shape, features), windows


def settings(config: RunConfig, workers: int, options: argparse.Namespace) -> TrainConfig:
    """The train section with so many windows a worker."""
    chosen = {"num_layers": options.layers, "history_length": options.length, "pretrained": False}
    model = config.train.model.model_copy(update=chosen)
    update = {"model": model, "batch_size": options.windows[0] * workers}
    return config.train.model_copy(update=update)


def many_batches(
    windows: Windows, config: TrainConfig, count: int, rank: int = 0, world_size: int = 1
) -> list[Windows]:
    """The first so many batches, of as many epochs as that takes."""
    epochs = (
        windows.batches(config.batch_size, seed=0, epoch=e, rank=rank, world_size=world_size) for e in range(count)
    )
    return list(islice(chain.from_iterable(epochs), count))


def bare(run: str, config: RunConfig, options: argparse.Namespace) -> dict[str, float]:
    """A plain loop in this process."""
    torch.set_num_threads(1)
    if options.meet:
        torch.distributed.init_process_group("gloo")
    chosen, device = settings(config, 1, options), best_device()
    reduced = number_type(chosen.precision, device) == torch.bfloat16
    model, windows = setting(run, config.model_copy(update={"train": chosen}))
    model.to(device)
    optimizer = build_optimizer(model, chosen)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, warmup_then_decay(chosen, 10 * options.steps))
    model.train()

    def step(batch: Windows) -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=reduced):
            outputs = model(batch.history, batch.attributes)
        target, weight = torch.from_numpy(batch.target).to(device), torch.from_numpy(batch.weight).to(device)
        loss = weighted_softmax_loss(outputs.states, outputs.items, target, weight, chosen.causal_weight)
        loss.backward()
        loss.item()  # as ours does, which takes no step with a loss that is not finite
        if options.meet == "step":
            torch.distributed.barrier()
        torch.nn.utils.clip_grad_norm_(model.parameters(), chosen.gradient_clipping)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()

    batches = many_batches(windows, chosen, WARM_UP + options.steps)
    # PyTorch 2.11 cannot count fused attention whose keys have fewer heads than its queries.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        step(batches[0])
    for batch in batches[1:WARM_UP]:
        step(batch)
    finish_work()
    if options.meet:
        torch.distributed.barrier()
    started = time.monotonic()
    for batch in batches[WARM_UP:]:
        step(batch)
    finish_work()
    tokens = sum(map(count_tokens, batches[WARM_UP:])) / (time.monotonic() - started)
    return {"tokens_per_second": tokens, "flops_per_token": counter.get_total_flops() / count_tokens(batches[0])}


def finish_work() -> None:
    """Wait for what the GPU has still to do."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def ours(run: str, config: RunConfig, options: argparse.Namespace) -> dict[str, float]:
    """The same in Ray Train workers, with DeepSpeed."""
    connect()
    import ray.train
    from ray.train.torch import TorchConfig, TorchTrainer

    chosen, on_gpu = settings(config, options.one, options), torch.cuda.is_available()
    answer = options.work / "training" / "answer.json"
    given = {
        "run": run,
        "config": config.model_copy(update={"train": chosen}),
        "steps": options.steps,
        "answer": answer,
    }
    trainer = TorchTrainer(
        worker,
        train_loop_config=given,
        scaling_config=ray.train.ScalingConfig(
            num_workers=options.one, use_gpu=on_gpu, resources_per_worker={"CPU": 1}
        ),
        torch_config=TorchConfig(backend="nccl" if on_gpu else "gloo"),
        run_config=ray.train.RunConfig(storage_path=str(options.work / "training"), name=f"workers-{time.time():.0f}"),
    )
    trainer.fit()
    found: dict[str, float] = json.loads(answer.read_text())
    return found


def worker(given: dict[str, Any]) -> None:
    """What each Ray Train worker runs."""
    import ray.train

    context = ray.train.get_context()
    rank, size = context.get_world_rank(), context.get_world_size()
    found = engine_rate(given["run"], given["config"], given["steps"], rank, size)
    if rank == 0:
        given["answer"].write_text(json.dumps(found))


def engine_alone(run: str, config: RunConfig, options: argparse.Namespace) -> dict[str, float]:
    """The engine of one worker in this process."""
    os.environ |= {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
    torch.distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    chosen = settings(config, 1, options)
    return engine_rate(run, config.model_copy(update={"train": chosen}), options.steps, 0, 1)


def engine_rate(run: str, config: RunConfig, steps: int, rank: int, world_size: int) -> dict[str, float]:
    """What the train stage's engine does in one of so many workers."""
    from llm4rec.cluster.deepspeed import build_engine

    torch.set_num_threads(1)
    model, windows = setting(run, config)
    engine = build_engine(model, config.train, world_size=world_size, total_steps=10 * steps)
    return timed(engine, windows, config.train, steps, rank, world_size)


def timed(
    engine: Engine, windows: Windows, config: TrainConfig, steps: int, rank: int, world_size: int
) -> dict[str, float]:
    """Tokens a second of all workers, after some steps that do not count."""
    count = WARM_UP + steps
    whole = many_batches(windows, config, count)
    own = many_batches(windows, config, count, rank, world_size)
    train_epoch(engine, iter(own[:WARM_UP]), config)
    finish_work()
    started = time.monotonic()
    train_epoch(engine, iter(own[WARM_UP:]), config)
    finish_work()
    seconds = time.monotonic() - started
    return {"tokens_per_second": sum(map(count_tokens, whole[WARM_UP:])) / seconds}


def count_tokens(batch: Windows) -> int:
    """Soft tokens that are no padding: each window's attributes and its items."""
    return int((batch.history.item != PADDING).sum()) + len(batch)


if __name__ == "__main__":
    main()
