"""What a DeepSpeed engine has learnt, as named tensors from which any number of workers can go on.

DeepSpeed's own checkpoints hold the shards of each worker, pickled, and can be read by equally many workers only. Here
masters and moments are put together parameter by parameter and written as safetensors.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn

from llm4rec.cluster.deepspeed import DeepSpeedEngine
from llm4rec.errors import ArtifactError

State = dict[str, Tensor]
"""Tensors by KIND/PARAMETER."""
MASTER, MOMENTS = "master", ("exp_avg", "exp_avg_sq")


def gather(engine: DeepSpeedEngine) -> State:
    """float32 weights and AdamW moments of every trained parameter, on rank 0; call it on every rank."""
    from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_optimizer_state

    _link_moments(engine)
    state: State = {}
    for name, parameter in _trained(engine):
        if _is_sharded(parameter):
            found = {MASTER: safe_get_full_fp32_param(parameter)}
            found |= {moment: safe_get_full_optimizer_state(parameter, moment) for moment in MOMENTS}
        else:
            master = _masters(engine).get(id(parameter), parameter)
            # a parameter that no loss has reached has no moments
            own, none = _torch(engine).state[master], torch.zeros_like(master)
            found = {MASTER: master.detach(), **{kind: own.get(kind, none) for kind in MOMENTS}}
        if dist.get_rank() == 0:
            state |= {f"{kind}/{name}": value.float().to("cpu", copy=True) for kind, value in found.items()}
    return state


def restore(engine: DeepSpeedEngine, state: State, steps: int) -> None:
    """Put a gathered state into a fresh engine, of whatever number of workers and ZeRO stage; call it on every rank.

    Args:
        engine: which has made no step yet.
        state: from `gather`.
        steps: how many steps of the optimiser it took to get there.

    Raises:
        ArtifactError: the state is of another network.
    """
    from deepspeed.utils import (
        safe_set_full_fp32_param,
        safe_set_full_optimizer_state,
        safe_set_local_fp32_param,
        safe_set_local_optimizer_state,
    )

    _make_moments(engine, steps)
    for name, parameter in _trained(engine):
        own = {kind: state.get(f"{kind}/{name}") for kind in (MASTER, *MOMENTS)}
        shape = tuple(getattr(parameter, "ds_shape", parameter.shape))
        for kind, value in own.items():
            if value is None or tuple(value.shape) != shape:
                there = "nothing" if value is None else f"shape {tuple(value.shape)}"
                raise ArtifactError(
                    f"the checkpoint holds {there} as {kind} of {name}, whose shape is {shape}: it is of another "
                    "network; delete it and train again"
                )
        values = {kind: value for kind, value in own.items() if value is not None}
        if hasattr(parameter, "ds_id"):
            safe_set_local_fp32_param(parameter, _own_part(values[MASTER], parameter))
            for moment in MOMENTS:
                safe_set_local_optimizer_state(parameter, _own_part(values[moment], parameter), moment)
        elif _is_sharded(parameter):
            safe_set_full_fp32_param(parameter, values[MASTER])
            for moment in MOMENTS:
                safe_set_full_optimizer_state(parameter, values[moment], moment)
        else:
            master = _masters(engine).get(id(parameter), parameter)
            master.data.copy_(values[MASTER])
            for moment in MOMENTS:
                _torch(engine).state[master][moment].copy_(values[moment])
        with whole(parameter, change=True):
            parameter.data.copy_(values[MASTER])
    schedule = engine.lr_scheduler
    schedule.last_epoch = steps
    rates = [base * factor(steps) for base, factor in zip(schedule.base_lrs, schedule.lr_lambdas, strict=True)]
    for group, rate in zip(schedule.optimizer.param_groups, rates, strict=True):
        group["lr"] = rate


@contextmanager
def whole(*parameters: nn.Parameter, change: bool = False) -> Iterator[None]:
    """Parameters whole on every rank where ZeRO 3 has dealt them out; with `change`, what rank 0 does to them stays."""
    import deepspeed

    with deepspeed.zero.GatheredParameters(list(parameters), modifier_rank=0 if change else None):
        yield


def _trained(engine: DeepSpeedEngine) -> list[tuple[str, nn.Parameter]]:
    return [(name, parameter) for name, parameter in engine.module.named_parameters() if parameter.requires_grad]


def _is_sharded(parameter: nn.Parameter) -> bool:
    return hasattr(parameter, "_hp_mapping") or hasattr(parameter, "ds_id")


def _own_part(value: Tensor, parameter: nn.Parameter) -> Tensor:
    """The part of this rank of a tensor as ZeRO 3 deals it out: even parts of the flat tensor, filled up at the end.

    DeepSpeed's own setter of whole tensors does not fill up.
    """
    size: int = parameter.ds_tensor.numel()  # type: ignore[attr-defined]
    filled = torch.nn.functional.pad(value.flatten(), (0, size * dist.get_world_size() - value.numel()))
    return filled.narrow(0, size * dist.get_rank(), size)


def _torch(engine: DeepSpeedEngine) -> torch.optim.Optimizer:
    """PyTorch's optimiser inside DeepSpeed's, which without ZeRO and bfloat16 is none of its own."""
    found: torch.optim.Optimizer = getattr(engine.optimizer, "optimizer", engine.optimizer)
    return found


def _masters(engine: DeepSpeedEngine) -> dict[int, Tensor]:
    """The float32 copies that bfloat16 without ZeRO keeps, by the parameter's id."""
    pairs = zip(getattr(engine.optimizer, "fp16_groups", []), getattr(engine.optimizer, "fp32_groups", []), strict=True)
    return {id(low): high for lows, highs in pairs for low, high in zip(lows, highs, strict=True)}


def _make_moments(engine: DeepSpeedEngine, steps: int) -> None:
    """The state that AdamW would have made in its first step, which the moments are then put into."""
    optimizer = _torch(engine)
    flat = getattr(engine.optimizer, "fp32_partitioned_groups_flat", None)
    for parameter in flat or [p for group in optimizer.param_groups for p in group["params"]]:
        own = optimizer.state[parameter]
        own["step"] = torch.tensor(float(steps), device=parameter.device)
        for moment in MOMENTS:
            own.setdefault(moment, torch.zeros_like(parameter))
    _link_moments(engine)


def _link_moments(engine: DeepSpeedEngine) -> None:
    """Let ZeRO 1 and 2 find the moments; by themselves they only look at those of the first group's first step."""
    if hasattr(engine.optimizer, "_lazy_init_hp_params_optimizer_state"):
        engine.optimizer._hp_optimizer_states_linked = False
        engine.optimizer._lazy_init_hp_params_optimizer_state()
