"""An adversary that reads protected attributes from user states. Shapes: B users, T positions, D width."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from llm4rec.model.by_name import ByName


class Adversary(nn.Module):
    """One small network an attribute, from a user state to the logits of the attribute's codes."""

    def __init__(self, width: int, sizes: Mapping[str, int]) -> None:
        super().__init__()
        self.heads = ByName(
            {
                name: nn.Sequential(nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, size))
                for name, size in sizes.items()
            }
        )

    def loss(
        self,
        state_BTD: Tensor,
        code_BA: Tensor,
        kept_BT: Tensor,
        strength: float,
        totals: tuple[float, Sequence[Tensor]] | None = None,
    ) -> Tensor:
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
            totals: the number of positions to take means over, and each attribute's frequencies of codes among them,
                where these are a part of a batch; else their own.
        """
        state_ND = state_BTD[kept_BT].to(next(self.parameters()).dtype)  # autocast leaves states in bfloat16
        code_NA = code_BA[:, None].expand(-1, kept_BT.shape[1], -1)[kept_BT]
        count, frequencies = totals or (len(code_NA), [torch.bincount(code_N) / len(code_NA) for code_N in code_NA.T])
        losses = []
        for head, code_N, frequency in zip(self.heads.values(), code_NA.T, frequencies, strict=True):
            loss = F.cross_entropy(head(state_ND.detach()).float(), code_N, reduction="sum")
            if strength:
                loss = loss + strength * _told(head, state_ND, frequency)
            losses.append(loss / count)
        return torch.stack(losses).mean()


def _told(head: nn.Module, state_ND: Tensor, frequency: Tensor) -> Tensor:
    """KL divergence of the adversary's answers from the frequencies of the codes, the sum over positions.

    Only the states get a gradient. The last codes, where nobody has them, may be missing in the frequencies.
    """
    still = {name: parameter.detach() for name, parameter in head.named_parameters()}
    log_answer = functional_call(head, still, (state_ND,)).float().log_softmax(dim=-1)
    whole = F.pad(frequency.to(log_answer), (0, log_answer.shape[-1] - len(frequency)))
    return F.kl_div(log_answer, whole.expand_as(log_answer), reduction="sum")
