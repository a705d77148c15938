"""Joining a Ray cluster, or starting a private one on loopback."""

import logging
import os
import secrets
from types import ModuleType

LOG_URL = "LLM4REC_LOG_URL"
"""Environment variable with the address of the event log where none is configured; it may hold a password."""
LOOPBACK = "127.0.0.1"
LOOPBACK_ONLY = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""Makes Ray use 127.0.0.1 as a node's address, as it does by default on other systems; otherwise it replaces a
loopback address by the machine's own and all its servers listen on every interface."""

OBJECT_STORE_BYTES = 512 * 1024**2


def connect() -> None:
    """Join the cluster this process was submitted to (RAY_ADDRESS), else start one that only this machine can reach.

    The private cluster has token authentication with a token of its own, which lives in this process and its children
    only; a joined cluster keeps its own mode and token.
    """
    joined = "RAY_ADDRESS" in os.environ
    if not joined:
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32), **LOOPBACK_ONLY)
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("TQDM_DISABLE", "1")  # libraries' bars; stages report their own progress
    import ray.data  # after the environment is set: Ray reads it when imported

    if ray.is_initialized():
        return
    if joined:
        ray.init()
    else:
        _start(ray)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.raise_original_map_exception = True  # a wrapped one arrives without its cause, which is the user's message
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    for name in ("ray.data.exceptions", "ray.data._internal.execution.streaming_executor_state"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # they write tracebacks of what is raised too
    logging.getLogger("ray.data._internal.progress").setLevel(logging.ERROR)  # it warns that its bars are off


def _start(ray: ModuleType) -> None:
    ray.init(
        address="local",  # never a cluster that happens to run on this machine
        dashboard_host=LOOPBACK,  # Ray Train asks its state API
        logging_level=logging.WARNING,
        object_store_memory=OBJECT_STORE_BYTES,
        _node_ip_address=LOOPBACK,
    )


def free_cpus() -> int:
    """CPUs of the whole cluster that nothing has reserved, at least 1: actors that found none would wait for ever."""
    import ray

    return max(1, int(ray.available_resources().get("CPU", 1)))
