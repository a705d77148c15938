"""Losses of a sequence model on its scores of all items. Shapes: N positions, I items, K negatives."""

import torch
from torch import Tensor
from torch.nn import functional


def sampled_bce_loss(scores: Tensor, targets: Tensor, num_negatives: int, calibration: float) -> Tensor:
    """gBCE: binary cross entropy on each target and on K items drawn evenly, mean over positions and items.

    With p the sigmoid of a score, the loss of a position is -(beta log p_target + sum_k log(1 - p_k)) / (K + 1), where
    beta = alpha (t (1 - 1/alpha) + 1/alpha) and alpha = K / (I - 1) is the share of negatives that is drawn (Petrov
    and Macdonald, gSASRec, RecSys 2023). At t = 0 it is plain binary cross entropy, SASRec's own loss, which takes the
    items of the catalogue for likelier than they are, the more the fewer negatives are drawn; at t = 1 that is made
    good. All scores are computed before a few are picked, which on a CPU costs less than picking vectors does.

    Args:
        scores: shape (N, I).
        targets: shape (N,).
        num_negatives: K; they are drawn anew for every position and hold its target with probability K / I, about.
        calibration: t, from 0 to 1.
    """
    num_items = scores.shape[1]
    alpha = num_negatives / max(1, num_items - 1)
    beta = 1 + calibration * (alpha - 1)
    drawn = torch.randint(num_items, (len(scores), num_negatives), device=scores.device)
    wanted = scores.gather(1, targets[:, None])
    own = -beta * functional.logsigmoid(wanted)
    others = functional.softplus(scores.gather(1, drawn))
    return torch.cat([own, others], dim=1).mean()
