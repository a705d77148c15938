"""The training objective: ranking, causal, outcome, adversary and parity terms of one batch."""

import torch
from torch import Tensor

from llm4rec.model.inputs import PADDING
from llm4rec.model.loss import outcome_loss, parity_penalty, weighted_softmax_loss
from llm4rec.model.recommender import Outputs, Recommender
from llm4rec.train.config import TrainConfig
from llm4rec.train.windows import Outcomes, Totals, Windows


def objective(network: Recommender, outputs: Outputs, batch: Windows, config: TrainConfig) -> Tensor:
    """L = w_rank L_rank+causal + w_outcome L_outcome + L_adversary + w_parity L_parity.

    L_adversary trains the adversary, and with `adversary_weight` the states to tell it nothing (`Adversary.loss`).

    Args:
        network: whose adversary is asked.
        outputs: of the batch.
        batch: windows.
        config: the weights.
    """
    device = outputs.states.device
    target, weight = torch.from_numpy(batch.target).to(device), torch.from_numpy(batch.weight).to(device)
    kept = target != PADDING
    loss = torch.zeros((), device=device)
    if config.rank_weight:
        totals = (batch.totals.targets, batch.totals.weight) if batch.totals is not None else None
        rank = weighted_softmax_loss(
            outputs.states, outputs.items, target, weight, config.causal_weight, totals, network.items.by_content_alone
        )
        loss = loss + config.rank_weight * rank
    if outputs.outcomes is not None and batch.outcomes is not None and config.outcome_weight:
        loss = loss + config.outcome_weight * _outcome_term(
            outputs.outcomes, batch.outcomes, target, weight, kept, batch.totals, config
        )
    if config.model.protected:
        places = network.shape.attributes.places(config.model.protected, "train.model.protected")
        codes = torch.from_numpy(batch.attributes[:, places]).to(device)
        among = None
        if batch.totals is not None:
            frequencies = [torch.from_numpy(batch.totals.frequencies[place]).to(device) for place in places]
            among = batch.totals.targets, frequencies
        loss = loss + network.adversary.loss(outputs.states, codes, kept, config.adversary_weight, among)
        if config.parity_weight:
            popular = torch.from_numpy(batch.popular).to(device)
            gap = parity_penalty(outputs.scores, kept, popular, codes, config.parity_tolerance)
            loss = loss + config.parity_weight * gap
    return loss


def _outcome_term(
    logits: Tensor,
    outcomes: Outcomes,
    target: Tensor,
    weight: Tensor,
    kept: Tensor,
    totals: Totals | None,
    config: TrainConfig,
) -> Tensor:
    device = logits.device
    good = torch.from_numpy(outcomes.good).to(device)
    imputed = None
    if config.outcome_loss == "doubly_robust":
        users, items = torch.from_numpy(outcomes.users).to(device), torch.from_numpy(outcomes.items).to(device)
        imputed = torch.sigmoid(users @ items.T)[:, None].expand(-1, target.shape[1], -1)[kept]
    share = torch.from_numpy(outcomes.share).to(device)[:, None].expand_as(target)[kept]
    count = totals.targets if totals is not None else None
    return outcome_loss(
        logits[kept], target[kept], good[kept], weight[kept], imputed, config.outcome_loss, share, count
    )
