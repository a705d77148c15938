"""A function on several processes that talk over gloo, as Ray Train's workers do on CPUs."""

import os
import socket
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any
from unittest.mock import patch

import torch
import torch.distributed as dist
import torch.multiprocessing as processes

SECONDS = 240
IMPORTED = ["transformers.models.llama.modeling_llama", "peft", "ray.train", "deepspeed"]
"""Once, by the process that all workers are forked from: it would take each of them ten seconds. None of our modules,
which that process would take from where they are installed, not from this checkout."""


def on_workers(world_size: int, work: Callable[..., Any], *arguments: Any) -> Any:
    """What `work(rank, world_size, *arguments)` returns on rank 0; the environment is that of the first call."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    # DeepSpeed looks for GPUs when it is imported, after which no fork of the process can use them.
    gpus = torch.cuda.is_available()
    context = processes.get_context("spawn" if gpus else "forkserver")
    if not gpus:
        context.set_forkserver_preload(IMPORTED)
    here, there = context.Pipe()
    started = [
        context.Process(target=_run, args=(there, rank, world_size, port, work, arguments))
        for rank in range(world_size)
    ]
    with patch.dict(os.environ, {} if gpus else {"DS_ACCELERATOR": "cpu"}):
        for process in started:
            process.start()
    there.close()
    try:
        result = here.recv() if here.poll(SECONDS) else f"Traceback: nothing heard within {SECONDS} seconds"
        if isinstance(result, str) and result.startswith("Traceback"):
            raise AssertionError(result)
        for process in started:
            process.join(SECONDS)
    finally:
        for process in started:
            process.kill()
    return result


def _run(answer: Connection, rank: int, world_size: int, port: int, work: Callable[..., Any], arguments: Any) -> None:
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world_size, "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in place.items()} | {"MASTER_ADDR": "127.0.0.1"})
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=world_size)
    try:
        result = work(rank, world_size, *arguments)
        if rank == 0:
            answer.send(result)
    except Exception:
        answer.send(traceback.format_exc())
        raise
    dist.destroy_process_group()
