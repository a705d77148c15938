"""The terms of the training objective. Shapes: B users, T positions, I items, D width, N kept positions."""

import torch
from torch import Tensor
from torch.nn import functional as F

from llm4rec.model.config import OutcomeLoss
from llm4rec.model.inputs import PADDING
from llm4rec.softmax import softmax_loss


def weighted_softmax_loss(
    states_BTD: Tensor,
    items_ID: Tensor,
    target_BT: Tensor,
    weight_BT: Tensor,
    causal_weight: float,
    totals: tuple[float, float] | None = None,
    left_out_I: Tensor | None = None,
) -> Tensor:
    """Full softmax cross entropy, plain and inverse-propensity weighted: (L_rank + beta L_causal) / (1 + beta).

    L_rank is the mean over targets; L_causal is self-normalised, sum(w l) / sum(w) (Swaminathan and Joachims, 2015).

    Args:
        states_BTD: user states.
        items_ID: item vectors over the temperature.
        target_BT: item codes, PADDING where there is no target.
        weight_BT: weights w of the targets.
        causal_weight: beta, not negative.
        totals: number of targets and sum of weights to divide by, where these are a part of a batch; else their own.
        left_out_I: items that the softmax does not run over.
    """
    kept = target_BT != PADDING
    weights = weight_BT[kept]
    count, weight = totals if totals is not None else (len(weights), float(weights.sum()))
    causal = weights / max(weight, torch.finfo(weights.dtype).tiny)
    share = (1 / count + causal_weight * causal) / (1 + causal_weight)
    return softmax_loss(states_BTD[kept], items_ID, target_BT[kept], share, left_out_I)


def outcome_loss(
    logit_NI: Tensor,
    target_N: Tensor,
    good_N: Tensor,
    weight_N: Tensor,
    imputed_NI: Tensor | None,
    kind: OutcomeLoss,
    share_N: Tensor | None = None,
    count: float | None = None,
) -> Tensor:
    """Log loss of the outcomes of all items, estimated from those that were observed.

    With l(z, y) the log loss of log odds z, observed items n with outcome y and weight w, and imputed outcomes r:

    - naive: mean over n of l(z_n, y_n);
    - weighted: mean over n of w_n l(z_n, y_n), inverse propensity scoring (Schnabel et al. 2016);
    - doubly_robust: mean over n and all items of s_n l(z, r) + mean over n of w_n (l(z_n, y_n) - l(z_n, r_n)), which is
      unbiased if the propensities or the imputed outcomes are right (Wang et al. 2019). The shares s_n make up for rows
      being one an interaction: in the mean over all pairs an active user counts like any other.

    Args:
        logit_NI: log odds z of all items.
        target_N: code of the observed item.
        good_N: its outcome y, 0 or 1.
        weight_N: its weight w, of mean 1.
        imputed_NI: r, which doubly_robust needs.
        kind: which of the three.
        share_N: s, of mean 1 over the log, inversely proportional to the number of the user's rows; ones if not given.
        count: what the means over n are taken over, where these are a part of a batch; else their own number.
    """
    count = len(target_N) if count is None else count
    rows = torch.arange(len(target_N), device=logit_NI.device)
    observed = logit_NI[rows, target_N].float()
    losses = F.binary_cross_entropy_with_logits(observed, good_N, reduction="none")
    if kind == "naive":
        return losses.sum() / count
    if kind == "weighted":
        return (weight_N * losses).sum() / count
    if imputed_NI is None:
        raise ValueError("doubly robust needs imputed outcomes")
    everywhere_N = F.binary_cross_entropy_with_logits(logit_NI.float(), imputed_NI, reduction="none").mean(dim=1)
    imputed = (everywhere_N if share_N is None else share_N * everywhere_N).sum()
    errors = losses - F.binary_cross_entropy_with_logits(observed, imputed_NI[rows, target_N], reduction="none")
    return (imputed + (weight_N * errors).sum()) / count


def parity_penalty(scores_BTI: Tensor, kept_BT: Tensor, popular_I: Tensor, code_BA: Tensor, tolerance: float) -> Tensor:
    """How far popular items' share differs among groups: mean over attributes of max_g gap_g^2 - eps^2, at least 0.

    The share m_b of a row is the softmax mass of popular items, averaged over its positions; a slate drawn from the
    softmax shows popular items in that share. gap_g^2 = (m_g - m)^2 - s^2 (1 / n_g - 1 / n), with s^2 the variance of
    m_b, estimates the squared gap of demographic parity between a group of n_g rows and all n rows of the batch without
    what chance alone puts there; otherwise the penalty would mostly be on shares that differ among persons.

    Args:
        scores_BTI: logits, temperature applied.
        kept_BT: which positions count.
        popular_I: 1 for popular items, else 0.
        code_BA: codes of protected attributes.
        tolerance: eps.
    """
    mass_BT = scores_BTI.float().softmax(dim=-1) @ popular_I.float()
    share_B = (mass_BT * kept_BT).sum(dim=1) / kept_BT.sum(dim=1).clamp(min=1)
    variance = share_B.detach().var() if len(share_B) > 1 else share_B.new_zeros(())
    penalties = []
    for code_B in code_BA.T:
        codes, sizes = code_B.unique(return_counts=True)
        means = torch.stack([share_B[code_B == code].mean() for code in codes])
        squares = (means - share_B.mean()).square() - variance * (1 / sizes - 1 / len(share_B))
        penalties.append(squares.max())
    return (torch.stack(penalties) - tolerance**2).clamp(min=0).mean()
