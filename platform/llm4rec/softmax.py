"""Softmax cross entropy over a whole catalogue. Shapes: N positions, I items, D width."""

from typing import Any

import torch
from torch import Tensor

CPU_ROWS, GPU_ROWS = 256, 8192
"""Positions whose scores are held at once: on a CPU as many as stay in a core's cache."""
COMPILED_ROWS = 32
"""On a CPU oneDNN compiles bfloat16 products for every new shape, for longer than they take, and keeps the code: the
last rows are filled up to a multiple of this."""


def softmax_loss(
    states_ND: Tensor,
    items_ID: Tensor,
    target_N: Tensor,
    share_N: Tensor | None = None,
    left_out_I: Tensor | None = None,
) -> Tensor:
    """Sum over positions of share times cross entropy; scores are inner products of states and items.

    Scores are in the type of the items, what is made of them in float32.

    The scores of all positions are never held together: a few rows at a time give their part of the loss and of its
    gradient. That spares memory and, on a CPU, most of the time, which goes into moving scores about.

    Args:
        states_ND: of the positions.
        items_ID: of all items; matrix products are in their type.
        target_N: item codes.
        share_N: of each position; equal ones of sum 1, which make a mean, if not given.
        left_out_I: items, none of them a target, that the softmax does not run over; none if not given.
    """
    if share_N is None:
        share_N = torch.full((len(states_ND),), 1 / max(1, len(states_ND)), device=states_ND.device)
    loss: Tensor = _SoftmaxLoss.apply(states_ND, items_ID, target_N, share_N.float(), left_out_I)
    return loss


class _SoftmaxLoss(torch.autograd.Function):
    """With p the softmax of its scores, the gradient of a position's cross entropy is p minus one at the target."""

    @staticmethod
    def forward(
        ctx: Any, states_ND: Tensor, items_ID: Tensor, target_N: Tensor, share_N: Tensor, left_out_I: Tensor | None
    ) -> Tensor:
        """The loss; its gradients are computed on the way and kept."""
        states, count = states_ND.to(items_ID.dtype), len(states_ND)
        if states.device.type == "cpu" and states.dtype == torch.bfloat16:
            missing = -count % COMPILED_ROWS
            states, share_N = _filled_up(states, missing), _filled_up(share_N, missing)
            target_N = torch.cat([target_N, target_N[:1].expand(missing)])  # one that is not left out
        of_states, of_items = torch.empty_like(states), torch.zeros_like(items_ID, dtype=torch.float32)
        loss = torch.zeros((), device=states.device)
        rows = CPU_ROWS if states.device.type == "cpu" else GPU_ROWS
        for first in range(0, len(states), rows):
            part = slice(first, first + rows)
            target, share = target_N[part, None], share_N[part, None]
            scores = (states[part] @ items_ID.T).float()
            if left_out_I is not None:
                scores.masked_fill_(left_out_I, -torch.inf)
            gradient = scores.softmax(dim=-1)
            # log p of the target, by way of the likeliest item, whose p is never too small for a logarithm
            below = scores.amax(dim=-1, keepdim=True) - scores.gather(1, target)
            loss += (share * (below - gradient.amax(dim=-1, keepdim=True).log())).sum()
            gradient.scatter_add_(1, target, -torch.ones_like(below))
            reduced = gradient.mul_(share).to(items_ID.dtype)
            of_states[part] = reduced @ items_ID
            of_items += reduced.T @ states[part]
        ctx.save_for_backward(of_states[:count].to(states_ND.dtype), of_items.to(items_ID.dtype))
        return loss

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        """The kept gradients."""
        of_states, of_items = ctx.saved_tensors
        return of_states * gradients[0], of_items * gradients[0], None, None, None


def _filled_up(rows: Tensor, count: int) -> Tensor:
    """So many rows of zeros more; as states they have share 0, and so neither loss nor gradient."""
    return torch.cat([rows, rows.new_zeros(count, *rows.shape[1:])])
