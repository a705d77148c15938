"""The training objective. Shapes: B users, T positions, I items."""

import torch
from torch import Tensor
from torch.nn import functional as F

from llm4rec.model.inputs import PADDING


def weighted_softmax_loss(scores_BTI: Tensor, target_BT: Tensor, weight_BT: Tensor, causal_weight: float) -> Tensor:
    """Full softmax cross entropy, plain and inverse-propensity weighted: (L_rank + beta L_causal) / (1 + beta).

    L_rank is the mean over targets; L_causal is self-normalised, sum(w l) / sum(w) (Swaminathan and Joachims, 2015).

    Args:
        scores_BTI: logits, temperature applied.
        target_BT: item codes, PADDING where there is no target.
        weight_BT: weights w of the targets.
        causal_weight: beta, not negative.
    """
    kept = target_BT != PADDING
    losses = F.cross_entropy(scores_BTI[kept].float(), target_BT[kept], reduction="none")
    weights = weight_BT[kept]
    rank = losses.mean()
    causal = (weights * losses).sum() / weights.sum().clamp(min=torch.finfo(weights.dtype).tiny)
    return (rank + causal_weight * causal) / (1 + causal_weight)
