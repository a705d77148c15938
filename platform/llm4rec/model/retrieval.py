"""The evidence of an item: the items whose content is nearest to its own.

Shapes: I items, D width of the vectors compared, K retrieved items, P items with any content, R items compared at once.
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from llm4rec.schema import TEXT, Modality

COSINES = 4_000_000
"""Held at once."""


def retrieve(features: Mapping[str, Modality], num_items: int, count: int) -> Tensor:
    """Codes of each item's nearest items, shape (I, K): by text, or by all modalities together where there is no text.

    Together means that the unit vectors of all modalities are laid end to end: the likeness of two items is the sum of
    the cosines over the modalities that both have, over the geometric mean of how many each has. A series of frames
    counts with its mean frame.
    """
    used = {TEXT: features[TEXT]} if TEXT in features else features
    if not used:
        return torch.arange(num_items)[:, None].repeat(1, count)
    parts, present = [], torch.zeros(num_items, dtype=torch.bool)
    for name in sorted(used):
        has_it = torch.from_numpy(used[name].present)
        parts.append(torch.where(has_it[:, None], F.normalize(_flat(used[name]), dim=-1), 0))
        present |= has_it
    return nearest(torch.cat(parts, dim=1), present, count)


def _flat(modality: Modality) -> Tensor:
    vectors = torch.from_numpy(modality.vectors).float()
    return vectors.unflatten(1, modality.shape).mean(dim=1) if modality.shape else vectors


def nearest(vectors: Tensor, present: Tensor, count: int) -> Tensor:
    """Codes of each item's nearest other items by cosine, best first, shape (I, K); ties go to the lower code.

    An item without content has no neighbours: it stands for itself. So it does in the places that are left where the
    catalogue has too few items with content.
    """
    codes = torch.arange(len(vectors))[:, None].repeat(1, count)
    known = present.nonzero().squeeze(1)
    found = min(count, len(known) - 1)
    if found < 1:
        return codes
    unit_PD = F.normalize(vectors[known].float(), dim=-1)
    for rows in torch.arange(len(known)).split(max(1, COSINES // len(known))):
        cosine_RP = unit_PD[rows] @ unit_PD.T
        cosine_RP[torch.arange(len(rows)), rows] = -2.0
        codes[known[rows], :found] = known[_best(cosine_RP, found)]
    return codes


def _best(scores_RP: Tensor, count: int) -> Tensor:
    """Columns of the `count` highest scores of each row, best first, equal ones by column: `topk` promises no order."""
    values, columns = scores_RP.topk(min(count + 1, scores_RP.shape[1]), dim=1)
    columns = columns[:, :count].sort(dim=1).values
    order = scores_RP.gather(1, columns).sort(dim=1, descending=True, stable=True).indices
    best = columns.gather(1, order)
    if values.shape[1] > count and (tied := values[:, count] == values[:, count - 1]).any():
        best[tied] = _best_with_ties(scores_RP[tied], count)
    return best


def _best_with_ties(scores_RP: Tensor, count: int) -> Tensor:
    """The same where what comes next is as good as the last of them, which takes several times as long."""
    bar_R1 = scores_RP.topk(count, dim=1).values[:, -1:]
    above, level = scores_RP > bar_R1, scores_RP == bar_R1
    wanted = level.cumsum(dim=1) <= count - above.sum(dim=1, keepdim=True)
    columns = (above | (level & wanted)).nonzero()[:, 1].view(len(scores_RP), count)
    order = scores_RP.gather(1, columns).sort(dim=1, descending=True, stable=True).indices
    return columns.gather(1, order)
