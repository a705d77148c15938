"""An adversary that reads protected attributes from user states. Shapes: B users, T positions, D width."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F


class Adversary(nn.Module):
    """One small network an attribute, from a user state to the logits of the attribute's codes."""

    def __init__(self, width: int, sizes: Mapping[str, int]) -> None:
        super().__init__()
        self.heads = nn.ModuleDict(
            {
                name: nn.Sequential(nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, size))
                for name, size in sizes.items()
            }
        )

    def loss(self, state_BTD: Tensor, code_BA: Tensor, kept_BT: Tensor, strength: float) -> Tensor:
        """The adversary's cross entropy plus `strength` times the states' own loss, means over attributes.

        The adversary learns to read the attributes from states that stand still; the states learn to make an adversary
        that stands still answer with the attribute's frequencies, whoever the user is (domain confusion, Tzeng et al.
        2015). Unlike the reversed gradient of the adversary's loss this has its optimum where the states say nothing;
        reversed, they run past it to where the adversary is wrong, and a fresh attacker is right again.

        Args:
            state_BTD: user states.
            code_BA: the attributes' codes, in the order of the heads.
            kept_BT: which positions count.
            strength: lambda, 0 to leave the states alone.
        """
        state_ND = state_BTD[kept_BT].to(next(self.parameters()).dtype)  # autocast leaves states in bfloat16
        code_NA = code_BA[:, None].expand(-1, kept_BT.shape[1], -1)[kept_BT]
        losses = []
        for place, head in enumerate(self.heads.values()):
            code_N = code_NA[:, place]
            loss = F.cross_entropy(head(state_ND.detach()).float(), code_N)
            if strength:
                loss = loss + strength * _told(head, state_ND, code_N)
            losses.append(loss)
        return torch.stack(losses).mean()


def _told(head: nn.Module, state_ND: Tensor, code_N: Tensor) -> Tensor:
    """KL divergence of the adversary's answers from the frequencies of the codes; only the states get a gradient."""
    still = {name: parameter.detach() for name, parameter in head.named_parameters()}
    log_answer = functional_call(head, still, (state_ND,)).float().log_softmax(dim=-1)
    frequency = F.one_hot(code_N, log_answer.shape[-1]).float().mean(dim=0)
    return F.kl_div(log_answer, frequency.expand_as(log_answer), reduction="batchmean")
